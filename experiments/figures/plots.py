"""Figures of a study, in one quiet style that survives print and colour blindness.

Every function returns a `matplotlib.figure.Figure`, drawn by Agg without a display; `save` writes it as SVG,
PNG and PDF, the same bytes for the same data.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from experiments.figures.colours import (
    BLUE,
    FILLED,
    GREY,
    INK,
    ORANGE,
    PALE,
    PAPER,
    SHADES,
    colour_of,
    largest,
    text_on,
)
from experiments.results.metric_label import ACCURACY, MetricLabel
from experiments.results.result import ComponentCost, OverChips
from mapping.monte_carlo.sampling import half_width
from mapping.network.gemm import shown_name
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from mapping.tiles.packing import cut
from xbar.conductances.encoding import thresholds
from xbar.hardware.files import write_atomically

P = ParamSpec("P")

STYLE: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.dpi": 150,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "lines.linewidth": 1.3,
    "pdf.fonttype": 42,
    "savefig.dpi": 150,
    "svg.fonttype": "path",
    "svg.hashsalt": "xbar",
    "text.color": INK,
    "xtick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.color": INK,
    "ytick.major.width": 0.6,
}
WIDTH = 7.2
INSIDE_LABEL = 0.07
QUANTITIES = {
    "area_mm2": ("area", "mm²"),
    "energy_nj": ("energy an image", "nJ"),
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A function that draws in the style."""

    @functools.wraps(draw)
    def with_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return with_style


def blank_figure(height: float) -> Figure:
    """A figure of this height [inches], drawn by Agg."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def svg(figure: Figure) -> str:
    """SVG text of a figure, the same for the same data: no date, fixed ids."""
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


NOTHING: dict[str, dict[str, Any]] = {".png": {"Software": None}, ".pdf": {"CreationDate": None}}
"""Metadata that would differ from day to day, or say what drew a figure, left out."""


def save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write `stem`.svg, `stem`.png and `stem`.pdf into `folder` (made where absent), laid out once for all
    three; their paths."""
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    paths = [folder / f"{stem}{suffix}" for suffix in (".svg", ".png", ".pdf")]
    for path in paths:
        save_as(figure, path)
    return paths


def save_as(figure: Figure, path: Path) -> None:
    """Write a figure as the path's suffix says, .svg, .png or .pdf; its folder is made where absent."""
    if path.suffix == ".svg":
        write_atomically(path, svg(figure).encode())
        return
    content = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(content, format=path.suffix[1:], metadata=NOTHING[path.suffix])
    write_atomically(path, content.getvalue())


MOST_LAYERS = 12
"""Layers whose masks are drawn."""
ROOMY = 4
"""Layers up to which each has a tall row."""


@styled
def masks_on_tiles(mapped: MappedNetwork) -> Figure:
    """Kept weights of each layer's GEMM matrix under its tile grid, beside the tiles that are built.

    Left, word lines k run down and outputs n across; the darker a point, the more of its weights are kept.
    Right, a row is a band and a square one of its tiles, as dark as the share of its cells that hold a kept
    weight; an empty square is a tile that the whole matrix would need and that is not built. Of more layers,
    the `MOST_LAYERS` largest are drawn.
    """
    largest = sorted(mapped.layers, key=lambda name: -mapped.layers[name].weights_total)[:MOST_LAYERS]
    layers = [layer for name, layer in mapped.layers.items() if name in largest]
    filled = [_occupancy(layer) for layer in layers]
    fullest = max((np.nanmax(share, initial=0.0) for share in filled), default=0.0) or 1.0
    row = 2.0 if len(layers) <= ROOMY else 1.05
    figure = blank_figure(0.9 + row * len(layers))
    grid_of = figure.add_gridspec(
        len(layers) + 1, 2, width_ratios=(1.6, 1), height_ratios=[row] * len(layers) + [0.1]
    )
    axes = [[figure.add_subplot(grid_of[i, j]) for j in range(2)] for i in range(len(layers))]
    grid: dict[str, Any] = {"color": ORANGE, "linewidth": 0.4, "alpha": 0.8}
    for (left, right), layer, share in zip(axes, layers, filled, strict=True):
        rows, width = layer.hardware.crossbar.rows, layer.hardware.weights_per_tile_row
        mask = np.ones((layer.k, layer.n), bool) if layer.mask is None else layer.mask
        extent = (0, layer.n, layer.k, 0)
        left.imshow(np.sqrt(_coarse(mask)), cmap=SHADES, vmin=0, vmax=1, aspect="auto", extent=extent,
                    interpolation="nearest")  # fmt: skip
        left.hlines(np.arange(rows, layer.k, rows), 0, layer.n, **grid)
        left.vlines(np.arange(width, layer.n, width), 0, layer.k, **grid)
        part = layer.weights_kept / layer.weights_total
        left.set_title(
            f"{shown_name(layer.name)}: {layer.weights_kept:,} of {layer.weights_total:,} weights "
            f"({part:.1%})"
        )
        left.set_ylabel("word line k")

        whole = [
            -(-len(columns) // width)
            for _, columns in cut(layer.k, layer.n, layer.groups, layer.bias_rows, rows, width)
        ]
        slots = max(*whole, share.shape[1])
        image = right.imshow(share, cmap=FILLED, vmin=0, vmax=fullest, aspect="auto", interpolation="nearest")
        _outline_tiles(right, len(layer.bands), slots)
        right.set_title(f"{len(layer.tiles):,} of {sum(whole):,} tiles a plane built")
        right.set_ylabel("band")
        for axis in (left.xaxis, left.yaxis, right.xaxis, right.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=6))
    left.set_xlabel("output n")
    right.set_xlabel("tile of the band")
    bar = figure.colorbar(image, cax=figure.add_subplot(grid_of[-1, :]), orientation="horizontal")
    bar.set_label("right: share of a built tile's cells that hold a kept weight")
    bar.outline.set_visible(False)
    return figure


def _coarse(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of kept weights in blocks of a mask, few enough for a panel to show each as a point."""
    share = mask.astype(float)
    for axis, most in enumerate((180, 480)):
        size = mask.shape[axis]
        edges = np.linspace(0, size, min(size, most) + 1).astype(int)
        share = np.add.reduceat(share, edges[:-1], axis)
        share /= np.expand_dims(np.diff(edges), 1 - axis)
    return share


def _occupancy(layer: MappedLayer) -> NDArray[np.float64]:
    """Share of each built tile's cells that hold kept weights, shape (bands, most tiles); NaN: not built."""
    hardware = layer.hardware
    capacity = hardware.crossbar.rows * hardware.crossbar.cols / hardware.encoding.slices
    filled = np.full(
        (len(layer.bands), max((len(band.tiles) for band in layer.bands), default=0) or 1), np.nan
    )
    for row, band in enumerate(layer.bands):
        for slot, tile in enumerate(band.tiles):
            filled[row, slot] = layer.kept(tile.rows, tile.cols).sum() / capacity
    return filled


def _outline_tiles(ax: Axes, bands: int, slots: int) -> None:
    edges: dict[str, Any] = {"color": GREY, "linewidth": 0.3}
    ax.hlines(np.arange(bands + 1) - 0.5, -0.5, slots - 0.5, **edges)
    ax.vlines(np.arange(slots + 1) - 0.5, -0.5, bands - 0.5, **edges)
    ax.set(xlim=(-0.5, slots - 0.5), ylim=(bands - 0.5, -0.5))
    ax.spines[:].set_visible(False)


MOST_STATES = 64
"""States that are drawn as lines; more would fill the picture."""


@styled
def conductance_histogram(targets: ArrayLike, programmed: ArrayLike, states: ArrayLike) -> Figure:
    """Programmed conductances of all cells against the device's states.

    Parameters
    ----------
    targets, programmed
        Conductances of the same cells before and after programming [S], any shape. Cells that do not exist
        (of an unformed pair, of a tile not built) are to be left out.
    states
        The device's state conductances [S], shape (L,).
    """
    wanted, got, levels = (np.ravel(np.asarray(g, float)) * 1e6 for g in (targets, programmed, states))
    span = levels[-1] - levels[0]
    low, high = min(got.min(), levels[0]) - 0.02 * span, max(got.max(), levels[-1]) + 0.02 * span
    counts, edges = np.histogram(got, bins=200, range=(low, high))
    figure = blank_figure(2.9)
    ax = figure.subplots()
    ax.stairs(counts, edges, baseline=0.5, fill=True, color=BLUE, alpha=0.75)
    if len(levels) <= MOST_STATES:
        ax.vlines(levels, 0, 1, transform=ax.get_xaxis_transform(), color=GREY, linewidth=0.5, zorder=0)
    nearest = np.searchsorted(thresholds(levels), wanted)
    cells = np.bincount(nearest, minlength=len(levels))
    ax.plot(levels[cells > 0], cells[cells > 0], "o", color=ORANGE, markersize=3.5)
    ax.set(xlabel="conductance [µS]", ylabel="cells", yscale="log", xlim=(low, high), ylim=(0.5, None))
    ax.set_title(f"{got.size:,} cells after programming: ", pad=14)
    ax.annotate(
        "histogram, ", (0, 1), (0, 4), "axes fraction", "offset points", color=BLUE, fontweight="bold"
    )
    ax.annotate(
        "cells wanted at a state",
        (0, 1),
        (52, 4),
        "axes fraction",
        "offset points",
        color=ORANGE,
        fontweight="bold",
    )
    return figure


@styled
def admm_residuals(log: Sequence[Mapping[str, Any]]) -> Figure:
    """Primal and dual residuals of ADMM against the epoch, a row a layer and a column a phase.

    Parameters
    ----------
    log
        Rows with the keys ``phase`` ("prune", "levels"), ``epoch``, ``layer``, ``primal``, ``dual``. A
        residual that is not above 0 has no place on the logarithmic axis and leaves a gap.
    """
    phases = list(dict.fromkeys(row["phase"] for row in log))
    layers = list(dict.fromkeys(row["layer"] for row in log))
    figure = blank_figure(0.6 + 1.15 * len(layers))
    axes = figure.subplots(len(layers), len(phases), squeeze=False, sharex="col", sharey=True)
    for (i, layer), (j, phase) in ((a, b) for a in enumerate(layers) for b in enumerate(phases)):
        rows = sorted(
            (row for row in log if row["layer"] == layer and row["phase"] == phase),
            key=lambda row: row["epoch"],
        )
        ax = axes[i, j]
        epochs = [row["epoch"] for row in rows]
        ends = []
        for key, colour, dashes, marker in (("primal", BLUE, "-", "o"), ("dual", ORANGE, "--", "s")):
            values = np.array([row[key] for row in rows], float)
            positive = np.where(values > 0, values, np.nan)
            ax.plot(epochs, positive, dashes, color=colour, marker=marker, markersize=2.5)
            if i == 0 and np.isfinite(positive).any():
                last = int(np.flatnonzero(np.isfinite(positive))[-1])
                ends.append((positive[last], epochs[last], key, colour))
        close = len(ends) == 2 and 0.3 < ends[0][0] / ends[1][0] < 1 / 0.3
        for rank, (value, epoch, key, colour) in enumerate(sorted(ends)):
            up = (2 * rank - 1) * 4 if close else 0
            ax.annotate(key, (epoch, value), (5, up), textcoords="offset points", color=colour, va="center")
        ax.set_yscale("log")
        stuck = len(rows) > 1 and rows[-1]["primal"] >= rows[0]["primal"] > 0
        title = f"{shown_name(layer)}, {phase}"
        ax.set_title(f"{title}: did not fall" if stuck else title, color=ORANGE if stuck else INK)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.margins(x=0.12)
        if i == len(layers) - 1:
            ax.set_xlabel("epoch")
    figure.supylabel("residual", fontsize=8)
    return figure


@styled
def accuracy_over_chips(
    cases: Sequence[OverChips], reference: float, metric: MetricLabel = ACCURACY
) -> Figure:
    """The metric of every chip, with the mean and its 95 % interval (Student's t), a line a noise case.

    Parameters
    ----------
    cases
        The metric over chips, by case.
    reference
        That of the ideal chip.
    """
    figure = blank_figure(1.0 + 0.5 * len(cases))
    ax = figure.subplots()
    ax.axvline(reference, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    ax.annotate(
        f"ideal chip {metric.text(reference)}", (reference, 1), (0, 3), ("data", "axes fraction"),
        "offset points", color=GREY, ha="center",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for y, case in enumerate(cases):
        chips = np.asarray(case.per_chip, float)
        ax.plot(
            chips, y + rng.uniform(-0.18, 0.18, chips.size), "o", color=BLUE, alpha=0.45, markersize=3, mew=0
        )
        half = half_width(chips) if chips.size > 1 else 0.0
        ax.errorbar(
            chips.mean(), y, xerr=half, fmt="D", color=ORANGE, markersize=4.5, capsize=4, linewidth=1.6
        )
        spread = f" ± {metric.digits(half)}" if chips.size > 1 else ""
        text = metric.digits(float(chips.mean())) + spread + metric.symbol
        chip_word = "chips" if chips.size > 1 else "chip"
        ax.annotate(
            f"{text}\n{chips.size} {chip_word}", (1.01, y), xycoords=("axes fraction", "data"), va="center"
        )
    ax.set(
        xlabel=f"test {metric.axis}; diamond: mean with its 95 % interval",
        ylabel="noise case",
        ylim=(len(cases) - 0.5, -0.5),
    )
    ax.set_yticks(range(len(cases)), [case.name for case in cases])
    ax.margins(x=0.06)
    ax.ticklabel_format(axis="x", useOffset=False)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return figure


@styled
def breakdown(
    sides: Mapping[str, Mapping[str, ComponentCost]], quantity: Literal["area_mm2", "energy_nj"]
) -> Figure:
    """Area or energy by component, uncompressed and compressed: on one scale, and the last on its own.

    Parameters
    ----------
    sides
        ``by_component`` of each side by its name, the compressed one last. The largest eight components keep
        their name, the rest is drawn as one part.
    """
    what, unit = QUANTITIES[quantity]
    amounts = {name: _parts(side, quantity) for name, side in sides.items()}
    last = list(sides)[-1]
    shares = [
        (name, amount / (sum(side.values()) or 1.0))
        for side in amounts.values()
        for name, amount in side.items()
    ]
    named = largest(shares)
    rest = list(dict.fromkeys(name for name, _ in shares if name not in named))
    figure = blank_figure(1.9 + 0.5 * len(sides))
    top, bottom = figure.subplots(2, 1, height_ratios=(len(sides), 1))
    unlabelled: dict[str, Any] = {}
    for ax, drawn in ((top, tuple(sides)), (bottom, (last,))):
        widest = max(sum(amounts[side].values()) for side in drawn) or 1.0
        for y, side in enumerate(drawn):
            left = 0.0
            stack = [(name, amounts[side].get(name, 0.0), colour_of(name)) for name in named]
            stack += (
                [(f"{len(rest)} others", sum(amounts[side].get(name, 0.0) for name in rest), PALE)]
                if rest
                else []
            )
            for name, value, colour in stack:
                bars = ax.barh(y, value, left=left, height=0.62, color=colour, edgecolor=PAPER, linewidth=0.6)
                if value / widest > INSIDE_LABEL + 0.011 * len(name):
                    ink = text_on(colour)
                    ax.text(left + value / 2, y, name, ha="center", va="center", color=ink, fontsize=7)
                    unlabelled[name] = None
                else:
                    unlabelled.setdefault(name, bars)
                left += value
            ax.annotate(f"{_digits(left)} {unit}", (left, y), (4, 0), textcoords="offset points", va="center")
        ax.set_yticks(range(len(drawn)), [side.replace(", ", ",\n") for side in drawn])
        ax.set(ylim=(len(drawn) - 0.5, -0.5), xlim=(0, 1.14 * widest))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    bottom.set_xlabel(f"{what} [{unit}]")
    bottom.set_title(f"{last.partition(',')[0]}, on its own scale")
    keyed = {name: bars for name, bars in unlabelled.items() if bars is not None}
    if keyed:
        figure.legend(
            keyed.values(), keyed.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=7
        )
    return figure


def _parts(side: Mapping[str, ComponentCost], quantity: str) -> dict[str, float]:
    """Positive parts of a side by component; a quantity that is not modelled (None) has none."""
    amounts = ((name, getattr(part, quantity)) for name, part in side.items())
    return {name: float(amount) for name, amount in amounts if amount}


def _digits(value: float) -> str:
    """Three significant digits, whole numbers with thousands separators from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
