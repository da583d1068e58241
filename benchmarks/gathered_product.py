"""The product behind a convolution with pruned rows: weights times what the image holds, read where it lies.

For all outputs along a line, what a row of the GEMM matrix sees is one run of the padded image (in steps of
the stride). Its place is a number that is added to the place of the output, so that nothing is gathered. A
tile of outputs, some positions of a line by some filters, stays in vector registers while the rows go by:
weights are loaded as vectors, inputs are broadcast.

Source: register tiles of a matrix product, Goto and van de Geijn, doi:10.1145/1356052.1356053, sec. 6.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped
from numba.extending import intrinsic
from numpy.typing import NDArray

from xbar.machine.kernels import njit

cgutils: Any = untyped
_FEATURES = llvmlite.binding.get_host_cpu_features()
VECTOR_BYTES = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx") else 16
_REGISTERS = 16 if _FEATURES.get("sse2") and VECTOR_BYTES < 64 else 32
_VECTORS = 2
_POSITIONS = (_REGISTERS - 4) // _VECTORS
"""Of the registers, four are left for weights and inputs."""
FILTERS_A_BLOCK = 32
"""Weights of so many filters lie next to each other, row by row: at most one tile."""
ROWS_AT_ONCE = 128
"""Weights of so many rows for one tile stay in the first-level cache."""
OUTPUTS_AT_ONCE = 224
"""So many outputs, for all filters, and what their rows see, stay in the second-level cache."""


class RegisterTile(NamedTuple):
    """A tile of outputs, and the horizontal stride; each number is the length of a tuple, and so a part of
    the compiled type."""

    positions: tuple[int, ...]
    vectors: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, width: int, filters: int, itemsize: int, stride: int) -> RegisterTile:
        """The tile that lines of so many outputs and so many filters fill best."""
        positions = min((_POSITIONS, _POSITIONS // 2), key=lambda p: -(-width // p) * p)
        vectors = _VECTORS if filters > VECTOR_BYTES // itemsize else 1
        return cls((0,) * positions, (0,) * vectors, (0,) * stride)

    def filters(self, itemsize: int) -> int:
        """Filters in its vectors."""
        return len(self.vectors) * (VECTOR_BYTES // itemsize)


def _tile(
    typing: Any,
    lines: Any,
    start: Any,
    offsets: Any,
    first: Any,
    last: Any,
    weight: Any,
    inside: Any,
    y: Any,
    row: Any,
    column: Any,
    count: Any,
    floor: Any,
    positions: Any,
    vectors: Any,
    stride: Any,
) -> Any:
    """``y[row + p, column:] += sum over first <= r < last of lines[start + offsets[r] + p stride] *
    weight[r, inside:]`` for p < count, and at least `floor`.

    Tuples tell positions, vectors and stride by their lengths, which are then part of the compiled type.
    Positions from `count` on are computed from what lies behind the line, and dropped.
    """
    i = types.intp
    signature = types.void(
        *(lines, i, offsets, i, i, weight, i, y, i, i, i, lines.dtype, positions, vectors, stride)
    )
    bytes_each = lines.dtype.bitwidth // 8
    lanes = VECTOR_BYTES // bytes_each

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def array(at: int) -> Any:
            return context.make_array(signature.args[at])(context, builder, arguments[at])

        def number(value: int) -> Any:
            return ir.Constant(arguments[1].type, value)

        def vector_at(base: Any, v: int) -> Any:
            return builder.bitcast(builder.gep(base, [number(v * lanes)]), vector.as_pointer())

        def pitch(array: Any) -> Any:
            return cgutils.unpack_tuple(builder, array.shape)[1]

        line, offset, factor, out = array(0), array(2), array(5), array(7)
        start, first, last, inside, row, column, count = (arguments[at] for at in (1, 3, 4, 6, 8, 9, 10))
        vector = ir.VectorType(context.get_data_type(lines.dtype), lanes)
        splat = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)

        def spread(scalar: Any) -> Any:
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
            return builder.shuffle_vector(one, one, splat)

        places = []
        for p in range(positions.count):
            wanted = builder.icmp_signed("<", number(p), count)
            at = builder.select(wanted, number(p), number(0))
            at = builder.add(builder.mul(builder.add(row, at), pitch(out)), column)
            places.append((wanted, builder.gep(out.data, [at])))
        sums = [
            cgutils.alloca_once_value(builder, builder.load(vector_at(place, v), align=bytes_each))
            for _, place in places
            for v in range(vectors.count)
        ]
        seen = builder.gep(line.data, [start])
        weights = builder.gep(factor.data, [inside])
        with cgutils.for_range_slice(builder, first, last, number(1)) as (r, _):
            source = builder.gep(seen, [builder.load(builder.gep(offset.data, [r]))])
            of_row = builder.gep(weights, [builder.mul(r, pitch(factor))])
            w = [builder.load(vector_at(of_row, v), align=bytes_each) for v in range(vectors.count)]
            for p in range(positions.count):
                x = spread(builder.load(builder.gep(source, [number(p * stride.count)])))
                for v in range(vectors.count):
                    total = sums[p * vectors.count + v]
                    product = builder.fmul(x, w[v], flags=("contract",))
                    builder.store(builder.fadd(product, builder.load(total), flags=("contract",)), total)
        least = spread(arguments[11])
        for p, (wanted, place) in enumerate(places):
            with builder.if_then(wanted, likely=True):
                for v in range(vectors.count):
                    total = builder.load(sums[p * vectors.count + v])
                    total = builder.select(builder.fcmp_ordered("<", total, least), least, total)
                    builder.store(total, vector_at(place, v), align=bytes_each)
        return context.get_dummy_value()

    return signature, generate


_add_tile: Any = intrinsic(_tile)


@njit(cache=True, nogil=True)
def convolve(
    images: NDArray[Any],
    window: tuple[int, ...],
    dilation: tuple[int, ...],
    down: int,
    corner: tuple[int, int],
    size: tuple[int, int],
    rows: NDArray[np.int64],
    weight: NDArray[Any],
    bias: NDArray[Any],
    floor: float,
    lines: tuple[int, int],
    shape: tuple[int, ...],
    y: NDArray[Any],
    tile: tuple[Any, Any, Any],
) -> None:
    """Fill the lines of outputs from ``lines[0]`` to ``lines[1] - 1``, those of all images counted through.

    Parameters
    ----------
    images
        (images, channels, height, width), in any layout.
    window, dilation
        Numbers of the kernel, (vertical, horizontal).
    down
        Vertical stride.
    corner, size
        Where an image begins in a padded one, and height and width of that.
    rows
        Numbers of the kept rows, in the order (channel, k_h, k_w).
    weight
        (blocks of filters, kept rows, `FILTERS_A_BLOCK`).
    bias
        (filters,), for whole tiles of filters.
    floor
        The least output: 0 for a ReLU, or minus infinity.
    shape
        Height and width of an output.
    y
        (images * height * width, filters).
    tile
        A `RegisterTile`.
    """
    height, width = shape
    positions, vectors, stride = tile
    beyond = len(positions) * len(stride)
    padded = np.zeros(images.shape[1] * size[0] * size[1] + beyond, images.dtype)
    offsets = _offsets(rows, window, dilation, size)
    line = lines[0]
    while line < lines[1]:
        image = line // height
        first, last = line - image * height, min(lines[1] - image * height, height)
        _put(images[image], corner, size, padded)
        part = y[line * width : (image * height + last) * width]
        _product(
            *(padded, down * size[1], offsets, weight, bias, floor, first, width, part),
            *(positions, vectors, stride),
        )
        line = image * height + last


@njit(cache=True, nogil=True)
def _offsets(
    rows: NDArray[np.int64], window: tuple[int, ...], dilation: tuple[int, ...], size: tuple[int, int]
) -> NDArray[np.int64]:
    """Place of each row's input in a padded image, seen from output (0, 0)."""
    offsets = np.empty(len(rows), np.int64)
    for r in range(len(rows)):
        channel, place = divmod(rows[r], window[0] * window[1])
        y, x = divmod(place, window[1])
        offsets[r] = (channel * size[0] + y * dilation[0]) * size[1] + x * dilation[1]
    return offsets


@njit(cache=True, nogil=True)
def _put(image: NDArray[Any], corner: tuple[int, int], size: tuple[int, int], padded: NDArray[Any]) -> None:
    """Put an image (channels, height, width) into a padded one, whose padding is zero before.

    Channels go by within a line: where they lie next to each other, they share what a cache holds.
    """
    channels, height, width = image.shape
    for y in range(height):
        for c in range(channels):
            source = image[c, y]
            target = padded[(c * size[0] + y + corner[0]) * size[1] + corner[1] :]
            for x in range(width):
                target[x] = source[x]


@njit(cache=True, nogil=True)
def _product(
    padded: NDArray[Any],
    pitch: int,
    offsets: NDArray[np.int64],
    weight: NDArray[Any],
    bias: NDArray[Any],
    floor: float,
    first: int,
    width: int,
    y: NDArray[Any],
    positions: tuple[int, ...],
    vectors: tuple[int, ...],
    stride: tuple[int, ...],
) -> None:
    """Fill y (lines * width, filters), of which `first` is the number of the first line; `pitch` lies between
    two lines in the image."""
    for place in range(len(y)):
        for n in range(len(bias)):
            y[place, n] = bias[n]
    lines, some = len(y) // width, -(-OUTPUTS_AT_ONCE // width)
    for top in range(0, lines, some):
        bottom = min(top + some, lines)
        for row in range(0, max(1, len(offsets)), ROWS_AT_ONCE):
            end = min(row + ROWS_AT_ONCE, len(offsets))
            least = padded.dtype.type(floor if end == len(offsets) else -np.inf)
            for column in range(0, len(bias), len(vectors) * (VECTOR_BYTES // padded.itemsize)):
                of_block, inside = weight[column // FILTERS_A_BLOCK], column % FILTERS_A_BLOCK
                for line in range(top, bottom):
                    start = (first + line) * pitch
                    for x in range(0, width, len(positions)):
                        _add_tile(
                            *(padded, start + x * len(stride), offsets, row, end, of_block, inside),
                            *(y, line * width + x, column, width - x, least),
                            *(positions, vectors, stride),
                        )
