"""The analog matrix-vector multiply: inputs in phases, column currents, noise, converters, shift and add.

For each block of columns that share driven word lines, each vector m and each input phase p, column c carries

    I[m, p, c] = sum_r V[m, p, r] w[r, c] + sqrt(sum_r P[m, p, r] v[r, c] + f[c]) xi[m, p, c]

with the voltages V and their squares P of `xbar.multiply.converters.Drive`, the variance v of a cell's white
noise, that of the column's own noise f, and one standard normal draw xi: a sum of independent normal errors
is normal, so that this has the same distribution as an error drawn for each cell at each read. Where a
column's noise depends on the voltages of all word lines together, the sum over r is V' v[c] V with a matrix
v[c]. Then

    out[m, out[c]] += coefficient[c] sum_p weight[p] value[m, p, c]

with the value that the column's converter gives, or the current itself. A reference column is subtracted from
the columns that have one, before the converter or after it. Currents are in units of `v_read` times
`device.unit`.

Vectors go in chunks whose operands stay in the second-level cache. Each sum over word lines has one order
(`xbar.multiply.product`), so that a vector's result does not depend on its neighbours, the batch size or the
number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xbar.conductances.rng import add_noise, row_key, words
from xbar.hardware.errors import XbarError
from xbar.machine.kernels import njit
from xbar.machine.lanes import LANES, has_tables, load, multiply_add, store, zeros
from xbar.multiply.blocks import Block, KernelColumns
from xbar.multiply.converters import Drive
from xbar.multiply.lookups import add_block, fits, placed, space_of
from xbar.multiply.phases import Phases, fill, form_variances, is_run, phases_before_merging, phases_of
from xbar.multiply.product import BITS, ROOM, bit_patterns, bits_space, product, product_of_bits
from xbar.multiply.threads import run_workers, worker_count

CHUNK_ROWS = 240
"""Rows (vectors x phases) of one product: its operands stay in the second-level cache."""

LINE = 256
"""Columns, of as many rows as it takes, that noise and converters work on at a time."""


def mvm(
    codes: NDArray[Any],
    blocks: Sequence[Block],
    n_out: int,
    *,
    drive: Drive,
    first: int = 0,
    threads: int | None = None,
) -> NDArray[Any]:
    """Outputs of all blocks for a batch of inputs, shape (M, n_out) [v_read unit], of the weights' type.

    Parameters
    ----------
    codes
        Inputs, shape (M, K): uint8, int16 or int32 integers of `drive.bits` bits, or, where that is 0,
        float32 voltages [v_read].
    blocks
        What the columns hold; an output to which no column adds stays 0.
    drive
        How codes become voltages.
    first
        Number of the first vector, which its read noise belongs to.
    threads
        Worker threads; None: one a processor. The result does not depend on it.

    Raises
    ------
    XbarError
        For inputs of another dtype or outside the bits, for rows or outputs outside K or `n_out`, for blocks
        of different types, and for threads below 1.
    """
    _check_inputs(codes, drive)
    _check_blocks(blocks, codes.shape[1], n_out)
    kernels = [block.for_kernels for block in blocks if len(block.out)]
    out = np.zeros((len(codes), n_out), blocks[0].weights.dtype if blocks else np.float32)
    vectors = max(1, CHUNK_ROWS // drive.phases)
    chunks = -(-len(codes) // vectors)
    workers = worker_count(threads, chunks)
    bounds = [len(codes) if w == workers else chunks * w // workers * vectors for w in range(workers + 1)]
    phases, before = phases_of(drive), phases_before_merging(drive)
    tables = has_tables() and all(fits(block, drive.single_bits, len(codes)) for block in kernels)
    sizes = [(0, 0, 0, space_of(block, drive.phases)) if tables else _sizes(block) for block in kernels]
    most = max(map(_total, sizes), default=0)

    def work(worker: int) -> None:
        part = slice(bounds[worker], bounds[worker + 1])
        number = np.uint64(first + part.start)
        of_sums = -(-(part.stop - part.start) // LANES) * LANES * n_out if tables else 0
        space = _workspace(of_sums + most, out.dtype)
        sums, space = space[:of_sums], space[of_sums:]
        sums[:] = 0
        for block, parts in zip(kernels, sizes, strict=True):
            if tables:
                add_block(codes[part], block, drive.weights, number, space, sums, n_out)
            else:
                _block(codes[part], block, phases, before, number, space, parts, out[part])
        if tables:
            placed(sums, out[part])

    run_workers(work, workers, blas=any(len(block.forms) > 0 for block in kernels))
    return out


_kept = threading.local()


def _workspace(size: int, dtype: Any) -> NDArray[Any]:
    """Memory of this thread, at least so many numbers: new pages at every call would take as long as a
    product."""
    spaces: dict[Any, NDArray[Any]] = _kept.__dict__.setdefault("spaces", {})
    if dtype not in spaces or len(spaces[dtype]) < size:
        spaces[dtype] = _on_cache_lines(size, dtype)
    return spaces[dtype]


CACHE_LINE = 64
"""Bytes; lanes that lie across two lines take twice the time to read."""


def _on_cache_lines(size: int, dtype: Any) -> NDArray[Any]:
    """Memory for so many numbers that begins with a cache line."""
    width = np.dtype(dtype).itemsize
    space = np.empty(size + CACHE_LINE // width, dtype)
    first = -space.ctypes.data % CACHE_LINE // width
    return space[first : first + size]


def _sizes(block: KernelColumns) -> tuple[int, int, int, int]:
    """Numbers of the workspace of a block: of voltages or their squares, of currents or variances, of sums
    over phases, and of what else the products need; each by whole `LANES`."""
    rows, cols = len(block.rows), len(block.out)
    volts, current = (CHUNK_ROWS + ROOM) * rows, (CHUNK_ROWS + ROOM) * cols + LANES
    sums, more = CHUNK_ROWS * cols + LANES, max(bits_space(CHUNK_ROWS), 2 * CHUNK_ROWS * rows)
    return _whole(volts), _whole(current), _whole(sums), _whole(more)


def _whole(size: int) -> int:
    """A size rounded up to whole `LANES`."""
    return -(-size // LANES) * LANES


def _total(parts: tuple[int, int, int, int]) -> int:
    """Numbers of the workspace of a block: two parts of voltages and of currents, one of the others."""
    volts, current, sums, more = parts
    return 2 * (volts + current) + sums + more


@njit(cache=True, nogil=True)
def _block(
    codes: NDArray[Any],
    block: KernelColumns,
    phases: Phases,
    before: Phases,
    first: np.uint64,
    workspace: NDArray[Any],
    sizes: tuple[int, int, int, int],
    out: NDArray[Any],
) -> None:
    """Add one block's columns to the outputs of all vectors, chunk by chunk."""
    lines, cols, phase_count = len(block.rows), len(block.out), len(phases.weights)
    of_volts, of_currents, of_sums, of_more = sizes
    volts, squares = workspace[:of_volts], workspace[of_volts : 2 * of_volts]
    rest = workspace[2 * of_volts :]
    current, variance, rest = rest[:of_currents], rest[of_currents : 2 * of_currents], rest[2 * of_currents :]
    sums, more = rest[:of_sums], rest[of_sums : of_sums + of_more]
    cells, forms = len(block.variance) > 0, len(block.forms) > 0
    by_bits = phases.single_bits and not forms
    # zeros: a pattern beyond the last row is looked up, too, and must be a place in a table
    patterns = np.zeros((CHUNK_ROWS + ROOM if by_bits else 0, -(-lines // BITS)), np.uint16)
    if not cells:
        variance[:] = 0
    vectors = CHUNK_ROWS // phase_count
    for start in range(0, len(codes), vectors):
        part = codes[start : start + vectors]
        rows = len(part) * phase_count
        if by_bits:
            bit_patterns(part, block.rows, phase_count, patterns)
            product_of_bits(patterns, block.weights, rows, cols, more, current)
            if cells:
                product_of_bits(patterns, block.variance, rows, cols, more, variance)
        else:
            filled = CHUNK_ROWS if forms else rows + ROOM
            applied = volts[: filled * lines].reshape(filled, lines)
            powers = squares[: filled * lines * cells].reshape(filled * cells, lines)
            fill(part, block.rows, phases, applied, powers)
            product(applied, block.weights, rows, cols, current)
            if cells:
                product(powers, block.variance, rows, cols, variance)
            elif forms:
                space = more[: 2 * CHUNK_ROWS * lines].reshape(2, CHUNK_ROWS, lines)
                by_row = variance[: CHUNK_ROWS * cols].reshape(CHUNK_ROWS, cols)
                form_variances(part, block.rows, block.forms, applied, before, space, by_row)
        number = first + np.uint64(start)
        _finish(current, variance, block, phases.weights, number, sums, out[start : start + vectors])


@njit(cache=True, nogil=True)
def _finish(
    current: NDArray[Any],
    variance: NDArray[Any],
    block: KernelColumns,
    weights: NDArray[np.float32],
    first: np.uint64,
    sums: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Noise, converters and the sum over phases of a chunk's currents; each column goes to its output."""
    phases, cols, run = len(weights), len(block.out), is_run(block.out)
    before = len(block.reference) > 0 and block.subtract_before
    after = len(block.reference) > 0 and not block.subtract_before
    coefficient, reference, inl = block.coefficient, block.reference, block.inl
    rows = len(out) * phases
    by_row = current[: rows * cols].reshape(rows, cols)
    if len(block.floor):
        _add_noise(current, variance, block, first * np.uint64(phases), rows)
    if before:  # the reference column in analog, before its currents are converted
        for row in by_row:
            _subtract(row, reference)
    # value = step clip(round_half_even(y + inl(y)), low, high), y = gain I / step + offset
    if len(inl):
        for row in by_row:
            _convert_bent(row, block.codes_a_unit, block.offset, inl, block.low, block.high, block.step)
    elif len(block.step):
        _convert(current, block, rows)
    # Shift and add, sum_p weights_p value_p; then the reference in digital. Coefficients: plane and slice.
    _add_phases(current, weights, len(out), cols, sums)
    for m in range(len(out)):
        total = sums[m * cols : (m + 1) * cols]
        if after:
            _subtract(total, reference)
        if run:
            line = out[m, block.out[0] : block.out[0] + cols]
            for c in range(cols):
                line[c] += coefficient[c] * total[c]
        else:
            for c in range(cols):
                out[m, block.out[c]] += coefficient[c] * total[c]


@njit(cache=True, nogil=True)
def _add_phases(
    values: NDArray[Any], weights: NDArray[np.float32], vectors: int, cols: int, sums: NDArray[Any]
) -> None:
    """Sum over the phases of each vector; what a row's last lanes hold too much is where the next begins."""
    for m in range(vectors):
        for c in range(0, cols, LANES):
            total = zeros(values)
            for p in range(len(weights)):
                row = (m * len(weights) + p) * cols
                total = multiply_add(total, weights[p], load(values, row + c))
            store(sums, m * cols + c, total)


@njit(cache=True, nogil=True)
def _add_noise(
    current: NDArray[Any], variance: NDArray[Any], block: KernelColumns, first: np.uint64, rows: int
) -> None:
    """Add the draw of each current of so many rows; row 0 has the number `first`."""
    cols, together = len(block.out), _rows_together(len(block.out))
    a, b = np.empty(together * cols + LANES, np.uint32), np.empty(together * cols + LANES, np.uint32)
    floor = _repeated(block.floor, together)
    for start in range(0, rows, together):
        some = min(together, rows - start)
        for r in range(some):
            words(row_key(block.key, first + np.uint64(start + r)), block.places, cols, r * cols, a, b)
        these = slice(start * cols, (start + some) * cols)
        add_noise(a, b, variance[these], floor, current[these])


@njit(cache=True, nogil=True)
def _convert(current: NDArray[Any], block: KernelColumns, rows: int) -> None:
    """The value of each column's code in place of its current, of so many rows."""
    cols, together = len(block.out), _rows_together(len(block.out))
    rate, offset = _repeated(block.codes_a_unit, together), _repeated(block.offset, together)
    step, low, high = _repeated(block.step, together), block.low, block.high
    for start in range(0, rows * cols, together * cols):
        line = current[start : min(start + together * cols, rows * cols)]
        for c in range(len(line)):
            code = line[c] * rate[c] + offset[c]
            code = code if code > low else low
            code = code if code < high else high
            line[c] = np.rint(code) * step[c]


@njit(cache=True, nogil=True)
def _rows_together(cols: int) -> int:
    """Rows of a chunk that are worked on as one line: one of few columns is too short for vector units."""
    together = 1
    while together < CHUNK_ROWS and together * cols < LINE:
        together *= 2
    return together


@njit(cache=True, nogil=True)
def _repeated(values: NDArray[np.float32], times: int) -> NDArray[np.float32]:
    line = np.empty(times * len(values), np.float32)
    for start in range(0, len(line), len(values)):
        line[start : start + len(values)] = values
    return line


@njit(cache=True, nogil=True)
def _subtract(row: NDArray[Any], reference: NDArray[np.int64]) -> None:
    """Subtract from each column its reference; reference columns have none themselves."""
    for c in range(len(row)):
        if reference[c] >= 0:
            row[c] -= row[reference[c]]


@njit(cache=True, nogil=True)
def _convert_bent(
    row: NDArray[Any],
    rate: NDArray[np.float32],
    offset: NDArray[np.float32],
    inl: NDArray[np.float32],
    low: np.float32,
    high: np.float32,
    step: NDArray[np.float32],
) -> None:
    """The value of each column's code in place of its current, by a converter with non-linearity."""
    last = len(inl) - 1
    for c in range(len(row)):
        code = row[c] * rate[c] + offset[c]  # y, and its place between two entries of the table
        at = (code - low) / (high - low) * np.float32(last)
        at = at if at > 0 else np.float32(0)
        left: Any = min(np.int64(at), last - 1)
        part: Any = min(at - np.float32(left), np.float32(1))
        code += inl[left] + part * (inl[left + 1] - inl[left])
        code = code if code > low else low
        code = code if code < high else high
        row[c] = np.rint(code) * step[c]


def _check_inputs(codes: NDArray[Any], drive: Drive) -> None:
    allowed = ["uint8", "int16", "int32"] if drive.bits else ["float32"]
    if codes.ndim != 2 or codes.dtype.name not in allowed:
        raise XbarError(
            f"codes: {codes.dtype} of shape {codes.shape} with bits = {drive.bits}; "
            f"must be {' or '.join(allowed)} of shape (M, K)"
        )
    high = float(np.finfo(np.float32).max)
    low, high = drive.code_range if drive.bits else (-high, high)
    if drive.bits and low <= np.iinfo(codes.dtype).min and np.iinfo(codes.dtype).max <= high:
        return
    if codes.size and not (low <= codes.min() and codes.max() <= high):
        raise XbarError(
            f"codes from {codes.min()} to {codes.max()}: {'signed' if drive.signed else 'unsigned'} inputs "
            f"with bits = {drive.bits} must lie between {low:g} and {high:g}"
        )


def _check_blocks(blocks: Sequence[Block], n_in: int, n_out: int) -> None:
    if len({block.weights.dtype for block in blocks}) > 1:
        raise XbarError("blocks: some have float32 weights and some float64; must be one type")
    for i, block in enumerate(blocks):
        rows = (int(block.rows[0]), int(block.rows[-1])) if len(block.rows) else (0, -1)
        for name, (least, largest), count in (("rows", rows, n_in), ("out", block.out_range, n_out)):
            if least < 0 or largest >= count:
                raise XbarError(
                    f"blocks[{i}].{name}: {least} to {largest}; must lie between 0 and {count - 1}"
                )
