"""Noise behind wires in a chip's blocks: each tile as a circuit of its own, by exact sensitivities."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from circuits import dense_solve
from networks import UNIT, design, device
from torch import nn

from mapping import MappedNetwork, analog_network, calibrate, map_network, program_network
from mapping.chips.columns import blocks
from mapping.chips.noise_domain import noise_outside_domain
from mapping.chips.wires import noise_through_wires, whole_tiles
from xbar import ProgrammingNoise, WhiteNoise, XbarError
from xbar.conductances.noise import BOLTZMANN
from xbar.wires.noise import wire_noise
from xbar.wires.sensitivity import output_variance

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


@pytest.mark.parametrize("kind", ["differential", "offset"])
@pytest.mark.parametrize("subtract", ["analog", "digital"])
def test_read_noise_is_that_of_the_whole_tiles(kind: str, subtract: str) -> None:
    model, mapped = noisy_case(encoding__kind=kind, encoding__subtract=subtract, adc__bits=8)
    del model
    chip, hardware, layer = program_network(mapped, seed=2), mapped.hardware, mapped.layers["0"]
    rng, ratios = np.random.default_rng(0), []
    sigma = 0.02 * 3 * UNIT
    mean = layer.calibration.mean
    unformed = hardware.replace(encoding__unformed=kind == "differential")
    without_spare = dataclasses.replace(layer, hardware=unformed)
    for programmed, block in zip(chip.layers["0"].bands, blocks(chip, "0"), strict=True):
        band, g, built = programmed.mapped, programmed.conductances, programmed.devices
        v = (rng.random((16, 40)) < mean).astype(float)
        found = v[:, band.rows] ** 2 @ block.noise.variance + block.noise.floor
        tiles = whole_tiles(layer, band, g)
        noisy = whole_tiles(without_spare, band, built * sigma)
        expected = np.zeros((16, len(g), 1, g.shape[3]))
        for tile, array, deviation, (in_band, in_tile) in zip(
            band.tiles, tiles.g, noisy.g, tiles.places, strict=True
        ):
            applied = np.zeros((16, 24))
            applied[:, tile.rows - band.first_row] = v[:, tile.rows]
            columns, lines = in_band[3].ravel(), in_tile[2].ravel()
            for plane in range(len(g)):
                deviation[plane][deviation[plane] == hardware.device.g_min] = 0
                variance = output_variance(
                    array[plane], applied, deviation[plane], r_wl=500, r_bl=500, r_sense=500
                )
                expected[:, plane, 0, columns] = variance[:, lines] / UNIT**2
        if len(g) > hardware.encoding.converted_planes:
            expected = expected.sum(1, keepdims=True)
        ratios.append(np.sqrt(found / expected.reshape(16, -1)))
        lost = noise_through_wires(layer, band, g).lost
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
