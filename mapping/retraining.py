"""Retraining of a constrained network: masks that hold, weights on levels in the forward pass."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from mapping.admm import weight_of
from mapping.constraints import Levels
from mapping.gemm import from_gemm, to_gemm
from mapping.training import Method
from xbar.hardware import Device, Encoding
from xbar.weight_noise import noisy_weights


class Masked(Method):
    """A `mapping.training.Method`: masked weights stay exactly zero under any optimiser.

    Gradients are masked before the step; weights and the optimiser's moments after it, because stale moments
    revive zeros.

    Parameters
    ----------
    masks
        (K, N) bool by layer name, true where a weight stays.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
        self.masks = {name: from_gemm(mask.float(), weight_of(model, name)) for name, mask in masks.items()}
        for name, mask in self.masks.items():
            weight_of(model, name).data.mul_(mask)

    def after_backward(self, model: nn.Module) -> None:
        """Mask the gradients."""
        for name, mask in self.masks.items():
            grad = weight_of(model, name).grad
            assert grad is not None
            grad.mul_(mask)

    @torch.no_grad()
    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Mask the weights and every moment that has their shape."""
        for name, mask in self.masks.items():
            weight = weight_of(model, name)
            weight.mul_(mask)
            for moment in optimizer.state[weight].values():
                if isinstance(moment, torch.Tensor) and moment.shape == mask.shape:
                    moment.mul_(mask)


class OnLevels(Method):
    """A `mapping.training.Method`: the forward pass sees weights on their levels, the step moves latent ones.

    Gradients pass straight through. With a device, each forward pass also draws programming noise on the
    kept weights, as `xbar.weight_noise.noisy_weights` does. Scales are fitted to the latent weights at the
    start of every epoch.

    Parameters
    ----------
    constraints
        `Levels`, with the layer's mask, by layer name.
    device, encoding
        Both, for noise in the forward pass; None: no noise.
    """

    def __init__(
        self,
        model: nn.Module,
        constraints: Mapping[str, Levels],
        device: Device | None = None,
        encoding: Encoding | None = None,
    ) -> None:
        self.constraints = dict(constraints)
        self.device = device
        self.encoding = encoding
        self.scales: dict[str, float] = {}
        self._latent: dict[str, torch.Tensor] = {}
        self._kept = {}
        for name, constraint in self.constraints.items():
            weight = weight_of(model, name)
            mask = torch.ones_like(to_gemm(weight)) if constraint.mask is None else constraint.mask.float()
            self._kept[name] = from_gemm(mask, weight).nonzero(as_tuple=True)

    def begin_epoch(self, model: nn.Module, epoch: int) -> None:
        """Fit the scales."""
        for name, constraint in self.constraints.items():
            self.scales[name] = constraint.fit(to_gemm(weight_of(model, name)))

    @torch.no_grad()
    def before_forward(self, model: nn.Module) -> None:
        """Put the kept weights on levels, with noise where a device is given."""
        for name, constraint in self.constraints.items():
            weight, kept, scale = weight_of(model, name), self._kept[name], self.scales[name]
            self._latent[name] = weight[kept]
            values = Levels(constraint.values).project_with(self._latent[name], scale)
            if self.device is not None and self.encoding is not None:
                values = noisy_weights(values, scale, self.encoding, self.device, None)
            weight[kept] = values

    @torch.no_grad()
    def after_backward(self, model: nn.Module) -> None:
        """Take the latent weights back."""
        for name, latent in self._latent.items():
            weight_of(model, name)[self._kept[name]] = latent

    @torch.no_grad()
    def finish(self, model: nn.Module) -> dict[str, float]:
        """Put the weights on their levels, in place; the scale by layer."""
        self.begin_epoch(model, 0)
        for name, constraint in self.constraints.items():
            weight = weight_of(model, name)
            weight.copy_(from_gemm(constraint.project_with(to_gemm(weight), self.scales[name]), weight))
        return dict(self.scales)
