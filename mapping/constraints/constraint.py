"""The definition of a constraint, the choice of one for each layer, and the share of each layer that stays.

The sets themselves are the other modules of this folder: `sparsity`, `fragments`, `levels` and `centroids`,
their `intersections`, and the `budgets` of a whole network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

import torch

from mapping.constraints.levels import Levels
from mapping.constraints.sparsity import BlockSparse, TileRowsAndColumns
from xbar.hardware.checks import check_number
from xbar.hardware.errors import XbarError, unknown_name

__all__ = [
    "BlockSparse",
    "ByLayer",
    "Constraint",
    "Levels",
    "NetworkConstraint",
    "TileRowsAndColumns",
    "by_pattern",
    "shares_for_rate",
]

T = TypeVar("T")


class Constraint(Protocol):
    """A set with a projection, on the GEMM matrix (K, N) of a layer. `project` never changes its argument."""

    @property
    def exact(self) -> bool:
        """Whether `project` gives the nearest point of the set, not only a near one."""
        ...

    def project(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Point z of the set nearest to v (K, N), and the mask of the weights that it keeps (bool, K, N)."""
        ...


class NetworkConstraint(Protocol):
    """A set that ties the layers of a network together."""

    @property
    def exact(self) -> bool:
        """See `Constraint.exact`."""
        ...

    def project(self, v: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Project all layers at once: for each layer what `Constraint.project` gives."""
        ...


@dataclass(frozen=True)
class ByLayer:
    """A `NetworkConstraint` of constraints that know nothing of each other, by layer name."""

    constraints: Mapping[str, Constraint]

    @property
    def exact(self) -> bool:
        """Whether all constraints are exact."""
        return all(constraint.exact for constraint in self.constraints.values())

    def project(self, v: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """See `NetworkConstraint.project`."""
        return {name: constraint.project(v[name]) for name, constraint in self.constraints.items()}


def by_pattern(
    table: Mapping[str, T], names: list[str], what: str, types: Mapping[str, str] | None = None
) -> dict[str, T]:
    """Entry of `table` for each of `names`: by name, else by the first pattern (``*``, ``?``) or type.

    Names that nothing fits are left out.

    Parameters
    ----------
    types
        Type by name, such as ``Conv2d``.

    Raises
    ------
    XbarError
        Where an entry of the table fits no name.
    """
    types = types or {}
    chosen: dict[str, T] = {}
    for pattern, value in table.items():
        fitting = [name for name in names if pattern == types.get(name) or fnmatchcase(name, pattern)]
        if pattern in names:
            fitting = [pattern]
        if not fitting:
            raise unknown_name(f"{what}: nothing fits", pattern, [*names, *dict.fromkeys(types.values())])
        for name in fitting:
            if name not in chosen or name == pattern:
                chosen[name] = value
    return chosen


def check_rate(rate: float) -> None:
    """Refuse a compression rate below 1.

    Raises
    ------
    XbarError
        With the rate.
    """
    check_number("rate", rate)
    if not (math.isfinite(rate) and rate >= 1):
        raise XbarError(f"rate = {rate}: must be at least 1 (a rate of r keeps 1/r of the weights)")


def shares_for_rate(rate: float, sizes: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, float]:
    """Share of each layer's weights to keep, so that 1/rate of all of them stay.

    keep_l = min(1, c share_l) with c solved for sum_l keep_l size_l = sum_l size_l / rate. Layers without a
    share keep all their weights.

    Raises
    ------
    XbarError
        For a rate below 1, a share that is not positive, or a rate out of reach because layers without a
        share already hold more weights than may stay.
    """
    check_rate(rate)
    for name, share in shares.items():
        if not (math.isfinite(share) and share > 0):
            raise XbarError(f"share of {name} = {share}: must be positive")
    fixed = sum(size for name, size in sizes.items() if name not in shares)
    wanted = sum(sizes.values()) / rate - fixed
    if wanted <= 0 or not shares:
        if rate == 1:
            return dict.fromkeys(shares, 1.0)
        raise XbarError(f"rate = {rate}: out of reach; the layers without a share alone hold {fixed} weights")

    def kept(c: float) -> float:
        return sum(min(1.0, c * share) * sizes[name] for name, share in shares.items())

    low, high = 0.0, 1.0 / min(shares.values())
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle) < wanted else (low, middle)
    return {name: min(1.0, low * share) for name, share in shares.items()}
