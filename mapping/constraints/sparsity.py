"""Sets of matrices in which only some groups of weights are not zero.

A sparsity is a family of masks with which every smaller mask belongs too. The projection keeps the groups
whose weights save most of the squared error, chosen by top-k index, so that ties keep the cardinality exact.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn
from torch.nn.functional import pad

from mapping.network.gemm import Layer, check_finite_weights, groups_of, kind_of, to_gemm
from xbar.hardware.checks import check_number, check_whole
from xbar.hardware.errors import XbarError, unknown_name

GroupKind = Literal["irregular", "filters", "channels", "shapes", "kernels"]
MAX_ROUNDS = 50


class Sparsity(ABC):
    """A family of masks; a `mapping.constraints.constraint.Constraint`."""

    @property
    @abstractmethod
    def exact(self) -> bool:
        """See `mapping.constraints.constraint.Constraint.exact`."""

    @abstractmethod
    def choose(self, v: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        """Mask (bool, K, N) of the family that has the largest sum of gain.

        Parameters
        ----------
        v
            Weights (K, N).
        gain
            What keeping each weight saves of the squared error (float64, K, N). A group whose gain is
            negative never stays.
        """

    def project(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `mapping.constraints.constraint.Constraint.project`."""
        check_finite_weights(v)
        mask = self.choose(v, v.double().square())
        return torch.where(mask, v, 0.0), mask


@dataclass(frozen=True)
class BlockSparse(Sparsity):
    """At most a of a layer's blocks of rows x cols weights are not zero; the rest are zero. Exact.

    On tiles of R word lines and C weights a row: (R, 1) are tile columns, (1, C) tile rows, (R, C) whole
    tiles, (1, 1) is irregular sparsity; `block_sparse` gives those of a layer's filters, channels and so on.
    a is the largest number of blocks of which no choice holds more than ``keep`` of the layer's weights
    (blocks at the edge are smaller); those of largest L2 norm stay.

    Parameters
    ----------
    band
        Word lines of a band, a multiple of ``rows``: ``keep`` then holds in each band, and bands of one
        height keep the same number of blocks. None: in the layer as a whole.

    Raises
    ------
    XbarError
        For a size, a share or a band out of range.
    """

    rows: int
    cols: int
    keep: float
    band: int | None = None
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_whole("rows of a block", self.rows, 1, 1 << 20)
        check_whole("cols of a block", self.cols, 1, 1 << 20)
        _check_keep(self.keep)
        if self.band is not None and (self.band < 1 or self.band % self.rows):
            raise XbarError(f"band = {self.band}: must be a multiple of the {self.rows} rows of a block")

    def choose(self, v: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        """See `Sparsity.choose`."""
        return torch.cat([self._choose(part) for part in torch.split(gain, self.band or max(len(gain), 1))])

    def _choose(self, gain: torch.Tensor) -> torch.Tensor:
        count = _keep_count(self.keep, block_sums(torch.ones_like(gain), self.rows, self.cols))
        sums = block_sums(gain, self.rows, self.cols)
        return spread(_top(sums, count) & ~(sums < 0), self.rows, self.cols, gain.shape)


@dataclass(frozen=True)
class TileRowsAndColumns(Sparsity):
    """Both directions: at most keep_cols of the tile columns (R x 1) and keep_rows of the tile rows (1 x C).

    No closed form: columns and rows are chosen in turn, each by the energy that the other leaves, to a fixed
    point. Not exact; on small cases about 1.5 % of excess error over the best pair of choices.
    """

    rows: int
    cols: int
    keep_rows: float
    keep_cols: float
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_keep(self.keep_rows)
        _check_keep(self.keep_cols)

    def choose(self, v: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        """See `Sparsity.choose`."""
        columns, rows = BlockSparse(self.rows, 1, self.keep_cols), BlockSparse(1, self.cols, self.keep_rows)
        return in_turn(columns, rows, v, gain)


def block_sparse(layer: Layer, kind: GroupKind, keep: float) -> BlockSparse:
    """Sparsity of one layer in the groups of the pruning literature (StructADMM, arXiv:1807.11091, sec. 3).

    Parameters
    ----------
    kind
        ``irregular``: single weights; ``filters``: all of one output channel; ``channels``: all of one input
        channel; ``shapes``: one word line, which is one position of one channel in all filters, and in a
        transposed convolution the whole channel; ``kernels``: what joins one input with one output channel.
        An input that is one of several groups meets the filters of its own group only.
    keep
        Share of the layer's weights, in (0, 1].

    Raises
    ------
    XbarError
        For another kind, kernels of a linear layer, or a share out of range.
    """
    k, n = to_gemm(layer).shape
    n //= groups_of(layer)
    positions = 1 if isinstance(layer, nn.Linear) else math.prod(layer.kernel_size)
    height, width = (1, positions) if "transpose" in kind_of(layer) else (positions, 1)
    shapes = {
        "irregular": (1, 1),
        "filters": (k, width),
        "channels": (height, n),
        "shapes": (1, n),
        "kernels": (height, width),
    }
    if kind not in shapes:
        raise unknown_name("kind of sparsity", kind, shapes)
    if kind == "kernels" and isinstance(layer, nn.Linear):
        raise XbarError("kind of sparsity: a linear layer has no kernels; 'irregular' is its single weights")
    return BlockSparse(*shapes[kind], keep)


def in_turn(first: Sparsity, second: Sparsity, v: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """Mask of both families: each chosen by the gain that the other leaves, to a fixed point."""
    inside = torch.ones(v.shape, dtype=torch.bool, device=v.device)
    mask = torch.zeros_like(inside)
    for _ in range(MAX_ROUNDS):
        outer = first.choose(v, torch.where(inside, gain, 0.0))
        inside = second.choose(v, torch.where(outer, gain, 0.0))
        if torch.equal(mask, outer & inside):
            break
        mask = outer & inside
    return mask


def block_sums(values: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
    """Sum over each block of rows x cols, shape (ceil(K/rows), ceil(N/cols)); edges are zero-padded."""
    k, n = values.shape
    padded = pad(values, (0, -n % cols, 0, -k % rows))
    return padded.reshape(padded.shape[0] // rows, rows, -1, cols).sum((1, 3))


def spread(mask: torch.Tensor, rows: int, cols: int, shape: torch.Size) -> torch.Tensor:
    """Block mask as a mask of weights."""
    return mask.repeat_interleave(rows, 0).repeat_interleave(cols, 1)[: shape[0], : shape[1]]


def _keep_count(keep: float, sizes: torch.Tensor) -> int:
    """Most groups of which any choice holds at most `keep` of the weights; at least one."""
    largest_first = torch.sort(sizes.flatten(), descending=True).values.cumsum(0)
    return max(1, int((largest_first <= keep * float(sizes.sum()) + 1e-6).sum()))


def _top(sums: torch.Tensor, count: int) -> torch.Tensor:
    """Mask of the `count` largest entries; ties go to the lower index."""
    order = torch.sort(sums.flatten(), descending=True, stable=True).indices[:count]
    mask = torch.zeros(sums.numel(), dtype=torch.bool, device=sums.device)
    mask[order] = True
    return mask.reshape(sums.shape)


def _check_keep(keep: float) -> None:
    check_number("keep", keep)
    if not 0 < keep <= 1:
        raise XbarError(f"keep = {keep}: must lie in (0, 1], the share of groups that stay")
