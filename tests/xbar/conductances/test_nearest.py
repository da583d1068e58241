"""The nearest level of each weight, by comparison with few thresholds and by a search among many."""

from __future__ import annotations

import numpy as np
import pytest

from xbar.conductances.nearest import FEW, nearest_states


@pytest.mark.parametrize("levels", [1, 2, FEW, FEW + 1, FEW + 2, 500])
def test_it_is_the_level_at_the_least_distance_and_on_a_threshold_the_lower(levels: int) -> None:
    rng = np.random.default_rng(levels)
    values = np.cumsum(rng.integers(1, 5, levels)).astype(np.float64)
    scale = np.array([0.25, 1.0, 2.0])
    # halves of whole numbers: many weights are on a threshold exactly
    w = (rng.integers(-3 * levels, 3 * levels, (200, 3)) / 2 * scale).astype(np.float32)
    held = rng.random(w.shape) < 0.8
    state = np.empty(w.shape, np.int16)
    thresholds = (values[1:] + values[:-1]) / 2
    assert nearest_states(w, np.broadcast_to(scale, w.shape), held, thresholds, state) == -1
    distance = np.abs(np.abs(w / scale)[..., None] - values)
    expected = np.where(w < 0, -1, 1) * (1 + np.argmin(distance, axis=-1))
    np.testing.assert_array_equal(state, np.where(held, expected, 0))


def test_the_first_weight_without_a_scale_is_told() -> None:
    w, held = np.ones((2, 3), np.float32), np.ones((2, 3), bool)
    scale = np.array([[1.0, 1.0, 1.0], [1.0, np.nan, 0.0]])
    state = np.empty(w.shape, np.int16)
    none = np.empty(0)
    assert nearest_states(w, scale, held, none, state) == 4
    w[1, 1], held[1, 1] = 1.0, False
    assert nearest_states(w, scale, held, none, state) == 5
    w[1, 2] = 0.0
    assert nearest_states(w, scale, held, none, state) == -1
