"""Places of an axis that the windows of convolutions and pools look at, and the largest number in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mapping.network.geometry import Geometry


def largest(of: torch.Tensor, places: Sequence[torch.Tensor]) -> torch.Tensor:
    """The largest in windows, axis after axis: `places` (outputs, window) of each; -1: outside."""
    for axis, index in enumerate(places):
        taken = of.index_select(axis, index.clamp(min=0).flatten())
        taken = taken.reshape(*of.shape[:axis], *index.shape, *of.shape[axis + 1 :])
        inside = (index >= 0).reshape(*index.shape, *(1,) * (of.dim() - axis - 1))
        of = torch.where(inside, taken, -1).amax(axis + 1)
    return of


def reach(places: Sequence[torch.Tensor], sizes: Sequence[int]) -> int:
    """Most places of an input, in raster order, from the first to the last that one window looks at."""
    found, stride = 1, 1
    for index, size in zip(reversed(places), reversed(sizes), strict=True):
        first = torch.where(index >= 0, index, size).amin(1)
        found += int((index.amax(1) - first).clamp(min=0).max()) * stride
        stride *= size
    return found


def _windows(outputs: int, kernel: int, stride: int, before: int, dilation: int) -> torch.Tensor:
    """Places of each window, outside the axis too, shape (outputs, kernel)."""
    return torch.arange(outputs)[:, None] * stride - before + torch.arange(kernel) * dilation


def convolved(geometry: Geometry, sizes: Sequence[int], outputs: Sequence[int]) -> list[torch.Tensor]:
    """Windows of a convolution on inputs of these sizes, by axis, as `largest` takes them."""
    found = []
    for i, size in enumerate(sizes):
        before = geometry.padding[i][0]
        index = _windows(outputs[i], geometry.kernel[i], geometry.stride[i], before, geometry.dilation[i])
        if geometry.mode == "circular":
            index = index % size
        elif geometry.mode == "replicate":
            index = index.clamp(0, size - 1)
        elif geometry.mode == "reflect":
            index = size - 1 - (size - 1 - index.abs()).abs()
        found.append(torch.where((index >= 0) & (index < size), index, -1))
    return found


def pooled(
    name: str, args: Sequence[Any], sizes: Sequence[int], outputs: Sequence[int]
) -> list[torch.Tensor]:
    """Windows of torch's pool of a name from its arguments, by axis, as `largest` takes them."""
    space = len(sizes)
    kernel = _each(args[1], space)
    stride = _each(args[2], space) if len(args) > 2 and args[2] else kernel
    padding = _each(args[3], space) if len(args) > 3 else [0] * space
    dilation = _each(args[4], space) if len(args) > 4 and "max" in name else [1] * space
    found = []
    for i, size in enumerate(sizes):
        index = _windows(outputs[i], kernel[i], stride[i], padding[i], dilation[i])
        found.append(torch.where((index >= 0) & (index < size), index, -1))
    return found


def _each(value: Any, space: int) -> list[int]:
    given = [value] if isinstance(value, int) else list(value)
    return given * space if len(given) == 1 else given


def adaptive(sizes: Sequence[int], outputs: Sequence[int]) -> list[torch.Tensor]:
    """Windows floor(i n / m) ... ceil((i + 1) n / m) - 1 of torch's adaptive pools."""
    found = []
    for size, count in zip(sizes, outputs, strict=True):
        begin = torch.arange(count) * size // count
        end = -(-(torch.arange(count) + 1) * size // count)
        index = begin[:, None] + torch.arange(int((end - begin).max()))
        found.append(torch.where(index < end[:, None], index, -1))
    return found


def spread(geometry: Geometry, sizes: Sequence[int], outputs: Sequence[int]) -> torch.Tensor:
    """The last position of a transposed convolution that falls on each of its outputs; -1: none does."""
    found = torch.zeros((1,) * len(sizes), dtype=torch.int64)
    reached = torch.ones((1,) * len(sizes), dtype=torch.bool)
    for axis, size in enumerate(sizes):
        steps = torch.arange(geometry.kernel[axis]) * geometry.dilation[axis]
        from_start = torch.arange(outputs[axis])[:, None] + geometry.padding[axis][0] - steps
        index = torch.div(from_start, geometry.stride[axis], rounding_mode="floor")
        fits = (from_start % geometry.stride[axis] == 0) & (index >= 0) & (index < size)
        last = torch.where(fits, index, -1).amax(1)
        shape = [1] * len(sizes)
        shape[axis] = outputs[axis]
        found = found * size + last.clamp(min=0).reshape(shape)
        reached = reached & (last >= 0).reshape(shape)
    return torch.where(reached, found, -1)
