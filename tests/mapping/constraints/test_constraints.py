"""Projections against brute force on small cases, and their laws on any case."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scales import fit_scale

from mapping.constraints.centroids import Centroids, Magnitudes
from mapping.constraints.constraint import (
    BlockSparse,
    Constraint,
    Levels,
    TileRowsAndColumns,
    by_pattern,
    shares_for_rate,
)
from mapping.constraints.fragments import OneSign, SegmentSparse
from mapping.constraints.intersections import BothSparse, SparseValues
from mapping.constraints.levels import Ternary, Window
from mapping.constraints.scale import EXACT_LEVELS, _at_all
from xbar import XbarError

seeds = st.integers(0, 2**31 - 1)
HALF = torch.rand(12, 8, generator=torch.Generator().manual_seed(1)) < 0.5


def matrix(seed: int, k: int, n: int) -> torch.Tensor:
    return torch.randn(k, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def groups(k: int, n: int, rows: int, cols: int) -> list[torch.Tensor]:
    masks = []
    for i in range(0, k, rows):
        for j in range(0, n, cols):
            mask = torch.zeros(k, n, dtype=torch.bool)
            mask[i : i + rows, j : j + cols] = True
            masks.append(mask)
    return masks


def chosen(blocks: list[torch.Tensor], count: int) -> torch.Tensor:
    return torch.stack([torch.stack(c).any(0) for c in itertools.combinations(blocks, count)])


PAIRS = (chosen(groups(4, 4, 2, 1), 4)[:, None] & chosen(groups(4, 4, 1, 2), 4)).reshape(-1, 16).double()
"""On 4 x 4, four of the eight 2 x 1 columns and four of the eight 1 x 2 rows: the weights that stay."""


@given(seeds, st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.floats(0.05, 1))
def test_block_sparse_is_the_nearest_point(
    seed: int, k: int, n: int, rows: int, cols: int, keep: float
) -> None:
    v = matrix(seed, k, n)
    blocks = groups(k, n, rows, cols)
    if len(blocks) > 12:
        return
    sizes = sorted((int(block.sum()) for block in blocks), reverse=True)
    count = max(1, sum(sum(sizes[: a + 1]) <= keep * k * n + 1e-6 for a in range(len(blocks))))
    best = min(
        float(v[~torch.stack(chosen).any(0)].square().sum())
        for chosen in itertools.combinations(blocks, count)
    )
    before = v.clone()
    z, mask = BlockSparse(rows, cols, keep).project(v)
    assert torch.equal(v, before)
    assert float((v - z).square().sum()) == pytest.approx(best, abs=1e-12)
    assert torch.equal(z, torch.where(mask, v, 0.0))
    assert sum(bool(mask[block].any()) for block in blocks) == count
    assert int(mask.sum()) <= max(keep * k * n + 1e-6, sizes[0])


def test_ties_keep_the_cardinality() -> None:
    _, mask = BlockSparse(1, 1, 0.5).project(torch.ones(4, 5))
    assert int(mask.sum()) == 10


@given(seeds)
def test_both_directions_lie_in_the_set_and_near_the_best(seed: int) -> None:
    """2 x 2 tiles on 4 x 4: at most half of the tile rows and half of the tile columns."""
    v = matrix(seed, 4, 4)
    z, mask = TileRowsAndColumns(2, 2, 0.5, 0.5).project(v)
    columns, rows = groups(4, 4, 2, 1), groups(4, 4, 1, 2)
    assert sum(bool(mask[g].any()) for g in columns) <= 4
    assert sum(bool(mask[g].any()) for g in rows) <= 4
    best = float((PAIRS @ v.square().reshape(-1)).max())
    assert float(z.square().sum()) >= 0.6 * best
    assert not TileRowsAndColumns(2, 2, 0.5, 0.5).exact


def test_both_directions_excess_error_is_small_on_average() -> None:
    """Mean excess of the error over the best pair of choices, on 60 cases, stays below 6 %."""
    excess = []
    for seed in range(60):
        v = matrix(seed, 4, 4)
        z, _ = TileRowsAndColumns(2, 2, 0.5, 0.5).project(v)
        total = float(v.square().sum())
        best = total - float((PAIRS @ v.square().reshape(-1)).max())
        excess.append((total - float(z.square().sum())) / best - 1)
    assert min(excess) >= -1e-9
    assert np.mean(excess) < 0.06


@given(seeds, st.integers(1, 40), st.integers(1, 15))
def test_scale_is_the_best_of_all(seed: int, n: int, count: int) -> None:
    w = np.abs(np.random.default_rng(seed).normal(size=n))

    def errors(q: np.ndarray) -> np.ndarray:
        nearest = np.clip(np.rint(w / q[:, None]), 1, count)  # of 1, 2 ... count
        return np.square(w - q[:, None] * nearest).sum(axis=1)

    (found,) = errors(np.array([fit_scale(w, np.arange(1.0, count + 1))]))
    assert found <= errors(np.linspace(1e-3, 2 * w.max(), 4000)).min() + 1e-12


def test_scale_takes_levels_that_are_not_equidistant() -> None:
    levels = np.array([1.0, 1.7, 4.0])
    w = 0.3 * levels[np.random.default_rng(0).integers(0, 3, 50)]
    assert fit_scale(w, levels) == pytest.approx(0.3, rel=1e-12)


@given(seeds, st.integers(1, 60), st.integers(2, 64))
def test_scale_is_that_of_the_best_assignment(seed: int, n: int, count: int) -> None:
    """Against every assignment that some scale gives: between all neighbouring breakpoints."""
    rng = np.random.default_rng(seed)
    w = np.abs(rng.normal(size=n)).round(rng.integers(1, 9))  # many are equal, some are zero
    levels = np.cumsum(rng.random(count) + 0.05)
    midpoints = (levels[1:] + levels[:-1]) / 2
    if not w.any():
        return
    breakpoints = np.sort((w[:, None] / midpoints).ravel())
    tried = np.concatenate([(breakpoints[1:] + breakpoints[:-1]) / 2, [breakpoints[-1] * 2]])
    tried = np.concatenate([tried[tried > 0], [breakpoints[breakpoints > 0][0] / 2]])
    assigned = levels[np.searchsorted(midpoints, w / tried[:, None])]
    best = ((assigned @ w) ** 2 / np.square(assigned).sum(1)).max()
    q = fit_scale(w, levels)
    held = levels[np.searchsorted(midpoints, w / q)]
    assert np.square(w - q * held).sum() <= np.square(w).sum() - best + 1e-11 * np.square(w).sum()


def test_many_levels_are_near_the_best() -> None:
    levels = np.arange(1, 256, dtype=float)
    w = np.abs(np.random.default_rng(0).normal(size=30_000))

    def error(q: float) -> float:
        return float(np.square(w - q * np.clip(np.rint(w / q), 1, 255)).mean())

    assert len(levels) > EXACT_LEVELS
    assert error(fit_scale(w, levels)) <= 1.001 * min(
        error(q) for q in np.geomspace(0.3, 3, 4000) * w.max() / 255
    )


@given(seeds, st.integers(1, 90), st.integers(EXACT_LEVELS + 1, 3000), st.integers(0, 3))
def test_sums_of_few_weights_on_many_levels_are_those_of_their_nearest_levels(
    seed: int, count: int, states: int, zeros: int
) -> None:
    """Weight by weight, where there are more levels than weights, as in 16-bit designs."""
    rng = np.random.default_rng(seed)
    levels = np.cumsum(rng.uniform(0.1, 2, states))
    w = np.sort(rng.exponential(size=count)) + 1e-3
    q = np.sort(rng.uniform(0.1, 3, 5)) * w[-1] / levels[-1]
    midpoints = (levels[1:] + levels[:-1]) / 2
    wl, ll, changes = _at_all(q, w, zeros, levels, midpoints, np.cumsum(np.concatenate([[0.0], w])))
    apart = np.abs(w[None, :, None] - q[:, None, None] * levels)
    nearest = states - 1 - apart[:, :, ::-1].argmin(-1)  # of two that are equally near the higher one
    np.testing.assert_allclose(wl, (w * levels[nearest]).sum(1), rtol=1e-12)
    np.testing.assert_allclose(ll, (levels[nearest] ** 2).sum(1) + zeros * levels[0] ** 2, rtol=1e-12)
    np.testing.assert_array_equal(changes, (states - 1 - nearest).sum(1))


@given(seeds)
def test_levels_project_to_the_nearest(seed: int) -> None:
    v = matrix(seed, 5, 4)
    mask = matrix(seed + 1, 5, 4) > -0.5
    if not mask.any():
        return
    values = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    constraint = Levels(values, mask)
    z, kept = constraint.project(v)
    (q,) = set(constraint.fit(v).tolist())
    grid = torch.cat([values, -values]) * q
    nearest = grid[(v[..., None] - grid).abs().argmin(-1)]
    assert torch.equal(kept, mask)
    assert torch.allclose((v - z)[mask].abs(), (v - nearest)[mask].abs())
    assert (z[~mask] == 0).all()
    assert (z[mask] != 0).all()


@pytest.mark.parametrize(
    "constraint",
    [
        BlockSparse(4, 1, 0.3),
        BlockSparse(4, 4, 0.5),
        BlockSparse(2, 1, 0.3, band=4),
        TileRowsAndColumns(4, 4, 0.5, 0.5),
        SegmentSparse(4, 2),
        OneSign(3),
        BothSparse(BlockSparse(12, 1, 0.5), BlockSparse(3, 8, 0.5)),
        BothSparse(OneSign(2), BlockSparse(4, 1, 0.5)),
        Levels(torch.arange(1.0, 8.0)),
        Levels(torch.ones(1), HALF),
        Levels(torch.tensor([1.0, 2.0, 4.0]), HALF, scale=0.3),
        Window(1.0, 3.0),
        Window(1.0, 3.0, HALF, scale=0.4),
        Ternary(),
        Ternary(HALF),
        Centroids(5),
        Centroids(5, HALF),
        Magnitudes(3),
        Magnitudes(3, HALF),
        SparseValues(BlockSparse(4, 1, 0.4), Levels(torch.arange(1.0, 4.0))),
        SparseValues(BlockSparse(4, 1, 0.4), Levels(torch.arange(1.0, 4.0), scale=0.4)),
        SparseValues(SegmentSparse(4, 2), Window(1.0, 2.0)),
        SparseValues(OneSign(3), Centroids(4)),
        SparseValues(BlockSparse(4, 1, 0.4), Magnitudes(2)),
        SparseValues(BothSparse(OneSign(2), BlockSparse(4, 1, 0.5)), Levels(torch.ones(1))),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_laws_of_a_projection(constraint: Constraint, dtype: torch.dtype) -> None:
    """The argument stays as it is; z has its type, is zero where masked, and is its own nearest point."""
    v = matrix(3, 12, 8).to(dtype)
    before = v.clone()
    z, mask = constraint.project(v)
    assert torch.equal(v, before)
    assert (z.dtype, mask.dtype, z.shape, mask.shape) == (dtype, torch.bool, v.shape, v.shape)
    assert z.data_ptr() != v.data_ptr()
    assert (z[~mask] == 0).all()
    assert (z[mask] != 0).all()
    again, same = constraint.project(z)
    assert torch.allclose(z, again, atol=1e-12 if dtype == torch.float64 else 1e-6)
    assert same[mask].all()


def test_levels_of_an_encoding_are_an_array() -> None:
    """`Levels` said to take them, and ended in an AttributeError."""
    v, values = torch.randn(6, 4), np.array([1.0, 3.0, 4.0])
    for given_values in (values, [1, 3, 4], (1.0, 3.0, 4.0)):
        found = Levels(given_values).project(v)[0]  # type: ignore[arg-type]
        assert torch.equal(found, Levels(torch.tensor(values)).project(v)[0])
    for wrong in (None, "a", ["a"], [[1.0]], [], [0.0, 1.0], np.array([2.0, 1.0])):
        with pytest.raises(XbarError, match="levels: "):
            Levels(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "build",
    [
        lambda mask: Levels(torch.ones(1), mask),
        lambda mask: Window(0.0, 1.0, mask),
        lambda mask: Ternary(mask),
        lambda mask: Centroids(2, mask),
        lambda mask: Magnitudes(2, mask),
    ],
)
def test_a_mask_of_another_type_is_refused(build: Any) -> None:
    """A NumPy mask was an AttributeError at the first projection, one of floats a wrong index."""
    for mask, words in ((np.ones((2, 2), bool), "a ndarray"), (torch.ones(2, 2), r"torch\.float32")):
        with pytest.raises(XbarError, match=rf"mask: {words}; must be a torch\.Tensor of bool"):
            build(mask)


def test_shares_reach_the_rate() -> None:
    sizes = {"a": 500, "b": 25_000, "c": 400_000, "d": 5_000}
    keep = shares_for_rate(17.69, sizes, {"a": 40, "b": 7, "c": 1, "d": 14})
    assert keep["a"] == 1
    assert sum(keep[name] * sizes[name] for name in sizes) == pytest.approx(430_500 / 17.69)


@pytest.mark.parametrize(
    ("rate", "shares"), [(0.5, {"a": 1}), (float("nan"), {"a": 1}), (2, {"a": -1}), (100, {"b": 1}), (2, {})]
)
def test_impossible_rates_are_refused(rate: float, shares: dict[str, float]) -> None:
    with pytest.raises(XbarError):
        shares_for_rate(rate, {"a": 100, "b": 100}, shares)


def test_patterns() -> None:
    names = ["conv1", "conv2", "fc1"]
    assert by_pattern({"conv*": 1, "conv2": 2}, names, "x") == {"conv1": 1, "conv2": 2}
    with pytest.raises(XbarError, match=r"did you mean 'fc1'"):
        by_pattern({"fc": 1}, names, "x")


@pytest.mark.parametrize("keep", [0, 1.5, -1, float("nan")])
def test_keep_is_checked(keep: float) -> None:
    with pytest.raises(XbarError, match="keep"):
        BlockSparse(4, 1, keep)
