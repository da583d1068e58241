"""The report of a search: its front in the terminal, all trials as CSV, a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.results.csv_text import csv_text
from experiments.results.text_table import number, text_table
from experiments.searches.objectives import Box, front_of
from experiments.searches.search import Search, label_of_search
from experiments.searches.trials import Trial, keys_of
from experiments.sweeps.table import titles
from xbar.hardware.errors import XbarError
from xbar.hardware.files import write_atomically

Runs = Mapping[str, Sequence[Trial]]
"""Trials of ``search``, and of ``random`` where there are some."""


def report(what: Search, runs: Runs, out: Path) -> None:
    """Print the front and how far each run got; write `trials.csv` and `figures/search`.

    Raises
    ------
    XbarError
        Where all trials failed.
    """
    from experiments.figures.plots import save
    from experiments.figures.search_plots import search_figure

    figures = {name: [trial.figures for trial in run] for name, run in runs.items()}
    everything = [of for run in figures.values() for of in run]
    if not any(everything):
        raise XbarError(f"{out}: all trials failed; see: xbar results {out} --failed")
    box = Box.around(what.objectives, everything)
    volumes = {name: box.volumes(what.objectives, run) for name, run in figures.items()}
    fronts = {name: front_of(what.objectives, run) for name, run in figures.items()}
    print(front_table(what, runs["search"], fronts["search"]))
    for name, run in runs.items():
        on_front = f"{len(fronts[name])} not dominated"
        print(f"{name}: {len(run)} points, {on_front}, hypervolume {volumes[name][-1]:.4f}")
    write_atomically(out / "trials.csv", _csv(what, runs, fronts, volumes).encode())
    figure = search_figure(what.objectives, runs, volumes, label_of_search(what))
    files = save(figure, out / "figures", "search")
    print(f"all points: {out / 'trials.csv'}; figure: {files[0]}")


def front_table(what: Search, run: Sequence[Trial], front: Sequence[int]) -> str:
    """The front, the best in the first objective first; of keys that get the same value, the first."""
    keys = [keys_of(name)[0] for name in what.dimensions()]
    points = [(i, run[i].values, run[i].figures or ()) for i in front]
    points.sort(key=lambda point: what.objectives[0].cost(point[2][0]))
    names = titles([*keys, *(one.figure for one in what.objectives)])
    cells = [
        [str(i), *(_cell(values[key]) for key in keys), *map(number, figures)]
        for i, values, figures in points
    ]
    return text_table([["trial", *names], *cells], "r" * (1 + len(names)))


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _csv(
    what: Search, runs: Runs, fronts: Mapping[str, list[int]], volumes: Mapping[str, list[float]]
) -> str:
    """Every trial: its run, number, values, figures, whether it is on the front, hypervolume up to it."""
    keys = list(what.values_at(0.0))
    figures = [one.figure for one in what.objectives]
    rows: list[list[Any]] = [["run", "trial", *keys, *figures, "on_front", "hypervolume"]]
    for name, run in runs.items():
        for i, trial in enumerate(run):
            shown = trial.figures or [""] * len(figures)
            values = [trial.values[key] for key in keys]
            rows.append([name, i, *values, *shown, int(i in fronts[name]), volumes[name][i]])
    return csv_text(rows)
