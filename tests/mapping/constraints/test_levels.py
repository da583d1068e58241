"""Levels, windows and ternary weights against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scales import fit_scale, fit_ternary, fit_window

from mapping.constraints.levels import Levels, Ternary, Window, equal_levels, power_levels
from xbar import XbarError

seeds = st.integers(0, 2**31 - 1)


def weights(seed: int, n: int) -> np.ndarray:
    """Normal weights with equal ones and zeros among them."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=n).round(int(rng.integers(0, 6)))


@given(seeds, st.integers(1, 30), st.floats(0, 1), st.floats(1, 3))
def test_window_has_the_best_scale(seed: int, n: int, low: float, ratio: float) -> None:
    w = np.abs(weights(seed, n))
    high = max(low * ratio, 0.1)
    if not w.any():
        return

    def error(s: float) -> float:
        return float(np.square(w - np.clip(w, s * low, s * high)).sum())

    s = fit_window(w, low, high)
    near = s * np.array([1 - 1e-4, 1 + 1e-4])  # convex: a minimum beside its neighbours is the least
    tolerance = 1e-12 * float(np.square(w).sum())
    others = [*np.linspace(1e-3, 2 * w.max() / high, 50), *near]
    assert error(s) <= min(error(x) for x in others) + tolerance
    if error(s) < tolerance:
        assert error(0.999 * s) > tolerance, "a smaller scale is as good"


@given(seeds, st.booleans())
def test_window_clips_and_keeps_signs(seed: int, given_scale: bool) -> None:
    v = torch.from_numpy(weights(seed, 20)).reshape(5, 4)
    mask = torch.rand(5, 4, generator=torch.Generator().manual_seed(seed)) < 0.7
    constraint = Window(1.0, 3.0, mask, 0.4 if given_scale else None)
    z, kept = constraint.project(v)
    s = 0.4 if given_scale else fit_window(v[mask].abs().numpy(), 1.0, 3.0)
    assert torch.equal(kept, mask)
    assert (z[~mask] == 0).all()
    for w, near in zip(v[mask].tolist(), z[mask].tolist(), strict=True):
        sign = -1 if w < 0 else 1
        assert near == pytest.approx(sign * min(max(abs(w), s), 3 * s), rel=1e-14)
    assert constraint.exact
    assert constraint.fixed == given_scale


def test_window_from_almost_zero_is_that_from_zero() -> None:
    w = np.array([0.0, 1e-3, 4.0])
    assert fit_window(w, 5e-324, 2) == fit_window(w, 0, 2) == 2


def test_window_of_no_width_is_binary_and_from_zero_is_free() -> None:
    w = np.abs(weights(5, 40))
    assert fit_window(w, 2, 2) == pytest.approx(w.mean() / 2, rel=1e-14)
    assert fit_window(w, 0, 4) == pytest.approx(w.max() / 4, rel=1e-14)


@given(seeds, st.integers(1, 7))
def test_ternary_is_the_nearest_point(seed: int, n: int) -> None:
    v = torch.from_numpy(weights(seed, n)).reshape(-1, 1)
    signs = torch.tensor(list(itertools.product([-1.0, 0.0, 1.0], repeat=n)), dtype=torch.float64)[:, :, None]
    counts = signs.square().sum((1, 2))
    saved = (signs * v).sum((1, 2)).clamp_min(0).square() / counts.clamp_min(1)
    z, mask = Ternary().project(v)
    best = float(v.square().sum() - saved.max())
    assert float((v - z).square().sum()) == pytest.approx(best, abs=1e-12)
    assert len(z[mask].abs().unique()) <= 1
    assert torch.equal(mask, z != 0)
    assert Ternary().exact


@given(seeds)
def test_ternary_leaves_masked_weights_out(seed: int) -> None:
    v = torch.from_numpy(weights(seed, 12)).reshape(4, 3)
    mask = torch.rand(4, 3, generator=torch.Generator().manual_seed(seed)) < 0.6
    z, kept = Ternary(mask).project(v)
    alone, _ = Ternary().project(v[mask].reshape(-1, 1))
    assert torch.equal(z[mask], alone.flatten())
    assert not kept[~mask].any()
    assert (z[~mask] == 0).all()


@given(seeds)
def test_binary_has_the_mean_as_its_scale(seed: int) -> None:
    v = torch.from_numpy(weights(seed, 12)).reshape(4, 3)
    mask = torch.arange(12).reshape(4, 3) % 3 > 0
    if not v[mask].any():
        return
    z, _ = Levels(equal_levels(1), mask).project(v)
    assert z[mask].abs().numpy() == pytest.approx(v[mask].abs().mean().item(), rel=1e-12)
    assert torch.equal(z[mask] < 0, v[mask] < 0)


def test_named_levels() -> None:
    assert equal_levels(4).tolist() == [1, 2, 3, 4]
    assert power_levels(4).tolist() == [1, 2, 4, 8]


def test_a_given_scale_is_taken_and_is_exact() -> None:
    v = torch.tensor([[0.1, -0.9, 2.6, 100.0]])
    given_scale = Levels(equal_levels(100), scale=0.5)
    assert given_scale.project(v)[0].tolist() == [[0.5, -1.0, 2.5, 50.0]]
    assert given_scale.exact
    assert not Levels(equal_levels(100)).exact


@pytest.mark.parametrize("fit", [fit_ternary, lambda w: fit_window(w, 1, 2)])
def test_no_weight_has_scale_zero(fit: Callable[[np.ndarray], float]) -> None:
    assert fit(np.zeros(3)) == fit(np.zeros(0)) == 0


@pytest.mark.parametrize("values", [[], [0.0, 1.0], [2.0, 1.0], [-1.0, 1.0], [float("nan")], [[1.0, 2.0]]])
def test_levels_are_checked(values: list[float]) -> None:
    with pytest.raises(XbarError, match="levels: must be a list of positive numbers, ascending"):
        Levels(torch.tensor(values))


def test_numbers_are_checked() -> None:
    with pytest.raises(XbarError, match="low of a window = 3"):
        Window(3.0, 2.0)
    with pytest.raises(XbarError, match="high of a window = 0"):
        Window(0.0, 0.0)
    with pytest.raises(XbarError, match=r"scale = -1\.0"):
        Window(1.0, 2.0, scale=-1.0)
    with pytest.raises(XbarError, match="scale = 0"):
        Levels(equal_levels(2), scale=0)
    with pytest.raises(XbarError, match="levels of one sign = 0"):
        equal_levels(0)
    with pytest.raises(XbarError, match="levels of one sign = 65"):
        power_levels(65)


@pytest.mark.parametrize(
    ("weights", "states", "on"),
    [([0.3], 15, [15]), ([1.0], 63, [63]), ([0.77] * 20, 3, [3] * 20), ([0.3, 0.6] * 4, 15, [7, 14] * 4)],
)
def test_of_scales_that_fit_alike_the_smallest_is_taken(
    weights: list[float], states: int, on: list[int]
) -> None:
    """A column of one weight fits every level exactly; on a low one, noise of a cell is a larger part."""
    scale = fit_scale(np.array(weights), np.arange(1.0, states + 1))
    np.testing.assert_allclose(np.array(weights) / scale, on, rtol=1e-9)


def test_a_single_weight_always_lies_on_the_highest_level() -> None:
    values = np.random.default_rng(0).random(300)
    assert [round(w / fit_scale(np.array([w]), np.arange(1.0, 64))) for w in values] == [63] * 300
