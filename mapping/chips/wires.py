"""The tiles of a band behind wires: what each output sees of each driver, and of the noise of its cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapping.tiles.mapped import Band, MappedLayer, Tile
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError
from xbar.wires.circuit_kernels import Floats
from xbar.wires.noise import WireNoise, wire_noise
from xbar.wires.transfer import transfer_matrices

Selection = tuple[Any, ...]


def bit_lines(layer: MappedLayer, tile: Tile) -> NDArray[np.int64]:
    """Physical bit lines of a tile's columns and, last, of its reference, shape (slices, columns [+ 1])."""
    hardware = layer.hardware
    slices = hardware.encoding.slices
    at = tile.at * slices + np.arange(slices)[:, None]
    if not hardware.encoding.reference_columns:
        return at
    last = hardware.crossbar.cols - slices + np.arange(slices)
    return np.concatenate([at, last[:, None]], axis=1)


class WholeTiles(NamedTuple):
    """A band's tiles with all cells in their places [S], shape (tiles, planes, rows, cols) of the crossbar.

    `places` has for each tile where its cells stand in an array of the band and in one of the tile.
    """

    g: Floats
    places: tuple[tuple[Selection, Selection], ...]

    def of_band(self, values: Floats, shape: tuple[int, ...]) -> Floats:
        """Values of the tiles' cells, shape of `g`, in the band's order, 0 where it has no cell."""
        out = np.zeros(shape)
        for values_of_tile, (in_band, in_tile) in zip(values, self.places, strict=True):
            out[in_band] = values_of_tile[in_tile].transpose(0, 3, 1, 2)
        return out


def whole_tiles(layer: MappedLayer, band: Band, g: NDArray[Any]) -> WholeTiles:
    """Cells of a layer's band, shape (planes, slices, rows, columns), among those that no weight uses.

    Band rows keep their place among a tile's word lines; columns stand where the tile says. Cells that no
    weight uses are at g_min, without noise, unless their bit lines are gated; their word lines are at 0 V.
    """
    hardware, crossbar, planes = layer.hardware, layer.hardware.crossbar, len(g)
    spare = 0.0 if hardware.encoding.unformed else hardware.device.g_min
    whole = np.full((len(band.tiles), planes, crossbar.rows, crossbar.cols), spare)
    places = tuple(_places(layer, band))
    for index, (tile, (in_band, in_tile)) in enumerate(zip(band.tiles, places, strict=True)):
        if hardware.periphery.gated_columns:
            unused = np.setdiff1d(np.arange(crossbar.cols), bit_lines(layer, tile))
            whole[index][..., unused] = 0.0
        whole[index][in_tile] = g[in_band].transpose(0, 2, 3, 1)
    return WholeTiles(whole, places)


def _places(layer: MappedLayer, band: Band) -> Iterator[tuple[Selection, Selection]]:
    encoding = layer.hardware.encoding
    tile_of_column = band.tile_of_column(encoding.reference_columns > 0)
    for index, tile in enumerate(band.tiles):
        in_band = np.ix_(
            np.arange(encoding.planes),
            np.arange(encoding.slices),
            np.searchsorted(band.rows, tile.rows),
            np.flatnonzero(tile_of_column == index),
        )
        lines = bit_lines(layer, tile).T[None]
        yield in_band, (slice(None), (tile.rows - band.first_row)[:, None, None], lines)


def through_wires(layer: MappedLayer, band: Band, g: NDArray[Any]) -> Floats:
    """Transfer from each driver to each output through the wires of its whole tile [S]; the shape of `g`."""
    tiles, crossbar = whole_tiles(layer, band, g), layer.hardware.crossbar
    cells = tiles.g.reshape(-1, crossbar.rows, crossbar.cols)
    seen = transfer_matrices(cells, **_ohms(layer.hardware))
    return tiles.of_band(seen.reshape(tiles.g.shape), g.shape)


def noise_through_wires(layer: MappedLayer, band: Band, g: NDArray[Any]) -> WireNoise:
    """`xbar.wires.noise` of the cells of a layer's band, at the mean inputs of its calibration.

    Returns
    -------
    Factors in the shape of `g`; admittances of the columns' bit lines [S], shape (planes, slices, columns);
    the share that wires take by tile and plane.

    Raises
    ------
    XbarError
        For a calibration without mean inputs.
    """
    calibration = layer.calibration
    if calibration is None or calibration.mean is None or calibration.mean_square is None:
        raise XbarError(
            f"{layer.name}: its calibration has no mean inputs, which noise behind wires needs; "
            "calibrate again"
        )
    tiles, crossbar = whole_tiles(layer, band, g), layer.hardware.crossbar
    lines = np.zeros((2, len(band.tiles), len(g), crossbar.rows))
    for index, tile in enumerate(band.tiles):
        lines[0, index, :, tile.rows - band.first_row] = calibration.mean[tile.rows, None]
        lines[1, index, :, tile.rows - band.first_row] = calibration.mean_square[tile.rows, None]
    mean, mean_square = lines.reshape(2, -1, crossbar.rows)
    cells = tiles.g.reshape(-1, crossbar.rows, crossbar.cols)
    found = wire_noise(cells, mean, mean_square, **_ohms(layer.hardware))
    square, constant = (
        tiles.of_band(part.reshape(tiles.g.shape), g.shape) for part in (found.square, found.constant)
    )
    of_lines = found.admittance.reshape(*tiles.g.shape[:2], 1, crossbar.cols)
    admittance = tiles.of_band(np.broadcast_to(of_lines, tiles.g.shape), g.shape).max(axis=2, initial=0.0)
    return WireNoise(square, constant, admittance, found.lost.reshape(tiles.g.shape[:2]))


def _ohms(hardware: Hardware) -> dict[str, Any]:
    return {key: getattr(hardware.crossbar, key) for key in ("r_wl", "r_bl", "r_driver", "r_sense")}
