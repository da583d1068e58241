"""FORMS: one array for both signs, a fragment of 8 word lines a read; costs and conversions by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from power_cases import hardware, network, packed_layers, unpacked
from torch import nn

from experiments.commands.networks.estimate_text import text
from mapping import analog_network, calibrate, map_network, program_network
from mapping.constraints.fragments import OneSign
from power.counts.fragments import fragments_of
from power.estimates.programming import programming
from power.estimates.table import estimate
from xbar import WritePulse, load_hardware

PAIR = hardware(rows=6, cols=5, slices=2)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from([1, 2, 4, "all"]))
def test_every_fragment_of_every_tile_is_counted(data, n) -> None:
    design = PAIR.replace(periphery__rows_per_read=n)
    layer = data.draw(packed_layers(design))
    count = mixed = 0
    for band in layer.bands:
        for tile in band.tiles:
            for first in range(band.first_row, band.first_row + band.height, 6 if n == "all" else n):
                rows = [row for row in tile.rows if first <= row < first + (6 if n == "all" else n)]
                for column in tile.cols if rows else []:
                    count += 1
                    mixed += len({*np.sign(layer.state[rows, column])} - {0}) == 2
    assert fragments_of([layer]) == (count, mixed, 0)


def test_weights_that_are_not_known_and_weights_on_one_plane() -> None:
    assert fragments_of([unpacked(PAIR, 20, 9)]) == (0, 0, 1)
    offset = hardware(encoding__kind="offset")
    assert fragments_of([unpacked(offset, 20, 9)]) == (0, 0, 0)


def test_one_array_holds_both_signs() -> None:
    """256 x 40 weights of 4 cells: two arrays high and two wide, on one node, 16 reads of 16 phases each."""
    design = load_hardware("forms")
    result = estimate(network(design, unpacked(design, 256, 40, positions=3)))
    of = result.by_component
    units = {row.component: row.units for row in result.table}
    assert units["adc"] == 4 * 4
    assert units["dac"] == 4 * 128
    assert units["sample_hold"] == units["array"] * 128 == 4 * 128
    assert units["input_register"] == 4 * 128 * 2
    assert units["output_register"] == 4 * 32 * 2
    events = {row.component: row.events for row in result.table}
    reads = 3 * 16 * 16
    assert events["array"] == 4 * reads
    assert events["dac"] == events["input_register"] == 3 * 16 * 4 * 128
    assert events["adc"] == events["shift_add"] == 2 * 40 * 4 * reads
    assert events["output_register"] == 2 * 2 * 40 * reads
    assert of["adc"]["energy_nj"] == pytest.approx(events["adc"] * 15.2e-3 / (32 * 2.1e9) * 1e9)
    assert of["array"]["energy_nj"] == pytest.approx(4 * reads * 30e-3 * 8 / 128)
    assert of["array"]["area_mm2"] == pytest.approx(4 * 0.0002 / 8)
    assert result.nodes == {"layer": 1}
    assert result.area_allocated_mm2 == pytest.approx(result.area_mm2 * 96 / 4)
    assert result.peak_image_rate_per_s == pytest.approx(2.1e9 / (32 * reads), rel=1e-7)


def trained() -> tuple[nn.Sequential, torch.Tensor]:
    """A layer whose fragments of 8 word lines have one sign, and inputs without a sign."""
    torch.manual_seed(0)
    linear = nn.Linear(150, 40)
    with torch.no_grad():
        v = linear.weight.T.contiguous()
        linear.weight.copy_((v * OneSign(8).choose(v, v.square())).T)
    return nn.Sequential(linear), torch.rand(60, 150)


def test_its_first_lines_say_how_many_fragments_do_not_fit() -> None:
    design = load_hardware("forms")
    model, x = trained()
    mapped = map_network(model, design, x)
    fits = estimate(mapped)
    assert fits.fragments == (19 * 40, 0, 0)
    assert "one array for both signs" not in text("net", {"forms": fits})
    with torch.no_grad():
        model[0].weight[7, :3] *= -1  # a fragment of column 7
    mixed = estimate(map_network(model, design, x))
    assert mixed.fragments == (19 * 40, 1, 0)
    said = "one array for both signs: 1 of 760 fragments of a column hold weights of both"
    assert said in "\n".join(text("net", {"forms": mixed}).splitlines()[:4])
    unknown = estimate(network(design, unpacked(design, 128, 8)))
    assert "is assumed, as none is known" in text("net", {"forms": unknown})
    assert estimate(network(PAIR, unpacked(PAIR, 20, 9))).fragments is None


def test_a_simulation_is_of_one_array_and_the_sign_of_each_fragment() -> None:
    """What FORMS does, in loops: a fragment's magnitudes a phase through a converter of 4 bits, codes 0 to
    15, the fragment's sign and the place value in digital."""
    model, x = trained()
    mapped = calibrate(map_network(model, load_hardware("forms"), x), model, [(x, None)])[0]
    layer, unit = mapped.layers["0"], mapped.hardware.device.unit
    step = 1.7  # digits a code, of which 24 are the most; no sum of digits lies half way between two codes
    steps = tuple(np.full_like(each, unit * 0.2 * step) for each in layer.calibration.adc_steps)
    layer = dataclasses.replace(layer, calibration=dataclasses.replace(layer.calibration, adc_steps=steps))
    mapped = dataclasses.replace(mapped, layers={"0": layer})
    analog = analog_network(model, program_network(mapped))[0].analog
    codes = np.random.default_rng(0).integers(0, 1 << 16, (20, 150)).astype(np.int32)
    magnitudes, expected = np.abs(layer.state.astype(int)), np.zeros((20, 40))
    for first in range(0, 150, 8):
        rows = slice(first, min(first + 8, 150))
        sign = np.sign(layer.state[rows].astype(int).sum(0))
        for phase in range(16):
            bits = codes[:, rows] >> phase & 1
            for slice_ in range(4):
                code = np.rint(bits @ (magnitudes[rows] >> 2 * slice_ & 3) / step).clip(0, 15)
                expected += sign * code * step * 2.0**phase * 4.0**slice_
    found = analog.multiply(codes) / analog.drive.weights[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_the_cells_of_one_array_are_written_once() -> None:
    """Two planes of the same network have twice the cells, half of which idle at g_min."""
    model, x = trained()
    pulse = WritePulse(voltage=2.0, width=1e-7, source="a test")
    forms = load_hardware("forms").replace(device__pulse=pulse)
    planes = forms.replace(periphery__architecture="isaac", periphery__library="isaac")
    one, two = (
        programming(program_network(calibrate(map_network(model, design, x), model, [(x, None)])[0]))
        for design in (forms, planes)
    )
    assert (one.layers[0].cells, two.layers[0].cells) == (150 * 40 * 4, 2 * 150 * 40 * 4)
    assert one.array_time_us == pytest.approx(128 * 32 * 4 * 0.1)
    assert one.total_time_us == pytest.approx(two.total_time_us / 2)
    idle = 150 * 40 * 4 * forms.device.g_min * 2.0**2 * 1e-7 * 1e6
    assert one.energy_uj == pytest.approx(two.energy_uj - idle)
