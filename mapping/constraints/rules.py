"""The constraint that rules put on one layer, at the grain of its hardware's tiles or of its own channels.

Each handler takes the rule's config, the share of the layer's weights to keep, the layer and its hardware;
`mapping.constraints.rule_kinds` has their names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from mapping.constraints.centroids import Centroids
from mapping.constraints.constraint import Constraint
from mapping.constraints.fragments import OneSign, SegmentSparse
from mapping.constraints.intersections import BothSparse, SparseValues
from mapping.constraints.levels import Window
from mapping.constraints.rule_kinds import (
    ASPECTS,
    RULES,
    FragmentSigns,
    MagnitudeWindow,
    Segments,
    Share,
    SharedValues,
    aspect_of,
)
from mapping.constraints.sparsity import BlockSparse, GroupKind, TileRowsAndColumns, block_sparse
from mapping.network.gemm import Layer
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError

RuleHandler = Callable[[Share, float, Layer, Hardware], Constraint]


def constraint_of(rules: Sequence[object], keep: float, layer: Layer, hardware: Hardware) -> Constraint:
    """The constraint of a layer under rules, configs of `RULES`, at most one of each aspect.

    Parameters
    ----------
    keep
        Share of the layer's weights that stay, in (0, 1]; a kind without a share does not use it.

    Raises
    ------
    XbarError
        Where two of them cannot hold together.
    """
    of = {aspect_of(rule): _constraint(rule, keep, layer, hardware) for rule in rules}
    parts: list[Any] = [of.get(aspect) for aspect in ASPECTS]
    groups, signs, values = parts
    if signs is not None and isinstance(values, Centroids):
        raise XbarError("one sign a fragment and centroids of both signs have no projection together")
    sparsity = BothSparse(signs, groups) if signs and groups else signs or groups
    found: Any = SparseValues(sparsity, values) if sparsity and values else sparsity or values
    return cast(Constraint, found)


def _constraint(rule: object, keep: float, layer: Layer, hardware: Hardware) -> Constraint:
    """The constraint that the handler of one rule gives."""
    with RULES.guarded(rule):
        found: Constraint = RULES.handler(rule)(rule, keep, layer, hardware)
    if not callable(getattr(found, "project", None)):
        raise XbarError(
            f"{RULES.what} {RULES.kind(rule)!r}: its handler gives a {type(found).__name__}; must be a "
            "Constraint, which has project(v)"
        )
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


def one_sign(rule: FragmentSigns, keep: float, layer: Layer, hardware: Hardware) -> Constraint:
    """One sign in each fragment of a column."""
    return OneSign(rule.rows or hardware.crossbar.rows)


def window(rule: MagnitudeWindow, keep: float, layer: Layer, hardware: Hardware) -> Constraint:
    """Magnitudes within a window."""
    return Window(rule.low, rule.high, per=rule.per)


def centroids(rule: SharedValues, keep: float, layer: Layer, hardware: Hardware) -> Constraint:
    """Few values for all weights of the layer."""
    return Centroids(rule.count)
