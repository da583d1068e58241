"""Retraining of a constrained network: masks that hold, weights on levels in the forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from mapping.admm import layer_of, weight_of
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
        self.masks = {name: from_gemm(mask.float(), layer_of(model, name)) for name, mask in masks.items()}
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


@torch.no_grad()
def put_on_levels(model: nn.Module, constraints: Mapping[str, Levels], scales: Mapping[str, float]) -> None:
    """Move each weight to its nearest level at the layer's scale, masked ones to zero, in place."""
    for name, constraint in constraints.items():
        layer = layer_of(model, name)
        values = constraint.project_with(to_gemm(layer), scales[name])
        layer.weight.copy_(from_gemm(values, layer))


@contextlib.contextmanager
def held_on_levels(
    model: nn.Module, constraints: Mapping[str, Levels], scales: Mapping[str, float]
) -> Iterator[None]:
    """`put_on_levels` for the time of a ``with`` block; then the weights are what they were."""
    latent = {name: weight_of(model, name).detach().clone() for name in constraints}
    put_on_levels(model, constraints, scales)
    try:
        yield
    finally:
        for name, weight in latent.items():
            weight_of(model, name).data.copy_(weight)


class OnLevels(Method):
    """A `mapping.training.Method`: the forward pass sees weights on their levels, the step moves latent ones.

    Gradients pass straight through. With a device, each forward pass also draws programming noise on the
    kept weights, as `xbar.weight_noise.noisy_weights` does. Scales are fitted at once and again at the
    start of every epoch; those of the last epoch stay.

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
            layer = layer_of(model, name)
            mask = torch.ones_like(to_gemm(layer)) if constraint.mask is None else constraint.mask.float()
            self._kept[name] = from_gemm(mask, layer).nonzero(as_tuple=True)
        self.begin_epoch(model, 0)

    def begin_epoch(self, model: nn.Module, epoch: int) -> None:
        """Fit the scales."""
        for name, constraint in self.constraints.items():
            self.scales[name] = constraint.fit(to_gemm(layer_of(model, name)))

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

    def finish(self, model: nn.Module) -> dict[str, float]:
        """Put the weights on their levels, in place; the scale by layer."""
        put_on_levels(model, self.constraints, self.scales)
        return dict(self.scales)

    def state(self) -> dict[str, torch.Tensor]:
        """The scales by layer."""
        return {name: torch.tensor(scale, dtype=torch.float64) for name, scale in self.scales.items()}

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""
        self.scales = {name: float(tensors[name]) for name in self.constraints}
