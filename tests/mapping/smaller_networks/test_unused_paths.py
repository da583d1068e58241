"""Unused paths: the same outputs without them, none left, and unknown operators read all of their inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import masks_of, seeds
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.inputs.networks import build_network
from mapping import crossbar_form
from mapping.network.gemm import mappable_layers, to_gemm
from mapping.smaller_networks.channel_graph import apply_masks
from mapping.smaller_networks.unused_paths import UsedPaths, remove_unused_paths
from xbar import XbarError


def masked(model: nn.Module, masks: dict[str, Tensor]) -> nn.Module:
    model = copy.deepcopy(model).eval()
    apply_masks(model, masks)
    return model


def assert_same(model: nn.Module, masks: dict[str, Tensor], other: nn.Module, x: Tensor) -> None:
    """On inputs of the example's shape, in float64."""
    reference, other = masked(model, masks).double(), copy.deepcopy(other).eval().double()
    for _ in range(2):
        x = torch.randn_like(x, dtype=torch.float64)
        expected = reference(x)
        error = (other(x) - expected).abs().max() / expected.abs().max().clamp_min(1e-300)
        assert error < 1e-10


class Joins(nn.Module):
    """Two convolutions of one input, added, joined, or multiplied."""

    def __init__(self, a: nn.Module, b: nn.Module, join: str) -> None:
        super().__init__()
        self.a, self.b, self.join = a, b, join

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        if self.join == "add":
            return a.add_(b)
        return torch.cat([b, a], 1) if self.join == "cat" else a * b.sigmoid()


@st.composite
def nets(draw: st.DrawFn) -> tuple[nn.Sequential, Tensor, dict[str, Tensor]]:
    """A few layers with what lies between them, smooth functions only, and masks with whole columns and rows
    of zeros."""
    torch.manual_seed(draw(seeds))
    channels, size = draw(st.integers(1, 3)), 6
    x = torch.randn(2, channels, size, size, dtype=torch.float64)
    modules: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        after, padding, kernel = draw(st.integers(1, 4)), draw(st.integers(0, 1)), draw(st.integers(1, 2))

        def conv(
            channels: int = channels, after: int = after, k: int = kernel, p: int = padding
        ) -> nn.Module:
            groups = draw(st.sampled_from([g for g in (1, channels) if after % g == 0]))
            bias = draw(st.booleans())
            kind = draw(st.sampled_from([nn.Conv2d, nn.Conv2d, nn.ConvTranspose2d]))
            return kind(channels, after, k, 1, p, groups=groups, bias=bias)

        join = draw(st.sampled_from(["", "", "add", "cat", "mul"]))
        if join:
            p = padding
            pair = [nn.Conv2d(channels, after, kernel, 1, p, bias=draw(st.booleans())) for _ in range(2)]
            modules.append(Joins(*pair, join))
        else:
            modules.append(conv())
        channels = after * (2 if join == "cat" else 1)
        if draw(st.booleans()):
            norm = nn.BatchNorm2d(channels)
            norm.weight.data = torch.randn(channels).clamp_min(draw(st.sampled_from([-9, 0])))
            nn.init.normal_(norm.bias)
            modules.append(norm)
        modules.append(draw(st.sampled_from([nn.Tanh(), nn.SiLU(), nn.AvgPool2d(2), nn.Identity()])))
    modules += [nn.Flatten(), nn.LazyLinear(draw(st.integers(1, 5))), nn.Tanh(), nn.LazyLinear(3)]
    model = nn.Sequential(*modules).double().eval()
    try:
        model(x)
    except RuntimeError:  # a kernel or pool larger than what is left
        model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 4), nn.Tanh(), nn.Linear(4, 3)).double()
    masks = {name: draw(masks_of(to_gemm(layer).t())) for name, layer in mappable_layers(model).items()}
    return model, x, masks


@settings(max_examples=8)
@given(nets())
def test_same_outputs_and_every_weight_left_matters(
    case: tuple[nn.Module, Tensor, dict[str, Tensor]],
) -> None:
    model, x, masks = case
    before = copy.deepcopy(model.state_dict())
    used = remove_unused_paths(model, x, masks)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert_same(model, masks, used.model, x)
    for name, mask in used.masks.items():
        assert not (mask & ~masks[name]).any()
        assert used.after[name] == int(mask.sum()) <= used.before[name] == int(masks[name].sum())
    _assert_all_matter(used, x)
    again = remove_unused_paths(used.model, x, used.masks)
    assert all(torch.equal(again.masks[name], mask) for name, mask in used.masks.items())
    assert all(torch.equal(again.unread[name], unread) for name, unread in used.unread.items())


def _assert_all_matter(used: UsedPaths, x: Tensor) -> None:
    """The derivative of what the network gives, by each weight left, differs from 0 for some input."""
    largest = {name: torch.zeros_like(mask, dtype=torch.float64) for name, mask in used.masks.items()}
    layers = mappable_layers(used.model.eval())
    for _ in range(4):
        y = used.model(torch.randn_like(x))
        y.backward(torch.randn_like(y))
        for name, layer in layers.items():
            if layer.weight.grad is not None:
                gradient = copy.copy(layer)
                gradient._parameters = {**layer._parameters, "weight": nn.Parameter(layer.weight.grad)}
                largest[name] = torch.maximum(largest[name], to_gemm(gradient).abs())
        used.model.zero_grad()
    for name, mask in used.masks.items():
        assert (largest[name][mask] > 0).all(), name


def two_convolutions(bias: float, padding: int) -> nn.Sequential:
    """The second filter of the first is zero, and gives its bias."""
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3, padding=padding))
    model[0].weight.data[1] = 0
    model[0].bias.data = torch.tensor([0.1, bias])
    return model


@pytest.mark.parametrize(
    ("bias", "padding", "gone"),
    [(0.5, 0, range(9, 18)), (0.5, 1, [13]), (-0.5, 1, range(9, 18)), (0.0, 1, range(9, 18))],
)
def test_a_constant_goes_into_the_bias_where_no_border_shows(bias: float, padding: int, gone: range) -> None:
    model, x = two_convolutions(bias, padding).double(), torch.randn(2, 2, 8, 8).double()
    used = remove_unused_paths(model, x)
    assert_same(model, {}, used.model, x)
    assert (~used.masks["2"].any(1)).nonzero().flatten().tolist() == list(gone)
    assert used.masks["2"].any(1).sum() * 3 == used.after["2"]
    unread = len(gone) == 9
    assert used.unread["0"].tolist() == [False, unread]
    assert (used.model[0].bias[1] == 0) == (unread or bias == 0)
    assert used.model[2].bias.allclose(model[2].bias) == (bias <= 0)
    assert str(used).splitlines()[-1].split() == ["all", "layers", "72", "->", str(18 + used.after["2"])]


def test_a_channel_that_differs_a_little_at_its_border_is_no_constant() -> None:
    """Zeros that a padding adds change what the second layer gives at the border in the twelfth digit."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 2, 1))
    model[0].weight.data[:] = 0
    model[0].bias.data[:] = 1
    model[1].weight.data[:] = 1e-12 * torch.eye(3)
    model[1].weight.data[..., 1, 1] = 1
    x = torch.randn(2, 1, 8, 8).double()
    used = remove_unused_paths(model.double(), x)
    assert used.after["2"] == 2
    assert_same(model, {}, used.model, x)


def test_a_layer_without_a_bias_gets_one_for_the_constant() -> None:
    model, x = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2, bias=False)), torch.randn(2, 3)
    used = remove_unused_paths(model, x, {"0": torch.tensor([True, False]).expand(3, 2)})
    assert used.after == {"0": 3, "2": 2}
    assert used.model[2].bias.allclose(model[2].weight[:, 1] * model[0].bias[1].tanh())
    assert model[2].bias is None


def test_unread_outputs_free_the_layers_before_them() -> None:
    model, x = (
        nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)),
        torch.randn(2, 5),
    )
    used = remove_unused_paths(model, x, {"4": torch.arange(4)[:, None].expand(4, 2) > 2})
    assert used.after == {"0": 20, "2": 4, "4": 2}
    model[2].weight.data[3, :2] = 0
    used = remove_unused_paths(model, x, {"4": torch.arange(4)[:, None].expand(4, 2) > 2})
    assert used.after == {"0": 10, "2": 2, "4": 2}


class Net(nn.Module):
    """Three layers, a zero filter each in the first two (the first of `f`, the last of `g`), and a forward
    that a test gives."""

    def __init__(self, forward: Callable[[Net, Tensor], Tensor], bias: float = 0.25) -> None:
        super().__init__()
        self.f, self.g, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.norm, self.way = nn.LayerNorm(4), forward
        for layer, n in ((self.f, 0), (self.g, 3)):
            layer.weight.data[n] = 0
            layer.bias.data[n] = bias

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def first(n: Net, x: Tensor) -> Tensor:
    return n.f(x).relu()


WAYS: dict[str, tuple[Callable[[Net, Tensor], Tensor], dict[str, int]]] = {
    "sum: neither is constant": (lambda n, x: n.head(n.f(x) + n.g(x)), {"f": 12, "g": 12, "head": 8}),
    "sum with itself": (lambda n, x: n.head(n.f(x) + n.f(x)), {"f": 12, "g": 0, "head": 6}),
    "in place, through a view": (
        lambda n, x: (y := n.f(x), y.view(2, 2, 2)[:, 0].neg_(), n.head(y))[-1],
        {"f": 12, "g": 0, "head": 6},
    ),
    "slice and concatenation": (
        lambda n, x: n.head(torch.cat([n.f(x)[:, :1], n.g(x)[:, 1:]], 1)),
        {"f": 0, "g": 8, "head": 4},
    ),
    "chunks": (lambda n, x: n.head(torch.cat(n.f(x).chunk(2, 1)[::-1], 1)), {"f": 12, "g": 0, "head": 6}),
    "layer norm reads all": (lambda n, x: n.head(n.norm(n.f(x))), {"f": 12, "g": 0, "head": 8}),
    "softmax reads all": (lambda n, x: n.head(first(n, x).softmax(1)), {"f": 12, "g": 0, "head": 8}),
    "random": (
        lambda n, x: n.head(torch.rand(1, 4, dtype=x.dtype).expand(2, 4)),
        {"f": 0, "g": 0, "head": 8},
    ),
    "called twice, other constants": (
        lambda n, x: n.head(n.f(x)) + n.head(n.g(x)),
        {"f": 12, "g": 12, "head": 8},
    ),
    "weight used elsewhere": (
        lambda n, x: n.head(n.f(x)) * n.head.weight.sum(),
        {"f": 12, "g": 0, "head": 8},
    ),
    "bias used elsewhere": (lambda n, x: n.head(n.f(x)) * n.head.bias.sum(), {"f": 12, "g": 0, "head": 8}),
    "products of what is zero": (
        lambda n, x: n.head((n.f(x) - 0.25) * (n.f(x) - 0.25).roll(1, 1)),
        {"f": 12, "g": 0, "head": 4},
    ),
    "two that are zero": (
        lambda n, x: (n.f(x) - 0.25) * (n.g(x).flip(1) - 0.25),
        {"f": 12, "g": 12, "head": 0},
    ),
    "mean over the channels": (
        lambda n, x: n.head(n.f(x).mean(1, keepdim=True).expand(2, 4)),
        {"f": 12, "g": 0, "head": 8},
    ),
    "largest of two": (
        lambda n, x: n.head(F.max_pool1d(n.f(x)[:, None], 2)[:, 0].repeat(1, 2)),
        {"f": 12, "g": 0, "head": 8},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_through_a_network(way: str) -> None:
    forward, after = WAYS[way]
    model, x = Net(forward).double(), torch.randn(2, 4).double()
    used = remove_unused_paths(model, x)
    assert used.after == after
    if way != "random":
        assert_same(model, {}, used.model, x)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.f, self.head = nn.Embedding(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.f(x)) + self.words(torch.tensor([1]))


def test_a_layer_whose_weight_is_an_embedding_s_keeps_it() -> None:
    model = Tied().double()
    used = remove_unused_paths(model, torch.randn(2, 4).double(), {"f": torch.arange(4).expand(4, 4) > 0})
    assert used.after == {"f": 12, "head": 16}


def test_batch_norms_that_are_left_and_gates_of_zero() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    model[1].weight.data[2] = 0
    model[1].bias.data[:] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    model[1].running_mean.uniform_(-1, 1)
    model, x = model.double(), torch.randn(1, 3, 8, 8).double()
    used = remove_unused_paths(model, x)
    assert used.after == {"0": 81, "3": 54}
    assert_same(model, {}, used.model, x)


def test_layers_of_one_weight_keep_it() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)).double()
    model[1].weight = model[0].weight
    x = torch.randn(2, 4).double()
    used = remove_unused_paths(model, x, {"2": torch.arange(4)[:, None].expand(4, 2) > 0})
    assert used.after == {"0": 16, "1": 16, "2": 6}
    assert set(used.unread) == {"2"}


@pytest.mark.parametrize("network", ["vgg16-cifar", "resnet20"])
@pytest.mark.parametrize("batch_norm", ["fold", "digital"])
def test_whole_networks_with_filters_pruned_at_random(network: str, batch_norm: str) -> None:
    model, x = build_network(network, width=0.25), torch.rand(1, 3, 32, 32)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.5)
            module.running_mean = torch.randn_like(module.running_mean)
    x = x.double()
    form = crossbar_form(model.double(), x, batch_norm=batch_norm)
    layers = mappable_layers(form)
    masks = {
        name: (torch.rand(to_gemm(layer).shape[1]) < 0.5).expand(to_gemm(layer).shape).clone()
        for name, layer in list(layers.items())[:-1]
    }
    used = remove_unused_paths(form, x, masks)
    assert_same(form, masks, used.model, x)
    assert sum(used.after.values()) < 0.9 * sum(used.before.values())


class Decides(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("model", "x", "masks", "message"),
    [
        (
            nn.Sequential(nn.Linear(3, 2)),
            torch.ones(1, 3),
            {"1": torch.ones(3, 2)},
            "masks: unknown name '1'",
        ),
        (
            nn.Sequential(nn.Linear(3, 2)),
            torch.ones(1, 3),
            {"0": torch.ones(3, 2)},
            r"masks/0: .*bool.*\(3, 2\)",
        ),
        (
            nn.Sequential(nn.Linear(3, 2)),
            torch.ones(1, 3),
            {"0": torch.ones(2, 3) > 0},
            r"masks/0: .*\(3, 2\)",
        ),
        (nn.Sequential(nn.Linear(3, 2)), torch.ones(1, 4), {}, "refuses it"),
        (
            nn.Sequential(nn.Linear(3, 2, device="meta")),
            torch.ones(1, 3),
            {},
            "0: its weights have no values",
        ),
        (nn.ReLU(), torch.ones(1, 4), {}, "no nn.Linear"),
        (Decides(), torch.ones(1, 3), {}, "Decides: torch.export cannot follow its forward"),
    ],
)
def test_refusals(model: nn.Module, x: Tensor, masks: dict[str, Tensor], message: str) -> None:
    with pytest.raises(XbarError, match=message) as error:
        remove_unused_paths(model, x, masks)
    assert "\n" not in str(error.value)
