"""Which node of a chip each tile of each layer stands in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapping.tiles.mapped import MappedLayer
from power.counts.workload import Workload

PARTIAL_SUM_BYTES = 2
"""Bytes of a partial sum: 16 bits (ISAAC, doi:10.1109/ISCA.2016.12)."""


@dataclass(frozen=True, eq=False)
class Allotted:
    """One layer in its nodes.

    Parameters
    ----------
    nodes
        Numbers of the nodes that hold some of it, ascending.
    share
        Part of the layer's input values that the bands in each of these nodes look at.
    places
        Node of each tile of each copy, shape (copies, tiles).
    """

    nodes: NDArray[np.int64]
    share: NDArray[np.float64]
    places: NDArray[np.int64]

    @property
    def copies(self) -> int:
        """Copies of the layer."""
        return len(self.places)


def allotted(
    work: Workload, arrays: Mapping[str, int], kinds: Sequence[tuple[Sequence[str], int]], own: bool
) -> dict[str, Allotted]:
    """Nodes of each layer, which are numbered in the order in which the layers run.

    The arrays of a layer, tile after tile and copy after copy, are spread evenly over the fewest nodes that
    hold them; where layers share nodes, arrays fill node after node. A tile stands where its first plane
    does.

    Parameters
    ----------
    arrays
        Arrays of each layer, in all planes and copies.
    kinds
        For each kind of node, the layers that stand in such nodes, and the arrays of one.
    own
        Whether each layer has nodes of its own; else layers share those of a kind, kind after kind.
    """
    found, first_node, first_array, before = {}, 0, [0] * len(kinds), 0
    kind_of = {name: number for number, (names, _) in enumerate(kinds) for name in names}
    first_of_kind = []
    for names, node in kinds:
        first_of_kind.append(before)
        before += math.ceil(sum(arrays[name] for name in names) / node)
    for name, count in arrays.items():
        layer = work.mapped.layers[name]
        tiles, copies = work.layers[name].tiles, layer.hardware.periphery.copies
        of_tiles = np.arange(copies * tiles) * (count // max(copies * tiles, 1))
        kind, node = kind_of[name], kinds[kind_of[name]][1]
        if own:
            nodes = math.ceil(count / node)
            places = first_node + of_tiles * nodes // max(count, 1)
            first_node += nodes
        else:
            places = first_of_kind[kind] + (first_array[kind] + of_tiles) // node
            first_array[kind] += count
        found[name] = _of_layer(_footprint(work, name), places.reshape(copies, tiles))
    return found


def window_of(layer: MappedLayer) -> int:
    """Places that the kernel of a layer looks at: values of one channel in an input vector."""
    geometry = layer.geometry
    return 1 if geometry is None or geometry.transposed else math.prod(geometry.kernel)


class _Footprint(NamedTuple):
    """Bands and columns of a layer on its tiles, wherever these stand.

    Parameters
    ----------
    bands
        Number of the band of each tile.
    channels, starts
        Input channels that the bands look at, band after band, and where those of each begin, with the end.
    columns, widths
        Columns on the tiles, tile after tile, and how many each has.
    """

    bands: NDArray[np.int64]
    channels: NDArray[np.int64]
    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    widths: NDArray[np.int64]


def _footprint(work: Workload, name: str) -> _Footprint:
    """The footprint of a layer, made once for a workload."""
    return work.once(("footprint", name), lambda: _footprint_of(work.mapped.layers[name]))


def _footprint_of(layer: MappedLayer) -> _Footprint:
    window = window_of(layer)
    inputs = layer.groups * layer.k  # what comes after them carries a bias
    channels = [np.unique(band.rows[band.rows < inputs] // window) for band in layer.bands]
    tiles = [tile.cols for tile in layer.tiles]
    return _Footprint(
        np.repeat(np.arange(len(layer.bands)), [len(band.tiles) for band in layer.bands]),
        np.concatenate([np.empty(0, np.int64), *channels]),
        np.cumsum([0, *map(len, channels)]),
        np.concatenate([np.empty(0, np.int64), *tiles]),
        np.array([len(cols) for cols in tiles], np.int64),
    )


def _of_layer(held: _Footprint, places: NDArray[np.int64]) -> Allotted:
    """One layer of which each tile of each copy has its node, `places` (copies, tiles)."""
    nodes, which = np.unique(places, return_inverse=True)
    which = which.reshape(places.shape)
    pairs = np.unique(which * len(held.starts) + held.bands)
    of_node, bands = np.divmod(pairs, len(held.starts))
    lengths = held.starts[bands + 1] - held.starts[bands]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    looked = held.channels[np.repeat(held.starts[bands], lengths) + within]
    size = int(held.channels.max(initial=0)) + 1
    seen = np.unique(np.repeat(of_node, lengths) * size + looked) // size
    in_all = max(len(np.unique(held.channels)), 1)
    share = np.bincount(seen, minlength=len(nodes)) / in_all
    return Allotted(nodes, share, places)


def joins(work: Workload, name: str, own: Allotted) -> NDArray[np.int64]:
    """Between which nodes partial sums go: those of a column from node to node, in their order.

    Returns
    -------
    The numbers of two nodes, and how many columns go on from the first to the second, shape (pairs, 3).
    """
    found, held = [], _footprint(work, name)
    size = int(own.places.max(initial=0)) + 1
    for of_copy in own.places:
        if len(of_copy) == 0 or of_copy[0] == of_copy[-1]:
            continue
        columns, nodes = np.divmod(np.unique(held.columns * size + np.repeat(of_copy, held.widths)), size)
        goes_on = columns[1:] == columns[:-1]
        found.append(nodes[:-1][goes_on] * size + nodes[1:][goes_on])
    pairs, counts = np.unique(np.concatenate([np.empty(0, np.int64), *found]), return_counts=True)
    return np.stack([*np.divmod(pairs, size), counts], axis=1)
