"""What keeps weights in sets of signs and values in a training, and which levels lie in them."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings, strategies as st

from mapping.compression.within import hold_on_levels
from mapping.constraints.centroids import Centroids, Magnitudes
from mapping.constraints.fragments import OneSign
from mapping.constraints.intersections import BothSparse, SparseValues, held_in, lasting_parts, levels_in
from mapping.constraints.levels import Levels, Window, equal_levels
from mapping.constraints.sparsity import BlockSparse
from xbar import XbarError

seeds = st.integers(0, 2**31 - 1)
LEVELS = Levels(equal_levels(7), per="column")


def matrix(seed: int, shape: tuple[int, int] = (8, 3)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def has_one_sign(w: torch.Tensor, size: int) -> bool:
    return not any(((p > 0).any(0) & (p < 0).any(0)).any() for p in w.split(size))


@given(seed=seeds)
def test_a_sign_is_held_at_the_nearest_point(seed: int) -> None:
    """The nearest weights of given signs are max(s w, 0) s, each on its own."""
    z, mask = OneSign(4).project(matrix(seed))
    w = matrix(seed + 1)
    held = held_in(OneSign(4), z)(w)
    assert has_one_sign(held, 4)
    assert torch.equal(held != 0, mask & (w * z > 0))
    assert torch.equal(held[held != 0], w[held != 0])


@given(seed=seeds)
def test_a_window_is_held_with_its_scale(seed: int) -> None:
    window = Window(0.4, 1.0, per="column")
    z, _ = window.project(matrix(seed))
    scale = z.abs().amax(0)
    held = held_in(window, z)(matrix(seed + 1))
    assert (held.abs() >= 0.4 * scale - 1e-12).all()
    assert (held.abs() <= scale + 1e-12).all()


@given(seed=seeds)
def test_shared_values_move_together_to_the_nearest_point(seed: int) -> None:
    """The nearest weights in which the same ones are equal are the means of each group."""
    z, _ = Centroids(4).project(matrix(seed))
    w = matrix(seed + 1)
    held = held_in(Centroids(4), z)(w)
    for value in z.unique():
        group = z == value
        assert held[group].unique().numel() == 1
        assert float(held[group][0]) == pytest.approx(float(w[group].mean()))


@given(seed=seeds)
def test_both_hold_together_and_masked_weights_stay_zero(seed: int) -> None:
    both = SparseValues(BothSparse(OneSign(4), BlockSparse(4, 1, 0.5)), Window(0.4, 1.0, per="column"))
    z, _ = both.project(matrix(seed))
    held = held_in(both, z)(matrix(seed + 1))
    assert has_one_sign(held, 4)
    assert torch.equal(held != 0, z != 0)
    scale = z.abs().amax(0)
    stays = held != 0
    assert (held.abs() >= (0.4 * scale - 1e-12) * stays).all()
    assert len(lasting_parts(both)) == 2
    assert lasting_parts(BlockSparse(4, 1, 0.5)) == []


@given(seed=seeds)
def test_signed_levels_are_the_nearest_of_their_sign(seed: int) -> None:
    z, _ = OneSign(4).project(matrix(seed))
    allowed = levels_in(OneSign(4), Levels(equal_levels(3), scale=0.5), z)
    v = matrix(seed + 1)
    found, _ = allowed.project(v)
    signs = OneSign(4).signs(z)
    choices = torch.stack([signs * 0.5 * level for level in (1, 2, 3)])
    best = (choices - v).square().amin(0)
    torch.testing.assert_close((found - v).square(), best)
    assert allowed.exact
    assert not levels_in(OneSign(4), LEVELS, z).exact


def test_a_sign_is_that_of_larger_energy_and_zeros_take_it() -> None:
    w = torch.tensor([[0.0, 1.0], [-2.0, 0.0], [1.0, -0.5], [0.0, 0.0]])
    assert OneSign(4).signs(w).tolist() == [[-1.0, 1.0]] * 4


def test_levels_in_a_window_are_shares_of_the_highest() -> None:
    for low, high, first, last in ((0.4, 1.0, 3, 7), (2 / 7, 1.0, 2, 7), (0.3, 0.5, 3, 3), (0.0, 1.0, 1, 7)):
        found = levels_in(Window(low, high, per="column"), LEVELS, matrix(0))
        assert isinstance(found, Levels)
        assert found.values.tolist() == list(range(first, last + 1))
    with pytest.raises(XbarError, match="no level of the cells lies in the window"):
        levels_in(Window(0.6, 0.65, per="column"), LEVELS, matrix(0))


@settings(max_examples=30)
@given(seed=seeds, count=st.integers(1, 4))
def test_shared_levels_against_all_choices(seed: int, count: int) -> None:
    """At most so many of the levels, on one scale; the error is near to that of the best choice of all."""
    w = matrix(seed, (6, 2))
    found, _ = levels_in(Centroids(count), Levels(equal_levels(3)), w).project(w)
    values = found.unique()
    assert len(values) <= count
    assert (values != 0).all()
    units = values / values.abs().max()
    steps = [torch.arange(-top, top + 1).double() / top for top in (1, 2, 3)]
    assert any((units[:, None] - of).abs().amin(1).max() < 1e-12 for of in steps)
    error = float((found - w).square().sum())
    best = float("inf")
    for chosen in itertools.combinations([-3, -2, -1, 1, 2, 3], count):
        for q in torch.linspace(0.02, 1.5, 75).tolist():
            to = torch.tensor(chosen).double() * q
            best = min(best, float((w[..., None] - to).square().amin(-1).sum()))
    assert error <= 1.6 * best + 0.05 * float(w.square().sum())


def test_what_has_no_levels_in_common_is_refused() -> None:
    free = Magnitudes(3)
    for constraint, levels, words in (
        (Window(0.4, 1.0), LEVELS, "needs encoding.scale = 'layer'"),
        (Window(0.4, 1.0), free, "a window needs the levels of cells"),
        (Centroids(3), LEVELS, "need one scale for the layer"),
        (SparseValues(OneSign(4), Centroids(3)), Levels(equal_levels(3)), "the same for both signs"),
    ):
        with pytest.raises(XbarError) as caught:
            levels_in(constraint, levels, matrix(0))
        assert words in str(caught.value)


@given(seed=seeds)
def test_a_weight_moves_only_where_its_level_is_not_allowed(seed: int) -> None:
    z, _ = OneSign(4).project(matrix(seed))
    allowed = levels_in(OneSign(4), LEVELS, z)
    fitted = allowed.fit(z)
    w = matrix(seed + 1)
    w[0] = 0.0
    held = hold_on_levels(allowed, fitted, LEVELS, fitted)(w)
    wrong = (w * OneSign(4).signs(z) < 0) & (w != 0)
    assert torch.equal(held[~wrong], w[~wrong])
    lowest = OneSign(4).signs(z) * fitted
    torch.testing.assert_close(held[wrong], lowest[wrong])
