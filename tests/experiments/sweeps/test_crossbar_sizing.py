"""The kept sweep of crossbar sizes: it is that of today's code, and the page shows it."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from experiments.run_folder.ids import point_id
from experiments.sweeps.store import read_rows, store_files
from experiments.sweeps.sweep import load_sweep, points_of

ROOT = Path(__file__).resolve().parents[3]
MNIST = "b2d8f5bf39174ee5ffeefa97e42d673c35432b411bb5d1f74fbbeddae7f1690a"
"""Checksum of the four IDX files."""


@pytest.fixture
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "results" / "crossbar_sizing.py"))


def test_ids_of_the_kept_points_are_those_of_today(script: dict[str, Any]) -> None:
    """All 400 points of the built-in sweep are finished in the kept store."""
    rows = read_rows(store_files(script["STORE"]))
    points = list(points_of(load_sweep("crossbar-sizing")))
    assert len(points) >= 400
    assert [row["values"] for row in rows.values() if row["status"] != "done"] == []
    assert {point_id(point.study, MNIST, {}) for point in points} == set(rows)


def test_networks_are_shared(script: dict[str, Any]) -> None:
    """One training, a compression for each of five sizes, a quantisation for each size and cell."""
    rows = read_rows(store_files(script["STORE"])).values()
    shared = {
        stage: Counter(row["stages"][stage] for row in rows) for stage in ("train", "compress", "quantise")
    }
    assert {stage: len(of) for stage, of in shared.items()} == {"train": 1, "compress": 5, "quantise": 20}
    assert set(shared["quantise"].values()) == {20}


@pytest.mark.parametrize("name", ["front", "cheapest"])
def test_the_page_has_the_kept_tables(script: dict[str, Any], name: str) -> None:
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    table = page.split(f"<!-- rows of `python results/crossbar_sizing.py {name}` -->")[1]
    assert table.split("<!-- end of rows -->")[0].strip().splitlines()[2:] == script[name]()


def test_the_page_has_the_figures_of_the_store(script: dict[str, Any], tmp_path: Path) -> None:
    for path in script["draw"](tmp_path):
        assert path.read_text() == (ROOT / "docs" / "sweeps" / path.name).read_text()


def test_the_page_has_the_kept_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "results")
    kept = runpy.run_path(str(ROOT / "results" / "search.py"))["rows"]()
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    table = page.split("<!-- rows of `python results/search.py rows` -->")[1]
    assert table.split("<!-- end of rows -->")[0].strip().splitlines()[2:] == kept
