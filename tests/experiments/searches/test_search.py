"""The search: better than chance, the same however it is computed, and one line for every mistake."""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from small_sweep import QUICK

from experiments.commands.cli import main
from experiments.searches.objectives import FIGURES, Box, Objective, front_of
from experiments.searches.search import Points, load_search
from experiments.searches.trials import Figures, Trial, run_trials
from experiments.sweeps.axes import AxisValues, Options, Range
from experiments.sweeps.store import read_rows
from experiments.sweeps.sweep import sweep_names
from xbar.hardware.errors import XbarError

pytest.importorskip("optuna")

SPACE = {
    "size": Options((16, 32, 64, 128, 256)),
    "states, again": Options((2, 4, 8, 16)),
    "kind": Options(("a", "b")),
    "rate": Range(1, 20, scale="log"),
    "bits": Range(3, 9, whole=True),
}
GOALS = ("max", "min", "min")
OBJECTIVES = tuple(Objective(name, goal) for name, goal in zip("abc", GOALS, strict=True))


def figures(v: AxisValues) -> Figures:
    """Accuracy, energy and area that are at odds with each other, as those of crossbars are."""
    lost = max(0.0, np.log2(v["size"] * (v["again"] - 1) / v["rate"]) - 2 - v["bits"])
    accuracy = 99 - lost**2 - 8 * (v["states"] == 2) - 0.05 * v["rate"] ** 1.7 - (v["kind"] == "b")
    energy = np.log(1 + (1024 / v["size"] * (1 + 2 ** v["bits"] / 60) + 3) / v["rate"])
    area = np.log(1 + (2000 / v["size"] * (1 + 2 ** v["bits"] / 200) + v["size"] / 8) / v["rate"])
    return float(accuracy), float(energy), float(area)


def evaluate(asked: Sequence[AxisValues]) -> list[Figures]:
    return [figures(values) for values in asked]


def tried(trials: int, **how) -> list[Trial]:
    return run_trials(SPACE, GOALS, how.pop("evaluate", evaluate), trials, **how)


def test_a_search_beats_as_many_random_points() -> None:
    runs = {(s, n): tried(40, sampler=s, seed=n) for s in ("tpe", "random") for n in range(3)}
    box = Box.around(OBJECTIVES, [t.figures for run in runs.values() for t in run])
    volume = {key: box.volumes(OBJECTIVES, [t.figures for t in run])[-1] for key, run in runs.items()}
    assert min(volume["tpe", n] for n in range(3)) > max(volume["random", n] for n in range(3))


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_a_search_that_is_cut_goes_on_to_the_same_trials(sampler: str) -> None:
    """The points of a batch come in any order, each is computed once, and most of them before the cut."""
    whole = tried(30, sampler=sampler, seed=1)
    store: dict[str, Figures] = {}
    computed: list[str] = []

    def stored(asked: Sequence[AxisValues]) -> list[Figures]:
        left = [values for values in asked if str(values) not in store]
        for values in random.Random(len(store)).sample(left, len(left)):
            store[str(values)] = figures(values)
            computed.append(str(values))
        return [store[str(values)] for values in asked]

    cut = tried(18, sampler=sampler, seed=1, evaluate=stored)
    assert cut == whole[:18]
    assert tried(30, sampler=sampler, seed=1, evaluate=stored) == whole
    assert len(computed) == len(set(computed)) == 30


def test_keys_of_one_name_get_one_value_within_the_space() -> None:
    for trial in tried(20, sampler="random"):
        values = trial.values
        assert values["states"] == values["again"]
        assert values["size"] in SPACE["size"].values
        assert isinstance(values["bits"], int)
        assert 3 <= values["bits"] <= 9
        assert 1 <= values["rate"] <= 20


def test_every_point_of_a_small_space_is_tried_once_unless_it_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("experiments.searches.trials.MOST_REFUSED", 100)
    space = {"a": Options((1, 2, 3)), "b": Options(("x", "y"))}
    found = run_trials(
        space,
        ("min", "max"),
        lambda asked: [(float(v["a"]), float(v["a"])) for v in asked],
        trials=20,
        allowed=lambda v: v["a"] != 2 or v["b"] == "x",
    )
    assert sorted((t.values["a"], t.values["b"]) for t in found) == [
        *((1, "x"), (1, "y"), (2, "x"), (3, "x"), (3, "y"))
    ]


def test_a_failed_trial_counts_as_one_and_has_no_place_on_the_front() -> None:
    found = tried(12, evaluate=lambda asked: [None if v["kind"] == "b" else figures(v) for v in asked])
    shown = [trial.figures for trial in found]
    assert len(found) == 12
    assert None in shown
    assert all(shown[i] is not None for i in front_of(OBJECTIVES, shown))


def test_volumes_are_shares_of_the_box() -> None:
    objectives = (Objective("a", "max", worst=50.0), Objective("b", "min", "log"))
    points = [(90.0, 1000.0), None, (40.0, 1.0), (70.0, 10.0), (90.0, 1.0)]
    box = Box.around(objectives, points)
    assert box.volumes(objectives, points) == pytest.approx([0, 0, 0, 0.5 * 2 / 3, 1.0])


NETWORK = """
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""
FILE = """
name = "small"
study = "digits"
batch = 2
where = ["hardware.adc.bits < 8 or hardware.crossbar.rows == 32"]

[set]
network = "{network}:net"
train.epochs = 3
{quick}chips.cases = [{{ name = "write errors", programming = {{ kind = "lognormal", sigma = 0.1 }} }}]
test_images = 64

[space]
hardware.adc.bits = [6, 8]
"hardware.crossbar.rows, hardware.crossbar.cols, hardware.adc.columns" = [16, 32]
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("experiments.searches.trials.MOST_REFUSED", 100)
    (tmp_path / "net.py").write_text(NETWORK)
    path = tmp_path / "small.toml"
    path.write_text(FILE.format(network=tmp_path / "net.py", quick=QUICK))
    return path


def test_the_command_searches_and_goes_on(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = small.parent / "out"
    main(["search", str(small), "--trials", "1", "--out", str(out)])
    main(["search", str(small), "--trials", "3", "--random", "2", "--out", str(out)])
    lines = (out / "points.jsonl").read_text().splitlines()
    rows = read_rows([out / "points.jsonl"])
    assert len(lines) == len(rows) == 3
    flattened = {f"{a}.{b}" for row in rows.values() for a, table in row["result"].items() for b in table}
    chips = {f"accuracy.chips.{key}" for row in rows.values() for key in row["result"]["accuracy"]["chips"]}
    assert set(FIGURES) <= flattened | chips
    table = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert [row["run"] for row in table] == ["search"] * 3 + ["random"] * 2
    assert all(row["hardware.crossbar.rows"] == row["hardware.adc.columns"] for row in table)
    assert all(row["hardware.adc.bits"] == "6" or row["hardware.crossbar.rows"] == "32" for row in table)
    assert {file.suffix for file in (out / "figures").iterdir()} == {".svg", ".png", ".pdf"}
    shown = capsys.readouterr().out
    assert "random: 2 points" in shown
    assert "energy_nj_per_image" in shown


def test_a_figure_that_a_point_does_not_have_is_told(small: Path) -> None:
    """A chip of no energy has no TOPS/W: null in its result."""
    points = Points(load_search(str(small)), None, small.parent / "out")
    keys = [one.figure for one in points.search.objectives]
    row = {"id": "ab", "values": {}, "status": "done", **dict.fromkeys(keys, 2.0)}
    assert points.figures(row) == (2.0,) * len(keys)
    with pytest.raises(XbarError, match=rf"objectives: {keys[1]}: has none; choose another figure"):
        points.figures({**row, keys[1]: None})


def test_a_search_skips_points_that_the_study_refuses(small: Path) -> None:
    """A phase has no more bits than an input."""
    small.write_text(small.read_text() + "hardware.dac.bits = [2, 4]\nhardware.dac.phase_bits = [4, 1]\n")
    points = Points(load_search(str(small)), None, small.parent / "out")
    assert points.meets({"hardware.dac.bits": 4, "hardware.dac.phase_bits": 4})
    assert not points.meets({"hardware.dac.bits": 2, "hardware.dac.phase_bits": 4})
    main(["search", str(small), "--trials", "1", "--plan", "--out", str(small.parent / "out")])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[space]", "[other]", "other: unknown key; did you mean 'where'? allowed: batch, description,"),
        ("[6, 8]", "[]", "space: hardware.adc.bits: values: needs at least one"),
        ("[6, 8]", "6", "space: hardware.adc.bits = 6: must be a list, or a table with low and high"),
        ("[6, 8]", "{ low = 6, high = 5 }", "range 6 to 5: low must be below high"),
        ("[6, 8]", "[6, 99]", "adc.bits"),
        ("hardware.adc.bits = [6", "hardware.adc.bit = [6", "hardware.adc.bit: unknown key"),
        ("batch = 2", "batch = 0", "batch = 0: must lie between 1 and 1000"),
        ("hardware.adc.bits = [6", '"hardware.crossbar.rows" = [6', "hardware.crossbar.rows: occurs twice"),
        ("bits < 8 or", "bits < 4 and", "where: no point of the space meets the conditions"),
        ("batch = 2", 'objectives = [{ figure = "accuracy.float", goal = "max" }]', "needs at least two"),
        (
            "batch = 2",
            'objectives = [{figure="accuracy.chip", goal="max"}, {figure="estimate.arrays", goal="min"}]',
            "objectives: figure: unknown name 'accuracy.chip'; did you mean 'accuracy.chips.",
        ),
    ],
)
def test_mistakes_in_the_file_are_told_in_one_line(
    small: Path, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    small.write_text(small.read_text().replace(old, new, 1))
    with pytest.raises(SystemExit):
        main(["search", str(small), "--trials", "2", "--plan", "--out", str(small.parent / "out")])
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (small.parent / "out").exists()


def test_mistakes_in_the_command_are_told(small: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def told(*arguments: str) -> str:
        with pytest.raises(SystemExit):
            main(["search", *arguments])
        return capsys.readouterr().err

    assert "--trials 0: must be at least 1" in told(str(small), "--trials", "0")
    assert "--random -1: must be at least 0" in told(str(small), "--trials", "1", "--random", "-1")
    assert "did you mean 'digits-search'?" in told("digits-serch", "--trials", "1")
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "needs the extra `search`: pip install 'xbar-codesign[search]'" in told(
        str(small), "--trials", "1"
    )


def test_what_is_built_in_can_be_searched() -> None:
    for name in sweep_names("search"):
        search = load_search(name)
        assert search.description
        assert search.values_at(0.0).keys() == search.values_at(1.0).keys()


def test_a_logarithmic_objective_needs_positive_figures() -> None:
    with pytest.raises(XbarError, match=r"area = 0: must be above 0 with scale = 'log'"):
        Objective("area", "min", "log").cost(0.0)
