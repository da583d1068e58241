"""Kinds of rules by name: which groups of a layer's weights are pruned together, and which signs and values
weights have.

A rule's handler takes its config, the share of the layer's weights to keep, the layer and its hardware, and
gives a `mapping.constraints.constraint.Constraint`. A kind of one's own is one file: a config, a handler and
`RULES.add`. A layer may have a rule of each aspect, one for its groups, one for signs and one for values:
they then hold together.

This module needs no torch, so that a study is read at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from xbar.hardware.checks import check_range, check_whole
from xbar.hardware.errors import unknown_name
from xbar.hardware.registry import Registry

Aspect = Literal["groups", "signs", "values"]
"""What of a layer a rule is about."""

ASPECTS: tuple[Aspect, ...] = get_args(Aspect)


def aspect_of(rule: Any) -> Aspect:
    """The aspect of a layer that a rule is about: the class attribute `aspect` of its config, or ``groups``.

    Raises
    ------
    XbarError
        For an aspect of a user's config that there is not.
    """
    found: Aspect = getattr(rule, "aspect", "groups")
    if found not in ASPECTS:
        raise unknown_name(f"{type(rule).__name__}.aspect", str(found), ASPECTS)
    return found


@dataclass(frozen=True)
class Share:
    """A kind that chooses how many groups stay.

    Parameters
    ----------
    share
        Keep ratio of the layer relative to those of the others; the rate of the network fixes the rest.
    """

    share: float

    def __post_init__(self) -> None:
        check_range("compress.layers: share", self.share, 1e-6, 1e6)


@dataclass(frozen=True)
class TileColumns(Share):
    """The columns of each tile: as many word lines as a tile has, of one bit line."""


@dataclass(frozen=True)
class TileRows(Share):
    """The rows of each tile: one word line, of as many weights as a tile holds in a row."""


@dataclass(frozen=True)
class EntireTiles(Share):
    """Whole tiles."""


@dataclass(frozen=True)
class RowsAndColumns(Share):
    """Columns and rows of tiles at once, each to the root of the layer's share."""


@dataclass(frozen=True)
class Irregular(Share):
    """Single weights."""


@dataclass(frozen=True)
class Filters(Share):
    """Output channels of the layer."""


@dataclass(frozen=True)
class InputChannels(Share):
    """Input channels of the layer."""


@dataclass(frozen=True)
class FiltersAndChannels(Share):
    """Output and input channels at once, each to the root of the layer's share."""


@dataclass(frozen=True)
class KernelPlaces(Share):
    """Word lines: one position of the kernel in one input channel, in all filters."""


@dataclass(frozen=True)
class Kernels(Share):
    """Kernels of a convolution: one input channel of one filter."""


@dataclass(frozen=True)
class Segments:
    """At most so many weights of each run of word lines in a column, whatever the rate of the network: an
    ADC then adds up fewer currents.

    Parameters
    ----------
    most
        Weights of a segment that stay.
    rows
        Word lines of a segment; 0: those of a tile.
    """

    most: int
    rows: int = 0

    def __post_init__(self) -> None:
        check_whole("compress.layers: rows", self.rows, 0, 1 << 20)
        check_whole("compress.layers: most", self.most, 1, self.rows or 1 << 20)


@dataclass(frozen=True)
class FragmentSigns:
    """The weights of each fragment of a column have one sign, so that one array can hold both signs: FORMS.

    Parameters
    ----------
    rows
        Word lines of a fragment; 0: those of a tile.
    """

    aspect: ClassVar[Aspect] = "signs"
    rows: int = 0

    def __post_init__(self) -> None:
        check_whole("compress.layers: rows", self.rows, 0, 1 << 20)


@dataclass(frozen=True)
class MagnitudeWindow:
    """The magnitudes of weights that stay lie in a window, on cells in the same part of their levels.

    Parameters
    ----------
    low, high
        Ends of the window, as shares of the magnitude that the highest level holds.
    per
        What has one such magnitude: each ``column``, or the ``layer``.
    """

    aspect: ClassVar[Aspect] = "values"
    low: float
    high: float = 1.0
    per: Literal["layer", "column"] = "column"

    def __post_init__(self) -> None:
        check_range("compress.layers: high", self.high, 1e-6, 1)
        check_range("compress.layers: low", self.low, 0, self.high, "(high)")


@dataclass(frozen=True)
class SharedValues:
    """The weights of a layer that stay share at most `count` values, both signs together."""

    aspect: ClassVar[Aspect] = "values"
    count: int

    def __post_init__(self) -> None:
        check_whole("compress.layers: count", self.count, 1, 256)


RULES: Registry[Callable[[Any, float, Any, Any], Any]] = Registry("kind of rule")
"""Handlers ``(config, keep, layer, hardware) -> Constraint`` of the kinds of rules, by name."""


def reads_more_than_tiles(rule: Any) -> bool:
    """Whether a rule may read more of hardware than the size of tiles: those that ship do not."""
    return type(rule).__module__ != __name__


for _kind, _config in {
    "tile-columns": TileColumns,
    "tile-rows": TileRows,
    "tiles": EntireTiles,
    "rows-and-columns": RowsAndColumns,
    "irregular": Irregular,
    "filters": Filters,
    "channels": InputChannels,
    "filters-and-channels": FiltersAndChannels,
    "shapes": KernelPlaces,
    "kernels": Kernels,
    "segments": Segments,
    "one-sign": FragmentSigns,
    "window": MagnitudeWindow,
    "centroids": SharedValues,
}.items():
    RULES.add(_kind, _config, f"mapping.constraints.rules:{_kind.replace('-', '_')}")
