"""The search against random points on tables of finished points: `search.json`.

    python results/search.py measure costs
    python results/search.py measure crossbar-sizing STORE
    python results/search.py rows

A table holds the figures of every point of a grid, so that searches of many seeds cost no more than look-ups.
``costs`` is computed anew, in minutes: LeNet-5 without weights, whose accuracy is stood in for by the bits
that its converters lack to lose nothing. Any other table is the store of a finished sweep, with accuracy over
chips, energy and area. Hypervolumes are shares of the box of the whole table.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import points

from experiments.commands.networks.layer_table import form_of
from experiments.searches.objectives import DEFAULT, Box, Objective
from experiments.searches.trials import Figures, Sampler, keys_of, run_trials
from experiments.sweeps.axes import AxisValues, Options
from experiments.sweeps.store import read_rows, store_files
from experiments.sweeps.table import flat_row
from mapping import map_network
from mapping.network.gemm import mappable_layers
from power.counts.resolution import lossless_bits_of_network
from power.estimates.table import estimate
from xbar.hardware.files import load_hardware

FILE = Path(__file__).with_name("search.json")
TRIALS, MORE, SEEDS = 40, 3, 10
"""Trials of a search, how many times as many random points it is held against, and repetitions."""
SAMPLERS: tuple[Sampler, ...] = ("tpe", "nsga2")


@dataclass(frozen=True)
class Table:
    """Figures of every point of a grid, by its values as texts."""

    space: dict[str, Options]
    objectives: tuple[Objective, ...]
    figures: dict[tuple[str, ...], Figures]

    def look_up(self, asked: Sequence[AxisValues]) -> list[Figures]:
        """Figures of points."""
        return [self.figures[self.place(values)] for values in asked]

    def place(self, values: AxisValues) -> tuple[str, ...]:
        """Where the figures of a point are."""
        return tuple(str(values[keys_of(name)[0]]) for name in self.space)

    def volumes(self, sampler: Sampler, trials: int) -> list[list[float]]:
        """Hypervolume by trial of each seed."""
        box = Box.around(self.objectives, self.figures.values())
        goals = [one.goal for one in self.objectives]
        return [
            box.volumes(
                self.objectives,
                [
                    trial.figures
                    for trial in run_trials(
                        self.space, goals, self.look_up, trials, sampler=sampler, seed=seed
                    )
                ],
            )
            for seed in range(SEEDS)
        ]


def costs() -> Table:
    """LeNet-5 on tiles of 32 to 256 rows and columns: bits that converters lack, energy, area."""
    objectives = (Objective("bits_lost", "min"), *DEFAULT[1:])
    cells = {"1 cell of 16": (1, 16), "2 cells of 4": (2, 4), "4 cells of 2": (4, 2)}
    sizes = (32, 64, 128, 256)
    space = {
        "rows": Options(sizes),
        "cols": Options(sizes),
        "cells": Options(tuple(cells)),
        "share": Options((1, 2, 4)),
        "bits": Options((4, 5, 6, 7, 8, 9)),
    }
    form, example = form_of("lenet5")
    unscaled = dict.fromkeys(mappable_layers(form), 1.0)
    table = Table(space, objectives, {})
    for rows, cols, (name, (slices, states)) in itertools.product(sizes, sizes, cells.items()):
        design = load_hardware("admm-32x32").replace(
            device__states=states,
            encoding__slices=slices,
            crossbar__rows=rows,
            crossbar__cols=cols,
            adc__columns=cols,
        )
        mapped = map_network(form, design, example, scales=unscaled)
        needed = lossless_bits_of_network(mapped).values()
        for share, bits in itertools.product(space["share"].values, space["bits"].values):
            own = {"adc__bits": bits, "adc__columns": cols // share}
            priced = estimate(mapped.with_hardware(lambda h, own=own: h.replace(**own)), case="mean")
            lost = float(np.mean([max(0, need - bits) for need in needed]))
            values = {"rows": rows, "cols": cols, "cells": name, "share": share, "bits": bits}
            found = (lost, float(priced.energy_nj_per_image), float(priced.area_mm2))
            table.figures[table.place(values)] = found
    return table


def swept(store: Path) -> Table:
    """The points of a finished sweep; keys with the same values at all points are one name."""
    rows = [flat_row(row) for row in read_rows(store_files(store)).values() if row["status"] == "done"]
    first = next(iter(read_rows(store_files(store)).values()))
    names: dict[str, list[str]] = {}
    for key in first["values"]:
        names.setdefault(str([row[key] for row in rows]), []).append(key)
    space = {
        ", ".join(keys): Options(tuple(sorted({row[keys[0]] for row in rows}))) for keys in names.values()
    }
    table = Table(space, DEFAULT, {})
    for row in rows:
        table.figures[table.place(row)] = tuple(float(row[one.figure]) for one in DEFAULT)
    return table


def measure(name: str, store: Path | None) -> None:
    """Add a table's comparison to the file."""
    table = costs() if name == "costs" else swept(store or Path("runs") / name)
    box = Box.around(table.objectives, table.figures.values())
    random = table.volumes("random", MORE * TRIALS)
    searched = {sampler: table.volumes(sampler, TRIALS) for sampler in SAMPLERS}
    found: dict[str, Any] = {
        "points": len(table.figures),
        "objectives": [one.figure for one in table.objectives],
        "trials": TRIALS,
        "seeds": SEEDS,
        "all_points": box.volumes(table.objectives, list(table.figures.values()))[-1],
        **{sampler: [run[-1] for run in runs] for sampler, runs in searched.items()},
        "random": [run[TRIALS - 1] for run in random],
        f"random_x{MORE}": [run[-1] for run in random],
        "mean_by_trial": {
            which: np.mean(runs, axis=0).round(4).tolist()
            for which, runs in {**searched, "random": random}.items()
        },
    }
    points.keep(FILE, {**points.kept(FILE), name: found})


def rows() -> list[str]:
    """Markdown rows: table, its points, hypervolume of all of them, mean +- standard deviation over seeds of
    each sampler and of random points, and in how many
    seeds TPE is at least as good as the most random points of the same seed."""
    lines = []
    for name, found in points.kept(FILE).items():
        runs = [np.array(found[which]) for which in (*SAMPLERS, "random", f"random_x{MORE}")]
        cells = [f"{run.mean():.3f} ± {run.std(ddof=1):.3f}" for run in runs]
        wins = int((runs[0] >= runs[-1]).sum())
        shown = [str(found["points"]), f"{found['all_points']:.3f}", *cells, f"{wins} of {found['seeds']}"]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return lines


if __name__ == "__main__":
    points.main(measure, rows)
