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

from experiments.stages.measure import networks
from experiments.stages.quantise import fitted_states, onto_levels
from experiments.stages.run import prepare
from experiments.studies.study import load_study
from experiments.studies.training import Quantisation
from mapping import Levels, Magnitudes, Recipe, equal_levels, train
from mapping.network.gemm import mappable_layers, to_gemm
from mapping.training.method import Method
from xbar.conductances.encoding import levels
from xbar.hardware.errors import XbarError


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


def test_learned_ranges_without_a_retraining_are_refused() -> None:
    with pytest.raises(XbarError, match="in which they are learned"):
        Quantisation(2, 0, ranges="learned")
