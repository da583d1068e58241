"""A folder that is searched again with other data, code or keys: its points are told apart, as those of a
sweep are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_sweep import NETWORK, QUICK, data_in

from experiments.commands.cli import main
from experiments.commands.studies.reporting import report
from experiments.run_folder.makers import this_maker
from experiments.searches.search import Points, load_search
from experiments.sweeps.sources import FILE
from experiments.sweeps.store import read_rows
from experiments.sweeps.tasks import Outcome
from xbar.hardware.errors import XbarError

pytest.importorskip("optuna")

SEARCH = """
name = "small"
study = "digits"
batch = 2

[set]
data = "{folder}/own.npz"
network = "{folder}/net.py:Net"
train.epochs = 2
{quick}chips.cases = [{{ name = "write errors", programming = {{ kind = "lognormal", sigma = 0.3 }} }}]

[space]
hardware.adc.bits = [6, 8]
"""


def search_in(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(NETWORK)
    path = folder / "small.toml"
    path.write_text(SEARCH.format(folder=folder, quick=QUICK))
    data_in(folder, 1)
    return path


@pytest.fixture(autouse=True)
def _few_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.searches.trials.MOST_REFUSED", 50)


def search(path: Path, out: Path, trials: int = 2) -> None:
    main(["search", str(path), "--trials", str(trials), "--out", str(out)])


@pytest.fixture(scope="module")
def searched_twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The search's file; its folder, searched again with other data, code and epochs; the first search's."""
    folder = tmp_path_factory.mktemp("sources")
    path = search_in(folder)
    search(path, folder / "out")
    shutil.copytree(folder / "out", folder / "first")
    data_in(folder, 2)
    (folder / "net.py").write_text(NETWORK + "# edited\n")
    path.write_text(path.read_text().replace("train.epochs = 2", "train.epochs = 1"))
    search(path, folder / "out")
    return path, folder / "out", folder / "first"


def test_results_are_those_of_the_last_search(
    searched_twice: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, first = searched_twice
    assert len(read_rows([out / "points.jsonl"])) == 4
    capsys.readouterr()
    main(["results", str(out)])
    found = capsys.readouterr()
    assert "2 of 2 points" in found.out
    assert f"{out}: has 2 other points, not of the search that was run last: 2 with " in found.err
    assert "train.epochs = 2 (here 1)" in found.err
    assert "data_checksum = " in found.err
    assert "net.py = " in found.err
    main(["results", str(first)])
    assert capsys.readouterr().err == ""


def test_what_differs_between_searches_is_a_column(
    searched_twice: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, first = searched_twice
    capsys.readouterr()
    for options in ([str(out), "--all"], [str(out), str(first)]):
        main(["results", *options])
        head, *rows = capsys.readouterr().out.splitlines()
        assert head.split()[:2] == ["epochs", "data_checksum"]
        assert sorted(row.split()[0] for row in rows[:4]) == ["1", "1", "2", "2"]


def test_the_report_is_of_the_last_search(searched_twice: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, out, _ = searched_twice
    page = report([out], tmp_path / "a.html").read_text()
    assert "2 points of the study" in page
    assert "has 2 other points, not of the search that was run last" in page
    source = json.loads((out / FILE).read_text())
    (digest,) = source["sources"][source["last"]]["data"].values()
    assert f"own.npz (SHA-256 {digest})" in page


def test_points_that_a_shorter_search_did_not_ask_for_are_told(
    searched_twice: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = searched_twice[0], tmp_path / "out"
    shutil.copytree(searched_twice[1], out)
    search(path, out, trials=1)
    capsys.readouterr()
    main(["results", str(out)])
    found = capsys.readouterr()
    assert "1 of 1 points" in found.out
    assert "1 that it did not ask for, or of another version of xbar" in found.err
    search(path, out)
    capsys.readouterr()
    main(["results", str(out)])
    assert "2 of 2 points" in capsys.readouterr().out


def test_files_of_every_value_are_those_of_the_source(tmp_path: Path) -> None:
    """The source of a search has a network file, too, that is one of the values of its space."""
    path = search_in(tmp_path)
    (tmp_path / "other.py").write_text(NETWORK)
    with path.open("a") as file:
        file.write(f'network = ["{tmp_path}/net.py:Net", "{tmp_path}/other.py:Net"]\n')
    path.write_text(path.read_text().replace(f'network = "{tmp_path}/net.py:Net"\n', ""))
    points = Points(load_search(str(path)), None, tmp_path / "out")
    source = points.source(points.check_values([points.search.values_at(0.0)]))
    assert set(source.files) == {f"{tmp_path}/net.py", f"{tmp_path}/other.py"}
    assert source.axes == ("hardware.adc.bits", "network")


def test_data_that_change_while_a_search_runs(tmp_path: Path) -> None:
    """The front would have mixed the figures of two data sets."""
    points = Points(load_search(str(search_in(tmp_path))), None, tmp_path / "out")
    source = points.source(points.check_values([points.search.values_at(0.0)]))

    def pool(tasks):
        return iter([(number, Outcome({}, {}, "not now", 0.0, this_maker())) for number in range(len(tasks))])

    evaluate = points.evaluate_on(source, pool, lambda what, failure: None)
    assert evaluate([{"hardware.adc.bits": 6}]) == [None]
    data_in(tmp_path, 2)
    with pytest.raises(XbarError, match=r"own\.npz: changed while the search ran"):
        evaluate([{"hardware.adc.bits": 8}])
