"""Time of the transfer matrix of a tile with wire resistance, against scipy's sparse direct solver.

The baseline solves the nodal equations for a unit voltage at each word line, with scipy's SuperLU as fast as
we could make it: the nodes in nested dissection of the grid, symmetric mode, the right-hand sides by eights.
(SuperLU's own orders take half as long again, all right-hand sides at once as much.) Kernel and baseline
alternate in one process and their medians are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.linalg import splu
from threadpoolctl import threadpool_limits

from xbar.transfer import transfer_matrices

SIZE, SEGMENT = 128, 2.0
# name, tiles, threads
CASES: tuple[tuple[str, int, int], ...] = (
    (f"transfer matrix, {SIZE} x {SIZE} with wires", 1, 1),
    (f"transfer matrices, 32 tiles of {SIZE} x {SIZE} with wires", 32, 1),
    (f"transfer matrices, 32 tiles of {SIZE} x {SIZE} with wires", 32, 2),
)


def rows(repeats: int = 7) -> list[dict[str, Any]]:
    """One record a case: its name, threads and seconds, the baseline's name and seconds, and their ratio."""
    return [record(case, repeats) for case in CASES]


def record(case: tuple[str, int, int], repeats: int) -> dict[str, Any]:
    """Median seconds of a tile and of its baseline, interleaved."""
    name, tiles, threads = case
    kernel, baseline = problem(tiles, threads)
    kernel()
    with threadpool_limits(1, "blas"):
        times = [(seconds(kernel) / tiles, seconds(baseline)) for _ in range(repeats)]
    taken, reference = (median(column) for column in zip(*times, strict=True))
    return {
        "name": f"{name}, a tile" if tiles > 1 else name,
        "ratio": taken / reference,
        "baseline": f"scipy splu, nested dissection, {SIZE} right-hand sides by eights, 1 thread",
        "baseline_seconds": reference,
        "seconds": taken,
        "threads": threads,
    }


def problem(tiles: int, threads: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The transfer matrices of some tiles, and SuperLU's for one of them, as calls without arguments."""
    cells = np.random.default_rng(0).uniform(1e-6, 1e-4, (tiles, SIZE, SIZE))
    order = dissection(SIZE, SIZE)

    def kernel() -> None:
        transfer_matrices(cells, SEGMENT, SEGMENT, threads=threads)

    def baseline() -> None:
        superlu(cells[0], SEGMENT, order)

    return kernel, baseline


def superlu(g: np.ndarray, segment: float, order: np.ndarray) -> np.ndarray:
    """Transfer matrix, shape (m, n) [S], of a tile with `segment` ohm a segment of both kinds of line."""
    m, n = g.shape
    place = np.empty(2 * m * n, int)
    place[order] = np.arange(2 * m * n)
    u, w = place.reshape(2, m, n)
    right = np.zeros((2 * m * n, m), order="F")
    right[u[:, 0], np.arange(m)] = 1 / segment
    factor = splu(
        nodal(g, segment, u, w),
        permc_spec="NATURAL",
        diag_pivot_thresh=0,
        panel_size=1,
        options={"SymmetricMode": True},
    )
    outputs = [factor.solve(right[:, i : i + 8])[w[-1]] for i in range(0, m, 8)]
    return np.concatenate(outputs, axis=1).T / segment


def nodal(g: np.ndarray, segment: float, u: np.ndarray, w: np.ndarray) -> csc_matrix:
    """Nodal matrix; u and w are the numbers of the nodes above and below each cell."""
    wire = 1 / segment
    pairs = ((u[:, :-1], u[:, 1:], wire), (w[:-1], w[1:], wire), (u, w, g))
    ends = ((u[:, 0], wire), (w[-1], wire))
    a, b, value = (
        np.concatenate([np.broadcast_to(pair[k], pair[0].shape).ravel() for pair in pairs]) for k in range(3)
    )
    grounded = np.concatenate([node for node, _ in ends])
    return coo_matrix(
        (
            np.concatenate([value, value, -value, -value, np.full(len(grounded), wire)]),
            (np.concatenate([a, b, a, b, grounded]), np.concatenate([a, b, b, a, grounded])),
        )
    ).tocsc()


def dissection(m: int, n: int) -> np.ndarray:
    """Order of elimination of the 2 m n nodes: what a separator parts first, the separator last.

    The upper nodes of a column of cells part the columns left and right of it, the lower nodes of a row part
    the rows; the longer side is halved.
    """

    def ordered(nodes: np.ndarray) -> list[np.ndarray]:
        if len(nodes) < 8:
            return [nodes]
        kind, row, col = np.unravel_index(nodes, (2, m, n))
        line, cut = (row, 1) if np.ptp(row) > np.ptp(col) else (col, 0)
        middle = (line.min() + line.max()) // 2
        separator = (kind == cut) & (line == middle)
        before = (line <= middle) & ~separator
        if separator.all() or not (before.any() or (line > middle).any()):
            return [nodes]
        return [*ordered(nodes[before]), *ordered(nodes[line > middle]), nodes[separator]]

    return np.concatenate(ordered(np.arange(2 * m * n)))


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call [s]."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def first_calls() -> Iterator[tuple[str, float]]:
    """Seconds of the first call, on one tile: compilation, or loading from numba's cache."""
    yield CASES[0][0], seconds(problem(1, 1)[0])
