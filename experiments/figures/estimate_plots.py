"""Picture of an estimate: area and energy by component, by layer; what is busy, and what idles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator

from experiments.figures.colours import BLUE, GREY, ORANGE, PALE, PAPER, colour_of, largest, text_on
from experiments.figures.plots import QUANTITIES, blank_figure, styled
from mapping.network.gemm import shown_name
from power.estimates.totals import Estimate

LABELLED = 0.05
"""Share of the whole from which a part carries its name."""


@styled
def estimate_figure(results: Mapping[str, Estimate]) -> Figure:
    """Two columns, area and energy: bars of every design by component; below, the layers of each design, as
    wide as their share, cut by component; last, how busy components are at the highest image rate, and the
    dynamic and idle energy of an image."""
    colours = _colours(results)
    figure = blank_figure(2.8 + 0.35 * len(results) + 2.4 * len(results))
    ratios = [0.35 + 0.35 * len(results), *(2.4 for _ in results), 1.5]
    axes = figure.subplots(2 + len(results), 2, squeeze=False, height_ratios=ratios)
    _busy(axes[-1, 0], results)
    _idle(axes[-1, 1], results)
    for column, quantity in enumerate(QUANTITIES):
        _bars(axes[0, column], results, quantity, colours)
        for row, (name, result) in enumerate(results.items(), 1):
            _mosaic(axes[row, column], result, quantity, colours)
            title = f"{name}: by layer" if len(results) > 1 else "by layer"
            axes[row, column].set_title(f"{title} (width) and component (height)")
    named = [Patch(color=colour, label=name) for name, colour in colours.items() if colour != PALE]
    named += [Patch(color=PALE, label="others")] if PALE in colours.values() else []
    figure.legend(handles=named, loc="outside lower center", ncols=5, frameon=False, fontsize=7)
    return figure


def _colours(results: Mapping[str, Estimate]) -> dict[str, str]:
    """Colour of each component, the eight with the largest share of either quantity in any design first; the
    others have one colour together."""
    shares = [
        (name, cost[what] / total if total else 0.0)
        for result in results.values()
        for name, cost in result.by_component.items()
        for what, total in (("area_mm2", result.area_mm2), ("energy_nj", result.energy_nj_per_image))
    ]
    named = largest(shares)
    others = dict.fromkeys(name for name, _ in shares if name not in named)
    return {**{name: colour_of(name) for name in named}, **dict.fromkeys(others, PALE)}


def _bars(ax: Axes, results: Mapping[str, Estimate], quantity: str, colours: Mapping[str, str]) -> None:
    what, unit = QUANTITIES[quantity]
    if quantity == "energy_nj":
        ax.xaxis.set_major_formatter(EngFormatter("J", sep=" "))
        ax.xaxis.set_major_locator(MaxNLocator(4))
    for y, result in enumerate(results.values()):
        left = 0.0
        for name, colour in colours.items():
            part = result.by_component.get(name, {})
            width = part.get(quantity, 0.0) * (1e-9 if quantity == "energy_nj" else 1)
            ax.barh(y, width, left=left, height=0.6, color=colour, edgecolor=PAPER, linewidth=0.5)
            left += width
    ax.set_yticks(range(len(results)), results if len(results) > 1 else [""] * len(results))
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(what if quantity == "energy_nj" else f"{what} [{unit}]")


def _busy(ax: Axes, results: Mapping[str, Estimate]) -> None:
    """Share of the time that the busiest server of a component is busy, of the eight that are busiest."""
    busy = {name: result.at(result.peak_image_rate_per_s).utilisation for name, result in results.items()}
    parts = largest(share for shares in busy.values() for share in shares.items())
    height = 0.8 / len(results)
    for number, (name, shares) in enumerate(busy.items()):
        places = np.arange(len(parts)) + (number - (len(results) - 1) / 2) * height
        widths, strength = [100 * shares.get(part, 0.0) for part in parts], 1 / (1 + number)
        ax.barh(places, widths, height, color=[colour_of(part) for part in parts], alpha=strength)
        ax.barh([0], [0], color=GREY, alpha=strength, label=name)
    ax.set_yticks(range(len(parts)), parts, fontsize=6)
    ax.invert_yaxis()
    ax.set(xlim=(0, 100), xlabel="busy at the highest image rate [%]")
    if len(results) > 1:
        ax.legend(frameon=False, fontsize=6)


def _idle(ax: Axes, results: Mapping[str, Estimate]) -> None:
    """Energy of an image: dynamic, idle, and what could leak where no source says it."""
    parts = {
        "dynamic": ("dynamic_nj_per_image", BLUE),
        "idle, known": ("idle_nj_per_image", ORANGE),
        "idle, assumed": ("assumed_idle_nj_per_image", PALE),
    }
    ax.xaxis.set_major_formatter(EngFormatter("J", sep=" "))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    for y, result in enumerate(results.values()):
        left = 0.0
        for label, (key, colour) in parts.items():
            joule = getattr(result, key) * 1e-9
            ax.barh(y, joule, 0.5, left, color=colour, label=label if y == 0 else None)
            left += joule
    ax.set_yticks(range(len(results)), results if len(results) > 1 else [""] * len(results))
    ax.set_ylim(len(results) - 0.4, -0.9)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("energy an image")
    ax.legend(frameon=False, fontsize=6, ncols=3, loc="upper left")


def _mosaic(ax: Axes, result: Estimate, quantity: str, colours: Mapping[str, str]) -> None:
    total = sum(getattr(row, quantity) for row in result.table)
    left, ticks = 0.0, []
    for layer, cost in result.by_layer.items():
        if not cost[quantity]:
            continue
        width = cost[quantity] / total
        parts = {row.component: getattr(row, quantity) for row in result.table if row.layer == layer}
        bottom = 0.0
        for name, colour in colours.items():
            height = parts.get(name, 0.0) / cost[quantity]
            style: dict[str, Any] = {"color": colour, "ec": PAPER, "lw": 0.4}
            ax.add_patch(Rectangle((left, bottom), width, height, **style))
            if width * height > LABELLED and width > 0.012 * len(name):
                ink = text_on(colour)
                middle = left + width / 2, bottom + height / 2
                ax.text(*middle, name, ha="center", va="center", color=ink, fontsize=6)
            bottom += height
        ticks.append((left + width / 2, shown_name(layer), width))
        left += width
    shown = [(x, name) for x, name, width in ticks if width > LABELLED]
    places, names = zip(*shown, strict=True) if shown else ((), ())
    ax.set_xticks(places, names, rotation=30, ha="right", fontsize=6)
    ax.tick_params(axis="x", length=0, pad=1)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_yticks(np.linspace(0, 1, 3), ["0", "50", "100 %"])
