"""The constraint that a rule puts on one layer, at the grain of its hardware's tiles or of its own channels.

Each handler takes the rule's config, the share of the layer's weights to keep, the layer and its hardware;
`mapping.constraints.rule_kinds` has their names.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from mapping.constraints.constraint import Constraint
from mapping.constraints.fragments import SegmentSparse
from mapping.constraints.intersections import BothSparse
from mapping.constraints.rule_kinds import RULES, Segments, Share
from mapping.constraints.sparsity import BlockSparse, GroupKind, TileRowsAndColumns, block_sparse
from mapping.network.gemm import Layer
from xbar.hardware.design import Hardware

RuleHandler = Callable[[Share, float, Layer, Hardware], Constraint]


def constraint_of(rule: object, keep: float, layer: Layer, hardware: Hardware) -> Constraint:
    """The constraint of a layer under a rule, a config of one of `RULES`.

    Parameters
    ----------
    keep
        Share of the layer's weights that stay, in (0, 1]; a kind without a share does not use it.
    """
    found: Constraint = RULES.handler(rule)(rule, keep, layer, hardware)
    return found


def _blocks(size: Callable[[int, int], tuple[int, int]]) -> RuleHandler:
    """Blocks of a size that follows from the rows of a tile and the weights in one of them."""

    def handler(rule: Share, keep: float, layer: Layer, hardware: Hardware) -> Constraint:
        return BlockSparse(*size(hardware.crossbar.rows, hardware.weights_per_tile_row), keep)

    return handler


def _groups(kind: GroupKind) -> RuleHandler:
    """Groups of the layer itself."""

    def handler(rule: Share, keep: float, layer: Layer, hardware: Hardware) -> Constraint:
        return block_sparse(layer, kind, keep)

    return handler


tile_columns = _blocks(lambda rows, cols: (rows, 1))
tile_rows = _blocks(lambda rows, cols: (1, cols))
tiles = _blocks(lambda rows, cols: (rows, cols))
irregular = _blocks(lambda rows, cols: (1, 1))
filters, channels = _groups("filters"), _groups("channels")
shapes, kernels = _groups("shapes"), _groups("kernels")


def rows_and_columns(rule: Share, keep: float, layer: Layer, hardware: Hardware) -> Constraint:
    """Columns and rows of tiles, each to the root of the share."""
    each = math.sqrt(keep)
    return TileRowsAndColumns(hardware.crossbar.rows, hardware.weights_per_tile_row, each, each)


def filters_and_channels(rule: Share, keep: float, layer: Layer, hardware: Hardware) -> Constraint:
    """Output and input channels, each to the root of the share."""
    each = math.sqrt(keep)
    return BothSparse(block_sparse(layer, "filters", each), block_sparse(layer, "channels", each))


def segments(rule: Segments, keep: float, layer: Layer, hardware: Hardware) -> Constraint:
    """At most so many weights of each segment of a column."""
    return SegmentSparse(rule.rows or hardware.crossbar.rows, rule.most)
