"""The tiles of a band behind wires: what each output sees of each driver, and of the noise of its cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapping.tiles.mapped import Band, MappedLayer, Tile
from xbar.conductances.noise_laws import white_sigma
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError
from xbar.wires.circuit_kernels import Floats
from xbar.wires.noise import wire_noise
from xbar.wires.noise_forms import noise_forms
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

    def of_lines(self, values: Floats, shape: tuple[int, ...]) -> Floats:
        """Values of the tiles' bit lines, shape (tiles, planes, cols), as (planes, slices, columns) of a band
        whose cells have `shape`."""
        whole = np.broadcast_to(values[:, :, None], self.g.shape)
        out: Floats = self.of_band(whole, shape).max(axis=2, initial=0.0)
        return out


def whole_tiles(layer: MappedLayer, band: Band, g: NDArray[Any]) -> WholeTiles:
    """Cells of a layer's band, shape (planes, slices, rows, columns), among those that no weight uses.

    Band rows keep their place among a tile's word lines; columns stand where the tile says. Cells that no
    weight uses are at g_min unless their bit lines are gated; their word lines are at 0 V.
    """
    spare = 0.0 if layer.hardware.encoding.unformed else layer.hardware.device.g_min
    return _whole(layer, band, g, spare)


def _whole(layer: MappedLayer, band: Band, values: NDArray[Any], spare: float) -> WholeTiles:
    """Values of the cells of a layer's band in their places, `spare` that of cells that no weight uses."""
    hardware, crossbar, planes = layer.hardware, layer.hardware.crossbar, len(values)
    whole = np.full((len(band.tiles), planes, crossbar.rows, crossbar.cols), spare)
    places = tuple(_places(layer, band))
    for index, (tile, (in_band, in_tile)) in enumerate(zip(band.tiles, places, strict=True)):
        if hardware.periphery.gated_columns:
            unused = np.setdiff1d(np.arange(crossbar.cols), bit_lines(layer, tile))
            whole[index][..., unused] = 0.0
        whole[index][in_tile] = values[in_band].transpose(0, 2, 3, 1)
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


class ColumnNoise(NamedTuple):
    """Noise of the columns of a band behind wires, at the mean inputs of its calibration."""

    variance: Floats
    """Of each cell, which goes with the square of its word line's voltage [S^2], shape of conductances."""
    floor: Floats
    """Of each column for any input, with the mean square of 1 V [S^2], shape (planes, slices, columns)."""
    admittance: Floats
    """Of each column's bit line, seen from its virtual ground [S], shape of `floor`."""
    lost: Floats
    """Share of the current that wires take, by tile and plane."""


def noise_through_wires(
    layer: MappedLayer,
    band: Band,
    g: NDArray[Any],
    devices: NDArray[np.bool_],
    active: NDArray[np.int64] | None = None,
) -> ColumnNoise:
    """Noise of a layer's band by the factors of `xbar.wires.noise`, at the mean inputs of its calibration.

    Cells on undriven word lines have noise, too, as their bit lines are raised by the others.

    Parameters
    ----------
    g, devices
        `conductances` and `devices` of a `mapping.chips.chip.ProgrammedBand`.
    active
        Places among the band's rows of the word lines of one read, beside which all are at 0 V; None: all.

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
    driven = band.rows if active is None else band.rows[active]
    for index, tile in enumerate(band.tiles):
        rows = np.intersect1d(tile.rows, driven)
        lines[0, index, :, rows - band.first_row] = calibration.mean[rows, None]
        lines[1, index, :, rows - band.first_row] = calibration.mean_square[rows, None]
    mean, mean_square = lines.reshape(2, -1, crossbar.rows)
    cells = tiles.g.reshape(-1, crossbar.rows, crossbar.cols)
    found = wire_noise(cells, mean, mean_square, **_ohms(layer.hardware))
    power = np.square(_sigma(layer, band, g, devices))
    shape = tiles.g.shape
    raised = (power * found.constant.reshape(shape)).sum(2)
    return ColumnNoise(
        tiles.of_band(power * found.square.reshape(shape), g.shape),
        tiles.of_lines(raised, g.shape),
        tiles.of_lines(found.admittance.reshape(raised.shape), g.shape),
        found.lost.reshape(shape[:2]),
    )


def _sigma(layer: MappedLayer, band: Band, g: NDArray[Any], devices: NDArray[np.bool_]) -> Floats:
    """Read noise of all cells of a band's tiles [S], shape of `WholeTiles.g`; 0 where there is no device."""
    device, spare = layer.hardware.device, 0.0
    if not layer.hardware.encoding.unformed:
        spare = float(white_sigma(device.g_min, device))
    return _whole(layer, band, np.where(devices, white_sigma(g, device), 0.0), spare).g


def forms_through_wires(
    layer: MappedLayer, band: Band, g: NDArray[Any], devices: NDArray[np.bool_]
) -> Floats:
    """`xbar.wires.noise_forms` of the read noise of the tiles of a layer's band.

    Cells that no weight uses have their noise, too.

    Parameters
    ----------
    g, devices
        `conductances` and `devices` of a `mapping.chips.chip.ProgrammedBand`.

    Returns
    -------
    For each column a form in the voltages of the band's rows [S^2], shape (planes, slices, columns, rows,
    rows).
    """
    tiles, sigma = whole_tiles(layer, band, g), _sigma(layer, band, g, devices)
    planes, slices, rows, columns = g.shape
    forms = np.zeros((planes, slices, columns, rows, rows))
    all_cells = layer.hardware.crossbar.noise_through_wires == "all-cells"
    for index, (in_band, in_tile) in enumerate(tiles.places):
        _, of_slices, of_rows, of_columns = in_band
        lines = in_tile[2][0]  # (columns, slices)
        for plane in range(planes):
            found = noise_forms(
                tiles.g[index, plane],
                sigma[index, plane],
                in_tile[1].ravel(),
                lines.T.ravel(),
                all_cells=all_cells,
                **_ohms(layer.hardware),
            )
            at = np.ix_([plane], of_slices.ravel(), of_columns.ravel(), of_rows.ravel(), of_rows.ravel())
            forms[at] = found.reshape(1, slices, -1, *found.shape[1:])
    return forms


def _ohms(hardware: Hardware) -> dict[str, Any]:
    return {key: getattr(hardware.crossbar, key) for key in ("r_wl", "r_bl", "r_driver", "r_sense")}
