"""Two sets at once: two sparsities, or a sparsity and the values that its weights may take."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from mapping.constraints.fragments import OneSign
from mapping.constraints.levels import Values
from mapping.constraints.sparsity import MAX_ROUNDS, BlockSparse, Sparsity, in_turn
from mapping.network.gemm import check_finite_weights
from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class BothSparse(Sparsity):
    """Two sparsities at once, such as filters and channels, or blocks and one sign a fragment.

    Chosen in turn, `first` to begin with, each by the energy that the other leaves, to a fixed point. Exact
    only for `OneSign` first and then blocks of whole fragments: each block has its best signs before blocks
    are compared.

    Raises
    ------
    XbarError
        Where one of the two is not a sparsity.
    """

    first: Sparsity
    second: Sparsity

    def __post_init__(self) -> None:
        _check_sparsity("first", self.first)
        _check_sparsity("second", self.second)

    @property
    def exact(self) -> bool:
        """See `mapping.constraints.constraint.Constraint.exact`."""
        return (
            isinstance(self.first, OneSign)
            and isinstance(self.second, BlockSparse)
            and self.second.rows % self.first.size == 0
        )

    def choose(self, v: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        """See `Sparsity.choose`."""
        return in_turn(self.first, self.second, v, gain)


@dataclass(frozen=True)
class SparseValues:
    """Weights that a sparsity lets stay lie on given values; the others are zero.

    Which groups stay is decided by the error that the values leave: a weight w on the value q saves
    w^2 - (w - q)^2, summed over the group; groups that save less than nothing go. What is fitted to the
    layer (a scale, centroids) and the choice take turns, each the best for the other, to a fixed point; the
    first choice is by w^2, so that, where both steps are exact, the result is no farther than that of
    sparsity first and values after it.

    Parameters
    ----------
    sparsity
        `BlockSparse`, `SegmentSparse`, `OneSign`, `TileRowsAndColumns` or `BothSparse`.
    values
        `Levels`, `Window` or `Centroids`, without a mask.

    Raises
    ------
    XbarError
        For two sets that are not a sparsity and values.
    """

    sparsity: Sparsity
    values: Values

    def __post_init__(self) -> None:
        _check_sparsity("sparsity", self.sparsity)
        if not isinstance(self.values, Values):
            raise XbarError(
                f"values = {type(self.values).__name__}: must be Levels, Window, Centroids or Magnitudes "
                "(Ternary prunes by itself: give it the mask of a sparsity; two sparsities are BothSparse)"
            )
        if self.values.mask is not None:
            raise XbarError("values with a mask: the sparsity gives the mask here; leave out one of them")

    @property
    def exact(self) -> bool:
        """Whether nothing is fitted and the sparsity is exact."""
        return self.sparsity.exact and self.values.fixed

    def project(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `mapping.constraints.constraint.Constraint.project`."""
        check_finite_weights(v)
        energy = v.double().square()
        mask = self.sparsity.choose(v, energy)
        for _ in range(MAX_ROUNDS):
            # Zeros among the chosen are what an earlier projection pruned: they must not move the scale.
            chosen: Values = dataclasses.replace(self.values, mask=mask & (v != 0))  # type: ignore[type-var]
            z = self.values.nearest(v, chosen.fit(v))
            before, mask = mask, self.sparsity.choose(v, energy - (v.double() - z.double()).square())
            if torch.equal(before, mask):
                break
        return torch.where(mask, z, 0.0), mask


def _check_sparsity(name: str, given: object) -> None:
    if not isinstance(given, Sparsity):
        raise XbarError(
            f"{name} = {type(given).__name__}: must be a sparsity, such as BlockSparse or OneSign "
            "(two sets of values have no intersection of use; a sparsity and values are SparseValues)"
        )
