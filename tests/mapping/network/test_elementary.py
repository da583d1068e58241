"""Elementary operations of digital operators by hand, and products against torch's own counter."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from experiments.inputs.networks import build_network
from mapping import Choice, MappedNetwork, crossbar_form, map_network
from mapping.network.elementary import OPERATIONS, RULES
from xbar import load_hardware


def of_function(function: Any, *shape: int, images: int = 1) -> dict[str, int]:
    """Operations of what a function makes of the outputs of a layer, in all."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(shape[-1], shape[-1])

        def forward(self, x: Tensor) -> Any:
            return function(self.layer(x))

    return in_all(map_network(Network(), load_hardware("admm-32x32"), torch.randn(images, *shape)))


def in_all(mapped: MappedNetwork) -> dict[str, int]:
    """Elementary operations of all operators."""
    found: Counter[str] = Counter()
    for counts in mapped.digital_operations.values():
        found.update(counts)
    return dict(found)


CASES: dict[str, tuple[Any, tuple[int, ...], dict[str, int]]] = {
    "add": (lambda x: x + x, (4, 6), {"additions": 24}),
    "add in place": (lambda x: x.clone().add_(x), (4, 6), {"additions": 24}),
    "product": (lambda x: x * x, (4, 6), {"multiplications": 24}),
    "quotient": (lambda x: x / x, (4, 6), {"divisions": 24}),
    "constant": (lambda x: x / 8, (4, 6), {"multiplications": 24}),
    "cube": (lambda x: x**3, (4, 6), {"multiplications": 48}),
    "mean": (lambda x: x.mean(-1), (4, 6), {"additions": 20, "multiplications": 4}),
    "sum": (lambda x: x.sum(-1), (4, 6), {"additions": 20}),
    "largest": (lambda x: x.amax(-1), (4, 6), {"comparisons": 20}),
    "of two": (lambda x: torch.maximum(x, x), (4, 6), {"comparisons": 24}),
    "root": (lambda x: x.abs().sqrt(), (4, 6), {"comparisons": 24, "divisions": 24}),
    "gelu": (F.gelu, (4, 6), {"activations": 24}),
    "pool": (lambda x: F.max_pool2d(x, 2), (3, 4, 6), {"pooled": 72}),
    # 2 x 2 windows, 6 of them in each of 3 channels: 3 additions and a product
    "average pool": (lambda x: F.avg_pool2d(x, 2), (3, 4, 6), {"additions": 54, "multiplications": 18}),
    # overlapping 3 x 3 windows with stride 1: 2 x 4 in each channel
    "windows": (lambda x: F.avg_pool2d(x, 3, 1), (3, 4, 6), {"additions": 192, "multiplications": 24}),
    "global": (lambda x: F.adaptive_avg_pool2d(x, 1), (3, 4, 6), {"additions": 69, "multiplications": 3}),
    # windows of 2, 3 and 2 places along each axis of 5: 7 x 7 places are looked at in each channel
    "overlapping windows": (
        lambda x: F.adaptive_avg_pool2d(x, (3, 3)),
        (8, 5, 5),
        {"additions": 8 * (49 - 9), "multiplications": 8 * 9},
    ),
    # windows of 3, 4 and 3 places along 8, of 2 and 2 along 4
    "of unlike sides": (
        lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
        (8, 8, 4),
        {"additions": 8 * (10 * 4 - 6), "multiplications": 8 * 6},
    ),
    # the one place is a window of its own 49 times
    "more windows than places": (
        lambda x: F.adaptive_avg_pool2d(x, 7),
        (8, 1, 1),
        {"multiplications": 8 * 49},
    ),
    # 4 rows of 6: 5 comparisons, 6 subtractions, 6 exponentials, 5 additions, an inverse and 6 products
    "softmax": (
        lambda x: x.softmax(-1),
        (4, 6),
        {
            "comparisons": 20,
            "additions": 44,
            "transcendentals": 24,
            "divisions": 4,
            "multiplications": 24,
        },
    ),
    # its logarithm: 6 more subtractions and one logarithm a row in place of the inverse and the products
    "log softmax": (
        lambda x: x.log_softmax(-1),
        (4, 6),
        {"comparisons": 20, "additions": 68, "transcendentals": 28},
    ),
    # 4 rows of 6: two means of 5 additions and a product, 6 subtractions, 6 squares, epsilon, an inverse
    # root, and 6 products
    "layer norm": (
        lambda x: F.layer_norm(x, (6,)),
        (4, 6),
        {"additions": 68, "multiplications": 56, "divisions": 4},
    ),
    # with 6 products and 6 additions a row for weight and bias
    "affine": (
        lambda x: F.layer_norm(x, (6,), torch.ones(6), torch.ones(6)),
        (4, 6),
        {"additions": 92, "multiplications": 80, "divisions": 4},
    ),
    # 2 groups of 2 channels of 6
    "group norm": (
        lambda x: F.group_norm(x, 2),
        (4, 6),
        {"additions": 2 * (11 + 12 + 11 + 1), "multiplications": 2 * (2 + 12 + 12), "divisions": 2},
    ),
    # the same with a group a channel: 4 groups of 64
    "instance norm": (
        lambda x: F.instance_norm(x),
        (4, 8, 8),
        {"additions": 4 * (63 + 64 + 63 + 1), "multiplications": 4 * (2 + 64 + 64), "divisions": 4},
    ),
    # its mean and variance are kept: a product and an addition an element
    "batch norm": (
        lambda x: F.batch_norm(x, torch.zeros(4), torch.ones(4)),
        (4, 8, 8),
        {"additions": 256, "multiplications": 256},
    ),
    "layout": (lambda x: x.transpose(1, 2).flatten(1), (4, 6), {}),
}


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_operations_of_one_operator(name: str, images: int) -> None:
    function, shape, expected = CASES[name]
    assert of_function(function, *shape, images=images) == expected


def test_kinds_are_those_that_have_a_name() -> None:
    assert {kind for _, _, counts in CASES.values() for kind in counts} | {"looked_up"} == OPERATIONS.keys()
    assert all(hasattr(torch.ops.aten, name) for name in RULES)


def of(name: str, *shape: int) -> MappedNetwork:
    model = build_network(name)
    example = torch.zeros(1, *shape)
    return map_network(crossbar_form(model, example), load_hardware("admm-32x32"), example)


def test_lenet5() -> None:
    """Pools of 20 x 24 x 24 and 50 x 8 x 8, and activations of the same and of 500."""
    found = in_all(of("lenet5", 1, 28, 28))
    assert found == {"pooled": 11520 + 3200, "activations": 11520 + 3200 + 500}


def test_resnet20() -> None:
    """Nine additions of 16 x 32 x 32, 32 x 16 x 16 and 64 x 8 x 8; a mean of 64 at the end."""
    found = in_all(of("resnet20", 3, 32, 32))
    residual = 3 * (16 * 1024 + 32 * 256 + 64 * 64)
    activations = 7 * 16 * 1024 + 6 * 32 * 256 + 6 * 64 * 64
    assert found == {"additions": residual + 64 * 63, "multiplications": 64, "activations": activations}


class Block(nn.Module):
    """A transformer block with causal attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self, words: int, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.block, self.norm, self.head = Block(width, heads), nn.LayerNorm(width), nn.Linear(width, words)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.block(x)))


@pytest.mark.parametrize("images", [1, 2])
def test_gpt(images: int) -> None:
    """8 words, width 16, 2 heads: by hand, and its products by torch's counter."""
    model, ids = Gpt(50, 16, 2, 8).eval(), torch.zeros(images, 8, dtype=torch.long)
    mapped = map_network(model, load_hardware("admm-32x32"), ids)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(ids)
    on_tiles = sum(layer.positions * layer.k * layer.n for layer in mapped.layers.values())
    digital = sum(mapped.digital_macs.values())
    assert 2 * images * (on_tiles + digital) == counter.get_total_flops()
    assert digital == 2 * 2 * 8 * 8 * 8
    values, scores, rows = 8 * 16, 2 * 8 * 8, 2 * 8
    norm = {"additions": 15 + 16 + 15 + 1 + 16, "multiplications": 2 + 16 + 16 + 16, "divisions": 1}
    additions = 3 * values + 3 * 8 * norm["additions"] + 3 * scores - rows
    assert in_all(mapped) == {
        "looked_up": values * 2 if images == 1 else values + values // images,
        "additions": additions,
        "multiplications": 3 * 8 * norm["multiplications"] + 2 * values + scores,
        "divisions": 3 * 8 + rows,
        "comparisons": scores - rows,
        "transcendentals": scores,
        "activations": 4 * values,
    }


class Digital(nn.Module):
    """A layer on tiles, and a module that stays digital."""

    def __init__(self, width: int, module: nn.Module) -> None:
        super().__init__()
        self.layer, self.digital = nn.Linear(width, width), module

    def forward(self, x: Tensor) -> Any:
        return self.digital(self.layer(x))


def digital(width: int, module: nn.Module, *shape: int, device: str = "cpu") -> dict[str, int]:
    model = Digital(width, module).eval().to(device)
    layers: Any = {"digital": Choice(digital=True)} if isinstance(module, nn.Linear | nn.Conv2d) else None
    example = torch.zeros(*shape, device=device)
    return in_all(map_network(model, load_hardware("admm-32x32"), example, layers=layers))


@pytest.mark.parametrize("bias", [True, False])
def test_bias_of_a_digital_layer(bias: bool) -> None:
    """An addition an output: 5 x 8, and 3 channels of 4 x 6."""
    added = ["additions"] if bias else []
    assert digital(6, nn.Linear(6, 8, bias), 1, 5, 6) == dict.fromkeys(added, 40)
    assert digital(6, nn.Conv2d(2, 3, 1, bias=bias), 1, 2, 4, 6) == dict.fromkeys(added, 72)


@pytest.mark.parametrize("bias", [True, False])
def test_lstm_without_layers_on_tiles(bias: bool) -> None:
    """8 units in 5 steps: four gates, of which each adds two products and two biases, and a cell."""
    additions = 4 + (8 if bias else 0) + 1
    expected = {"additions": 40 * additions, "activations": 40 * 5, "multiplications": 40 * 3}
    assert digital(6, nn.LSTM(6, 8, bias=bias, batch_first=True), 1, 5, 6) == expected
    # operators for each of these, where nothing is computed; the first bias of the hidden state is a constant
    expected["additions"] -= 32 if bias else 0
    assert digital(6, nn.LSTM(6, 8, bias=bias, batch_first=True), 1, 5, 6, device="meta") == expected


class Attention(nn.Module):
    def __init__(self, **keys: Any) -> None:
        super().__init__()
        self.keys = keys

    def forward(self, x: Tensor) -> Tensor:
        mask = x.new_zeros(5, 5) if self.keys.get("mask") else None
        q = x.unflatten(-1, (2, 3)).transpose(1, 2)
        return F.scaled_dot_product_attention(q, q, q, mask, is_causal=bool(self.keys.get("causal")))


@pytest.mark.parametrize("keys", [{}, {"mask": True}, {"causal": True}], ids=str)
def test_attention_is_the_same_fused_or_not(keys: dict[str, bool]) -> None:
    """2 heads, 5 tokens of 3: 30 products each for queries and keys, and 50 scores in rows of 5."""
    expected = {
        "comparisons": 40,
        "additions": 90 + (50 if keys else 0),
        "transcendentals": 50,
        "divisions": 10,
        "multiplications": 60 + 50,
    }
    for device in ("cpu", "meta"):
        assert digital(6, Attention(**keys), 1, 5, 6, device=device) == expected


def test_work_that_no_input_changes_is_done_once() -> None:
    """A weight that is normalised, or a mask that is made, is no work of an image."""

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(6, 6), nn.Parameter(torch.ones(6))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) * (self.scale / self.scale.sum())

    mapped = map_network(Normalised(), load_hardware("admm-32x32"), torch.randn(1, 6))
    assert in_all(mapped) == {"multiplications": 6}
    assert mapped.digital_elements == {"mul": 6}


def test_what_only_moves_numbers_is_no_work() -> None:
    def moved(x: Tensor) -> Tensor:
        parts = torch.unsafe_split(x.clone().transpose_(1, 2).unsqueeze_(1).squeeze_(1), 2, 1)
        return torch.cat(list(parts), 1) + torch.ones(6, 6).tril()

    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return moved(self.layer(x))

    mapped = map_network(Moved(), load_hardware("admm-32x32"), torch.randn(1, 6, 6))
    assert mapped.digital_elements == {"add": 36}


def test_a_product_by_broadcast_is_counted_once() -> None:
    """The product of 3 vectors with a 16 x 10 matrix, element by element: it is counted as that, with
    its sum; an addition of something else is none of it."""

    class Spread(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.weight = nn.Linear(16, 16), nn.Parameter(torch.ones(16, 10))

        def forward(self, x: Tensor) -> Tensor:
            return (self.layer(x).unsqueeze(-1) * self.weight).sum(-2).sum(-1)

    mapped = map_network(Spread(), load_hardware("admm-32x32"), torch.randn(3, 16))
    assert mapped.digital_macs == {"mul": 160}
    assert in_all(mapped) == {"additions": 9}
