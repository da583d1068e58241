"""Kernels of `xbar.wires.transfer`: leaves, joins and inverses of many blocks at once.

A block of cells is the symmetric matrix S of its line ends: [I_l, I_b, -V_t, -V_r] = S [V_l, V_b, J_t, J_r].
Two blocks A and B that meet at ports j are joined with X = S_A[j, j], Y = S_B[j, j], a = S_A[j, .],
c = S_B[j, .] and M = (Y X - I)^-1: their own parts lose a' M Y a and c' X M c, and a' M c lies between them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xbar.machine.kernels import njit
from xbar.wires.circuit_kernels import Floats

Table = NDArray[np.uint64]

LANES = 64
"""Leaves that one pass of the innermost loop works on."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def eliminate(matrix: Floats, first: int, last: int) -> None:
    """Gauss and Jordan's inverse of matrix[:, first:last, first:last], in place."""
    begin, size = np.uint64(first), np.uint64(last - first)
    for n in range(len(matrix)):
        for k in range(size):
            # Row k is divided by its pivot, which is at least 1 in size for the matrices of joins.
            row = matrix[n, begin + k]
            scale = 1 / row[begin + k]
            row[begin + k] = 1.0
            for j in range(size):
                row[begin + j] *= scale
            # Every other row loses its multiple of row k, above and below the diagonal alike.
            for i in range(size):
                if i != k:
                    other = matrix[n, begin + i]
                    factor = other[begin + k]
                    other[begin + k] = 0.0
                    for j in range(size):
                        other[begin + j] -= factor * row[begin + j]


@njit(cache=True, nogil=True)
def gather(
    data: Floats, first: int, step: int, start: int, table: Table, rows: Floats, square: Floats
) -> None:
    """Fill what `_joint` returns from upper triangles."""
    begin, joined = np.uint64(start), np.uint64(square.shape[1])
    for n in range(len(square)):
        s, to, core = data[first + n * step], rows[n], square[n]
        # X or Y: the ports j of one block among themselves.
        for k in range(joined):
            row, target = s[begin + k], core[k]
            for i in range(k, joined):
                target[i] = row[begin + i]
                core[i, k] = row[begin + i]
        # a or c: these ports against those that stay, from the upper triangle or its mirror image.
        for group in table:
            source, place, length = group[0], group[1], group[3]
            if source > begin:
                for k in range(joined):
                    row, target = s[begin + k], to[k]
                    for x in range(length):
                        target[place + x] = row[source + x]
            else:
                for x in range(length):
                    row = s[source + x]
                    for k in range(joined):
                        to[k, place + x] = row[begin + k]


@njit(cache=True, nogil=True)
def assemble(
    a: Floats,
    a_first: int,
    a_step: int,
    b: Floats,
    b_first: int,
    b_step: int,
    upper: Floats,
    lower: Floats,
    a_table: Table,
    b_table: Table,
    out: Floats,
) -> None:
    """Upper triangles of joined blocks: those of A and B, less their products, and the one between them."""
    split = np.uint64(upper.shape[1])
    for n in range(len(out)):
        # S_A - a' M Y a and S_B - c' X M c, whose products are given.
        _subtract(a[a_first + n * a_step], upper[n], a_table, out[n])
        _subtract(b[b_first + n * b_step], lower[n], b_table, out[n])
        # a' M c between the ports of A and those of B, on its side of the diagonal of the joined block.
        for i in range(len(a_table)):
            _, row, target, height = a_table[i]
            for j in range(len(b_table)):
                _, col, other, width = b_table[j]
                for x in range(height):
                    values, line = upper[n, row + x], out[n, target + x]
                    if target < other:
                        for y in range(width):
                            line[other + y] = values[split + col + y]
                    else:
                        for y in range(width):
                            out[n, other + y, target + x] = values[split + col + y]


@njit(cache=True, nogil=True)
def _subtract(own: Floats, product: Floats, table: Table, out: Floats) -> None:
    for i in range(len(table)):
        source, row, target, height = table[i]
        for x in range(height):
            p, q, r = own[source + x], product[row + x], out[target + x]
            for j in range(i, len(table)):
                other, col, to, width = table[j]
                for y in range(width):
                    r[to + y] = p[other + y] - q[col + y]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def leaves(cells: Floats, out: Floats) -> None:
    """Port matrices (upper triangles) of small rectangles, each cell in turn as a change of rank one.

    The segments before a cell add r_wl and r_bl to -S at its right and top port; the cell itself, between
    these two nodes, adds g / (1 + g (q[top] - q[right])) q q' with q = S[right, .] - S[top, .].

    Parameters
    ----------
    cells
        Conductances [S], and resistances of the word and bit line segments before the cells [ohm],
        shape (3, leaves, rows, columns).
    out
        Port matrices, shape (leaves, p, p), p = 2 (rows + columns).
    """
    _, count, height, width = cells.shape
    top, right, ports = height + width, height + 2 * width, 2 * (height + width)
    lanes = min(LANES, count)
    part = np.zeros((3, height, width, lanes))
    s, q = np.empty((ports, ports, lanes)), np.empty((ports, lanes))
    k, kq = np.empty(lanes), np.empty(lanes)
    reached = np.empty(ports, np.int64)
    for first in range(0, count, lanes):
        filled = min(lanes, count - first)
        for v in range(filled):
            for i in range(3):
                for a in range(height):
                    for b in range(width):
                        part[i, a, b, v] = cells[i, first + v, a, b]
        # Before any cell a line's far end is its near end: V_r = V_l and V_t = V_b, entries -1 of S.
        for x in range(ports):
            for y in range(x, ports):
                through = y - x == (right if x < height else width) and (x < height or x < top)
                for v in range(lanes):
                    s[x, y, v] = -1.0 if through else 0.0
        for a in range(height):
            # Ports that the cells so far connect: word lines up to this one, and all bit lines.
            n = 0
            for x in range(ports):
                if x <= a or height <= x <= right + a:
                    reached[n] = x
                    n += 1
            for b in range(width):
                # The wire before the cell: -r_wl at its right port, -r_bl at its top port.
                for v in range(lanes):
                    s[right + a, right + a, v] -= part[1, a, b, v]
                    s[top + b, top + b, v] -= part[2, a, b, v]
                # q: the voltage over the cell for each port, and z = q[top] - q[right] its own resistance.
                for i in range(n):
                    x = reached[i]
                    low, high = min(x, top + b), max(x, top + b)
                    for v in range(lanes):
                        q[x, v] = s[x, right + a, v] - s[low, high, v]
                for v in range(lanes):
                    k[v] = part[0, a, b, v] / (1 + part[0, a, b, v] * (q[top + b, v] - q[right + a, v]))
                # S gains g / (1 + g z) q q'.
                for i in range(n):
                    x = reached[i]
                    for v in range(lanes):
                        kq[v] = k[v] * q[x, v]
                    for j in range(i, n):
                        element, qy = s[x, reached[j]], q[reached[j]]
                        for v in range(lanes):
                            element[v] += kq[v] * qy[v]
        for x in range(ports):
            for v in range(filled):
                for y in range(x, ports):
                    out[first + v, x, y] = s[x, y, v]
