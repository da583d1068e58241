"""Two plain nodal solvers of a crossbar with wires, independent of the product code.

The circuit: source v[i] - r_driver - r_wl - u[i, 0] - r_wl - u[i, 1] ... (open end), cells g[i, j] between
u[i, j] and w[i, j], and (open end) w[0, j] - r_bl - w[1, j] ... w[m-1, j] - r_bl - r_sense - ground. Nodes
that a resistance of 0 joins are merged, so every r >= 0 is exact.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu


def dense_solve(g, v, r_wl, r_bl, r_driver=0.0, r_sense=0.0):
    """Output currents (M, n) [A] and node voltages u, w (M, m, n) [V] by numpy.linalg; v is (M, m) [V]."""

    def solve(matrix, right):
        return np.linalg.solve(matrix.toarray(), right)

    return _solve(g, v, r_wl, r_bl, r_driver, r_sense, solve)


def sparse_solve(g, v, r_wl, r_bl, r_driver=0.0, r_sense=0.0):
    """The same by SuperLU."""

    def solve(matrix, right):
        return splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(right)

    return _solve(g, v, r_wl, r_bl, r_driver, r_sense, solve)


def _solve(g, v, r_wl, r_bl, r_driver, r_sense, solve):
    g, v = np.asarray(g, float), np.asarray(v, float)
    m, n = g.shape
    u = np.arange(m * n).reshape(m, n)
    w = u + m * n
    sources = 2 * m * n + np.arange(m)
    ground = np.full(n, 2 * m * n + m)
    nodes = 2 * m * n + m + 1
    segments = [
        (sources, u[:, 0], r_driver + r_wl),
        (u[:, :-1], u[:, 1:], r_wl),
        (w[:-1], w[1:], r_bl),
        (w[-1], ground, r_sense + r_bl),
    ]
    merged = _joined(segments, nodes)
    branches = [(a, b, np.full(a.shape, 1 / r)) for a, b, r in segments if r > 0] + [(u, w, g)]
    start, end, conductance = (
        np.concatenate([part.ravel() for part in side]) for side in zip(*branches, strict=True)
    )
    start, end = merged[start], merged[end]
    laplacian = coo_matrix(
        (
            np.concatenate([conductance, conductance, -conductance, -conductance]),
            (np.concatenate([start, end, start, end]), np.concatenate([start, end, end, start])),
        ),
        shape=(nodes, nodes),
    ).tocsr()
    given = np.zeros((nodes, len(v)))
    given[merged[sources]] = v.T
    fixed = np.zeros(nodes, bool)
    fixed[merged[sources]] = fixed[merged[ground]] = True
    free = np.setdiff1d(merged, np.flatnonzero(fixed))
    voltages = given
    if free.size:
        voltages[free] = solve(laplacian[free][:, free], -(laplacian[free] @ given))
    u, w = (voltages[merged[part]].transpose(2, 0, 1) for part in (u, w))
    return (g * (u - w)).sum(1), u, w


def _joined(segments, nodes):
    """The node that stands for each node: one for all that are joined by resistances of 0."""
    pairs = [(a.ravel(), b.ravel()) for a, b, r in segments if r == 0]
    start, end = (
        (np.concatenate([[], *side]).astype(int) for side in zip(*pairs, strict=True)) if pairs else ([], [])
    )
    links = coo_matrix((np.ones(len(start)), (start, end)), shape=(nodes, nodes))
    _, group = connected_components(links, directed=False)
    return np.unique(group, return_index=True)[1][group]
