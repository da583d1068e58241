"""A module that computes what a linear layer does is one; what does anything else is left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import design
from torch import Tensor, nn

from mapping import crossbar_form, map_network
from mapping.lowering.linear_modules import as_linear


class Turned(nn.Module):
    """As GPT-2's Conv1D: y = x W + b, by addmm."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.nf = outputs
        self.weight, self.bias = nn.Parameter(torch.rand(inputs, outputs)), nn.Parameter(torch.rand(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight)
        return y.view(*x.shape[:-1], self.nf)


class Own(nn.Module):
    """One that somebody wrote, with what it does to its product."""

    def __init__(self, forward: Callable[[Tensor, Tensor, Tensor], Tensor], *shape: int) -> None:
        super().__init__()
        self.kernel, self.shift, self.act = (
            nn.Parameter(torch.rand(*shape)),
            nn.Parameter(torch.rand(6)),
            forward,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x, self.kernel, self.shift)


LINEAR: dict[str, nn.Module] = {
    "turned": Turned(6, 4),
    "square": Turned(4, 4),
    "matmul": Own(lambda x, w, b: x @ w + b, 4, 6),
    "linear": Own(nn.functional.linear, 6, 4),
    "bias first": Own(lambda x, w, b: b + torch.einsum("...k,nk->...n", x, w), 6, 4),
}


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_linear_becomes_a_layer(name: str) -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), LINEAR[name]).eval(), torch.rand(2, 5, 3)
    form = crossbar_form(model, x)
    assert type(form[2]) is nn.Linear
    torch.testing.assert_close(form(x), model(x))
    mapped = map_network(form, design(), x)
    assert mapped.digital_macs == {}
    assert mapped.layers["2"].positions == 5


OTHER: dict[str, nn.Module] = {
    "activation": Own(lambda x, w, b: (x @ w + b).relu(), 4, 6),
    "clipped far out": Own(lambda x, w, b: (x @ w + b).clamp(-1e6, 1e6), 4, 6),
    "scaled": Own(lambda x, w, b: 2 * (x @ w) + b, 4, 6),
    "residual": Own(lambda x, w, b: x + x @ w + b[:4], 4, 4),
    "dropout": Own(lambda x, w, b: nn.functional.dropout(x, 0.5) @ w + b, 4, 6),
    "weight twice": Own(lambda x, w, b: x @ w @ w + b[:4], 4, 4),
    "sums of bias": Own(lambda x, w, b: x @ w + b + b, 4, 6),
    "low rank": nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 6)),
    "table": nn.Embedding(4, 6),
    "norm": nn.LayerNorm(4),
    "a layer": nn.Linear(4, 6),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_is_not_is_left_alone(name: str) -> None:
    assert as_linear(OTHER[name]) is None


def test_nothing_is_changed_in_the_module_and_its_parameters_stay() -> None:
    own = Own(nn.functional.linear, 6, 4).train()
    own.kernel.requires_grad_(False)
    before, state = torch.random.get_rng_state(), {k: v.clone() for k, v in own.state_dict().items()}
    layer = as_linear(own)
    assert layer is not None
    assert layer.weight is own.kernel
    assert layer.bias is own.shift
    assert own.training
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(v, state[k]) for k, v in own.state_dict().items())
    turned = as_linear(Turned(6, 4))
    assert turned is not None
    assert turned.nf == 6


def test_hooks_and_shapes_without_numbers() -> None:
    with torch.device("meta"):
        model = nn.Sequential(Turned(6, 4))
        mapped = map_network(crossbar_form(model, torch.rand(2, 4)), design(), torch.rand(2, 4))
    assert (mapped.layers["0"].k, mapped.layers["0"].n) == (4, 6)
    hooked = nn.Sequential(Turned(6, 4))
    hooked[0].register_forward_hook(lambda module, args, y: 2 * y)
    x = torch.rand(2, 4)
    torch.testing.assert_close(crossbar_form(hooked, x)(x), hooked(x))
