"""A smaller dense network: the same outputs from what is left, and coupled channels only together."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import seeds
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.inputs.networks import build_network
from mapping import crossbar_form
from mapping.network.gemm import mappable_layers, to_gemm
from mapping.smaller_networks.channel_graph import apply_masks
from mapping.smaller_networks.smaller import (
    SmallerNetwork,
    load_network,
    save_network,
    save_onnx,
    smaller_network,
)
from xbar import XbarError

Masks = dict[str, Tensor]


def dead_filters(model: nn.Module, dead: Callable[[str, int], Tensor]) -> Masks:
    """Masks without the filters that `dead(layer, filters)` names, the last layer's apart; these filters give
    0 or less, before a ReLU."""
    layers = mappable_layers(model)
    masks = {}
    for name, layer in list(layers.items())[:-1]:
        matrix = to_gemm(layer)
        gone = dead(name, matrix.shape[1])
        masks[name] = (~gone).expand(matrix.shape).clone()
        if layer.bias is not None:
            layer.bias.data[gone] = 0
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(0, 1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.5, 0)
    return masks


def every_third(name: str, count: int) -> Tensor:
    return torch.arange(count) % 3 == 1


def assert_same(model: nn.Module, masks: Masks, smaller: SmallerNetwork, x: Tensor) -> None:
    reference = copy.deepcopy(model).eval()
    apply_masks(reference, masks)
    for batch in (1, 3):
        x = torch.randn(batch, *x.shape[1:], dtype=torch.float64)
        expected = reference(x)
        assert (smaller.model.eval()(x) - expected).abs().max() < 1e-10 * expected.abs().max()


class Joined(nn.Module):
    """A concatenation of two branches, then a sum of two more, and a slice of the axes of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 9, 3, padding=1)
        self.c, self.d = nn.Conv2d(15, 6, 1), nn.ConvTranspose2d(15, 6, 1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(6 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.relu(self.a(x)), self.relu(self.b(x))], 1)
        x = self.relu(self.c(x) + self.d(x))[:, :, ::2, ::2]
        return self.head(F.adaptive_avg_pool2d(x, 4).flatten(1))


class Grouped(nn.Module):
    """Convolutions in groups, each between two plain ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6)
        self.middle, self.grouped = nn.Conv2d(6, 9, 1), nn.Conv2d(9, 6, 3, groups=3)
        self.last, self.head = nn.Conv2d(6, 9, 1), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(self.middle(self.depthwise(self.first(x).relu()).relu()).relu()).relu()
        return self.head(self.last(x).relu().mean((2, 3)))


SIZES = {
    "mlp": {"fc1": (784, 40), "fc2": (40, 13), "fc3": (13, 10)},
    "lenet5": {"conv1": (25, 13), "conv2": (325, 33), "fc1": (528, 333), "fc2": (333, 10)},
    "vgg16-cifar": {"features.0": (27, 5), "features.40": (387, 43), "classifier": (43, 10)},
    "resnet18-cifar": {
        "conv1": (27, 5),
        "layer1.1.conv2": (45, 5),
        "layer2.0.downsample.0": (5, 11),
        "layer4.1.conv2": (387, 43),
        "fc": (43, 10),
    },
    "resnet20": {"conv1": (27, 5), "layer1.0.conv1": (45, 5), "layer2.0.conv1": (45, 11), "fc": (29, 10)},
    "joined": {"a": (27, 4), "b": (27, 6), "c": (10, 4), "d": (10, 4), "head": (64, 5)},
    "grouped": {
        "first": (3, 6),
        "depthwise": (9, 6),
        "middle": (6, 9),
        "grouped": (27, 6),
        "last": (6, 6),
        "head": (6, 4),
    },
}


def network(name: str) -> tuple[nn.Module, Tensor]:
    shape = {"mlp": (1, 28, 28), "lenet5": (1, 28, 28)}.get(name, (3, 32, 32))
    own = {"joined": Joined, "grouped": Grouped}
    width = {"mlp": 0.2, "lenet5": 1.0, "resnet20": 0.5}.get(name, 0.125)
    model = (
        own[name]() if name in own else build_network(name, **({} if name == "lenet5" else {"width": width}))
    )
    return model.double(), torch.randn(2, *shape if name not in own else (3, 8, 8), dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "batch_norm"),
    [(name, "digital") for name in SIZES if name != "resnet18-cifar"]
    + [(name, "fold") for name in ("vgg16-cifar", "resnet20")]
    + [pytest.param("resnet18-cifar", form, marks=pytest.mark.slow) for form in ("digital", "fold")],
)
def test_networks(name: str, batch_norm: str) -> None:
    model, x = network(name)
    masks = dead_filters(model, every_third)
    form = crossbar_form(model, x, batch_norm=batch_norm)
    before = copy.deepcopy(form.state_dict())
    smaller = smaller_network(form, x, masks)
    assert all(torch.equal(tensor, before[key]) for key, tensor in form.state_dict().items())
    assert_same(form, masks, smaller, x)
    assert type(smaller.model) is type(model)
    assert {layer: smaller.after[layer] for layer in SIZES[name]} == SIZES[name]
    for layer, module in mappable_layers(smaller.model).items():
        assert tuple(smaller.masks[layer].shape) == tuple(to_gemm(module).shape) == smaller.after[layer]
        if not isinstance(module, nn.Linear | nn.ConvTranspose2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
    again = smaller_network(smaller.model, x, smaller.masks)
    assert again.before == again.after == smaller.after


class Net(nn.Module):
    """Layers with eight channels, the filters 1 and 5 of `f` and 1 and 6 of `g` dead, and a forward that a
    test gives; the last layer has the inputs that it says."""

    def __init__(self, forward: Callable[[Net, Tensor], Tensor], inputs: int = 8) -> None:
        super().__init__()
        self.f, self.g, self.head = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(inputs, 2)
        self.norm, self.way, self.scale = nn.LayerNorm(8), forward, nn.Parameter(torch.ones(8))
        for layer, dead in ((self.f, [1, 5]), (self.g, [1, 6])):
            layer.weight.data[dead] = 0
            layer.bias.data[dead] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


WAYS: dict[str, tuple[Callable[[Net, Tensor], Tensor], int, int, int]] = {
    "one layer": (lambda n, x: n.head(n.f(x)), 6, 8, 8),
    "sum": (lambda n, x: n.head(n.f(x) + n.g(x)), 7, 7, 8),
    "concatenation": (lambda n, x: n.head(torch.cat([n.f(x), n.g(x)], 1)), 6, 6, 16),
    "both ways": (lambda n, x: n.head(torch.cat([n.f(x) + n.g(x), n.f(x)], 1)), 7, 7, 16),
    "called twice": (lambda n, x: n.head(n.f(x)) + n.head(n.g(x)), 7, 7, 8),
    "slice of the channels": (lambda n, x: n.head(n.f(x)[:, :4] + n.f(x)[:, 4:]), 8, 8, 4),
    "slice of everything": (lambda n, x: n.head(n.f(x)[:, :]), 6, 8, 8),
    "halves": (lambda n, x: n.head(torch.cat(n.f(x).chunk(2, 1)[::-1], 1)), 8, 8, 8),
    "heads": (lambda n, x: n.head(n.f(x).view(-1, 2, 4).transpose(1, 2).flatten(1)), 8, 8, 8),
    "cropped": (lambda n, x: n.head(F.pad(n.f(x), (-2, 2))), 8, 8, 8),
    "padded": (lambda n, x: n.head(F.pad(n.f(x), (2, 3), value=0.5)), 6, 8, 13),
    "layer norm": (lambda n, x: n.head(n.norm(n.f(x))), 8, 8, 8),
    "a gain of each channel": (lambda n, x: n.head(n.f(x) * n.scale), 8, 8, 8),
    "a gain of another layer": (lambda n, x: n.head(n.f(x) * n.g(x).sigmoid()), 6, 6, 8),
    "mean of the channels": (lambda n, x: n.head(n.f(x).mean(1, keepdim=True)), 8, 8, 1),
    "given out": (lambda n, x: n.f(x) + n.head(n.g(x)).sum(), 8, 6, 8),
    "dropout": (lambda n, x: n.head(F.dropout(n.f(x), 0.5, n.training)), 6, 8, 8),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_through_a_network(way: str) -> None:
    forward, of_f, of_g, inputs = WAYS[way]
    model, x = Net(forward, inputs).double(), torch.randn(2, 4, dtype=torch.float64)
    smaller = smaller_network(model, x)
    assert (smaller.after["f"][1], smaller.after["g"][1]) == (of_f, of_g)
    assert_same(model, {}, smaller, x)


@settings(max_examples=10)
@given(
    seeds, st.sampled_from(["sum", "concatenation", "both ways", "a gain of another layer"]), st.floats(0, 1)
)
def test_any_filters_may_be_dead(seed: int, way: str, share: float) -> None:
    torch.manual_seed(seed)
    forward, _, _, inputs = WAYS[way]
    model, x = Net(forward, inputs).double(), torch.randn(2, 4, dtype=torch.float64)
    masks = {name: (torch.rand(8) > share).expand(4, 8).clone() for name in ("f", "g")}
    masks["head"] = (torch.rand(inputs, 1) > share).expand(inputs, 2).clone()
    smaller = smaller_network(model, x, masks)
    assert_same(model, masks, smaller, x)
    assert min(smaller.after["f"][1], smaller.after["g"][1]) >= 1


def test_a_forward_that_holds_sizes_is_refused() -> None:
    model, x = Net(lambda n, x: n.head(n.f(x).view(-1, 8))), torch.randn(2, 4)
    with pytest.raises(XbarError, match=r"Net: its forward does not fit smaller layers: .*flatten") as error:
        smaller_network(model, x)
    assert "\n" not in str(error.value)


def test_files(tmp_path: Path) -> None:
    model, x = network("resnet20")
    smaller = smaller_network(model, x, dead_filters(model, every_third)).model
    save_network(smaller, tmp_path / "small.safetensors")
    saved = load_file(tmp_path / "small.safetensors")
    assert saved.keys() == smaller.state_dict().keys()
    assert sum(t.numel() for t in saved.values()) < 0.8 * sum(t.numel() for t in model.state_dict().values())
    loaded = load_network(model, tmp_path / "small.safetensors")
    assert torch.equal(loaded.eval()(x), smaller.eval()(x))
    assert model.layer1[0].conv1.out_channels == 8
    with pytest.raises(XbarError, match=r"small\.safetensors: holds another network than this LeNet5"):
        load_network(network("lenet5")[0], tmp_path / "small.safetensors")
    with pytest.raises(XbarError, match="no such file"):
        load_network(model, tmp_path / "none.safetensors")


def test_onnx_without_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        XbarError, match=r"ONNX needs onnx and onnxscript: pip install 'xbar-codesign\[export\]'"
    ):
        save_onnx(nn.Linear(2, 2), torch.ones(1, 2), tmp_path / "net.onnx")


def test_onnx(tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra: export)")
    from onnx.reference import ReferenceEvaluator

    model, x = Joined(), torch.randn(1, 3, 8, 8)
    smaller = smaller_network(model, x, dead_filters(model, every_third)).model
    save_onnx(smaller, x, tmp_path / "net.onnx")
    run = ReferenceEvaluator(str(tmp_path / "net.onnx"))
    x = torch.randn(5, 3, 8, 8)
    found = torch.from_numpy(run.run(None, {run.input_names[0]: x.numpy()})[0])
    torch.testing.assert_close(found, smaller.eval()(x), rtol=1e-4, atol=1e-5)
