"""Modules that are linear layers by what they compute: y = x W + b over the last axis, under any name.

Such are `Conv1D` of GPT-2, whose weight is (inputs, outputs), and layers that people write themselves. A
module is one where all that it runs is one product, moves of numbers and a sum, and where it gives what the
layer gives, with weights that are drawn for it, in eval and in train mode.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mapping.network.gemm import Layer
from mapping.network.modules import copy_of, linear
from mapping.network.operators import LAYOUT
from xbar.hardware.errors import XbarError

PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm", "addbmm"})
SHAPES = (2,), (3, 2)
"""Axes of inputs before the last one, of which a module is to take all."""


class _Names(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Names of the operators that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def as_linear(module: nn.Module) -> nn.Linear | None:
    """The linear layer that a module is by what it computes; None where it is none, or is a layer already.

    A weight (outputs, inputs) stays the parameter that it is; one of (inputs, outputs) is copied. Attributes
    stay.
    """
    parameters = list(module.parameters())
    weights = [p for p in parameters if p.dim() == 2]
    if isinstance(module, Layer) or len(weights) != 1 or len(parameters) > 2 or list(module.buffers()):
        return None
    weight, bias = weights[0], next((p for p in parameters if p.dim() == 1), None)
    if len(parameters) != 1 + (bias is not None) or list(module.children()):
        return None
    for turned in (False, True):
        if _is_linear(module, turned):
            matrix = weight.t().contiguous() if turned else weight
            layer = linear(matrix, bias)
            layer.weight.requires_grad_(weight.requires_grad)
            own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
            layer.__dict__ = {**own, **vars(layer)}
            layer.__dict__.pop("forward", None)
            return layer
    return None


def _is_linear(module: nn.Module, turned: bool) -> bool:
    """Whether a module with other weights, drawn for this, is a linear layer; `turned`: they are (inputs,
    outputs)."""
    try:
        probe = copy_of(module).to_empty(device="cpu").double()
    except (XbarError, NotImplementedError, RuntimeError):
        return False
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in probe.parameters():
            parameter.normal_()
        weight = next(p.t() if turned else p for p in probe.parameters() if p.dim() == 2)
        bias = next((p for p in probe.parameters() if p.dim() == 1), None)
        if bias is not None and len(bias) != len(weight):
            return False
        inputs = [torch.randn(*shape, weight.shape[1]).to(weight) for shape in SHAPES]
        return all(_agrees(probe.train(mode), x, weight, bias) for mode in (True, False) for x in inputs)


def _agrees(module: nn.Module, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    operators = _Names()
    try:
        with operators:
            y = module.forward(x)
    except Exception:  # it takes other inputs, and may say so in any way
        return False
    products = [name for name in operators.names if name in PRODUCTS]
    others = {name.rstrip("_") for name in operators.names if name not in PRODUCTS}
    if len(products) != 1 or not others <= LAYOUT | {"add"} or not isinstance(y, torch.Tensor):
        return False
    expected = nn.functional.linear(x, weight, bias)
    return y.shape == expected.shape and y.dtype == x.dtype and torch.allclose(y, expected, 1e-9, 1e-9)
