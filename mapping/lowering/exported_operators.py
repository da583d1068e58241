"""The `torch.nn` modules that do what operators of an exported graph do with constant weights."""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from mapping.lowering.contraction import Contraction, is_contraction
from mapping.network.modules import convolution, linear, parameter

aten = torch.ops.aten
NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


@dataclass(frozen=True)
class ModuleCall:
    """The call of a module that does what an operator does.

    Parameters
    ----------
    args
        What it is called with.
    outputs
        Where the outputs of the operator stand in what the module gives, by indices; none: it gives the
        operator's first output, and nobody uses the others.
    """

    module: nn.Module
    args: tuple[Any, ...]
    outputs: tuple[tuple[int, ...], ...] = ()


Made = ModuleCall | None
"""None where there is no module that does the same."""


def _convolution(a: dict[str, Any]) -> Made:
    x, weight, bias, groups = a["input"], a["weight"], a["bias"], a["groups"]
    if not (isinstance(x, fx.Node) and isinstance(weight, torch.Tensor) and _is_constant(bias)):
        return None
    transposed = a.get("transposed", "output_padding" in a)
    names = ["stride", "padding", "dilation", *(["output_padding"] if transposed else [])]
    sizes = {name: a[name] for name in names}
    return ModuleCall(convolution(weight, bias, transposed, groups=groups, **sizes), (x,))


def _product(x: Any, weight: Any, bias: Any = None) -> Made:
    """A linear layer for the product of an input with a weight (outputs, inputs)."""
    is_matrix = isinstance(weight, torch.Tensor) and weight.dim() == 2 and weight.is_floating_point()
    if not (isinstance(x, fx.Node) and is_matrix and _is_constant(bias)):
        return None
    fits = bias is None or bias.shape == weight.shape[:1]
    return ModuleCall(linear(weight, bias), (x,)) if fits else None


def _matrix_product(a: dict[str, Any]) -> Made:
    """x @ w or w @ x; axes of w before its last two are those of the last axes of x before its own."""
    first, second = a.values()
    if made := _product(first, _transposed(second)):
        return made
    x, w = (second, first) if isinstance(first, torch.Tensor) else (first, second)
    if not (isinstance(x, fx.Node) and isinstance(w, torch.Tensor)):
        return None
    axes, own = x.meta["val"].dim(), w.dim()
    if axes < max(own, 2):
        return None
    outer = string.ascii_lowercase[: axes - 2]
    groups = outer[len(outer) - max(own - 2, 0) :]
    if x is first:
        return _contraction(x, f"{outer}MK", w, f"{groups}K" + "N" * (own > 1), f"{outer}M" + "N" * (own > 1))
    return _contraction(x, f"{outer}KM", w, groups + "N" * (own > 1) + "K", outer + "N" * (own > 1) + "M")


def _einsum(a: dict[str, Any]) -> Made:
    if len(a["tensors"]) != 2:
        return None
    terms, arrow, result = a["equation"].replace(" ", "").partition("->")
    operands = list(zip(terms.split(","), a["tensors"], strict=True))
    (x_axes, x), (w_axes, w) = operands[:: -1 if isinstance(a["tensors"][0], torch.Tensor) else 1]
    if not (arrow and isinstance(x, fx.Node)) or "." in w_axes:
        return None
    unused = (letter for letter in string.ascii_letters if letter not in terms)
    more = "".join(itertools.islice(unused, max(x.meta["val"].dim() - len(x_axes.replace(".", "")), 0)))
    return _contraction(x, x_axes.replace("...", more), w, w_axes, result.replace("...", more))


def _tensordot(a: dict[str, Any]) -> Made:
    operands = [(a["self"], a["dims_self"]), (a["other"], a["dims_other"])]
    letters, axes = iter(string.ascii_letters), []
    summed = [next(letters) for _ in a["dims_self"]]
    for value, dims in operands:
        count = value.meta["val"].dim() if isinstance(value, fx.Node) else value.dim()
        at = {dim % count: letter for dim, letter in zip(dims, summed, strict=True)}
        axes.append("".join(at.get(dim) or next(letters) for dim in range(count)))
    result = "".join(letter for letter in axes[0] + axes[1] if letter not in summed)
    order = -1 if isinstance(a["self"], torch.Tensor) else 1
    (x, _), (w, _) = operands[::order]
    return _contraction(x, axes[::order][0], w, axes[::order][1], result)


def _contraction(x: Any, x_axes: str, w: Any, w_axes: str, y_axes: str) -> Made:
    is_weight = isinstance(w, torch.Tensor) and w.is_floating_point()
    if not (isinstance(x, fx.Node) and is_weight and is_contraction(x_axes, w_axes, y_axes)):
        return None
    sizes = dict(zip(x_axes, x.meta["val"].shape, strict=True))
    common = [(sizes[a], size) for a, size in zip(w_axes, w.shape, strict=True) if a in sizes]
    if any(not isinstance(own, int) or own != size for own, size in common):
        return None  # one of them is broadcast
    return ModuleCall(Contraction(w, x_axes, w_axes, y_axes), (x,))


RECURRENT: dict[Any, tuple[Callable[..., Any], int, dict[str, str]]] = {
    aten.lstm: (nn.LSTM, 4, {}),
    aten.gru: (nn.GRU, 3, {}),
    aten.rnn_tanh: (nn.RNN, 1, {"nonlinearity": "tanh"}),
    aten.rnn_relu: (nn.RNN, 1, {"nonlinearity": "relu"}),
}
CELLS: dict[Any, tuple[Callable[..., Any], int, dict[str, str]]] = {
    aten.lstm_cell: (nn.LSTMCell, 4, {}),
    aten.gru_cell: (nn.GRUCell, 3, {}),
    aten.rnn_tanh_cell: (nn.RNNCell, 1, {"nonlinearity": "tanh"}),
    aten.rnn_relu_cell: (nn.RNNCell, 1, {"nonlinearity": "relu"}),
}
"""The module of an operator, its gates, and what else it is made with."""


def _recurrent(packet: Any) -> Callable[[dict[str, Any]], Made]:
    kind, gates, keys = RECURRENT[packet]

    def make(a: dict[str, Any]) -> Made:
        x, weights = a.get("input"), a["params"]
        if not (isinstance(x, fx.Node) and all(isinstance(w, torch.Tensor) for w in weights)):
            return None  # of a packed sequence, or with weights that follow from the input
        hidden, inputs = len(weights[0]) // gates, weights[0].shape[1]
        projected = {"proj_size": weights[1].shape[1]} if weights[1].shape[1] != hidden else {}
        module = kind(
            inputs,
            hidden,
            num_layers=a["num_layers"],
            bias=a["has_biases"],
            batch_first=a["batch_first"],
            dropout=a["dropout"] if a["num_layers"] > 1 else 0.0,
            bidirectional=a["bidirectional"],
            device="meta",
            **keys,
            **projected,
        )
        _set_parameters(module, module._flat_weights_names, weights)
        states = [(1, 0), (1, 1)] if kind is nn.LSTM else [(1,)]
        return ModuleCall(module, (x, _state(a["hx"])), ((0,), *states))

    return make


def _cell(packet: Any) -> Callable[[dict[str, Any]], Made]:
    kind, gates, keys = CELLS[packet]

    def make(a: dict[str, Any]) -> Made:
        x, names = a["input"], ["w_ih", "w_hh", *(["b_ih", "b_hh"] if a["b_ih"] is not None else [])]
        weights = [a[name] for name in names]
        if not (isinstance(x, fx.Node) and all(isinstance(w, torch.Tensor) for w in weights)):
            return None
        inputs, hidden = weights[0].shape[1], len(weights[0]) // gates
        module = kind(inputs, hidden, bias=len(weights) > 2, device="meta", **keys)
        _set_parameters(module, ["weight_ih", "weight_hh", "bias_ih", "bias_hh"], weights)
        return ModuleCall(module, (x, _state(a["hx"])), ((0,), (1,)) if kind is nn.LSTMCell else ())

    return make


def _state(hx: Any) -> Any:
    return hx if isinstance(hx, fx.Node) else tuple(hx)


def _set_parameters(module: nn.Module, names: Sequence[str], values: Sequence[torch.Tensor]) -> None:
    for name, value in zip(names, values, strict=False):
        setattr(module, name, parameter(value))


def _bilinear(a: dict[str, Any]) -> Made:
    inputs, weight, bias = (a["input1"], a["input2"]), a["weight"], a["bias"]
    is_constant = isinstance(weight, torch.Tensor) and _is_constant(bias)
    if not (is_constant and all(isinstance(x, fx.Node) for x in inputs)):
        return None
    outputs, first, second = weight.shape
    module = nn.Bilinear(first, second, outputs, bias is not None, device="meta")
    _set_parameters(module, ["weight", "bias"], [weight] if bias is None else [weight, bias])
    return ModuleCall(module, inputs)


def _sum_with_product(a: dict[str, Any]) -> Made:
    return _product(a["mat1"], _transposed(a["mat2"]), a["self"]) if a["beta"] == a["alpha"] == 1 else None


def _transposed(value: Any) -> Any:
    is_matrix = isinstance(value, torch.Tensor) and value.dim() == 2
    return value.detach().t().contiguous() if is_matrix else None


def _batch_norm(a: dict[str, Any]) -> Made:
    x, mean, weight = a["input"], a["running_mean"], a["weight"]
    if not (isinstance(x, fx.Node) and isinstance(mean, torch.Tensor)):
        return None
    norm = NORMS[x.meta["val"].dim()](len(mean), a["eps"], a["momentum"], affine=weight is not None)
    norm.running_mean, norm.running_var = mean, a["running_var"]
    if weight is not None:
        norm.weight, norm.bias = parameter(weight), parameter(a["bias"])
    return ModuleCall(norm, (x,))


def _dropout(a: dict[str, Any]) -> Made:
    return ModuleCall(nn.Dropout(a["p"]), (a["input"],)) if isinstance(a["input"], fx.Node) else None


def _is_constant(value: Any) -> bool:
    return value is None or isinstance(value, torch.Tensor)


MAKERS: dict[Any, Callable[[dict[str, Any]], Made]] = {
    aten.linear: lambda a: _product(a["input"], a["weight"], a["bias"]),
    aten.addmm: _sum_with_product,
    aten.batch_norm: _batch_norm,
    aten._native_batch_norm_legit_no_training: _batch_norm,
    aten.dropout: _dropout,
    aten.einsum: _einsum,
    aten.tensordot: _tensordot,
    aten.bilinear: _bilinear,
    **{packet: _recurrent(packet) for packet in RECURRENT},
    **{packet: _cell(packet) for packet in CELLS},
    **dict.fromkeys((aten.matmul, aten.mm), _matrix_product),
    **dict.fromkeys(
        (
            aten.conv1d,
            aten.conv2d,
            aten.conv3d,
            aten.conv_transpose1d,
            aten.conv_transpose2d,
            aten.conv_transpose3d,
            aten.convolution,
        ),
        _convolution,
    ),
}
