"""Reads of some word lines at a time: an array of which n are active is, read after read, one of n rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import UNIT, cases, design, designs, device, holding
from torch import nn

from mapping import (
    MappedNetwork,
    analog_network,
    calibrate,
    map_network,
    program_network,
)
from mapping.chips.columns import blocks, ideal_blocks
from mapping.chips.wires import noise_through_wires, whole_tiles
from mapping.tiles.mapped import Band, Tile
from mapping.tiles.reads import reads_of_band, reads_of_tile
from xbar import ProgrammingNoise, WhiteNoise, XbarError, load_hardware
from xbar.conductances.noise_laws import BOLTZMANN
from xbar.hardware.design import Hardware
from xbar.multiply.mvm import mvm
from xbar.multiply.on_device import DriveTables, mvm_on_device, stacked
from xbar.multiply.reference import mvm_reference
from xbar.wires.circuit import solve
from xbar.wires.sensitivity import output_variance


def test_word_lines_go_in_groups_of_neighbours() -> None:
    """Lines 0 to 9, three at a time: a tile without a line in a group is not read in it."""
    tiles = Tile(np.array([20, 21, 29]), np.arange(2)), Tile(np.array([20, 24]), np.arange(2, 4))
    band, hardware = Band(20, 10, tiles), design(10, 6, periphery__rows_per_read=3)
    found = [
        (read.first_row, read.rows.tolist(), read.tiles.tolist()) for read in reads_of_band(band, hardware)
    ]
    assert found == [(20, [0, 1], [0, 1]), (23, [2], [1]), (29, [3], [0])]  # of rows 20 21 24 29
    assert [reads_of_tile(tile, band, hardware) for tile in tiles] == [2, 2]
    (whole,) = reads_of_band(band, design(10, 6))
    assert (whole.rows.tolist(), whole.tiles.tolist()) == ([0, 1, 2, 3], [0, 1])


def on_arrays(model: nn.Module, x: torch.Tensor, hardware: Hardware, **noise: Any) -> torch.Tensor:
    """Outputs of a chip of this hardware, its bands cut as an array of it cuts them."""
    mapped = map_network(model, hardware, x, packing=False)
    held = holding(model, mapped)
    mapped = calibrate(mapped, held, [(x, None)])[0]
    return analog_network(held, program_network(mapped, seed=3))(x)


NOISE = {
    "device__programming": ProgrammingNoise("lognormal", sigma=0.1),
    "device__read_noise": WhiteNoise(0.02, "range"),
    "adc__noise_lsb": 0.3,
}


@settings(deadline=None, max_examples=15)
@given(cases(layers=1), designs(), st.data())
def test_reads_are_those_of_arrays_with_as_many_rows(case, drawn, data) -> None:
    """Bit for bit, with all noise: of fixed and full ranges, and where a layer has one range."""
    n, reads = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    bits = data.draw(st.sampled_from(["ideal", 4, 7]))
    changes = {
        "adc__bits": bits,
        "adc__after": data.draw(st.sampled_from(["phase", "accumulation"])),
        "dac__bits": data.draw(st.integers(2, 5)),
        **(NOISE if data.draw(st.booleans()) else {}),
    }
    if bits == "ideal":
        changes |= {"adc__noise_lsb": 0.0, "adc__after": "phase"}
    else:
        changes["adc__range"] = data.draw(st.sampled_from(["full", "calibrated", "percentile"]))
        changes["adc__per"] = "layer"
    base = drawn.replace(**changes)
    by_reads = base.replace(crossbar__rows=n * reads, periphery__rows_per_read=n)
    y = on_arrays(case.model, case.x, by_reads)
    torch.testing.assert_close(
        y, on_arrays(case.model, case.x, base.replace(crossbar__rows=n)), rtol=0, atol=0
    )


def layer_of(hardware: Hardware, inputs: int = 40) -> tuple[nn.Sequential, MappedNetwork]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(inputs, 11))
    x = torch.rand(200, inputs).sub(0.4).clamp(min=0)
    mapped = map_network(model, hardware, x)
    return model, calibrate(mapped, model, [(x, None)])[0]


OHMS = {"crossbar__r_wl": 500.0, "crossbar__r_bl": 500.0, "crossbar__r_sense": 500.0}


@pytest.mark.parametrize("mode", ["mean-inputs", "each-input", "all-cells"])
def test_kernels_and_torch_give_the_same(mode: str) -> None:
    cell = device(4, read_noise=WhiteNoise(0.02, "range"))
    changes = {"adc__gain_sigma": 0.02, "adc__offset_sigma": 0.5, "periphery__rows_per_read": 5, **OHMS}
    hardware = design(12, 26, device=cell, dac__bits=4, adc__bits=6, crossbar__noise_through_wires=mode)
    model, mapped = layer_of(hardware.replace(**changes), inputs=20)
    chip = program_network(mapped, seed=2)
    of_chip, analog = blocks(chip, "0"), analog_network(model, chip)[0].analog
    assert [len(block.rows) for block in of_chip] == [5, 5, 2, 5, 3]
    codes = np.random.default_rng(0).integers(0, 16, (30, 20)).astype(np.uint8)
    found = mvm(codes, of_chip, 11, drive=analog.drive)
    others = [np.asarray(mvm_reference(codes, of_chip, 11, drive=analog.drive))]
    columns = stacked(of_chip, 20, 11)
    tables = DriveTables.of(analog.drive, columns)
    others.append(mvm_on_device(torch.from_numpy(codes), columns, tables).numpy())
    step = float(of_chip[0].converter.step.max() * np.abs(analog.drive.weights).max())
    for other in others:
        # a current within rounding of two codes may go to either
        assert (np.abs(found - other) > 1e-3 * np.abs(found).mean()).mean() < 0.01
        assert np.abs(found - other).max() <= 3 * step


def test_each_read_is_converted_and_added_in_digital() -> None:
    """Sums of integers, three rows at a time, by a converter of 3 bits whose step is 1, in loops."""
    model, mapped = layer_of(design(8, 26, dac__bits=3, adc__bits=3, periphery__rows_per_read=3), inputs=20)
    layer = mapped.layers["0"]
    steps = tuple(np.full_like(each, UNIT * 0.25) for each in layer.calibration.adc_steps)
    layer = dataclasses.replace(layer, calibration=dataclasses.replace(layer.calibration, adc_steps=steps))
    mapped = dataclasses.replace(mapped, layers={"0": layer})
    analog = analog_network(model, program_network(mapped))[0].analog
    codes = np.random.default_rng(0).integers(0, 8, (50, 20)).astype(np.uint8)
    found = analog.multiply(codes) / analog.drive.weights[0]
    w = layer.state.astype(int)
    expected, clipped = np.zeros((50, 11)), 0
    for first in (0, 8, 16):
        for start in range(first, min(first + 8, 20), 3):
            rows = slice(start, min(start + 3, first + 8, 20))
            for phase in range(3):
                current = (codes[:, rows] >> phase & 1).astype(int) @ w[rows]
                clipped += ((current < -4) | (current > 3)).sum()
                expected += np.clip(current, -4, 3) * 2**phase
    assert clipped > 0
    np.testing.assert_array_equal(found, expected)


def test_behind_wires_the_other_word_lines_are_at_zero() -> None:
    """Weights of each read are the currents of the whole array where only its lines are driven."""
    hardware = design(24, 26, device=device(4), dac__bits=4, adc__bits=6, periphery__rows_per_read=7, **OHMS)
    _, mapped = layer_of(hardware)
    chip, layer = program_network(mapped), mapped.layers["0"]
    found = iter(blocks(chip, "0"))
    for band, g in zip(layer.bands, chip.conductances["0"], strict=True):
        tiles = whole_tiles(layer, band, g)
        for read in reads_of_band(band, hardware):
            block, expected = next(found), np.zeros((len(read.rows), g.shape[3]))
            for array, (in_band, in_tile) in zip(tiles.g, tiles.places, strict=True):
                lines = np.zeros((len(read.rows), 24))
                lines[np.arange(len(read.rows)), band.rows[read.rows] - band.first_row] = 1.0
                for plane, sign in ((0, 1), (1, -1)):
                    currents = solve(array[plane], lines, r_wl=500, r_bl=500, r_sense=500).currents
                    expected[:, in_band[3].ravel()] += sign * currents[:, in_tile[2].ravel()] / UNIT
            np.testing.assert_allclose(block.weights, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert next(found, None) is None


def test_noise_behind_wires_is_that_of_the_active_lines() -> None:
    """At the mean inputs of eight lines, where the other sixteen carry nothing: cells on these are noisy,
    too, as their bit lines are raised. The means of all 24 lines are further off."""
    cell = device(4, read_noise=WhiteNoise(0.02, "range"))
    ohms = dict.fromkeys(OHMS, 1500.0)
    hardware = design(24, 26, device=cell, dac__bits=4, adc__bits=8, periphery__rows_per_read=8, **ohms)
    _, mapped = layer_of(hardware)
    chip, layer = program_network(mapped, seed=2), mapped.layers["0"]
    rng, found, whole = np.random.default_rng(0), iter(blocks(chip, "0")), []
    ratios = []
    for programmed in chip.layers["0"].bands:
        band, g = programmed.mapped, programmed.conductances
        tiles, sigma = whole_tiles(layer, band, g), np.full((24, 26), 0.02 * 3 * UNIT)
        at_once = noise_through_wires(layer, band, g, programmed.devices)
        for read in reads_of_band(band, hardware):
            block, rows = next(found), band.rows[read.rows]
            lines = np.zeros((16, 24))
            lines[:, rows - band.first_row] = rng.random((16, len(rows))) < layer.calibration.mean[rows]
            lines = lines[lines.any(1)]
            v = lines[:, rows - band.first_row]
            expected = np.zeros((len(v), g.shape[3]))
            for array, (in_band, in_tile) in zip(tiles.g, tiles.places, strict=True):
                for plane in range(2):
                    every = output_variance(array[plane], lines, sigma, r_wl=1500, r_bl=1500, r_sense=1500)
                    expected[:, in_band[3].ravel()] += every[:, in_tile[2].ravel()] / UNIT**2
            ratios.append(np.sqrt((v**2 @ block.noise.variance + block.noise.floor) / expected))
            of_read = np.isin(np.arange(40), rows)
            only = dataclasses.replace(
                layer.calibration,
                mean=np.where(of_read, layer.calibration.mean, 0),
                mean_square=np.where(of_read, layer.calibration.mean_square, 0),
            )
            alone = noise_through_wires(
                dataclasses.replace(layer, calibration=only), band, g, programmed.devices
            )
            floor = alone.floor.sum((0, 1)) / UNIT**2
            np.testing.assert_allclose(block.noise.floor, floor, rtol=1e-6)
            other = v**2 @ at_once.variance.sum((0, 1))[read.rows] + at_once.floor.sum((0, 1))
            whole.append(np.sqrt(other / UNIT**2 / expected))
    ratio, of_all = np.concatenate(ratios), np.concatenate(whole)
    right, wrong = (float(np.sqrt(np.mean(each**2))) for each in (ratio, of_all))
    assert abs(right - 1) < 0.02  # that of the factors themselves, behind wires that take a third
    assert abs(wrong - 1) > abs(right - 1)


def test_thermal_noise_is_that_of_the_whole_bit_line() -> None:
    """At each read: the lines at 0 V are as warm as the others."""
    _, mapped = layer_of(
        design(24, 26, dac__bits=4, adc__bits=8, adc__bandwidth=1e9, periphery__rows_per_read=8)
    )
    g = program_network(mapped).conductances["0"]
    whole = g[0].astype(float).sum((0, 1, 2)), g[1].astype(float).sum((0, 1, 2))
    idle = 2 * 8 * UNIT  # the second band has 16 of 24 lines
    for number, block in enumerate(blocks(program_network(mapped), "0")):
        siemens = whole[0] if number < 3 else whole[1] + idle
        expected = 4 * BOLTZMANN * 300 * 1e9 * siemens / (0.25 * UNIT) ** 2
        np.testing.assert_allclose(block.noise.floor, expected, rtol=1e-5)


def test_a_tile_without_a_line_in_a_read_is_not_converted() -> None:
    """Its converter would add its offset."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 6, bias=False)), torch.rand(50, 8)
    mask = torch.ones(8, 6, dtype=torch.bool)
    mask[:4, :3] = mask[4:, 3:] = False  # two tiles of three columns, each on four of eight lines
    with torch.no_grad():
        model[0].weight.mul_(mask.T)
    hardware = design(8, 3, dac__bits=4, adc__bits=8, adc__offset_sigma=5.0, periphery__rows_per_read=4)
    mapped = map_network(model, hardware, x, masks={"0": mask})
    chip = program_network(calibrate(mapped, holding(model, mapped), [(x, None)])[0])
    found = [(block.rows.tolist(), block.out.tolist()) for block in blocks(chip, "0")]
    assert found == [([0, 1, 2, 3], [3, 4, 5]), ([4, 5, 6, 7], [0, 1, 2])]
    (band,) = ideal_blocks(chip, "0")
    assert [columns.tolist() for _, columns in band.reads] == [[3, 4, 5], [0, 1, 2]]
    assert [len(read) for read in chip.mapped.layers["0"].calibration.adc_steps] == [6]


def test_impossible_numbers_of_rows_are_refused() -> None:
    for rows in (0, 9):
        with pytest.raises(
            XbarError, match=rf"periphery\.rows_per_read = {rows}.* 1 and 8 \(crossbar\.rows\)"
        ):
            design(8, 6, periphery__rows_per_read=rows)
    assert load_hardware("isaac").rows_at_once == 128
