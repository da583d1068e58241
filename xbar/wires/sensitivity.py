"""Derivatives of a crossbar's outputs by its conductances and inputs, and the output noise of noisy cells.

The array is reciprocal. With the outputs driven at voltages x and the inputs at ground (cells replaced by
their slopes at the solution), let y[a, b] be the voltage w - u over cell [a, b] and h[a, b] = slope y its
current. Then, for L = sum_j x_j I_j,

    dL/dg[a, b] = (I[a, b] / g[a, b]) y[a, b],    dL/dv[a] = sum_b h[a, b]

(the adjoint network; Director & Rohrer, IEEE Trans. Circuit Theory 16, 1969, doi 10.1109/TCT.1969.1082965).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xbar.hardware.checks import as_floats
from xbar.hardware.errors import XbarError
from xbar.hardware.iv import current_per_siemens, slope_per_siemens
from xbar.wires.circuit import Solution, Wires, solve
from xbar.wires.circuit_kernels import Floats

CHUNK_BYTES = 1 << 26
"""Memory for the voltages of outputs that are driven at the same time."""


def gradient(g: ArrayLike, v: ArrayLike, grad_currents: ArrayLike, **circuit: Any) -> tuple[Floats, Floats]:
    """Gradient of a loss by conductances and voltages, from its gradient by the output currents.

    Parameters
    ----------
    g, v, circuit
        Arguments of `xbar.wires.circuit.solve`.
    grad_currents
        dL/dI of the output currents, shape (n,) or (M, n), as for `v`.

    Returns
    -------
    dL/dg, summed over the vectors, shape (m, n), and dL/dv, shape of `v`.

    Raises
    ------
    XbarError
        As `xbar.wires.circuit.solve`, and where a solution did not converge.
    """
    solution = solve(g, v, **circuit).checked()
    drive = as_floats("grad_currents", grad_currents)
    if drive.shape != solution.currents.shape:
        raise XbarError(
            f"grad_currents: shape {drive.shape}; must be {solution.currents.shape}, one an output"
        )
    rows, cols = solution.g.shape
    voltages = solution.cell_voltages.reshape(-1, rows, cols)
    drive = drive.reshape(-1, cols)
    by_g = np.zeros((rows, cols))
    by_v = np.empty((len(voltages), rows))
    for part, slopes in _same_slopes(solution, voltages):
        y = driven_at_outputs(slopes, drive[part], solution.wires, circuit)
        by_g += (current_per_siemens(solution.iv, voltages[part], solution.v_read) * y).sum(0)
        by_v[part] = (slopes * y).sum(-1)
    return by_g, by_v.reshape(solution.v.shape)


def output_variance(g: ArrayLike, v: ArrayLike, sigma: ArrayLike, **circuit: Any) -> Floats:
    """Variance of each output for independent noise in each cell, to first order, exact in the wires.

    var(I_j) = sum_ab (dI_j/dg[a, b])^2 sigma[a, b]^2, with one solve an output (and input vector, where the
    cells are not ohmic).

    Parameters
    ----------
    g, v, circuit
        Arguments of `xbar.wires.circuit.solve`.
    sigma
        Standard deviation of each conductance [S], shape (m, n).

    Returns
    -------
    Variances [A^2], shape (..., n).

    Raises
    ------
    XbarError
        As `xbar.wires.circuit.solve`, and where a solution did not converge.
    """
    solution = solve(g, v, **circuit).checked()
    rows, cols = solution.g.shape
    sigma = _checked_sigma(sigma, (rows, cols))
    voltages = solution.cell_voltages.reshape(-1, rows, cols)
    weight = (current_per_siemens(solution.iv, voltages, solution.v_read) * sigma) ** 2
    variance = np.empty((len(voltages), cols))
    size = max(1, CHUNK_BYTES // (4 * 8 * rows * cols))
    for part, slopes in _same_slopes(solution, voltages):
        for first in range(0, cols, size):
            chunk = slice(first, min(first + size, cols))
            y = driven_at_outputs(slopes, np.eye(cols)[chunk], solution.wires, circuit)
            factors = np.square(y, out=y).reshape(len(y), -1)
            variance[part, chunk] = weight[part].reshape(-1, rows * cols) @ factors.T
    return variance.reshape(solution.currents.shape)


def _same_slopes(solution: Solution, voltages: Floats) -> list[tuple[slice, Floats]]:
    """Input vectors whose cells have the same slopes [S]: all, or, where cells are not ohmic, one by one."""
    if solution.iv.kind == "ohmic":
        return [(slice(0, len(voltages)), solution.g)]
    slopes = solution.g * slope_per_siemens(solution.iv, voltages, solution.v_read)
    return [(slice(k, k + 1), slopes[k]) for k in range(len(voltages))]


def driven_at_outputs(slopes: Floats, drive: Floats, wires: Wires, circuit: dict[str, Any]) -> Floats:
    """Cell voltages w - u (P, m, n) with outputs at `drive` (P, n) [V] and inputs at ground.

    Parameters
    ----------
    slopes
        Conductances of the cells at the solution [S], shape (m, n).
    circuit
        ``tolerance``, ``max_iterations`` and ``threads`` of `xbar.wires.circuit.solve`, where they are given.
    """
    back = wires.reversed()
    limits = {key: circuit[key] for key in ("tolerance", "max_iterations", "threads") if key in circuit}
    solution = solve(
        slopes[::-1, ::-1].T,
        drive[:, ::-1],
        r_wl=back.r_wl,
        r_bl=back.r_bl,
        r_driver=back.r_driver,
        r_sense=back.r_sense,
        **limits,
    ).checked()
    return solution.cell_voltages[:, ::-1, ::-1].transpose(0, 2, 1)


def _checked_sigma(sigma: ArrayLike, shape: tuple[int, ...]) -> Floats:
    sigma = as_floats("sigma", sigma)
    if sigma.shape != shape:
        raise XbarError(f"sigma: shape {sigma.shape}; must be {shape}, one a cell")
    if sigma.min() < 0:
        raise XbarError(f"sigma: smallest value {sigma.min():g}; must be >= 0, in S")
    return sigma


__all__ = ["gradient", "output_variance"]
