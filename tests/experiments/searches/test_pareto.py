"""The front and the hypervolume against what they mean, counted out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from experiments.searches.pareto import hypervolume, pareto_front

EDGE = 5


@st.composite
def clouds(draw: st.DrawFn) -> np.ndarray:
    """Few points on a small grid, so that equal figures and points are common."""
    dimensions = draw(st.integers(1, 4))
    coordinate = st.integers(0, EDGE)
    rows = draw(st.lists(st.tuples(*[coordinate] * dimensions), max_size=12))
    return np.array(rows, float).reshape(-1, dimensions)


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


@given(clouds(), st.data())
def test_the_front_is_what_nothing_dominates(points: np.ndarray, data: st.DataObject) -> None:
    goals = data.draw(st.lists(st.sampled_from(["min", "max"]), min_size=points.shape[1]))[: points.shape[1]]
    costs = points * [1 if goal == "min" else -1 for goal in goals]
    free = [i for i, a in enumerate(costs) if not any(dominates(b, a) for b in costs)]
    first = [i for i in free if not any((costs[i] == costs[j]).all() for j in free if j < i)]
    assert pareto_front(points, goals).tolist() == first


@given(clouds())
def test_the_hypervolume_is_that_of_the_unit_cells_that_are_dominated(points: np.ndarray) -> None:
    dimensions = points.shape[1]
    cells = itertools.product(range(EDGE), repeat=dimensions)
    dominated = sum(bool((points <= cell).all(axis=1).any()) for cell in cells)
    assert hypervolume(points, [EDGE] * dimensions) == dominated


@given(st.integers(2, 4), st.integers(1, 40), st.integers(0, 99))
def test_the_hypervolume_is_that_of_optuna(dimensions: int, n: int, seed: int) -> None:
    wfg = pytest.importorskip("optuna._hypervolume.wfg")
    points, corner = np.random.default_rng(seed).random((n, dimensions)), np.ones(dimensions)
    assert hypervolume(points, corner) == pytest.approx(wfg.compute_hypervolume(points, corner), rel=1e-12)


@given(clouds())
def test_what_is_dominated_adds_no_volume(points: np.ndarray) -> None:
    corner = [EDGE + 1.0] * points.shape[1]
    front = pareto_front(points, ["min"] * points.shape[1])
    assert hypervolume(points[front], corner) == hypervolume(points, corner)
