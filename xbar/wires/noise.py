"""Noise of an array behind wires, in factors that do not depend on the inputs; ohmic cells.

To first order, dI_j/dg[i, j] = v[i, j] y[i, j]: v is the voltage over the cell, y the adjoint voltage, over
the same cell with output j at 1 V and all drivers and other outputs at ground (`xbar.wires.sensitivity`
has it exactly). A bit line hardly sees the noise of cells on another one, so that output j takes its own:

    var(I_j) = sum_i (v[i, j] y[i, j] sigma[i, j])^2.

What is left of the inputs is split off v. With a[i, j] the voltage over the cell for 1 V on its own word line
alone, and c[i, j] the one at the mean inputs p, the cell sees v = a V_i + b, b = c - a p_i: its driver, and
what the others raise its bit line by on the average. Of the square, b^2 is a constant, and a^2 V^2 + 2 a b V
goes with V^2, by the factor a^2 + 2 a b p / q that leaves its mean right for inputs of mean square q (for one
bit, V = V^2 and p = q, it is exact).

a and y come from ladders. Seen from a node of a line, each line that it crosses is a resistance to ground,
its own ladder on both sides of the crossing with cells that go to ground in turn. Resistances enter as such,
never as 1/r. What that leaves out, lines that are raised by several others at once, is tabled in docs/physics
with the error of the whole.

Thermal noise of an output is 4 k T B Y_jj (Nyquist, Phys. Rev. 32, 110, 1928, doi 10.1103/PhysRev.32.110)
with Y_jj = sum_i g[i, j] y[i, j], the admittance that its virtual ground sees: all passive parts at one
temperature, wires and series resistances included.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xbar.multiply.threads import run_workers, worker_count
from xbar.wires.circuit import solve
from xbar.wires.circuit_kernels import Floats

TOLERANCE = 1e-6
"""Tolerance of the voltages at the mean inputs; their error is far below that of the factors."""


class WireNoise(NamedTuple):
    """Factors of the noise of arrays, by cell [1], shape (B, m, n), and admittances [S], shape (B, n).

    A cell's sigma [S] gives output j the variance ``sigma^2 (square V^2 + constant)``, with V the voltage of
    its word line in the unit of the mean inputs.
    """

    square: Floats
    constant: Floats
    admittance: Floats
    lost: Floats
    """Share of the current at the mean inputs that wires take, of each array, shape (B,)."""


def wire_noise(
    g: Floats,
    mean: Floats,
    mean_square: Floats,
    *,
    r_wl: float,
    r_bl: float,
    r_driver: float = 0.0,
    r_sense: float = 0.0,
) -> WireNoise:
    """Factors of the read noise, and admittances of the thermal noise, of many arrays of one shape.

    Parameters
    ----------
    g
        Conductances [S], shape (B, m, n).
    mean, mean_square
        Mean of the input voltages, in any unit, and of their squares, in its square; shape (B, m).
    r_wl, r_bl, r_driver, r_sense
        As in `xbar.wires.circuit.solve` [ohm].
    """
    forward, adjoint = own_voltages(g, r_wl=r_wl, r_bl=r_bl, r_driver=r_driver, r_sense=r_sense)
    cells, lost = np.empty(g.shape), np.empty(len(g))
    wires: dict[str, Any] = {"r_wl": r_wl, "r_bl": r_bl, "r_driver": r_driver, "r_sense": r_sense}
    workers = worker_count(None, len(g))

    def work(worker: int) -> None:
        for b in range(worker, len(g), workers):
            solution = solve(g[b], mean[b], tolerance=TOLERANCE, threads=1, **wires).checked()
            cells[b] = solution.cell_voltages
            # Currents of inputs with signs cancel, so that their share says nothing: it is that of their rms.
            driven, over = mean[b], cells[b]
            if (driven < 0).any() or not driven.any():
                driven = np.sqrt(mean_square[b])
                over = solve(g[b], driven, tolerance=TOLERANCE, threads=1, **wires).checked().cell_voltages
            without = (g[b] * driven[:, None]).sum()
            lost[b] = 1 - (g[b] * over).sum() / without if without > 0 else 0.0

    run_workers(work, workers)
    raised = cells - forward * mean[:, :, None]
    ratio = np.divide(mean, mean_square, out=np.zeros_like(mean), where=mean_square > 0)[:, :, None]
    square = np.maximum(forward * (forward + 2 * raised * ratio), 0.0) * adjoint**2
    return WireNoise(square, (raised * adjoint) ** 2, (g * adjoint).sum(1), lost)


def own_voltages(
    g: Floats, *, r_wl: float, r_bl: float, r_driver: float = 0.0, r_sense: float = 0.0
) -> tuple[Floats, Floats]:
    """Voltages over each cell with its own word line alone at 1 V, and its own output alone, by ladders.

    Parameters
    ----------
    g, r_wl, r_bl, r_driver, r_sense
        As for `wire_noise`.

    Returns
    -------
    a and y of the module's equations, shape (B, m, n) each.
    """
    word, bit = (r_wl, r_wl + r_driver), (r_bl, r_bl + r_sense)
    from_word, from_bit = g, g
    for _ in range(2):  # lines are first loaded by cells to ground, then by cells with what lies behind them
        of_word = _off_word_lines(_resistance(_along_word_lines(from_word), *word))
        of_bit = _off_bit_lines(_resistance(_along_bit_lines(from_bit), *bit))
        from_word, from_bit = g / (1 + g * of_bit), g / (1 + g * of_word)
    forward = _off_word_lines(_driven(_along_word_lines(from_word), *word)) / (1 + g * of_bit)
    adjoint = _off_bit_lines(_driven(_along_bit_lines(from_bit), *bit)) / (1 + g * of_word)
    return forward, adjoint


def _along_word_lines(g: Floats) -> Floats:
    """Places on a word line as the first axis, the driver's first: (B, m, n) as (n, B, m)."""
    return np.ascontiguousarray(g.transpose(2, 0, 1))


def _off_word_lines(line: Floats) -> Floats:
    return line.transpose(1, 2, 0)


def _along_bit_lines(g: Floats) -> Floats:
    """Places on a bit line as the first axis, the virtual ground's first: (B, m, n) as (m, B, n)."""
    return np.ascontiguousarray(g.transpose(1, 0, 2)[::-1])


def _off_bit_lines(line: Floats) -> Floats:
    return line[::-1].transpose(1, 0, 2)


def _resistance(g: Floats, r: float, first: float) -> Floats:
    """Resistance [ohm] from each node of a line to ground, without the node's own cell, shape of `g`.

    Nodes run along the first axis, with a segment of `r` between them and of `first` before the first; cells
    of `g` go from the nodes to ground. The end of a line floats.
    """
    near, far = np.empty_like(g), np.empty_like(g)
    ohms, siemens = np.full(g.shape[1:], first), np.zeros(g.shape[1:])
    for node in range(len(g)):
        near[node] = ohms
        ohms = ohms / (1 + ohms * g[node]) + r
    for node in reversed(range(len(g))):
        far[node] = siemens
        siemens = siemens + g[node]
        siemens = siemens / (1 + siemens * r)
    return np.asarray(near / (1 + near * far))


def _driven(g: Floats, r: float, first: float) -> Floats:
    """Voltage of each node of lines with 1 V before their first segment; arguments as above."""
    beyond, volts = np.empty_like(g), np.empty_like(g)
    siemens, at = np.zeros(g.shape[1:]), np.ones(g.shape[1:])
    for node in reversed(range(len(g))):
        beyond[node] = siemens + g[node]
        siemens = beyond[node] / (1 + beyond[node] * r)
    for node in range(len(g)):
        at = at / (1 + (r if node else first) * beyond[node])
        volts[node] = at
    return volts
