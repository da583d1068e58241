"""Intersections of sets against all masks of small matrices."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from mapping.constraints.centroids import Centroids
from mapping.constraints.fragments import OneSign, SegmentSparse
from mapping.constraints.intersections import BothSparse, SparseValues
from mapping.constraints.levels import Levels, Ternary, Values, Window, equal_levels, power_levels
from mapping.constraints.sparsity import BlockSparse, Sparsity, TileRowsAndColumns, block_sparse
from mapping.network.gemm import to_gemm
from xbar import XbarError

seeds = st.integers(0, 2**31 - 1)
SHAPE = (4, 2)
MASKS = torch.tensor(list(itertools.product([False, True], repeat=8))).reshape(-1, *SHAPE)


def matrix(seed: int, shape: tuple[int, int] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def in_blocks(masks: torch.Tensor, rows: int, cols: int, count: int, whole: bool = False) -> torch.Tensor:
    """Which masks lie in at most `count` blocks (and fill them)."""
    m = masks.reshape(-1, SHAPE[0] // rows, rows, SHAPE[1] // cols, cols)
    some, full = m.any(4).any(2), m.all(4).all(2)
    fits = some.sum((1, 2)) <= count
    return fits & (some == full).all(2).all(1) if whole else fits


def of_one_sign(masks: torch.Tensor, v: torch.Tensor, size: int) -> torch.Tensor:
    above = (masks & (v >= 0)).reshape(len(masks), -1, size, SHAPE[1]).any(2)
    below = (masks & (v < 0)).reshape(len(masks), -1, size, SHAPE[1]).any(2)
    return ~(above & below).any(2).any(1)


Allowed = Callable[[torch.Tensor], torch.Tensor]
FAMILIES: list[tuple[Sparsity, Allowed]] = [
    (BlockSparse(1, 1, 0.5), lambda v: in_blocks(MASKS, 1, 1, 4)),
    (BlockSparse(2, 1, 0.5), lambda v: in_blocks(MASKS, 2, 1, 2, whole=True)),
    (BlockSparse(1, 2, 0.75), lambda v: in_blocks(MASKS, 1, 2, 3, whole=True)),
    (SegmentSparse(2, 1), lambda v: (MASKS.reshape(-1, 2, 2, 2).sum(2) <= 1).all(2).all(1)),
    (OneSign(2), lambda v: of_one_sign(MASKS, v, 2)),
    (
        BothSparse(OneSign(2), BlockSparse(2, 2, 0.5)),
        lambda v: of_one_sign(MASKS, v, 2) & in_blocks(MASKS, 2, 2, 1),
    ),
    (
        BothSparse(OneSign(2), BlockSparse(4, 1, 0.5)),
        lambda v: of_one_sign(MASKS, v, 2) & in_blocks(MASKS, 4, 1, 1),
    ),
]
VALUES: list[Values[float]] = [
    Levels(equal_levels(3), scale=0.5),
    Levels(power_levels(3), scale=0.9),
    Levels(equal_levels(1), scale=1.4),
    Window(1.0, 2.0, scale=0.6),
]


def error_of(v: torch.Tensor, q: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    return torch.where(masks, (v - q).square(), v.square()).sum((1, 2))


@pytest.mark.parametrize(("sparsity", "allowed"), FAMILIES, ids=[repr(s) for s, _ in FAMILIES])
@given(seed=seeds)
def test_with_values_that_are_given_it_is_the_nearest_point(
    sparsity: Sparsity, allowed: Allowed, seed: int
) -> None:
    v = matrix(seed)
    for values in VALUES:
        q, _ = values.project(v)
        best = float(error_of(v, q, MASKS[allowed(v)]).min())
        constraint = SparseValues(sparsity, values)
        z, mask = constraint.project(v)
        assert allowed(v)[(mask == MASKS).all(2).all(1)].all()
        assert torch.equal(z, torch.where(mask, q, 0.0))
        assert float((v - z).square().sum()) == pytest.approx(best, abs=1e-12)
        assert constraint.exact


@pytest.mark.parametrize(("sparsity", "allowed"), FAMILIES, ids=[repr(s) for s, _ in FAMILIES])
@given(seed=seeds)
def test_a_sparsity_alone_is_the_nearest_point(sparsity: Sparsity, allowed: Allowed, seed: int) -> None:
    v = matrix(seed)
    z, _ = sparsity.project(v)
    best = float(error_of(v, v, MASKS[allowed(v)]).min())
    assert float((v - z).square().sum()) == pytest.approx(best, abs=1e-12)
    assert sparsity.exact


@given(
    seeds, st.sampled_from([Levels(equal_levels(3)), Levels(equal_levels(1)), Window(1.0, 2.0), Centroids(2)])
)
def test_fitted_values_are_no_farther_than_one_after_the_other(seed: int, values: Values) -> None:
    """And their scale is the best for the mask, as the mask is for the scale."""
    v = matrix(seed, (8, 6))
    for sparsity in (BlockSparse(2, 1, 0.4), SegmentSparse(4, 2), OneSign(4)):
        constraint = SparseValues(sparsity, values)
        z, mask = constraint.project(v)
        _, first = sparsity.project(v)
        after = torch.zeros_like(v)
        after[first] = values.project(v[first])[0]
        assert float((v - z).square().sum()) <= float((v - after).square().sum()) + 1e-12
        of_chosen = dataclasses.replace(values, mask=mask)
        assert torch.allclose(z, of_chosen.project(v)[0], atol=1e-12)
        q = values.nearest(v, of_chosen.fit(v))
        assert torch.equal(sparsity.choose(v, v.square() - (v - q).square()), mask)
        assert not constraint.exact


def test_joint_choice_is_nearer_on_average() -> None:
    """With one level, a block of equal weights is worth more than one of more energy on a single weight."""
    constraint = SparseValues(BlockSparse(2, 1, 0.5), Levels(equal_levels(1)))
    z, mask = constraint.project(torch.tensor([[1.5, 1.0], [0.0, 1.0]]))
    assert mask.tolist() == [[False, True], [False, True]]
    assert z.tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("seed", [25, 39])
@pytest.mark.parametrize("sparsity", [BlockSparse(1, 1, 1.0), SegmentSparse(4, 3)], ids=repr)
def test_what_was_pruned_does_not_move_the_centroids(sparsity: Sparsity, seed: int) -> None:
    """Few weights stay of those that may: their zeros, projected again, are no weights to be fitted."""
    constraint = SparseValues(sparsity, Centroids(2))
    z, _ = constraint.project(matrix(seed, (4, 4)) ** 3)
    assert torch.allclose(constraint.project(z)[0], z, atol=1e-12)


def test_filters_and_channels_together() -> None:
    """Mean excess over the best pair of choices below 1.2 % (once each, not to a fixed point: 2 %)."""
    layer = nn.Conv2d(4, 4, (1, 2), dtype=torch.float64)
    both = BothSparse(block_sparse(layer, "filters", 0.5), block_sparse(layer, "channels", 0.5))
    pairs = [set(pair) for pair in itertools.combinations(range(4), 2)]
    excess = []
    for seed in range(60):
        v = matrix(seed, to_gemm(layer).shape)  # type: ignore[arg-type]
        z, mask = both.project(v)
        assert int(mask.sum()) == 2 * 2 * 2
        assert int(mask.any(0).sum()) == 2
        assert int(mask.reshape(4, 2, 4).any(2).any(1).sum()) == 2
        energy = v.square().reshape(4, 2, 4).sum(1)
        best = max(float(energy[list(c)][:, list(f)].sum()) for c in pairs for f in pairs)
        total = float(v.square().sum())
        excess.append((total - float(z.square().sum())) / (total - best) - 1)
    assert min(excess) >= -1e-9
    assert np.mean(excess) < 0.012


def test_exactness_is_said_truthfully() -> None:
    blocks = BlockSparse(4, 1, 0.5)
    assert BothSparse(OneSign(2), blocks).exact
    assert not BothSparse(blocks, OneSign(2)).exact
    assert not BothSparse(OneSign(3), blocks).exact
    assert not BothSparse(OneSign(2), SegmentSparse(4, 1)).exact
    assert not BothSparse(blocks, blocks).exact
    assert not SparseValues(TileRowsAndColumns(2, 2, 0.5, 0.5), Levels(equal_levels(2), scale=1.0)).exact
    assert not SparseValues(blocks, Levels(equal_levels(2))).exact


def test_compositions_without_a_meaning_are_refused() -> None:
    blocks, levels = BlockSparse(2, 1, 0.5), Levels(equal_levels(2))
    with pytest.raises(XbarError, match="values = Ternary: must be Levels, Window, Centroids or Magnitudes"):
        SparseValues(blocks, Ternary())  # type: ignore[arg-type]
    with pytest.raises(XbarError, match=r"values = OneSign: .* two sparsities are BothSparse"):
        SparseValues(blocks, OneSign(2))  # type: ignore[arg-type]
    with pytest.raises(XbarError, match="values with a mask"):
        SparseValues(blocks, Levels(equal_levels(2), torch.ones(2, 2, dtype=torch.bool)))
    with pytest.raises(XbarError, match="sparsity = Levels: must be a sparsity"):
        SparseValues(levels, levels)  # type: ignore[arg-type]
    with pytest.raises(XbarError, match=r"second = Levels: .* a sparsity and values are SparseValues"):
        BothSparse(blocks, levels)  # type: ignore[arg-type]
