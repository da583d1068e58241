"""Noise behind wires, against exact sensitivities, a dense nodal solver, and draws in every cell."""

from __future__ import annotations

import numpy as np
import pytest
from circuits import dense_solve
from scipy import stats

from xbar.hardware.files import load_device
from xbar.wires.circuit import solve
from xbar.wires.noise import own_voltages, wire_noise
from xbar.wires.sensitivity import output_variance

WIRES = {"r_wl": 3.0, "r_bl": 5.0, "r_driver": 40.0, "r_sense": 60.0}


def cells(m: int, n: int, seed: int = 0) -> np.ndarray:
    """Conductances of 1 to 100 uS, a few of them open."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((m, n)) < 0.05, 0.0, rng.uniform(1e-6, 1e-4, (m, n)))


def variance(g, sigma, v, mean, mean_square, **wires):
    """What the factors give for inputs v [A^2]."""
    m = len(g)
    found = wire_noise(g[None], np.full((1, m), mean), np.full((1, m), mean_square), **wires)
    return v**2 @ (found.square[0] * sigma**2) + (found.constant[0] * sigma**2).sum(0)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 9), (9, 1), (17, 24), (40, 21)])
def test_own_voltages_are_those_of_the_circuit(m: int, n: int) -> None:
    """Each line driven alone in a dense nodal solve; ladders leave out .2 % at most here."""
    g = np.stack([cells(m, n, seed) for seed in range(2)])
    forward, adjoint = own_voltages(g, **WIRES)
    for array, a, y in zip(g, forward, adjoint, strict=True):
        _, u, w = dense_solve(array, np.eye(m), *WIRES.values())
        rows, cols = np.arange(m), np.arange(n)
        np.testing.assert_allclose(a, (u - w)[rows, rows], rtol=2e-3)
        turned = array[::-1, ::-1].T
        _, u, w = dense_solve(turned, np.eye(n)[:, ::-1], 5.0, 3.0, 60.0, 40.0)
        back = (u - w)[:, ::-1, ::-1].transpose(0, 2, 1)
        np.testing.assert_allclose(y, back[cols, :, cols].T, rtol=2e-3)


def test_without_wires_a_cell_has_the_voltage_of_its_line() -> None:
    g = cells(5, 7)[None]
    found = wire_noise(g, np.full((1, 5), 0.3), np.full((1, 5), 0.2), r_wl=0.0, r_bl=0.0)
    np.testing.assert_array_equal(found.square, 1)
    np.testing.assert_array_equal(found.constant, 0)
    np.testing.assert_allclose(found.admittance, g.sum(1), rtol=1e-14)
    assert found.lost == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("size", "ohms", "sense", "lost"), [(64, 2, 0, 0.1), (128, 2, 0, 0.3), (64, 0.5, 500, 0.4)]
)
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_variance_against_exact_sensitivities(
    size: int, ohms: float, sense: float, lost: float, share: float
) -> None:
    """Read noise that is the same in every cell, weak ones included; W/G was 1.1 to 38 times too large."""
    device, rng = load_device("neurram-hfox"), np.random.default_rng(3)
    g = rng.choice(device.conductances(), (size, size))
    sigma = np.full_like(g, 0.00707 * (device.g_max - device.g_min))
    v = (rng.random((12, size)) < share).astype(float)
    wires = {"r_wl": ohms, "r_bl": ohms, "r_sense": sense}
    exact = output_variance(g, v, sigma, **wires)
    ratio = np.sqrt(variance(g, sigma, v, share, share, **wires) / exact)
    assert abs(np.sqrt(np.mean(ratio**2)) - 1) < 0.02
    assert np.quantile(np.abs(ratio - 1), 0.95) < 0.07
    assert wire_noise(g[None], *np.full((2, 1, size), share), **wires).lost == pytest.approx(lost, abs=0.06)


def test_analog_inputs_keep_the_mean_variance() -> None:
    g, rng = cells(48, 48), np.random.default_rng(4)
    v, sigma = rng.random((200, 48)), np.full((48, 48), 1e-6)
    wires = {"r_wl": 10.0, "r_bl": 10.0}
    exact = output_variance(g, v, sigma, **wires)
    found = variance(g, sigma, v, v.mean(), np.square(v).mean(), **wires)
    np.testing.assert_allclose(found.mean(0), exact.mean(0), rtol=0.02)


def test_variance_against_draws_in_every_cell() -> None:
    """Full circuit solves with fresh conductances; chi-square at 1e-6, widened by the 2 % of the factors."""
    rng, size, draws = np.random.default_rng(5), 24, 800
    g, sigma = cells(size, size), np.full((size, size), 1e-6)
    wires = {"r_wl": 20.0, "r_bl": 20.0, "r_sense": 100.0}
    currents = np.empty((draws, size))
    inputs = (rng.random((draws, size)) < 0.5).astype(float)
    for k, v in enumerate(inputs):
        noisy = np.maximum(g + sigma * rng.standard_normal(g.shape), 0)
        currents[k] = solve(noisy, v, threads=1, **wires).currents - solve(g, v, threads=1, **wires).currents
    expected = variance(g, sigma, inputs, 0.5, 0.5, **wires)
    total = (currents**2 / expected).sum()
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], draws * size)
    assert 0.96 * low < total < 1.04 * high
    assert not 0.96 * low < 1.1**2 * draws * size < 1.04 * high, "1.1 times the sigma is missed"
    assert not 0.96 * low < draws * size / 1.1**2 < 1.04 * high


def test_thermal_noise_sees_the_admittance_of_the_virtual_ground() -> None:
    """Nyquist: 4kTB Y_jj by a dense solve of the array driven at output j; 4kTB sum G is 1.8 times that."""
    g = cells(32, 20)
    found = wire_noise(g[None], *np.full((2, 1, 32), 0.5), **WIRES).admittance[0]
    turned = g[::-1, ::-1].T
    _, u, w = dense_solve(turned, np.eye(20)[:, ::-1], 5.0, 3.0, 60.0, 40.0)
    currents = (turned * (u - w)).sum(2)[:, ::-1]
    np.testing.assert_allclose(found, np.diag(currents), rtol=1e-3)
    assert 1.05 < (g.sum(0) / found).mean() < 2.5
