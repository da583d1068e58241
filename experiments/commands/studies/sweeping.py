"""A sweep from its file to its store, with a bar over all of it."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from experiments.commands.studies.sweep import SweepCommand
from experiments.studies.changes import parsed_change
from experiments.studies.file_kinds import check_file_kind
from experiments.studies.noise_cases import with_noise
from experiments.sweeps.pools import Pool
from experiments.sweeps.running import (
    Plan,
    count_tasks,
    known_statuses,
    open_sweep,
    plan,
    run_points,
    warn_of_unreadable,
)
from experiments.sweeps.sources import keep_source, source_of
from experiments.sweeps.store import FILE
from experiments.sweeps.sweep import SweepPoint, base_of, load_sweep, points_of
from experiments.sweeps.tasks import STAGES, dataset
from experiments.sweeps.variants import told
from xbar.hardware.errors import XbarError, naming

MOST_CHECKED = 24
"""This many points are checked in full, with data and mapping, before work starts."""


def sweep(asked: SweepCommand) -> None:
    """Run the sweep that the arguments ask for.

    Raises
    ------
    XbarError
        For every mistake in the command, the file, the points and the data, before work starts.
    """
    asked.check_places()
    check_file_kind(asked.sweep, "sweep")
    what = load_sweep(asked.sweep)
    out = asked.out or Path("runs") / what.name
    part, parts = _part(asked.part)
    said = asked.sweep if asked.sweep.endswith(".toml") else what.name
    changes = dict(map(parsed_change, asked.set))
    points = list(points_of(what, changes, said))
    if len(points) < part:
        raise XbarError(f"{what.name}: has no point to compute; `where` of the sweep or --part leaves none")
    warn_of_unreadable(out)
    whole = plan(points, asked.data, out)
    found = whole.part(part, parts)
    left = found.left(asked.retry_failed)
    if asked.plan or left:
        check(left.values(), asked.data, out, said)
    print(f"{what.name}: {_told(found, left)}", flush=True)
    if not asked.plan:
        base = base_of(what.study, what.set, said, changes)
        source = source_of(base, what.swept(), points, asked.data)
        open_sweep(out, what)
        keep_source(out, "sweep", source, whole.points)
    if left and not asked.plan:
        store = FILE if parts == 1 else f"{Path(FILE).stem}-{part}-of-{parts}.jsonl"
        with asked.pool(out) as pool:
            work(left, asked.data, out, pool, store, what.name, source.identity, asked.fail_fast)
        found = dataclasses.replace(found, known=known_statuses(out))
    if not asked.plan:
        print(f"{_counted(found)}; read them with: xbar results {out}")
        if all(status == "failed" for status in found.statuses().values()):
            sys.exit(1)


def work(
    points: Mapping[str, SweepPoint],
    data: Path | None,
    out: Path,
    pool: Pool,
    store: str,
    origin: str,
    source: str,
    fail_fast: bool = False,
) -> None:
    """`run_points` under one bar over all tasks, with the time left; failures are told as they come, or,
    with `fail_fast`, end the work.

    Raises
    ------
    XbarError
        With `fail_fast`, for the first failure; what is done is in the store.
    """
    from tqdm import tqdm

    total = count_tasks(points)
    with tqdm(total=total, desc=origin, disable=None, dynamic_ncols=True, smoothing=0.05) as bar:

        def done(what: str, failure: str) -> None:
            bar.set_postfix_str(what, refresh=False)
            bar.update()
            if failure and fail_fast:
                raise XbarError(f"{origin}: {failure} (--fail-fast; what is done is kept)")
            if failure:
                bar.write(failure)

        run_points(points, data, out, pool, store=store, origin=origin, source=source, done=done)


def check(points: Iterable[SweepPoint], data: Path | None, out: Path, said: str) -> None:
    """Refuse noise cases that do not fit the device, and what a run would refuse of the first points in which
    a value occurs; `said` and what the point sets begin the message. What is allowed and hardly meant of
    these points is told on standard error."""
    from experiments.plans.notices import notices
    from experiments.stages.run import prepare_on

    noticed: dict[str, None] = {}
    seen: set[str] = set()
    fit: set[tuple[int, ...]] = set()
    checked = 0
    for point in points:
        hardware = point.study.hardware
        for case in point.study.chips.cases:
            read = tuple(map(id, (case, hardware.device, hardware.crossbar, hardware.encoding)))
            if read not in fit:
                with naming(f"{said}, {told(point.values)}"):
                    with_noise(hardware, case)
                fit.add(read)
        if checked == MOST_CHECKED:
            continue
        new = {json.dumps(pair, default=str) for pair in point.values.items()} - seen
        if new:
            loaded = dataset(point.study.data, data)
            with naming(f"{said}, {told(point.values)}"):
                prepared = prepare_on(point.study, loaded, out)
                noticed |= dict.fromkeys(notices(prepared, point.study))
            seen |= new
            checked += 1
    for notice in noticed:
        print(f"xbar: {notice}", file=sys.stderr, flush=True)


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    part, parts = map(int, match.groups()) if match else (0, 0)
    if not 1 <= part <= parts:
        raise XbarError(f"--part {text}: must be K/N with 1 <= K <= N, for example 1/3")
    return part, parts


def _told(found: Plan, left: Mapping[str, SweepPoint]) -> str:
    """One line that says how many points there are, and what is left to do."""
    failed = sum(known == "failed" and one not in left for one, known in found.statuses().items())
    told = f"{len(found.points)} points, {len(left) or 'none'} left"
    if left:
        made = count_tasks(left) - len(left)
        told += f"; up to {made} stages ({', '.join(STAGES)}) before them"
    return told + (f"; {failed} failed before, --retry-failed tries them again" if failed else "")


def _counted(found: Plan) -> str:
    counts = Counter(found.statuses().values())
    return ", ".join(f"{counts[status]} {status}" for status in ("done", "failed") if counts[status])
