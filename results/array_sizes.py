"""Energy and area of VGG-16 (CIFAR-10) over array sizes and ADC bits: `array-sizes.json`.

    python results/array_sizes.py measure
    python results/array_sizes.py sizes
    python results/array_sizes.py optima
    python results/array_sizes.py draw

The first estimates all points anew, in a minute. The next two print the tables of docs/array-sizes.md, and
the last draws its picture. `rows` prints both tables.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import points
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from experiments.commands.networks.layer_table import form_of
from experiments.figures.colours import GREY, INK, MUTED, ORANGE
from experiments.figures.plots import blank_figure, styled, svg
from mapping import MappedNetwork, map_network
from mapping.network.gemm import mappable_layers
from power.counts.resolution import lossless_bits_of_network
from power.estimates.table import estimate
from xbar.hardware.design import Hardware
from xbar.hardware.files import load_hardware

FILE = Path(__file__).with_name("array-sizes.json")
PICTURE = Path(__file__).parents[1] / "docs" / "figures" / "array-sizes.svg"
NETWORK, DESIGN = "vgg16-cifar", "admm-32x32"
SIZES, BITS = (32, 64, 128, 256, 512), range(4, 10)
ADCS = ("isaac-scaled-adc", "adc-regression")
ISAAC_SIZE = 128
"""Rows and columns of an array in ISAAC, of which 96 share a tile's eDRAM, bus and router."""
SHARED = ("edram", "bus", "router", "sigmoid", "max_pool", "tile_shift_add")
QUANTITIES = {
    "energy_uj": ("energy an image", "µJ"),
    "area_mm2": ("area, 96 arrays of any size a tile", "mm²"),
    "area_same_cells_mm2": ("area, as many cells a tile", "mm²"),
}


class Cells(NamedTuple):
    """How the 15 positive levels of a weight are held: by so many cells a plane, of so many states."""

    slices: int
    states: int

    def __str__(self) -> str:
        return f"{self.slices} cell{'s' if self.slices > 1 else ''} of {self.states} states"


CELLS = (Cells(1, 16), Cells(2, 4), Cells(4, 2))


def hardware(cells: Cells, size: int) -> Hardware:
    """The design with square arrays of this size, a converter for all columns of a pair of arrays."""
    return load_hardware(DESIGN).replace(
        device__states=cells.states,
        encoding__slices=cells.slices,
        crossbar__rows=size,
        crossbar__cols=size,
        adc__columns=size,
    )


def mappings() -> dict[tuple[Cells, int], MappedNetwork]:
    """The network without weights on every kind of cells and size of array."""
    form, example = form_of(NETWORK)
    unscaled = dict.fromkeys(mappable_layers(form), 1.0)  # tiles do not depend on the scales
    designs = {(cells, size): hardware(cells, size) for cells in CELLS for size in SIZES}
    return {key: map_network(form, design, example, scales=unscaled) for key, design in designs.items()}


def costs(mapped: MappedNetwork, adc: str, bits: int) -> dict[str, float]:
    """What a mapping costs with converters of this library and bits.

    Only an array's share of its tile depends on how many share one: it goes as 1 / arrays a tile.
    """
    priced = mapped.with_hardware(lambda own: own.replace(adc__library=adc, adc__bits=bits))
    result = estimate(priced, case="mean")
    parts = result.by_component
    shared = sum(parts[name]["area_mm2"] for name in SHARED)
    as_many_cells = (mapped.hardware.crossbar.rows / ISAAC_SIZE) ** 2
    return {
        "energy_uj": result.dynamic_nj_per_image / 1e3,
        "adc_uj": parts["adc"]["dynamic_nj"] / 1e3,
        "area_mm2": result.area_mm2,
        "area_same_cells_mm2": result.area_mm2 - shared + shared * as_many_cells,
        "adc_mm2": parts["adc"]["area_mm2"],
        "shared_mm2": shared,
        "latency_us": result.latency_us_per_image,
        "arrays": result.arrays,
    }


def measure() -> None:
    """Write the file: 4 to 9 bits, and, by the regression, those that lose nothing where that is more."""
    found = []
    for (cells, size), mapped in mappings().items():
        lossless = max(lossless_bits_of_network(mapped).values())
        key = {"slices": cells.slices, "states": cells.states, "size": size, "lossless_bits": lossless}
        for adc in ADCS:
            beyond = {lossless} - set(BITS) if adc == "adc-regression" else set()
            for bits in (*BITS, *beyond):
                found.append({**key, "adc": adc, "bits": bits, **costs(mapped, adc, bits)})
    points.keep(FILE, {"network": NETWORK, "design": DESIGN, "points": found})


def chosen(**wanted: Any) -> list[dict[str, Any]]:
    """Kept points that have these values."""
    kept: list[dict[str, Any]] = points.kept(FILE)["points"]
    return [point for point in kept if all(point[key] == value for key, value in wanted.items())]


def lossless(adc: str, **wanted: Any) -> list[dict[str, Any]]:
    """Kept points of a converter model that lose nothing, the least bits of each array and cells."""
    return [point for point in chosen(adc=adc, **wanted) if point["bits"] == point["lossless_bits"]]


def best(found: list[dict[str, Any]], quantity: str) -> dict[str, Any]:
    """The point of the least energy or area."""
    return min(found, key=lambda point: point[quantity])


def sizes() -> list[str]:
    """Markdown rows: size, arrays, latency, energy and areas from 4 to 9 bits with ISAAC's converters, and
    the bits that lose nothing by kind of cells."""
    table = []
    for size in SIZES:
        low, *_, high = chosen(adc=ADCS[0], size=size, slices=1)
        spans = [f"{_digits(low[name])} to {_digits(high[name])}" for name in QUANTITIES]
        needed = [str(chosen(size=size, slices=cells.slices)[0]["lossless_bits"]) for cells in CELLS]
        cells = [f"{low['arrays']:,}", _digits(low["latency_us"]), *spans, *needed]
        table.append(f"| {size} | {' | '.join(cells)} |")
    return table


def optima() -> list[str]:
    """Markdown rows by quantity and converter model: the least of all pairs, of those that lose nothing with
    4 to 9 bits, and of those that lose nothing with any."""
    table = []
    for quantity, (what, unit) in QUANTITIES.items():
        for adc in ADCS:
            of_all = best(chosen(adc=adc), quantity)
            within = best([p for p in lossless(adc) if p["bits"] in BITS], quantity)
            named = [
                f"{point['size']}, {point['bits']} bits, {Cells(point['slices'], point['states'])}: "
                f"{_digits(point[quantity])} {unit}"
                for point in (of_all, within, best(lossless(adc), quantity))
            ]
            table.append(f"| {what} | {adc} | {' | '.join(named)} |")
    return table


def rows() -> list[str]:
    """Rows of both tables."""
    return [*sizes(), *optima()]


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@styled
def picture() -> Figure:
    """Energy and both areas against the size of the arrays, by converter model."""
    figure = blank_figure(7.6)
    axes = figure.subplots(len(QUANTITIES), len(ADCS), sharex=True, sharey="row")
    for line, (quantity, (what, unit)) in zip(axes, QUANTITIES.items(), strict=True):
        for ax, adc in zip(line, ADCS, strict=True):
            _panel(ax, adc, quantity)
        line[0].set_ylabel(f"{what} [{unit}]")
    for ax, adc in zip(axes[0], ADCS, strict=True):
        ax.set_title(adc, fontweight="bold", pad=8)
    for ax in axes[-1]:
        ax.set_xlabel("rows and columns of an array")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=7)
    return figure


BLUES = ("#9dbfd9", "#7fabcb", "#6296bd", "#4a82ad", "#356d9a", "#235a87")
COLOURS = dict(zip(CELLS, (MUTED[6], ORANGE, MUTED[3]), strict=True))
MARKERS = dict(zip(CELLS, ("s", "o", "^"), strict=True))


def _panel(ax: Axes, adc: str, quantity: str) -> None:
    for bits, colour in zip(BITS, BLUES, strict=True):
        found = chosen(adc=adc, bits=bits, slices=1)
        values = [point[quantity] for point in found]
        label = f"{CELLS[0]}, {BITS[0]} to {BITS[-1]} bits: lossy" if bits == BITS[2] else None
        ax.plot(SIZES, values, color=colour, linewidth=0.9, label=label)
        if bits in (BITS[0], BITS[-1]):
            style = {"color": BLUES[-1], "ha": "right", "va": "center", "fontsize": 7}
            ax.annotate(str(bits), (SIZES[0], values[0]), (-12, 0), textcoords="offset points", **style)
    for cells in CELLS:
        found = lossless(adc, slices=cells.slices)
        drawn = {"color": COLOURS[cells], "marker": MARKERS[cells], "markersize": 4, "linewidth": 0.9}
        inside = [point for point in found if point["bits"] in BITS]
        for part, face, label in (
            (found, "white", None),
            (inside, COLOURS[cells], f"{cells}, bits that lose nothing"),
        ):
            places = [point["size"] for point in part]
            ax.plot(places, [p[quantity] for p in part], markerfacecolor=face, label=label, **drawn)
    for size in SIZES:
        ranked = sorted(lossless(adc, size=size), key=lambda point: -point[quantity])
        for point in ranked:
            lowest = point is ranked[-1] and len(ranked) > 1
            style = {"color": COLOURS[Cells(point["slices"], point["states"])], "fontsize": 7}
            style |= {"ha": "right", "va": "top"} if lowest else {"ha": "left", "va": "bottom"}
            place = (-3, -3) if lowest else (3, 2)
            at = (size, point[quantity])
            ax.annotate(str(point["bits"]), at, place, textcoords="offset points", **style)
    outline = {"linestyle": "none", "color": INK, "markeredgewidth": 0.9}
    for found, marker, size, face, label in (
        (chosen(adc=adc), "*", 9, "white", "least of all"),
        (lossless(adc), "o", 11, "none", "least that loses nothing"),
    ):
        point = best(found, quantity)
        ring = {"marker": marker, "markersize": size, "markerfacecolor": face, "label": label, **outline}
        ax.plot(point["size"], point[quantity], **ring)
    ax.set(xscale="log", yscale="log", xlim=(22, 640))
    ax.xaxis.set_major_locator(FixedLocator(SIZES))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    ax.yaxis.set_minor_formatter(NullFormatter())
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.5)


def draw() -> None:
    """Write the picture."""
    PICTURE.write_text(svg(picture()), encoding="utf-8")


if __name__ == "__main__":
    commands = {"measure": measure, "rows": rows, "sizes": sizes, "optima": optima, "draw": draw}
    for printed in commands[sys.argv[1]]() or ():
        print(printed)
