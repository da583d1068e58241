"""Figures of a sweep: its metric against energy with the Pareto front, and the metric over two axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from experiments.figures.colours import GREY, INK, MUTED, SHADES
from experiments.figures.plots import blank_figure, styled
from experiments.searches.pareto import pareto_front
from experiments.sweeps.table import HALF_WIDTH, label_of, titles

ACCURACY, ENERGY = "accuracy.chips.mean", "estimate.energy_nj_per_image"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

Flat = Mapping[str, Any]
"""A point as dotted keys, see `results.flat_row`."""


def sweep_figures(points: Sequence[Flat], keys: Sequence[str]) -> dict[str, Figure]:
    """All figures of finished points, by name; `keys` are those that differ between them, one an axis.

    The map of accuracies is drawn where there is a point for each combination of values.
    """
    named = dict(zip(keys, titles(keys), strict=True))
    figures = {"front": accuracy_against_energy(points, named)}
    if len(keys) >= 2 and len(points) == math.prod(len(_values(points, key)) for key in keys):
        figures["heat"] = accuracy_over_axes(points, named)
    return figures


@styled
def accuracy_against_energy(points: Sequence[Flat], named: Mapping[str, str]) -> Figure:
    """Every point, coloured by its first key and marked by its second; the front is a line, with
    95 % intervals of means over several chips."""
    figure = blank_figure(3.6)
    ax = figure.subplots()
    metric = label_of(points[0])
    colour_key, marker_key = [*named, None, None][:2]
    colours, markers = _values(points, colour_key), _values(points, marker_key)
    for place, colour in enumerate(colours):
        for marker, value in zip(MARKERS, markers, strict=False):
            own = [p for p in points if _get(p, colour_key) == colour and _get(p, marker_key) == value]
            ax.plot(
                [p[ENERGY] for p in own],
                [p[ACCURACY] for p in own],
                linestyle="none",
                marker=marker,
                markersize=3.2,
                markeredgewidth=0,
                alpha=0.75,
                color=_shade(place, len(colours)),
            )
    front = front_of(points)
    line: dict[str, Any] = {"color": INK, "linewidth": 1.0, "drawstyle": "steps-post", "zorder": 3}
    ax.plot([p[ENERGY] for p in front], [p[ACCURACY] for p in front], label="Pareto front", **line)
    spread = [p for p in front if HALF_WIDTH in p]
    means, halves = [p[ACCURACY] for p in spread], [p[HALF_WIDTH] for p in spread]
    ends = [[m - metric.within(m - h) for m, h in zip(means, halves, strict=True)]]
    ends += [[metric.within(m + h) - m for m, h in zip(means, halves, strict=True)]]
    ax.errorbar([p[ENERGY] for p in spread], means, ends, fmt="none", ecolor=INK, elinewidth=0.7, capsize=1.5)
    if colour_key is not None:
        for place, value in enumerate(colours):
            label = f"{named[colour_key]} {_text(value)}"
            ax.plot([], [], "o", markersize=4, color=_shade(place, len(colours)), label=label)
    if marker_key is not None:
        for marker, value in zip(MARKERS, markers, strict=False):
            label = f"{named[marker_key]} {_text(value)}"
            ax.plot([], [], marker, markersize=4, color=GREY, label=label)
    ax.set(
        xscale="log", xlabel="energy an image [nJ]", ylabel=f"mean {metric.name} over chips{metric.brackets}"
    )
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    ax.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    figure.legend(loc="outside right upper", frameon=False, fontsize=7)
    return figure


def front_of(points: Sequence[Flat]) -> list[Flat]:
    """Points to which no other has both a better metric and a lower energy, in order of energy."""
    pairs = [(point[ACCURACY], point[ENERGY]) for point in points]
    numbers = pareto_front(pairs, (label_of(points[0]).goal, "min"))
    return sorted((points[number] for number in numbers), key=lambda point: point[ENERGY])


@styled
def accuracy_over_axes(points: Sequence[Flat], named: Mapping[str, str]) -> Figure:
    """Accuracy over the first key and the last, a map for each value of the second.

    The keys between those are at their last values, see `fixed_at`.
    """
    x, *between, y = named
    facet = between[0] if between else None
    fixed = {key: _values(points, key)[-1] for key in between[1:]}
    shown = [p for p in points if all(p.get(key) == value for key, value in fixed.items())]
    facets = _values(shown, facet)
    figure = blank_figure(2.5)
    axes = figure.subplots(1, len(facets), squeeze=False, sharey=True)[0]
    xs, ys = _values(shown, x), _values(shown, y)
    low, high = min(p[ACCURACY] for p in shown), max(p[ACCURACY] for p in shown)
    for ax, value in zip(axes, facets, strict=True):
        own = [p for p in shown if _get(p, facet) == value]
        means = _grid(own, x, y, xs, ys)
        image = ax.imshow(means, cmap=SHADES, vmin=low, vmax=high, origin="lower", aspect="auto")
        _write_values(
            ax, means, low, high, f"{{:{'.1f' if label_of(shown[0]).unit == '%' else '.3g'}}}".format
        )
        ax.set_xticks(range(len(xs)), [_text(v) for v in xs])
        ax.set_yticks(range(len(ys)), [_text(v) for v in ys])
        ax.set_xlabel(named[x])
        ax.set_title("" if facet is None else f"{named[facet]} {_text(value)}")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel(named[y])
    bar = figure.colorbar(image, ax=list(axes), fraction=0.03, pad=0.01)
    metric = label_of(shown[0])
    bar.set_label(f"mean {metric.name} over chips{metric.brackets}")
    bar.outline.set_visible(False)
    return figure


def fixed_at(points: Sequence[Flat], keys: Sequence[str]) -> dict[str, Any]:
    """Keys that the map of accuracies does not show, and the values that it is for."""
    return {key: _values(points, key)[-1] for key in keys[2:-1]}


def _grid(
    points: Sequence[Flat], x: str, y: str, xs: Sequence[Any], ys: Sequence[Any]
) -> NDArray[np.float64]:
    """Accuracies (ys, xs); NaN where there is no point, the mean where there are several."""
    grid = np.full((len(ys), len(xs)), np.nan)
    for row, of_y in enumerate(ys):
        for col, of_x in enumerate(xs):
            found = [p[ACCURACY] for p in points if p[x] == of_x and p[y] == of_y]
            grid[row, col] = np.mean(found) if found else np.nan
    return grid


def _write_values(
    ax: Axes, grid: NDArray[np.float64], low: float, high: float, text: Callable[[float], str]
) -> None:
    for (row, col), value in np.ndenumerate(grid):
        if np.isfinite(value):
            dark = value > (low + high) / 2
            ax.text(col, row, text(value), color="white" if dark else INK, ha="center", va="center", size=6.5)


def _values(points: Sequence[Flat], key: str | None) -> list[Any]:
    """The values of a key in ascending order where they are numbers; one None for no key."""
    found = list(dict.fromkeys(_get(point, key) for point in points))
    return sorted(found) if all(isinstance(value, int | float) for value in found) else found


def _get(point: Flat, key: str | None) -> Any:
    return None if key is None else point.get(key)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _shade(place: int, of: int) -> Any:
    return MUTED[place] if of <= len(MUTED) else SHADES(0.25 + 0.75 * place / (of - 1))
