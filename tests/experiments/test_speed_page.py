"""docs/speed.md says what benchmarks/results.json holds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_on_speed_is_that_of_the_kept_records() -> None:
    spec = importlib.util.spec_from_file_location("bench_run", ROOT / "benchmarks" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    rows = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    assert rows
    assert (ROOT / "docs" / "speed.md").read_text(encoding="utf-8") == run.page(rows)
