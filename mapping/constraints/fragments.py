"""Sets that hold in each run of word lines of a column: few weights, or weights of one sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import pad

from mapping.constraints.sparsity import Sparsity, block_sums, spread
from xbar.hardware.checks import check_whole


@dataclass(frozen=True)
class SegmentSparse(Sparsity):
    """At most ``most`` weights of each ``rows`` x 1 segment of a column are not zero. Exact.

    With the word lines of a tile as ``rows``, a bit line adds up at most ``most`` currents, and its ADC
    needs that many codes fewer: TinyADC (Yuan et al., DATE 2021, paper 1786).

    Raises
    ------
    XbarError
        Where 1 <= most <= rows does not hold.
    """

    rows: int
    most: int
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_whole("rows of a segment", self.rows, 1, 1 << 20)
        check_whole("most weights of a segment", self.most, 1, self.rows)

    def choose(self, v: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        """See `Sparsity.choose`."""
        k, n = gain.shape
        padded = pad(gain, (0, 0, 0, -k % self.rows), value=-torch.inf).reshape(-1, self.rows, n)
        largest = torch.sort(padded, dim=1, descending=True, stable=True).indices[:, : self.most]
        mask = torch.zeros_like(padded, dtype=torch.bool).scatter_(1, largest, True)
        return mask.reshape(-1, n)[:k] & ~(gain < 0)


@dataclass(frozen=True)
class OneSign(Sparsity):
    """The weights of each fragment, ``size`` word lines of a column, have one sign or are zero. Exact.

    One array then holds both signs: FORMS (Yuan et al., ISCA 2021, arXiv:2106.09144). The sign
    of larger energy stays; the paper's sign of the sum is not always the nearest. Zero counts as positive,
    and on a tie the positive weights stay.

    Raises
    ------
    XbarError
        For a size below 1.
    """

    size: int
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_whole("size of a fragment", self.size, 1, 1 << 20)

    def choose(self, v: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        """See `Sparsity.choose`."""
        useful = gain.clamp_min(0)
        above = block_sums(torch.where(v >= 0, useful, 0.0), self.size, 1)
        below = block_sums(torch.where(v < 0, useful, 0.0), self.size, 1)
        return (spread(above >= below, self.size, 1, v.shape) == (v >= 0)) & ~(gain < 0)
