"""A grid of 100,000 points: what planning it takes, and what a store of as many lines takes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench_sweep import write_grid

from experiments.run_folder.makers import Maker
from experiments.sweeps.running import open_sweep, plan, run_points
from experiments.sweeps.store import FILE
from experiments.sweeps.sweep import load_sweep, points_of
from experiments.sweeps.tasks import Outcome

KEPT = Path(__file__).resolve().parents[3] / "results" / "crossbar-sizing" / FILE
GIB = 1 << 30


def processor_seconds(*arguments: str, cwd: Path) -> tuple[float, int, str]:
    """Of a command: seconds of its processor, which a shared machine prolongs less than the clock's; its
    peak memory [B], and what it printed."""
    main = "from experiments.commands.cli import main; main()"
    # A process that was forked starts with its parent's ru_maxrss, but not with its VmHWM.
    peak = "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run(
        [sys.executable, "-c", f"{main}; {peak}", *arguments],
        check=True,
        capture_output=True,
        cwd=cwd,
        text=True,
    ).stdout.splitlines()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return taken, int(shown[-1]) * 1024, "\n".join(shown[:-1])


@pytest.mark.slow
def test_a_grid_of_100_000_points_is_planned_and_resumed_within_a_gib(tmp_path: Path) -> None:
    """210 s and 1.6 GiB at first; 13 s of processor and .54 GiB when this was written."""
    path = write_grid(tmp_path, 400)
    taken, peak, shown = processor_seconds("sweep", path.name, "--plan", cwd=tmp_path)
    assert "100000 points, 100000 left" in shown
    assert taken < 40  # twice the 20 s, on a machine that others use
    assert peak < GIB
    rows = [json.loads(line) for line in KEPT.read_text().splitlines()]
    store = tmp_path / "out" / FILE
    open_sweep(store.parent, load_sweep(str(path)))
    with open(store, "w") as file:
        for i, (identity, point) in enumerate(
            plan(list(points_of(load_sweep(str(path)))), None, tmp_path).points.items()
        ):
            file.write(json.dumps({**rows[i % len(rows)], "id": identity, "values": point.values}) + "\n")
    for command in (["sweep", path.name, "--out", "out"], ["results", "out", "--sort=accuracy.chips.mean"]):
        taken, peak, shown = processor_seconds(*command, cwd=tmp_path)
        assert "100000 done" in shown or "100000 of 100000 points" in shown
        assert taken < 60
        assert peak < GIB


def test_the_time_of_planning_and_storing_grows_as_the_points_do(tmp_path: Path) -> None:
    """Four times the points, within seven times the time; quadratic work would take sixteen."""
    done = Outcome({"accuracy": {"chips": {"mean": 1.0}}}, {}, "", 0.1, Maker("here", "0", {}))

    def taken(seeds: int) -> float:
        out = tmp_path / f"{seeds}"
        start = time.process_time()
        found = plan(list(points_of(load_sweep(str(write_grid(tmp_path, seeds))))), None, out)
        run_points(found.points, None, out, lambda tasks: ((i, done) for i, _ in enumerate(tasks)))
        assert len(plan(list(found.points.values()), None, out).statuses()) == 250 * seeds
        return time.process_time() - start

    taken(2)
    assert taken(12) < 7 * taken(3)
