"""Read noise by W/G exploded on weak cells: W of a weak cell holds the current of its neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from xbar.conductances.programming import program
from xbar.hardware.files import load_device
from xbar.wires.circuit import solve
from xbar.wires.noise import wire_noise
from xbar.wires.sensitivity import output_variance


@pytest.mark.parametrize(("ohms", "rms", "worst"), [(1.0, 1.3, 12), (2.0, 3.0, 43)])
def test_neurram_at_128_by_128(ohms: float, rms: float, worst: float) -> None:
    """Cells that the write left near 0 S: sigma was 1.3 and 3.0 times too large, 12 and 43 in one column."""
    device, rng, lines = load_device("neurram-hfox"), np.random.default_rng(7), np.arange(128)
    idle = rng.random((128, 128)) < 0.5
    target = np.where(idle, device.g_min, rng.choice(device.conductances(), (128, 128)))
    g = program(target, device, lines, lines, seed=1, chip=0, layer="a", plane=0, slice_=0).g.astype(float)
    sigma = np.full_like(g, 0.00707 * (device.g_max - device.g_min))
    v = (rng.random((4, 128)) < 0.5).astype(float)
    wires = {"r_wl": ohms, "r_bl": ohms}
    exact = output_variance(g, v, sigma, **wires)
    found = wire_noise(g[None], *np.full((2, 1, 128), 0.5), **wires)
    variance = v**2 @ (found.square[0] * sigma**2) + (found.constant[0] * sigma**2).sum(0)
    ratio = np.sqrt(variance / exact)
    assert 0.97 < ratio.min() <= ratio.max() < 1.03
    w = solve(g, np.eye(128), **wires).currents
    old = np.sqrt(v**2 @ (np.divide(w, g, out=np.zeros_like(w), where=g > 0) * sigma) ** 2 / exact)
    assert np.sqrt(np.mean(old**2)) == pytest.approx(rms, rel=0.1)
    assert old.max() == pytest.approx(worst, rel=0.1)


def test_thermal_noise_of_a_bit_line_behind_a_kilohm() -> None:
    """4kTB sum G was more than 65 % off in sigma: the sense resistance is passive, and the line behind it."""
    g = np.full((1, 128, 8), 20e-6)
    half = np.full((2, 1, 128), 0.5)
    found = wire_noise(g, *half, r_wl=0.0, r_bl=0.0, r_sense=1000.0).admittance
    np.testing.assert_allclose(found, 1 / (1000 + 1 / (128 * 20e-6)), rtol=1e-12)
