"""Newton's method for arrays of cells that are not ohmic."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from xbar.hardware.iv import CellCurrent, current_per_siemens, slope_per_siemens
from xbar.wires.circuit_kernels import Floats, Ohms, factor, solve_linear

HALVINGS = 30


@dataclass(frozen=True)
class Newton:
    """Newton's method for cells that are not ohmic, with its step halved until the residual falls.

    The law is continued by its tangents beyond the voltages that a cell can see in the solution: it increases
    everywhere, and an iterate cannot overflow. Units and shapes as in `xbar.wires.circuit.solve`.
    """

    g: Floats
    ohms: Ohms
    iv: CellCurrent
    v_read: float | None
    tolerance: float
    max_iterations: int
    max_steps: int

    def law(self, voltage: Floats, v_max: float) -> tuple[Floats, Floats]:
        """Current [A] and slope [S] of each cell, straight beyond +-`v_max`."""
        inside = np.clip(voltage, -v_max, v_max)
        slope = slope_per_siemens(self.iv, inside, self.v_read)
        current = current_per_siemens(self.iv, inside, self.v_read) + slope * (voltage - inside)
        return self.g * current, self.g * slope

    def solve(self, v: Floats, u: Floats, w: Floats) -> tuple[Floats, int, int, float]:
        """Fills `u` and `w`; returns output currents, iterations, steps and the relative residual.

        The state is u, w [V] and the cell currents [A] that the wires need for them.
        """
        state = np.zeros((3, *self.g.shape))
        v_max = largest_cell_voltage(v)
        current, slope = self.law(state[0], v_max)
        error, floor, iterations, steps, count = math.inf, -1.0, 0, 0, 0
        limits, space = (self.tolerance, self.max_iterations), np.empty((5, *self.g.shape))
        while error > self.tolerance and steps < self.max_steps:
            steps += 1
            full = state.copy()
            source = current - slope * (state[0] - state[1])
            factors = factor(slope, self.ohms)
            count, left, start = solve_linear(
                slope, factors, self.ohms, v, source, floor, *limits, space, *full
            )
            iterations += count
            floor = self.tolerance**2 * start if floor < 0 else floor
            unsolved = math.sqrt(left / floor) * self.tolerance if left > floor else 0.0
            state, current, slope, mismatch = self.shorten(state, full, error, v_max)
            error = max(mismatch, unsolved)
        if error <= self.tolerance:
            # One more step, solved further: outputs can be small differences of large currents.
            full = state.copy()
            source = current - slope * (state[0] - state[1])
            further = (self.tolerance, min(self.max_iterations, 2 * count + 10))
            more, _, _ = solve_linear(
                slope, factor(slope, self.ohms), self.ohms, v, source, 1e-6 * floor, *further, space, *full
            )
            iterations, steps = iterations + more, steps + 1
            current, _ = self.law(full[0] - full[1], v_max)
            scale = _norm(full[2])
            if scale > 0 and _norm(full[2] - current) <= error * scale:
                state = full
        u[:], w[:] = state[:2]
        return state[2].sum(0), iterations, steps, error

    def shorten(
        self, old: Floats, full: Floats, error: float, v_max: float
    ) -> tuple[Floats, Floats, Floats, float]:
        """State after the largest step of 1, 1/2, 1/4 ... that lowers the error; law and error there."""
        new = full
        for halving in range(1, HALVINGS):
            current, slope = self.law(new[0] - new[1], v_max)
            scale = _norm(new[2])
            mismatch = _norm(new[2] - current) / scale if scale > 0 else 0.0
            if mismatch < max(error, self.tolerance):
                break
            new = old + 0.5**halving * (full - old)
        return new, current, slope, mismatch


def largest_cell_voltage(v: Floats) -> float:
    """Bound of |u - w| [V] for one input vector: no node lies outside the range of the sources and ground."""
    return float(v.max(initial=0) - v.min(initial=0))


def _norm(values: Floats) -> float:
    """Root of the sum of squares, without the linear algebra library and its threads."""
    return math.sqrt(np.square(values).sum())


__all__ = ["Newton", "largest_cell_voltage"]
