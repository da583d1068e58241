"""Figures and the tables of docs/under-noise.md from the kept run, `accuracy-under-noise.json`.

    python results/under_noise.py draw
    python results/under_noise.py rows

The first writes docs/under-noise/*.svg, the second prints the tables.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from experiments.figures.noise_plots import noise_figures
from experiments.figures.plots import svg
from experiments.results.result import OverChips, Result

FILE = Path(__file__).with_name("accuracy-under-noise.json")
FOLDER = Path(__file__).parents[1] / "docs" / "under-noise"


def kept() -> Result:
    """The run."""
    return Result.from_dict(json.loads(FILE.read_text(encoding="utf-8")), FILE.name)


def draw(folder: Path = FOLDER) -> list[Path]:
    """Write every figure of the run; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for stem, figure in noise_figures(kept()).items():
        paths.append(folder / f"{stem}.svg")
        paths[-1].write_text(svg(figure), encoding="utf-8")
    return paths


def rows() -> list[str]:
    """Markdown rows of every point: curve, value, mean with half of its 95 % interval, spread, chips."""
    return [
        f"| {curve.name} | {p.name} | {p.mean:.2f} ± {_half(p):.2f} | {p.std:.2f} | {p.n} |"
        for curve in kept().accuracy.under_noise
        for p in curve.points
    ]


def layer_rows() -> list[str]:
    """Markdown rows: layer, accuracy with noise in it only, with noise in all others."""
    return [
        f"| {row.layer} | {row.only.mean:.2f} ± {_half(row.only):.2f} "
        f"| {row.others.mean:.2f} ± {_half(row.others):.2f} |"
        for row in kept().accuracy.by_layer
    ]


def _half(chips: OverChips) -> float:
    """Half of the 95 % interval of a mean, which ends at 0 and 100 [percentage points]."""
    return float(max(chips.ci95_high - chips.mean, chips.mean - chips.ci95_low))


if __name__ == "__main__":
    if sys.argv[1] == "draw":
        print("\n".join(map(str, draw())))
    else:
        print("\n".join([*rows(), "", *layer_rows()]))
