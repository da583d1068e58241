"""A folder that is swept again with other data, keys or axes: its points are told apart, and none is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_sweep import data_in, small_sweep

from experiments.commands.cli import main
from experiments.commands.studies.reporting import report
from experiments.sweeps.sources import FILE, Source
from experiments.sweeps.store import read_rows

BITS = "hardware.adc.bits"


def sweep_of(folder: Path) -> Path:
    """A sweep of two points on data of the folder."""
    path = small_sweep(folder)
    text = path.read_text().replace("[16, 32]", "[16]").replace("values = [0.0, 0.3]", "values = [0.3]")
    path.write_text(text.replace("[set]", f'[set]\ndata = "{folder / "own.npz"}"'))
    return path


def change(path: Path, old: str, new: str) -> None:
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))


def sweep(path: Path, out: Path) -> None:
    main(["sweep", str(path), "--out", str(out)])


@pytest.fixture(scope="module")
def swept_twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The sweep's file; its folder, swept again with other data and epochs; the folder of the first sweep."""
    folder = tmp_path_factory.mktemp("sources")
    path = sweep_of(folder)
    data_in(folder, 1)
    sweep(path, folder / "out")
    shutil.copytree(folder / "out", folder / "first")
    data_in(folder, 2)
    change(path, "train.epochs = 3", "train.epochs = 2")
    sweep(path, folder / "out")
    return path, folder / "out", folder / "first"


def test_results_are_those_of_the_last_sweep(
    swept_twice: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, first = swept_twice
    assert len(read_rows([out / "points.jsonl"])) == 4
    capsys.readouterr()
    main(["results", str(out)])
    found = capsys.readouterr()
    assert "2 of 2 points" in found.out
    assert f"{out}: has 2 other points, not of the sweep that was run last: 2 with " in found.err
    assert "train.epochs = 3 (here 2)" in found.err
    assert "data_checksum = " in found.err
    main(["results", str(first)])
    assert capsys.readouterr().err == ""


def test_what_differs_between_sweeps_is_a_column(
    swept_twice: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, first = swept_twice
    tables = []
    for options in ([str(out), "--all"], [str(out), str(first)]):
        main(["results", *options])
        tables.append(capsys.readouterr().out)
    for table in tables:
        head, *rows = table.splitlines()
        assert head.split()[:3] == ["epochs", "data_checksum", "bits"]
        assert sorted(row.split()[0] for row in rows[:4]) == ["2", "2", "3", "3"]
        assert len({row.split()[1] for row in rows[:4]}) == 2
        assert "4 of 4 points" in table
    main(["results", str(out), "--all", "--where", "train.epochs == 3", "--export", str(tmp_path / "a.csv")])
    head, *rows = (tmp_path / "a.csv").read_text().splitlines()
    assert len(rows) == 2
    assert head.startswith("train.epochs,data_checksum,")


def test_a_merged_file_says_that_its_points_have_several_sources(
    swept_twice: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["results", str(swept_twice[1]), "--all", "--export", str(tmp_path / "all.jsonl")])
    capsys.readouterr()
    main(["results", str(tmp_path / "all.jsonl")])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "source"
    assert len({row.split()[0] for row in rows[:4]}) == 2


def test_the_report_is_of_the_last_sweep(swept_twice: tuple[Path, Path, Path], tmp_path: Path) -> None:
    path, out, first = swept_twice
    page = report([out], tmp_path / "a.html").read_text()
    assert "2 points of the study" in page
    assert "has 2 other points, not of the sweep that was run last" in page
    source = json.loads((out / FILE).read_text())
    (digest,) = source["sources"][source["last"]]["data"].values()
    assert f"own.npz (SHA-256 {digest})" in page
    change(path, "train.epochs = 2", "train.epochs = 9")  # does not change what was run
    page = report([out], tmp_path / "a.html").read_text()
    study = page.split("The study of the first point")[1].split("</details>")[0]
    change(path, "train.epochs = 9", "train.epochs = 2")
    assert "epochs = 2" in study
    assert "epochs = 9" not in study
    assert "batch = " in study  # a default
    assert "[axes.zip]" not in page
    page = report([out, first], tmp_path / "b.html").read_text()
    assert "4 points of the study" in page
    for key in ("train.epochs", "data_checksum"):
        assert f"<dt><code>{key}</code></dt>" in page


def test_a_shorter_axis_leaves_points_out_and_a_longer_one_takes_them_back(
    swept_twice: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = swept_twice[0]
    out, shorter = tmp_path / "out", path.with_name("shorter.toml")
    shutil.copytree(swept_twice[1], out)
    shorter.write_text(path.read_text().replace("[6, 8]", "[8]"))
    sweep(shorter, out)
    capsys.readouterr()
    main(["results", str(out)])
    found = capsys.readouterr()
    assert "1 of 1 points" in found.out
    assert "1 of other values of its axes, or of another version of xbar" in found.err
    assert "2 with " in found.err
    sweep(path, out)
    capsys.readouterr()
    main(["results", str(out)])
    assert "2 of 2 points" in capsys.readouterr().out


def test_a_store_of_an_earlier_version_is_shown_whole(
    swept_twice: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until it is swept again: then points that the sweep has not are told."""
    path = swept_twice[0]
    out = tmp_path / "out"
    shutil.copytree(swept_twice[1], out)
    rows = read_rows([out / "points.jsonl"]).values()
    (out / FILE).unlink()
    lines = [json.dumps({key: value for key, value in row.items() if key != "source"}) for row in rows]
    (out / "points.jsonl").write_text("\n".join(lines) + "\n")
    main(["results", str(out)])
    assert "4 of 4 points" in capsys.readouterr().out
    sweep(path, out)
    main(["results", str(out)])
    found = capsys.readouterr()
    assert "2 of 2 points" in found.out
    assert "2 of which it is not recorded what made them" in found.err


def test_a_damaged_file_is_one_line_and_written_anew(
    swept_twice: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = swept_twice[0], tmp_path / "out"
    shutil.copytree(swept_twice[1], out)
    for broken in ("{", '{"last": 3}', "[]", '{"lost": ""}'):
        (out / FILE).write_text(broken)
        with pytest.raises(SystemExit):
            main(["results", str(out)])
        assert capsys.readouterr().err.count("\n") == 1
    sweep(path, out)
    main(["results", str(out)])
    assert "2 of 2 points" in capsys.readouterr().out


def test_keys_of_axes_are_not_shared() -> None:
    study = {"a": {"b": 1, "bc": 2}, "cases": [{"x": 1}], "name": "n", "steps": [1, 2]}
    source = Source(study, ("a.b", "cases"), {"d": "0123456789"}, {"net.py": "abcdefghij"})
    shared = {"a.bc": 2, "steps": [1, 2], "data_checksum": "01234567", "file net.py": "abcdefgh"}
    assert source.shared() == shared
    assert Source(study, ("a.b",), {}, {}).shared()["cases.0.x"] == 1


NAMES = (("bits", BITS), ("mean", "accuracy.chips.mean"), ("ideal_chip", "accuracy.ideal_chip"))


@pytest.mark.parametrize(("head", "key"), NAMES)
def test_heads_of_the_table_are_names(
    swept_twice: tuple[Path, Path, Path], head: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(swept_twice[1])
    capsys.readouterr()
    shown = []
    for name in (head, key):
        main(["results", out, f"--sort=-{name}", "--where", f"{name} > -1", "--columns", name, "area_mm2"])
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "2 of 2 points" in shown[0]


def test_heads_have_units_and_the_spread_of_chips(
    swept_twice: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The interval of two chips is 12.706 / sqrt(2) times the deviation: 12.706 half their distance."""
    out = swept_twice[1]
    capsys.readouterr()
    main(
        ["results", str(out), "--columns", "mean", "ci95_half", "area_mm2", "energy_nj_per_image", "chips.n"]
    )
    head, *rows = capsys.readouterr().out.splitlines()
    assert "mean [%]  ci95_half [%]" in head
    assert head.split()[-1] == "chips.n"
    last = list(read_rows([out / "points.jsonl"]).values())[2:]
    for row, point in zip(rows[:2], last, strict=True):
        one, other = point["result"]["accuracy"]["chips"]["per_chip"]
        assert float(row.split()[2]) == pytest.approx(12.706 * abs(one - other) / 2, rel=1e-3)
    assert "half width of the 95 % interval" in rows[2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sort", "meen"], "did you mean accuracy.chips.mean"),
        (["--columns", "accuracy.chips.maen"], "did you mean accuracy.chips.mean"),
        (["--where", "aera_mm2 > 1"], "did you mean estimate.area_mm2"),
        (["--sort", "zzz"], "the table has bits, quantised, "),
    ],
)
def test_unknown_names_get_the_nearest_ones(
    swept_twice: tuple[Path, Path, Path], options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["results", str(swept_twice[1]), *options])
    message = capsys.readouterr().err.splitlines()[-1]
    assert words in message
    assert len(message) < 250


def test_the_report_has_the_spread_of_chips(swept_twice: tuple[Path, Path, Path], tmp_path: Path) -> None:
    page = report([swept_twice[1]], tmp_path / "a.html").read_text()
    assert "<th>mean [%]</th><th>ci95_half [%]</th>" in page
    assert "bars on the front are 95 % intervals" in page
