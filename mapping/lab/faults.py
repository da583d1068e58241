"""Columns moved off the faulty cells of a chip.

Where the faults of a chip are known, the columns of a tile can stand on its bit lines, spare ones included,
in the order that leaves the least squared error in the weights: an assignment problem, solved exactly.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mapping.chips.chip import check_keys, column_keys, on_open_lines
from mapping.tiles.mapped import Band, MappedLayer, MappedNetwork, Tile
from xbar.conductances.encoding import cell_states, codebook, decode
from xbar.conductances.programming import stuck_conductances
from xbar.hardware.checks import check_kind
from xbar.hardware.design import Hardware


def around_faults(mapped: MappedNetwork, *, seed: int = 0, chip: int = 0) -> MappedNetwork:
    """The mapping with the columns of each tile in the best order for the faults of one chip.

    Stuck cells and broken lines count, all other cells as if at their targets; those of reference columns,
    which stay where they are, too. A tile that gains nothing keeps the order that it has by default.

    Parameters
    ----------
    seed, chip
        Keys of the chip, as `program_network` takes them; the result is a mapping for this chip only.

    Raises
    ------
    XbarError
        For a mapping without weights, or keys that are not whole numbers.
    """
    check_kind("mapped", mapped, MappedNetwork)
    check_keys(seed, chip)
    layers = {}
    for name, layer in mapped.layers.items():
        bands = []
        for band in layer.bands:
            tiles = [_placed(layer, band, number, seed, chip) for number in range(len(band.tiles))]
            bands.append(dataclasses.replace(band, tiles=tuple(tiles)))
        layers[name] = dataclasses.replace(layer, bands=tuple(bands))
    return dataclasses.replace(mapped, layers=layers)


def _placed(layer: MappedLayer, band: Band, number: int, seed: int, chip: int) -> Tile:
    tile, hardware = band.tiles[number], layer.hardware
    cells = cell_states(layer.states(tile.rows, tile.cols), hardware.encoding, hardware.device)
    assert layer.scale is not None
    worth = np.square(layer.scale[tile.cols] / (layer.scale.max() or 1.0))
    faults = _faults(layer, band, number, seed, chip)
    costs = worth[:, None] * column_costs(cells, faults, hardware)
    default = np.arange(len(tile.cols))
    places = linear_sum_assignment(costs)[1]
    if costs[default, default].sum() <= costs[default, places].sum():
        return dataclasses.replace(tile, places=None)
    return dataclasses.replace(tile, places=places)


def column_costs(
    cells: NDArray[np.int32], faults: NDArray[np.float64], hardware: Hardware
) -> NDArray[np.float64]:
    """Squared error of a column's weights, in `device.unit`, on each place of a tile, shape (C, P).

    Parameters
    ----------
    cells
        States of the columns' cells, -1 where there is none, shape (planes, slices, R, C).
    faults
        What a cell on each place conducts whatever is written [S], NaN where it takes what is written; last,
        where the encoding has one, on the reference column; shape (planes, slices, R, P [+ 1]).
    """
    encoding, device = hardware.encoding, hardware.device
    target = np.where(cells < 0, 0.0, device.conductances()[cells])
    exact, reference = decode(target, encoding, device), None
    if encoding.reference_columns:
        zero = device.conductances()[codebook(encoding, device).reference][:, None, None]
        at, faults = faults[0, ..., -1:], faults[..., :-1]
        reference = np.where(np.isnan(at), zero, at)
    costs = np.empty((cells.shape[-1], faults.shape[-1]))
    for place in range(faults.shape[-1]):
        at = faults[..., place, None]
        held = np.where((cells < 0) | np.isnan(at), target, at)
        costs[:, place] = np.square(decode(held, encoding, device, reference) - exact).sum(axis=0)
    return costs


def _faults(layer: MappedLayer, band: Band, number: int, seed: int, chip: int) -> NDArray[np.float64]:
    """Stuck conductances of one tile of a chip, as `column_costs` takes them."""
    tile, hardware, encoding = band.tiles[number], layer.hardware, layer.hardware.encoding
    keys = column_keys(layer, band, number, np.arange(hardware.column_places))
    if encoding.reference_columns:
        keys = np.append(keys, layer.n + number)
    found = np.empty((encoding.planes, encoding.slices, len(tile.rows), len(keys)))
    for plane, slice_ in np.ndindex(found.shape[:2]):
        names = (seed, chip, layer.name, plane, slice_)
        found[plane, slice_] = stuck_conductances(hardware.device, tile.rows, keys, names)
    on = np.full(len(keys), number)
    found[on_open_lines(layer, band, tile.rows, on, keys, seed, chip)] = 0.0
    return found
