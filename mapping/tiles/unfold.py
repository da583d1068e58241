"""Input vectors of a layer, and the tensor that its output vectors make."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mapping.network.geometry import Geometry
from mapping.tiles.mapped import MappedLayer
from xbar.hardware.errors import XbarError
from xbar.machine.kernels import njit
from xbar.multiply.threads import run_workers, worker_count

PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def checked_input(x: Any, layer: MappedLayer) -> torch.Tensor:
    """Check the input that a layer was called with: all inputs to layers on tiles pass through here.

    Integers are refused as torch refuses them: outputs have the type of the inputs, and would be cut.

    Raises
    ------
    XbarError
        For what is no tensor, not floating point, or not of the layer's shape.
    """
    if not isinstance(x, torch.Tensor):
        raise XbarError(f"{layer.name}: its input is a {type(x).__name__}; must be a torch.Tensor")
    if not x.is_floating_point():
        raise XbarError(
            f"{layer.name}: inputs are {str(x.dtype).removeprefix('torch.')}; must be floating point, of the "
            "type of the layer's weights, such as x.float() gives"
        )
    what, axis, least, channels = "features", -1, 1, layer.k
    if layer.geometry is not None:
        what, axis, least = "channels", -1 - len(layer.geometry.kernel), 1 + len(layer.geometry.kernel)
        channels = layer.groups * layer.k
        if not layer.geometry.transposed:
            channels //= math.prod(layer.geometry.kernel)
    most = math.inf if layer.geometry is None else least + 1
    if not least <= x.dim() <= most or x.shape[axis] != channels:
        raise XbarError(f"{layer.name}: inputs of shape {tuple(x.shape)}; the layer takes {channels} {what}")
    if layer.geometry is not None and min(output_size(layer.geometry, tuple(x.shape[axis + 1 :]))) < 1:
        raise XbarError(
            f"{layer.name}: inputs of shape {tuple(x.shape)} are smaller than its kernel "
            f"{layer.geometry.kernel}"
        )
    return x


def batched(x: torch.Tensor, geometry: Geometry | None) -> torch.Tensor:
    """A layer's input with its first axis, images, which it may lack: (images, ..., K) or (images, channels,
    ...)."""
    return x[None] if x.dim() == (1 if geometry is None else 1 + len(geometry.kernel)) else x


def input_vectors(
    x: NDArray[np.generic], geometry: Geometry | None, threads: int | None = None
) -> NDArray[np.generic]:
    """Input vectors of a layer, one a row, shape (images * positions, inputs), dtype kept.

    Parameters
    ----------
    x
        (images, ..., K) for a linear layer, (images, channels, ...) for a convolution, whose channels may lie
        last in memory.
    threads
        Worker threads; None: one a processor.
    """
    if geometry is None:
        return np.ascontiguousarray(x.reshape(-1, x.shape[-1]))
    if geometry.transposed:
        return np.ascontiguousarray(np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]))
    padded = _padded(x, geometry)
    size, channels, last = padded.shape[2:], x.shape[1], channels_last(padded)
    to_place, to_channel = (channels, 1) if last else (1, math.prod(size))  # in memory
    start = _places(size, output_size(geometry, x.shape[2:]), geometry.stride) * to_place
    inside = _places(size, geometry.kernel, geometry.dilation) * to_place
    offset = (np.arange(channels)[:, None] * to_channel + inside).ravel()
    vectors = np.empty((len(x), len(start), len(offset)), x.dtype)
    workers = worker_count(threads, len(x))
    flat = np.ascontiguousarray(np.moveaxis(padded, 1, -1) if last else padded).reshape(len(x), -1)

    def work(worker: int) -> None:
        part = slice(len(x) * worker // workers, len(x) * (worker + 1) // workers)
        _gather(flat[part], start, offset, vectors[part])

    run_workers(work, workers, blas=False)
    return vectors.reshape(-1, len(offset))


def channels_last(x: NDArray[np.generic]) -> bool:
    """Whether the channels of images (images, channels, ...) lie last in memory, against their shape."""
    return bool(np.moveaxis(x, 1, -1).flags.c_contiguous and not x.flags.c_contiguous)


def _places(size: tuple[int, ...], count: tuple[int, ...], step: tuple[int, ...]) -> NDArray[np.int64]:
    """Flat index in an array of `size` of so many places in each dimension, a step apart."""
    places = np.zeros((), np.int64)
    for extent, number, stride in zip(size, count, step, strict=True):
        places = places[..., None] * extent + np.arange(number) * stride
    return places.ravel()


@njit(cache=True, nogil=True)
def _gather(
    images: NDArray[Any], start: NDArray[np.int64], offset: NDArray[np.int64], vectors: NDArray[Any]
) -> None:
    """``vectors[i, m, r] = images[i, start[m] + offset[r]]``."""
    for i in range(len(images)):
        image = images[i]
        for m in range(len(start)):
            window, row = image[start[m] :], vectors[i, m]
            for r in range(len(offset)):
                row[r] = window[offset[r]]


def _padded(x: NDArray[np.generic], geometry: Geometry) -> NDArray[np.generic]:
    if not any(itertools.chain(*geometry.padding)):
        return x
    mode: Any = PAD_MODES[geometry.mode]
    if channels_last(x):
        return np.moveaxis(np.pad(np.moveaxis(x, 1, -1), ((0, 0), *geometry.padding, (0, 0)), mode), -1, 1)
    return np.pad(x, ((0, 0), (0, 0), *geometry.padding), mode)


def output_shape(shape: tuple[int, ...], n: int, geometry: Geometry | None) -> tuple[int, ...]:
    """Shape of the tensor that a layer of n output columns gives for an input of this shape."""
    if geometry is None:
        return (*shape[:-1], n)
    channels = n // math.prod(geometry.kernel) if geometry.transposed else n
    return (shape[0], channels, *output_size(geometry, shape[2:]))


def place_outputs(
    y: NDArray[np.float32],
    gain: NDArray[np.float32],
    bias: NDArray[np.float32],
    out: NDArray[np.float32],
    shape: tuple[int, ...],
    geometry: Geometry | None,
    threads: int | None = None,
) -> None:
    """Fill `out`, of `output_shape`, with output vectors y (images * positions, N), each column times its
    gain, plus the bias of its channel. The channels of `out` may lie last in memory.

    Parameters
    ----------
    bias
        Shape (channels,), or () for one of all.
    shape
        Shape of the layer's input.
    threads
        Worker threads; None: one a processor.
    """
    if geometry is not None and geometry.transposed:
        of_channel = bias.reshape(-1, *(1 for _ in geometry.kernel))
        out[:] = _spread(torch.from_numpy(y * gain), shape, geometry).numpy() + of_channel
        return
    bias = np.ascontiguousarray(np.broadcast_to(bias, gain.shape))
    if geometry is None or channels_last(out):
        rows = out if geometry is None else np.moveaxis(out, 1, -1)
        _scale(y, gain, bias, rows.reshape(y.shape))
        return
    by_position = out.reshape(*out.shape[:2], -1)
    workers = worker_count(threads, len(by_position))

    def work(worker: int) -> None:
        images = len(by_position)
        part = slice(images * worker // workers, images * (worker + 1) // workers)
        vectors = slice(part.start * by_position.shape[2], part.stop * by_position.shape[2])
        _place(y[vectors], gain, bias, by_position[part])

    run_workers(work, workers, blas=False)


@njit(cache=True, nogil=True)
def _scale(
    y: NDArray[np.float32], gain: NDArray[np.float32], bias: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """``out[m, n] = y[m, n] gain[n] + bias[n]``."""
    for m in range(len(y)):
        for n in range(len(gain)):
            out[m, n] = y[m, n] * gain[n] + bias[n]


BESIDE = 64
"""Positions that are laid out at a time: their vectors stay in the first-level cache."""


@njit(cache=True, nogil=True)
def _place(
    y: NDArray[np.float32], gain: NDArray[np.float32], bias: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """``out[i, n, m] = y[i M + m, n] gain[n] + bias[n]``."""
    images, columns, positions = out.shape
    for i in range(images):
        for first in range(0, positions, BESIDE):
            for n in range(columns):
                times, plus = gain[n], bias[n]
                for m in range(first, min(first + BESIDE, positions)):
                    out[i, n, m] = y[i * positions + m, n] * times + plus


def output_size(geometry: Geometry, size: tuple[int, ...]) -> tuple[int, ...]:
    """Places of a convolution's output in each dimension."""
    dimensions = zip(size, geometry.kernel, geometry.stride, geometry.padding, geometry.dilation, strict=True)
    if geometry.transposed:
        return tuple((s - 1) * step + d * (k - 1) + 1 - sum(pad) for s, k, step, pad, d in dimensions)
    return tuple((s + sum(pad) - d * (k - 1) - 1) // step + 1 for s, k, step, pad, d in dimensions)


def _spread(y: torch.Tensor, shape: tuple[int, ...], geometry: Geometry) -> torch.Tensor:
    """Columns (channel, kernel position) added up where they fall on one place of the output."""
    images, inside = shape[0], shape[2:]
    places = math.prod(geometry.kernel)
    by_place = y.reshape(images, *inside, -1, places).movedim(-2, 1)
    whole = [
        (s - 1) * step + d * (k - 1) + 1
        for s, k, step, d in zip(inside, geometry.kernel, geometry.stride, geometry.dilation, strict=True)
    ]
    reach = [max(w, w - after) for w, (_, after) in zip(whole, geometry.padding, strict=True)]
    spread = y.new_zeros((images, by_place.shape[1], *reach))
    every = (slice(None), slice(None))
    for index, place in enumerate(itertools.product(*map(range, geometry.kernel))):
        target = [
            slice(p * d, p * d + (s - 1) * step + 1, step)
            for p, d, s, step in zip(place, geometry.dilation, inside, geometry.stride, strict=True)
        ]
        spread[(*every, *target)] += by_place[..., index]
    crop = [
        slice(before, before + size)
        for (before, _), size in zip(geometry.padding, output_size(geometry, inside), strict=True)
    ]
    return spread[(*every, *crop)]


def vector_index(size: tuple[int, ...], geometry: Geometry) -> torch.Tensor:
    """Where the inputs of each position lie in a flat image, int64, shape (positions, inputs), from 1; 0 is
    a place of padding with zeros.

    Parameters
    ----------
    size
        Size of an image (channels, ...).
    """
    image = np.arange(1, math.prod(size) + 1, dtype=np.int64).reshape(1, *size)
    return torch.from_numpy(np.asarray(input_vectors(image, geometry, 1), np.int64))


def gathered_vectors(x: torch.Tensor, index: torch.Tensor | None) -> torch.Tensor:
    """`input_vectors` of a tensor, on its device, with the `vector_index` of its images; None: a linear
    layer."""
    if index is None:
        return x.reshape(-1, x.shape[-1])
    images = torch.nn.functional.pad(x.flatten(1), (1, 0))
    return images[:, index].flatten(0, 1)


def placed_outputs(
    y: torch.Tensor,
    gain: torch.Tensor,
    bias: torch.Tensor,
    shape: tuple[int, ...],
    geometry: Geometry | None,
) -> torch.Tensor:
    """The tensor of `output_shape` that output vectors make, as `place_outputs`, on their device."""
    scaled = y * gain
    if geometry is None:
        return (scaled + bias).reshape(output_shape(shape, len(gain), None))
    if geometry.transposed:
        return _spread(scaled, shape, geometry) + bias.reshape(-1, *(1 for _ in geometry.kernel))
    by_image = (scaled + bias).reshape(shape[0], len(y) // max(1, shape[0]), len(gain))
    return by_image.transpose(1, 2).reshape(output_shape(shape, len(gain), geometry))
