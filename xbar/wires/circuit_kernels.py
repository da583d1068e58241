"""Numba kernels of `xbar.wires.circuit`: tridiagonal solves along the lines, and conjugate gradients on top.

A line is solved from its open end to its driven one and back. Seen from its driven side, node k and all
beyond it is an admittance Y_k with a current source C_k; over a segment of resistance r both shrink by
d_k = 1 / (1 + r Y_k), and they grow by the cell's g and its source at each node:

    Y_k = g_k + d_(k+1) Y_(k+1),   C_k = c_k + d_(k+1) C_(k+1),   x_k = d_k (x_(k-1) + r C_k)

with x_(-1) the voltage of the driven end. No 1/r appears: r = 0 and g = 0 are ordinary numbers, and for
inputs of one sign nothing cancels. Word lines are solved LANES abreast, bit lines all at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xbar.machine.kernels import njit

LANES = 16
"""Word lines that are solved side by side: their recurrences hide each other's latency."""

Floats = NDArray[np.float64]
Ohms = tuple[float, float, float, float]
"""Word-line segment, first word-line segment with driver, bit-line segment, last one with sense [ohm]."""

_REORDER = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True)
def factor(g: Floats, ohms: Ohms) -> tuple[Floats, Floats]:
    """Factors d of the word lines, shape (ceil(m / LANES), n, LANES), and of the bit lines, (m, n)."""
    r_wl, r_first, r_bl, r_last = ohms
    m, n = g.shape
    word = np.ones(((m + LANES - 1) // LANES, n, LANES))
    y = np.zeros(LANES)
    for b in range(len(word)):
        for k in range(min(LANES, m - b * LANES)):
            for j in range(n):
                word[b, j, k] = g[b * LANES + k, j]
        for k in range(min(LANES, m - b * LANES), LANES):
            for j in range(n):
                word[b, j, k] = 0.0
        # From the open end of the word lines to their drivers: Y_j = g_j + d_(j+1) Y_(j+1).
        y[:] = 0
        for j in range(n - 1, -1, -1):
            r = r_wl if j else r_first  # the first segment is in series with the driver
            for k in range(LANES):
                y[k] += word[b, j, k]
                word[b, j, k] = 1 / (1 + r * y[k])
                y[k] *= word[b, j, k]
    # The same for the bit lines, from their open end at i = 0 to the virtual ground after i = m - 1.
    bit = np.empty((m, n))
    below = np.zeros(n)
    for i in range(m):
        r = r_bl if i < m - 1 else r_last
        for j in range(n):
            below[j] += g[i, j]
            bit[i, j] = 1 / (1 + r * below[j])
            below[j] *= bit[i, j]
    return word, bit


@njit(cache=True, nogil=True, fastmath=_REORDER)
def _solve_lanes(d: Floats, r: float, r_first: float, driven: Floats, c: Floats) -> None:
    """Voltages of LANES word lines, in place of the currents `c` into their nodes, shape (n, LANES)."""
    n = len(c)
    # Sources, from the open end to the driver: C_j = c_j + d_(j+1) C_(j+1).
    for j in range(n - 2, -1, -1):
        for k in range(LANES):
            c[j, k] += d[j + 1, k] * c[j + 1, k]
    # Voltages, from the driver to the open end: x_j = d_j (x_(j-1) + r C_j), x_(-1) the driven end.
    for k in range(LANES):
        c[0, k] = d[0, k] * (driven[k] + r_first * c[0, k])
    for j in range(1, n):
        for k in range(LANES):
            c[j, k] = d[j, k] * (c[j - 1, k] + r * c[j, k])


@njit(cache=True, nogil=True)
def word_voltages(
    g: Floats, d: Floats, ohms: Ohms, v: Floats, w: Floats, source: Floats, u: Floats, c: Floats
) -> None:
    """Word-line voltages `u` for given bit-line voltages `w`: T_w^-1 (g w - source) with ends at `v`."""
    m, n = g.shape
    driven = np.zeros(LANES)
    for b in range(len(d)):
        lanes = min(LANES, m - b * LANES)
        for k in range(lanes):
            i = b * LANES + k
            driven[k] = v[i]
            for j in range(n):
                c[j, k] = g[i, j] * w[i, j] - source[i, j]
        _solve_lanes(d[b], ohms[0], ohms[1], driven, c)
        for k in range(lanes):
            for j in range(n):
                u[b * LANES + k, j] = c[j, k]


@njit(cache=True, nogil=True, fastmath=_REORDER)
def _bit_voltages(d: Floats, ohms: Ohms, s: Floats, z: Floats) -> float:
    """Bit-line voltages z = T_b^-1 s for currents `s` into their nodes, ends at ground; returns s . z."""
    m, n = s.shape
    # Sources, from the open end i = 0 to the virtual ground: C_i = s_i + d_(i-1) C_(i-1).
    for j in range(n):
        z[0, j] = s[0, j]
    for i in range(1, m):
        for j in range(n):
            z[i, j] = s[i, j] + d[i - 1, j] * z[i - 1, j]
    # Voltages, back from the virtual ground (0 V): x_i = d_i (x_(i+1) + r C_i).
    product = 0.0
    for j in range(n):
        z[m - 1, j] *= d[m - 1, j] * ohms[3]
        product += s[m - 1, j] * z[m - 1, j]
    for i in range(m - 2, -1, -1):
        for j in range(n):
            z[i, j] = d[i, j] * (z[i + 1, j] + ohms[2] * z[i, j])
            product += s[i, j] * z[i, j]
    return product


@njit(cache=True, nogil=True, fastmath=_REORDER)
def _direction(
    g: Floats,
    d: Floats,
    ohms: Ohms,
    beta: float,
    z: Floats,
    rest: Floats,
    p: Floats,
    s: Floats,
    q: Floats,
    c: Floats,
) -> float:
    """p = z + beta p, s = rest + beta s (= T_b p), q = s - g T_w^-1 g p; returns p . q."""
    m, n = g.shape
    driven = np.zeros(LANES)
    product = 0.0
    for b in range(len(d)):
        lanes = min(LANES, m - b * LANES)
        for k in range(lanes):
            i = b * LANES + k
            for j in range(n):
                p[i, j] = z[i, j] + beta * p[i, j]
                s[i, j] = rest[i, j] + beta * s[i, j]
                c[j, k] = g[i, j] * p[i, j]
        _solve_lanes(d[b], ohms[0], ohms[1], driven, c)
        for k in range(lanes):
            i = b * LANES + k
            for j in range(n):
                q[i, j] = s[i, j] - g[i, j] * c[j, k]
                product += p[i, j] * q[i, j]
    return product


@njit(cache=True, nogil=True)
def solve_linear(
    g: Floats,
    factors: tuple[Floats, Floats],
    ohms: Ohms,
    v: Floats,
    source: Floats,
    floor: float,
    tolerance: float,
    max_iterations: int,
    space: Floats,
    u: Floats,
    w: Floats,
    cell: Floats,
) -> tuple[int, float, float]:
    """Voltages of an array of cells whose current is g (u - w) + source, by conjugate gradients.

    The system is S w = b, S = T_b - g T_w^-1 g, preconditioned by T_b; products with T_b are carried along.

    Parameters
    ----------
    v
        Driven ends of the word lines [V], shape (m,).
    source
        Current source in each cell [A], shape (m, n).
    floor
        Stop at this r . T_b^-1 r [W], or, where negative, at tolerance^2 of its first value.
    space
        Room for intermediate arrays, shape (5, m, n).
    w, cell
        In: bit-line voltages [V] to start from and the cell currents [A] that give rise to them (both 0
        do); out: the solution, shape (m, n). `u` is output only.

    Returns
    -------
    iterations, and r . T_b^-1 r at the end and at the start [W].
    """
    m, n = g.shape
    word, bit = factors
    p, s, q, z, rest = space[0], space[1], space[2], space[3], space[4]
    p[:] = 0
    s[:] = 0
    c = np.zeros((n, LANES))
    # The residual b - S w: at each node of a bit line, the current that its cell gives for the word-line
    # voltages u that belong to w, less the one that w stands for.
    word_voltages(g, word, ohms, v, w, source, u, c)
    for i in range(m):
        for j in range(n):
            rest[i, j] = g[i, j] * (u[i, j] - w[i, j]) + source[i, j] - cell[i, j]
    start = _bit_voltages(bit, ohms, rest, z)
    left = start
    if floor < 0:
        floor = tolerance * tolerance * start
    beta = 0.0
    iterations = 0
    # Conjugate gradients: p the direction, q = S p, z = T_b^-1 r the preconditioned residual.
    while left > floor and iterations < max_iterations:
        alpha = left / _direction(g, word, ohms, beta, z, rest, p, s, q, c)
        for i in range(m):
            for j in range(n):
                w[i, j] += alpha * p[i, j]
                rest[i, j] -= alpha * q[i, j]
        new = _bit_voltages(bit, ohms, rest, z)
        beta = new / left
        left = new
        iterations += 1
    # A last sweep over word lines, then over bit lines, so that w obeys its lines to rounding and the cell
    # currents add up along them.
    word_voltages(g, word, ohms, v, w, source, u, c)
    for i in range(m):
        for j in range(n):
            s[i, j] = g[i, j] * u[i, j] + source[i, j]
    _bit_voltages(bit, ohms, s, w)
    for i in range(m):
        for j in range(n):
            cell[i, j] = s[i, j] - g[i, j] * w[i, j]
    return iterations, left, start


@njit(cache=True, nogil=True)
def solve_batch(
    g: Floats,
    factors: tuple[Floats, Floats],
    ohms: Ohms,
    v: Floats,
    tolerance: float,
    max_iterations: int,
    u: Floats,
    w: Floats,
    currents: Floats,
    iterations: NDArray[np.int64],
    residual: Floats,
) -> None:
    """Ohmic cells: voltages (M, m, n), output currents (M, n), iterations and relative residual (M,)."""
    m, n = g.shape
    none, cell, space = np.zeros((m, n)), np.empty((m, n)), np.empty((5, m, n))
    for k in range(len(v)):
        cell[:] = 0
        w[k] = 0
        iterations[k], left, start = solve_linear(
            g, factors, ohms, v[k], none, -1.0, tolerance, max_iterations, space, u[k], w[k], cell
        )
        residual[k] = np.sqrt(left / start) if start > 0 else 0.0
        currents[k] = 0
        for i in range(m):
            for j in range(n):
                currents[k, j] += cell[i, j]
