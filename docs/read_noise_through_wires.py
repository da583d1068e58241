"""Error of the noise factors behind wires (`xbar.wires.noise`): the table of docs/physics.md.

``python docs/read_noise_through_wires.py`` prints it in half a minute on one core. Without arguments
both tables; ``monte-carlo`` prints the check against full circuit solves alone.
"""

from __future__ import annotations

import sys

import numpy as np

from xbar.conductances.noise_laws import white_sigma
from xbar.hardware.device import Device
from xbar.hardware.files import load_device
from xbar.hardware.noise import WhiteNoise
from xbar.wires.circuit import solve
from xbar.wires.noise import WireNoise, wire_noise
from xbar.wires.sensitivity import output_variance

INPUTS = 16
CASES = (
    ("neurram-hfox", 64, 2.0, 0.0),
    ("neurram-hfox", 128, 1.0, 0.0),
    ("neurram-hfox", 128, 2.0, 0.0),
    ("neurram-hfox", 128, 5.0, 0.0),
    ("neurram-hfox", 64, 0.5, 1000.0),
    ("milo-hfo2", 64, 1.0, 0.0),
    ("milo-hfo2", 128, 1.0, 0.0),
    ("pcm-90nm", 128, 4.0, 0.0),
    ("pcm-90nm", 256, 1.0, 0.0),
    ("ideal", 64, 2.0, 0.0),
    ("ideal", 128, 1.0, 0.0),
    ("ideal", 128, 5.0, 0.0),
    ("ideal", 128, 20.0, 0.0),
)
"""Device, tile, r_wl = r_bl [ohm], r_sense [ohm]."""

Array = np.ndarray


def noisy(name: str) -> Device:
    """The device with its own read noise, or else 1 % of g_max, in every cell the same."""
    device = load_device(name)
    if device.read_noise.sigma:
        return device
    return Device(
        device.name, "", device.g_min, device.g_max, device.states, read_noise=WhiteNoise(0.01, "g_max")
    )


def row(name: str, size: int, ohms: float, sense: float) -> list[str]:
    """Share that wires take; the 2.5 and 97.5 % quantiles of sigma over the exact one, for each kind of
    inputs; those of a tenth after a calibration on half; those of W/G at half; the sum of G over the
    admittance."""
    rng = np.random.default_rng(1)
    device, wires = noisy(name), {"r_wl": ohms, "r_bl": ohms, "r_sense": sense}
    g = rng.choice(device.conductances(), (size, size))
    sigma = white_sigma(g, device)
    rates = np.clip(rng.exponential(0.2, size), 0.002, 0.9)
    kinds = (
        (rng.random((INPUTS, size)) < 0.5, 0.5, 0.5),
        (rng.random((INPUTS, size)) < 0.1, 0.1, 0.1),
        (rng.random((INPUTS, size)) < rates, rates, rates),
        (rng.random((INPUTS, size)), 1 / 2, 1 / 3),
    )
    inputs = [volts.astype(float) for volts, _, _ in kinds]
    exact = [output_variance(g, v, sigma, **wires) for v in inputs]
    made = []
    for _, *means in kinds:
        made.append(wire_noise(g[None], *(np.broadcast_to(part, (1, size)) * 1.0 for part in means), **wires))
    cells = [spread(sigmas(*each, sigma)) for each in zip(made, inputs, exact, strict=True)]
    other = spread(sigmas(made[0], inputs[1], exact[1], sigma))
    w = solve(g, np.eye(size), **wires).currents
    gain = np.divide(w, g, out=np.zeros_like(w), where=g > 0)
    old = spread(np.sqrt(inputs[0] ** 2 @ (gain * sigma) ** 2 / exact[0]))
    thermal = f"{(g.sum(0) / made[0].admittance[0]).mean():.2f}"
    return [f"{100 * made[0].lost[0]:.0f}", *cells, other, old, thermal]


def sigmas(found: WireNoise, v: Array, exact: Array, sigma: Array) -> Array:
    """Sigma of the factors over the exact one, of each input and output."""
    variance = v**2 @ (found.square[0] * sigma**2) + (found.constant[0] * sigma**2).sum(0)
    return np.sqrt(variance / exact)


def spread(ratio: Array) -> str:
    """The 95 % that lie in the middle."""
    low, high = np.quantile(ratio, [0.025, 0.975])
    return f"{low:.2f} to {high:.2f}" if high < 100 else f"{low:.2f} to > 99"


def monte_carlo(draws: int = 2000) -> str:
    """Sigma of the factors over that of full circuit solves with a draw in each cell, rms over outputs."""
    rng = np.random.default_rng(2)
    device, wires = noisy("neurram-hfox"), {"r_wl": 10.0, "r_bl": 10.0, "r_sense": 200.0}
    g = rng.choice(device.conductances(), (48, 48))
    sigma, v = white_sigma(g, device), (rng.random(48) < 0.5).astype(float)
    currents = np.array(
        [
            solve(np.maximum(g + sigma * rng.standard_normal(g.shape), 0), v, threads=1, **wires).currents
            for _ in range(draws)
        ]
    )
    half = np.full((1, 48), 0.5)
    found = wire_noise(g[None], half, half, **wires)
    ratio = np.sqrt((sigmas(found, v, currents.var(0), sigma) ** 2).mean())
    return f"{100 * found.lost[0]:.0f} % lost, {ratio:.3f} +- {1 / np.sqrt(2 * draws * 48):.3f}"


if __name__ == "__main__":
    if sys.argv[1:] != ["monte-carlo"]:
        for case in CASES:
            name, size, ohms, sense = case
            where = f"{ohms:g}" + (f", r_sense {sense:g}" if sense else "")
            print(f"| `{name}` | {size} | {where} | " + " | ".join(row(*case)) + " |", flush=True)
    print(monte_carlo())
