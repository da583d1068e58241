"""Time to solve a 128 x 128 array with wires that is used once, for 64 input vectors and for one.

The baseline is badcrossbar from PyPI, which returns the same output currents and node voltages. It is not a
dependency of the project (`apt-get install libcairo2-dev pkg-config`, `pip install badcrossbar`); where it is
not installed, the baseline is scipy's SuperLU on the nodal matrix. Baselines run on one thread. Solver and
baseline alternate in one process and their least times are compared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu
from timing import record

from xbar.wires.circuit import solve
from xbar.wires.transfer import transfer_matrix

SIZE, OHMS = 128, 2.0
# smallest and largest conductance [S], input vectors, threads
CASES = (
    (1e-6, 1e-4, 64, 2),
    (1e-6, 1e-4, 64, 1),
    (1e-5, 1e-3, 64, 2),
    (1e-6, 1e-4, 1, 1),
    (1e-5, 1e-3, 1, 1),
)


def rows(repeats: int = 5) -> list[dict[str, Any]]:
    """One record a case; 64 vectors also by the transfer matrix, which gives outputs alone."""
    records = [case(*values, False, repeats) for values in CASES]
    return records + [case(low, high, 64, 1, True, repeats) for low, high in ((1e-6, 1e-4), (1e-5, 1e-3))]


def case(
    low: float, high: float, vectors: int, threads: int, outputs_only: bool, repeats: int
) -> dict[str, Any]:
    """Least seconds of one case and of its baseline, interleaved."""
    rng = np.random.default_rng(0)
    g, v = rng.uniform(low, high, (SIZE, SIZE)), rng.uniform(0, 0.2, (vectors, SIZE))
    name, baseline = reference(g, v, not outputs_only)

    def solver() -> NDArray[np.float64]:
        if outputs_only:
            product: NDArray[np.float64] = v @ transfer_matrix(g, OHMS, OHMS)
            return product
        return solve(g, v, r_wl=OHMS, r_bl=OHMS, threads=threads).currents

    expected = baseline()
    if not np.abs(solver() - expected).max() <= 1e-9 * np.abs(expected).max():
        raise RuntimeError(f"solver and {name} disagree")
    what = "outputs by transfer matrix" if outputs_only else "outputs and node voltages"
    return record(
        f"wires, {vectors} vector{'s' if vectors > 1 else ''} on {SIZE} x {SIZE} used once, {what}, "
        f"{low * 1e6:g}-{high * 1e6:g} uS, {OHMS:g} ohm",
        solver,
        name,
        baseline,
        threads=threads,
        repeats=repeats,
    )


def reference(
    g: NDArray[np.float64], v: NDArray[np.float64], voltages: bool
) -> tuple[str, Callable[[], NDArray[np.float64]]]:
    """The baseline's name, and a call that returns its output currents (M, n)."""
    try:
        import badcrossbar
    except (ImportError, OSError):
        return "scipy splu (badcrossbar is not installed)", lambda: _splu(g, v)
    logging.getLogger("badcrossbar").setLevel(logging.WARNING)

    def compute() -> NDArray[np.float64]:
        solution = badcrossbar.compute(
            v.T, 1 / g, r_i_word_line=OHMS, r_i_bit_line=OHMS, node_voltages=voltages, all_currents=False
        )
        output: NDArray[np.float64] = solution.currents.output
        return output

    return "badcrossbar", compute


def _splu(g: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Output currents by SuperLU on the nodal matrix, fed by the sources through the first segments."""
    m, n = g.shape
    u = np.arange(m * n).reshape(m, n)
    w = u + m * n
    start = np.concatenate([u[:, :-1].ravel(), w[:-1].ravel(), u.ravel()])
    end = np.concatenate([u[:, 1:].ravel(), w[1:].ravel(), w.ravel()])
    branch = np.concatenate([np.full(m * (n - 1) + (m - 1) * n, 1 / OHMS), g.ravel()])
    ends = np.concatenate([u[:, 0], w[-1]])
    diagonal = np.bincount(np.concatenate([start, end]), np.concatenate([branch, branch]))
    diagonal[ends] += 1 / OHMS
    every = np.arange(2 * m * n)
    matrix = coo_matrix(
        (
            np.concatenate([-branch, -branch, diagonal]),
            (np.concatenate([start, end, every]), np.concatenate([end, start, every])),
        )
    )
    right = np.zeros((2 * m * n, len(v)))
    right[u[:, 0]] = v.T / OHMS
    nodes = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(right)
    currents: NDArray[np.float64] = nodes[w[-1]].T / OHMS
    return currents
