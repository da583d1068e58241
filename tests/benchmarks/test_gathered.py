"""Convolutions as products of gathered rows: the same outputs as those of the masked convolution."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from gathered import GatheredConv2d, gathered_network
from hypothesis import given, settings, strategies as st
from networks import seeds
from torch import Tensor, nn

from experiments.inputs.networks import build_network
from mapping import BlockSparse, smaller_network
from mapping.network.gemm import from_gemm, mappable_layers, to_gemm
from mapping.smaller_networks.channel_graph import apply_masks
from xbar import XbarError


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, tuple[int, int]]:
    """Any geometry, each way apart, and the size of an image that its window fits in; few filters and short
    lines, of which one tile holds all, since each kind of tile is compiled."""
    kernel, stride, dilation, padding, more = (
        draw(st.tuples(st.integers(low, high), st.integers(low, high)))
        for low, high in ((1, 4), (1, 2), (1, 3), (0, 4), (0, 6))
    )
    layer = nn.Conv2d(
        draw(st.integers(1, 4)),
        draw(st.integers(1, 5)),
        kernel,
        stride,
        draw(st.sampled_from(["same", "valid"])) if stride == (1, 1) and draw(st.booleans()) else padding,
        dilation,
        bias=draw(st.booleans()),
    )
    around = padding if layer.padding == padding else (0, 0)
    height, width = (
        max(1, d * (k - 1) + 1 - 2 * p) + extra
        for d, k, p, extra in zip(dilation, kernel, around, more, strict=True)
    )
    return layer.double(), (height, width)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch, of an even window
@settings(max_examples=150, deadline=None)
@given(convolutions(), seeds, st.floats(0, 1), st.integers(0, 3), st.booleans(), st.booleans())
def test_any_geometry(
    drawn: tuple[nn.Conv2d, tuple[int, int]],
    seed: int,
    share: float,
    images: int,
    channels_last: bool,
    relu: bool,
) -> None:
    torch.manual_seed(seed)
    layer, size = drawn
    rows = torch.rand(len(to_gemm(layer))) < share
    masked = copy.deepcopy(layer)
    masked.weight.data = from_gemm(to_gemm(layer) * rows[:, None], layer)
    gathered = GatheredConv2d(layer, rows, relu)
    assert gathered.weight.shape == (1, rows.sum(), 32)
    x = torch.randn(images, layer.in_channels, *size, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    for given_x in (x, *x[:1]):  # the second lacks the axis of images
        found, expected = gathered(given_x), masked(given_x)
        expected = expected.relu() if relu else expected
        assert found.shape == expected.shape
        assert ((found - expected).abs() <= 1e-10).all()


def alexnet(width: float = 0.125) -> tuple[nn.Module, dict[str, Tensor]]:
    """A narrow AlexNet, and masks that keep the first half of the filters, and of each channel a third of the
    shapes, of all convolutions but the last."""
    torch.manual_seed(0)
    model = build_network("alexnet", width=width).double().eval()
    masks = {}
    for name in ("features.0", "features.3", "features.6", "features.8"):
        layer = mappable_layers(model)[name]
        k, n = to_gemm(layer).shape
        _, masks[name] = BlockSparse(1, n, 1 / 3, band=k // layer.in_channels).project(to_gemm(layer))
        masks[name][:, n // 2 :] = False
        layer.bias.data[n // 2 :] = 0
    return model, masks


def test_a_network() -> None:
    model, masks = alexnet()
    x = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    before = copy.deepcopy(model.state_dict())
    smaller = smaller_network(model, x, masks)
    reference = copy.deepcopy(model)
    apply_masks(reference, masks)
    expected = reference(x)
    for network in (gathered_network(smaller.model, smaller.masks), gathered_network(model, masks)):
        kinds = [type(network.features[i]) for i in (0, 3, 6, 8, 10)]
        assert kinds == [GatheredConv2d] * 4 + [nn.Conv2d]
        assert [type(network.features[i]) for i in (1, 4, 7, 9, 11)] == [nn.Identity] * 4 + [nn.ReLU]
        assert (network(x) - expected).abs().max() < 1e-10 * expected.abs().max()
        assert not any(module.training for module in network.modules())
    assert network.features[3].weight.shape == (1, 8 * 8, 32)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_float32_and_a_saved_state() -> None:
    layer, x = nn.Conv2d(3, 64, 5, stride=2, padding=2), torch.randn(2, 3, 12, 13, requires_grad=True)
    rows = torch.arange(75) % 3 == 0
    gathered, other = (GatheredConv2d(layer, kept) for kept in (rows, rows.roll(1)))
    assert gathered(x).is_contiguous(memory_format=torch.channels_last)
    assert not torch.allclose(other(x), gathered(x), atol=1e-3)
    other.load_state_dict(gathered.state_dict())
    assert torch.equal(other(x), gathered(x))
    layer.weight.data = from_gemm(to_gemm(layer) * rows[:, None], layer)
    torch.testing.assert_close(gathered(x), layer(x).detach(), rtol=1e-5, atol=1e-5)


def test_what_stays_in_a_network() -> None:
    """Groups, other padding, and a layer that misses no row; of `model`, only the first has pruned rows of a
    kind that is gathered."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 2, 1),
        nn.Flatten(),
        nn.Linear(32, 3),
    )
    for i in (0, 1, 2, 5):
        model[i].weight.data[:, 0] = 0
    x = torch.randn(2, 2, 8, 8)
    network = gathered_network(model)
    assert [type(a) is type(b) for a, b in zip(network, model, strict=True)] == [False] + [True] * 5
    torch.testing.assert_close(network(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(2, 2, 3, dtype=torch.bfloat16),
        nn.Conv2d(2, 2, 3, device="meta"),
    ],
)
def test_layers_that_are_refused(layer: nn.Conv2d) -> None:
    with pytest.raises(XbarError, match=r"Conv2d\(2, 2, .*: only a convolution of one group") as error:
        GatheredConv2d(layer, torch.ones(len(to_gemm(layer)), dtype=torch.bool))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rows", [torch.ones(17, dtype=torch.bool), torch.ones(18), torch.ones(18, 2) > 0])
def test_rows_that_are_refused(rows: Tensor) -> None:
    with pytest.raises(XbarError, match=r"rows: must be a bool tensor of shape \(18,\)"):
        GatheredConv2d(nn.Conv2d(2, 2, 3), rows)


@pytest.mark.parametrize(
    "x",
    [
        torch.ones(1, 3, 8, 8),
        torch.ones(1, 2, 8, 2),
        torch.ones(2, 8),
        torch.ones(1, 2, 8, 8, dtype=torch.float64),
    ],
)
def test_inputs_that_are_refused(x: Tensor) -> None:
    gathered = GatheredConv2d(nn.Conv2d(2, 2, 3), torch.arange(18) < 9)
    with pytest.raises(
        XbarError, match=r"input of shape .*must be \(images, 2, height, width\) in torch.float32"
    ):
        gathered(x)


def test_masks_that_are_refused() -> None:
    with pytest.raises(XbarError, match="masks/0: must be a bool tensor of shape"):
        gathered_network(nn.Sequential(nn.Conv2d(2, 2, 3)), {"0": torch.ones(9, 2, dtype=torch.bool)})


def test_many_rows_threads_and_what_is_not_a_number() -> None:
    """More rows than run at once, lines of several tiles, and images shared by two threads: the same bits; a
    NaN spreads as far as its window, and a ReLU keeps it."""
    torch.manual_seed(0)
    layer, x = nn.Conv2d(40, 33, 3, padding=1), torch.randn(3, 40, 5, 31)
    rows = torch.arange(360) % 7 != 0
    gathered = GatheredConv2d(layer, rows, relu=True)
    layer.weight.data = from_gemm(to_gemm(layer) * rows[:, None], layer)
    before = torch.get_num_threads()
    outputs = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            outputs.append(gathered(x))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(outputs[0], layer(x).relu().detach(), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(outputs[0], other) for other in outputs[1:])
    x[1, 2, 2, 20] = torch.nan
    touched = torch.zeros(3, 5, 31, dtype=torch.bool)
    touched[1, 1:4, 19:22] = True
    touched[1, 2, 21] = False  # sees it by row 21, which is pruned
    assert torch.equal(gathered(x).isnan().any(1), touched)


class Around(nn.Module):
    """A convolution and a ReLU, and something that may see what is between them."""

    def __init__(self, forward: Callable[[Around, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.other, self.relu = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3), nn.ReLU()
        self.conv.weight.data[:, 0], self.other.weight.data[:, 1] = 0, 0
        self.run = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


@pytest.mark.parametrize(
    ("fused", "forward"),
    [
        (True, lambda m, x: m.relu(m.conv(x))),
        (True, lambda m, x: m.relu(input=m.conv(x)) + m.relu(m.other(x))),
        (False, lambda m, x: m.relu(m.conv(x)) + m.conv(x)),
        (False, lambda m, x: m.relu(y := m.conv(x)) * y.sum()),
        (False, lambda m, x: m.relu(m.conv(x)) + m.relu(x[..., 2:, 2:])),
        (False, lambda m, x: m.relu(m.conv(x)) if x.sum() < 1e9 else x),
        (False, lambda m, x: m.conv(x).relu()),
    ],
)
def test_a_relu_that_nothing_sees_behind(fused: bool, forward: Callable[[Around, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model, x = Around(forward), torch.randn(1, 2, 6, 6)
    network = gathered_network(model)
    assert type(network.conv) is GatheredConv2d
    assert type(network.relu) is (nn.Identity if fused else nn.ReLU)
    torch.testing.assert_close(network(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_relu_stays_behind_a_convolution_with_a_hook() -> None:
    seen = []
    model = Around(lambda m, x: m.relu(m.conv(x)))
    model.conv.register_forward_hook(lambda *given: seen.append(given[-1].min()))
    assert type(gathered_network(model).relu) is nn.ReLU
    gathered_network(model)(torch.randn(1, 2, 6, 6))
    assert seen[0] < 0


def test_a_forward_that_keeps_what_it_is_given() -> None:
    def forward(model: Around, x: Tensor) -> Tensor:
        model.kept = x
        return model.relu(model.conv(x))

    model = Around(forward)
    model.kept = torch.zeros(1)
    network = gathered_network(model)
    assert type(network.relu) is nn.Identity
    assert torch.equal(network.kept, model.kept)
