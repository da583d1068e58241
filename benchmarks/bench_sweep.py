"""Sweeps: 64 points on two workers against one, a second run of a finished sweep of 400 points, and the plan
of a grid of 100,000.

Both pools start their processes within the time. Networks and mappings are made before it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from timing import record

from experiments.sweeps.axes import Axis
from experiments.sweeps.pools import in_this_process, on_workers
from experiments.sweeps.running import plan, run_points
from experiments.sweeps.store import FILE, Writer
from experiments.sweeps.sweep import Sweep, load_sweep, points_of

SWEEP = Sweep(
    "benchmark",
    "digits",
    (Axis("chips.cases.0.programming.sigma", values=tuple(i / 256 for i in range(64))),),
    set={
        "train.epochs": 3,
        "compress.admm.epochs": 1,
        "compress.retrain_epochs": 1,
        "quantise.epochs": 1,
        "quantise.retrain_epochs": 1,
        "chips.n": 40,
        "chips.cases": [{"name": "write errors", "programming": {"kind": "lognormal", "sigma": 0.0}}],
    },
)
MANY = """
name = "many"
study = "digits"

[[axes]]
key = ["hardware.crossbar.rows", "hardware.crossbar.cols"]
values = [16, 32, 64, 128]

[[axes]]
key = "hardware.adc.bits"
values = [4, 5, 6, 7, 8]

[[axes]]
key = "seed"
range = { low = 1, high = 20, step = 1, whole = true }
"""


def rows(repeats: int = 2) -> list[dict[str, Any]]:
    """Records of both."""
    return [two_workers(repeats), second_run(repeats), plan_of_a_grid(repeats)]


def two_workers(repeats: int) -> dict[str, Any]:
    """64 simulation points; every repeat measures their chips anew."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        points = dict(plan(list(points_of(SWEEP)), None, out).points)
        run_points(dict(list(points.items())[:1]), None, out, in_this_process)

        def run(workers: int) -> None:
            for chips in (out / "stages").glob("chips-*"):
                chips.unlink()
            (out / FILE).unlink()
            run_points(points, None, out, on_workers(workers) if workers > 1 else in_this_process)

        return record(
            "a sweep of 64 points of 40 chips on 2 workers of one thread",
            lambda: run(2),
            "1 worker of one thread",
            lambda: run(1),
            threads=2,
            repeats=repeats,
        )


def second_run(repeats: int) -> dict[str, Any]:
    """The whole command on a store of 400 points, made up: what they hold is not read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "many.toml").write_text(MANY)
        sweep = load_sweep(str(folder / "many.toml"))
        with Writer(folder / "out" / FILE) as writer:
            for identity, point in plan(list(points_of(sweep)), None, folder).points.items():
                writer.append(
                    {"id": identity, "values": point.values, "status": "failed", "reason": "made up"}
                )
        what = "the second run of a finished sweep of 400 points, the whole command"
        return against_torch(what, ["many.toml", "--out", "out"], folder, repeats)


GRID = """
name = "grid"
study = "digits"

[set]
"chips.cases" = [{{ name = "write errors", programming = {{ kind = "lognormal", sigma = 0.0 }} }}]

[[axes]]
key = ["hardware.crossbar.rows", "hardware.crossbar.cols"]
values = [16, 32, 64, 128, 256]

[[axes]]
key = "hardware.adc.bits"
values = [4, 5, 6, 7, 8]

[[axes]]
key = "chips.cases.0.programming.sigma"
range = {{ low = 0.01, high = 0.5, n = 10 }}

[[axes]]
key = "seed"
range = {{ low = 1, high = {seeds}, step = 1, whole = true }}
"""
"""250 points a seed."""


def plan_of_a_grid(repeats: int) -> dict[str, Any]:
    """The whole command: studies, ids, the networks that points share, and the check of the first points."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_grid(folder, 400)
        what = "the plan of a grid of 100,000 points, the whole command"
        return against_torch(what, ["grid.toml", "--plan"], folder, repeats)


def write_grid(folder: Path, seeds: int) -> Path:
    """Write `GRID` with so many seeds into a folder; its path."""
    path = folder / "grid.toml"
    path.write_text(GRID.format(seeds=seeds))
    return path


def against_torch(what: str, arguments: list[str], folder: Path, repeats: int) -> dict[str, Any]:
    """Record of `xbar sweep` with these arguments, against a start of Python that imports torch."""

    def run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, cwd=folder)

    xbar = str(Path(sys.executable).with_name("xbar"))
    return record(
        what,
        lambda: run(xbar, "sweep", *arguments),
        "a start of Python that imports torch",
        lambda: run(sys.executable, "-c", "import torch"),
        threads=1,
        repeats=repeats,
    )
