"""Free centroids against all partitions, and against the plain recurrence."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from mapping.constraints.centroids import Centroids, Magnitudes, fit_centroids
from xbar import XbarError

seeds = st.integers(0, 2**31 - 1)


def weights(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 3 + rng.normal(size=n).round(int(rng.integers(0, 9)))


def error(w: np.ndarray, centroids: np.ndarray) -> float:
    return float(np.square(w[:, None] - centroids).min(1).sum())


@given(seeds, st.integers(1, 7), st.integers(1, 3))
def test_no_partition_is_better(seed: int, n: int, count: int) -> None:
    """All assignments of weights to clusters, intervals or not."""
    w = weights(seed, n)
    assigned = np.array(list(itertools.product(range(count), repeat=n)))
    member = (assigned[:, :, None] == np.arange(count)).astype(float)
    saved = (np.square(np.einsum("anc,n->ac", member, w)) / np.maximum(member.sum(1), 1)).sum(1)
    found = fit_centroids(w, count)
    assert len(found) <= count
    assert (np.diff(found) > 0).all()
    assert error(w, found) == pytest.approx(float(np.square(w).sum() - saved.max()), abs=1e-9)


@given(seeds, st.integers(1, 80), st.integers(1, 12))
def test_as_good_as_the_plain_recurrence(seed: int, n: int, count: int) -> None:
    w = np.sort(weights(seed, n))
    within = np.array(
        [[w[i : j + 1].var() * (j + 1 - i) if i <= j else 0 for j in range(n)] for i in range(n)]
    )
    best = within[0]
    for _ in range(1, count):
        best = np.array(
            [min([best[j]] + [best[i - 1] + within[i, j] for i in range(1, j + 1)]) for j in range(n)]
        )
    assert error(w, fit_centroids(w, count)) == pytest.approx(float(best[-1]), abs=1e-9)


@given(seeds)
def test_masked_weights_take_no_centroid(seed: int) -> None:
    v = torch.from_numpy(weights(seed, 20)).reshape(5, 4)
    mask = torch.rand(5, 4, generator=torch.Generator().manual_seed(seed)) < 0.6
    z, kept = Centroids(3, mask).project(v)
    centroids = fit_centroids(v[mask].numpy(), 3)
    nearest = centroids[np.abs(v[mask].numpy()[:, None] - centroids).argmin(1)]
    assert torch.equal(kept, mask)
    assert (z[~mask] == 0).all()
    assert len(z[mask].unique()) <= 3
    assert (v[mask] - z[mask]).abs().numpy() == pytest.approx(np.abs(v[mask].numpy() - nearest), abs=1e-14)


@given(seeds, st.integers(1, 6), st.integers(1, 3))
def test_no_magnitudes_are_better(seed: int, n: int, count: int) -> None:
    """All assignments of weights to magnitudes of either sign: the best one is |mean of s w|, s its signs."""
    v = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, 1)).round(2))
    w = v.abs().flatten().numpy()
    assigned = np.array(list(itertools.product(range(count), repeat=n)))
    member = (assigned[:, :, None] == np.arange(count)).astype(float)
    saved = (np.square(np.einsum("anc,n->ac", member, w)) / np.maximum(member.sum(1), 1)).sum(1)
    z, kept = Magnitudes(count).project(v)
    assert kept.all()
    assert len(z.abs().unique()) <= count
    assert (z * v >= 0).all()
    assert float((v - z).square().sum()) == pytest.approx(float(np.square(w).sum() - saved.max()), abs=1e-9)


def test_enough_centroids_change_nothing() -> None:
    v = torch.tensor([[0.5, -1.0], [0.5, 2.0]])
    assert torch.equal(Centroids(3).project(v)[0], v)


def test_no_weight_left_is_no_error() -> None:
    z, mask = Centroids(3, torch.zeros(2, 2, dtype=torch.bool)).project(torch.ones(2, 2))
    assert not z.any()
    assert not mask.any()


@pytest.mark.parametrize("count", [0, 257])
def test_the_count_is_checked(count: int) -> None:
    with pytest.raises(XbarError, match="count of centroids"):
        Centroids(count)
    with pytest.raises(XbarError, match="count of magnitudes"):
        Magnitudes(count)
