"""Segments with few weights and fragments of one sign, against brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, strategies as st

from mapping.constraints.fragments import OneSign, SegmentSparse
from xbar import XbarError

shapes = st.tuples(st.integers(1, 9), st.integers(1, 3))
seeds = st.integers(0, 2**31 - 1)


def rounded(seed: int, shape: tuple[int, int]) -> torch.Tensor:
    """Few different values, so that many are equal and some zero."""
    v = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * v).round() / 2


@given(seeds, shapes, st.integers(1, 5), st.integers(1, 5))
def test_segments_keep_their_largest(seed: int, shape: tuple[int, int], rows: int, most: int) -> None:
    v = rounded(seed, shape)
    most = min(most, rows)
    z, mask = SegmentSparse(rows, most).project(v)
    for segment, kept in zip(v.split(rows), mask.split(rows), strict=True):
        count = min(most, len(segment))
        for column in range(shape[1]):
            best = max(
                sum(float(w) ** 2 for w in chosen)
                for chosen in itertools.combinations(segment[:, column], count)
            )
            assert int(kept[:, column].sum()) == count
            assert float(segment[kept[:, column], column].square().sum()) == best
    assert torch.equal(z, torch.where(mask, v, 0.0))
    assert SegmentSparse(rows, most).exact


@given(seeds, shapes, st.integers(1, 5))
def test_fragments_have_the_sign_that_is_nearest(seed: int, shape: tuple[int, int], size: int) -> None:
    v = rounded(seed, shape)
    z, mask = OneSign(size).project(v)
    for fragment, near in zip(v.split(size), z.split(size), strict=True):
        best = torch.minimum(fragment.clamp_min(0).square().sum(0), fragment.clamp_max(0).square().sum(0))
        assert ((near >= 0).all(0) | (near <= 0).all(0)).all()
        assert torch.equal((fragment - near).square().sum(0), best)
    assert torch.equal(z, torch.where(mask, v, 0.0))
    assert OneSign(size).exact


def test_the_sign_of_the_sum_is_not_the_nearest() -> None:
    """-3 has more energy than four ones, which have the larger sum."""
    z, mask = OneSign(5).project(torch.tensor([[1.0], [1.0], [-3.0], [1.0], [1.0]]))
    assert z.flatten().tolist() == [0, 0, -3, 0, 0]
    assert mask.flatten().tolist() == [False, False, True, False, False]


def test_on_a_tie_the_positive_weights_stay() -> None:
    assert OneSign(2).project(torch.tensor([[-1.0], [1.0]]))[0].flatten().tolist() == [0, 1]


@pytest.mark.parametrize(("rows", "most"), [(4, 0), (4, 5), (0, 1)])
def test_segments_are_checked(rows: int, most: int) -> None:
    with pytest.raises(XbarError, match="of a segment"):
        SegmentSparse(rows, most)


def test_fragments_are_checked() -> None:
    with pytest.raises(XbarError, match="size of a fragment = 0"):
        OneSign(0)
