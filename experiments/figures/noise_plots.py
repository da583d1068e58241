"""Figures of accuracy under noise: over one kind of it, and layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from experiments.figures.colours import BLUE, GREY, MUTED, ORANGE
from experiments.figures.device_plots import TICKS
from experiments.figures.plots import blank_figure, styled
from experiments.results.metric_label import ACCURACY, MetricLabel
from experiments.results.result import Curve, CurvePoint, LayerNoiseAccuracy, OverChips, Result
from mapping.monte_carlo.sampling import half_width
from mapping.network.gemm import shown_name

AXES = {
    "mismatch": "write error: standard deviation of ln g [%]",
    "stuck": "stuck cells [%]",
    "adc-bits": "bits of the ADC",
    "time": "time after the write",
}
DEVICES = (BLUE, ORANGE, MUTED[3], MUTED[6])
COMPENSATION = {"none": ("-", "o", "none"), "layer": ("--", "s", "layer"), "column": (":", "^", "column")}
PERCENT = (0, 20, 40, 60, 70, 80, 90, 95, 97, 98, 99, 99.5, 99.7, 99.8, 99.9)
"""Accuracies that may be ticks, where at least FEWEST of them are."""
FEWEST = 4
CEILING = 100.005
"""Where the logarithm of the error ends, so that 100 % has a place."""


@styled
def accuracy_curves(curves: Sequence[Curve], ideal: float | None, metric: MetricLabel = ACCURACY) -> Figure:
    """Mean of the metric over chips with its 95 % interval (Student's t), against one kind of noise.

    Accuracies stand at the logarithm of the error, so that 99.4 and 99.0 % are as far apart as 94 and 90 %.
    So does any metric whose rest to 100 % is an error; others stand on a linear axis.

    Parameters
    ----------
    curves
        Curves of one axis.
    ideal
        The metric of the ideal chip; None: not drawn.
    """
    axis = curves[0].axis
    figure = blank_figure(3.0 if len(curves) == 1 else 3.4)
    ax = figure.subplots()
    colours = dict(zip(dict.fromkeys(curve.device for curve in curves), DEVICES, strict=False))
    for curve in curves:
        line, marker, _ = COMPENSATION[curve.compensation]
        chips = _chips(curve.points)
        ax.errorbar(
            _places(axis, curve.points),
            _means(chips),
            yerr=_bars(chips, metric),
            fmt=marker + line,
            color=colours[curve.device],
            markersize=3.5,
            capsize=2.5,
            elinewidth=0.9,
            label=curve.name,
        )
    if ideal is not None:
        ax.axhline(ideal, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        ax.annotate(
            f"ideal chip {metric.text(ideal)}", (1, ideal), (0, 3), ("axes fraction", "data"),
            "offset points", color=GREY, ha="right",
        )  # fmt: skip
    _metric_axis(ax, curves, ideal, metric)
    _noise_axis(ax, axis, [point for curve in curves for point in curve.points])
    if len(curves) > 1:
        figure.legend(loc="outside lower center", ncols=len(colours), frameon=False, fontsize=7)
    else:
        ax.set_title(curves[0].name)
    return figure


def _places(axis: str, points: Sequence[CurvePoint]) -> NDArray[np.float64]:
    values = np.array([point.value for point in points], float)
    return values * 100 if axis in ("mismatch", "stuck") else values


def _chips(points: Sequence[OverChips]) -> list[NDArray[np.float64]]:
    return [np.asarray(point.per_chip, float) for point in points]


def _means(chips: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.array([each.mean() for each in chips])


def _bars(chips: Sequence[NDArray[np.float64]], metric: MetricLabel) -> NDArray[np.float64]:
    """Lengths of the error bars below and above each mean, within what the metric can be."""
    means = _means(chips)
    half = np.array([0.0 if each.size < 2 else half_width(each) for each in chips])
    ends = [np.array([metric.within(end) for end in means + sign * half]) for sign in (-1, 1)]
    return np.array([means - ends[0], ends[1] - means])


def _metric_axis(ax: Axes, curves: Sequence[Curve], ideal: float | None, metric: MetricLabel) -> None:
    if not metric.is_percentage:
        ax.set_ylabel(f"test {metric.axis}")
        ax.ticklabel_format(axis="y", useOffset=False)
        return
    chips = _chips([point for curve in curves for point in curve.points])
    below, above = _bars(chips, metric)
    low, high = (_means(chips) - below).min(), max((_means(chips) + above).max(), ideal or 0.0)
    ax.set_yscale(
        "function",
        functions=(
            lambda a: -np.log10(np.maximum(CEILING - np.asarray(a), 1e-9)),
            lambda y: CEILING - 10.0 ** -np.asarray(y),
        ),
    )
    room = 0.06 * np.log10((CEILING - low) / (CEILING - high)) + 0.01
    bottom = CEILING - (CEILING - low) * 10**room
    top = CEILING - (CEILING - high) * 10 ** -(room + 0.02)
    ticks = [p for p in PERCENT if bottom <= p <= top]
    finer = FEWEST
    while len(ticks) < FEWEST:
        ticks = [p for p in MaxNLocator(finer).tick_values(bottom, top) if bottom <= p <= top]
        finer += 1
    ax.set_yticks(ticks, [f"{p:g}" for p in ticks])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set(ylim=(bottom, top), ylabel=f"test {metric.axis} (log of the error)")


def _noise_axis(ax: Axes, axis: str, points: Sequence[CurvePoint]) -> None:
    values = np.unique(_places(axis, points))
    ticks = [(value, f"{value:g}") for value in values]
    if axis == "time":
        ax.set_xscale("log")
        ticks = [(t, name) for t, name in TICKS if values[0] <= t <= values[-1]]
    elif axis == "stuck" and (values > 0).any():
        least = values[values > 0][0]
        ax.set_xscale("symlog", linthresh=least, linscale=0.5)
        ax.set_xlim(-least / 4 if values[0] == 0 else least / 1.2, 1.2 * values[-1])
    ax.set_xticks([value for value, _ in ticks], [name for _, name in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(AXES[axis])


@styled
def accuracy_by_layer(
    rows: Sequence[LayerNoiseAccuracy],
    noisy: Mapping[str, float],
    ideal: float,
    metric: MetricLabel = ACCURACY,
) -> Figure:
    """Mean of the metric over chips with its 95 % interval, noise in one layer only, and in all others.

    Parameters
    ----------
    rows
        A row a layer and noise case.
    noisy
        By case, the mean with noise in all layers.
    ideal
        The metric of the ideal chip.
    """
    cases = list(dict.fromkeys(row.case for row in rows))
    figure = blank_figure(0.5 + sum(0.8 + 0.35 * sum(row.case == case for row in rows) for case in cases))
    axes = figure.subplots(len(cases), squeeze=False)[:, 0]
    for ax, case in zip(axes, cases, strict=True):
        own = [row for row in rows if row.case == case]
        _layers_of_case(ax, own, {"ideal chip": ideal, "all layers noisy": noisy[case]}, metric)
        ax.set_title(case, pad=14)
    axes[-1].set_xlabel(f"test {metric.axis}")
    figure.supylabel("layer", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return figure


def _layers_of_case(
    ax: Axes, rows: Sequence[LayerNoiseAccuracy], references: Mapping[str, float], metric: MetricLabel
) -> None:
    for (name, place), side in zip(references.items(), ("left", "right"), strict=True):
        ax.axvline(place, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        ax.annotate(
            f"{name} {metric.text(place)}", (place, 1), (0, 3), ("data", "axes fraction"), "offset points",
            color=GREY, ha=side,
        )  # fmt: skip
    for key, label, colour, marker, shift in (
        ("only", "only this layer noisy", BLUE, "o", -0.13),
        ("others", "all layers noisy but this", ORANGE, "s", 0.13),
    ):
        chips = _chips([getattr(row, key) for row in rows])
        ax.errorbar(
            _means(chips),
            np.arange(len(rows)) + shift,
            xerr=_bars(chips, metric),
            fmt=marker,
            color=colour,
            markersize=4,
            capsize=3,
            label=label,
        )
    ax.set_yticks(range(len(rows)), [shown_name(row.layer) for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    low, high = ax.get_xlim()
    ax.set_xlim(low - 0.15 * (high - low), high + 0.15 * (high - low))
    ax.ticklabel_format(axis="x", useOffset=False)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def noise_figures(result: Result) -> dict[str, Figure]:
    """Figures of a result by stem: ``noise-AXIS`` for every axis that has curves, and ``by-layer``."""
    accuracy, own = result.accuracy, result.hardware.device.name
    metric = accuracy.metric
    figures = {}
    for axis in dict.fromkeys(curve.axis for curve in accuracy.under_noise):
        curves = [curve for curve in accuracy.under_noise if curve.axis == axis]
        on_own = any(curve.device == own for curve in curves)
        figures[f"noise-{axis}"] = accuracy_curves(curves, accuracy.ideal_chip if on_own else None, metric)
    if accuracy.by_layer:
        means = {case.name: case.mean for case in accuracy.chips_cases}
        figures["by-layer"] = accuracy_by_layer(accuracy.by_layer, means, accuracy.ideal_chip, metric)
    return figures
