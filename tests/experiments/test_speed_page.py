"""docs/speed.md says what benchmarks/results.json holds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_run", ROOT / "benchmarks" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_on_speed_is_that_of_the_kept_records(run: ModuleType) -> None:
    rows = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    assert rows
    assert (ROOT / "docs" / "speed.md").read_text(encoding="utf-8") == run.page(rows)


def test_rows_of_a_chosen_benchmark_replace_their_own_only(run: ModuleType) -> None:
    def row(name: str, threads: int, baseline: str, ratio: float) -> dict:
        return {"name": name, "threads": threads, "baseline": baseline, "ratio": ratio}

    kept = [row("a", 1, "torch", 1.0), row("a", 2, "torch", 2.0), row("b", 1, "torch", 3.0)]
    found = run.among(kept, [row("a", 2, "torch", 0.5), row("a", 2, "numpy", 0.7), row("c", 1, "torch", 0.1)])
    assert [one["ratio"] for one in found] == [1.0, 0.5, 3.0, 0.7, 0.1]
    assert run.among(kept, []) == kept
