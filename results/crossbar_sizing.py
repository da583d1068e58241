"""Figures and tables of docs/sweeps.md from the kept store, `crossbar-sizing/points.jsonl`.

    python results/crossbar_sizing.py draw
    python results/crossbar_sizing.py rows

The first writes docs/sweeps/*.svg, the second prints the tables: the front of accuracy against energy, and
the least energy that keeps an accuracy under write errors.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.figures.plots import svg
from experiments.figures.sweep_figures import ACCURACY, ENERGY, front_of, sweep_figures
from experiments.sweeps.store import read_rows, store_files
from experiments.sweeps.table import differing, flat_row, one_an_axis

STORE = Path(__file__).with_name("crossbar-sizing")
FOLDER = Path(__file__).parents[1] / "docs" / "sweeps"
SIZE, STATES, BITS = "hardware.crossbar.rows", "hardware.device.states", "hardware.adc.bits"
ERROR = "chips.cases.0.programming.sigma"
WITHIN = (0.5, 1.0, 2.0)
"""Losses of accuracy against the network on ideal levels of the most states [percentage points]."""


def points() -> list[Mapping[str, Any]]:
    """All kept points as dotted keys."""
    return [flat_row(row) for row in read_rows(store_files(STORE)).values()]


def draw(folder: Path = FOLDER) -> list[Path]:
    """Write every figure; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found = points()
    paths = []
    for stem, figure in sweep_figures(found, one_an_axis(found, differing(found))).items():
        paths.append(folder / f"{stem}.svg")
        paths[-1].write_text(svg(figure), encoding="utf-8")
    return paths


def front() -> list[str]:
    """Markdown rows of the front without write errors: size, cell bits, ADC bits, accuracy, energy, area."""
    return [_row(point) for point in front_of([p for p in points() if p[ERROR] == 0])]


def cheapest() -> list[str]:
    """Markdown rows: for each write error and loss, the design of least energy within it."""
    found = points()
    best = max(point[ACCURACY] for point in found)
    table = []
    for error in sorted({point[ERROR] for point in found}):
        for loss in WITHIN:
            fitting = [p for p in found if p[ERROR] == error and p[ACCURACY] >= best - loss]
            design = _row(min(fitting, key=lambda p: p[ENERGY])) if fitting else "| none | | | | | |"
            table.append(f"| {100 * error:g} % | {best - loss:.1f} % {design}")
    return table


def rows() -> list[str]:
    """Rows of both tables."""
    return [*front(), *cheapest()]


def _row(point: Mapping[str, Any]) -> str:
    cells = [
        str(point[SIZE]),
        str((point[STATES] - 1).bit_length()),
        str(point[BITS]),
        f"{point[ACCURACY]:.2f} %",
        f"{point[ENERGY]:,.0f}",
        f"{point['estimate.area_mm2']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str]) -> None:
    """``draw`` or ``rows``."""
    if arguments == ["draw"]:
        draw()
    else:
        print("\n".join(rows()))


if __name__ == "__main__":
    main(sys.argv[1:])
