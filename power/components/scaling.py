"""Scaling of digital blocks between technology nodes, by Stillmaker and Baas, Integration 58 (2017) 74-81,
doi:10.1016/j.vlsi.2017.02.002: its table of area factors and its polynomials of energy in the supply voltage.

Only for digital logic: converters and cells do not shrink like it.
"""

from __future__ import annotations

import numpy as np

from xbar.hardware.errors import XbarError

SOURCE = "doi:10.1016/j.vlsi.2017.02.002 (Stillmaker and Baas)"

NODES = (130, 90, 65, 45, 32, 20, 16, 14, 10, 7)
"""Nodes of the tables [nm]; between them factors are interpolated."""

SUPPLY = 0.8
"""Supply voltage at which energies are compared [V]."""

_AREA = (
    (1, 0.44, 0.23, 0.16, 0.072, 0.033, 0.03, 0.027, 0.016, 0.0092),
    (2.3, 1, 0.53, 0.35, 0.16, 0.075, 0.067, 0.061, 0.036, 0.021),
    (4.3, 1.9, 1, 0.66, 0.31, 0.14, 0.13, 0.12, 0.068, 0.039),
    (6.4, 2.8, 1.5, 1, 0.46, 0.21, 0.19, 0.17, 0.1, 0.059),
    (14, 6.1, 3.3, 2.2, 1, 0.46, 0.41, 0.38, 0.22, 0.13),
    (30, 13, 7.1, 4.7, 2.2, 1, 0.89, 0.82, 0.48, 0.28),
    (34, 15, 7.9, 5.3, 2.4, 1.1, 1, 0.91, 0.54, 0.31),
    (37, 16, 8.7, 5.8, 2.7, 1.2, 1.1, 1, 0.59, 0.34),
    (63, 28, 15, 9.8, 4.5, 2.1, 1.9, 1.7, 1, 0.58),
    (110, 48, 25, 17, 7.8, 3.6, 3.2, 2.9, 1.7, 1),
)
"""Area of a row's node times this is the area at the column's."""

_ENERGY = (
    (7.171, -6.709, 2.904),
    (4.762, -4.781, 2.092),
    (3.755, -4.398, 1.975),
    (1.103, -0.362, 0.2767),
    (0.9559, -0.7823, 0.471),
    (0.373, -0.1582, 0.04104),
    (0.2958, -0.1241, 0.03024),
    (0.2363, -0.09675, 0.02239),
    (0.2068, -0.09311, 0.02375),
    (0.1776, -0.09097, 0.02447),
)
"""Energy of a node at supply V is proportional to a V^2 + b V + c."""


def area_factor(from_nm: float, to_nm: float) -> float:
    """Area of digital logic at one node over that at another.

    Linear between the nodes of the table, in the row of the node nearest to `from_nm`.

    Raises
    ------
    XbarError
        For a node outside the table.
    """
    _check(from_nm, to_nm)
    row = _AREA[min(range(len(NODES)), key=lambda i: abs(NODES[i] - from_nm))]
    return _between(row, to_nm) / _between(row, from_nm)


def energy_factor(from_nm: float, to_nm: float) -> float:
    """Energy of a digital operation at one node over that at another, both at `SUPPLY` [V].

    Raises
    ------
    XbarError
        For a node outside the table.
    """
    _check(from_nm, to_nm)
    energies = tuple(a * SUPPLY**2 + b * SUPPLY + c for a, b, c in _ENERGY)
    return _between(energies, to_nm) / _between(energies, from_nm)


def _between(values: tuple[float, ...], nm: float) -> float:
    """Value at a node, linear between those of `NODES`."""
    return float(np.interp(nm, NODES[::-1], values[::-1]))


def _check(*nodes: float) -> None:
    for nm in nodes:
        if not NODES[-1] <= nm <= NODES[0]:
            raise XbarError(
                f"node of {nm:g} nm: outside the scaling tables; must lie between {NODES[-1]} and "
                f"{NODES[0]} nm"
            )
