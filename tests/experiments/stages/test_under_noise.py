"""A study with curves: the same chips as in the cases, a result that a killed run reaches, and its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_study import SMALL, comparable, result_of_run

from experiments.report.run_report import report_run
from experiments.stages import chips as stage
from experiments.studies.study import Study, load_study
from mapping.monte_carlo.one_chip import chip_accuracy
from xbar import XbarError

CURVES = """[
    {name="errors", axis="mismatch", values=[0.0, 0.2]},
    {name="stuck", axis="stuck", values=[0.05]},
    {name="bits", axis="adc-bits", values=[4, 9], programming={kind="lognormal", sigma=0.2}},
    {name="old", axis="time", values=[20, 315360000], device="pcm-90nm"},
    {name="old, compensated", axis="time", values=[20, 315360000], device="pcm-90nm", compensation="column"},
]""".replace("\n", "").replace(",]", "]")
CHANGES = [
    *SMALL,
    "chips.n=5",
    "chips.until=3",
    "chips.least=3",
    "chips.cases=[{name='20 %', programming={kind='lognormal', sigma=0.2}, by_layer=true}]",
    f"under_noise={CURVES}",
]


def study() -> Study:
    return load_study("digits", CHANGES)


class Counted:
    """`chip_accuracy`, which counts its chips and is cut off at one of them."""

    def __init__(self, stop: int = -1) -> None:
        self.chips, self.stop = 0, stop

    def __call__(self, *arguments, **keys) -> float:
        if self.chips == self.stop:
            raise KeyboardInterrupt
        self.chips += 1
        return chip_accuracy(*arguments, **keys)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, int]:
    """Folder, result, and number of chips of an unbroken run."""
    out, counted = tmp_path_factory.mktemp("run") / "small", Counted()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "chip_accuracy", counted)
        return out, result_of_run(study(), None, out), counted.chips


@pytest.fixture
def finished(whole: tuple[Path, dict, int]) -> tuple[Path, dict]:
    return whole[:2]


def curve(result: dict, name: str) -> list[dict]:
    (found,) = (curve for curve in result["accuracy"]["under_noise"] if curve["name"] == name)
    return found["points"]


@pytest.mark.slow
def test_every_curve_has_its_points(finished: tuple[Path, dict]) -> None:
    curves = json.loads((finished[0] / "result.json").read_text())["accuracy"]["under_noise"]
    assert [(c["name"], c["axis"], c["device"], c["compensation"]) for c in curves] == [
        ("errors", "mismatch", "admm-10mohm", "none"),
        ("stuck", "stuck", "admm-10mohm", "none"),
        ("bits", "adc-bits", "admm-10mohm", "none"),
        ("old", "time", "pcm-90nm", "none"),
        ("old, compensated", "time", "pcm-90nm", "column"),
    ]
    assert [[p["value"] for p in c["points"]] for c in curves] == [
        [0.0, 0.2],
        [0.05],
        [4.0, 9.0],
        [20.0, 315360000.0],
        [20.0, 315360000.0],
    ]
    for point in (point for c in curves for point in c["points"]):
        assert len(point["per_chip"]) == point["n"]
        assert point["ci95_low"] <= point["mean"] <= point["ci95_high"]


@pytest.mark.slow
def test_chips_end_by_the_rule_or_at_the_most(finished: tuple[Path, dict]) -> None:
    found = [p for c in finished[1]["accuracy"]["under_noise"] for p in c["points"]]
    for point in found:
        if point["settled"]:
            assert 3 <= point["n"] <= 5
            assert point["ci95_high"] - point["ci95_low"] <= 6
        else:
            assert point["n"] == 5
    assert {point["settled"] for point in found} == {True, False}


@pytest.mark.slow
def test_a_point_has_the_chips_of_the_case_with_its_noise(finished: tuple[Path, dict]) -> None:
    result = finished[1]
    case = result["accuracy"]["chips"]
    for point in (curve(result, "errors")[1], curve(result, "bits")[1]):
        assert point["per_chip"] == case["per_chip"]
        assert point["settled"] == case["settled"]
    exact = curve(result, "errors")[0]
    assert exact["per_chip"] == [result["accuracy"]["ideal_chip"]] * 3


@pytest.mark.slow
def test_every_layer_is_noisy_alone_and_exact_alone(finished: tuple[Path, dict]) -> None:
    rows = finished[1]["accuracy"]["by_layer"]
    assert [(row["case"], row["layer"]) for row in rows] == [
        ("20 %", name) for name in ("conv1", "conv2", "fc1", "fc2")
    ]
    chips = [row[key]["per_chip"][:3] for row in rows for key in ("only", "others")]
    assert len({tuple(each) for each in chips}) == 8


@pytest.mark.slow
def test_the_report_and_the_figures_show_them(finished: tuple[Path, dict]) -> None:
    out, result = finished
    page = report_run(out)
    stems = {"noise-mismatch", "noise-stuck", "noise-adc-bits", "noise-time", "by-layer"}
    for stem in stems:
        assert (out / "figures" / f"{stem}.png").stat().st_size > 5000
    report = page.read_text()
    assert f"{curve(result, 'old, compensated')[1]['mean']:.2f} %" in report


@pytest.mark.slow
def test_a_run_that_is_cut_off_in_a_curve_goes_on_to_the_same_result(
    whole: tuple[Path, dict, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, result, chips = whole
    cut_off = Counted(stop=chips - 4)
    monkeypatch.setattr(stage, "chip_accuracy", cut_off)
    with pytest.raises(KeyboardInterrupt):
        result_of_run(study(), None, tmp_path / "run")
    assert list((tmp_path / "run" / "stages").glob("chips-*.jsonl"))
    cut_off.stop = -1
    assert comparable(result_of_run(study(), None, tmp_path / "run", resume=True)) == comparable(result)
    assert cut_off.chips == chips


def test_a_point_that_cannot_be_measured_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    curves = '[{name="old", axis="time", values=[1, 20], device="pcm-90nm"}]'
    with pytest.raises(XbarError, match=r"noise case 'old, 1 s': time = 1\.0: must lie between 20"):
        result_of_run(load_study("digits", [*SMALL, f"under_noise={curves}"]), None, tmp_path / "run")
    assert not (tmp_path / "run").exists()
