"""Whatever is refused of a point of a sweep or search, or fails in it, is told with what the point sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from made_up_sweep import made_up
from small_sweep import small_sweep

from experiments.commands.cli import main
from experiments.commands.studies.reporting import report
from experiments.run_folder.makers import Maker
from experiments.searches.search import Points, load_search
from experiments.sweeps.running import run_points
from experiments.sweeps.sweep import SweepPoint, load_sweep, points_of
from experiments.sweeps.tasks import Outcome, Task
from xbar.hardware.errors import XbarError

SIZE = "hardware.crossbar.rows = 16, hardware.crossbar.cols = 16, hardware.adc.columns = 16"
BITS_AXIS = 'key = "hardware.adc.bits"\nvalues = [6, 8]'


def said(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The line of a sweep that is refused."""
    with pytest.raises(SystemExit):
        main(["sweep", str(path), "--out", str(path.parent / "out"), *options])
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "values", "words"),
    [
        ("compress.layers.0.layer", '["fc", "conv9"]', "unknown name 'conv9'"),
        ("train.weights", '["", "none.safetensors"]', "none.safetensors: cannot be read"),
        ("chips.cases.0.time", "[9.0, 0.0]", "time = 9 s: has no effect"),
        ("hardware.adc.bits", "[6, 99]", "adc.bits = 99: must lie between"),
        ("data", '["digits", "none.npz"]', "none.npz"),
    ],
)
def test_a_plan_names_the_point_that_it_refuses(
    tmp_path: Path, key: str, values: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_sweep(tmp_path)
    path.write_text(path.read_text().replace(BITS_AXIS, f'key = "{key}"\nvalues = {values}'))
    told = said(path, capsys, "--plan")
    value = next(v for v in ("conv9", "none.safetensors", "9.0", "99", "none.npz") if v in values)
    assert f"{key} = {value}" in told
    assert words in told
    assert told.count("\n") == 1
    if key != "data":
        assert SIZE in told


def test_a_condition_that_cannot_be_computed_names_the_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_sweep(tmp_path)
    path.write_text(path.read_text().replace("[set]", "where = ['1 / (hardware.adc.bits - 8) < 0']\n[set]"))
    told = said(path, capsys, "--plan")
    assert "hardware.adc.bits = 8, chips.cases.0.programming.sigma = 0.0: where: " in told


def test_a_failure_names_what_its_points_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small_sweep(tmp_path)
    (tmp_path / "broken").touch()
    told = said(path, capsys, "--fail-fast")
    assert f"train of 8 points, the first {SIZE}, hardware.adc.bits = 6, " in told
    assert "failed: ValueError: broken on purpose" in told


def test_each_point_that_fails_is_named(tmp_path: Path) -> None:
    points = dict(enumerate_ids(small_sweep(tmp_path)))
    told: list[tuple[str, str]] = []

    def pool(tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        for number, task in enumerate(tasks):
            reason = "gone" if task.kind == "point" else ""
            yield number, Outcome({}, {}, reason, 0.1, Maker("here", "0", {}))

    run_points(points, None, tmp_path / "out", pool, done=lambda *one: told.append(one))
    assert [failure for kind, failure in told if kind != "point"] == [""] * (1 + 2 + 2)
    failures = [failure for kind, failure in told if kind == "point"]
    assert failures[0] == (
        f"point {SIZE}, hardware.adc.bits = 6, chips.cases.0.programming.sigma = 0.0 failed: gone"
    )
    assert len(set(failures)) == 8


def test_points_that_share_a_stage_are_named_by_what_they_share(tmp_path: Path) -> None:
    points = dict(enumerate_ids(small_sweep(tmp_path)))
    told: list[tuple[str, str]] = []

    def pool(tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
        for number, task in enumerate(tasks):
            reason = "gone" if task.kind == "compress" else ""
            yield number, Outcome({}, {}, reason, 0.1, Maker("here", "0", {}))

    run_points(points, None, tmp_path / "out", pool, done=lambda *one: told.append(one))
    first, other = (failure for kind, failure in told if kind == "compress")
    assert first == f"compress of 4 points, {SIZE}, failed: gone"
    assert other == first.replace("16", "32")


def enumerate_ids(path: Path) -> Iterator[tuple[str, SweepPoint]]:
    return ((f"{number}", point) for number, point in enumerate(points_of(load_sweep(str(path)))))


def test_results_name_all_that_failed_points_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two points failed, of one and the same number of bits: the column was left out."""
    out = made_up(tmp_path)
    lines = (out / "points.jsonl").read_text().splitlines()[:-1]
    failed = [
        line.replace('"status": "done"', '"status": "failed", "reason": "gone"')
        if '"hardware.adc.bits": 8' in line and '"hardware.crossbar.rows": 16' in line
        else line
        for line in lines
    ]
    (out / "points.jsonl").write_text("\n".join(failed) + "\n")
    main(["results", str(out), "--failed"])
    head, *rows, counts = capsys.readouterr().out.splitlines()
    assert head.split() == ["rows", "cols", "columns", "bits", "sigma", "reason"]
    assert [row.split() for row in rows] == [["16", "16", "16", "8", sigma, "gone"] for sigma in ("0", "0.3")]
    assert counts == "2 of 8 points"
    main(["results", str(out)])
    assert capsys.readouterr().out.splitlines()[-1] == "6 of 8 points; 2 failed, --failed says why"
    page = report([out], tmp_path / "a.html").read_text()
    assert f"<code>{SIZE}, hardware.adc.bits = 8, chips.cases.0.programming.sigma = 0.3</code>: gone" in page


def test_results_of_failures_alone_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = made_up(tmp_path)
    last = (out / "points.jsonl").read_text().splitlines()[-1]
    (out / "points.jsonl").write_text(f"{last}\n")
    main(["results", str(out)])
    told = capsys.readouterr().out
    assert told == "0 of 1 points; no finished one fits; 1 failed, --failed says why\n"


def search_beside(folder: Path, more: str = "") -> Path:
    small_sweep(folder)
    text = (folder / "small.toml").read_text()
    path = folder / "search.toml"
    path.write_text(text[: text.index("[[axes]]")].replace("[set]", f"{more}\n[set]"))
    with path.open("a") as file:
        file.write('[space]\n"hardware.adc.bits" = [6, 8]\n"compress.layers.0.layer" = ["conv9", "fc"]\n')
    return path


def test_a_search_names_the_point_that_it_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    path = search_beside(tmp_path)
    with pytest.raises(SystemExit):
        main(["search", str(path), "--trials", "2", "--plan", "--out", str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert "hardware.adc.bits = 6, compress.layers.0.layer = conv9: " in told
    assert "unknown name 'conv9'" in told


def test_a_search_names_the_point_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    path = search_beside(tmp_path)
    path.write_text(path.read_text().replace('"conv9", "fc"', '"fc"'))
    (tmp_path / "broken").touch()
    with pytest.raises(SystemExit):
        main(["search", str(path), "--trials", "1", "--out", str(tmp_path / "out")])
    told = capsys.readouterr().out
    assert "train of 1 point, hardware.adc.bits = " in told
    assert ", compress.layers.0.layer = fc failed: ValueError: broken on purpose" in told


def test_a_search_names_the_point_without_a_figure(tmp_path: Path) -> None:
    points = Points(load_search(str(search_beside(tmp_path))), None, tmp_path / "out")
    keys = [one.figure for one in points.search.objectives]
    row = {"id": "ab", "values": {"hardware.adc.bits": 6}, "status": "done", **dict.fromkeys(keys, 2.0)}
    for broken, words in ((None, "has none; choose another figure"), (0.0, "must be above 0")):
        with pytest.raises(XbarError, match=r"hardware\.adc\.bits = 6: objectives: ") as caught:
            points.figures({**row, keys[1]: broken})
        assert words in str(caught.value)
