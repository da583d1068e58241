"""A killed sweep goes on to the store of an unbroken one (law 6)."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_sweep import small_sweep

from experiments.sweeps.store import FILE, read_rows

pytestmark = pytest.mark.slow

XBAR = [sys.executable, "-c", "from experiments.commands.cli import main; main()"]
BITS = "[4, 5, 6, 7, 8]"
KILLS = 20


def start(path: Path, out: Path, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*XBAR, "sweep", str(path), "--out", str(out), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def figures(out: Path) -> dict[str, dict]:
    return {identity: row["result"] for identity, row in read_rows([out / FILE]).items()}


def whole_lines(out: Path) -> list[str]:
    """Ids of the lines that a crash did not cut short."""
    ids = []
    for line in (out / FILE).read_bytes().splitlines() if (out / FILE).exists() else []:
        try:
            ids.append(json.loads(line)["id"])
        except ValueError:
            continue
    return ids


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict], float]:
    folder = tmp_path_factory.mktemp("unbroken")
    path = small_sweep(folder, BITS)
    begin = time.perf_counter()
    assert start(path, folder / "out").wait() == 0
    return path, figures(folder / "out"), time.perf_counter() - begin


def test_kill_9_at_random_moments(unbroken: tuple[Path, dict, float], tmp_path: Path) -> None:
    """One worker and two in turn; a finished sweep starts anew, so that kills hit every part of it."""
    path, found, seconds = unbroken
    out, moments = tmp_path / "out", random.Random(0)
    hit = 0
    for kill in range(KILLS):
        process = start(path, out, "--workers", str(1 + kill % 2))
        try:
            process.wait(moments.uniform(0.1, 1.1) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            hit += 1
        ids = whole_lines(out)
        assert len(ids) == len(set(ids))
        if len(ids) == len(found):
            assert figures(out) == found
            shutil.rmtree(out)
    assert hit >= KILLS / 2
    assert start(path, out).wait() == 0
    ids = whole_lines(out)
    assert len(ids) == len(set(ids)) == len(found)
    assert figures(out) == found


def test_a_killed_worker_of_a_cluster(unbroken: tuple[Path, dict, float], tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil", reason="needs distributed, which brings psutil")
    pytest.importorskip("distributed", reason="needs the extra `cluster`")
    path, found, _ = unbroken
    out = tmp_path / "out"
    process = start(path, out, "--cluster", "local:3")
    while len(whole_lines(out)) < 3 and process.poll() is None:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 3
    workers[0].kill()
    assert process.wait() == 0
    assert len(whole_lines(out)) == len(found)
    assert figures(out) == found
