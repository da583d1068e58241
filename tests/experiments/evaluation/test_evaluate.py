"""One call gives what its steps give one by one, and says what it assumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from experiments.evaluation import Evaluation, convert, evaluate
from mapping import (
    RMSE,
    accuracy,
    analog_network,
    calibrate,
    chip_accuracy,
    crossbar_form,
    map_network,
    program_network,
)
from mapping.lab.chip_file import load_mapping
from power import estimate
from xbar import Hardware, ProgrammingNoise, load_hardware
from xbar.hardware.errors import XbarError

PRESET = Path(__file__).parents[3] / "xbar/hardware/designs/admm-32x32.toml"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    ).eval()


def data(inputs: int = 96, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(inputs, 1, 8, 8, generator=generator)
    with torch.no_grad():
        return x, network()(x).argmax(1)


def design() -> Hardware:
    return load_hardware("admm-32x32").replace(device__programming=ProgrammingNoise("lognormal", 0.2))


def test_it_gives_what_the_steps_give() -> None:
    model, (x, y), (cx, cy) = network(), data(), data(40, seed=2)
    found = evaluate(model, (x, y), design(), calibration=(cx, cy), chips=3, seed=5)
    form = crossbar_form(model, cx[:1])
    mapped, activity = calibrate(map_network(form, design(), cx[:1]), form, [(cx, cy)])
    expected = tuple(chip_accuracy(mapped, form, [(x, y)], seed=5, chip=chip) for chip in range(3))
    assert found.chips.accuracies == expected
    assert len(set(expected)) > 1
    assert found.float == accuracy(model, [(x, y)]) == 100
    cost = estimate(mapped, activity)
    assert (found.costs.area_mm2, found.costs.power_mw) == (cost.area_mm2, cost.power_mw)
    assert found.notes == ()
    ideal = load_hardware("admm-32x32")
    exact, _ = calibrate(map_network(form, ideal, cx[:1]), form, [(cx, cy)])
    on_ideal = analog_network(form, program_network(exact))
    assert found.ideal_chip == accuracy(on_ideal, [(x, y)])


def test_loaders_lists_and_tensors_are_data() -> None:
    x, y = data()
    forms: list[object] = [(x, y), [(x, y)], DataLoader(TensorDataset(x, y), batch_size=20)]
    results = [evaluate(network(), given, design(), chips=2) for given in forms]
    assert len({found.chips.accuracies for found in results}) == 1
    assert results[0].notes == (
        "calibrated on the first of the data that it is measured on; calibration= takes others",
    )


def test_the_chip_of_an_evaluation_is_the_one_that_was_measured() -> None:
    x, y = data()
    found = evaluate(network(), (x, y), design(), chips=2, seed=3)
    assert accuracy(found.chip(1), [(x, y)]) == found.chips.accuracies[1]
    assert accuracy(found.chip(0), [(x, y)]) == found.chips.accuracies[0]
    alone = convert(network(), design(), (x, y), seed=3, chip=1)
    with torch.no_grad():
        assert torch.equal(alone(x), found.chip(1)(x))


def test_a_calibration_that_is_shuffled_is_read_once() -> None:
    """Read twice, what chip 0 is calibrated on would not be what the ideal chip is."""
    times_read = []

    class Shuffled(list):  # type: ignore[type-arg]
        def __iter__(self):
            times_read.append(1)
            return super().__iter__()

    found = evaluate(network(), data(), str(PRESET), calibration=Shuffled([data(40, seed=2)]), chips=2)
    assert len(times_read) == 1
    assert found.costs.area_mm2 == evaluate(network(), data(), PRESET, chips=2).costs.area_mm2


class TimeFirst(nn.Module):
    """A recurrent layer over ``(time, batch, inputs)``, and a class of each sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(3, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][-1])


def test_a_long_sequence_is_not_cut() -> None:
    """Ranges are fitted on 512 inputs: whole ones, of more steps than that."""
    torch.manual_seed(0)
    model, x = TimeFirst().eval(), torch.rand(600, 2, 3)
    batches = [(x, torch.tensor([0, 1]))]
    found = evaluate(model, batches, design(), chips=1)
    form = crossbar_form(model, x[:, :1])
    mapped, activity = calibrate(map_network(form, design(), x[:, :1]), form, batches)
    assert found.costs.energy_nj_per_image == estimate(mapped, activity).energy_nj_per_image
    assert found.mapped == mapped


def test_a_regression_has_its_own_unit() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(12, 2), torch.rand(64, 12)
    with torch.no_grad():
        found = evaluate(model, (x, model(x)), design(), metric=RMSE, chips=4)
    assert found.float == 0
    assert found.chips.mean > found.ideal_chip > 0
    assert "RMSE, mean of 4 chips" in str(found)


def test_it_prints_shows_and_is_saved(tmp_path) -> None:
    found: Evaluation = evaluate(network(), data(), design(), chips=3)
    text = str(found)
    assert text.startswith("Sequential on admm-32x32\n")
    assert "\n100 % of " in text
    for words in (
        "accuracy, float",
        "mean of 3 chips",
        "mm2",
        "nJ",
        "mW",
        "us",
        "TOPS/W",
        "TOPS/mm2",
        "note: ",
    ):
        assert words in text
    html = found._repr_html_()
    assert html.count("<tr>") == len(found.rows())
    assert "Sequential on admm-32x32" in html
    kept = json.loads((found.save(tmp_path / "out") / "evaluation.json").read_text())
    assert kept["chips"]["per_chip"] == list(found.chips.accuracies)
    assert kept["estimate"]["area_mm2"] == found.costs.area_mm2
    assert load_mapping(tmp_path / "out" / "mapping.safetensors") == found.mapped
    frame = pytest.importorskip("pandas") and found.to_pandas()
    assert frame["chips.mean"][0] == found.chips.mean
    assert frame["estimate.power_mw"][0] == found.costs.power_mw


def test_chips_stop_where_the_mean_is_known() -> None:
    quiet = load_hardware("admm-32x32")
    found = evaluate(network(), data(), quiet, chips=40, until=1.0)
    assert len(found.chips.accuracies) == 10
    assert found.chips.settled


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: evaluate(network(), iter([data()])), "data: a list_iterator; must be batches"),
        (lambda: evaluate(network(), data()[0]), "data: a Tensor; must be batches"),
        (lambda: evaluate(network(), (data()[0], data()[1][:5])), "data: 96 inputs and 5 targets"),
        (lambda: evaluate(network(), []), "data: the data loader gave no batch"),
        (lambda: evaluate(network(), data(), calibration=[]), "calibration: the data loader gave no batch"),
        (lambda: evaluate(network(), (data()[0], None)), "data: a tensor and a NoneType; must be tensors"),
        (lambda: evaluate(network(), (data()[0], "cat")), "data: a tensor and a str; must be tensors"),
        (lambda: evaluate(network(), (data()[0], [1, 2])), "data: a tensor and a list; must be tensors"),
        (lambda: evaluate(network(), ([data()[0]], data()[1])), "data: one batch; put it into a list"),
        (lambda: evaluate(network(), data(), time="1 day"), "time = '1 day': must be a number"),
        (lambda: evaluate(network(), data(), until="a"), "until = 'a': must be a number"),
        (lambda: evaluate(network(), data(), until=float("nan")), "until = nan: must lie between 0"),
        (lambda: evaluate(network(), data(), chips=1, until=0.5), "chips = 1: must lie between 2"),
        (lambda: evaluate(network(), data(), "admm"), "did you mean 'admm-32x32'"),
        (lambda: evaluate(None, data()), "model: a NoneType; must be a torch.nn.Module"),  # type: ignore
        (lambda: evaluate(network(), data(), chips=0), "chips = 0: must lie between 1"),
        (lambda: evaluate(network(), data(), time=5.0), "time = 5 s: has no effect; no device of"),
    ],
)
def test_mistakes_are_one_line(call: Callable[[], object], words: str) -> None:
    with pytest.raises(XbarError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


class WithHead(nn.Module):
    """A head that only training reaches, as those of Inception and GoogLeNet."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()
        self.head = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        y: torch.Tensor = self.body(x)
        return (y, self.head(x.flatten(1))) if self.training else y


def test_a_head_that_only_training_reaches_stays_digital() -> None:
    found = evaluate(WithHead(), data(), design(), calibration=data(40, seed=2), chips=2)
    assert [*found.mapped.layers] == ["body.0", "body.4"]
    assert "not reached in eval mode, and left digital: head" in found.notes
    assert found.float == 100
    chip = convert(WithHead(), design(), data(40, seed=2))
    assert chip(data(3)[0]).shape == (3, 3)


def test_random_weights_are_told_in_the_first_lines() -> None:
    """And no longer once they are trained."""
    model, (x, y) = network(), data()
    found = evaluate(model, (x, y), design(), chips=2)
    assert "the weights look random" in str(found).splitlines()[1]
    assert "the weights look random" in found._repr_html_()
    assert found.to_dict()["cautions"] == list(found.cautions)
    optimiser = torch.optim.Adam(model.train().parameters(), 1e-2)
    for _ in range(10):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    assert evaluate(model.eval(), (x, y), design(), chips=2).cautions == ()
