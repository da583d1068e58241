"""The figure of a search: its points with the front, and the hypervolume by trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from experiments.figures.colours import BLUE, INK, ORANGE
from experiments.figures.plots import blank_figure, styled
from experiments.results.metric_label import ACCURACY, MetricLabel
from experiments.searches.objectives import Objective, front_of
from experiments.searches.pareto import pareto_front
from experiments.searches.trials import Trial

TITLES = {
    "estimate.energy_nj_per_image": "energy an image [nJ]",
    "estimate.area_mm2": "area [mm²]",
    "estimate.latency_us_per_image": "latency of an image [µs]",
}
COLOURS = {"search": BLUE, "random": ORANGE}


@styled
def search_figure(
    objectives: Sequence[Objective],
    runs: Mapping[str, Sequence[Trial]],
    volumes: Mapping[str, Sequence[float]],
    metric: MetricLabel = ACCURACY,
) -> Figure:
    """Left, the first objective against the second: every point, those of the search's front filled, and a
    line along those that are best in these two alone. Right, the hypervolume by trial.

    Parameters
    ----------
    runs
        Trials of ``search`` and, where there are some, of ``random`` points.
    volumes
        Hypervolume up to each trial, by run.
    metric
        What the points were measured by.
    """
    figure = blank_figure(3.1)
    left, right = figure.subplots(1, 2)
    own = {"accuracy.chips.mean": f"mean {metric.name} over chips{metric.brackets}"}
    _front(left, objectives, runs, {**TITLES, **own})
    for name, volume in volumes.items():
        label = "random points" if name == "random" else name
        right.step(range(1, len(volume) + 1), volume, where="post", color=COLOURS[name], label=label)
    right.set(xlabel="trial", ylabel="hypervolume [share of the box of all points]", ylim=(0, None))
    right.legend(loc="lower right", frameon=False)
    return figure


def _front(
    ax: Axes,
    objectives: Sequence[Objective],
    runs: Mapping[str, Sequence[Trial]],
    titles: Mapping[str, str],
) -> None:
    """Points in the plane of the first two objectives, up to their `worst`."""
    y, x = objectives[:2]
    for name, run in runs.items():
        figures = [trial.figures for trial in run if trial.figures is not None]
        points = np.array(figures).reshape(-1, len(objectives))
        style: dict[str, Any] = {
            "linestyle": "none",
            "marker": "o",
            "markersize": 3.5,
            "color": COLOURS[name],
        }
        ax.plot(*points.T[1::-1], alpha=0.4, markerfacecolor="none", markeredgewidth=0.6, **style)
        if name == "search":
            front = points[front_of(objectives, figures)]
            ax.plot(*front.T[1::-1], markeredgewidth=0, label="front in all objectives", **style)
            line = points[pareto_front(points[:, :2], (y.goal, x.goal))]
            line = line[np.argsort(line[:, 1])]
            steps = "steps-post" if x.goal == "min" else "steps-pre"
            ax.plot(*line.T[1::-1], color=INK, linewidth=0.9, drawstyle=steps, zorder=0)
    for axis, one, side in ((ax.xaxis, x, ("left", "right")), (ax.yaxis, y, ("bottom", "top"))):
        axis.set_label_text(titles.get(one.figure, one.figure))
        if one.worst is not None:
            getattr(ax, f"set_{axis.axis_name}lim")(**{side[one.goal == "min"]: one.worst})
        if one.scale == "log":
            getattr(ax, f"set_{axis.axis_name}scale")("log")
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axis.set_minor_locator(LogLocator(subs=(2, 5)))
            axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.legend(loc="best", frameon=False)
