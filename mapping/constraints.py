"""Sets that a weight may have to lie in, with their Euclidean projections.

All act on the GEMM matrix (K, N) of a layer. `project` never changes its argument. Groups are chosen by
top-k index, so that ties keep the cardinality exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, Protocol, TypeVar

import torch
from torch.nn.functional import pad

from mapping.scale import EXACT_LEVELS, fit_scale, nearest_levels
from xbar.errors import XbarError, unknown_name
from xbar.validation import check_range

T = TypeVar("T")


class Constraint(Protocol):
    """A set with a projection."""

    @property
    def exact(self) -> bool:
        """Whether `project` gives the nearest point of the set, not only a near one."""
        ...

    def project(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Point z of the set nearest to v (K, N), and the mask of the weights that it keeps (bool, K, N)."""
        ...


def _keep_count(keep: float, sizes: torch.Tensor) -> int:
    """Most groups of which any choice holds at most `keep` of the weights; at least one."""
    largest_first = torch.sort(sizes.flatten(), descending=True).values.cumsum(0)
    return max(1, int((largest_first <= keep * float(sizes.sum()) + 1e-6).sum()))


def _top(energy: torch.Tensor, count: int) -> torch.Tensor:
    """Mask of the `count` largest entries; ties go to the lower index."""
    order = torch.sort(energy.flatten(), descending=True, stable=True).indices[:count]
    mask = torch.zeros(energy.numel(), dtype=torch.bool)
    mask[order] = True
    return mask.reshape(energy.shape)


def _blocks(v: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
    """Energy of each block of rows x cols, shape (ceil(K/rows), ceil(N/cols)); edges are zero-padded."""
    k, n = v.shape
    padded = pad(v.double().square(), (0, -n % cols, 0, -k % rows))
    return padded.reshape(padded.shape[0] // rows, rows, -1, cols).sum((1, 3))


def _spread(mask: torch.Tensor, rows: int, cols: int, shape: torch.Size) -> torch.Tensor:
    """Block mask as a mask of weights."""
    return mask.repeat_interleave(rows, 0).repeat_interleave(cols, 1)[: shape[0], : shape[1]]


def _check_keep(keep: float) -> None:
    if not 0 < keep <= 1:
        raise XbarError(f"keep = {keep}: must lie in (0, 1], the share of groups that stay")


@dataclass(frozen=True)
class BlockSparse:
    """At most a of a layer's blocks of rows x cols weights are not zero; the rest are zero. Exact.

    On tiles of R word lines and C weights a row: (R, 1) are tile columns, (1, C) tile rows, (R, C) whole
    tiles, (1, 1) is irregular sparsity. a is the largest number of blocks of which no choice holds more than
    ``keep`` of the layer's weights (blocks at the edge are smaller); those of largest L2 norm stay.
    """

    rows: int
    cols: int
    keep: float
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_range("rows of a block", self.rows, 1, 1 << 20)
        check_range("cols of a block", self.cols, 1, 1 << 20)
        _check_keep(self.keep)

    def project(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Constraint.project`."""
        energy = _blocks(v, self.rows, self.cols)
        count = _keep_count(self.keep, _blocks(torch.ones_like(v), self.rows, self.cols))
        mask = _spread(_top(energy, count), self.rows, self.cols, v.shape)
        return torch.where(mask, v, 0.0), mask


@dataclass(frozen=True)
class TileRowsAndColumns:
    """Both directions: at most keep_cols of the tile columns (R x 1) and keep_rows of the tile rows (1 x C).

    No closed form: columns and rows are chosen in turn, each by the energy that the other leaves, to a fixed
    point. Not exact; on small cases about 1.5 % of excess error over the best pair of choices.
    """

    rows: int
    cols: int
    keep_rows: float
    keep_cols: float
    exact: ClassVar[bool] = False
    max_rounds: ClassVar[int] = 50

    def __post_init__(self) -> None:
        _check_keep(self.keep_rows)
        _check_keep(self.keep_cols)

    def project(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Constraint.project`."""
        by_column = BlockSparse(self.rows, 1, self.keep_cols)
        by_row = BlockSparse(1, self.cols, self.keep_rows)
        in_rows = torch.ones(v.shape, dtype=torch.bool)
        mask = torch.zeros(v.shape, dtype=torch.bool)
        for _ in range(self.max_rounds):
            _, in_columns = by_column.project(torch.where(in_rows, v, 0.0))
            _, in_rows = by_row.project(torch.where(in_columns, v, 0.0))
            if torch.equal(mask, in_columns & in_rows):
                break
            mask = in_columns & in_rows
        return torch.where(mask, v, 0.0), mask


@dataclass(frozen=True, eq=False)
class Levels:
    """Unmasked weights lie on +-scale times given levels, scale fitted to the layer; masked ones are zero.

    Parameters
    ----------
    values
        Positive levels, ascending, shape (L,): `xbar.encoding.levels`. Zero is not among them.
    mask
        Weights that stay (K, N); None: all.
    """

    values: torch.Tensor
    mask: torch.Tensor | None = None

    @property
    def exact(self) -> bool:
        """Whether the search for the scale always ends (see `mapping.scale.fit_scale`)."""
        return len(self.values) <= EXACT_LEVELS

    def fit(self, v: torch.Tensor) -> float:
        """Scale of least squared error on the unmasked weights."""
        kept = v if self.mask is None else v[self.mask]
        return fit_scale(kept.double().abs().flatten().numpy(), self.values.double().numpy())

    def project_with(self, v: torch.Tensor, scale: float) -> torch.Tensor:
        """Nearest point at a given scale."""
        z = nearest_levels(v, scale, self.values)
        return z if self.mask is None else torch.where(self.mask, z, 0.0)

    def project(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Constraint.project`."""
        mask = torch.ones(v.shape, dtype=torch.bool) if self.mask is None else self.mask
        return self.project_with(v, self.fit(v)), mask


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


def shares_to_keep(rate: float, sizes: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, float]:
    """Share of each layer's weights to keep, so that 1/rate of all of them stay.

    keep_l = min(1, c share_l) with c solved for sum_l keep_l size_l = sum_l size_l / rate. Layers without a
    share keep all their weights.

    Raises
    ------
    XbarError
        For a rate below 1, a share that is not positive, or a rate out of reach because layers without a
        share already hold more weights than may stay.
    """
    if not (math.isfinite(rate) and rate >= 1):
        raise XbarError(f"rate = {rate}: must be at least 1 (a rate of r keeps 1/r of the weights)")
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
