"""Onto levels in two rounds: those that are first stay on theirs while the last ones are drawn."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_study import SMALL
from torch import nn

from experiments.stages import measure
from experiments.stages.chips import calibrated
from experiments.stages.measure import accuracies, networks
from experiments.stages.quantise import fitted_states, onto_levels
from experiments.stages.run import prepare
from experiments.studies.study import load_study
from experiments.studies.training import Quantisation
from mapping import Levels, Magnitudes, MappedNetwork, Recipe, calibrate, equal_levels, map_network, train
from mapping.chips.calibration import GivenRanges
from mapping.network.gemm import mappable_layers, to_gemm
from mapping.training.method import Method
from xbar.conductances.encoding import levels
from xbar.hardware.errors import XbarError
from xbar.hardware.files import load_hardware
from xbar.multiply.converters import code_range


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))


@pytest.mark.parametrize("freeze", [(), (0.5, 1.0)])
def test_first_layers_are_on_levels_and_still_while_the_last_are_drawn(freeze: tuple[float, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    data = [
        (torch.rand(32, 6, generator=generator), torch.randint(0, 3, (32,), generator=generator))
        for _ in range(4)
    ]
    model = network()
    masks = {"2": torch.rand(8, 7, generator=generator) < 0.5}
    values = {name: Levels(equal_levels(3), masks.get(name)) for name in mappable_layers(model)}
    after: dict[str, dict[str, torch.Tensor]] = {}

    def fit(stage: str, recipe: Recipe, methods: list[Method]) -> list[dict[str, Any]]:
        log = train(model, data, recipe, methods=methods, stage=stage)
        after[stage] = {name: to_gemm(copy.deepcopy(layer)) for name, layer in mappable_layers(model).items()}
        return log

    onto_levels(
        model, Quantisation(2, 0, lr=1e-2, freeze=freeze, last=("x",)), values, masks, ["0", "4"], fit
    )
    rounds = ["levels", "freeze"] if freeze else ["levels"]
    assert list(after) == [*rounds, *(f"{name} last" for name in rounds)]
    held = after["levels last"]["2"]
    assert not held[~masks["2"]].any()
    steps = held[masks["2"]].abs() / held[masks["2"]].abs().min()
    assert torch.allclose(steps, steps.round(), atol=1e-4)
    assert steps.max() < 3.001
    for name in ("0", "4"):
        assert not torch.equal(after["levels last"][name], after[rounds[-1]][name])
    if freeze:
        assert torch.equal(after["freeze last"]["2"], held)
        for name in ("0", "4"):
            assert len(after["freeze last"][name].abs().unique()) <= 3
    else:
        assert len(after["levels"]["2"][masks["2"]].abs().unique()) > 3


def test_states_are_where_the_weights_are() -> None:
    """As shares of the largest magnitude; zero is no state, and a layer without weights has two."""
    model = network()
    for layer in mappable_layers(model).values():
        layer.weight.data = layer.weight.data.sign() * 0.5
    model[0].weight.data[:2] *= -0.25
    model[0].weight.data[2] = 0
    model[2].weight.data[0] = 3
    masks = {"2": torch.ones(8, 7, dtype=torch.bool), "4": torch.zeros(7, 3, dtype=torch.bool)}
    masks["2"][:, 0] = False
    states = fitted_states(model, {name: Magnitudes(3, masks.get(name)) for name in mappable_layers(model)})
    assert states == {"0": (0.0, 0.25, 1.0), "2": (0.0, 1.0), "4": 2}


@pytest.mark.parametrize("more", [[], ["quantise.converter_epochs=1"]])
def test_learned_ranges_move_the_scales_of_the_network_that_is_mapped(
    tmp_path: Path, more: list[str]
) -> None:
    scales = []
    for ranges in ("fixed", "learned"):
        changes = [*SMALL, *more, f"quantise.ranges={ranges}", "quantise.retrain_epochs=2"]
        plan = prepare(load_study("digits", changes), None, tmp_path / ranges)
        quantised = networks(plan, load_study("digits", changes)).quantised
        layer = quantised.mapped(plan.placement, plan.network.example).layers["fc1"]
        assert np.array_equal(layer.scale, quantised.scales["fc1"])
        used = layer.scale > 0
        w = to_gemm(mappable_layers(quantised.network)["fc1"]).numpy()[:, used]
        on_levels = np.abs(w) / layer.scale[used]
        values = levels(layer.hardware.encoding, layer.hardware.device)
        distance = np.abs(on_levels[..., None] - np.array([0, *values])).min(-1)
        assert distance.max() < 1e-5
        scales.append(layer.scale[used])
    assert 1e-4 < np.abs(scales[1] / scales[0] - 1).max() < 0.5


@pytest.mark.parametrize("ranges", ["fixed", "learned", "learned-adc"])
def test_converters_have_the_ranges_that_the_network_was_trained_with(
    tmp_path: Path, ranges: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not those that fit its calibration inputs anew."""
    changes = [*SMALL, "quantise.converter_epochs=2", f"quantise.ranges={ranges}"]
    study = load_study("digits", changes)
    plan = prepare(study, None, tmp_path)
    nets = networks(plan, study)
    mapped, _ = calibrated(plan.context, plan.network, plan.placement, nets.quantised)
    network, batches = nets.quantised.network, plan.context.calibration_batches()
    met: list[MappedNetwork] = []
    ideal = measure.analog_network
    monkeypatch.setattr(measure, "analog_network", lambda m, chip: met.append(chip.mapped) or ideal(m, chip))
    accuracies(plan, nets, mapped)
    for name, layer in met[0].layers.items():
        own, exact = mapped.layers[name].calibration, layer.calibration
        assert (own.x_max, own.adc_steps[0][0]) == (exact.x_max, exact.adc_steps[0][0])
    fitted, _ = calibrate(mapped, network, batches)
    moved = {"x_max": 0.0, "steps": 0.0}
    for name, layer in mapped.layers.items():
        own, other = layer.calibration, fitted.layers[name].calibration
        moved["x_max"] = max(moved["x_max"], abs(own.x_max / other.x_max - 1))
        given = nets.quantised.ranges.get(name)
        if given is not None:
            assert own.x_max == given.x_max
            assert (given.adc_range is not None) == (ranges == "learned-adc")
        if given is not None and given.adc_range is not None:
            step = given.adc_range / code_range(layer.hardware, own.signed)[1]
            assert all(np.allclose(steps, step, rtol=1e-12) for steps in own.adc_steps)
            moved["steps"] = max(moved["steps"], abs(step / other.adc_steps[0][0] - 1))
    assert (moved["x_max"] > 1e-3) == (ranges != "fixed")
    assert (moved["steps"] > 1e-3) == (ranges == "learned-adc")


def test_a_learned_adc_range_is_that_of_any_number_of_bits() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 4)), torch.rand(20, 6)
    for bits, high in ((6, 31), (4, 7)):
        mapped = map_network(model, load_hardware("admm-32x32").replace(adc__bits=bits), x)
        given = {"0": GivenRanges(2.0, False, 3.1e-6)}
        (layer,) = calibrate(mapped, model, [(x, None)], given=given)[0].layers.values()
        assert layer.calibration.x_max == 2.0
        assert np.allclose(layer.calibration.adc_steps[0], 3.1e-6 / high, rtol=1e-12)


def test_learned_ranges_without_a_retraining_are_refused() -> None:
    with pytest.raises(XbarError, match="in which they are learned"):
        Quantisation(2, 0, ranges="learned")
    with pytest.raises(XbarError, match="in which the ranges of ADCs are learned"):
        Quantisation(2, 5, ranges="learned-adc")


def test_adc_ranges_that_cannot_be_learned_are_refused_before_a_run(tmp_path: Path) -> None:
    changes = ["quantise.converter_epochs=1", "quantise.ranges=learned-adc", "hardware.adc.per=tile"]
    with pytest.raises(XbarError, match=r"hardware of conv1: adc\.per = 'tile'"):
        prepare(load_study("digits", [*SMALL, *changes]), None, tmp_path)
