"""A layer's weights as the GEMM matrix (K, N), K in the order (channel, k_h, k_w), and its input vectors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mapping.network import Geometry
from xbar.errors import XbarError

Layer = nn.Linear | nn.Conv2d


def mappable_layers(model: nn.Module) -> dict[str, Layer]:
    """Layers that go onto crossbars, by module name.

    Raises
    ------
    XbarError
        Where there are none, or one has a form that is not supported.
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    if not layers:
        raise XbarError(f"{type(model).__name__}: no nn.Linear or nn.Conv2d layer to map")
    seen: dict[int, str] = {}
    for name, module in layers.items():
        if not isinstance(module._parameters.get("weight"), nn.Parameter):
            raise XbarError(f"{name}: its weight is computed (a parametrisation); remove it before mapping")
        first = seen.setdefault(id(module.weight), name)
        if first != name:
            raise XbarError(f"{name}: shares its weight with {first}; shared weights are not supported")
        if isinstance(module, nn.Conv2d):
            if module.groups != 1:
                raise XbarError(
                    f"{name}: groups = {module.groups}: only convolutions with groups = 1 are supported"
                )
            if module.padding_mode != "zeros" or isinstance(module.padding, str):
                raise XbarError(
                    f"{name}: padding = {module.padding!r}, padding_mode = {module.padding_mode!r}: "
                    "only numeric zero padding is supported"
                )
        if module.weight.dtype != torch.float32:
            raise XbarError(f"{name}: weights are {module.weight.dtype}: only torch.float32 is supported")
    return layers


def to_gemm(weight: torch.Tensor) -> torch.Tensor:
    """(K, N) matrix of a weight of shape (N, ...), detached; shares memory where the layout allows it."""
    return weight.detach().reshape(weight.shape[0], -1).t()


def from_gemm(matrix: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Inverse of `to_gemm`: a new tensor with the shape and memory layout of `like`."""
    return torch.empty_like(like).copy_(matrix.t().reshape(like.shape))


def geometry_of(module: Layer) -> Geometry | None:
    """Geometry of a convolution; None for a linear layer."""
    if isinstance(module, nn.Linear):
        return None
    kh, kw = module.kernel_size
    ph, pw = (int(pad) for pad in module.padding)  # a string is refused by `mappable_layers`
    return Geometry(
        (kh, kw),
        (module.stride[0], module.stride[1]),
        (ph, pw),
        (module.dilation[0], module.dilation[1]),
    )


def output_size(geometry: Geometry, height: int, width: int) -> tuple[int, int]:
    """Output height and width of a convolution."""
    size = [
        (extent + 2 * pad - dil * (ker - 1) - 1) // stride + 1
        for extent, ker, stride, pad, dil in zip(
            (height, width),
            geometry.kernel,
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            strict=True,
        )
    ]
    return size[0], size[1]


def input_vectors(x: NDArray[np.generic], geometry: Geometry | None) -> NDArray[np.generic]:
    """Input vectors of a layer, one a row, shape (images * positions, K), dtype kept.

    Parameters
    ----------
    x
        (images, K) for a linear layer (leading axes are flattened), (images, channels, height, width) for a
        convolution.
    """
    if geometry is None:
        return np.ascontiguousarray(x.reshape(-1, x.shape[-1]))
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = (
        geometry.kernel,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
    )
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw))) if ph or pw else x
    reach = ((kh - 1) * dh + 1, (kw - 1) * dw + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))[
        :, :, ::sh, ::sw, ::dh, ::dw
    ]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1] * kh * kw)
