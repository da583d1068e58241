"""Sets that hold in each run of word lines of a column: few weights, or weights of one sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import pad

from mapping.constraints.centroids import Magnitudes
from mapping.constraints.levels import Fitted, Hold, Levels, Values
from mapping.constraints.sparsity import Sparsity, block_sums, spread
from xbar.hardware.checks import check_whole
from xbar.hardware.errors import XbarError


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

    def signs(self, z: torch.Tensor) -> torch.Tensor:
        """The sign of each weight's fragment, 1 or -1 (K, N): that of larger energy."""
        energy = z.double().square()
        above = block_sums(torch.where(z >= 0, energy, 0.0), self.size, 1)
        below = block_sums(torch.where(z < 0, energy, 0.0), self.size, 1)
        return torch.where(spread(above >= below, self.size, 1, z.shape), 1.0, -1.0).to(z.dtype)

    def held(self, z: torch.Tensor, inner: Hold) -> Hold:
        """See `Lasting.held`; the signs of the fragments stay."""
        signs = self.signs(z)
        return lambda w: signs * inner((signs * w).clamp_min(0))

    def on_levels(self, levels: Values, z: torch.Tensor) -> Values:
        """See `Lasting.on_levels`: those of the sign of each fragment."""
        if not isinstance(levels, Levels | Magnitudes):
            raise XbarError(
                "one sign a fragment needs levels that are the same for both signs; values that both signs "
                "share are not"
            )
        return SignedValues(levels, self.signs(z))


@dataclass(frozen=True, eq=False)
class SignedValues(Values):
    """Values of which each weight may only take those of a given sign. Exact where nothing is fitted.

    The nearest value of sign s to v is s times that nearest to max(s v, 0), because `values` are the same for
    both signs. Scales are fitted to max(s v, 0), too, which is not the best for weights of the other sign.

    Parameters
    ----------
    values
        `Levels`, `Window` or `Magnitudes`.
    signs
        1 or -1 (K, N).
    """

    values: Values
    signs: torch.Tensor

    @property
    def mask(self) -> torch.Tensor | None:  # type: ignore[override]
        """That of the values."""
        return self.values.mask

    @property
    def exact(self) -> bool:
        """See `mapping.constraints.constraint.Constraint.exact`."""
        return self.fixed

    @property
    def fixed(self) -> bool:
        """See `Values.fixed`."""
        return self.values.fixed

    def _magnitudes(self, v: torch.Tensor) -> torch.Tensor:
        return (self.signs * v).clamp_min(0)

    def fit(self, v: torch.Tensor) -> Fitted:
        """See `Values.fit`."""
        return self.values.fit(self._magnitudes(v))

    def nearest(self, v: torch.Tensor, fitted: Fitted) -> torch.Tensor:
        """See `Values.nearest`."""
        return self.signs * self.values.nearest(self._magnitudes(v), fitted)

    def scales(self, fitted: Fitted, columns: int) -> Fitted:
        """See `Values.scales`."""
        return self.values.scales(fitted, columns)
