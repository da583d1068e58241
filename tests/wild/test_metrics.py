"""What a network is measured by: percentages above 100, labels that were broadcast or out of range."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from mapping import (
    BINARY,
    CLASSES,
    R2,
    RMSE,
    BlockSparse,
    Metric,
    Recipe,
    accuracy,
    accuracy_over_time,
    binary,
    calibrate,
    chip_accuracy,
    compress,
    map_network,
    mean_iou,
    mean_over_samples,
    noise_by_layer,
    perplexity,
    pixel_classes,
    program_network,
    sample_chips,
    top_k,
    train,
)
from mapping.chips.analog import analog_network
from mapping.smaller_networks.sensitivity import sensitivity
from xbar import XbarError, load_hardware
from xbar.hardware.noise import ProgrammingNoise


class Given(nn.Module):
    """Gives back its input: outputs are what a test wrote down."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def measured(outputs: torch.Tensor, targets: object, metric: Metric = CLASSES, batch: int = 10**9) -> float:
    parts = [(outputs[i : i + batch], targets[i : i + batch]) for i in range(0, len(outputs), batch)]
    return accuracy(Given(), parts, metric=metric)


def refused(outputs: torch.Tensor, targets: object, metric: Metric = CLASSES) -> str:
    with pytest.raises(XbarError) as caught:
        accuracy(Given(), [(outputs, targets)], metric=metric)
    assert "\n" not in str(caught.value)
    return str(caught.value)


X = torch.randn(64, 5, generator=torch.Generator().manual_seed(3))
Y = torch.randint(0, 5, (64,), generator=torch.Generator().manual_seed(4))


def test_classes_are_as_before() -> None:
    assert measured(X, Y) == 100 * int((X.argmax(1) == Y).sum()) / 64


def test_pixels_were_2130_percent() -> None:
    outputs, labels = torch.randn(4, 5, 6, 7), torch.randint(0, 5, (4, 6, 7))
    message = refused(outputs, labels)
    assert "outputs (4, 5, 6, 7) float32 and targets (4, 6, 7) int64" in message
    assert "metric=pixel_classes()" in message
    right = (outputs.argmax(1) == labels).float().mean()
    assert measured(outputs, labels, pixel_classes(), 3) == pytest.approx(100 * float(right))
    labels[0] = 255
    right = (outputs.argmax(1) == labels)[1:].float().mean()
    assert measured(outputs, labels, pixel_classes(ignore=255)) == pytest.approx(100 * float(right))
    assert "must lie between 0 and 4" in refused(outputs, labels, pixel_classes())


def test_a_label_of_one_byte_is_not_the_ignored_one() -> None:
    """As one byte, -100 is 156: torch compares them as equal."""
    outputs = torch.zeros(2, 200, 3).index_fill_(1, torch.tensor(156), 1.0)
    labels = torch.tensor([[156, 156, 7], [156, 1, 2]], dtype=torch.uint8)
    assert measured(outputs, labels, pixel_classes()) == 50
    assert measured(outputs[..., 0], labels[:, 0]) == 100
    expected = nn.functional.cross_entropy(outputs, labels.long())
    found = measured(outputs.transpose(1, 2), labels, perplexity())
    assert found == pytest.approx(math.exp(expected), rel=1e-6)


def test_one_logit_was_3300_percent() -> None:
    """(B, 1) outputs have no class to choose from, whatever the labels."""
    logits = torch.tensor([[2.0], [-1.0], [0.5], [-0.5]])
    for labels in (torch.tensor([1, 0, 0, 0]), torch.zeros(4, dtype=torch.long), torch.ones(4, 1)):
        assert "metric=binary()" in refused(logits, labels)
    for labels in (torch.tensor([1, 0, 0, 0]), torch.tensor([[1.0], [0.0], [0.0], [0.0]])):
        for outputs in (logits, logits[:, 0]):
            assert measured(outputs, labels, BINARY) == 75
            assert measured(outputs, labels, BINARY, 3) == 75
    assert measured(logits.sigmoid(), torch.tensor([1, 0, 0, 0]), binary(threshold=0.5)) == 75
    assert "0 or 1" in refused(logits, torch.tensor([1, -1, 1, -1]), BINARY)


def test_regression_was_0_percent() -> None:
    y = torch.randn(50, 1, generator=torch.Generator().manual_seed(5)) * 3 + 40
    found = y + torch.linspace(-1, 1, 50)[:, None]
    message = refused(found, y)
    assert "RMSE" in message
    assert "R2" in message
    error = (found - y).double().square().mean()
    spread = (y.double() - y.double().mean()).square().mean()
    for batch in (50, 7):
        for outputs, targets in ((found, y), (found[:, 0], y), (found, y[:, 0]), (found[:, 0], y[:, 0])):
            assert measured(outputs, targets, RMSE, batch) == pytest.approx(float(error.sqrt()), rel=1e-6)
            assert measured(outputs, targets, R2, batch) == pytest.approx(float(1 - error / spread), rel=1e-6)
    assert not RMSE.higher_is_better
    assert R2.higher_is_better


def test_r2_of_several_outputs_is_their_mean() -> None:
    y = torch.tensor([[0.0, 10.0], [1.0, 30.0], [2.0, 20.0]])
    found = y + torch.tensor([[0.0, 5.0], [1.0, 0.0], [0.0, 0.0]])
    assert measured(found, y, R2) == pytest.approx((1 - 1 / 2 + 1 - 25 / 200) / 2)
    assert "alike" in refused(found, torch.full((3, 2), 7.0), R2)


@pytest.mark.parametrize("offset", [0.0, 1e9, -1e12])
@pytest.mark.parametrize("batch", [10, 3, 1])
def test_r2_does_not_depend_on_an_offset(offset: float, batch: int) -> None:
    """Years in seconds, say. At 1e9 sums of squares had lost the spread: "all alike", or another value for
    each size of the batches."""
    y = torch.arange(10, dtype=torch.float64)[:, None] + offset
    errors = torch.full((10, 1), 0.5, dtype=torch.float64)
    assert measured(y + errors, y, R2, batch) == pytest.approx(1 - 10 * 0.25 / 82.5, rel=1e-12)
    assert "alike" in refused(y, torch.full_like(y, offset + 0.1), R2)


def test_top_k_and_perplexity() -> None:
    best = X.topk(3, 1).indices
    assert measured(X, Y, top_k(3), 10) == 100 * float((best == Y[:, None]).any(1).double().mean())
    assert measured(X, Y, top_k(1)) == measured(X, Y)
    assert "k = 6" in refused(X, Y, top_k(6))
    for k in (0, 2.5, True):
        with pytest.raises(XbarError, match=rf"^k = {k}: must be a whole number"):
            top_k(k)  # type: ignore[arg-type]
    for metric in ("RMSE", top_k):
        assert "must be a mapping.Metric" in refused(X, Y, metric)  # type: ignore[arg-type]
    tokens = torch.randn(6, 9, 11)
    following = torch.randint(0, 11, (6, 9))
    loss = nn.functional.cross_entropy(tokens.flatten(0, 1).double(), following.flatten())
    for batch in (6, 4, 1):
        assert measured(tokens, following, perplexity(), batch) == pytest.approx(math.exp(loss), rel=1e-6)
    following[2, 3:] = -100
    loss = nn.functional.cross_entropy(tokens.flatten(0, 1).double(), following.flatten())
    for batch in (6, 4, 1):  # the mean is over tokens, not over batches
        assert measured(tokens, following, perplexity(), batch) == pytest.approx(math.exp(loss), rel=1e-6)
    assert "perplexity" in refused(tokens, following)
    assert "no target" in refused(tokens, torch.full((6, 9), -100), perplexity())


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (Y[:, None], "targets (64, 1) int64"),  # broadcast to 672 %
        (Y[:1], "targets (1,) int64"),  # one label for all
        (Y + 1, "class numbers from 1 to 5; must lie between 0 and 4"),  # 1-based: wrong answers
        (torch.where(Y == 0, -100, Y), "must lie between 0 and 4"),
        (Y.float(), "targets (64,) float32"),
        (Y > 2, "targets (64,) bool"),
        (nn.functional.one_hot(Y, 5), "targets (64, 5) int64"),
        (Y.tolist(), "targets are a list"),
    ],
)
def test_labels_that_are_no_class_numbers(targets: object, words: str) -> None:
    assert words in refused(X, targets)


def test_outputs_that_are_no_numbers() -> None:
    """A NaN was the largest output, and a class like any other."""
    bad = X.clone()
    bad[3, 2] = torch.nan
    assert "NaN" in refused(bad, Y)
    masked = X.clone()
    masked[:, 4] = -torch.inf  # a class that is ruled out
    assert measured(masked, Y) == 100 * int((masked.argmax(1) == Y).sum()) / 64
    assert "finite" in refused(torch.full((3, 1), torch.inf), torch.zeros(3, 1), RMSE)
    assert "outputs are a tuple" in refused_of(lambda x: (x, x))


def refused_of(forward: object) -> str:
    model = Given()
    model.forward = forward  # type: ignore[method-assign, assignment]
    with pytest.raises(XbarError) as caught:
        accuracy(model, [(X, Y)])
    return str(caught.value)


def test_a_metric_of_ones_own() -> None:
    within = Metric(
        "within 1",
        "outputs and targets of one shape",
        lambda outputs, targets: (((outputs - targets).abs() <= 1).sum(), targets.numel()),
        lambda sums: 100 * float(sums[0] / sums[1]),
    )
    y = torch.tensor([[0.0], [1.0], [2.0], [5.0]])
    assert measured(y * 1.5, y, within, 3) == 75


def regression() -> tuple[nn.Module, list[tuple[torch.Tensor, torch.Tensor]]]:
    torch.manual_seed(7)
    x = torch.rand(60, 6)
    y = (x @ torch.linspace(-1, 1, 6)[:, None]) * 400
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    train(model, [(x, y / 400)], Recipe(150, 3e-2), loss=nn.functional.mse_loss)
    with torch.no_grad():
        model[2].weight.mul_(400)
        model[2].bias.mul_(400)
    return model, [(x[:50], y[:50]), (x[50:], y[50:])]


def test_chips_of_a_regression_network() -> None:
    """Every function that takes an accuracy of chips takes any metric, in its own unit."""
    model, data = regression()
    noise = ProgrammingNoise("gaussian", 0.1)
    hardware = load_hardware("admm-32x32").replace(device__programming=noise)
    mapped, _ = calibrate(map_network(model, hardware, data[0][0]), model, data)

    def by_hand(chip: int) -> float:
        network = analog_network(model, program_network(mapped, seed=5, chip=chip))
        errors = torch.cat([network(x) - y for x, y in data])
        return float(errors.double().square().mean().sqrt())

    values = [by_hand(chip) for chip in range(3)]
    for chip, value in enumerate(values):
        found = chip_accuracy(mapped, model, data, seed=5, chip=chip, metric=RMSE)
        assert found == pytest.approx(value, rel=1e-6)
    first = [hardware.device.first_time]
    table = accuracy_over_time(mapped, model, data, first, chips=3, seed=5, metric=RMSE)
    assert table[0].tolist() == pytest.approx(values, rel=1e-6)
    run = functools.partial(chip_accuracy, mapped, model, data, seed=5, metric=RMSE)
    found = sample_chips(lambda chip: run(chip=chip), most=3, least=3, until=500.0)
    assert found.mean == pytest.approx(np.mean(values), rel=1e-6)
    assert found.half_width == pytest.approx(4.302653 * np.std(values, ddof=1) / math.sqrt(3), rel=1e-4)
    layers = noise_by_layer(mapped, model, data, most=2, until=0, seed=5, metric=RMSE)
    assert all(value > 1 for one in layers.values() for value in one.only.accuracies)
    with pytest.raises(XbarError, match="RMSE"):
        chip_accuracy(mapped, model, data)


def test_training_and_sensitivity_in_any_metric() -> None:
    """Of an error, what is lost is what it grows by: it came out as a gain."""
    model, data = regression()
    rmse = functools.partial(accuracy, batches=data, metric=RMSE)
    log = train(model, data, Recipe(1, 1e-12), loss=nn.functional.mse_loss, validate=rmse)
    assert log[0]["validation"] == pytest.approx(rmse(model), rel=1e-6)
    done = compress(
        *(model, data, {"0": BlockSparse(1, 1, 0.5)}, Recipe(1), Recipe(1)),
        loss=nn.functional.mse_loss,
        validate=rmse,
    )
    assert done.log[-1]["validation"] == rmse(done.model)
    rows = sensitivity(model, rmse, {"0": (1, 1)}, [4], higher_is_better=False)
    assert rows[0].value > rows[0].unpruned
    assert rows[0].loss == rows[0].value - rows[0].unpruned


def test_mean_iou_is_that_of_all_places_together() -> None:
    """Against a count by hand; a class that occurs nowhere does not count, nor an ignored place."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, 5, 4, 3, generator=generator)
    outputs[:, 4] = -100.0  # never found
    targets = torch.randint(0, 4, (6, 4, 3), generator=generator)
    targets[0, 0] = -100
    found = outputs.argmax(1)
    shares = []
    for number in range(4):
        here = [
            (bool(f == number), bool(t == number))
            for f, t in zip(found.flatten().tolist(), targets.flatten().tolist(), strict=True)
            if t != -100
        ]
        shares.append(sum(f and t for f, t in here) / sum(f or t for f, t in here))
    for batch in (1, 4, 6):
        assert measured(outputs, targets, mean_iou(), batch) == pytest.approx(100 * np.mean(shares))
    assert measured(outputs[:, :2], targets.clamp(0, 1), mean_iou()) < 100
    perfect = nn.functional.one_hot(targets.clamp(0), 5).movedim(-1, 1).float()
    assert measured(perfect, targets.clamp(0), mean_iou()) == 100


def test_a_mean_over_samples_is_a_metric_of_one_s_own() -> None:
    def off(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - targets).abs().amax(1)

    worst = mean_over_samples("worst", off, unit="V", higher_is_better=False, bounds=(0, None))
    outputs, targets = torch.arange(12.0).reshape(4, 3), torch.zeros(4, 3)
    for batch in (1, 3, 4):
        assert measured(outputs, targets, worst, batch) == pytest.approx((2 + 5 + 8 + 11) / 4)
    assert worst.better(1.0, 2.0)
    assert "worst: outputs (4, 3) float32" in refused(outputs, torch.zeros(4, 2), worst)
    flat = mean_over_samples("mean", lambda x, y: (x - y).mean(), unit="", higher_is_better=False)
    assert "gives numbers of shape (); must be one for each sample" in refused(outputs, targets, flat)
