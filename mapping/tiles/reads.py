"""Reads of an array: which of its word lines are active together (`periphery.rows_per_read`).

Groups of neighbouring word lines are those of the array, whatever is driven in them: a line that was dropped
leaves its place empty, and a group without a driven line is not read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapping.tiles.mapped import Band, Tile
from xbar.hardware.design import Hardware


class Read(NamedTuple):
    """A read of the tiles of a band.

    Parameters
    ----------
    first_row
        Input of the layer that belongs to the first word line of its group.
    rows
        Places of the active word lines among the band's rows, ascending.
    tiles
        Numbers of the tiles that have one of them, ascending.
    """

    first_row: int
    rows: NDArray[np.int64]
    tiles: NDArray[np.int64]


def reads_of_band(band: Band, hardware: Hardware) -> tuple[Read, ...]:
    """Reads of a band's tiles, in the order of their word lines."""
    at_once = hardware.rows_at_once
    if at_once >= band.height:
        return (Read(band.first_row, np.arange(len(band.rows)), np.arange(len(band.tiles))),)
    of_rows = (band.rows - band.first_row) // at_once
    of_tiles = [(tile.rows - band.first_row) // at_once for tile in band.tiles]
    return tuple(
        Read(
            first_row=band.first_row + int(number) * at_once,
            rows=np.flatnonzero(of_rows == number),
            tiles=np.flatnonzero([bool((groups == number).any()) for groups in of_tiles]),
        )
        for number in np.unique(of_rows)
    )


def reads_of_tile(tile: Tile, band: Band, hardware: Hardware) -> int:
    """Reads of a tile for one phase of one vector."""
    at_once = hardware.rows_at_once
    if at_once >= band.height:
        return 1
    return len(np.unique((tile.rows - band.first_row) // at_once))
