"""Operands of the multiply: blocks of columns that share their word lines, and their read noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xbar.conductances.generator import mixed_places
from xbar.hardware.checks import check_array
from xbar.hardware.errors import XbarError
from xbar.multiply.converters import Converter

STRIP = 16
"""Columns that kernels multiply by together: `xbar.machine.lanes.LANES`, which needs numba."""


def strips(weights: NDArray[Any]) -> NDArray[Any]:
    """Columns (R, C) in strips, the last with zeros, shape (strips, R, STRIP)."""
    rows, cols = weights.shape
    parts = -(-cols // STRIP)
    wide = np.zeros((rows, parts * STRIP), weights.dtype)
    wide[:, :cols] = weights
    return np.ascontiguousarray(wide.reshape(rows, parts, STRIP).transpose(1, 0, 2))


@dataclass(frozen=True)
class ReadNoise:
    """White noise of a block's columns.

    Parameters
    ----------
    variance
        Variance of the cells' noise [unit^2], in the type of the block's weights. Shape (R, C): that of each
        cell, which goes with the square of its word line's voltage. Shape (C, R, R): for each column a
        symmetric matrix v; the variance is V' v V for the voltages V of all word lines. Shape (0, C): none.
    floor
        Variance of each column's own noise [(v_read unit)^2], float32, shape (C,).
    key
        Stream of the draws, from `xbar.conductances.rng.stream_key`: row m P + p, place `places[c]`.
    places
        uint32, shape (C,).
    """

    variance: NDArray[Any]
    floor: NDArray[np.float32]
    key: np.uint64
    places: NDArray[np.uint32]

    @cached_property
    def mixed_places(self) -> NDArray[np.uint32]:
        """`places` as the generator takes them."""
        return mixed_places(self.places)

    @cached_property
    def places_in_strips(self) -> NDArray[np.uint32]:
        """`mixed_places` by whole strips, as the kernel takes them."""
        return np.pad(self.mixed_places, (0, -len(self.places) % STRIP))

    @cached_property
    def strips(self) -> NDArray[Any]:
        """`variance` of cells as the kernel takes it, none of none."""
        return strips(self.variance) if len(self.variance) else np.empty((0, 0, STRIP), self.variance.dtype)


class KernelColumns(NamedTuple):
    """A block as the kernel takes it: empty arrays where it has no such part. Weights and variances are in
    `strips`, places mixed and by whole `STRIP`."""

    rows: NDArray[np.int64]
    weights: NDArray[Any]
    out: NDArray[np.int64]
    coefficient: NDArray[np.float32]
    reference: NDArray[np.int64]
    subtract_before: bool
    variance: NDArray[Any]
    forms: NDArray[Any]
    floor: NDArray[np.float32]
    key: np.uint64
    places: NDArray[np.uint32]
    step: NDArray[np.float32]
    codes_a_unit: NDArray[np.float32]
    offset: NDArray[np.float32]
    inl: NDArray[np.float32]
    low: np.float32
    high: np.float32


@dataclass(frozen=True)
class Block:
    """Columns that share their driven word lines: the packed tiles of one band.

    Parameters
    ----------
    rows
        GEMM rows k that drive the columns, ascending, int64, shape (R,).
    weights
        Column conductances (g+ - g-)/unit, or g/unit of one plane, float32 or float64, shape (R, C),
        C-contiguous.
    out
        Output n that a column's value is added to, int64, shape (C,); may repeat.
    coefficient
        Signed place value of a column, float32, shape (C,); 0 for a reference column.
    converter
        None: ideal, which passes currents through.
    noise
        None: no read noise.
    reference
        The column that is subtracted from each column, or -1, int64, shape (C,); None: none is.
    subtract_before
        Whether references are subtracted before the converter.

    Raises
    ------
    XbarError
        For an array of another dtype, shape or memory order, or a reference that is not a column.
    """

    rows: NDArray[np.int64]
    weights: NDArray[Any]
    out: NDArray[np.int64]
    coefficient: NDArray[np.float32]
    converter: Converter | None = None
    noise: ReadNoise | None = None
    reference: NDArray[np.int64] | None = None
    subtract_before: bool = False

    @cached_property
    def strips(self) -> NDArray[Any]:
        """`weights` as the kernel takes them."""
        return strips(self.weights)

    @cached_property
    def for_kernels(self) -> KernelColumns:
        """The block as the kernels take it."""
        noise, adc, none = self.noise, self.converter, np.empty(0, np.float32)
        dtype, cells = self.weights.dtype, len(self.rows)
        by_form = noise is not None and noise.variance.ndim == 3
        return KernelColumns(
            self.rows,
            self.strips,
            self.out,
            self.coefficient,
            np.empty(0, np.int64) if self.reference is None else self.reference,
            self.subtract_before,
            noise.strips if noise and not by_form else np.empty((0, 0, STRIP), dtype),
            noise.variance if noise and by_form else np.empty((0, cells, cells), dtype),
            noise.floor if noise else none,
            np.uint64(noise.key if noise else 0),
            noise.places_in_strips if noise else np.empty(0, np.uint32),
            adc.step if adc else none,
            adc.gain / adc.step if adc else none,
            adc.offset if adc else none,
            adc.inl if adc else none,
            np.float32(adc.low if adc else 0),
            np.float32(adc.high if adc else 0),
        )

    @cached_property
    def out_range(self) -> tuple[int, int]:
        """Least and largest output; of none (0, -1)."""
        return (int(self.out.min()), int(self.out.max())) if len(self.out) else (0, -1)

    def __post_init__(self) -> None:
        rows, cols = len(self.rows), len(self.out)
        dtype = np.float64 if self.weights.dtype == np.float64 else np.float32
        check_array("block.rows", self.rows, np.int64, (rows,))
        if (self.rows[1:] <= self.rows[:-1]).any():
            raise XbarError("block.rows: must ascend")
        check_array("block.weights", self.weights, dtype, (rows, cols))
        check_array("block.out", self.out, np.int64, (cols,))
        check_array("block.coefficient", self.coefficient, np.float32, (cols,))
        if self.reference is not None:
            check_array("block.reference", self.reference, np.int64, (cols,))
            if cols and not (self.reference.min() >= -1 and self.reference.max() < cols):
                raise XbarError(f"block.reference: must lie between -1 and {cols - 1}")
        if self.converter is not None:
            check_array("block.converter.step", self.converter.step, np.float32, (cols,))
        if self.noise is not None:
            variance: NDArray[Any] = self.noise.variance
            shape: tuple[int, ...] = (rows, cols)
            if variance.ndim == 3:
                shape = (cols, rows, rows)
            elif not len(variance):
                shape = (0, cols)
            check_array("block.noise.variance", variance, dtype, shape)
            check_array("block.noise.floor", self.noise.floor, np.float32, (cols,))
            check_array("block.noise.places", self.noise.places, np.uint32, (cols,))
