"""Noise behind wires in a chip's blocks: each tile as a circuit of its own, by exact sensitivities."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from circuits import dense_solve
from networks import UNIT, design, device
from scipy import stats
from torch import nn

from mapping import MappedNetwork, analog_network, calibrate, map_network, program_network
from mapping.chips.codes import layer_codes
from mapping.chips.columns import blocks
from mapping.chips.outside_domain import noise_outside_domain
from mapping.chips.wires import noise_through_wires, whole_tiles
from mapping.tiles.mapped import Band, MappedLayer
from xbar import ProgrammingNoise, WhiteNoise, XbarError
from xbar.conductances.noise_laws import BOLTZMANN
from xbar.multiply.mvm import mvm
from xbar.multiply.on_device import DriveTables, mvm_on_device, stacked
from xbar.multiply.reference import mvm_reference
from xbar.wires.noise import wire_noise
from xbar.wires.sensitivity import output_variance

FALSE_ALARM = 1e-6

OHMS = {"crossbar__r_wl": 500.0, "crossbar__r_bl": 500.0, "crossbar__r_sense": 500.0}


def noisy_case(**changes: Any) -> tuple[nn.Sequential, MappedNetwork]:
    """A layer of 40 inputs in two bands, on cells with write errors, and inputs of which two fifths are 0."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 11))
    cell = device(
        4, programming=ProgrammingNoise("lognormal", sigma=0.1), read_noise=WhiteNoise(0.02, "range")
    )
    hardware = design(24, 26, device=cell, dac__bits=4, **OHMS).replace(**changes)
    x = torch.rand(200, 40).sub(0.4).clamp(min=0)
    mapped = map_network(model, hardware, x)
    return model, calibrate(mapped, model, [(x, None)])[0]


def exact_variance(layer: MappedLayer, band: Band, g: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Of the columns of a band [UNIT^2], shape (M, planes, 1, columns), cells without weights noisy, too."""
    tiles, expected = whole_tiles(layer, band, g), np.zeros((len(v), len(g), 1, g.shape[3]))
    sigma = np.full(tiles.g.shape[2:], 0.02 * 3 * UNIT)
    for tile, array, (in_band, in_tile) in zip(band.tiles, tiles.g, tiles.places, strict=True):
        applied = np.zeros((len(v), 24))
        applied[:, tile.rows - band.first_row] = v[:, tile.rows]
        for plane in range(len(g)):
            variance = output_variance(array[plane], applied, sigma, r_wl=500, r_bl=500, r_sense=500)
            expected[:, plane, 0, in_band[3].ravel()] = variance[:, in_tile[2].ravel()] / UNIT**2
    return expected


@pytest.mark.parametrize("kind", ["differential", "offset"])
@pytest.mark.parametrize("subtract", ["analog", "digital"])
def test_read_noise_is_that_of_the_whole_tiles(kind: str, subtract: str) -> None:
    _, mapped = noisy_case(encoding__kind=kind, encoding__subtract=subtract, adc__bits=8)
    chip, hardware, layer = program_network(mapped, seed=2), mapped.hardware, mapped.layers["0"]
    rng, ratios = np.random.default_rng(0), []
    mean = layer.calibration.mean
    for programmed, block in zip(chip.layers["0"].bands, blocks(chip, "0"), strict=True):
        band, g = programmed.mapped, programmed.conductances
        v = (rng.random((16, 40)) < mean).astype(float)
        found = v[:, band.rows] ** 2 @ block.noise.variance + block.noise.floor
        expected = exact_variance(layer, band, g, v)
        if len(g) > hardware.encoding.converted_planes:
            expected = expected.sum(1, keepdims=True)
        ratios.append(np.sqrt(found / expected.reshape(16, -1)))
        lost = noise_through_wires(layer, band, g, programmed.devices).lost
        assert 0.05 < lost.min() <= lost.max() < 0.35
    ratio = np.concatenate(ratios, axis=1)
    assert abs(np.sqrt(np.mean(ratio**2)) - 1) < 0.02
    assert np.quantile(np.abs(ratio - 1), 0.95) < 0.05


def test_noise_of_outputs_follows() -> None:
    """20,000 reads of one input behind wires; what the blocks say, within 1 % (chi-square at 1e-6: 5 %)."""
    model, mapped = noisy_case()
    chip = program_network(mapped, seed=2)
    x = torch.rand(1, 40).sub(0.4).clamp(min=0)
    network = analog_network(model, chip)
    y = network(x.expand(20_000, 40)).double()
    quiet = mapped.with_hardware(lambda h: h.replace(device__read_noise=WhiteNoise()))
    exact = analog_network(model, program_network(quiet, seed=2))(x).double()
    code = np.clip(np.rint(x.numpy() / mapped.layers["0"].calibration.x_max * 15), 0, 15).astype(np.uint8)
    drive = network[0].analog.drive
    _, power = drive.voltages(code)
    variance = np.zeros(11)
    for block in blocks(chip, "0"):
        one = power[0, 0, block.rows] @ block.noise.variance + block.noise.floor
        np.add.at(variance, block.out, block.coefficient.astype(float) ** 2 * one)
    sigma = np.sqrt(variance) * float(drive.weights[0]) * network[0].analog.gain
    found = (y - exact).square().mean(0).sqrt().numpy()
    np.testing.assert_allclose(found, sigma, rtol=0.03)


@pytest.mark.parametrize("kind", ["differential", "offset"])
@pytest.mark.parametrize("mode", ["each-input", "all-cells"])
def test_noise_at_each_input_is_that_of_the_whole_tiles(kind: str, mode: str) -> None:
    """Spare cells are noisy, too; inputs of another rate than the calibration's change nothing."""
    _, mapped = noisy_case(encoding__kind=kind, adc__bits=8, crossbar__noise_through_wires=mode)
    chip, hardware, layer = program_network(mapped, seed=2), mapped.hardware, mapped.layers["0"]
    v = (np.random.default_rng(0).random((16, 40)) < 0.1).astype(float)
    v[:, ::9] = 1
    for programmed, block in zip(chip.layers["0"].bands, blocks(chip, "0"), strict=True):
        band, g = programmed.mapped, programmed.conductances
        of_rows = v[:, band.rows]
        found = np.einsum("mk,ckl,ml->mc", of_rows, block.noise.variance, of_rows) + block.noise.floor
        expected = exact_variance(layer, band, g, v)
        if len(g) > hardware.encoding.converted_planes:
            expected = expected.sum(1, keepdims=True)
        ratio = np.sqrt(found / expected.reshape(16, -1))
        if mode == "all-cells":
            np.testing.assert_allclose(ratio, 1, rtol=1e-4)
        else:
            assert 0.99 < ratio.min() <= ratio.max() < 1
    _, far = noisy_case(crossbar__r_sense=2e4, crossbar__noise_through_wires=mode)
    assert noise_outside_domain(far) == []


@pytest.mark.parametrize("changes", [{}, {"adc__bits": 8, "adc__after": "accumulation"}, {"adc__bits": 8}])
def test_outputs_have_the_noise_of_their_own_input(changes: dict[str, Any]) -> None:
    """Chi-square at 1e-6 over 5,000 reads of two inputs; phase by phase, accumulated, and by a fine ADC. The
    multiplies in torch have the same noise to the last digits."""
    model, mapped = noisy_case(crossbar__noise_through_wires="all-cells", **changes)
    x = torch.stack([torch.rand(40).sub(0.4).clamp(min=0), torch.full((40,), 0.5)])
    outputs = []
    for sigma in (0.02, 0.0):
        noisy = mapped.with_hardware(lambda h, s=sigma: h.replace(device__read_noise=WhiteNoise(s, "range")))
        if changes:  # a step of 1/50 of the noise leaves 1/30,000 of its variance
            fine = dataclasses.replace(
                mapped.layers["0"].calibration,
                adc_steps=tuple(s * 0 + 2e-4 * UNIT * 0.25 for s in mapped.layers["0"].calibration.adc_steps),
            )
            noisy = noisy.with_hardware(lambda h: h.replace(adc__bits=24))
            layers = {"0": dataclasses.replace(noisy.layers["0"], calibration=fine)}
            noisy = dataclasses.replace(noisy, layers=layers)
        chip = program_network(noisy, seed=2)
        network = analog_network(model, chip)
        outputs.append(network(x.repeat(5000, 1)).double() / torch.from_numpy(network[0].analog.gain))
        if sigma:
            analog, of_chip = network[0].analog, blocks(chip, "0")
            codes = layer_codes(x.repeat(20, 1).numpy(), noisy.layers["0"])[0]
            codes = np.ascontiguousarray(codes.reshape(40, -1))
            both = [f(codes, of_chip, 11, drive=analog.drive) for f in (mvm, mvm_reference)]
            np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-3 * np.abs(both[0]).mean())
            columns = stacked(of_chip, 40, 11)
            there = mvm_on_device(torch.from_numpy(codes), columns, DriveTables.of(analog.drive, columns))
            np.testing.assert_allclose(there, both[0], rtol=1e-4, atol=1e-3 * np.abs(both[0]).mean())
    power, drive = np.zeros((2, 11)), network[0].analog.drive
    codes = np.rint(x.numpy() / mapped.layers["0"].calibration.x_max * 15).clip(0, 15).astype(int)
    for phase in range(4):
        for block in of_chip:
            v = (codes[:, block.rows] >> phase & 1).astype(float)
            one = np.einsum("mk,ckl,ml->mc", v, block.noise.variance, v) + block.noise.floor
            np.add.at(
                power, (slice(None), block.out), block.coefficient.astype(float) ** 2 * one * 4.0**phase
            )
    assert len(drive.weights) in (1, 4)
    error = (outputs[0] - outputs[1]).numpy().reshape(5000, 2, 11)
    total = (error**2 / power).sum((0, 2))
    low, high = stats.chi2.ppf([FALSE_ALARM / 4, 1 - FALSE_ALARM / 4], 5000 * 11)
    assert (low < total).all(), total / (5000 * 11)
    assert (total < high).all(), total / (5000 * 11)
    assert (1.05**2 * total > high).all()


def test_thermal_noise_is_that_of_the_admittance() -> None:
    """4kTB sum G is a third too large here; the spare cells of the tiles and both planes count."""
    _, mapped = noisy_case(device__read_noise=WhiteNoise(), adc__bandwidth=1e9, adc__bits=8)
    chip, hardware, layer = program_network(mapped), mapped.hardware, mapped.layers["0"]
    for band, block, g in zip(layer.bands, blocks(chip, "0"), chip.conductances["0"], strict=True):
        tiles, expected = whole_tiles(layer, band, g), np.zeros(g.shape[3])
        for array, (in_band, in_tile) in zip(tiles.g, tiles.places, strict=True):
            for plane in range(2):
                # driven at the outputs, the array is one of 26 word and 24 bit lines
                turned = array[plane][::-1, ::-1].T
                _, u, w = dense_solve(turned, np.eye(26), 500.0, 500.0, 500.0, 0.0)
                admittance = np.diag((turned * (u - w)).sum(2))[::-1]
                expected[in_band[3].ravel()] += admittance[in_tile[2].ravel()]
        power = 4 * BOLTZMANN * 300 * 1e9 * expected / (hardware.dac.v_read * UNIT) ** 2
        np.testing.assert_allclose(block.noise.floor, power, rtol=2e-3)
        assert (tiles.g.sum((1, 2)).max() / expected.max()) > 1.1


def test_cells_that_no_weight_uses_have_noise_behind_wires() -> None:
    """A layer of 8 inputs on tiles of 64 word lines: each bit line raises 56 idle cells. They were left out,
    which made sigma 7 % too small."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 5)), torch.rand(200, 8)
    cell = device(4, read_noise=WhiteNoise(0.02, "range"))
    hardware = design(64, 8, device=cell, dac__bits=4, adc__bits=8, crossbar__r_sense=1e5)
    mapped = calibrate(map_network(model, hardware, x), model, [(x, None)])[0]
    chip, layer = program_network(mapped), mapped.layers["0"]
    (band,), (block,), ohms = chip.layers["0"].bands, blocks(chip, "0"), {"r_wl": 0, "r_bl": 0}
    v = (np.random.default_rng(0).random((16, 8)) < layer.calibration.mean).astype(float)
    found = v @ block.noise.variance + block.noise.floor
    tiles, applied = whole_tiles(layer, band.mapped, band.conductances), np.zeros((16, 64))
    applied[:, :8] = v
    exact, driven = np.zeros((2, 16, 5))
    for array in tiles.g[0]:
        sigma = np.full((64, 8), 0.02 * 3 * UNIT)
        exact += output_variance(array, applied, sigma, r_sense=1e5, **ohms)[:, :5] / UNIT**2
        sigma[8:] = 0
        driven += output_variance(array, applied, sigma, r_sense=1e5, **ohms)[:, :5] / UNIT**2
    assert np.sqrt(driven / exact).mean() < 0.94
    assert np.sqrt(found.mean() / exact.mean()) == pytest.approx(1, abs=0.03)


def test_a_calibration_without_mean_inputs_is_refused() -> None:
    _, mapped = noisy_case()
    layer = mapped.layers["0"]
    old = dataclasses.replace(layer, calibration=dataclasses.replace(layer.calibration, mean=None))
    chip = program_network(dataclasses.replace(mapped, layers={"0": old}))
    with pytest.raises(XbarError, match=r"0: its calibration has no mean inputs, .*; calibrate again"):
        blocks(chip, "0")


@pytest.mark.parametrize(("bits", "width", "signed"), [(4, 1, False), (5, 2, True), ("ideal", 1, True)])
def test_mean_inputs_are_weighted_as_the_output_weighs_phases(bits: Any, width: int, signed: bool) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    x = torch.randint(-7, 8, (50, 3)).float() if signed else torch.randint(0, 16, (50, 3)).float()
    x[0] = 15.0
    hardware = design(8, 8).replace(dac__bits=bits, dac__phase_bits=width)
    mapped = calibrate(map_network(model, hardware, x), model, [(x, None)])[0]
    found = mapped.layers["0"].calibration
    if bits == "ideal":
        volts, weights = (x.numpy() / 15)[None], np.ones(1)
    else:
        codes = np.rint(x.numpy() / 15 * (2 ** (bits - signed) - 1)).astype(int)
        digits = np.stack([(codes >> p & 2**width - 1) for p in range(0, bits, width)])
        if signed:  # the last of three phases has one bit left, the sign
            digits[-1] = codes < 0
        volts, weights = digits / (2**width - 1), 4.0 ** np.arange(0, bits, width)
    weights = weights / weights.sum()
    np.testing.assert_allclose(found.mean, weights @ volts.mean(1), rtol=1e-6)
    np.testing.assert_allclose(found.mean_square, weights @ np.square(volts).mean(1), rtol=1e-6)


def test_noise_beyond_its_domain_is_named() -> None:
    """Law 9: a layer whose wires take more than 35 % of the current, and none without noise or wires."""
    _, mapped = noisy_case(crossbar__r_sense=2e4)
    (sentence,) = noise_outside_domain(mapped)
    assert sentence.startswith("0: read noise and thermal noise behind wires: they take up to ")
    assert noise_outside_domain(noisy_case()[1]) == []
    assert noise_outside_domain(noisy_case(crossbar__r_sense=2e4, device__read_noise=WhiteNoise())[1]) == []


def test_the_share_that_wires_take_does_not_know_the_sign_of_inputs() -> None:
    """Signed means nearly cancel: a share of their sum was -25, .58 or 0 on the same wires."""
    rng = np.random.default_rng(0)
    g = rng.uniform(1e-6, 1e-4, (1, 32, 32))
    rms = np.full((1, 32), 0.2)
    given = {"r_wl": 10.0, "r_bl": 10.0}
    known = wire_noise(g, rms, rms**2, **given).lost[0]
    assert 0.1 < known < 0.9
    for mean in (
        rng.normal(0, 0.01, (1, 32)),
        np.zeros((1, 32)),
        np.where(np.arange(32) % 2, 0.2, -0.2)[None],
    ):
        assert wire_noise(g, mean, rms**2, **given).lost[0] == pytest.approx(known, rel=1e-9)
