"""Whole tiles behind wires against a nodal circuit that is built from the page on physics alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from networks import UNIT, design, device
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch import nn

from mapping import MappedNetwork, ProgrammedNetwork, calibrate, map_network, program_network
from mapping.chips.columns import blocks
from mapping.chips.wires import through_wires
from mapping.tiles.mapped import Band, MappedLayer
from power.counts.array import row_conductance
from xbar import ProgrammingNoise, WhiteNoise, solve

OHMS: dict[str, Any] = {"r_wl": 700.0, "r_bl": 300.0, "r_driver": 2000.0, "r_sense": 900.0}

SIGMA = 0.02 * 3 * UNIT
"""Read noise of every device: .02 of the range of `device(4)` [S]."""

CASES = [
    (size, (kind, unformed), slices, gated)
    for size in [(5, 6), (8, 12), (12, 8)]
    for kind, unformed in [
        ("differential", False),
        ("differential", True),
        ("offset", False),
        ("twos-complement", False),
    ]
    for slices in [1, 2]
    for gated in [False, True]
    if slices > 1 or kind != "twos-complement"
]


def node_voltages(g: NDArray[Any], ends: NDArray[Any], senses: NDArray[Any]) -> NDArray[Any]:
    """Voltage over each cell, shape (vectors, rows, cols), by Kirchhoff's current law at each of 2 K N nodes.

    `ends` are the voltages of the drivers, shape (vectors, rows); `senses` those behind r_sense.
    """
    rows, cols = g.shape
    word = np.arange(rows * cols).reshape(rows, cols)
    bit = word + rows * cols
    links = [(word[:, 1:], word[:, :-1], np.full((rows, cols - 1), 1 / OHMS["r_wl"]))]
    links += [(bit[1:], bit[:-1], np.full((rows - 1, cols), 1 / OHMS["r_bl"])), (word, bit, g)]
    matrix = sparse.lil_matrix((2 * rows * cols, 2 * rows * cols))
    for first, second, of_link in links:
        for a, b, siemens in zip(first.ravel(), second.ravel(), of_link.ravel(), strict=True):
            matrix[a, a] += siemens
            matrix[b, b] += siemens
            matrix[a, b] -= siemens
            matrix[b, a] -= siemens
    feed, sink = 1 / (OHMS["r_driver"] + OHMS["r_wl"]), 1 / (OHMS["r_bl"] + OHMS["r_sense"])
    right = np.zeros((2 * rows * cols, len(ends)))
    for node in word[:, 0]:
        matrix[node, node] += feed
    for node in bit[-1]:
        matrix[node, node] += sink
    right[word[:, 0]], right[bit[-1]] = feed * ends.T, sink * senses.T
    found = np.asarray(spsolve(matrix.tocsc(), right)).reshape(2 * rows * cols, -1).T
    return (found[:, word.ravel()] - found[:, bit.ravel()]).reshape(-1, rows, cols)


def whole_tile(
    layer: MappedLayer, band: Band, number: int, values: NDArray[Any], spare: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """All cells of one tile of a band, (planes, rows, cols), and where its columns stand.

    A cell that no weight uses has `spare`, or 0 where its bit line is gated. The second array has the bit
    line of each slice and column, a reference last; the third the places of those columns among the band's.
    """
    hardware, tile = layer.hardware, band.tiles[number]
    slices, rows, cols = hardware.encoding.slices, hardware.crossbar.rows, hardware.crossbar.cols
    whole = np.full((len(values), rows, cols), spare)
    lines = [[int(place) * slices + part for place in tile.at] for part in range(slices)]
    first = sum(len(other.cols) for other in band.tiles[:number])
    places = list(range(first, first + len(tile.cols)))
    if hardware.encoding.kind != "differential":
        lines = [[*of_slice, cols - slices + part] for part, of_slice in enumerate(lines)]
        places.append(len(band.cols) + number)
    if hardware.periphery.gated_columns:
        used = {line for of_slice in lines for line in of_slice}
        whole[:, :, [line for line in range(cols) if line not in used]] = 0.0
    in_band = [list(band.rows).index(row) for row in tile.rows]
    for part, of_slice in enumerate(lines):
        for line, place in zip(of_slice, places, strict=True):
            whole[:, tile.rows - band.first_row, line] = values[:, part, in_band, place]
    return whole, np.array(lines), np.array(places)


def made(case: Any, **changes: Any) -> tuple[MappedNetwork, ProgrammedNetwork]:
    """A layer of 11 inputs and 7 outputs, a third of its weights masked, on two bands and several tiles."""
    (rows, cols), (kind, unformed), slices, gated = case
    torch.manual_seed(rows * 31 + slices)
    model, x = nn.Sequential(nn.Linear(11, 7)), torch.rand(60, 11)
    with torch.no_grad():
        model[0].weight[torch.rand(7, 11) < 1 / 3] = 0
    cell = device(
        4, programming=ProgrammingNoise("lognormal", sigma=0.2), read_noise=WhiteNoise(0.02, "range")
    )
    wires = {f"crossbar__{name}": ohms for name, ohms in OHMS.items()}
    hardware = design(rows, cols, device=cell, dac__bits=4, adc__bits=8, **wires).replace(
        encoding__kind=kind,
        encoding__slices=slices,
        encoding__unformed=unformed,
        periphery__gated_columns=gated,
        crossbar__noise_through_wires="all-cells",
        **changes,
    )
    mapped = calibrate(map_network(model, hardware, x), model, [(x, None)])[0]
    return mapped, program_network(mapped, seed=3)


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_noise_are_those_of_the_nodal_circuit(case: Any) -> None:
    mapped, chip = made(case)
    layer, seen = mapped.layers["0"], 0
    spare_sigma = 0.0 if mapped.hardware.encoding.unformed else SIGMA
    spare = 0.0 if mapped.hardware.encoding.unformed else mapped.hardware.device.g_min
    for cells, block in zip(chip.layers["0"].bands, blocks(chip, "0"), strict=True):
        band, g = cells.mapped, cells.conductances.astype(float)
        v = np.random.default_rng(1).random((5, len(band.rows)))
        found = np.einsum("mr,psrn->mpsn", v, through_wires(layer, band, g))
        variance = np.zeros((5, *found.shape[1:]))
        for number, tile in enumerate(band.tiles):
            array, lines, places = whole_tile(layer, band, number, g, spare)
            sigma = whole_tile(layer, band, number, np.where(cells.devices, SIGMA, 0.0), spare_sigma)[0]
            rows, cols = array.shape[1:]
            applied = np.zeros((5, rows))
            applied[:, tile.rows - band.first_row] = v[:, np.searchsorted(band.rows, tile.rows)]
            for plane in range(len(array)):
                over = node_voltages(array[plane], applied, np.zeros((5, cols)))
                current = (array[plane] * over).sum(1)
                scale = np.abs(current).max()
                np.testing.assert_allclose(
                    found[:, plane][:, :, places], current[:, lines], atol=1e-9 * scale
                )
                adjoint = node_voltages(array[plane], np.zeros((cols, rows)), np.eye(cols))
                power = np.einsum("mij,nij,ij->mn", over**2, adjoint**2, sigma[plane] ** 2)
                variance[:, plane][:, :, places] = power[:, lines] / UNIT**2
                seen += 1
        if len(g) > mapped.hardware.encoding.converted_planes:
            variance = variance.sum(1)
        assert block.noise is not None
        noise = np.einsum("mk,ckl,ml->mc", v, block.noise.variance, v)
        np.testing.assert_allclose(noise, variance.reshape(5, -1), rtol=1e-4)
    assert seen >= len(chip.layers["0"].bands)


@pytest.mark.parametrize("case", CASES)
def test_array_energy_is_that_of_the_sources(case: Any) -> None:
    """V I of the sources by `xbar.solve`, against the circuit; without wires, the estimate's V^2 sum G."""
    mapped, chip = made(case)
    layer = mapped.layers["0"]
    encoding = mapped.hardware.encoding
    spare = 0.0 if encoding.unformed else mapped.hardware.device.g_min
    by_hand = np.zeros(11)
    for cells in chip.layers["0"].bands:
        band = cells.mapped
        for number, tile in enumerate(band.tiles):
            array = whole_tile(layer, band, number, cells.conductances.astype(float), spare)[0]
            by_hand[tile.rows] += array[:, tile.rows - band.first_row].sum((0, 2))
            applied = np.zeros((1, array.shape[1]))
            applied[0, tile.rows - band.first_row] = 0.25
            for plane in array:
                over = node_voltages(plane, applied, np.zeros((1, plane.shape[1])))
                power = (applied[0] * (plane * over[0]).sum(1)).sum()
                assert solve(plane, applied, **OHMS).power[0] == pytest.approx(power, rel=1e-8)
                assert power < 0.25**2 * plane[tile.rows - band.first_row].sum()
    np.testing.assert_allclose(row_conductance(layer, mapped.hardware, chip=chip), by_hand, rtol=1e-5)
