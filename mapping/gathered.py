"""Convolutions with pruned rows, run as a product of the rows that are left.

A row k of a convolution's GEMM matrix (K, N) is one position of one channel in all filters: a "shape". With
rows pruned, the convolution is a dense product with a smaller K, of inputs that are gathered row by row. The
columns of an image are first split by the horizontal stride, so that what a row sees along a line of outputs
is one run of memory, copied as such.

Source: shape-wise sparsity and its run time as a smaller product, StructADMM, arXiv:1807.11091, sec. 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import nn

from mapping.channel_graph import apply_masks
from mapping.gemm import geometry_of, mappable_layers, to_gemm
from mapping.modules import become, copy_of
from mapping.unfold import output_size
from xbar.errors import XbarError


class GatheredConv2d(nn.Module):
    """A `torch.nn.Conv2d` in which only some rows of the GEMM matrix are not zero.

    It runs on the CPU, without gradients, an image at a time. The result is that of the convolution, to
    rounding, and lies in memory channels last, in which pooling is several times faster. The product is at
    its best for a multiple of 8 filters.

    Parameters
    ----------
    layer
        Of one group, padded with zeros, with weights in float32 or float64.
    rows
        True where a row is kept, (K,) bool, K in the order (channel, k_h, k_w); the weights of the others are
        taken as zero.

    Attributes
    ----------
    weight
        (N, kept rows).
    rows
        Numbers of the kept rows, ascending, int64.
    bias
        (N,), zeros where the layer has none.

    Raises
    ------
    XbarError
        For another layer or shape of ``rows``; at run time for an input that does not fit.

    Notes
    -----
    StructADMM, arXiv:1807.11091.
    """

    rows: torch.Tensor

    def __init__(self, layer: nn.Conv2d, rows: torch.Tensor) -> None:
        super().__init__()
        matrix = to_gemm(layer)
        if not _runs_gathered(layer):
            raise XbarError(
                f"{layer}: only a convolution of one group, padded with zeros, with float32 or float64 "
                "weights on the CPU, runs as a gathered product"
            )
        if rows.dtype != torch.bool or rows.shape != matrix.shape[:1]:
            raise XbarError(f"rows: must be a bool tensor of shape ({len(matrix)},), the K of the layer")
        geometry = geometry_of(layer)
        assert geometry is not None
        self.geometry, self.in_channels = geometry, layer.in_channels
        bias = matrix.new_zeros(matrix.shape[1]) if layer.bias is None else layer.bias.detach().clone()
        self.weight = nn.Parameter(matrix[rows].t().contiguous(), requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.register_buffer("rows", rows.nonzero()[:, 0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Output (images, N, height, width) of an input (images, channels, height, width), or both without
        images."""
        if x.dim() == 3:
            single: torch.Tensor = self(x[None])[0]
            return single
        height, width = self._size_of_output(x)
        (top, bottom), (left, right) = self.geometry.padding
        step = self.geometry.stride[1]
        columns = -(-(x.shape[3] + left + right) // step)
        images, rows = x.detach().numpy(), self.rows.numpy()
        lines = np.zeros((self.in_channels, x.shape[2] + top + bottom, step, columns), images.dtype)
        runs = np.empty((len(rows), height, width), images.dtype)
        gathered, weight, bias = torch.from_numpy(runs).flatten(1).t(), self.weight.t(), self.bias
        y = x.new_empty(len(images), height * width, len(bias))
        for image, out in zip(images, y, strict=True):
            _split(image, top, left, lines)
            _gather(lines, rows, self.geometry.kernel, self.geometry.dilation, self.geometry.stride[0], runs)
            torch.addmm(bias, gathered, weight, out=out)
        return y.view(len(images), height, width, len(bias)).permute(0, 3, 1, 2)

    def _size_of_output(self, x: torch.Tensor) -> tuple[int, ...]:
        """Refuses an input outside of which a row would be read."""
        if x.dim() == 4 and x.shape[1] == self.in_channels and x.dtype == self.weight.dtype:
            size = output_size(self.geometry, x.shape[2:])
            if min(size) > 0:
                return size
        raise XbarError(
            f"input of shape {tuple(x.shape)} in {x.dtype}: must be (images, {self.in_channels}, height, "
            f"width) in {self.weight.dtype}, not smaller than the window"
        )


def gathered_network(model: nn.Module, masks: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
    """Copy of a network in which each convolution with pruned rows is a `GatheredConv2d`.

    Those of several groups, of another padding than zeros, or without a pruned row stay as they are, and so
    do linear layers. It is best made of a `mapping.smaller_network`, which has lost the channels that are
    pruned as a whole.

    Parameters
    ----------
    masks
        True where a weight is kept, by layer, (K, N) bool; weights outside are taken as zero. A row is pruned
        where all its weights are zero.

    Raises
    ------
    XbarError
        For a network without layers, and masks that do not fit.
    """
    gathered = copy_of(model)
    apply_masks(gathered, masks or {})
    for layer in mappable_layers(gathered).values():
        rows = (to_gemm(layer) != 0).any(1)
        if isinstance(layer, nn.Conv2d) and _runs_gathered(layer) and not rows.all():
            become(layer, GatheredConv2d(layer, rows))
    return gathered


def _runs_gathered(layer: nn.Conv2d) -> bool:
    return (
        type(layer).forward is nn.Conv2d.forward
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and layer.weight.dtype in (torch.float32, torch.float64)
        and layer.weight.device.type == "cpu"
    )


@njit(cache=True, nogil=True)
def _split(image: NDArray[Any], top: int, left: int, lines: NDArray[Any]) -> None:
    """Fill all but the padding of lines (channels, padded height, step, columns), in which column x of the
    padded image is ``lines[:, :, x % step, x // step]``."""
    channels, height, width = image.shape
    step = lines.shape[2]
    for c in range(channels):
        for y in range(height):
            for phase in range(step):
                first = (phase - left) % step
                source = image[c, y, first:]
                target = lines[c, top + y, phase, (first + left) // step :]
                for x in range((width - first + step - 1) // step):
                    target[x] = source[x * step]


@njit(cache=True, nogil=True)
def _gather(
    lines: NDArray[Any],
    rows: NDArray[np.int64],
    kernel: tuple[int, ...],
    dilation: tuple[int, ...],
    stride: int,
    runs: NDArray[Any],
) -> None:
    """Fill runs (rows, height, width) with what each row sees at each output."""
    step = lines.shape[2]
    for r in range(len(rows)):
        channel, place = divmod(rows[r], kernel[0] * kernel[1])
        first, column = place // kernel[1] * dilation[0], place % kernel[1] * dilation[1]
        for y in range(runs.shape[1]):
            source = lines[channel, first + y * stride, column % step, column // step :]
            target = runs[r, y]
            for x in range(len(target)):
                target[x] = source[x]
