"""Unused paths in a study: outputs stay where a constant would need a bias that a layer does not have."""

from __future__ import annotations

import copy

import torch
from torch import nn

from experiments.plans.process import with_threads
from experiments.stages.compress import purified
from mapping import Purification


def test_constants_into_a_layer_without_a_bias_stay_and_those_into_a_bias_move() -> None:
    """A filter without weights gives the relu of its batch norm's shift, 0.5, to the next layer."""
    torch.manual_seed(0)
    x = torch.randn(5, 2, 6, 6)
    for bias in (False, True):
        norm = nn.BatchNorm2d(4)
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False), norm, nn.ReLU(), nn.Conv2d(4, 3, 1, bias=bias)
        ).eval()
        with torch.no_grad():
            model[0].weight[1] = 0
            norm.bias[1] = 0.5
        before = copy.deepcopy(model)
        first = torch.ones(18, 4, dtype=torch.bool)
        first[:, 1] = False
        masks = purified(model, x[:1], Purification(1.0, 0.0), {"0": first})
        assert torch.equal(masks["0"], first)
        assert torch.allclose(model(x), before(x), atol=1e-6)
        assert bool((model[3].weight[:, 1] == 0).all()) == bias
        assert ("3" in masks) == bias


def test_denormal_numbers_are_zero_while_a_study_runs_and_as_before_after_it() -> None:
    def tiny() -> float:
        return float(torch.full((16,), 1e-20) @ torch.full((16,), 1e-20))

    assert tiny() > 0
    with with_threads(0):
        assert tiny() == 0
    assert tiny() > 0
