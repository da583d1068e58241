"""Plain data of a sweep's designs for `sweep.js`, with which the reader of its page explores them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.results.metric_label import MetricLabel
from experiments.searches.pareto import Goal, pareto_front
from experiments.sweeps.table import label_of, titles

METRIC = "accuracy.chips.mean"
COSTS = {
    "estimate.energy_nj_per_image": "energy an image [nJ]",
    "estimate.area_mm2": "area [mm²]",
    "estimate.latency_us_per_image": "latency [µs]",
}
"""Figures that are to be small, by key, with their titles."""

FiguresWithGoals = dict[str, tuple[str, Goal]]
"""(title, whether it is to be ``min`` or ``max``) by key."""

MOST_LINES = 2000
"""Designs that the page holds."""


def designs(tables: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Any]:
    """Axes and points.

    An axis has a ``title`` and, where it is a figure, ``better`` (``min`` or ``max``). Points whose metric is
    no finite number are left out, and so are figures that not every other point has. Of more than
    `MOST_LINES` points, those that no other beats are there, and others evenly spaced.

    Parameters
    ----------
    tables
        Finished points as dotted keys.
    keys
        Those that differ, one an axis of the sweep.
    """
    tables = [flat for flat in tables if _is_finite(flat.get(METRIC))]
    if not tables:
        return {"axes": [], "points": []}
    figures = figures_of(tables)
    axes = [{"title": title} for title in titles(keys)]
    axes += [{"title": title, "better": better} for title, better in figures.values()]
    chosen = [tables[number] for number in _chosen(tables, figures)]
    points = [
        [*(_plain(flat.get(key)) for key in keys), *(flat[figure] for figure in figures)] for flat in chosen
    ]
    return {"axes": axes, "points": points}


def figures_of(tables: Sequence[Mapping[str, Any]]) -> FiguresWithGoals:
    """The figures that all points have."""
    label: MetricLabel = label_of(tables[0])
    found: FiguresWithGoals = {METRIC: (f"mean {label.name} over chips{label.brackets}", label.goal)}
    found |= {key: (title, "min") for key, title in COSTS.items()}
    return {key: found[key] for key in found if all(_is_finite(flat.get(key)) for flat in tables)}


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _chosen(tables: Sequence[Mapping[str, Any]], figures: FiguresWithGoals) -> list[int]:
    if len(tables) <= MOST_LINES:
        return list(range(len(tables)))
    rows = [[flat[key] for key in figures] for flat in tables]
    front = pareto_front(rows, [better for _, better in figures.values()])
    others = np.setdiff1d(np.arange(len(tables)), front)
    room = max(MOST_LINES - front.size, 0)
    places = np.linspace(0, others.size - 1, min(room, others.size)).astype(int)
    return sorted(int(number) for number in (*front, *others[places]))


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else json.dumps(value)
