"""Error of the diagonal approximations of read noise through wires: the table of docs/physics.md.

``python docs/read_noise_through_wires.py`` prints it in about ten minutes on one core.
"""

from __future__ import annotations

import numpy as np

from xbar.wires.circuit import solve
from xbar.wires.sensitivity import diagonal_variance, output_variance

G_MAX, INPUTS = 1e-4, 16
CASES = ((32, (1, 5, 20, 200)), (64, (0.5, 2, 5, 20)), (128, (0.5, 1, 2, 5, 20)), (256, (0.5, 2)))


def percent(approximate: np.ndarray, exact: np.ndarray) -> float:
    """95th percentile of the error of sigma [%]."""
    return 100 * float(np.quantile(np.abs(np.sqrt(approximate / exact) - 1), 0.95))


def row(size: int, ohms: float) -> list[float]:
    """Share of the current that wires take [%], and errors: W/G at dense, half, sparse inputs and with one
    sigma in all cells; gains of single inputs (`variance_gains`) at dense, half, sparse inputs."""
    rng = np.random.default_rng(1)
    g = rng.uniform(0.01 * G_MAX, G_MAX, (size, size))
    wires = {"r_wl": ohms, "r_bl": ohms}
    single = np.eye(size)
    w = solve(g, single, **wires).currents
    dense = rng.uniform(0, 0.2, (INPUTS, size))
    bits = [0.2 * (rng.random((INPUTS, size)) < share) for share in (0.5, 0.1)]
    inputs = np.concatenate([single, dense, *bits])
    sigma = 0.05 * g
    variance = output_variance(g, inputs, sigma, **wires)
    gains, exact = variance[:size], variance[size:].reshape(3, INPUTS, size)
    kinds = (dense, *bits)
    ratio = [percent(diagonal_variance(v, w, g, sigma), e) for v, e in zip(kinds, exact, strict=True)]
    same = np.full_like(g, 0.02 * G_MAX)
    constant = percent(diagonal_variance(dense, w, g, same), output_variance(g, dense, same, **wires))
    by_gains = [percent(v**2 @ gains, e) for v, e in zip(kinds, exact, strict=True)]
    lost = 100 * (1 - (dense @ w).sum() / (dense @ g).sum())
    return [lost, *ratio, constant, *by_gains]


def text(value: float) -> str:
    """Two digits, or whole numbers above."""
    if value >= 1000:
        return "> 999"
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"


if __name__ == "__main__":
    for size, all_ohms in CASES:
        for ohms in all_ohms:
            cells = " | ".join(text(value) for value in row(size, ohms))
            print(f"| {size} | {ohms:g} ({ohms / 10:g}) | {cells} |", flush=True)
