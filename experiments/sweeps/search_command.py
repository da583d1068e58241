"""`xbar search`: a search from its file to its front, with random points beside it on request."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.sweeps.axes import Values
from experiments.sweeps.command import check, check_places, chosen_pool
from experiments.sweeps.objectives import Box, Objective, front_of
from experiments.sweeps.pools import Pool
from experiments.sweeps.results import titles
from experiments.sweeps.running import open_folder
from experiments.sweeps.search import Points, Search, load_search, search_dict
from experiments.sweeps.trials import Evaluate, Figures, Sampler, Trial, imported_optuna, run_trials
from experiments.text_table import number, text_table
from xbar.errors import XbarError
from xbar.files import write_atomically

if TYPE_CHECKING:
    from experiments.cli import SearchCommand

ON_DIAGONAL = 8
"""Points of which the studies are checked before work starts."""


def search(asked: SearchCommand) -> None:
    """Run what was asked for.

    Raises
    ------
    XbarError
        For every mistake in the command, the file and the data, before work starts; for a point that is no
        possible study as soon as it is asked for.
    """
    check_places(asked.data, asked.workers, asked.cluster)
    for key, count, least in (("--trials", asked.trials, 1), ("--random", asked.random, 0)):
        if count < least:
            raise XbarError(f"{key} {count}: must be at least {least}")
    imported_optuna()
    what = load_search(asked.search)
    out = asked.out or Path("runs") / what.name
    points = Points(what, asked.data, out)
    _check(what, points)
    names = ", ".join(f"{one.figure} ({one.goal})" for one in what.objectives)
    beside = f" and {asked.random} random points" if asked.random else ""
    print(f"{what.name}: {asked.trials} trials{beside}, {what.batch} at a time; {names}", flush=True)
    if asked.plan:
        return
    open_folder(out, "search", what.name, search_dict(what))
    with chosen_pool(asked.workers, asked.cluster, out) as pool:
        runs = {"search": _tried(asked, what, points, pool, asked.sampler, asked.trials)}
        if asked.random:
            runs["random"] = _tried(asked, what, points, pool, "random", asked.random)
    report(what.objectives, runs, out)


def _check(what: Search, points: Points) -> None:
    """Refuse values that are not possible together along the space's diagonal, from the first value of each
    key to the last, what a run would refuse there, and a space in which no point meets the conditions."""
    shares = [step / (ON_DIAGONAL - 1) for step in range(ON_DIAGONAL)]
    diagonal = [what.values_at(share) for share in shares]
    meeting = [values for values in diagonal if points.meets(values)] or points.some()
    check(map(points.at, (meeting[0], meeting[-1])), points.data, points.out)


def _tried(
    asked: SearchCommand, what: Search, points: Points, pool: Pool, sampler: Sampler, trials: int
) -> list[Trial]:
    """The trials under a bar; failures are told as they come."""
    from tqdm import tqdm

    with tqdm(total=trials, desc=sampler, disable=None, dynamic_ncols=True) as bar:

        def done(stage: str, reason: str) -> None:
            bar.set_postfix_str(stage)
            if reason:
                bar.write(f"{stage} failed: {reason}")

        evaluate: Evaluate = points.evaluate_on(pool, done)

        def counted(batch: Sequence[Values]) -> Sequence[Figures | None]:
            figures = evaluate(batch)
            bar.update(len(batch))
            return figures

        found = run_trials(
            what.dimensions(),
            what.goals(),
            counted,
            trials,
            sampler=sampler,
            seed=asked.seed,
            batch=what.batch,
            allowed=points.meets,
        )
    if len(found) < trials:
        print(f"{sampler}: {len(found)} points; it finds no other that meets the conditions")
    return found


def report(objectives: Sequence[Objective], runs: dict[str, list[Trial]], out: Path) -> None:
    """Print the front and how far each run got; write `trials.csv` and `figures/search`."""
    from experiments.plots import save
    from experiments.sweeps.search_plots import search_figure

    everything = [trial.figures for run in runs.values() for trial in run]
    if not any(everything):
        raise XbarError(f"{out}: no trial has figures; see: xbar results {out} --failed")
    box = Box.around(objectives, everything)
    volumes = {name: box.volumes(objectives, [t.figures for t in run]) for name, run in runs.items()}
    fronts = {name: front_of(objectives, [t.figures for t in run]) for name, run in runs.items()}
    print(_front_table(objectives, runs["search"], fronts["search"]))
    for name, run in runs.items():
        print(
            f"{name}: {len(run)} points, {len(fronts[name])} on the front, hypervolume {volumes[name][-1]:.4f}"
        )
    write_atomically(out / "trials.csv", _csv(objectives, runs, fronts, volumes).encode())
    files = save(search_figure(objectives, runs, volumes), out / "figures", "search")
    print(f"all points: {out / 'trials.csv'}; figure: {files[0]}")


def _front_table(objectives: Sequence[Objective], run: Sequence[Trial], front: Sequence[int]) -> str:
    """The front, the best in the first objective first; of keys with the same values the first."""
    columns = {key: [run[i].values[key] for i in front] for key in run[0].values}
    keys = [key for n, key in enumerate(columns) if columns[key] not in list(columns.values())[:n]]
    rows = [(run[i].figures or (), [str(i), *(_cell(run[i].values[key]) for key in keys)]) for i in front]
    rows.sort(key=lambda row: objectives[0].cost(row[0][0]))
    names = titles([*keys, *(one.figure for one in objectives)])
    cells = [[*cells, *map(number, figures)] for figures, cells in rows]
    return text_table([["trial", *names], *cells], "r" * (1 + len(names)))


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _csv(
    objectives: Sequence[Objective],
    runs: dict[str, list[Trial]],
    fronts: dict[str, list[int]],
    volumes: dict[str, list[float]],
) -> str:
    """Every trial: its run, number, values, figures, whether it is on the front, hypervolume up to it."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    keys = list(next(iter(runs.values()))[0].values)
    table.writerow(["run", "trial", *keys, *(one.figure for one in objectives), "on_front", "hypervolume"])
    for name, run in runs.items():
        for i, trial in enumerate(run):
            figures = trial.figures or [""] * len(objectives)
            values = [trial.values[key] for key in keys]
            table.writerow([name, i, *values, *figures, int(i in fronts[name]), volumes[name][i]])
    return text.getvalue()
