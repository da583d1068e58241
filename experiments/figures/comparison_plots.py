"""Figure that compares runs: accuracy, area and energy side by side, a line a run."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.figures.colours import BLUE, GREY, ORANGE, PALE
from experiments.figures.plots import blank_figure, styled
from experiments.results.result import Result

COLUMNS = (("area_mm2", "area [mm²]"), ("energy_nj_per_image", "energy an image [nJ]"))


@styled
def comparison_figure(results: Mapping[str, Result]) -> Figure:
    """A line a run, in three columns: accuracy, area, energy of an image.

    Parameters
    ----------
    results
        By the name of the run.
    """
    figure = blank_figure(1.3 + 0.42 * len(results))
    accuracy, *costs = figure.subplots(1, 3, sharey=True, width_ratios=(1.5, 1, 1))
    _accuracies(accuracy, results)
    for ax, (key, label) in zip(costs, COLUMNS, strict=True):
        _costs(ax, results, key, label)
    accuracy.set_yticks(range(len(results)), list(results))
    accuracy.set_ylim(len(results) - 0.5, -0.5)
    accuracy.set_ylabel("run")
    handles = [*accuracy.get_legend_handles_labels()[0], *costs[0].get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=7)
    return figure


def _accuracies(ax: Axes, results: Mapping[str, Result]) -> None:
    accuracies = [result.accuracy for result in results.values()]
    lines = range(len(accuracies))
    for key, label, marker, colour in (
        ("float", "float", "|", GREY),
        ("ideal_chip", "ideal chip", "o", BLUE),
    ):
        ax.plot(
            [getattr(a, key) for a in accuracies],
            lines,
            marker,
            color=colour,
            markersize=6,
            mfc="none",
            label=label,
        )
    chips = [a.chips for a in accuracies]
    means = [c.mean for c in chips]
    spans = [[_or(getattr(c, end), c.mean) for c in chips] for end in ("ci95_low", "ci95_high")]
    bars = [[abs(mean - end) for mean, end in zip(means, ends, strict=True)] for ends in spans]
    ax.errorbar(
        means, lines, xerr=bars, fmt="D", color=ORANGE, markersize=4, capsize=3, label="chips, 95 % interval"
    )
    labels = list(dict.fromkeys(a.metric.axis for a in accuracies))
    ax.set_xlabel(f"test {' or '.join(labels)}")
    ax.margins(x=0.1)
    ax.ticklabel_format(axis="x", useOffset=False)
    _quiet(ax)


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _costs(ax: Axes, results: Mapping[str, Result], key: str, label: str) -> None:
    sides = {
        side: [getattr(getattr(result.estimate, side), key) for result in results.values()]
        for side in ("before", "after")
    }
    ax.barh(range(len(results)), sides["before"], height=0.62, color=PALE, label="uncompressed")
    ax.barh(range(len(results)), sides["after"], height=0.34, color=BLUE, label="compressed")
    for line, value in enumerate(sides["after"]):
        ax.annotate(
            f"{value:.3g}", (value, line), (3, 0), textcoords="offset points", va="center", fontsize=7
        )
    ax.set_xlabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    _quiet(ax)


def _quiet(ax: Axes) -> None:
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
