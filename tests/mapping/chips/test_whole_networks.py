"""Law 1 for whole networks, and how many tiles they take."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import design, holding
from torch import Tensor, nn

from experiments.inputs.networks import build_network
from mapping import analog_network, calibrate, crossbar_form, map_network, program_network


def with_statistics(model: nn.Module, seed: int = 0) -> nn.Module:
    """The network in eval mode with batch norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.rand(module.num_features, generator=generator) - 0.5
            module.running_var = torch.rand(module.num_features, generator=generator) + 0.5
            module.weight.data = torch.rand(module.num_features, generator=generator) + 0.5
    return model.eval()


def assert_law_1(model: nn.Module, x: Tensor) -> None:
    mapped = map_network(model, design(128, 64, 16), x[:1])
    held = holding(model, mapped)
    mapped, _ = calibrate(mapped, held, [(x, x)])
    y = analog_network(model, program_network(mapped))(x)
    expected = copy.deepcopy(held).double()(x.double()).detach()
    error = float((y.double() - expected).abs().max() / expected.abs().max())
    assert error < 1e-5


@pytest.mark.parametrize("batch_norm", ["fold", "digital"])
def test_resnet20(batch_norm: str) -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 32, 32)
    assert_law_1(crossbar_form(with_statistics(build_network("resnet20")), x, batch_norm=batch_norm), x)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "tiles"), [("vgg16-cifar", 1802), ("resnet18-cifar", 1371)])
def test_cifar_networks_at_full_width(network: str, tiles: int) -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 32, 32)
    with torch.device("meta"):
        shape = build_network(network)
        mapped = map_network(shape, design(128, 64, 16), torch.rand(1, 3, 32, 32))
    assert mapped.tiles_per_plane == tiles
    assert_law_1(crossbar_form(with_statistics(build_network(network)), x), x)


class Own(nn.Module):
    """A user's module: a skip connection, attention of linear layers, and a layer that is called twice."""

    def __init__(self, width: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Conv2d(1, width, 4, stride=4)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width)
        self.shared = nn.Linear(width, width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x).flatten(2).transpose(1, 2)
        images, places, width = y.shape
        q, k, v = (
            f(y).view(images, places, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        scores = (q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
        y = self.norm(y + self.out((scores @ v).transpose(1, 2).reshape(images, places, width)))
        y = y + self.shared(self.shared(y).relu())
        return self.head(y.mean(1))


def test_an_own_module() -> None:
    torch.manual_seed(1)
    model, x = Own().eval(), torch.rand(5, 1, 16, 16)
    mapped = map_network(model, design(), x)
    assert mapped.layers["shared"].positions == 32
    assert mapped.digital_macs == {"bmm": 2 * 16 * 16 * 12}
    assert_law_1(model, x)


def test_weights_of_an_imagenet_network_are_not_needed() -> None:
    with torch.device("meta"):
        model, x = build_network("resnet50"), torch.rand(1, 3, 224, 224)
    mapped = map_network(model, design(128, 128, 16), x)
    assert mapped.weights_total == 25_502_912
    assert mapped.macs == 4_089_184_256
