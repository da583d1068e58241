"""The analog matrix-vector multiply: bit-serial inputs, column currents, converters, shift and add.

For each block of columns that share driven word lines, and each input phase p, the converter of column c
gives

    code[p, m, c] = clip(round_half_even(I[p, m, c] / step), low, high),    I = sum_r V[p, m, r] w[r, c]

and ``out[m, out[c]] += coefficient[c] sum_p phase_weight[p] step code[p, m, c]``. Currents are in units of
`v_read` times `device.unit`.

Samples go in chunks of a fixed number of matrix rows, padded at the end: every product has the same shape, so
a sample's result does not depend on its neighbours, the batch size or the number of threads.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from xbar.errors import XbarError
from xbar.validation import check_range

CHUNK_ROWS = 256
"""Rows (samples x phases) of one product: its operands stay in the second-level cache."""


@dataclass(frozen=True)
class Block:
    """Columns that share their driven word lines: the packed tiles of one band.

    Parameters
    ----------
    rows
        GEMM rows k that drive the columns, int64, shape (R,).
    weights
        Column conductances (g+ - g-)/unit, or g/unit of one plane, float32, shape (R, C), C-contiguous.
    out
        Output n that a column's value is added to, int64, shape (C,); may repeat.
    coefficient
        Signed place value of a column, +-L^(S-1-s), float32, shape (C,).

    Raises
    ------
    XbarError
        For an array of another dtype, shape or memory order.
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.float32]
    out: NDArray[np.int64]
    coefficient: NDArray[np.float32]

    def __post_init__(self) -> None:
        rows, cols = len(self.rows), len(self.out)
        _check("block.rows", self.rows, np.int64, (rows,))
        _check("block.weights", self.weights, np.float32, (rows, cols))
        _check("block.out", self.out, np.int64, (cols,))
        _check("block.coefficient", self.coefficient, np.float32, (cols,))


@dataclass(frozen=True)
class Converter:
    """An ADC: code = clip(round_half_even(I / step), low, high), value = step code.

    Parameters
    ----------
    step
        Current of one code [v_read unit]; 0 for an ideal converter, which passes currents through.
    low, high
        Smallest and largest code.

    Raises
    ------
    XbarError
        For a step outside 0 and 1e-30 ... 1e30, or limits that are not integers within 2^24, low <= high.
    """

    step: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.step == 0:
            return
        check_range("converter.step", self.step, 1e-30, 1e30, "v_read unit, or be 0 for an ideal converter")
        whole = self.low == round(self.low) and self.high == round(self.high)
        if not (whole and -(2**24) <= self.low <= self.high <= 2**24):
            raise XbarError(
                f"converter.low = {self.low}, converter.high = {self.high}: "
                "must be integers, -2^24 <= low <= high <= 2^24"
            )


def phase_weights(bits: int, signed: bool) -> NDArray[np.float32]:
    """Place value of each one-bit phase, least significant first, shape (bits,).

    1, 2, 4, ...; the last one is -2^(bits-1) for two's complement.
    """
    weights = np.exp2(np.arange(bits, dtype=np.float32))
    if signed:
        weights[-1] *= -1
    return weights


def mvm(
    codes: NDArray[Any],
    blocks: Sequence[Block],
    n_out: int,
    *,
    bits: int | None,
    signed: bool,
    converter: Converter,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Outputs of all blocks for a batch of inputs, float32, shape (M, n_out) [v_read unit].

    Parameters
    ----------
    codes
        Inputs, shape (M, K): uint8 or int16 integers of `bits` bits, or, where `bits` is None, float32
        voltages [v_read], applied in one phase.
    blocks
        What the columns hold; an output to which no column adds stays 0.
    bits, signed
        Phases of one bit; signed integers go as two's complement.
    converter
        The ADC of every column. Behind an ideal one phases add up to the integer itself, which is
        multiplied at once.
    threads
        Worker threads; None: one a processor. The result does not depend on it.

    Raises
    ------
    XbarError
        For inputs of another dtype or outside `bits` bits, and for rows or outputs outside K or `n_out`,
        and for threads below 1.
    """
    _check_inputs(codes, bits, signed)
    _check_blocks(blocks, codes.shape[1], n_out)
    if threads is not None and threads < 1:
        raise XbarError(f"threads = {threads}: must be at least 1, or None for one a processor")
    serial = bits is not None and converter.step > 0
    phases = phase_weights(bits, signed) if bits is not None and serial else np.ones(1, np.float32)
    limits = (np.float32(converter.step), np.float32(converter.low), np.float32(converter.high))
    out = np.zeros((len(codes), n_out), np.float32)
    samples = CHUNK_ROWS // len(phases)
    chunks = -(-len(codes) // samples)
    workers = max(1, min(threads or os.cpu_count() or 1, chunks))
    bounds = [len(codes) if w == workers else chunks * w // workers * samples for w in range(workers + 1)]

    def work(worker: int) -> None:
        part = slice(bounds[worker], bounds[worker + 1])
        for block in blocks:
            _block(
                codes[part],
                block.rows,
                block.weights,
                block.coefficient,
                block.out,
                phases,
                serial,
                *limits,
                out[part],
            )

    with _blas().limit(limits=1):
        if workers == 1:
            work(0)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(work, range(workers)))
    return out


@njit(cache=True, nogil=True)
def _block(
    codes: NDArray[Any],
    rows: NDArray[np.int64],
    weights: NDArray[np.float32],
    gain: NDArray[np.float32],
    index: NDArray[np.int64],
    phases: NDArray[np.float32],
    serial: bool,
    step: np.float32,
    low: np.float32,
    high: np.float32,
    out: NDArray[np.float32],
) -> None:
    """Add one block's columns to the outputs of all samples, chunk by chunk: spread, multiply, convert."""
    voltages = np.zeros((CHUNK_ROWS, len(rows)), np.float32)
    currents = np.empty((CHUNK_ROWS, len(index)), np.float32)
    samples = CHUNK_ROWS // len(phases)
    for first in range(0, len(codes), samples):
        part = codes[first : first + samples]
        if serial:
            _spread_bits(part, rows, len(phases), voltages)
        else:
            _gather(part, rows, voltages)
        np.dot(voltages, weights, currents)
        if step > 0:
            _convert(currents, phases, step, low, high, gain, index, out[first : first + samples])
        else:
            _add(currents, gain, index, out[first : first + samples])


@njit(cache=True, nogil=True)
def _spread_bits(
    codes: NDArray[Any], rows: NDArray[np.int64], phases: int, voltages: NDArray[np.float32]
) -> None:
    """Bit p of ``codes[m, rows]`` as 0 or 1 in row m phases + p of `voltages`."""
    line = np.empty(len(rows), np.int32)
    for m in range(len(codes)):
        for r in range(len(rows)):
            line[r] = codes[m, rows[r]]
        for p in range(phases):
            bit = np.int32(1 << p)
            for r in range(len(rows)):
                voltages[m * phases + p, r] = np.float32(1) if line[r] & bit else np.float32(0)


@njit(cache=True, nogil=True)
def _gather(codes: NDArray[Any], rows: NDArray[np.int64], voltages: NDArray[np.float32]) -> None:
    """``codes[m, rows]`` in row m of `voltages`."""
    for m in range(len(codes)):
        for r in range(len(rows)):
            voltages[m, r] = codes[m, rows[r]]


@njit(cache=True, nogil=True)
def _convert(
    currents: NDArray[np.float32],
    phases: NDArray[np.float32],
    step: np.float32,
    low: np.float32,
    high: np.float32,
    gain: NDArray[np.float32],
    index: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Quantise the currents, sum the phases of a sample, and add each column to its output."""
    total = np.empty(len(index), np.float32)
    for m in range(len(out)):
        total[:] = 0
        for p in range(len(phases)):
            row = currents[m * len(phases) + p]
            for c in range(len(index)):
                code = row[c] / step
                code = code if code > low else low
                code = code if code < high else high
                total[c] += phases[p] * np.rint(code)
        for c in range(len(index)):
            total[c] *= gain[c] * step
        for c in range(len(index)):
            out[m, index[c]] += total[c]


@njit(cache=True, nogil=True)
def _add(
    currents: NDArray[np.float32],
    gain: NDArray[np.float32],
    index: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Add each column's current, times its place value, to its output."""
    for m in range(len(out)):
        for c in range(len(index)):
            out[m, index[c]] += gain[c] * currents[m, c]


@functools.cache
def _blas() -> ThreadpoolController:
    """The linear algebra libraries of this process; looked up once, as that takes milliseconds."""
    return ThreadpoolController().select(user_api="blas")


def _check(name: str, array: NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise XbarError(
            f"{name}: {array.dtype} of shape {array.shape}; "
            f"must be C-contiguous {np.dtype(dtype)} of shape {shape}"
        )


def _check_inputs(codes: NDArray[Any], bits: int | None, signed: bool) -> None:
    allowed = ["float32"] if bits is None else ["uint8", "int16"]
    if codes.ndim != 2 or codes.dtype.name not in allowed:
        raise XbarError(
            f"codes: {codes.dtype} of shape {codes.shape} with bits = {bits}; "
            f"must be {' or '.join(allowed)} of shape (M, K)"
        )
    if bits is None:
        high = float(np.finfo(np.float32).max)
        low = -high
    else:
        check_range("bits", bits, 1, 15)
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if codes.size and not (low <= codes.min() and codes.max() <= high):
        raise XbarError(
            f"codes from {codes.min()} to {codes.max()}: {'signed' if signed else 'unsigned'} inputs "
            f"with bits = {bits} must lie between {low:g} and {high:g}"
        )


def _check_blocks(blocks: Sequence[Block], n_in: int, n_out: int) -> None:
    for i, block in enumerate(blocks):
        for name, index, count in (("rows", block.rows, n_in), ("out", block.out, n_out)):
            if index.size and not (index.min() >= 0 and index.max() < count):
                raise XbarError(
                    f"blocks[{i}].{name}: {index.min()} to {index.max()}; must lie between 0 and {count - 1}"
                )
