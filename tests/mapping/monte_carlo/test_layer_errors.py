"""Losses of layers on a hardware: against the same by hand, and mistakes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import design
from torch import nn

from mapping import map_network
from mapping.monte_carlo.layer_errors import layer_errors
from xbar import ProgrammingNoise, XbarError, load_hardware
from xbar.conductances.encoding import decode_states


def test_without_converters_the_error_is_that_of_the_levels() -> None:
    """Each layer alone: the inputs are those of the float network, whatever the layers before lose."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 5))
    x = torch.rand(64, 12)
    ideal = load_hardware("ideal")
    options = {str(states): ideal.replace(device__states=states) for states in (2, 3, 16)}
    found = layer_errors(model, ideal, {"Linear": options}, [(x[:40], None), (x[40:], None)])
    inputs = {"0": x, "2": model[:2](x)}
    for label, hardware in options.items():
        mapped = map_network(model, hardware, x)
        for name, vectors in inputs.items():
            layer = mapped.layers[name]
            w = decode_states(layer.states_of_weights(), layer.scale, hardware.encoding, hardware.device)
            output = model.get_submodule(name)(vectors).detach().numpy().astype(float)
            lost = vectors.detach().numpy() @ (w - model.get_submodule(name).weight.detach().numpy().T)
            assert found[name][label] == pytest.approx(np.square(lost).sum() / np.square(output).sum(), 1e-4)
    assert found["0"]["2"] > found["0"]["3"] > found["0"]["16"] > 0


def test_noise_and_converters_are_in_it() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 5))
    x = torch.rand(32, 1, 6, 6)
    fine = design(rows=16, cols=16)
    options = {
        "exact": fine,
        "noisy": fine.replace(device__programming=ProgrammingNoise("lognormal", 0.3)),
        "coarse": fine.replace(adc__bits=3),
    }
    found = layer_errors(model, fine, {"*": options}, [(x, None)])
    for of in found.values():
        assert of["noisy"] > 2 * of["exact"]
        assert of["coarse"] > 2 * of["exact"]
    assert layer_errors(model, fine, {"*": options}, [(x, None)]) == found
    assert layer_errors(model, fine, {"*": options}, [(x, None)], seed=5)["3"]["noisy"] != found["3"]["noisy"]


def test_mistakes() -> None:
    model, ideal = nn.Sequential(nn.Linear(3, 2)), load_hardware("ideal")
    with pytest.raises(XbarError, match="layer_errors: needs at least one batch"):
        layer_errors(model, ideal, {"0": {"a": ideal}}, [])
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    with pytest.raises(XbarError, match="0: all of its outputs are zero"):
        layer_errors(model, ideal, {"0": {"a": ideal}}, [(torch.rand(2, 3), None)])
