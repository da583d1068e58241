"""The README quotes the kept runs, and nothing else."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from experiments.study import resolve_study

ROOT = Path(__file__).resolve().parents[2]
KEPT = sorted((ROOT / "results").glob("*.json"))


def test_the_readme_s_table_is_that_of_the_kept_runs() -> None:
    rows = runpy.run_path(str(ROOT / "results" / "table.py"))["rows"]()
    assert len(rows) >= 20
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("<!-- rows of `python results/table.py` -->")[1].split("<!-- end of rows -->")[0]
    assert table.strip().splitlines()[2:] == rows


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_runs_are_of_studies_that_still_resolve(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    study = resolve_study(result["study"], path.name)
    assert f"seed{study.seed}" in path.stem
    assert result["compression"]["rate"] >= study.compress.rate
    assert result["accuracy"]["chips"]["n"] == study.chips.n
    assert path.stat().st_size < 1 << 20
