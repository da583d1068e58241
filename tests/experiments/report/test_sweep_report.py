"""The page and the figures of a sweep."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from made_up_sweep import BITS, COLS, ROWS, made_up

from experiments.commands.cli import main
from experiments.commands.studies.reporting import report
from experiments.figures.sweep_figures import ACCURACY, ENERGY, fixed_at, front_of
from experiments.report import explorer
from experiments.report.explorer import designs
from experiments.sweeps.table import differing, flat_row, one_an_axis, titles
from xbar import XbarError


def test_the_page_of_a_sweep(tmp_path: Path) -> None:
    out = made_up(tmp_path)
    page = report([out]).read_text()
    assert page.count("<figure") == 2
    assert page.count("<script") == 3
    assert "https://" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "8 points of the study" in page
    assert "1 more failed" in page
    assert "a &lt;reason&gt;" in page
    assert "arXiv:1908.11691" in page
    assert "doi:10.1109/ISCA.2016.12" in page
    for name in ("front", "heat"):
        for suffix in ("svg", "png", "pdf"):
            assert (out / "figures" / f"{name}.{suffix}").stat().st_size > 1000
    assert report([out]).read_text() == page


def test_another_file_is_not_replaced(tmp_path: Path) -> None:
    out = made_up(tmp_path)
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(XbarError, match="is no report of xbar"):
        report([out], tmp_path / "mine.html")
    assert report([out], tmp_path / "new.html").exists()
    (out / "points.jsonl").write_text("")
    with pytest.raises(XbarError, match="has no finished point"):
        report([out])
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path / "nowhere")])


def test_the_front_and_the_keys_of_figures() -> None:
    """Rows and columns change together: one axis. The front falls out of eight points by hand."""
    tables = [
        {ROWS: rows, COLS: rows, BITS: bits, "id": f"{rows}-{bits}", ACCURACY: accuracy, ENERGY: energy}
        for rows, bits, accuracy, energy in (
            (16, 4, 80.0, 1.0),
            (16, 6, 90.0, 2.0),
            (32, 4, 79.0, 1.5),
            (32, 6, 95.0, 2.5),
            (16, 8, 90.0, 3.0),
        )
    ]
    keys = differing(tables)
    assert keys == [ROWS, COLS, BITS]
    assert one_an_axis(tables, keys) == [ROWS, BITS]
    assert titles([ROWS, BITS, "a.bits"]) == ["rows", "adc.bits", "a.bits"]
    assert [point["id"] for point in front_of(tables)] == ["16-4", "16-6", "32-6"]
    assert fixed_at(tables, [ROWS, BITS, COLS, "x"]) == {COLS: 32}
    assert math.isclose(flat_row({"id": "1", "values": {}, "result": {"a": {"b": 0.5}}})["a.b"], 0.5)


def flat(number: int, accuracy: float, energy: float, **more: object) -> dict[str, object]:
    cost = {ENERGY: energy, "estimate.area_mm2": 0.5, "estimate.latency_us_per_image": None}
    return {BITS: number, ACCURACY: accuracy, **cost, **more}


def test_designs_have_the_figures_that_all_points_have() -> None:
    found = designs([flat(4, 90.0, 2.0), flat(6, 95.0, 3.0)], [BITS])
    assert found["axes"] == [
        {"title": "bits"},
        {"title": "mean accuracy over chips [%]", "better": "max"},
        {"title": "energy an image [nJ]", "better": "min"},
        {"title": "area [mm²]", "better": "min"},
    ]
    assert found["points"] == [[4, 90.0, 2.0, 0.5], [6, 95.0, 3.0, 0.5]]


def test_designs_have_the_name_and_direction_of_the_metric() -> None:
    label = {
        f"accuracy.metric.{key}": value
        for key, value in {
            "name": "perplexity", "unit": "", "higher_is_better": False, "low": 1.0, "high": None
        }.items()
    }  # fmt: skip
    found = designs([flat(4, 90.0, 2.0, **label)], [BITS])
    assert found["axes"][1] == {"title": "mean perplexity over chips", "better": "min"}


def test_a_metric_that_is_infinite_has_no_place_on_an_axis() -> None:
    """A perplexity can be; JSON has no word for it."""
    found = designs([flat(4, math.inf, 2.0), flat(6, 95.0, 3.0)], [BITS])
    assert found["points"] == [[6, 95.0, 3.0, 0.5]]
    assert designs([flat(4, math.nan, 2.0)], [BITS])["points"] == []


def test_of_very_many_points_those_that_no_other_beats_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of 1000 are beaten by none."""
    monkeypatch.setattr(explorer, "MOST_LINES", 50)
    tables = [flat(i, 50.0, 100.0 + i) for i in range(1000)]
    for place, accuracy, energy in ((17, 99.0, 90.0), (518, 70.0, 20.0), (901, 60.0, 10.0)):
        tables[place] = flat(place, accuracy, energy)
    points = designs(tables, [BITS])["points"]
    assert len(points) == 50
    assert {17, 518, 901} <= {point[0] for point in points}
