"""Values that carry the gradient of something else: the straight-through estimator.

Bengio et al. 2013, arXiv:1308.3432. Outputs of tiles have the gradient of the float layer, whose own outputs
nobody needs: its backward pass is called without its forward pass, with the numbers that autograd would give.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from mapping.network.gemm import Layer


def straight_through(carrier: Tensor, value: Tensor) -> Tensor:
    """A tensor with the value of the second argument and the gradient of the first."""
    y: Tensor = _StraightThrough.apply(carrier, value)  # type: ignore[no-untyped-call]
    return y


class _StraightThrough(torch.autograd.Function):
    """See `straight_through`."""

    @staticmethod
    def forward(ctx: Any, carrier: Tensor, value: Tensor) -> Tensor:
        return value.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def product(layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The forward of torch's layer with other parameters."""
    if isinstance(layer, nn.Linear):
        return functional.linear(x, weight, bias)
    if isinstance(layer, _ConvTransposeNd):
        convolve: Callable[..., Tensor] = getattr(functional, f"conv_transpose{len(layer.kernel_size)}d")
        how = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
        return convolve(x, weight, bias, *how)
    y: Tensor = layer._conv_forward(x, weight, bias)
    return y


def with_gradient_of(layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, value: Tensor) -> Tensor:
    """A tensor with a value, and the gradient of `product` of the other arguments."""
    kind = x.device.type
    autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    if autocast or isinstance(getattr(layer, "padding", 0), str):
        return straight_through(product(layer, x, weight, bias), value)
    if isinstance(layer, _ConvNd):
        if x.dim() == len(layer.kernel_size) + 1:
            return with_gradient_of(layer, x[None], weight, bias, value[None])[0]
        if layer.padding_mode != "zeros":
            x = functional.pad(x, layer._reversed_padding_repeated_twice, layer.padding_mode)
    y: Tensor = _Backward.apply(layer, x, weight, bias, value)  # type: ignore[no-untyped-call]
    return y


class _Backward(torch.autograd.Function):
    """The backward pass of a linear or convolution layer alone."""

    @staticmethod
    def forward(
        ctx: Any, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, value: Tensor
    ) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x, weight)
        return value.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[1:4])
        gradients = (_of_linear if isinstance(ctx.layer, nn.Linear) else _of_convolution)(
            ctx.layer, gradient.to(x), x, weight, wanted
        )
        return None, *gradients, None


def _of_linear(
    layer: Layer, gradient: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]
) -> tuple[Tensor | None, ...]:
    rows, inputs = gradient.reshape(-1, gradient.shape[-1]), x.reshape(-1, x.shape[-1])
    return (
        (rows @ weight).view(x.shape) if wanted[0] else None,
        rows.t() @ inputs if wanted[1] else None,
        rows.sum(0) if wanted[2] else None,
    )


def _of_convolution(
    layer: Any, gradient: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]
) -> tuple[Tensor | None, ...]:
    transposed = isinstance(layer, _ConvTransposeNd)
    none = [0] * len(layer.kernel_size)
    found: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        [layer.out_channels],
        layer.stride,
        layer.padding if layer.padding_mode == "zeros" else none,
        layer.dilation,
        transposed,
        layer.output_padding if transposed else none,
        layer.groups,
        wanted,
    )
    return found
