"""A run that is killed at random moments goes on to the result of an unbroken one (law 6)."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_study import SMALL, comparable

pytestmark = pytest.mark.slow

XBAR = [sys.executable, "-c", "from experiments.commands.cli import main; main()"]
KILLS = 20


def start(out: Path, *options: str) -> subprocess.Popen:
    changes = [word for change in SMALL for word in ("--set", change)]
    return subprocess.Popen(
        [*XBAR, "run", "digits", "--out", str(out), *changes, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(out: Path) -> dict:
    return comparable(json.loads((out / "result.json").read_text()))


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    """A finished run starts anew in another folder, so that kills hit every part of it."""
    begin = time.perf_counter()
    whole = start(tmp_path / "whole")
    assert (whole.communicate()[1], whole.returncode) == ("", 0)
    seconds = time.perf_counter() - begin
    moments, hit, number = random.Random(0), 0, 0
    for _ in range(KILLS):
        out = tmp_path / str(number)
        process = start(out, *(["--resume"] if (out / "study.toml").exists() else []))
        try:
            _, told = process.communicate(timeout=moments.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            hit += 1
        else:
            assert (process.returncode, told) == (0, "")
            assert result(out) == result(tmp_path / "whole")
            number += 1
    assert hit >= KILLS / 2
    out = tmp_path / str(number)
    process = start(out, *(["--resume"] if (out / "study.toml").exists() else []))
    assert (process.communicate()[1], process.returncode) == ("", 0)
    assert result(out) == result(tmp_path / "whole")
    left = [path.name for path in (out / "stages").iterdir() if path.suffix != ".safetensors"]
    assert left == []
