"""Two sets at once: two sparsities, or a sparsity and the values that its weights may take; and what keeps
weights in their sets.

A sparsity holds as long as its mask does. Weights that must have one sign, lie in a window or share few
values leave their set with the next step of a training, and on the levels of cells. A `Lasting` set says
what keeps them in it: in a training, the nearest weights with the choices that were made (signs, a scale,
who shares a value); on levels, those levels that lie in the set.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from mapping.constraints.constraint import Constraint
from mapping.constraints.fragments import OneSign
from mapping.constraints.levels import Hold, Values
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


@runtime_checkable
class Lasting(Protocol):
    """A `mapping.constraints.constraint.Constraint` that says how it holds in trainings and on levels."""

    def held(self, z: torch.Tensor, inner: Hold) -> Hold:
        """Give the hold that keeps weights in the set while they train.

        Parameters
        ----------
        z
            A point of the set (K, N), 0 where weights are masked.
        inner
            What another set of the same weights holds: the result lies in both.
        """
        ...

    def on_levels(self, levels: Values, z: torch.Tensor) -> Values:
        """Those of the levels of cells that lie in the set, for weights that are at z (K, N), a point
        of it or near to one.

        Raises
        ------
        XbarError
            Where there is none, or where the levels are not such that the set can hold on them.
        """
        ...


def lasting_parts(constraint: Constraint) -> list[Lasting]:
    """The parts of a constraint that a mask alone does not hold, values before signs."""
    if isinstance(constraint, SparseValues):
        return [*lasting_parts(constraint.values), *lasting_parts(constraint.sparsity)]
    if isinstance(constraint, BothSparse):
        return [*lasting_parts(constraint.first), *lasting_parts(constraint.second)]
    return [constraint] if isinstance(constraint, Lasting) else []


def held_in(constraint: Constraint, z: torch.Tensor) -> Hold:
    """The part of a method that keeps weights in a set, and 0 where z (K, N), a point of it, is 0."""
    stays = z != 0

    hold: Hold = torch.clone
    for part in lasting_parts(constraint):
        hold = part.held(z, hold)
    return lambda w: torch.where(stays, hold(w), 0.0)


def levels_in(constraint: Constraint, levels: Values, z: torch.Tensor) -> Values:
    """The levels of cells that lie in a set, for weights that are at z (K, N).

    Raises
    ------
    XbarError
        As `Lasting.on_levels`.
    """
    for part in lasting_parts(constraint):
        levels = part.on_levels(levels, z)
    return levels
