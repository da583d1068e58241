"""The page and the figures of a sweep."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import tomli_w
from small_sweep import small_sweep

from experiments.commands.cli import main
from experiments.commands.studies.report import report
from experiments.figures.sweep_figures import ACCURACY, ENERGY, fixed_at, front_of
from experiments.sweeps.sweep import load_sweep, points_of, sweep_dict
from experiments.sweeps.table import differing, flat_row, one_an_axis, titles
from xbar import XbarError

ROWS, COLS, BITS = "hardware.crossbar.rows", "hardware.crossbar.cols", "hardware.adc.bits"


def made_up(folder: Path) -> Path:
    """The store of a sweep that was not run: accuracy rises with the bits and falls with the error."""
    sweep = load_sweep(str(small_sweep(folder)))
    out = folder / "out"
    out.mkdir()
    (out / "sweep.toml").write_text(tomli_w.dumps(sweep_dict(sweep)))
    lines = []
    for number, point in enumerate(points_of(sweep)):
        bits, sigma = point.values[BITS], point.values["chips.cases.0.programming.sigma"]
        mean = 80.0 + bits - 10 * sigma
        result = {
            "accuracy": {
                "quantised": 90.0,
                "ideal_chip": 89.0,
                "chips": {"mean": mean, "n": 2, "per_chip": [mean, mean]},
                "test_images": 359,
            },
            "estimate": {
                "energy_nj_per_image": 2.0**bits + point.values[ROWS],
                "area_mm2": 0.1,
                "latency_us_per_image": 60.0,
            },
        }
        about = {"stages": {}, "sweep": "small", "study": "digits", "seconds": 1.5, "host": "here"}
        about |= {"at": "2026-01-01T00:00:00+00:00", "versions": {"numpy": "2"}}
        row = {"id": f"{number}", "values": point.values, "status": "done", "result": result, **about}
        lines.append(json.dumps(row))
    failed = {"id": "x", "values": {BITS: 6}, "status": "failed", "reason": "a <reason>", **about}
    (out / "points.jsonl").write_text("\n".join([*lines, json.dumps(failed)]) + "\n")
    return out


def test_the_page_of_a_sweep(tmp_path: Path) -> None:
    out = made_up(tmp_path)
    page = report([out]).read_text()
    assert page.count("<figure") == 2
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
