"""Row bands and tiles of a layer: the plain grid, and the packing of what pruning leaves.

Bands are cut before pruning and never re-cut. Packing moves the surviving columns of a band side by side
onto as few tiles as hold them, and drops the word lines that are zero across a tile.

Groups stand on the diagonal of a tile, as many as its word lines and bit lines hold; a group that is higher
than a tile has bands of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mapping.tiles.mapped import Band, MappedLayer, Tile

T = TypeVar("T", bound=np.generic)
Index = NDArray[np.int64]
Kept = Callable[[Index, Index], NDArray[np.bool_]]
"""Whether there is a weight to hold at inputs x columns."""


def laid_out(layer: MappedLayer, packed: bool) -> MappedLayer:
    """The layer on the tiles of its hardware: its kept weights packed, or every weight in its place."""
    hardware, lay = layer.hardware, pack if packed else grid
    rows, cols = hardware.crossbar.rows, hardware.weights_per_tile_row
    bands = cut(layer.k, layer.n, layer.groups, layer.bias_rows, rows, cols)
    return dataclasses.replace(layer, bands=lay(bands, cols, layer.kept))


def cut(k: int, n: int, groups: int, bias_rows: int, rows: int, cols: int) -> Iterator[tuple[Index, Index]]:
    """Inputs and columns of each band in order.

    Parameters
    ----------
    k, n
        Shape of the GEMM matrix.
    groups, bias_rows
        As in `MappedLayer`; rows of a bias come after the others, and only with one group.
    rows, cols
        Word lines of a tile, and weights that fit side by side on its bit lines.
    """
    width = n // groups
    together = max(1, min(rows // k, cols // width)) if groups > 1 else 1
    for group in range(0, groups, together):
        last = min(group + together, groups)
        columns = np.arange(group * width, last * width)
        end = last * k + (bias_rows if last == groups else 0)
        for top in range(group * k, end, rows):
            yield np.arange(top, min(top + rows, end)), columns


def grid(bands: Iterator[tuple[Index, Index]], cols: int, kept: Kept) -> tuple[Band, ...]:
    """Every weight in its place; tiles whose weights are all masked are left out.

    Parameters
    ----------
    bands
        Bands as `cut` gives them.
    """
    made = []
    for inputs, columns in bands:
        alive = np.logical_or.reduce(kept(inputs, columns))
        parts = zip(_chunks(columns, cols), _chunks(alive, cols), strict=True)
        tiles = [Tile(inputs, part) for part, any_alive in parts if any_alive.any()]
        made.append(Band(int(inputs[0]), len(inputs), tuple(tiles)))
    return tuple(made)


def pack(bands: Iterator[tuple[Index, Index]], cols: int, kept: Kept) -> tuple[Band, ...]:
    """Surviving columns of each band side by side, dead word lines dropped; arguments as in `grid`."""
    made = []
    for inputs, columns in bands:
        part = kept(inputs, columns)
        alive = np.flatnonzero(part.any(0))
        tiles = [Tile(inputs[part[:, chosen].any(1)], columns[chosen]) for chosen in _chunks(alive, cols)]
        made.append(Band(int(inputs[0]), len(inputs), tuple(tiles)))
    return tuple(made)


def _chunks(index: NDArray[T], size: int) -> Iterator[NDArray[T]]:
    return (index[first : first + size] for first in range(0, len(index), size))
