"""A mesh of routers: where each stands, and what passes each of them and each link.

Routers stand in a snake: the first row from left to right, the next one back, so that each is beside the one
before it. What goes from one to another goes along the row of the upper of both, and along the column of the
lower one: the shortest way, on which every router is there where the last row is not full.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mesh:
    """Routers on a grid that is as near to a square as they fill."""

    routers: int

    @property
    def columns(self) -> int:
        """Routers of a row."""
        return math.ceil(math.sqrt(self.routers))

    @property
    def rows(self) -> int:
        """Rows, of which the last may not be full."""
        return math.ceil(self.routers / max(self.columns, 1))

    def at(self, routers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Column and row of routers by their numbers."""
        y, x = np.divmod(routers, self.columns)
        return np.where(y % 2, self.columns - 1 - x, x), y

    def hops(self, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Links between routers, the Manhattan distance."""
        (x, y), (to_x, to_y) = self.at(sources), self.at(targets)
        found: NDArray[np.int64] = np.abs(x - to_x) + np.abs(y - to_y)
        return found


def passing(
    mesh: Mesh, sources: NDArray[np.int64], targets: NDArray[np.int64], sizes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bytes that pass each router, shape (rows, columns), and each link, shape (4, rows, columns).

    The first and the last router of a way are passed, too. Links are those that leave a router to the right,
    to the left, down, and up.
    """
    (x, y), (to_x, to_y) = mesh.at(sources), mesh.at(targets)
    row, column = np.minimum(y, to_y), np.where(y < to_y, to_x, x)
    shape = mesh.rows, mesh.columns
    links = np.zeros((4, *shape))
    for number, (first, last, right) in enumerate(((x, to_x, True), (to_x, x, False))):
        steps = np.zeros((shape[0], shape[1] + 1))
        forward = first < last
        np.add.at(steps, (row[forward], first[forward]), sizes[forward])
        np.add.at(steps, (row[forward], last[forward]), -sizes[forward])
        on = steps.cumsum(1)[:, :-1]
        links[number] = on if right else np.roll(on, 1, axis=1)
    for number, (first, last, down) in enumerate(((y, to_y, True), (to_y, y, False)), 2):
        steps = np.zeros((shape[0] + 1, shape[1]))
        forward = first < last
        np.add.at(steps, (first[forward], column[forward]), sizes[forward])
        np.add.at(steps, (last[forward], column[forward]), -sizes[forward])
        on = steps.cumsum(0)[:-1]
        links[number] = on if down else np.roll(on, 1, axis=0)
    routers = links.sum(0)
    np.add.at(routers, (to_y, to_x), sizes)  # the last router of a way has no link that leaves it
    return routers, links
