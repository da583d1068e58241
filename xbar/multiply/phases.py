"""How codes become voltages on word lines, phase by phase, and the variance of noise that they drive."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xbar.machine.kernels import njit
from xbar.multiply.converters import Drive


class Phases(NamedTuple):
    """A `xbar.multiply.converters.Drive` as the kernels take it."""

    weights: NDArray[np.float32]
    volts: NDArray[np.float32]
    power: NDArray[np.float32]
    linear: bool
    power_is_square: bool
    bits: int
    digit_bits: int
    sign_magnitude: bool
    single_bits: bool


def phases_of(drive: Drive) -> Phases:
    """The phases that the multiply works on."""
    return Phases(
        drive.weights,
        drive.volts,
        drive.power,
        drive.linear,
        drive.power_is_square,
        drive.bits,
        drive.digit_bits,
        drive.sign_magnitude,
        drive.single_bits,
    )


def phases_before_merging(drive: Drive) -> Phases:
    """The phases that `Drive.merged` made one of; none where each is read by itself."""
    if drive.unmerged is not None:
        return phases_of(drive.unmerged)
    return phases_of(drive)._replace(weights=np.empty(0, np.float32))


@njit(cache=True, nogil=True)
def fill(
    codes: NDArray[Any],
    rows: NDArray[np.int64],
    phases: Phases,
    volts: NDArray[Any],
    squares: NDArray[Any],
) -> None:
    """Volts and power of each phase of ``codes[m, rows]`` in row m P + p, the rows after them 0; no power
    where `squares` is empty."""
    used = len(codes) * len(phases.weights)
    volts[used:] = 0
    squares[used:] = 0
    if phases.sign_magnitude:
        _spread_signed(codes, rows, phases, volts, squares)
    elif phases.bits:
        _spread(codes, rows, phases, volts, squares)
    else:
        _gather(codes, rows, volts, squares)


@njit(cache=True, nogil=True)
def _spread(
    codes: NDArray[Any],
    rows: NDArray[np.int64],
    phases: Phases,
    volts: NDArray[Any],
    squares: NDArray[Any],
) -> None:
    """Volts and power of digit p of ``codes[m, rows]`` in row m P + p; no power where `squares` is empty."""
    line = np.empty(len(rows), np.int32)
    run = is_run(rows)
    pattern, mask = np.int32((1 << phases.bits) - 1), np.int32((1 << phases.digit_bits) - 1)
    for m in range(len(codes)):
        if run:
            code = codes[m, rows[0] : rows[0] + len(rows)]
            for r in range(len(rows)):
                line[r] = np.int32(code[r]) & pattern
        else:
            for r in range(len(rows)):
                line[r] = np.int32(codes[m, rows[r]]) & pattern
        for p in range(len(phases.weights)):
            shift, at = np.int32(p * phases.digit_bits), m * len(phases.weights) + p
            if phases.linear:
                for r in range(len(rows)):
                    volts[at, r] = np.float32(line[r] >> shift & mask) * phases.volts[p, 1]
            else:
                _look_up(line, shift, mask, phases.volts[p], volts[at])
            if len(squares) and phases.power_is_square:
                for r in range(len(rows)):
                    squares[at, r] = volts[at, r] * volts[at, r]
            elif len(squares):
                _look_up(line, shift, mask, phases.power[p], squares[at])


@njit(cache=True, nogil=True)
def _spread_signed(
    codes: NDArray[Any],
    rows: NDArray[np.int64],
    phases: Phases,
    volts: NDArray[Any],
    squares: NDArray[Any],
) -> None:
    """The same of codes that go as sign and magnitude: a negative one has the table's second half."""
    line, half = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    mask = np.int32((1 << phases.digit_bits) - 1)
    for m in range(len(codes)):
        for r in range(len(rows)):
            code = np.int32(codes[m, rows[r]])
            line[r] = abs(code)
            half[r] = mask + 1 if code < 0 else 0
        for p in range(len(phases.weights)):
            shift, at = np.int32(p * phases.digit_bits), m * len(phases.weights) + p
            for r in range(len(rows)):
                volts[at, r] = phases.volts[p, (line[r] >> shift & mask) + half[r]]
            if len(squares):
                for r in range(len(rows)):
                    squares[at, r] = phases.power[p, (line[r] >> shift & mask) + half[r]]


@njit(cache=True, nogil=True)
def _look_up(
    line: NDArray[np.int32], shift: np.int32, mask: np.int32, table: NDArray[np.float32], row: NDArray[Any]
) -> None:
    """The table's entry for each digit."""
    for r in range(len(line)):
        row[r] = table[line[r] >> shift & mask]


@njit(cache=True, nogil=True)
def _gather(
    voltages: NDArray[Any], rows: NDArray[np.int64], volts: NDArray[Any], squares: NDArray[Any]
) -> None:
    """Voltages that are given, and their squares."""
    for m in range(len(voltages)):
        for r in range(len(rows)):
            volts[m, r] = voltages[m, rows[r]]
        if len(squares):
            for r in range(len(rows)):
                squares[m, r] = volts[m, r] * volts[m, r]


@njit(cache=True, nogil=True)
def is_run(index: NDArray[np.int64]) -> bool:
    """Whether the indices are a run: read or written as one piece, it vectorises."""
    return len(index) > 0 and bool((np.diff(index) == 1).all())


@njit(cache=True, nogil=True)
def form_variances(
    codes: NDArray[Any],
    rows: NDArray[np.int64],
    forms: NDArray[Any],
    volts: NDArray[Any],
    before: Phases,
    space: NDArray[Any],
    variance: NDArray[Any],
) -> None:
    """Variance of each column by its quadratic form in the voltages of all word lines.

    ``variance[m, c] = sum_p place_p^2 V[m, p]' forms[c] V[m, p]``: of phases that are merged, each has the
    noise of its own voltages, and they add up with the squares of their places. `volts` are those of the
    multiply, `space` has room for two times as many.
    """
    applied, through, parts = space[0], space[1], len(before.weights)
    if parts == 0:
        _forms(volts, forms, np.ones(1, np.float32), through, variance)
        return
    variance[:] = 0
    places = np.square(before.weights / before.weights[0])
    vectors = len(volts) // parts
    for start in range(0, len(codes), vectors):
        part = codes[start : start + vectors]
        fill(part, rows, before, applied, applied[:0])
        _forms(applied, forms, places, through, variance[start : start + len(part)])


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def _forms(
    volts: NDArray[Any],
    forms: NDArray[Any],
    places: NDArray[np.float32],
    through: NDArray[Any],
    variance: NDArray[Any],
) -> None:
    """The sum over p of ``places[p] v' forms[c] v`` with v row m P + p of the voltages; at least 0."""
    for c in range(len(forms)):
        np.dot(volts, forms[c], through)
        for m in range(len(variance)):
            total = np.float64(0)
            for p in range(len(places)):
                line, seen = volts[m * len(places) + p], through[m * len(places) + p]
                own = line[:0].sum()  # 0 of the voltages' type
                for r in range(len(line)):
                    own += line[r] * seen[r]
                total += places[p] * own
            variance[m, c] = max(total, 0.0)
