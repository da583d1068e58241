"""The constraint that a rule of a study puts on a layer, and the cells that a budget gives it."""

from __future__ import annotations

import math

from experiments.study import LayerRule
from mapping import BlockSparse, BothSparse, Constraint, TileRowsAndColumns, block_sparse
from mapping.gemm import Layer
from xbar.errors import XbarError
from xbar.hardware import Hardware


def in_bits(hardware: Hardware, bits: int) -> Hardware:
    """Hardware whose weights have so many bits: pairs of cells of 2^(bits - 1) + 1 states.

    Raises
    ------
    XbarError
        Where the states are not equidistant ones of cells in pairs, one slice a plane.
    """
    encoding, states = hardware.encoding, hardware.device.states
    if encoding.kind != "differential" or encoding.slices != 1 or not isinstance(states, int):
        raise XbarError(
            f"compress.bytes: the bits of a layer are states of its cells; {hardware.name!r} must have "
            "encoding.kind = 'differential', encoding.slices = 1 and a number as device.states"
        )
    return hardware.replace(device__states=2 ** (bits - 1) + 1)


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
