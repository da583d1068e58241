"""A study that counts errors, the lower the better, is the study of accuracy, seen from the other end."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from small_study import SMALL

from experiments.commands.cli import main
from experiments.figures.noise_plots import noise_figures
from experiments.inputs.data import load
from experiments.plans.plan import resolve
from experiments.report.run_report import report_run
from experiments.results.metric_label import MetricLabel
from experiments.results.result import Result
from experiments.results.summary import chip_statistics, text_summary
from experiments.run_folder.ids import point_id
from experiments.stages.run import run_study
from experiments.studies.study import load_study, raw_study
from xbar.hardware.errors import XbarError

FILE = """
from mapping import mean_over_samples

def wrong(outputs, targets):
    return 100.0 * (outputs.argmax(1) != targets)

errors = mean_over_samples("error rate", wrong, unit="%", higher_is_better=False, bounds=(0, 100))
"""
CURVE = 'under_noise=[{name="log-normal", axis="mismatch", values=[0.1]}]'
CHANGES = [*SMALL, "compress.children=2", "train.options={keep='highest'}", "chips.n=3", CURVE]
CASES = "chips.cases=[{name='noisy', by_layer=true, programming={kind='lognormal', sigma=0.3}}]"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Result, Path]:
    folder = tmp_path_factory.mktemp("metric")
    (folder / "mine.py").write_text(FILE)
    small = [*CHANGES, CASES]
    accuracy = run_study(load_study("digits", small), None, folder / "accuracy")
    turned = [f"metric={folder}/mine.py:errors", "train.options.keep=lowest", "chips.threshold=1"]
    errors = run_study(load_study("digits", [*small, *turned]), None, folder / "errors")
    return accuracy, errors, folder


def test_every_figure_is_the_rest_to_100_percent(runs: tuple[Result, Result, Path]) -> None:
    one, other = runs[0].accuracy, runs[1].accuracy
    for key in ("float", "compressed", "quantised", "ideal_chip"):
        assert getattr(one, key) + getattr(other, key) == pytest.approx(100)
    for key, value in one.validation.items():
        assert value + other.validation[key] == pytest.approx(100)
    pairs = [(one.chips, other.chips), (one.by_layer[0].only, other.by_layer[0].only)]
    pairs.append((one.under_noise[0].points[0], other.under_noise[0].points[0]))
    for chips, of_errors in pairs:
        for a, b in zip(chips.per_chip, of_errors.per_chip, strict=True):
            assert a + b == pytest.approx(100)
        assert of_errors.ci95_low is not None
        assert chips.ci95_high is not None
        assert chips.ci95_high + of_errors.ci95_low == pytest.approx(100)
        assert chips.p05 + of_errors.p05 == pytest.approx(100)  # the worst chips of both
        assert chips.share_above == of_errors.share_above
    assert other.test_set_ci95 is None
    assert runs[0].stages["train"] != runs[1].stages["train"]


def test_the_label_goes_through_file_text_report_and_figures(runs: tuple[Result, Result, Path]) -> None:
    accuracy, errors, folder = runs
    assert accuracy.accuracy.metric == MetricLabel()
    assert errors.accuracy.metric == MetricLabel("error rate", "%", False, 0, 100)
    data = json.loads((folder / "errors" / "result.json").read_text())
    assert data["accuracy"]["metric"]["name"] == "error rate"
    assert Result.from_dict(data, "file").accuracy == errors.accuracy
    assert text_summary(errors).splitlines()[1].startswith("error rate   float ")
    page = report_run(folder / "errors").read_text()
    for words in ("<h2>Error rate</h2>", "The lower, the better.", "95th percentile", "Chips at or below"):
        assert words in page
    words_of_page = re.sub(r"<(svg|style|script).*?</\1>|<[^>]*>", "", page, flags=re.DOTALL)
    assert "ccuracy" not in words_of_page.partition("As BibTeX")[0].partition("Provenance")[0]
    assert "error rate" in words_of_page
    assert "at the logarithm of the error" not in words_of_page
    assert "at the logarithm of the error" in report_run(folder / "accuracy").read_text()
    labels = [
        axis
        for figure in noise_figures(errors).values()
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
    ]
    texts = [axis.get_label_text() for axis in labels]
    assert texts.count("test error rate [%]") == 2
    assert not any("ccuracy" in text for text in texts)


def test_statistics_stay_within_what_a_metric_can_be() -> None:
    ppl = MetricLabel("perplexity", "", False, 1.0, None)
    found = chip_statistics("a", [1.01, 1.02, 1.4, 9.0], 1.4, ppl)
    assert found.ci95_low == 1.0
    assert found.ci95_high is not None
    assert found.ci95_high > 6
    assert found.share_above == 0.75
    assert found.p05 > 7


def test_a_metric_without_percent_has_a_threshold_only_if_one_is_given() -> None:
    ppl = MetricLabel("perplexity", "", False, 1.0, None)
    found = chip_statistics("a", [1.01, 9.0], None, ppl)
    assert (found.threshold, found.share_above) == (None, None)
    usual = chip_statistics("a", [98.0, 99.0], None)
    assert (usual.threshold, usual.share_above) == (99.0, 0.5)
    assert load_study("digits").chips.threshold == 97
    assert load_study("digits", ["metric=accuracy"]).chips.threshold == 97
    assert load_study("digits", ["metric=rmse"]).chips.threshold is None  # 97 is an accuracy
    assert load_study("digits", ["chips.threshold=2", "metric=rmse"]).chips.threshold == 2


@pytest.mark.parametrize(
    ("metric", "threshold", "words"),
    [
        ("top-5", 150, "no chip's top-5 accuracy can be that; must be at least 0 and at most 100"),
        ("accuracy", 100.5, "no chip's accuracy can be that"),
        ("rmse", -1, "no chip's RMSE can be that; must be at least 0"),
        ("r2", 99, "no chip's R2 can be that; must be at most 1"),
    ],
)
def test_a_threshold_that_no_chip_can_have_is_refused(metric: str, threshold: float, words: str) -> None:
    study = load_study("digits", [f"metric={metric}", f"chips.threshold={threshold}"])
    with pytest.raises(XbarError, match=f"chips.threshold = {threshold}: {words}"):
        resolve(study, load("digits", None), Path("none"))


def test_a_point_without_a_threshold_has_the_id_of_its_value() -> None:
    study = load_study("digits", ["chips.threshold=99"])
    chips = dataclasses.replace(study.chips, threshold=None)
    assert point_id(dataclasses.replace(study, chips=chips), "0", {}) == point_id(study, "0", {})


def test_a_sweep_and_a_search_go_the_way_of_the_metric(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from experiments.figures.sweep_figures import front_of
    from experiments.searches.search import load_search

    def row(identity: str, value: float, energy: float, up: bool) -> dict[str, Any]:
        return {
            "id": identity,
            "accuracy.chips.mean": value,
            "estimate.energy_nj_per_image": energy,
            "accuracy.metric.higher_is_better": up,
        }

    points = [("a", 1.0, 1.0), ("b", 2.0, 2.0), ("c", 0.5, 3.0)]
    assert [p["id"] for p in front_of([row(*point, up=True) for point in points])] == ["a", "b"]
    assert [p["id"] for p in front_of([row(*point, up=False) for point in points])] == ["a", "c"]
    (tmp_path / "mine.py").write_text(FILE)
    text = f"name='s'\nstudy='digits'\nset={{metric='{tmp_path}/mine.py:errors'}}\n"
    text += "space={'hardware.adc.bits'=[6,8]}\n"
    (tmp_path / "s.toml").write_text(text)
    assert [one.goal for one in load_search(str(tmp_path / "s.toml")).objectives] == ["min", "min", "min"]
    wrong = "objectives=[{figure='accuracy.chips.mean',goal='max'},{figure='estimate.area_mm2',goal='min'}]\n"
    (tmp_path / "s.toml").write_text(wrong + text)
    with pytest.raises(XbarError, match=r"goal = 'max': accuracy.\*: error rate \[%\], the lower the better"):
        load_search(str(tmp_path / "s.toml"))
    (tmp_path / "w.toml").write_text(
        "name='w'\nstudy='digits'\n[[axes]]\nkey='metric'\nvalues=['accuracy','top-5']\n"
    )
    with pytest.raises(SystemExit):
        main(["sweep", str(tmp_path / "w.toml"), "--plan"])
    assert "points of different metrics cannot be compared" in capsys.readouterr().err


SWEEP = """
name = "s"
study = "{study}"
[set]
{sets}
[[axes]]
key = "seed"
values = [1, 2]
"""


@pytest.mark.parametrize(
    ("sets", "changes", "threshold", "until"),
    [
        ("", {}, 97.0, 0.5),
        ("chips.n = 20", {}, 97.0, 0.5),
        ('metric = "rmse"', {}, None, 0.0),
        ('metric = "rmse"\nchips.threshold = 0.2\nchips.until = 0.01', {}, 0.2, 0.01),
        ("", {"metric": "rmse"}, None, 0.0),
        ("", {"metric": "rmse", "chips.threshold": 0.3}, 0.3, 0.0),
        ('metric = "rmse"\nchips.threshold = 0.2', {"metric": "accuracy"}, None, 0.0),
        ('metric = "accuracy"', {"metric": "accuracy"}, 97.0, 0.5),
    ],
)
def test_no_threshold_or_stop_rule_is_kept_for_another_metric(
    tmp_path: Path, sets: str, changes: dict[str, Any], threshold: float | None, until: float
) -> None:
    """97 percent and half a percentage point were the threshold and the stop rule of an RMSE."""
    from experiments.searches.search import Points, load_search
    from experiments.sweeps.sweep import load_sweep, points_of

    study = raw_study("digits")[0]
    study["chips"] = {**study["chips"], "n": 20, "threshold": 97.0, "until": 0.5}
    (tmp_path / "mine.toml").write_text(tomli_w.dumps(study))
    text = SWEEP.format(study=tmp_path / "mine.toml", sets=sets)
    (tmp_path / "s.toml").write_text(text)
    found = [point.study.chips for point in points_of(load_sweep(str(tmp_path / "s.toml")), changes)]
    assert [(chips.threshold, chips.until) for chips in found] == [(threshold, until)] * 2
    if not changes:
        space = text.partition("[[axes]]")[0] + "[space]\nseed = [1, 2]\n"
        (tmp_path / "search.toml").write_text(space)
        points = Points(load_search(str(tmp_path / "search.toml")), None, tmp_path)
        chips = points.at({"seed": 1}).study.chips
        assert (chips.threshold, chips.until) == (threshold, until)
    elif not sets:
        words = [f"{key}={value}" for key, value in changes.items()]
        chips = load_study(str(tmp_path / "mine.toml"), words).chips
        assert (chips.threshold, chips.until) == (threshold, until)
