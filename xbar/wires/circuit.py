"""A crossbar with wires, solved for its node voltages.

m word lines (inputs) cross n bit lines (outputs); every line is a chain of equal resistances:

    source v[i] - r_driver - r_wl - u[i, 0] - r_wl - u[i, 1] ... u[i, n-1] (open end)
    (open end) w[0, j] - r_bl - w[1, j] ... w[m-1, j] - r_bl - r_sense - ground
    cell: current g[i, j] f(u[i, j] - w[i, j]) from word line i to bit line j

This is the circuit of badcrossbar (Joksas & Mehonic, SoftwareX 12, 2020, doi 10.1016/j.softx.2020.100617).
With T_w and T_b the tridiagonal conductance matrices of the word and the bit lines, g on their diagonals,
eliminating u from T_w u = g w + b and T_b w = g u leaves S w = g T_w^-1 b with S = T_b - g T_w^-1 g, which is
symmetric and positive definite: conjugate gradients with T_b as preconditioner, so that only lines are ever
solved. Cells that are not ohmic: Newton's method, each step one such system.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xbar.hardware.checks import as_floats, check_range
from xbar.hardware.errors import XbarError
from xbar.hardware.iv import IV, CellCurrent, check_increasing, current_per_siemens
from xbar.multiply.threads import run_workers, worker_count
from xbar.wires.circuit_kernels import Floats, Ohms, factor, solve_batch
from xbar.wires.newton import Newton, largest_cell_voltage

TOLERANCE = 1e-12
"""Relative residual that leaves outputs within 4e-10 of a vector's largest one, for g r up to 100 and 64 x 64
cells, where a ten-thousandth of the current that enters reaches an output
(tests/xbar/wires/test_circuit.py)."""
MAX_ITERATIONS = 1000
MAX_STEPS = 50


@dataclass(frozen=True)
class Wires:
    """Resistances of one array's lines [ohm]: a segment of each kind, and what is in series with the ends.

    Raises
    ------
    XbarError
        For a value that is negative, not finite or not a number.
    """

    r_wl: float
    r_bl: float
    r_driver: float = 0.0
    r_sense: float = 0.0

    def __post_init__(self) -> None:
        for key in ("r_wl", "r_bl", "r_driver", "r_sense"):
            try:
                object.__setattr__(self, key, float(getattr(self, key)))
            except (TypeError, ValueError):
                raise XbarError(f"{key} = {getattr(self, key)!r}: must be a number of ohms") from None
            check_range(key, getattr(self, key), 0, 1e15, "ohm")

    @property
    def ohms(self) -> tuple[float, float, float, float]:
        """The resistances in the kernels' order."""
        return self.r_wl, self.r_wl + self.r_driver, self.r_bl, self.r_bl + self.r_sense

    def reversed(self) -> Wires:
        """The same array driven at its outputs: bit lines become word lines."""
        return Wires(self.r_bl, self.r_wl, self.r_sense, self.r_driver)


@dataclass(frozen=True, eq=False)
class Solution:
    """Voltages and currents of one array; (...) is () for one input vector and (M,) for M of them.

    Parameters
    ----------
    g
        Conductances of the cells [S], shape (m, n).
    v
        Source voltages [V], shape (..., m).
    wires, iv, v_read
        The rest of the circuit.
    currents
        Output currents into ground [A], shape (..., n).
    word_line, bit_line
        Node voltages u and w [V], shape (..., m, n).
    status
        ``converged``, or what to change.
    iterations, steps, residual
        Figures of the slowest vector: iterations of conjugate gradients, Newton steps (1 for ohmic cells),
        and the largest relative residual (ohmic: in the norm of the preconditioner; otherwise of the cell
        currents).
    """

    g: Floats = field(repr=False)
    v: Floats = field(repr=False)
    wires: Wires
    iv: CellCurrent
    v_read: float | None
    currents: Floats = field(repr=False)
    word_line: Floats = field(repr=False)
    bit_line: Floats = field(repr=False)
    status: str
    iterations: int
    steps: int
    residual: float

    def checked(self) -> Solution:
        """This solution.

        Raises
        ------
        XbarError
            With the status, where it is not "converged".
        """
        if self.status != "converged":
            raise XbarError(self.status)
        return self

    @property
    def cell_voltages(self) -> Floats:
        """u - w [V], shape (..., m, n)."""
        return self.word_line - self.bit_line

    @property
    def cell_currents(self) -> Floats:
        """Current of each cell by its own law [A], shape (..., m, n)."""
        return self.g * current_per_siemens(self.iv, self.cell_voltages, self.v_read)

    @property
    def word_line_currents(self) -> Floats:
        """Current through the segment before cell [i, j], towards the open end [A], shape (..., m, n)."""
        return np.cumsum(self.cell_currents[..., ::-1], axis=-1)[..., ::-1]

    @property
    def bit_line_currents(self) -> Floats:
        """Current through the segment after cell [i, j], towards ground [A], shape (..., m, n)."""
        currents: Floats = np.cumsum(self.cell_currents, axis=-2)
        return currents

    @property
    def source_currents(self) -> Floats:
        """Current out of each source [A], shape (..., m)."""
        currents: Floats = self.cell_currents.sum(-1)
        return currents

    @property
    def power(self) -> Floats:
        """Power that the sources deliver, all of it dissipated [W], shape (...)."""
        power: Floats = (self.v * self.source_currents).sum(-1)
        return power

    @property
    def cell_power(self) -> Floats:
        """Power dissipated in each cell [W], shape (..., m, n)."""
        return self.cell_voltages * self.cell_currents

    @property
    def wire_power(self) -> Floats:
        """Power dissipated in all wires, drivers and sense resistances together [W], shape (...)."""
        r_wl, r_first, r_bl, r_last = self.wires.ohms
        word, bit = self.word_line_currents**2, self.bit_line_currents**2
        along = r_wl * word[..., 1:].sum((-2, -1)) + r_bl * bit[..., :-1, :].sum((-2, -1))
        ends = r_first * word[..., 0].sum(-1) + r_last * bit[..., -1, :].sum(-1)
        power: Floats = along + ends
        return power


def solve(
    g: ArrayLike,
    v: ArrayLike,
    *,
    r_wl: float,
    r_bl: float,
    r_driver: float = 0.0,
    r_sense: float = 0.0,
    iv: CellCurrent | None = None,
    v_read: float | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    max_steps: int = MAX_STEPS,
    threads: int | None = None,
) -> Solution:
    """Node voltages and output currents of an array with wires.

    Parameters
    ----------
    g
        Conductances [S], shape (m, n); 0 is a missing cell.
    v
        Source voltages [V], shape (m,) or (M, m).
    r_wl, r_bl, r_driver, r_sense
        Resistance of a word-line and of a bit-line segment, and of what is in series with the driven end of
        a word line and the grounded end of a bit line [ohm]; each may be 0.
    iv, v_read
        Law of the cells (None: ohmic) and the read voltage [V] that ``iv.g_at = "read"`` needs.
    tolerance
        Relative residual at which to stop, 1e-15 to 1e-2; see `Solution`.
    max_iterations, max_steps
        Limits of each linear solve and of Newton's method; a solution beyond them says so in its status.
    threads
        Threads that the vectors are spread over; None: one a processor. The result does not depend on it.

    Raises
    ------
    XbarError
        For shapes that do not fit, values that are negative or not finite, and a law that does not increase
        over the voltages that a cell can see.
    """
    wires, iv = Wires(r_wl, r_bl, r_driver, r_sense), checked_law(iv)
    g, v = checked_arrays(g, v)
    check_range("tolerance", tolerance, 1e-15, 1e-2)
    for key, count in (("max_iterations", max_iterations), ("max_steps", max_steps)):
        check_range(key, count, 1, 10**9)
    tolerance, max_iterations = float(tolerance), int(max_iterations)
    batch = v.reshape(-1, g.shape[0])
    found = _Found.room_for(len(batch), g.shape)
    if iv.kind == "ohmic":
        work = _of_ohmic_cells(g, wires.ohms, batch, tolerance, max_iterations, found)
    else:
        check_increasing(iv, max(map(largest_cell_voltage, batch), default=0.0))
        current_per_siemens(iv, np.zeros(1), v_read)
        newton = Newton(g, wires.ohms, iv, v_read, tolerance, max_iterations, max_steps)
        work = _by_newton(newton, batch, found)
    _spread(work, len(batch), threads)
    shape = v.shape[:-1]
    return Solution(
        g,
        v,
        wires,
        iv,
        v_read,
        found.currents.reshape(*shape, g.shape[1]),
        found.u.reshape(*shape, *g.shape),
        found.w.reshape(*shape, *g.shape),
        _status(found.residual, tolerance, iv),
        int(found.iterations.max(initial=0)),
        int(found.steps.max(initial=0)),
        float(found.residual.max(initial=0)),
    )


class _Found(NamedTuple):
    """Solutions of M vectors: node voltages [V] (M, m, n), currents [A] (M, n), and how each was found."""

    u: Floats
    w: Floats
    currents: Floats
    iterations: NDArray[np.int64]
    steps: NDArray[np.int64]
    residual: Floats

    @staticmethod
    def room_for(count: int, shape: tuple[int, ...]) -> _Found:
        u, w = np.empty((2, count, *shape))
        steps = np.ones(count, np.int64)
        return _Found(u, w, np.empty((count, shape[1])), np.zeros(count, np.int64), steps, np.zeros(count))


def _of_ohmic_cells(
    g: Floats, ohms: Ohms, batch: Floats, tolerance: float, max_iterations: int, found: _Found
) -> Callable[[slice], None]:
    """A function that solves a part of the vectors; one factorisation serves all of them."""
    factors = factor(g, ohms)

    def work(part: slice) -> None:
        into = (
            found.u[part],
            found.w[part],
            found.currents[part],
            found.iterations[part],
            found.residual[part],
        )
        solve_batch(g, factors, ohms, batch[part], tolerance, max_iterations, *into)

    return work


def _by_newton(newton: Newton, batch: Floats, found: _Found) -> Callable[[slice], None]:
    """A function that solves a part of the vectors by Newton's method, one after the other."""

    def work(part: slice) -> None:
        for k in range(part.start, part.stop):
            of_one = newton.solve(batch[k], found.u[k], found.w[k])
            found.currents[k], found.iterations[k], found.steps[k], found.residual[k] = of_one

    return work


def checked_law(iv: CellCurrent | None) -> CellCurrent:
    """The law of an array's cells; None: ohmic.

    Raises
    ------
    XbarError
        For what is no law.
    """
    if not isinstance(iv, CellCurrent | None):
        raise XbarError(f"iv = {iv!r}: must be an IV, for example IV('sinh', alpha=4.0)")
    return iv or IV()


def checked_arrays(g: ArrayLike, v: ArrayLike) -> tuple[Floats, Floats]:
    """Conductances (m, n) and voltages (m,) or (M, m) as C-contiguous float64.

    Raises
    ------
    XbarError
        For other shapes, and for values that are negative (g) or not finite.
    """
    g, v = as_floats("g", g).copy(), as_floats("v", v).copy()
    if g.ndim != 2 or 0 in g.shape:
        raise XbarError(f"g: shape {g.shape}; must be (word lines, bit lines), both at least 1")
    if v.ndim not in (1, 2) or v.shape[-1] != g.shape[0]:
        raise XbarError(f"v: shape {v.shape}; must be ({g.shape[0]},) or (M, {g.shape[0]}) for g {g.shape}")
    if g.min() < 0:
        raise XbarError(f"g: smallest value {g.min():g}; conductances must be >= 0, in S")
    return g, v


def _spread(work: Callable[[slice], None], count: int, threads: int | None) -> None:
    """Call `work` on slices that cover range(count), in threads.

    Raises
    ------
    XbarError
        For threads below 1.
    """
    workers = worker_count(threads, count)
    size = max(1, count // (4 * workers))
    parts = [slice(first, min(first + size, count)) for first in range(0, count, size)]

    def some(worker: int) -> None:
        for part in parts[worker::workers]:
            work(part)

    run_workers(some, workers)


def _status(residual: Floats, tolerance: float, iv: CellCurrent) -> str:
    failed = int((~(residual <= tolerance)).sum())
    if not failed:
        return "converged"
    advice = "raise max_iterations, or loosen tolerance"
    if iv.kind != "ohmic":
        advice = (
            "raise max_steps or max_iterations, loosen tolerance, or lower the voltages: the law is steep "
            "where wires take much of them"
        )
    return (
        f"not converged for {failed} of {len(residual)} input vectors (relative residual "
        f"{residual.max():.1e}, tolerance {tolerance:.1e}): {advice}"
    )


__all__ = ["Solution", "Wires", "solve"]
