"""Loss and metric of a study: by name, from a user's file, what is refused, and what of them ids hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from experiments.inputs.data import Dataset, load
from experiments.inputs.measures import METRICS, Measures, check_fits, loss_of, metric_of
from experiments.plans.plan import resolve
from experiments.run_folder.ids import point_id
from experiments.stages.planned import planned_ids
from experiments.studies.study import load_study
from mapping import CLASSES, RMSE, Metric
from mapping.recipes.options import TrainingOptions
from mapping.training.losses import LOSSES
from mapping.training.objective import BatchLoss
from xbar.hardware.errors import XbarError

FILE = """
import torch
from mapping import RMSE, Metric, mean_over_samples
from helper import scaled

def loss(outputs, targets):
    return scaled(torch.nn.functional.cross_entropy(outputs, targets))

def wrong(outputs, targets):
    return 100.0 * (outputs.argmax(1) != targets)

def built():
    return errors

def one(outputs):
    return outputs.sum()

errors = mean_over_samples("error", wrong, unit="%", higher_is_better=False, bounds=(0, 100))
three = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("def scaled(loss):\n    return 1.0 * loss\n")
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_names_and_files_give_losses_and_metrics(file: Path) -> None:
    assert metric_of("accuracy") is CLASSES
    assert metric_of("top-3").name == "top-3 accuracy"
    assert metric_of("rmse") is RMSE
    for name in ("errors", "built"):
        found = metric_of(f"{file}:{name}")
        assert (found.name, found.unit, found.higher_is_better) == ("error", "%", False)
        outputs, targets = torch.eye(4), torch.tensor([0, 1, 2, 0])
        assert found.of_sums(found.of_batch(outputs, targets)) == 25.0
    outputs, targets = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    expected = nn.functional.cross_entropy(outputs, targets)
    assert torch.equal(loss_of(f"{file}:loss")(outputs, targets), expected)


def test_built_in_losses_are_the_means_that_they_say() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(7, 1, generator=generator), torch.rand(7, generator=generator)
    d = x[:, 0] - y  # (N, 1) and (N,) are one shape: nothing is broadcast to (N, N)
    small = d.abs() < 1
    assert small.any()
    assert not small.all()
    by_hand = {
        "mse": (d**2).mean(),
        "mae": d.abs().mean(),
        "huber": torch.where(small, 0.5 * d**2, d.abs() - 0.5).mean(),
        "binary-cross-entropy": -(y * x[:, 0].sigmoid().log() + (1 - y) * (-x[:, 0]).sigmoid().log()).mean(),
    }
    for name, expected in by_hand.items():
        torch.testing.assert_close(LOSSES[name](x, y), expected)
    tokens = torch.randn(2, 5, 4, generator=generator)
    wanted = torch.tensor([[0, 1, -100, 2, 3], [3, -100, -100, 1, 0]])
    counted = [(i, j) for i in range(2) for j in range(5) if wanted[i, j] >= 0]
    nats = [-tokens[i, j].log_softmax(0)[wanted[i, j]] for i, j in counted]
    torch.testing.assert_close(LOSSES["token-cross-entropy"](tokens, wanted), torch.stack(nats).mean())


@pytest.mark.parametrize(
    ("key", "name", "words"),
    [
        ("loss", "cross_entropy", "did you mean 'cross-entropy'"),
        ("loss", "{file}:los", "did you mean 'loss'"),
        ("loss", "{file}:one", "must be a function loss(outputs, targets)"),
        ("loss", "none.py:loss", "no such Python file"),
        ("metric", "rsme", "did you mean 'rmse'"),
        ("metric", "top-0", "unknown name 'top-0'"),
        (
            "metric",
            "{file}:wrong",
            "mapping.mean_over_samples('name', function, unit='', higher_is_better=True)",
        ),
        ("metric", "{file}:three", "a int; must be a mapping.Metric"),
        ("train.options.keep", "lowest", "validation is by accuracy, the higher the better; allowed: last"),
    ],
)
def test_mistakes_are_one_line_before_any_work(file: Path, key: str, name: str, words: str) -> None:
    with pytest.raises(XbarError) as caught:
        resolve(load_study("digits", [f"{key}={name.format(file=file)}"]), load("digits", None), Path("none"))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_targets_that_do_not_fit_are_refused_with_their_part() -> None:
    data = load("digits", None)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    measures = Measures(LOSSES["cross-entropy"], METRICS["top-5"])
    check_fits("net", net, data, measures)
    real = dataclasses.replace(data, **{f"{part}_y": torch.rand(9) for part in ("train", "val", "test")})
    beyond = dataclasses.replace(data, test_y=data.test_y + 1)
    for broken, changed, words in (
        (real, measures, "train: top-5 accuracy: outputs (256, 10)"),
        (beyond, measures, "test: top-5 accuracy: outputs"),
        (data, Measures(LOSSES["mse"], METRICS["accuracy"]), "train: the loss refuses outputs (256, 10)"),
        (
            data,
            Measures(lambda x, y: x, METRICS["accuracy"]),
            "the loss gives a (256, 10) float32; must be one",
        ),
    ):
        with pytest.raises(XbarError) as caught:
            check_fits("net", net, broken, changed)
        assert words.replace("256", str(min(256, len(broken.train_y)))) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_part_without_a_value_is_refused_before_work() -> None:
    x, y = torch.rand(9, 3), torch.rand(9)
    data = Dataset("d", x, y, x[:1], y[:1], x, y, (), "0")
    with pytest.raises(XbarError, match="validation: R2: the targets of an output are all alike"):
        check_fits("net", nn.Linear(3, 1), data, Measures(LOSSES["mse"], METRICS["r2"]))
    check_fits("net", nn.Linear(3, 1), data, Measures(LOSSES["mse"], METRICS["rmse"]))


def own_metric(statistics: Callable[..., Any], value: Callable[..., Any] = float) -> Metric:
    return Metric("mine", "anything", statistics, value, unit="")


def correlation(sums: torch.Tensor) -> float:
    n, x, y, xx, yy, xy = sums.tolist()
    return (n * xy - x * y) / math.sqrt((n * xx - x * x) * (n * yy - y * y))


def test_a_metric_that_needs_spread_passes_the_check_before_work() -> None:
    def moments(outputs: torch.Tensor, targets: torch.Tensor) -> list[Any]:
        x, y = outputs[:, 0].double(), targets.double()
        return [len(y), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()]

    x, y = torch.rand(9, 3), torch.rand(9)
    data = Dataset("d", x, y, x, y, x, y, (), "0")
    pearson = own_metric(moments, correlation)
    check_fits("net", nn.Linear(3, 1), data, Measures(LOSSES["mse"], pearson))
    check_fits("net", nn.Linear(3, 1), data, Measures(LOSSES["mse"], own_metric(moments, lambda _: math.nan)))
    assert pearson.of_sums(pearson.of_batch(2 * y[:, None] + 1, y)) == pytest.approx(1)


def fails(error: Exception) -> Callable[..., Any]:
    def function(*given: Any) -> Any:
        raise error

    return function


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (own_metric(fails(KeyError("scale"))), "train: mine: outputs (20, 1) float32 and targets (20,)"),
        (own_metric(lambda x, y: None), "TypeError"),
        (own_metric(lambda x, y: "text"), "mine: outputs"),
        (own_metric(lambda x, y: x[:, 0] - y), "statistics of shape (9,), those of another batch are (20,)"),
        (dataclasses.replace(RMSE, join=fails(KeyError("k"))), "join: KeyError: 'k'"),
        (own_metric(lambda x, y: (1, 2), fails(KeyError("scale"))), "train: mine: KeyError: 'scale'"),
        (own_metric(lambda x, y: (1, 2), lambda sums: None), "train: mine: the value is a NoneType"),
        (own_metric(lambda x, y: (1, 2), lambda sums: "text"), "train: mine: the value is a str"),
    ],
)
def test_mistakes_in_a_metric_of_one_s_own_are_one_line(metric: Metric, words: str) -> None:
    x, y = torch.rand(300, 3), torch.rand(300)
    data = Dataset("d", x[:20], y[:20], x[:9], y[:9], x, y, (), "0")
    with pytest.raises(XbarError) as caught:
        check_fits("net", nn.Linear(3, 1), data, Measures(LOSSES["mse"], metric))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [KeyError("k"), ZeroDivisionError("division by zero"), AttributeError("x")])
def test_what_a_loss_or_metric_raises_at_work_is_one_line(error: Exception) -> None:
    x = torch.rand(4, 1)
    for work in (
        lambda: BatchLoss(TrainingOptions(), fails(error), None, "train")(nn.Identity(), x, x),
        lambda: own_metric(fails(error)).of_batch(x, x),
        lambda: own_metric(lambda x, y: (1, 2), fails(error)).of_sums(torch.ones(2)),
    ):
        with pytest.raises(XbarError, match=type(error).__name__) as caught:
            work()
        assert caught.value.__cause__ is error


@pytest.mark.parametrize("given", [None, "text", 3.0])
def test_a_loss_that_gives_no_tensor_is_refused(given: Any) -> None:
    x = torch.rand(4, 1)
    with pytest.raises(XbarError, match=f"the loss gives a {type(given).__name__}; must be one number"):
        BatchLoss(TrainingOptions(), lambda outputs, targets: given, None, "train")(nn.Identity(), x, x)


def ids(changes: list[str]) -> dict[str, str]:
    x, y = torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64)
    data = Dataset("digits", x, y, x, y, x, y, tuple("0123456789"), "0" * 64)
    study = load_study("digits", changes)
    return planned_ids(resolve(study, data, Path("none")), study)


def test_ids_hold_loss_and_metric_and_what_their_files_import(file: Path) -> None:
    plain = ids([])
    assert ids(["loss=cross-entropy", "metric=accuracy"]) == plain
    found = [ids([f"loss={file}:loss"]), ids(["metric=top-5"]), ids([f"metric={file}:errors"])]
    (file.parent / "helper.py").write_text("def scaled(loss):\n    return 2.0 * loss\n")
    found += [ids([f"loss={file}:loss"]), ids([f"metric={file}:errors"])]
    for stage in plain:
        assert len({plain[stage], *(each[stage] for each in found)}) == 6


def test_ids_of_points_hold_them_where_they_are_not_those_of_before() -> None:
    points = [point_id(load_study("digits", [change]), "0", {}) for change in ("metric=top-5", "loss=mse")]
    plain = point_id(load_study("digits"), "0", {})
    assert len({plain, *points}) == 3
    assert point_id(load_study("digits", ["metric=accuracy", "loss=cross-entropy"]), "0", {}) == plain
