"""Layers that go onto crossbars, and their weights as GEMM matrices (K, N).

A layer of G groups has K = C_in / G times the kernel's positions, in the order (channel, position), and
N = C_out columns, the groups one after the other. A transposed convolution has K = C_in / G and N = C_out
times the kernel's positions: each of its inputs is multiplied once, and what falls on one output is added up.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from mapping.network.geometry import Geometry
from xbar.hardware.errors import XbarError

Layer = (
    nn.Linear
    | nn.Conv1d
    | nn.Conv2d
    | nn.Conv3d
    | nn.ConvTranspose1d
    | nn.ConvTranspose2d
    | nn.ConvTranspose3d
)


def mappable_layers(model: nn.Module) -> dict[str, Layer]:
    """Linear and convolution layers, transposed ones included, by module name.

    Raises
    ------
    XbarError
        Where there are none, or the weight of one is not there to be mapped.
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, Layer)}
    if not layers:
        raise XbarError(
            f"{type(model).__name__}: no nn.Linear, nn.Conv or nn.ConvTranspose layer to map "
            "(mapping.crossbar_form makes such layers of LSTM, GRU and attention)"
        )
    for name, module in layers.items():
        weight = module._parameters.get("weight")
        if not isinstance(weight, nn.Parameter):
            raise XbarError(
                f"{name}: its weight is computed (a parametrisation); mapping.crossbar_form makes it plain"
            )
        if isinstance(weight, nn.parameter.UninitializedParameter):
            raise XbarError(f"{name}: has no weight yet (a lazy module); run the network once before mapping")
        if not weight.is_floating_point():
            raise XbarError(f"{name}: weights are {weight.dtype}; must be floating point")
    return layers


def shown_name(layer: str) -> str:
    """A layer's name as tables show it: a network that is one module has no name for it."""
    return layer or "the network"


def layer_of(model: nn.Module, name: str, said: str = "layer ") -> Layer:
    """Linear or convolution layer of a network by its name; `said` begins the message.

    Raises
    ------
    XbarError
        Where the network has no such layer.
    """
    layer = dict(model.named_modules()).get(name)
    if not isinstance(layer, Layer):
        raise XbarError(f"{said}{name!r}: the network has no such linear or convolution layer")
    return layer


def weight_of(model: nn.Module, name: str, said: str = "layer ") -> nn.Parameter:
    """Weight of a layer by its name; `said` begins the message.

    Raises
    ------
    XbarError
        Where the network has no such layer, or its weight is computed.
    """
    weight = layer_of(model, name, said).weight
    if not isinstance(weight, nn.Parameter):
        raise XbarError(
            f"{said}{name!r}: its weight is computed (a parametrisation); mapping.crossbar_form makes it "
            "plain"
        )
    return weight


def trained_weight(model: nn.Module, name: str, said: str) -> nn.Parameter:
    """`weight_of` of a layer that can be trained.

    Raises
    ------
    XbarError
        As `weight_of`, and where the weight is frozen.
    """
    weight = weight_of(model, name, said)
    if not weight.requires_grad:
        raise XbarError(f"{said}{name!r}: its weight is frozen (requires_grad is False)")
    return weight


def types_of(layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """Name of each layer's type, such as ``Conv2d``."""
    return {name: type(layer).__name__ for name, layer in layers.items()}


def groups_of(layer: Layer) -> int:
    """Groups of a layer; 1 for a linear one."""
    return layer.groups if isinstance(layer, _ConvNd) else 1


def to_gemm(layer: Layer) -> torch.Tensor:
    """(K, N) matrix of a layer's weight, detached; shares memory where the layout allows it."""
    return as_gemm(layer.weight.detach(), layer)


def finite_gemm(layer: Layer, name: str) -> torch.Tensor:
    """`to_gemm` of weights that are numbers: what every projection of a named layer goes through.

    Raises
    ------
    XbarError
        With the layer's name, for a weight that is NaN or infinite.
    """
    matrix = to_gemm(layer)
    check_finite_weights(matrix, name)
    return matrix


def check_finite_weights(v: torch.Tensor, name: str = "") -> None:
    """Refuse weights that are NaN or infinite: no projection, scale or choice of them means anything.

    Raises
    ------
    XbarError
        With the layer's name, where there is one.
    """
    if not v.isfinite().all():
        raise XbarError(f"{name or 'projection'}: has weights that are not finite numbers")


def as_gemm(weight: torch.Tensor, layer: Layer) -> torch.Tensor:
    """(K, N) matrix of a tensor of the shape of a layer's weight."""
    if isinstance(layer, _ConvTransposeNd):
        blocks = weight.reshape(layer.groups, weight.shape[0] // layer.groups, -1)
        return blocks.transpose(0, 1).reshape(blocks.shape[1], -1)
    return weight.reshape(weight.shape[0], -1).t()


def from_gemm(matrix: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Inverse of `to_gemm`: a new tensor with the shape, type and memory layout of the layer's weight."""
    weight = layer.weight.detach()
    if isinstance(layer, _ConvTransposeNd):
        blocks = matrix.reshape(matrix.shape[0], layer.groups, -1).transpose(0, 1)
        return torch.empty_like(weight).copy_(blocks.reshape(weight.shape))
    return torch.empty_like(weight).copy_(matrix.t().reshape(weight.shape))


def kind_of(layer: Layer) -> str:
    """``linear``, ``conv2d``, ``conv_transpose1d`` and so on."""
    if isinstance(layer, nn.Linear):
        return "linear"
    return (
        f"conv_transpose{len(layer.kernel_size)}d" if layer.transposed else f"conv{len(layer.kernel_size)}d"
    )


def geometry_of(layer: Layer) -> Geometry | None:
    """Geometry of a convolution; None for a linear layer."""
    if isinstance(layer, nn.Linear):
        return None
    reach = [d * (k - 1) for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    if layer.padding == "same":
        padding = tuple((total // 2, total - total // 2) for total in reach)
    elif isinstance(layer.padding, str):
        padding = tuple((0, 0) for _ in reach)
    else:
        after = [int(p) - o for p, o in zip(layer.padding, layer.output_padding, strict=True)]
        padding = tuple((int(p), a) for p, a in zip(layer.padding, after, strict=True))
    return Geometry(
        tuple(layer.kernel_size),
        tuple(layer.stride),
        padding,
        tuple(layer.dilation),
        layer.padding_mode,
        layer.transposed,
    )
