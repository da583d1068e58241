"""`xbar report`: pages from what folders hold, a comparison that says what differs, and one-line refusals."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st
from result_case import complete_result, finished_folder

from experiments.commands.cli import main
from experiments.report.comparison import differences
from experiments.report.page import leaves
from experiments.report.run_page import write_report
from experiments.run_folder.finished import read_measured
from xbar.hardware.errors import XbarError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished_folder(tmp_path / "runs" / "first", complete_result())


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["report", *arguments])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    return message


def other_result() -> dict:
    """A run of another rate and seed, twice as large, less accurate."""
    result = copy.deepcopy(complete_result())
    result["seed"] = result["study"]["seed"] = 3
    result["study"]["compress"]["rate"] = 8.0
    result["compression"]["rate"] = 8.25
    for key in ("area_mm2", "energy_nj_per_image"):
        result["estimate"]["after"][key] *= 2
    return result


def test_a_run_without_its_mapping_has_every_other_figure(run: Path, capsys) -> None:
    main(["report", str(run)])
    assert capsys.readouterr().out == f"report: {run / 'report.html'}\n"
    drawn = {path.stem for path in (run / "figures").iterdir()}
    curves = {"noise-time", "noise-mismatch", "by-layer"}
    assert drawn == {"accuracy", "area", "energy", "residuals", *curves}
    assert {path.suffix for path in (run / "figures").iterdir()} == {".svg", ".png", ".pdf"}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure ") == len(drawn)


def test_a_page_elsewhere_leaves_the_run_alone(run: Path, tmp_path: Path) -> None:
    before = sorted(run.rglob("*"))
    main(["report", str(run), "--out", str(tmp_path / "pages" / "one.html")])
    assert sorted(run.rglob("*")) == before
    assert (tmp_path / "pages" / "one.html").is_file()
    assert (tmp_path / "pages" / "one-figures" / "accuracy.pdf").is_file()


def test_several_runs_are_compared(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = finished_folder(tmp_path / "runs" / "second", other_result())
    monkeypatch.chdir(tmp_path)
    main(["report", str(run), str(second)])
    page = " ".join((tmp_path / "comparison.html").read_text(encoding="utf-8").split())
    assert "<td>first</td><td>61.3 ×</td><td>68</td><td>0.416</td><td>61.7</td>" in page
    assert "<td>second</td><td>8.25 ×</td><td>68</td><td>0.833</td><td>123</td>" in page
    assert "<td>second</td><td>3</td><td>99.21 %</td>" in page
    assert "<td>98.61 %</td><td>98.54 to 98.68 %</td>" in page
    assert '<td>compress.rate</td><td class="text">60</td><td class="text">8</td>' in page
    assert '<td>seed</td><td class="text">17</td><td class="text">3</td>' in page
    assert "<td>compress.admm.epochs</td>" not in page
    assert page.count("<figure ") == 1
    assert page.count("An Ultra-Efficient Memristor-Based DNN Framework") == 1
    assert (tmp_path / "comparison-figures" / "comparison.pdf").is_file()
    main(["report", str(run), str(second)])


def test_runs_of_one_name_are_called_by_their_paths(run: Path, tmp_path: Path) -> None:
    same = finished_folder(tmp_path / "more" / "first", complete_result())
    main(["report", str(run), str(same), "--out", str(tmp_path / "c.html")])
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert f"<td>{run}</td>" in page
    assert "The studies are the same, key by key." in page


def test_what_must_not_be_replaced_is_kept(run: Path, tmp_path: Path, capsys) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html>my own page</html>")
    assert "is no report of xbar" in refusal(capsys, str(run), "--out", str(page))
    assert page.read_text() == "<html>my own page</html>"
    assert "must end in .html" in refusal(capsys, str(run), "--out", str(tmp_path / "page.pdf"))
    (tmp_path / "folder.html").mkdir()
    assert "is a folder" in refusal(capsys, str(run), "--out", str(tmp_path / "folder.html"))


def test_folders_that_are_no_run(run: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "study.toml").write_text("")
    (tmp_path / "file").write_text("")
    assert "needs the folder of a finished run" in refusal(capsys)
    assert "none: no such folder" in refusal(capsys, str(tmp_path / "none"))
    assert "file: is a file; must be the folder of" in refusal(capsys, str(tmp_path / "file"))
    assert "empty: holds no run of xbar" in refusal(capsys, str(tmp_path / "empty"))
    assert "cut: has no result.json; `xbar run " in refusal(capsys, str(tmp_path / "cut"))
    assert "holds no run" in refusal(capsys, str(run), str(tmp_path / "empty"))
    assert "is given twice" in refusal(capsys, str(run), str(run.parent / ".." / "runs" / "first"))
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("result.json", '{"accuracy": ', "result.json: not a JSON file"),
        ("result.json", "[]", "result.json: must be a table of results"),
        ("result.json", "{}", "result.json: accuracy, compression, "),
        ("result.json", b"\xff\xfe", "result.json: not a JSON file"),
        ("log.json", "{", "log.json: not a JSON file"),
        ("log.json", "{}", "log.json: must be a list of tables"),
        (
            "log.json",
            '[{"stage": "prune", "epoch": 0, "primal": 1}]',
            "log.json: row 0: layer, dual: missing",
        ),
    ],
)
def test_broken_files(run: Path, file: str, content: str | bytes, words: str, capsys) -> None:
    (run / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert words in refusal(capsys, str(run))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("accuracy", "float"), "high", "accuracy.float = 'high'"),
        (("accuracy", "chips_cases"), [], "accuracy.chips_cases = []"),
        (("estimate", "after", "by_component", "adc", "area_mm2"), "x", "area_mm2 = 'x'"),
        (("study", "compress", "rate"), 0.5, "compress.rate = 0.5"),
        (("hardware", "crossbar", "rows"), 0, "crossbar.rows = 0"),
    ],
)
def test_a_wrong_value_is_named(run: Path, path: tuple, value: Any, words: str, capsys) -> None:
    result = complete_result()
    put(result, path, value)
    (run / "result.json").write_text(json.dumps(result))
    message = refusal(capsys, str(run))
    assert words in message
    assert str(run / "result.json") in message


def put(node: Any, path: tuple, value: Any) -> None:
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value


def paths(node: Any, path: tuple = ()) -> list[tuple]:
    """Paths of all keys and places of nested data."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, part in items for found in [(*path, key), *paths(part, (*path, key))]]


PATHS = paths(complete_result())


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PATHS), st.sampled_from(["absent", "text", 7, -1.5, None, [], {}]))
@example(("mapping", "digital", 0, "unit"), "text")
def test_any_other_shape_is_shown_or_refused_in_one_line(tmp_path_factory, path: tuple, value: Any) -> None:
    result = copy.deepcopy(complete_result())
    put(result, path, value)
    if value == "absent":
        node = result
        for part in path[:-1]:
            node = node[part]
        del node[path[-1]]
    folder = finished_folder(tmp_path_factory.mktemp("runs") / "run", result)
    message = ""
    try:
        write_report(read_measured(folder).result, {}, folder / "report.html")
    except XbarError as error:
        message = str(error)
    assert len(message.splitlines()) == (0 if (folder / "report.html").exists() else 1)


values = st.none() | st.integers(0, 3) | st.sampled_from(["a", "b"]) | st.lists(st.integers(0, 2), max_size=2)
tables = st.recursive(values, lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3))


@given(st.lists(st.dictionaries(st.sampled_from("pqr"), tables, max_size=3), min_size=1, max_size=3))
def test_differences_are_the_keys_that_differ(studies: list[dict]) -> None:
    flat = {str(place): dict(leaves(study)) for place, study in enumerate(studies)}
    found = dict(differences(flat))
    for key in {key for table in flat.values() for key in table}:
        same = all(table.get(key) == flat["0"].get(key) for table in flat.values())
        assert (key in found) != same
    assert all(len(words) == len(studies) for words in found.values())
