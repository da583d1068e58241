"""Row bands and tiles of a GEMM matrix: the plain grid, and the packing of what pruning leaves.

Bands are cut before pruning and never re-cut. Packing moves the surviving columns of a band side by side
onto as few tiles as hold them, and drops the word lines that are zero across a tile.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapping.network import Band, Tile


def grid(k: int, n: int, rows: int, cols: int, mask: NDArray[np.bool_] | None = None) -> tuple[Band, ...]:
    """Tiles of rows x cols weights as the matrix lies; one whose weights are all masked is left out.

    Parameters
    ----------
    k, n
        Shape of the GEMM matrix.
    rows, cols
        Word lines of a tile, and weights that fit side by side on its bit lines.
    mask
        Kept weights (k, n); None: all.
    """
    bands = []
    for top in range(0, k, rows):
        r = np.arange(top, min(top + rows, k))
        tiles = [
            Tile(r, np.arange(left, min(left + cols, n)))
            for left in range(0, n, cols)
            if mask is None or mask[top : top + rows, left : left + cols].any()
        ]
        bands.append(Band(top, tuple(tiles)))
    return tuple(bands)


def pack(mask: NDArray[np.bool_], rows: int, cols: int) -> tuple[Band, ...]:
    """Tiles of a pruned matrix: surviving columns of each band side by side, dead word lines dropped.

    Parameters
    ----------
    mask
        Kept weights (k, n).
    rows, cols
        As in `grid`.
    """
    bands = []
    for top in range(0, mask.shape[0], rows):
        part = mask[top : top + rows]
        alive = np.flatnonzero(part.any(0))
        tiles = [
            Tile(top + np.flatnonzero(part[:, chosen].any(1)), chosen)
            for chosen in (alive[i : i + cols] for i in range(0, len(alive), cols))
        ]
        bands.append(Band(top, tuple(tiles)))
    return tuple(bands)
