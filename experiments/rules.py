"""The constraint that a rule of a study puts on a layer."""

from __future__ import annotations

import math

from experiments.study import LayerRule
from mapping import BlockSparse, BothSparse, Constraint, TileRowsAndColumns, block_sparse
from mapping.gemm import Layer
from xbar.hardware import Hardware


def constraint_of(rule: LayerRule, keep: float, layer: Layer, hardware: Hardware) -> Constraint:
    """Constraint of one layer, at the grain of the hardware's tiles or of the layer's own channels."""
    rows, cols = hardware.crossbar.rows, hardware.weights_per_tile_row
    each = math.sqrt(keep)
    match rule.kind:
        case "filters":
            return block_sparse(layer, "filter", keep)
        case "channels":
            return block_sparse(layer, "channel", keep)
        case "filters-and-channels":
            return BothSparse(block_sparse(layer, "filter", each), block_sparse(layer, "channel", each))
        case "rows-and-columns":
            return TileRowsAndColumns(rows, cols, each, each)
    shape = {"tile-columns": (rows, 1), "tile-rows": (1, cols), "tiles": (rows, cols), "irregular": (1, 1)}
    return BlockSparse(*shape[rule.kind], keep)
