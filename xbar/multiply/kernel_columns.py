"""The columns of a block as the kernels of the multiply take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xbar.machine.lanes import LANES
from xbar.multiply.blocks import Block


class KernelColumns(NamedTuple):
    """A block as the kernel takes it: empty arrays where it has no such part. Weights and variances are in
    `xbar.multiply.blocks.strips`, places mixed and by whole `LANES`."""

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


def kernel_columns(block: Block) -> KernelColumns:
    noise, adc, none = block.noise, block.converter, np.empty(0, np.float32)
    dtype, cells = block.weights.dtype, len(block.rows)
    by_form = noise is not None and noise.variance.ndim == 3
    return KernelColumns(
        block.rows,
        block.strips,
        block.out,
        block.coefficient,
        np.empty(0, np.int64) if block.reference is None else block.reference,
        block.subtract_before,
        noise.strips if noise and not by_form else np.empty((0, 0, LANES), dtype),
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
