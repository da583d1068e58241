"""Weights that stay in their sets, or on the levels that these allow, in every step of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mapping.compression.shared_weights import by_weight
from mapping.constraints.constraint import Constraint
from mapping.constraints.intersections import held_in
from mapping.constraints.levels import Fitted, Hold, Values
from mapping.network.gemm import finite_gemm, from_gemm, layer_of, to_gemm, weight_of
from mapping.training.method import Method


class Within(Method):
    """A `mapping.training.method.Method`: after each step, weights go back to what holds them.

    A weight that several layers share is held once, by the first of them.

    Parameters
    ----------
    holds
        By layer name, what takes weights (K, N) to those that are allowed.
    """

    def __init__(self, model: nn.Module, holds: Mapping[str, Hold]) -> None:
        self.holds = {name: holds[name] for name in by_weight(model, holds)}
        self.hold(model)

    @torch.no_grad()
    def hold(self, model: nn.Module) -> None:
        """Hold the weights."""
        for name, hold in self.holds.items():
            layer = layer_of(model, name)
            weight_of(model, name).data.copy_(from_gemm(hold(to_gemm(layer)), layer))

    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Hold the weights."""
        self.hold(model)

    def arguments(self) -> Any:
        """The layers; what holds them follows from the weights that the training begins with."""
        return ["within", list(self.holds)]


def holds_of_sets(model: nn.Module, constraints: Mapping[str, Constraint]) -> dict[str, Hold]:
    """Holds that keep the weights of layers, which lie in their sets, there."""
    return {
        name: held_in(of, finite_gemm(layer_of(model, name), name).clone())
        for name, of in constraints.items()
    }


def hold_on_levels(allowed: Values, fitted: Fitted, levels: Values, scale: Fitted) -> Hold:
    """Moves a weight whose nearest level is not allowed to the nearest one that is.

    A weight that is nearest to an allowed level stays where it is, as straight-through training needs; so
    does a zero.

    Parameters
    ----------
    allowed, fitted
        The levels that are allowed, and what was fitted to them.
    levels, scale
        All levels of the cells, and the scale of each column (N,).
    """

    def hold(w: torch.Tensor) -> torch.Tensor:
        exact = w.double()  # as the encoding sees it
        nearest = allowed.nearest(exact, fitted)
        stays = (levels.nearest(exact, scale) == nearest) | (w == 0)
        return torch.where(stays, w, nearest.to(w.dtype))

    return hold
