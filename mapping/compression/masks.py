"""Retraining of a pruned network: masks that hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mapping.compression.shared_weights import by_weight, differ
from mapping.constraints.constraint import Constraint
from mapping.constraints.levels import Ternary, Values
from mapping.network.gemm import Layer, finite_gemm, from_gemm, mappable_layers, to_gemm, weight_of
from mapping.training.method import Method
from xbar.hardware.errors import XbarError, unknown_name


def masks_met(model: nn.Module, masks: Mapping[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """Masks (K, N) by layer name that hold what is pruned in a network already, whoever did it.

    Weights of exactly 0 are pruned, but those of a layer that has no others: it begins at zero, such as a
    low-rank update does, and is free to grow.

    Parameters
    ----------
    masks
        Masks of the training, which those that are given lie within.
    """
    found = dict(masks or {})
    for name, layer in mappable_layers(model).items():
        stays = to_gemm(layer) != 0
        if stays.any() and not stays.all():
            found[name] = stays & found[name].to(stays.device) if name in found else stays
    return found


def on_weights_met(constraint: Constraint, met: torch.Tensor | None) -> Constraint:
    """Values for the weights that are not pruned already; a sparsity finds these by itself."""
    if met is None or not isinstance(constraint, Values | Ternary):
        return constraint
    mask = met if constraint.mask is None else constraint.mask & met
    return dataclasses.replace(constraint, mask=mask)  # type: ignore[type-var]


class Masked(Method):
    """A `mapping.training.method.Method`: masked weights stay exactly zero under any optimiser.

    Gradients are masked before the step; weights and the optimiser's moments after it, because stale moments
    revive zeros.

    Parameters
    ----------
    masks
        (K, N) bool by layer name, true where a weight stays.

    Raises
    ------
    XbarError
        For a mask of no layer, or of another shape than its layer's; for different masks of a weight that
        layers share, and weights that are not finite numbers.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
        layers = mappable_layers(model)
        for name, mask in masks.items():
            if name not in layers:
                raise unknown_name("layer with a mask", name, layers)
            shape = tuple(finite_gemm(layers[name], name).shape)
            if tuple(mask.shape) != shape:
                raise XbarError(f"mask of {name}: of shape {tuple(mask.shape)}; must be (K, N) = {shape}")
        self.masks = {name: _of_weight(mask, layers[name]) for name, mask in masks.items()}
        for first, (_, *others) in by_weight(model, masks).items():
            for other in others:
                if not torch.equal(self.masks[first], self.masks.pop(other)):
                    raise differ("masks", first, other)
        self.hold(model)

    def after_backward(self, model: nn.Module) -> None:
        """Mask the gradients."""
        for name, mask in self.masks.items():
            grad = weight_of(model, name).grad
            if grad is not None:
                grad.mul_(mask)

    @torch.no_grad()
    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Mask the weights and every moment that has their shape."""
        for name, mask in self.masks.items():
            weight = weight_of(model, name)
            weight.mul_(mask)
            for moment in optimizer.state.get(weight, {}).values():
                if isinstance(moment, torch.Tensor) and moment.shape == mask.shape:
                    moment.mul_(mask)

    def hold(self, model: nn.Module) -> None:
        """Mask the weights."""
        for name, mask in self.masks.items():
            weight_of(model, name).data.mul_(mask)

    def arguments(self) -> Any:
        """The masks."""
        return ["masks", self.masks]


def _of_weight(mask: torch.Tensor, layer: Layer) -> torch.Tensor:
    """A mask (K, N) in the shape of the layer's weight and where that lies, 1 where a weight stays."""
    return from_gemm(mask.float(), layer).to(layer.weight.device)
