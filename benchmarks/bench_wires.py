"""Time of the transfer matrix of a tile with wire resistance, against scipy's sparse direct solver.

The baselines solve the nodal equations for a unit voltage at each word line by SuperLU in symmetric mode: in
the best of its own orders (MMD_AT_PLUS_A), and as fast as we could make it, with the nodes in a nested
dissection of the grid that is made beforehand, outside the time. Right-hand sides go by eights, which takes
half as long as all 128 at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.linalg import splu
from timing import record, seconds

from xbar.wires.transfer import transfer_matrices

SIZE, SEGMENT = 128, 2.0
MANY = 32


def rows(repeats: int = 7) -> list[dict[str, Any]]:
    """One tile against both baselines, and many tiles on one and two threads against one tile on one."""
    cells = np.random.default_rng(0).uniform(1e-6, 1e-4, (MANY, SIZE, SIZE))
    name = f"{SIZE} x {SIZE} with wires, float64"
    order = dissection(SIZE, SIZE)
    natural = np.arange(2 * SIZE * SIZE)
    baselines = {
        "MMD_AT_PLUS_A": lambda: superlu(cells[0], SEGMENT, natural, "MMD_AT_PLUS_A"),
        "nested dissection": lambda: superlu(cells[0], SEGMENT, order, "NATURAL"),
    }

    def one() -> None:
        transfer_matrices(cells[:1], SEGMENT, SEGMENT, threads=1)

    records = [
        record(
            f"transfer matrix of a tile, {name}",
            one,
            f"scipy splu, {which}, {SIZE} right-hand sides by eights",
            baseline,
            threads=1,
            repeats=repeats,
        )
        for which, baseline in baselines.items()
    ]
    for threads in (1, 2):
        records.append(
            record(
                f"transfer matrices of {MANY} tiles, {name}",
                lambda threads=threads: transfer_matrices(cells, SEGMENT, SEGMENT, threads=threads),
                "one tile",
                one,
                threads=threads,
                repeats=repeats,
            )
        )
    return records


def first_calls() -> list[tuple[str, float]]:
    """Seconds of the first call, on one tile: compilation, or loading from numba's cache."""
    g = np.full((1, SIZE, SIZE), 1e-5)
    return [
        ("transfer matrix", seconds(lambda: transfer_matrices(g, SEGMENT, SEGMENT, threads=1))),
    ]


def superlu(g: np.ndarray, segment: float, order: np.ndarray, permutation: str) -> np.ndarray:
    """Transfer matrix, shape (m, n) [S], of a tile with `segment` ohm a segment of both kinds of line."""
    m, n = g.shape
    place = np.empty(2 * m * n, int)
    place[order] = np.arange(2 * m * n)
    u, w = place.reshape(2, m, n)
    right = np.zeros((2 * m * n, m), order="F")
    right[u[:, 0], np.arange(m)] = 1 / segment
    factor = splu(
        nodal(g, segment, u, w),
        permc_spec=permutation,
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
