"""Global sparse momentum SGD (Ding et al., NeurIPS 2019, arXiv:1909.12778).

In each step Q = floor(|Theta| / C) of all weights Theta of some layers together are active: those of largest
|dL/dw w|, which is, to first order, what the loss would change by without the weight. With momentum beta,
decay eta and step alpha (eqs. 9, 10):

    z <- beta z + eta w + B dL/dw,    B = 1 where w is active, else 0
    w <- w - alpha z

Passive weights decay towards zero, but the choice is made anew in every step, and they may come back. What a
final cut by magnitude removes is then almost zero, and no retraining follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from mapping.compression.shared_weights import by_weight, for_all_layers
from mapping.network.gemm import (
    finite_gemm,
    from_gemm,
    layer_of,
    mappable_layers,
    to_gemm,
    trained_weight,
    weight_of,
)
from mapping.training.method import Method
from xbar.hardware.checks import check_range
from xbar.hardware.errors import XbarError, unknown_name


class Gsm(Method):
    """A `mapping.training.method.Method`: sparse gradients in each step, a global cut at the end.

    A weight that several layers share counts once, under the name of the first of them.

    Momentum and decay are the optimiser's: a `Recipe` with ``optimizer="SGD"``, momentum of 0.98 or more and
    weight decay. A weight that is never active shrinks by exp(-eta / (1 - beta) times the sum of all learning
    rates); one that is active now and then, by less, and ``lost`` in the log says what a cut would cost.

    Parameters
    ----------
    model
        Its layers named in `layers` are compressed together; others train as ever.
    rate
        C; 1/C of the weights of these layers stay, biases not counted.
    layers
        Names of linear and convolution layers; None: all.
    active
        1/active of the weights are active in a step; None: as many as stay. With fewer, what the choice moves
        between is about what the cut keeps, and less is left in what it removes.

    Raises
    ------
    XbarError
        Where a name is not such a layer, there is none, a weight is frozen or not a finite number, a rate is
        below 1 or leaves no weight, or more are active than stay.
    """

    def __init__(
        self,
        model: nn.Module,
        rate: float,
        layers: Iterable[str] | None = None,
        active: float | None = None,
    ) -> None:
        mappable = mappable_layers(model)
        chosen = list(mappable if layers is None else layers)
        for name in chosen:
            if name not in mappable:
                raise unknown_name("gsm.layers", name, mappable)
            trained_weight(model, name, "gsm.layers: ")
        self.named = [name for name in mappable if name in chosen]
        self.layers = list(by_weight(model, self.named))
        self.sizes = [weight_of(model, name).numel() for name in self.layers]
        total = sum(self.sizes)
        if not total:
            raise XbarError("gsm.layers: must name at least one layer")
        check_range("gsm.rate", rate, 1, total)
        check_range("gsm.active", rate if active is None else active, rate, total)
        self.count = int(total / rate)
        self.active = int(total / (active or rate))
        self.masks = self._cut(model)

    @torch.no_grad()
    def after_backward(self, model: nn.Module) -> None:
        """Keep the gradients of the active weights; zero those of the passive ones."""
        gradients = []
        saliency = []
        for name in self.layers:
            weight = weight_of(model, name)
            if weight.grad is None:  # the loss does not reach it in this step, in which it is passive
                weight.grad = torch.zeros_like(weight)
            gradients.append(weight.grad)
            saliency.append((weight.grad * weight).flatten())
        active = largest(torch.cat(saliency).abs_(), self.active)
        for gradient, chosen in zip(gradients, torch.split(active, self.sizes), strict=True):
            gradient.mul_(chosen.view(gradient.shape))

    def end_epoch(self, model: nn.Module, epoch: int) -> list[dict[str, Any]]:
        """By layer, for a cut Z made now: weights kept, those not kept an epoch ago, and `|W - Z|/|W|`."""
        before, self.masks = self.masks, self._cut(model)
        rows = []
        for name, mask in self.masks.items():
            w = to_gemm(layer_of(model, name))
            rows.append(
                {
                    "layer": name,
                    "kept": int(mask.sum()),
                    "revived": int((mask & ~before[name]).sum()),
                    "lost": float(w[~mask].norm() / w.norm().clamp_min(1e-30)),
                }
            )
        return rows

    @torch.no_grad()
    def finish(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Zero all but the Q weights of largest magnitude, in place; the masks, (K, N) bool by layer."""
        masks = self._cut(model)
        for name, mask in masks.items():
            layer = layer_of(model, name)
            layer.weight.copy_(from_gemm(torch.where(mask, to_gemm(layer), 0.0), layer))
        return for_all_layers(model, self.named, masks)

    def may_end(self, epoch: int, epochs: int) -> bool:
        """A training may only keep its last epoch, since passive weights decay until then."""
        return epoch == epochs - 1

    def arguments(self) -> Any:
        """The layers, and how many of their weights stay and are active."""
        return ["GSM", self.named, self.count, self.active]

    def state(self) -> dict[str, torch.Tensor]:
        """Masks of what a cut kept after the last epoch, (K, N) bool by layer."""
        return dict(self.masks)

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""
        self.masks = {name: tensors[name] for name in self.layers}

    def _cut(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Masks of the Q weights of largest magnitude."""
        matrices = [finite_gemm(layer_of(model, name), name) for name in self.layers]
        kept = largest(torch.cat([w.flatten() for w in matrices]).abs(), self.count)
        return {
            name: mask.view(w.shape)
            for name, w, mask in zip(self.layers, matrices, torch.split(kept, self.sizes), strict=True)
        }


def largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Mask of the `count` largest of `values` (n,); ties go to the lower index."""
    if values.device.type == "cpu":  # numpy's partition takes a tenth of the time of torch's there
        least = float(np.partition(values.numpy(force=True), -count)[-count])
    else:
        least = float(values.kthvalue(len(values) - count + 1).values)
    mask = values > least
    ties = (values == least).nonzero().flatten()
    mask[ties[: count - int(mask.sum())]] = True
    return mask
