"""Kinds of rules and methods as axes of a sweep, and conditions that name what a point does not use."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.studies.study import load_study, study_dict
from experiments.sweeps.axes import flat
from experiments.sweeps.sweep import SweepPoint, load_sweep, points_of
from xbar import XbarError

SWEEP = """
name = "kinds"
study = "digits"
where = [{where}]

[set]
compress.rate = 1.0
compress.bytes = 900.0
compress.target = "rate"
compress.method = "admm"
compress.gsm = {{ epochs = 3, weight_decay = 1e-3, momentum = 0.9 }}
compress.layers = [{row}]
hardware.encoding.scale = "layer"

[[axes]]
{axis}
"""
ROW = """{ layer = "fc1", kind = "kernels", kernels.share = 1.0, shapes.share = 1.0, segments.most = 2, \
segments.rows = 8, one-sign.rows = 8, window.low = 0.4, centroids.count = 4 }"""
KINDS = ["kernels", "shapes", "segments", "one-sign", "window", "centroids"]
KIND_AXIS = f'key = "compress.layers.0.kind"\nvalues = {KINDS}'


def points(folder: Path, axis: str = KIND_AXIS, row: str = ROW, where: str = "") -> list[SweepPoint]:
    file = folder / "kinds.toml"
    file.write_text(SWEEP.format(axis=axis, row=row, where=where))
    return list(points_of(load_sweep(str(file))))


def test_every_kind_of_rule_in_one_axis(tmp_path: Path) -> None:
    """Each kind reads the keys of its own table."""
    rows = [study_dict(point.study)["compress"]["layers"][0] for point in points(tmp_path)]
    assert rows == [
        {"layer": "fc1", "kind": "kernels", "share": 1.0},
        {"layer": "fc1", "kind": "shapes", "share": 1.0},
        {"layer": "fc1", "kind": "segments", "most": 2, "rows": 8},
        {"layer": "fc1", "kind": "one-sign", "rows": 8},
        {"layer": "fc1", "kind": "window", "low": 0.4, "high": 1.0, "per": "column"},
        {"layer": "fc1", "kind": "centroids", "count": 4},
    ]


def test_a_key_of_one_kind_as_an_axis(tmp_path: Path) -> None:
    rule = "compress.layers.0"
    axis = f"[axes.zip]\n{rule}.kind = ['segments', 'window']\n{rule}.segments.most = [1, 3]"
    kinds = [point.study.compress.layers[0].plain() for point in points(tmp_path, axis)]
    assert [row.get("most") for row in kinds] == [1, None]


def test_lists_of_rules_as_an_axis(tmp_path: Path) -> None:
    axis = """key = "compress.layers"
values = [[{ layer = "fc1", kind = "one-sign" }], [{ layer = "fc1", kind = "window", low = 0.2 }]]"""
    assert [point.study.compress.layers[0].plain()["kind"] for point in points(tmp_path, axis)] == [
        "one-sign",
        "window",
    ]


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("compress.method == 'gsm'", ["gsm"]),
        ("compress.target == 'rate' and compress.bytes == 900", ["admm", "gsm"]),
        ("compress.gsm.momentum > 0.5", ["admm", "gsm"]),
        ("compress.gsm.lr == 1e-3", ["admm", "gsm"]),  # its default, in a table that one point does not use
        ("compress.admm.epochs < 40 or compress.method != 'admm'", ["gsm"]),
        # what it leaves out need not be a possible study
        ("compress.method != 'budget'", ["admm", "gsm"]),
    ],
)
def test_conditions_read_what_a_point_does_not_use(where: str, left: list[str], tmp_path: Path) -> None:
    methods = "['admm', 'gsm', 'budget']" if "budget" in where else "['admm', 'gsm']"
    axis = f'key = "compress.method"\nvalues = {methods}'
    row = '{ layer = "fc1", share = 1.0 }'
    found = points(tmp_path, axis, row, f'"{where}"')
    assert [point.values["compress.method"] for point in found] == left


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            "{layer='fc1', segments={most=2}, tiles={share=1.0}}",
            "segments, tiles: are tables of several kinds; kind must say",
        ),
        ("{layer='fc1', kind='window', segments={most=2}}", "kind = 'window': its table is missing"),
        ("{layer='fc1', share=1.0, segments={most=2}}", "share: has no effect beside the table 'segments'"),
        ("{layer='fc1', kind='segments', segments={most=2}, window={lo=1}}", "window.lo: unknown key"),
    ],
)
def test_tables_of_kinds_that_are_not_clear_are_refused(row: str, words: str) -> None:
    with pytest.raises(XbarError) as caught:
        load_study("digits", [f"compress.layers=[{row}]"])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_table_is_a_table() -> None:
    """``compress.one-shot = {}`` in ``[set]`` of a sweep had no effect."""
    assert flat({"compress": {"one-shot": {}, "rate": 2.0}}) == {
        "compress.one-shot": {},
        "compress.rate": 2.0,
    }
