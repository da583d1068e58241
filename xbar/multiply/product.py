"""Products of a few rows with the columns of a block, each sum over word lines in their order.

BLAS is as fast where both sides are large, but the order of its sums depends on the number of rows. Here a
vector's currents are the same bits in whatever batch it comes, and a small batch costs little. Where word
lines are driven by single bits, four of them have sixteen sums, and a column adds up one from a table for
every four word lines in place of four products.

Columns go in strips of sixteen, from the last to the first: what the last one writes beyond a row's end is
where the next row begins, and is written by its first strip afterwards. No row is padded for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xbar.machine.kernels import njit
from xbar.machine.lanes import LANES, add, at, load, multiply_add, store, zeros

AT_ONCE = 6
"""Rows whose sums are in registers at a time: `product` works on whole sixes, `product_of_bits` on fours."""

ROOM = AT_ONCE - 1
"""Rows for which operands and results have room after the last one."""

BITS = 4
"""Word lines that share a table."""

TABLES = 16
"""Tables of sixteen columns at a time: they stay in the first-level cache."""

_SUMS = LANES << BITS


@njit(cache=True, nogil=True)
def product(volts: NDArray[Any], weights: NDArray[Any], rows: int, cols: int, out: NDArray[Any]) -> None:
    """``out[m C + c] = sum_r volts[m, r] w[r, c]`` for so many rows m.

    Parameters
    ----------
    volts
        Shape (rows + ROOM, R).
    weights
        `xbar.multiply.blocks.strips` of w.
    out
        Shape ((rows + ROOM) C + 15,) or longer.
    """
    lines = weights.shape[1]
    w, v = weights.reshape(-1), volts.reshape(-1)
    for strip in range(len(weights) - 1, -1, -1):
        own = strip * lines * LANES
        for m in range(0, rows, AT_ONCE):
            y0 = y1 = y2 = y3 = y4 = y5 = zeros(w)
            row = m * lines
            for r in range(lines):
                x = load(w, own + r * LANES)
                y0 = multiply_add(y0, at(v, row + r), x)
                y1 = multiply_add(y1, at(v, row + lines + r), x)
                y2 = multiply_add(y2, at(v, row + 2 * lines + r), x)
                y3 = multiply_add(y3, at(v, row + 3 * lines + r), x)
                y4 = multiply_add(y4, at(v, row + 4 * lines + r), x)
                y5 = multiply_add(y5, at(v, row + 5 * lines + r), x)
            place = m * cols + strip * LANES
            store(out, place, y0)
            store(out, place + cols, y1)
            store(out, place + 2 * cols, y2)
            store(out, place + 3 * cols, y3)
            store(out, place + 4 * cols, y4)
            store(out, place + 5 * cols, y5)


@njit(cache=True, nogil=True)
def bit_patterns(
    codes: NDArray[Any], rows: NDArray[np.int64], phases: int, patterns: NDArray[np.uint16]
) -> None:
    """Index into a table of sums for bit p of the codes of four word lines: one bit for each driven line.

    Parameters
    ----------
    codes
        Integers of at most sixteen bits, shape (M, K).
    patterns
        Filled in the rows m P + p, shape (M P + ROOM or more, R / 4 rounded up). Those after them are looked
        up as well: of zeros, or patterns of before.
    """
    words = np.empty(patterns.shape[1], np.uint64)
    apart, each = np.uint64(0x0001000100010001), np.uint64(0x1000200040008)
    low = np.uint64(0xFFFF)
    for m in range(len(codes)):
        words[:] = 0
        for r in range(len(rows)):
            shift = np.uint64(16 * (r % BITS))
            words[r // BITS] |= (np.uint64(codes[m, rows[r]]) & low) << shift
        for p in range(phases):
            line, shift = patterns[m * phases + p], np.uint64(p)
            for g in range(len(words)):
                # the product gathers bits 0, 16, 32, 48 as bits 48 ... 51
                gathered = ((words[g] >> shift & apart) * each) >> np.uint64(48)
                line[g] = np.uint16((gathered & np.uint64(15)) * np.uint64(LANES))


@njit(cache=True, nogil=True)
def _fill_tables(weights: NDArray[Any], first: int, lines: int, tables: NDArray[Any]) -> None:
    """Sums of all subsets of each four word lines of a strip, from number `first` of its weights."""
    for line in range(lines):
        table, bit = line // BITS * _SUMS, line % BITS
        if bit == 0:
            store(tables, table, zeros(tables))
        x = load(weights, first + line * LANES)
        for subset in range(1 << bit):
            place = table + subset * LANES
            store(tables, place + (LANES << bit), add(load(tables, place), x))


@njit(cache=True, nogil=True)
def product_of_bits(
    patterns: NDArray[np.uint16],
    weights: NDArray[Any],
    rows: int,
    cols: int,
    space: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """`product` of the bits that `bit_patterns` gives.

    Parameters
    ----------
    space
        An array of the type of the weights, with `bits_space` numbers.
    """
    lines, groups = weights.shape[1], patterns.shape[1]
    w, which = weights.reshape(-1), patterns.reshape(-1)
    tables, sums = space[: TABLES * _SUMS], space[TABLES * _SUMS :]
    for strip in range(len(weights) - 1, -1, -1):
        for first in range(0, max(groups, 1), TABLES):
            some = min(TABLES, groups - first)
            driven = min(some * BITS, lines - first * BITS)
            _fill_tables(w, (strip * lines + first * BITS) * LANES, driven, tables)
            for m in range(0, rows, 4):
                place = m * LANES
                y0 = y1 = y2 = y3 = zeros(w)
                if first:
                    y0, y1 = load(sums, place), load(sums, place + LANES)
                    y2, y3 = load(sums, place + 2 * LANES), load(sums, place + 3 * LANES)
                at0 = m * groups + first
                at1, at2, at3 = at0 + groups, at0 + 2 * groups, at0 + 3 * groups
                for g in range(some):
                    table = g * _SUMS
                    y0 = add(y0, load(tables, table + np.int64(at(which, at0 + g))))
                    y1 = add(y1, load(tables, table + np.int64(at(which, at1 + g))))
                    y2 = add(y2, load(tables, table + np.int64(at(which, at2 + g))))
                    y3 = add(y3, load(tables, table + np.int64(at(which, at3 + g))))
                if first + some < groups:
                    step, to, put = LANES, place, sums
                else:
                    step, to, put = cols, m * cols + strip * LANES, out
                store(put, to, y0)
                store(put, to + step, y1)
                store(put, to + 2 * step, y2)
                store(put, to + 3 * step, y3)


def bits_space(rows: int) -> int:
    """Numbers that `product_of_bits` needs beside its operands for so many rows."""
    return TABLES * _SUMS + (rows + ROOM) * LANES
