"""A scheduler and workers of Dask as processes of this machine, and what a sweep on them has stored."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from experiments.sweeps.store import FILE, read_rows

ROOT = Path(__file__).resolve().parents[2]
XBAR = [sys.executable, "-c", "from experiments.commands.cli import main; main()"]


@contextmanager
def started(*command: str, cwd: Path) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, *command], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def scheduler(folder: Path) -> tuple[str, ...]:
    place = ("--scheduler-file", str(folder / "scheduler.json"))
    return ("-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", *place)


def worker(folder: Path) -> tuple[str, ...]:
    place = ("--scheduler-file", str(folder / "scheduler.json"))
    return ("-m", "distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", *place)


def address(folder: Path) -> str:
    file = folder / "scheduler.json"
    while not file.exists():
        time.sleep(0.1)
    time.sleep(0.5)
    return json.loads(file.read_text())["address"]


def stored(out: Path) -> dict:
    return read_rows([out / FILE]) if (out / FILE).exists() else {}
