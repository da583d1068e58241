"""A search from its file to its front, with random points beside it on request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.commands.studies.search import SearchCommand
from experiments.commands.studies.sweeping import check
from experiments.report.search_report import report
from experiments.searches.search import Points, Search, load_search, search_dict
from experiments.searches.trials import Evaluate, Figures, Sampler, Trial, imported_optuna, run_trials
from experiments.studies.file_kinds import check_file_kind
from experiments.sweeps.axes import AxisValues
from experiments.sweeps.pools import Pool
from experiments.sweeps.running import open_folder, warn_of_unreadable
from experiments.sweeps.sources import Source
from xbar.hardware.checks import check_range
from xbar.hardware.errors import XbarError

BESIDE_DIAGONAL = 40
ON_DIAGONAL = 8
"""Points of which the studies are checked before work starts."""


def search(asked: SearchCommand) -> None:
    """Run the search that the arguments ask for.

    Raises
    ------
    XbarError
        For every mistake in the command, the file and the data, before work starts. Points that are no
        possible study are not tried.
    """
    asked.check_places()
    for key, count, least in (("--trials", asked.trials, 1), ("--random", asked.random, 0)):
        if count < least:
            raise XbarError(f"{key} {count}: must be at least {least}")
    check_range("--seed", asked.seed, 0, 2**31 - 1)
    imported_optuna()
    check_file_kind(asked.search, "search")
    what = load_search(asked.search)
    out = asked.out or Path("runs") / what.name
    points = Points(what, asked.data, out)
    source = _check(what, points)
    names = ", ".join(f"{one.figure} ({one.goal})" for one in what.objectives)
    beside = f" and {asked.random} random points" if asked.random else ""
    print(f"{what.name}: {asked.trials} trials{beside}, {what.batch} at a time; {names}", flush=True)
    if asked.plan:
        return
    open_folder(out, "search", what.name, search_dict(what))
    warn_of_unreadable(out)
    with asked.pool(out) as pool:
        runs = {"search": _tried(asked, points, source, pool, asked.sampler, asked.trials)}
        if asked.random:
            runs["random"] = _tried(asked, points, source, pool, "random", asked.random)
    report(what, runs, out)


def _check(what: Search, points: Points) -> Source:
    """The source of the search's points. Refuses a value of a key with which no study is possible, what a run
    would refuse along the space's diagonal, from the first value of each key to the last, and a space in
    which no point meets the conditions."""
    shares = [step / (ON_DIAGONAL - 1) for step in range(ON_DIAGONAL)]
    diagonal = [what.values_at(share) for share in shares]
    possible = points.check_values([*diagonal, *what.some_values(BESIDE_DIAGONAL)])
    meeting = [values for values in diagonal if points.meets(values)] or points.some()
    check(map(points.at, (meeting[0], meeting[-1])), points.data, points.out, what.name)
    return points.source(possible)


def _tried(
    asked: SearchCommand, points: Points, source: Source, pool: Pool, sampler: Sampler, trials: int
) -> list[Trial]:
    """The trials under a bar; failures are told as they come."""
    from tqdm import tqdm

    with tqdm(total=trials, desc=sampler, disable=None, dynamic_ncols=True) as bar:

        def done(stage: str, failure: str) -> None:
            bar.set_postfix_str(stage)
            if failure:
                bar.write(failure)

        evaluate: Evaluate = points.evaluate_on(source, pool, done)

        def counted(batch: Sequence[AxisValues]) -> Sequence[Figures | None]:
            figures = evaluate(batch)
            bar.update(len(batch))
            return figures

        found = run_trials(
            points.search.dimensions(),
            points.search.goals(),
            counted,
            trials,
            sampler=sampler,
            seed=asked.seed,
            batch=points.search.batch,
            allowed=points.meets,
        )
    if len(found) < trials:
        print(f"{sampler}: {len(found)} points; it finds no other that meets the conditions")
    return found
