"""Read noise at each input's own voltages: forms against a nodal solver, cell by cell and draw by draw."""

from __future__ import annotations

import numpy as np
import pytest
from circuits import dense_solve
from scipy import stats

from xbar.hardware.files import load_device
from xbar.wires.noise_forms import noise_forms
from xbar.wires.sensitivity import output_variance

WIRES = {"r_wl": 30.0, "r_bl": 50.0, "r_driver": 400.0, "r_sense": 600.0}
"""In the order of `dense_solve`; they take a third of the current of `array`."""

LINES, OUTPUTS = np.array([0, 2, 3, 6]), np.array([1, 4])
"""Of an array of 7 x 6: the word lines that are driven, and the outputs that are asked for."""


def array(m: int = 7, n: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cells of 1 to 100 uS, some open, and sigmas that do not go with g."""
    rng = np.random.default_rng(seed)
    g = np.where(rng.random((m, n)) < 0.1, 0.0, rng.uniform(1e-6, 1e-4, (m, n)))
    return g, rng.uniform(1e-7, 2e-6, (m, n)) * (g > 0)


def variance(forms: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.einsum("mk,ckl,ml->mc", v, forms, v)


def derivatives(g: np.ndarray, v: np.ndarray) -> np.ndarray:
    """dI_j/dg_ab by central differences of dense nodal solves, shape (M, n, m, n)."""
    found = np.empty((len(v), g.shape[1], *g.shape))
    for a, b in np.ndindex(g.shape):
        step = np.zeros_like(g)
        step[a, b] = 1e-8
        up, down = (dense_solve(g + sign * step, v, *WIRES.values())[0] for sign in (1, -1))
        found[:, :, a, b] = (up - down) / 2e-8
    return found


@pytest.mark.parametrize("all_cells", [True, False])
def test_forms_are_the_sum_of_squared_finite_differences(all_cells: bool) -> None:
    g, sigma = array()
    g += 2e-8  # room for a step down
    rng, v = np.random.default_rng(1), np.zeros((3, 7))
    v[:, LINES] = rng.normal(size=(3, len(LINES)))
    each = (derivatives(g, v) * sigma) ** 2
    expected = each.sum((2, 3))
    own = np.stack([each[:, j, :, j].sum(1) for j in range(6)], axis=1)
    assert (own / expected).min() < 0.999  # the two choices differ
    forms = noise_forms(g, sigma, LINES, OUTPUTS, all_cells=all_cells, **WIRES)
    found = variance(forms, v[:, LINES])
    np.testing.assert_allclose(found, (expected if all_cells else own)[:, OUTPUTS], rtol=1e-5)


def test_variance_of_draws_in_every_cell() -> None:
    """Chi-square at 1e-6 over 3,000 nodal solves with fresh conductances; sigma is 1 % of g, so that what is
    not of first order adds less than .1 %."""
    g, _ = array()
    sigma, draws = 0.01 * g, 3000
    rng, v = np.random.default_rng(2), np.zeros((1, 7))
    v[:, LINES] = [[1.0, 0.3, 0.0, 0.7]]
    quiet = dense_solve(g, v, *WIRES.values())[0][0]
    forms = noise_forms(g, sigma, LINES, OUTPUTS, all_cells=True, **WIRES)
    expected = variance(forms, v[:, LINES])[0, 0]
    errors = np.array(
        [
            dense_solve(g + sigma * rng.standard_normal(g.shape), v, *WIRES.values())[0][0, 1] - quiet[1]
            for _ in range(draws)
        ]
    )
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], draws)
    total = (errors**2).sum() / expected
    assert 0.999 * low < total < 1.001 * high
    assert 1.1**2 * total > 1.001 * high, "1.1 times the sigma is missed"
    assert total / 1.1**2 < 0.999 * low


def test_without_wires_a_form_is_diagonal() -> None:
    g, sigma = array()
    forms = noise_forms(g, sigma, LINES, OUTPUTS, all_cells=True, r_wl=0.0, r_bl=0.0)
    np.testing.assert_allclose(
        forms, [np.diag(sigma[LINES, j] ** 2) for j in OUTPUTS], atol=1e-12 * sigma.max() ** 2
    )


@pytest.mark.parametrize(("ohms", "sense"), [(2.0, 0.0), (0.5, 1000.0)])
def test_own_columns_are_within_their_stated_error(ohms: float, sense: float) -> None:
    """.3 % rms, also where wires take 58 % and factors at the mean inputs are 5 % off."""
    device, rng = load_device("neurram-hfox"), np.random.default_rng(3)
    g = rng.choice(device.conductances(), (64, 64))
    sigma = np.full_like(g, 0.00707 * (device.g_max - device.g_min))
    v = (rng.random((12, 64)) < 0.5).astype(float)
    wires = {"r_wl": ohms, "r_bl": ohms, "r_sense": sense}
    exact = output_variance(g, v, sigma, **wires)
    lines = np.arange(64)
    found = variance(noise_forms(g, sigma, lines, lines[::9], all_cells=False, **wires), v)
    assert np.sqrt(np.mean((np.sqrt(found / exact[:, ::9]) - 1) ** 2)) < 0.003
    whole = variance(noise_forms(g, sigma, lines, lines[:2], all_cells=True, **wires), v)
    np.testing.assert_allclose(whole, exact[:, :2], rtol=1e-6)
