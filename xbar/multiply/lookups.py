"""Products of single bits by tables in registers, with noise, converters and sums over phases in one pass.

Four word lines have sixteen sums, which are one register; sixteen vectors look theirs up in it at once. So
the vectors lie side by side: a column's currents of all phases stay in the first-level cache until its
digital sums are all that is left of them. Every number is that of the kernels of `xbar.multiply.mvm`, to the
last bit: sums over word lines have the order of `xbar.multiply.product`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xbar.conductances.rng import add_noise_of_column, row_key
from xbar.machine.kernels import njit
from xbar.machine.lanes import (
    LANES,
    add,
    converted,
    load,
    looked_up,
    multiply_add,
    scaled,
    shifted,
    store,
    zeros,
)
from xbar.multiply.blocks import KernelColumns
from xbar.multiply.phases import is_run
from xbar.multiply.product import BITS

TABLES = 1 << 16
"""Numbers of the tables of columns that are worked on together: they stay in the second-level cache."""

TOGETHER = 4
"""Phases whose sums are in registers at a time, of two columns."""

_SUBSETS = (np.arange(LANES) >> np.arange(BITS)[:, None] & 1).astype(np.float32).ravel()

_NIBBLES = 8
"""Phases whose indices one word of 32 bits holds."""


def fits(block: KernelColumns, single_bits: bool, vectors: int) -> bool:
    """Whether `add_block` takes a block: no column is subtracted from another, and vectors fill lanes."""
    plain = len(block.reference) == 0 and len(block.inl) == 0 and len(block.forms) == 0
    return single_bits and plain and block.weights.dtype == np.float32 and vectors >= LANES


def space_of(block: KernelColumns, phases: int) -> int:
    """Numbers of float32 that `add_block` needs."""
    columns = _columns_together(len(block.rows), len(block.out), len(block.variance) > 0)
    rows = -(-phases // TOGETHER) * TOGETHER * LANES
    return _table(len(block.rows)) * columns * (1 + (len(block.variance) > 0)) + 4 * rows


@njit(cache=True, nogil=True)
def _table(lines: int) -> int:
    """Numbers of the tables of a column."""
    return -(-lines // BITS) * LANES


@njit(cache=True, nogil=True)
def _columns_together(lines: int, cols: int, noisy: bool) -> int:
    """Columns whose tables are filled at a time."""
    return max(2, min(cols, TABLES // max(1, _table(lines) * (1 + noisy))))


@njit(cache=True, nogil=True)
def add_block(
    codes: NDArray[Any],
    block: KernelColumns,
    weights: NDArray[np.float32],
    first: np.uint64,
    space: NDArray[np.float32],
    sums: NDArray[np.float32],
    n_out: int,
) -> None:
    """Add one block's columns to the outputs of all vectors.

    Parameters
    ----------
    codes
        Integers of at most sixteen bits, shape (M, K).
    weights
        Place value of each phase, shape (P,); a phase drives `v_read` where its bit is set.
    first
        Number of the first vector.
    space
        Numbers that `space_of` says, from a cache line on.
    sums
        For each sixteen vectors all outputs, and for each of these the sixteen, from a cache line on.
    """
    lines, cols, noisy = len(block.rows), len(block.out), len(block.variance) > 0
    phases, table = len(weights), _table(lines)
    together = _columns_together(lines, cols, noisy)
    rows = -(-phases // TOGETHER) * TOGETHER * LANES
    tables, rest = space[: together * table], space[together * table :]
    spreads = rest[: together * table * noisy]
    rest = rest[len(spreads) :]
    current, variance = rest[: 2 * rows], rest[2 * rows : 4 * rows]
    which = np.zeros(rows * -(-lines // BITS) + LANES, np.uint32)
    high, low = np.empty(phases * LANES, np.uint32), np.empty(phases * LANES, np.uint32)
    noise, adc, places, floor = len(block.floor) > 0, len(block.step) > 0, block.places, block.floor
    rate, offset, step, least, most = block.codes_a_unit, block.offset, block.step, block.low, block.high
    x, y = current[: phases * LANES], current[rows : rows + phases * LANES]
    of_x, of_y = variance[: phases * LANES], variance[rows : rows + phases * LANES]
    variance[:] = 0
    for start in range(0, cols, together):
        some = min(together, cols - start)
        _fill_tables(block.weights, start, some, tables)
        if noisy:
            _fill_tables(block.variance, start, some, spreads)
        for m in range(0, len(codes), LANES):
            part = codes[m : m + LANES]
            _indices(part, block.rows, phases, which)
            if noise:
                _row_keys(block.key, (first + np.uint64(m)) * np.uint64(phases), phases, high, low)
            for c in range(0, some, 2):
                second = min(c + 1, some - 1)
                _look_up(tables, c * table, second * table, which, lines, phases, current, rows)
                if noisy:
                    _look_up(spreads, c * table, second * table, which, lines, phases, variance, rows)
                if noise:
                    n = start + c
                    add_noise_of_column(places[n], high, low, of_x, floor[n], x)
                    n = start + second
                    add_noise_of_column(places[n], high, low, of_y, floor[n], y)
                # value = step clip(round_half_even(gain I / step + offset)), then shift and add
                for n in range(start + c, start + second + 1):
                    total, first_row = zeros(current), (n - start - c) * rows
                    for p in range(phases):
                        value = load(current, first_row + p * LANES)
                        if adc:
                            value = converted(value, rate[n], offset[n], least, most, step[n])
                        total = multiply_add(total, weights[p], value)
                    place = m * n_out + block.out[n] * LANES
                    store(sums, place, add(load(sums, place), scaled(total, block.coefficient[n])))


@njit(cache=True, nogil=True)
def placed(sums: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """The outputs of all vectors from the sums of `add_block`."""
    for m in range(0, len(out), LANES):
        some, first = min(LANES, len(out) - m), m * out.shape[1]
        for i in range(some):
            for n in range(out.shape[1]):
                out[m + i, n] = sums[first + n * LANES + i]


@njit(cache=True, nogil=True)
def _fill_tables(strips: NDArray[np.float32], start: int, some: int, tables: NDArray[np.float32]) -> None:
    """Sums of all subsets of each four word lines of so many columns, from number `start` on."""
    lines = strips.shape[1]
    subsets, width = _SUBSETS, _table(lines)
    for c in range(some):
        column = strips[(start + c) // LANES, :, (start + c) % LANES]
        for line in range(0, lines, BITS):
            sums = zeros(tables)
            for j in range(min(BITS, lines - line)):
                sums = multiply_add(sums, column[line + j], load(subsets, j * LANES))
            store(tables, c * width + line // BITS * LANES, sums)


@njit(cache=True, nogil=True)
def _indices(codes: NDArray[Any], rows: NDArray[np.int64], phases: int, which: NDArray[np.uint32]) -> None:
    """For each four word lines, phase and vector which of the lines are driven, a number of four bits; what
    is above them is of other phases."""
    each = -(-phases // TOGETHER) * TOGETHER * LANES
    lines, groups, run = len(rows), -(-len(rows) // BITS), is_run(rows)
    spread, words = np.zeros(groups * BITS, np.uint32), np.zeros(groups * LANES, np.uint32)
    for first in range(0, phases, _NIBBLES):
        for m in range(len(codes)):
            if run:
                line = codes[m, rows[0] : rows[0] + lines]
                for r in range(lines):
                    spread[r] = np.uint32(line[r] >> first)
            else:
                for r in range(lines):
                    spread[r] = np.uint32(codes[m, rows[r]] >> first)
            for r in range(lines):  # bit p of eight becomes bit 4 p
                x = spread[r] & np.uint32(0xFF)
                x = np.uint32(x | x << np.uint32(12)) & np.uint32(0x000F000F)
                x = np.uint32(x | x << np.uint32(6)) & np.uint32(0x03030303)
                spread[r] = np.uint32(x | x << np.uint32(3)) & np.uint32(0x11111111)
            for g in range(groups):
                r = g * BITS
                low, high = spread[r] | spread[r + 1] << 1, spread[r + 2] | spread[r + 3] << 1
                words[g * LANES + m] = np.uint32(low | high << 2)
        for g in range(groups):
            for p in range(first, min(first + _NIBBLES, phases)):
                shift = np.uint32(BITS * (p - first))
                store(which, g * each + p * LANES, shifted(load(words, g * LANES), shift))


@njit(cache=True, nogil=True)
def _row_keys(
    key: np.uint64, first: np.uint64, phases: int, high: NDArray[np.uint32], low: NDArray[np.uint32]
) -> None:
    """Halves of the key of each row m P + p, at place p LANES + m."""
    for m in range(LANES):
        for p in range(phases):
            row = row_key(key, first + np.uint64(m * phases + p))
            high[p * LANES + m] = np.uint32(row >> np.uint64(32))
            low[p * LANES + m] = np.uint32(row & np.uint64(0xFFFFFFFF))


@njit(cache=True, nogil=True)
def _look_up(
    tables: NDArray[np.float32],
    a: int,
    b: int,
    which: NDArray[np.uint32],
    lines: int,
    phases: int,
    out: NDArray[np.float32],
    rows: int,
) -> None:
    """Sums over word lines of all phases of sixteen vectors, of the two columns with tables from a and b."""
    for p in range(0, phases * LANES, TOGETHER * LANES):
        x0 = x1 = x2 = x3 = y0 = y1 = y2 = y3 = zeros(tables)
        for g in range(-(-lines // BITS)):
            first, second, place = load(tables, a + g * LANES), load(tables, b + g * LANES), g * rows + p
            i0, i1 = load(which, place), load(which, place + LANES)
            i2, i3 = load(which, place + 2 * LANES), load(which, place + 3 * LANES)
            x0, y0 = add(x0, looked_up(first, i0)), add(y0, looked_up(second, i0))
            x1, y1 = add(x1, looked_up(first, i1)), add(y1, looked_up(second, i1))
            x2, y2 = add(x2, looked_up(first, i2)), add(y2, looked_up(second, i2))
            x3, y3 = add(x3, looked_up(first, i3)), add(y3, looked_up(second, i3))
        store(out, p, x0)
        store(out, p + LANES, x1)
        store(out, p + 2 * LANES, x2)
        store(out, p + 3 * LANES, x3)
        store(out, rows + p, y0)
        store(out, rows + p + LANES, y1)
        store(out, rows + p + 2 * LANES, y2)
        store(out, rows + p + 3 * LANES, y3)
