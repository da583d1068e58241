"""The map of a sweep: cells have intervals, and lines tell apart those that do not overlap."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from experiments.figures.sweep_figures import ACCURACY, ENERGY, sweep_figures, told_apart
from experiments.sweeps.table import HALF_WIDTH

NONE = np.nan


@pytest.mark.parametrize(
    ("halves", "lines"),
    [
        ([[0.4, 0.4], [0.4, 0.4]], [((0.5, -0.5), (0.5, 0.5)), ((-0.5, 0.5), (0.5, 0.5))]),
        ([[0.6, 0.4], [0.4, 0.6]], []),
        ([[0.0, 1.0], [1.5, 0.0]], [((0.5, 0.5), (0.5, 1.5)), ((0.5, 0.5), (1.5, 0.5))]),
        ([[NONE, 0.1], [0.1, NONE]], []),
    ],
)
def test_a_line_stands_between_intervals_that_do_not_overlap(halves: Any, lines: Any) -> None:
    """Means 90 and 91 in the lower row, 91 and 91.5 above. Intervals that touch are not told apart."""
    means = np.array([[90.0, 91.0], [91.0, 91.5]])
    if lines and halves[0][0] == 0.0:
        means[1, 1] = 93.0
    found = told_apart(means, np.array(halves))
    assert {tuple(line) for line in found} == set(lines)


def points(chips: int) -> list[dict[str, Any]]:
    """Six points on two axes; the mean rises by a point with each step of the first."""
    halves = {HALF_WIDTH: 0.3} if chips > 1 else {}
    found = [
        {"a.bits": a, "b.sigma": b, ACCURACY: 90.0 + a, ENERGY: 1.0 + a, **halves}
        for a, b in itertools.product((1, 2, 3), (0.1, 0.2))
    ]
    if chips > 1:
        found[0][HALF_WIDTH] = 4e-14  # what rounding makes of chips that are alike
        found[1][HALF_WIDTH] = 0.04
    return found


def test_cells_have_the_interval_of_their_mean() -> None:
    ax = sweep_figures(points(3), ["a.bits", "b.sigma"])["heat"].axes[0]
    texts = [text.get_text() for text in ax.texts]
    assert texts.count("±0.3") == 4
    assert texts[:2] == ["91.0", "±0"]
    assert "±0.04" in texts
    (lines,) = (part for part in ax.collections if isinstance(part, LineCollection))
    assert len(lines.get_segments()) == 4  # two steps of the first axis, of two cells each


def test_one_chip_has_no_interval() -> None:
    ax = sweep_figures(points(1), ["a.bits", "b.sigma"])["heat"].axes[0]
    assert [text.get_text() for text in ax.texts] == ["91.0", "92.0", "93.0"] * 2
    (lines,) = (part for part in ax.collections if isinstance(part, LineCollection))
    assert not lines.get_segments()


@pytest.mark.parametrize(
    ("shape", "panels"), [((5, 4, 4), (1, 4)), ((10, 3, 10), (2, 2)), ((5, 8, 4), (2, 4))]
)
def test_maps_leave_room_for_the_numbers(shape: tuple[int, ...], panels: tuple[int, int]) -> None:
    keys = ["k.a", "k.b", "k.c"]
    made = [
        dict(zip(keys, values, strict=True)) | {ACCURACY: 80.0 + sum(values), ENERGY: 1.0, HALF_WIDTH: 0.1}
        for values in itertools.product(*map(range, shape))
    ]
    figure = sweep_figures(made, keys)["heat"]
    maps = figure.axes[: shape[1]]
    assert (maps[0].get_subplotspec().get_gridspec().nrows, maps[0].get_gridspec().ncols) == panels
    assert all(ax.get_title(loc="left") for ax in maps)
    figure.draw_without_rendering()
    for ax in maps:
        cell = ax.get_window_extent().width / shape[0]
        assert max(text.get_window_extent().width for text in ax.texts) < cell
