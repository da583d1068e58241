"""Budgets of a whole network: nonzeros, their bits, and how many bits each layer gets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch

from mapping.constraints.levels import levels_of_width
from mapping.network.gemm import check_finite_weights
from xbar.hardware.checks import check_number, check_range, check_whole
from xbar.hardware.errors import XbarError, unknown_name

WIDTHS = tuple(range(1, 9))


@dataclass(frozen=True)
class NonzeroBudget:
    """sum_i c_i ||W_i||_0 <= total over all layers (Yang et al., CVPR 2020, arXiv:1910.05897).

    Weights stay in the order of w^2 / c, as long as they fit, ties in the order of the layers. With one cost
    for all layers that is exact. Otherwise it is a knapsack: the energy w^2 that stays falls short of the
    best by at most that of the first weight that does not fit (Dantzig 1957, doi:10.1287/opre.5.2.266).

    Parameters
    ----------
    total
        The budget, in the unit of the costs.
    cost
        Cost of a nonzero by layer: the bits of its value, and those of its index where they count. None: 1
        each, so that `total` is the number of nonzeros.

    Raises
    ------
    XbarError
        For a budget or a cost out of range, or (in `project`) where layers and costs have other names.
    """

    total: float
    cost: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        check_range("total", self.total, 0, 1e18)
        for name, cost in (self.cost or {}).items():
            check_range(f"cost of a nonzero of {name}", cost, 1e-9, 1e9)

    @property
    def exact(self) -> bool:
        """Whether all layers have one cost."""
        return self.cost is None or len(set(self.cost.values())) <= 1

    def project(self, v: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """See `mapping.constraints.constraint.NetworkConstraint.project`."""
        cost = dict.fromkeys(v, 1.0) if self.cost is None else self.cost
        _check_names("cost of a nonzero", cost, v)
        _check_names("layer of a budget", v, cost)
        if not v:
            return {}
        for name, w in v.items():
            check_finite_weights(w, name)
        costs = torch.cat(
            [torch.full_like(w, float(cost[name]), dtype=torch.float64).flatten() for name, w in v.items()]
        )
        density = torch.cat([w.double().square().flatten() for w in v.values()]) / costs
        order = torch.sort(density, descending=True, stable=True).indices
        mask = torch.zeros_like(costs, dtype=torch.bool)
        left = self.total
        while len(order):
            spent = costs[order].cumsum(0)
            fitting = int((spent <= left * (1 + 1e-12)).sum())
            mask[order[:fitting]] = True
            left -= float(spent[fitting - 1]) if fitting else 0.0
            order = order[fitting:]
            order = order[costs[order] <= left]
        parts = torch.split(mask, [w.numel() for w in v.values()])
        masks = {name: part.reshape(v[name].shape) for name, part in zip(v, parts, strict=True)}
        return {name: (torch.where(masks[name], v[name], 0.0), masks[name]) for name in v}


class Width(NamedTuple):
    """The cost of a layer at one number of bits, in the budget's unit, and its squared error."""

    cost: float
    error: float


def width_table(
    weights: Mapping[str, torch.Tensor],
    masks: Mapping[str, torch.Tensor] | None = None,
    widths: Iterable[int] = WIDTHS,
    index_bits: float = 0,
) -> dict[str, dict[int, Width]]:
    """Cost and error of each layer at each number of bits, with equal levels +-{1 ... 2^(b-1)} q.

    Parameters
    ----------
    weights
        GEMM matrices (K, N) by layer.
    masks
        Weights that stay, bool (K, N), by layer; others cost nothing. A layer that is not named keeps all.
    widths
        Numbers of bits b, each 1 to 16.
    index_bits
        Bits of index of each weight that stays.

    Returns
    -------
    dict
        By layer and b: the cost (b + index_bits) ||mask||_0 [bit] and the squared error on those weights.

    Raises
    ------
    XbarError
        For a mask of no layer, or a number out of range.
    """
    masks = masks or {}
    _check_names("mask", masks, weights)
    check_range("index_bits", index_bits, 0, 64)
    table: dict[str, dict[int, Width]] = {}
    for name, w in weights.items():
        check_finite_weights(w, name)
        kept = w[masks[name]] if name in masks else w.flatten()
        table[name] = {}
        for bits in widths:
            z, _ = levels_of_width(bits).project(kept)
            error = float((kept.double() - z.double()).square().sum())
            table[name][bits] = Width((bits + index_bits) * kept.numel(), error)
    return table


def choose_widths(table: Mapping[str, Mapping[int, Width]], total: float) -> dict[str, int]:
    """Bits of each layer for a small sum of errors at a sum of costs of at most `total`.

    A multiple-choice knapsack (Sinha and Zoltners 1979, doi:10.1287/opre.27.3.503): each layer begins with
    its cheapest width and climbs the lower convex hull of its (cost, error) points, the steepest step of all
    layers first, as long as it fits. The sum of errors exceeds the best by at most what the first step that
    does not fit would have saved.

    Raises
    ------
    XbarError
        Where even the cheapest widths cost more than `total`.
    """
    _check_total(total)
    hulls = {name: _hull(widths) for name, widths in table.items()}
    chosen = {name: hull[0] for name, hull in hulls.items()}
    spent = sum(table[name][bits].cost for name, bits in chosen.items())
    if not spent <= total:
        raise XbarError(f"budget of {total:g} bits: the fewest bits of every layer already cost {spent:g}")
    steps = [
        (_slope(table[name][a], table[name][b]), name, b)
        for name, hull in hulls.items()
        for a, b in pairwise(hull)
    ]
    for _, name, bits in sorted(steps, key=lambda step: step[0]):
        more = table[name][bits].cost - table[name][chosen[name]].cost
        if spent + more <= total:
            spent += more
            chosen[name] = bits
    return chosen


@dataclass(frozen=True, eq=False)
class WidthBudget:
    """Weights lie on levels +-{1 ... 2^(b-1)} q, b and q by layer, and sum_i b_i ||mask_i||_0 <= total.

    b is chosen by `choose_widths` on `width_table`. Not exact: see there.

    Parameters
    ----------
    total
        The budget [bit].
    masks
        Weights that stay, bool (K, N), by layer; a layer that is not named keeps all.
    widths
        Numbers of bits to choose from.
    index_bits
        Bits of index of each weight that stays.

    Raises
    ------
    XbarError
        For a number out of range; in `project` for a mask of no layer, or a budget that is out of reach.
    """

    total: float
    masks: Mapping[str, torch.Tensor] = field(default_factory=dict)
    widths: tuple[int, ...] = WIDTHS
    index_bits: float = 0
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_total(self.total)
        check_range("index_bits", self.index_bits, 0, 64)
        for bits in self.widths:
            check_whole("widths", bits, 1, 16)

    def choose(self, v: Mapping[str, torch.Tensor]) -> dict[str, int]:
        """Bits of each layer."""
        return choose_widths(width_table(v, self.masks, self.widths, self.index_bits), self.total)

    def project(self, v: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """See `mapping.constraints.constraint.NetworkConstraint.project`."""
        return {
            name: levels_of_width(bits, self.masks.get(name)).project(v[name])
            for name, bits in self.choose(v).items()
        }


def _check_total(total: float) -> None:
    check_number("total", total)
    check_range("total", total, 0, math.inf, "bit")


def _slope(a: Width, b: Width) -> float:
    return (b.error - a.error) / (b.cost - a.cost)


def _hull(widths: Mapping[int, Width]) -> list[int]:
    """Widths on the lower convex hull, from the cheapest to that of least error."""
    hull: list[int] = []
    for bits in sorted(widths, key=lambda bits: widths[bits]):
        if hull and widths[bits].error >= widths[hull[-1]].error:
            continue
        while len(hull) > 1 and _slope(widths[hull[-2]], widths[hull[-1]]) >= _slope(
            widths[hull[-2]], widths[bits]
        ):
            hull.pop()
        hull.append(bits)
    return hull


def _check_names(what: str, names: Iterable[str], allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    for name in names:
        if name not in allowed:
            raise unknown_name(what, name, allowed)
