"""Figures of a sweep: its metric against energy with the Pareto front, and the metric over two axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from experiments.figures.colours import GREY, INK, MUTED, ORANGE, SHADES
from experiments.figures.plots import blank_figure, styled
from experiments.searches.pareto import pareto_front
from experiments.sweeps.table import HALF_WIDTH, label_of, titles

ACCURACY, ENERGY = "accuracy.chips.mean", "estimate.energy_nj_per_image"
ROOM, CELL = 5.7, 0.28
"""Width of all maps side by side, and of a cell at least, so that numbers fit [inches]."""
TALLEST = 9.0
"""Height of a figure at most [inches]."""
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

    The keys between those are at their last values, see `fixed_at`. A cell has the half width of its 95 %
    interval under its mean, and a line stands between neighbours whose intervals do not overlap.
    """
    x, *between, y = named
    facet = between[0] if between else None
    fixed = {key: _values(points, key)[-1] for key in between[1:]}
    shown = [p for p in points if all(p.get(key) == value for key, value in fixed.items())]
    facets = _values(shown, facet)
    xs, ys = _values(shown, x), _values(shown, y)
    low, high = min(p[ACCURACY] for p in shown), max(p[ACCURACY] for p in shown)
    figure, axes = _panels(len(facets), len(xs), len(ys))
    metric = label_of(shown[0])
    digits = ".1f" if metric.unit == "%" else ".3g"
    for ax, value in zip(axes, facets, strict=True):
        own = [p for p in shown if _get(p, facet) == value]
        means, halves = (_grid(own, key, x, y, xs, ys) for key in (ACCURACY, HALF_WIDTH))
        image = ax.imshow(means, cmap=SHADES, vmin=low, vmax=high, origin="lower", aspect="auto")
        _write_values(ax, means, halves, (low + high) / 2, digits)
        ax.add_collection(LineCollection(told_apart(means, halves), colors=ORANGE, linewidths=1.6))
        ax.set_xticks(range(len(xs)), [_text(v) for v in xs])
        ax.set_yticks(range(len(ys)), [_text(v) for v in ys])
        ax.set_title("" if facet is None else f"{named[facet]} {_text(value)}")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    figure.supxlabel(named[x], fontsize=8)
    figure.supylabel(named[y], fontsize=8)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01)
    bar.set_label(f"mean {metric.name} over chips{metric.brackets}")
    bar.outline.set_visible(False)
    return figure


def _panels(count: int, columns: int, rows: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many maps of so many cells, as many side by side as leave room for numbers."""
    across = min(count, max(1, int(ROOM / (CELL * columns))))
    down = -(-count // across)
    figure = blank_figure(min(0.6 + down * max(1.9, 0.35 + 0.3 * rows), TALLEST))
    axes = list(figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flat)
    for ax in axes[count:]:
        ax.remove()
    for ax in axes[max(0, count - across) : count]:
        ax.tick_params(labelbottom=True)
    return figure, axes[:count]


def fixed_at(points: Sequence[Flat], keys: Sequence[str]) -> dict[str, Any]:
    """Keys that the map of accuracies does not show, and the values that it is for."""
    return {key: _values(points, key)[-1] for key in keys[2:-1]}


def _grid(
    points: Sequence[Flat], key: str, x: str, y: str, xs: Sequence[Any], ys: Sequence[Any]
) -> NDArray[np.float64]:
    """A figure of the points (ys, xs); NaN where there is none."""
    grid = np.full((len(ys), len(xs)), np.nan)
    for point in points:
        grid[ys.index(point[y]), xs.index(point[x])] = point.get(key, np.nan)
    return grid


def told_apart(means: NDArray[np.float64], halves: NDArray[np.float64]) -> list[list[tuple[float, float]]]:
    """Lines, each from (x, y) to (x, y), between neighbouring cells whose intervals do not overlap.

    Parameters
    ----------
    means, halves
        The middle and half of the width of the interval of each cell, (rows, columns). A cell without an
        interval, NaN, is told apart from none.
    """
    low, high = means - halves, means + halves
    lines = []
    for row, column in np.ndindex(*means.shape):
        for to_row, to_column in ((row, column + 1), (row + 1, column)):
            if to_row == means.shape[0] or to_column == means.shape[1]:
                continue
            here, there = (row, column), (to_row, to_column)
            if low[here] > high[there] or high[here] < low[there]:
                x, y = (column + to_column) / 2, (row + to_row) / 2
                along = (0.0, 0.5) if to_row == row else (0.5, 0.0)
                lines.append([(x - along[0], y - along[1]), (x + along[0], y + along[1])])
    return lines


def _write_values(
    ax: Axes, means: NDArray[np.float64], halves: NDArray[np.float64], middle: float, digits: str
) -> None:
    """Each mean, and under it half of the width of its interval."""
    for (row, col), value in np.ndenumerate(means):
        if not np.isfinite(value):
            continue
        half = float(halves[row, col])
        ink: dict[str, Any] = {"color": "white" if value > middle else INK, "ha": "center"}
        if np.isnan(half):
            ax.text(col, row, f"{value:{digits}}", va="center", size=6.5, **ink)
        else:
            ax.text(col, row + 0.04, f"{value:{digits}}", va="bottom", size=6.5, **ink)
            ax.text(col, row - 0.04, f"±{_half_text(half, value, digits)}", va="top", size=5, **ink)


def _half_text(half: float, value: float, digits: str) -> str:
    """Half of the width of an interval; what rounding makes of chips that are alike is none."""
    if half <= 1e-9 * abs(value):
        return "0"
    return f"{half:{digits}}" if half >= 0.1 else f"{half:.1g}"


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
