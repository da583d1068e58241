"""The exact transfer matrix of a tile with wire resistance, for ohmic cells: W with I = V W.

The circuit: a source drives each word line at its left end, each bit line is grounded at its bottom end, the
other ends float. A segment of wire lies before each cell of a word line and after each cell of a bit line;
`r_driver` is in series with the first segment of a word line, `r_sense` with the last one of a bit line.

W comes from nested dissection (George 1973, doi:10.1137/0710032) in hybrid ports. A rectangle of cells is
described by its symmetric port matrix S,

    [I_l, I_b, -V_t, -V_r] = S [V_l, V_b, J_t, J_r],

driven by voltages at the left (l) and bottom (b) ends of its lines and by currents at the top (t) and right
(r) ones, with all currents flowing in. Wires enter as resistances, never as 1/r: r = 0 and g = 0 are ordinary
numbers. Where the current-driven ports j of A meet the voltage-driven ones of B, with X = S_A[j, j],
Y = S_B[j, j], a = S_A[j, .], c = S_B[j, .] and M = (Y X - I)^-1, the two joined have

    S = [[S_A - a' M Y a, a' M c], [(a' M c)', S_B - c' X M c]].

Y and -X are positive semidefinite, so that Y X - I is never singular. At the top and right edges of the tile
lines float: their ports are dropped. In the end W = -S[l, b]. Work grows as n^3, memory as n^2.

Inside, row 0 is the lowest word line, which makes word and bit lines interchangeable.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from xbar.hardware.checks import as_floats, check_range
from xbar.hardware.errors import XbarError
from xbar.multiply.threads import run_workers, worker_count
from xbar.wires import transfer_kernels as kernels
from xbar.wires.circuit_kernels import Floats
from xbar.wires.transfer_kernels import Table

Quad = tuple[int, ...]
Span = tuple[int, int]

LEFT, BOTTOM, TOP, RIGHT = range(4)
JOINTS = ((RIGHT, LEFT), (TOP, BOTTOM))
"""Ports of A and of B that meet: A left of B (word lines go on), or A below B (bit lines go on)."""

LEAF = 8
"""Longest edge of a block that is built cell by cell [cells]."""
CORE = 32
"""Longest edge of a block that is joined from leaves together with all others, in equal shapes [cells]."""
BATCH = 2**14
"""Cells whose cores are made at once: their port matrices stay near the processor."""
TOGETHER = 4
"""Tiles of middling size that a thread joins at once: threads then wait less for each other's Python."""
DIRECT = 32
"""Largest matrix that is inverted row by row, larger ones by halves."""


def transfer_matrix(
    g: ArrayLike, r_wl: float, r_bl: float, *, r_driver: float = 0.0, r_sense: float = 0.0
) -> Floats:
    """Transfer matrix W of one tile, float64, shape (m, n) [S]: output currents are I = V W.

    Parameters
    ----------
    g
        Cell conductances, shape (m, n): m word lines, n bit lines [S]; 0 is an open cell.
    r_wl, r_bl
        Resistance of one segment of a word line and of a bit line [ohm].
    r_driver, r_sense
        Resistance in series with each source and with each bit line's end at ground [ohm].

    Raises
    ------
    XbarError
        For conductances of another shape, and for conductances and resistances that are not between 0 and
        1e6 S or 1e9 ohm.
    """
    array = as_floats("g", g)
    if array.ndim != 2:
        raise XbarError(f"g: shape {array.shape}; must be (m, n)")
    out = transfer_matrices(array[None], r_wl, r_bl, r_driver=r_driver, r_sense=r_sense, threads=1)
    return out.reshape(array.shape)


def transfer_matrices(
    g: ArrayLike,
    r_wl: float,
    r_bl: float,
    *,
    r_driver: float = 0.0,
    r_sense: float = 0.0,
    threads: int | None = None,
) -> Floats:
    """Transfer matrices of many tiles of one shape, float64, shape (B, m, n) [S].

    Parameters
    ----------
    g
        Cell conductances, shape (B, m, n) [S].
    r_wl, r_bl, r_driver, r_sense
        As for `transfer_matrix`, the same for all tiles [ohm].
    threads
        Worker threads; None: one a processor. The result does not depend on it.

    Raises
    ------
    XbarError
        As `transfer_matrix`, and for threads below 1.
    """
    cells = as_floats("g", g)
    if cells.ndim != 3:
        raise XbarError(f"g: shape {cells.shape}; must be (B, m, n)")
    if 0 in cells.shape[1:]:
        raise XbarError(f"g: shape {cells.shape[1:]}; must hold at least one cell")
    for value in (cells.min(initial=0), cells.max(initial=0)):
        check_range("g", float(value), 0, 1e6, "S")
    wires = (("r_wl", r_wl), ("r_bl", r_bl), ("r_driver", r_driver), ("r_sense", r_sense))
    for name, value in wires:
        check_range(name, value, 0, 1e9, "ohm")
    workers = worker_count(threads, len(cells))

    out = np.empty(cells.shape)
    word, bit = (r_wl, r_driver), (r_bl, r_sense)
    frame, result = cells[:, ::-1], out[:, ::-1]
    if cells.shape[1] < cells.shape[2]:
        frame, result, word, bit = frame.swapaxes(1, 2), result.swapaxes(1, 2), bit, word
    rows, cols = (_cut(length) for length in frame.shape[1:])
    area = rows.cells * cols.cells
    together = max(BATCH // area, min(TOGETHER, 16 * BATCH // area))
    size = max(1, min(together, -(-len(cells) // workers)))
    parts = [slice(first, first + size) for first in range(0, len(cells), size)]
    workers = min(workers, max(1, len(parts)))

    def work(worker: int) -> None:
        stack = _Stack(_room(min(size, len(cells)), rows, cols))
        for part in parts[worker::workers]:
            stack.used = [0, 0]
            np.negative(_left_bottom(_Tiles(frame[part], word, bit, rows, cols), stack), out=result[part])

    run_workers(work, workers)
    return out


class _Cut(NamedTuple):
    """An edge of `cells` cells, in `cores` cores of 2^halvings leaves each; the last core may be padded."""

    cells: int
    cores: int
    halvings: int
    leaf: int

    @property
    def core(self) -> int:
        """Cells of a core."""
        return self.leaf << self.halvings


def _cut(cells: int) -> _Cut:
    cores = -(-cells // CORE)
    core = -(-cells // cores)
    halvings = (-(-core // LEAF) - 1).bit_length()
    return _Cut(cells, cores, halvings, -(-core // 2**halvings))


class _Tiles(NamedTuple):
    """Tiles of one shape: conductances (n, rows, columns), the lowest word line first, and how to cut them.

    `word` and `bit` are the resistance of a segment of a line, and that in series with the first one.
    """

    g: Floats
    word: tuple[float, float]
    bit: tuple[float, float]
    rows: _Cut
    cols: _Cut


class _Block(NamedTuple):
    """Port matrices of n rectangles, data[first + i step]; only their upper triangles are kept.

    `size` and `start` are the numbers and the first indices of the ports at left, bottom, top and right: not
    all that the matrix has, where some are dropped.
    """

    data: Floats
    first: int
    step: int
    n: int
    size: Quad
    start: Quad


class _Stack:
    """Two stacks that grow from the ends of one array: a join reads one and leaves its result on the other.

    Memory that is used again need not be mapped again, which would take a quarter of the time.
    """

    def __init__(self, room: int) -> None:
        self.room = np.empty(room)
        self.size = room
        self.used = [0, 0]

    def take(self, end: int, *shape: int) -> Floats:
        """Push an array of any content; beyond the room it gets memory of its own."""
        first = self.used[end]
        last = self.used[end] = first + math.prod(shape)
        if last + self.used[1 - end] > self.size:
            return np.empty(shape)
        flat = self.room[self.size - last : self.size - first] if end else self.room[first:last]
        return flat.reshape(shape)


def _room(count: int, rows: _Cut, cols: _Cut) -> int:
    """Numbers on both stacks at most, as measured: a part for the cores, one for the largest blocks."""
    cores = count * rows.cores * rows.core * cols.cores * cols.core
    return 60 * min(cores, 2 * BATCH) + 6 * count * (rows.cells + cols.cells) ** 2


def _left_bottom(tiles: _Tiles, stack: _Stack) -> Floats:
    """S[l, b] of whole tiles, shape (n, rows, columns); the last join makes nothing else."""
    rows, cols = tiles.rows, tiles.cols
    bottom, middle, top, width = 0, (rows.cores + 1) // 2, rows.cores, (0, cols.cores)
    cores = _cores(tiles, stack, 1, (bottom, top), width)
    if rows.cores == 1:
        block = _merge(tiles, stack, 0, (bottom, top), width, cores)
        return block.data[:, : rows.cells, block.start[BOTTOM] :][:, :, : cols.cells]
    lower = _merge(tiles, stack, 1, (bottom, middle), width, cores)
    upper = _merge(tiles, stack, 1, (middle, top), width, cores)

    low, joined = lower.size[LEFT], cols.cells
    a, x = _joint(stack, 0, lower, TOP, _table(lower.size, lower.start, (LEFT, BOTTOM), lower.start))
    c, y = _joint(stack, 0, upper, BOTTOM, _table(upper.size, upper.start, (LEFT,), upper.start))
    matrix = x @ y
    matrix.reshape(len(x), -1)[:, :: joined + 1] -= 1
    _invert(matrix, 0, joined)
    m_a = matrix @ a[:, :, low:]
    out = stack.take(0, len(x), rows.cells, joined)
    np.matmul((y @ a[:, :, :low]).swapaxes(1, 2), m_a, out=out[:, :low])
    own = lower.data[lower.first :: lower.step, :low, lower.start[BOTTOM] :][:, :, :joined]
    np.subtract(own, out[:, :low], out=out[:, :low])
    np.matmul(c.swapaxes(1, 2), m_a, out=out[:, low:])
    return out


def _merge(
    tiles: _Tiles, stack: _Stack, end: int, rows: Span, cols: Span, cores: dict[Span, _Block] | None
) -> _Block:
    """The rectangle of cores rows[0] <= r < rows[1], cols[0] <= c < cols[1], left on one end of the stack."""
    used = stack.used[1 - end]
    cores = cores or _cores(tiles, stack, 1 - end, rows, cols)
    height, width = rows[1] - rows[0], cols[1] - cols[0]
    if cores and height == width == 1:
        return cores[rows[0], cols[0]]
    if height * tiles.rows.core >= width * tiles.cols.core:
        middle = (rows[0] + rows[1] + 1) // 2
        halves, axis = (((rows[0], middle), cols), ((middle, rows[1]), cols)), 1
    else:
        middle = (cols[0] + cols[1] + 1) // 2
        halves, axis = ((rows, (cols[0], middle)), (rows, (middle, cols[1]))), 0
    a, b = (_merge(tiles, stack, 1 - end, *half, cores) for half in halves)
    block = _join(stack, end, a, b, axis)
    stack.used[1 - end] = used
    return block


def _cores(tiles: _Tiles, stack: _Stack, end: int, rows: Span, cols: Span) -> dict[Span, _Block] | None:
    """The cores of a rectangle by row and column, on one end of the stack; None if they are too many."""
    n, r, c = len(tiles.g), tiles.rows, tiles.cols
    height, width = rows[1] - rows[0], cols[1] - cols[0]
    if height * width > 1 and n * height * r.core * width * c.core > BATCH:
        return None
    part = tiles.g[:, rows[0] * r.core : rows[1] * r.core, cols[0] * c.core : cols[1] * c.core]
    cells = np.zeros((3, n, height * r.core, width * c.core))
    cells[0, :, : part.shape[1], : part.shape[2]] = part
    cells[1], cells[2] = tiles.word[0], tiles.bit[0]
    if cols[0] == 0:
        cells[1, :, :, 0] += tiles.word[1]
    if rows[0] == 0:
        cells[2, :, 0] += tiles.bit[1]

    steps = [(r.leaf << k, 1, 3 + r.halvings - k) for k in range(1, r.halvings + 1)]
    steps += [(c.leaf << k, 0, 5 + r.halvings + c.halvings - k) for k in range(1, c.halvings + 1)]
    steps.sort(reverse=True)
    halves = cells.reshape(3, n, height, *[2] * r.halvings, r.leaf, width, *[2] * c.halvings, c.leaf)
    inner = (3 + r.halvings, 5 + r.halvings + c.halvings)
    leaves = halves.transpose(0, 1, 2, 4 + r.halvings, *(dim for *_, dim in steps), *inner)
    leaves = np.ascontiguousarray(leaves.reshape(3, -1, r.leaf, c.leaf))

    used, here = list(stack.used), (end + len(steps)) % 2
    size = (r.leaf, c.leaf, c.leaf, r.leaf)
    block = _Block(
        stack.take(here, leaves.shape[1], sum(size), sum(size)), 0, 1, leaves.shape[1], size, _starts(size)
    )
    kernels.leaves(leaves, block.data)
    for _, axis, _ in reversed(steps):
        a, b = (block._replace(first=first, step=2, n=block.n // 2) for first in (0, 1))
        block = _join(stack, 1 - here, a, b, axis)
        stack.used[here] = used[here]
        here = 1 - here

    cores = {}
    for i, j in itertools.product(range(*rows), range(*cols)):
        high, wide = min(r.core, r.cells - i * r.core), min(c.core, c.cells - j * c.core)
        size = (high, wide, wide if i + 1 < r.cores else 0, high if j + 1 < c.cores else 0)
        first = (i - rows[0]) * width + j - cols[0]
        cores[i, j] = _Block(block.data, first, height * width, n, size, block.start)
    return cores


def _join(stack: _Stack, end: int, a: _Block, b: _Block, axis: int) -> _Block:
    """A joined with B at its right (axis 0) or above it (axis 1), on one end of the stack."""
    plan = _plan(a.size, a.start, b.size, b.start, axis)
    ports = sum(plan.size)
    out = stack.take(end, a.n, ports, ports)
    used = stack.used[end]
    left, x = _joint(stack, end, a, JOINTS[axis][0], plan.a)
    right, y = _joint(stack, end, b, JOINTS[axis][1], plan.b)
    n, joined, split = left.shape

    matrix = np.matmul(y, x, out=stack.take(end, n, joined, joined))
    matrix.reshape(n, -1)[:, :: joined + 1] -= 1
    _invert(matrix, 0, joined)
    factor = stack.take(end, n, joined, split + right.shape[2])
    np.matmul(matrix @ y, left, out=factor[:, :, :split])
    np.matmul(matrix, right, out=factor[:, :, split:])
    upper = _rows(stack, end, left, factor, plan.a)
    lower = _rows(stack, end, right, x @ factor[:, :, split:], plan.b)
    kernels.assemble(a.data, a.first, a.step, b.data, b.first, b.step, upper, lower, plan.a, plan.b, out)
    stack.used[end] = used
    return _Block(out, 0, 1, n, plan.size, plan.start)


def _rows(stack: _Stack, end: int, ports: Floats, factor: Floats, table: Table) -> Floats:
    """ports' factor, by bands of rows, each from its diagonal on."""
    out = stack.take(end, len(ports), ports.shape[2], factor.shape[2])
    for _, first, _, length in table.tolist():
        band = ports[:, :, first : first + length].swapaxes(1, 2)
        np.matmul(band, factor[:, :, first:], out=out[:, first : first + length, first:])
    return out


class _Plan(NamedTuple):
    """Where the ports of A and B go, a row a group: index in the block, among those that stay, in the result,
    number; and the groups of the result."""

    a: Table
    b: Table
    size: Quad
    start: Quad


@functools.lru_cache(1024)
def _plan(a_size: Quad, a_start: Quad, b_size: Quad, b_start: Quad, axis: int) -> _Plan:
    a_port, b_port = JOINTS[axis]
    a_rest, b_rest = (tuple(port for port in range(4) if port != joint) for joint in (a_port, b_port))
    size = tuple((port in a_rest) * a_size[port] + (port in b_rest) * b_size[port] for port in range(4))
    start = _starts(size)
    behind = tuple(start[port] + (port in a_rest) * a_size[port] for port in range(4))
    return _Plan(_table(a_size, a_start, a_rest, start), _table(b_size, b_start, b_rest, behind), size, start)


def _table(size: Quad, start: Quad, ports: tuple[int, ...], targets: Quad) -> Table:
    first = np.cumsum([0, *(size[port] for port in ports)])
    groups = [
        (start[port], first[i], targets[port], size[port]) for i, port in enumerate(ports) if size[port]
    ]
    return np.array(groups, np.uint64).reshape(-1, 4)


def _starts(size: Quad) -> Quad:
    return 0, size[0], size[0] + size[1], size[0] + size[1] + size[2]


def _joint(stack: _Stack, end: int, block: _Block, port: int, table: Table) -> tuple[Floats, Floats]:
    """S[j, .] and S[j, j] of the ports j that are joined: shapes (n, joined, others), (n, joined, joined)."""
    joined, others = block.size[port], sum(table[:, 3].tolist())
    rows = stack.take(end, block.n, joined, others)
    square = stack.take(end, block.n, joined, joined)
    kernels.gather(block.data, block.first, block.step, block.start[port], table, rows, square)
    return rows, square


def _invert(matrix: Floats, first: int, last: int) -> None:
    """Invert matrix[:, first:last, first:last] in place, by halves, without a search for pivots.

    I - Y X has none below 1: with the nodal matrix A = -1/X (or its limit), a leading minor is the
    determinant of A with those rows taken from A + Y, over that of A. Rows of A and Y are diagonally dominant
    with no positive number off the diagonal, so that each row taken can only add to it.
    """
    if last - first <= DIRECT:
        kernels.eliminate(matrix, first, last)
        return
    middle = (first + last) // 2
    head, tail = slice(first, middle), slice(middle, last)
    a, b, c, d = (matrix[:, i, j] for i in (head, tail) for j in (head, tail))
    _invert(matrix, first, middle)
    u, v = a @ b, c @ a
    d -= c @ u
    _invert(matrix, middle, last)
    np.matmul(d, v, out=c)
    a += u @ c
    np.negative(c, out=c)
    np.matmul(u, -d, out=b)
