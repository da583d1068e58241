"""What is fitted by operators of torch against the searches on the processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from mapping.constraints.centroids import fit_centroids
from mapping.constraints.fits import (
    columns_of,
    free_values,
    level_scales,
    nearest_levels,
    ternary_scales,
    to_all,
    window_scales,
)
from mapping.constraints.scale import Per, fit_scales

seeds = st.integers(0, 2**31 - 1)


def case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, N), some of them equal, some zero, a column of zeros at times; and those that count."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(int(rng.integers(1, 60)), int(rng.integers(1, 9)))).round(int(rng.integers(0, 6)))
    if seed % 3 == 0:
        w[:, 0] = 0
    return w, rng.random(w.shape) < rng.random()


@given(seeds, st.integers(1, 20), st.booleans(), st.sampled_from(["column", "layer"]))
def test_scales_of_levels_are_those_of_the_search(seed: int, count: int, equal: bool, per: Per) -> None:
    """The same, or with the same error to rounding where two scales are equally good."""
    w, kept = case(seed)
    rng = np.random.default_rng(seed + 1)
    levels = np.arange(1.0, count + 1) if equal else np.sort(rng.random(count) + 0.05)
    searched = torch.from_numpy(fit_scales(w, kept, levels, per))
    v, mask, of = torch.from_numpy(w), torch.from_numpy(kept), torch.from_numpy(levels)
    found = to_all(level_scales(columns_of(v, mask, per), of), v)
    assert torch.equal(found > 0, searched > 0)

    def error(scale: torch.Tensor) -> float:
        return float(torch.where(mask, v - nearest_levels(v, scale, of), 0.0).square().sum())

    assert error(found) == pytest.approx(error(searched), rel=1e-10, abs=1e-12 * float(v.square().sum()))


@pytest.mark.parametrize("per", ["column", "layer"])
def test_many_weights_in_parts(per: Per, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns are gone through in several parts where all changes at once would take too much memory."""
    monkeypatch.setattr("mapping.constraints.fits.MOST_CHANGES", 3000)
    w = np.random.default_rng(3).normal(size=(2000, 6))
    levels = np.arange(1.0, 16)
    v = torch.from_numpy(w)
    found = to_all(level_scales(columns_of(v, None, per), torch.from_numpy(levels)), v)
    np.testing.assert_allclose(found, fit_scales(w, None, levels, per), rtol=1e-6)


@given(seeds, st.integers(1, 7))
def test_free_values_are_those_of_the_recurrence(seed: int, count: int) -> None:
    w, kept = case(seed)
    values = w[kept]
    found, searched = free_values(torch.from_numpy(values), count).numpy(), fit_centroids(values, count)

    def error(centroids: np.ndarray) -> float:
        return float(np.square(values[:, None] - centroids).min(1).sum()) if len(values) else 0.0

    assert len(found) == len(searched)
    assert error(found) == pytest.approx(error(searched), abs=1e-10)


@given(seeds)
def test_a_column_is_fitted_as_if_it_were_alone(seed: int) -> None:
    w, kept = case(seed)
    v, mask = torch.from_numpy(w), torch.from_numpy(kept)
    together = columns_of(v, mask, "column")
    windows, ternary = window_scales(together, 1.0, 3.0), ternary_scales(together)
    for n in range(w.shape[1]):
        alone = columns_of(v[:, n][mask[:, n]].reshape(-1, 1), None, "column")
        assert float(window_scales(alone, 1.0, 3.0)) == pytest.approx(float(windows[n]), rel=1e-12)
        assert float(ternary_scales(alone)) == pytest.approx(float(ternary[n]), rel=1e-12)
