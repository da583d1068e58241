"""Pareto fronts, and the hypervolume that a set of points dominates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Goal = Literal["min", "max"]


def minimised(points: ArrayLike, goals: Sequence[Goal]) -> NDArray[np.float64]:
    """Points of shape (n, m) with the figures that are to be large negated."""
    signs = np.array([1.0 if goal == "min" else -1.0 for goal in goals])
    signed: NDArray[np.float64] = np.asarray(points, float).reshape(-1, len(goals)) * signs
    return signed


def pareto_front(points: ArrayLike, goals: Sequence[Goal]) -> NDArray[np.intp]:
    """Numbers of the points that no other point dominates, rising; of equal points the first.

    A point dominates another where no figure of it is worse and one is better.

    Parameters
    ----------
    points
        Figures, shape (n, m).
    goals
        Whether each figure is to be small or large.
    """
    costs = minimised(points, goals)
    order = np.lexsort((*costs.T[::-1],))
    front: list[int] = []
    for number in order:
        if not front or not (costs[front] <= costs[number]).all(axis=1).any():
            front.append(int(number))
    return np.sort(np.array(front, np.intp))


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Volume of what the points dominate, up to the reference; all figures are to be small.

    Exact in any dimension: the last figure cuts the space into slabs, each as thick as the step between two
    points, whose base is the hypervolume of the points below in one dimension less.

    Parameters
    ----------
    points
        Figures, shape (n, m); a point that is not below the reference in all of them counts for nothing.
    reference
        Corner that bounds the volume, shape (m,).
    """
    corner = np.asarray(reference, float)
    costs = np.asarray(points, float).reshape(-1, corner.size)
    costs = costs[(costs < corner).all(axis=1)]
    if not costs.size:
        return 0.0
    if corner.size == 1:
        return float(corner[0] - costs.min())
    costs = costs[np.argsort(costs[:, -1], kind="stable")]
    if corner.size == 2:
        lowest = np.minimum.accumulate(costs[:, 0])
        return float((corner[0] - lowest) @ np.diff(costs[:, 1], append=corner[1]))
    steps = np.diff(costs[:, -1], append=corner[-1])
    bases = (hypervolume(costs[: i + 1, :-1], corner[:-1]) for i in np.flatnonzero(steps))
    return float(sum(base * step for base, step in zip(bases, steps[steps > 0], strict=True)))
