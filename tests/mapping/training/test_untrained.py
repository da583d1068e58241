"""Networks that nobody trained are told from those that somebody did."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from experiments.inputs.networks import build_network
from mapping.training.untrained import looks_untrained


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def normed() -> nn.Module:
    """Convolutions with Kaiming's normal weights and no bias, as torchvision's ResNets have."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 10)),
    )
    nn.init.kaiming_normal_(net[0].weight, mode="fan_out")
    return net


def transformer() -> nn.Module:
    """Weights as GPT-2's, normal with zero biases."""
    net = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return nn.Sequential(nn.Embedding(50, 32), net, nn.Linear(32, 50))


def lstm() -> nn.Module:
    return nn.LSTM(8, 16)


INPUTS = {
    small: torch.rand(256, 64),
    normed: torch.rand(64, 3, 12, 12),
    transformer: torch.randint(0, 50, (32, 6)),
}


@pytest.mark.parametrize("build", [small, normed, transformer, lstm])
def test_a_fresh_network_looks_untrained(build) -> None:
    """One module in a thousand may be missed: four of forty networks would be far beyond that."""
    missed = 0
    for seed in range(10):
        torch.manual_seed(seed)
        missed += not looks_untrained(build())
    assert missed <= 1


@pytest.mark.parametrize("name", ["lenet5", "mlp", "resnet18", "vit-digits", "resnet20"])
def test_a_fresh_network_that_ships_looks_untrained(name: str) -> None:
    torch.manual_seed(1)
    assert looks_untrained(build_network(name))


@pytest.mark.parametrize("build", list(INPUTS))
@pytest.mark.parametrize("seed", range(3))
def test_a_network_of_a_few_steps_does_not(build, seed: int) -> None:
    torch.manual_seed(seed)
    net, x = build(), INPUTS[build]
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(20):
        optimiser.zero_grad()
        outputs = net.train()(x)
        classes = torch.arange(outputs[..., 0].numel()) % outputs.shape[-1]
        nn.functional.cross_entropy(outputs.flatten(0, -2), classes).backward()
        optimiser.step()
    assert not looks_untrained(net)


def test_what_does_not_tell_is_not_told() -> None:
    torch.manual_seed(0)
    net = nn.Linear(100, 100, bias=False)
    nn.init.normal_(net.weight)
    assert not looks_untrained(net)
    assert not looks_untrained(nn.Linear(2, 1))
    assert not looks_untrained(nn.Flatten())
    assert not looks_untrained(nn.Linear(50, 4, device="meta"))
