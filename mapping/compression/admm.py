"""ADMM under constraints, in its scaled form.

min f(W) + sum_i g_i(Z_i) with W_i = Z_i, g_i the indicator of the set S_i (Boyd et al. 2011, section 3.1.1,
doi:10.1561/2200000016; for weight pruning Zhang et al., ECCV 2018, arXiv:1804.03294):

    W-step   f + sum_i rho_i/2 |W_i - Z_i + U_i|^2, by the training loop
    Z-step   Z <- P_S(W + U)
    U-step   U <- U + W - Z

rho -> c rho needs U -> U / c.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from mapping.compression.shared_weights import by_weight, for_all_layers, one_a_weight
from mapping.constraints.constraint import ByLayer, Constraint, NetworkConstraint
from mapping.network.gemm import finite_gemm, from_gemm, layer_of, mappable_layers, trained_weight, weight_of
from mapping.training.method import Method
from xbar.hardware.checks import check_range, check_whole


@dataclass(frozen=True)
class RhoSchedule:
    """rho before Z-step i = 0, 1, ...: start * factor^i, at most `limit`."""

    start: float = 1e-3
    factor: float = 2.0
    limit: float = 0.1

    def __post_init__(self) -> None:
        check_range("rho.start", self.start, 1e-12, 1e6)
        check_range("rho.factor", self.factor, 1, 100)
        check_range("rho.limit", self.limit, self.start, 1e6)

    def at(self, step: int) -> float:
        """rho in force before Z-step `step`."""
        try:
            return min(self.limit, self.start * self.factor**step)
        except OverflowError:
            return self.limit


class Admm(Method):
    """A `mapping.training.method.Method`: the penalty in each step, the Z- and U-step after each epoch.

    A weight that several layers share is one weight, with one penalty, under the name of the first of them.

    Parameters
    ----------
    model
        Its layers named in `constraints` are constrained; others are free.
    constraints
        Constraints by layer name, on the layer's GEMM matrix, or one that ties layers together.
    interval
        Epochs between two Z-steps; rho follows the number of Z-steps.
    layers
        Layers of a constraint that ties layers together; None: all linear and convolution layers.

    Raises
    ------
    XbarError
        Where a name is not a layer with a weight that can be trained, layers that share a weight have
        different constraints, a weight is not a finite number, or the interval is below 1.
    """

    def __init__(
        self,
        model: nn.Module,
        constraints: Mapping[str, Constraint] | NetworkConstraint,
        rho: RhoSchedule | None = None,
        interval: int = 1,
        layers: Iterable[str] | None = None,
    ) -> None:
        if isinstance(constraints, Mapping):
            names = list(constraints)
        else:
            names = list(mappable_layers(model) if layers is None else layers)
        check_whole("interval", interval, 1, 1 << 20)
        self.interval = interval
        self.rho = rho or RhoSchedule()
        self.current_rho = self.rho.at(0)
        self.z: dict[str, torch.Tensor] = {}
        self.u: dict[str, torch.Tensor] = {}
        self._pull: dict[str, torch.Tensor] = {}
        for name in names:
            trained_weight(model, name, "constraint on ")
        self.layers = names
        self.constrain(model, constraints)
        weights = _matrices(model, by_weight(model, names))
        for name, (z, _) in self.constraint.project(weights).items():
            self.z[name], self.u[name] = z, torch.zeros_like(weights[name])

    def constrain(self, model: nn.Module, constraints: Mapping[str, Constraint] | NetworkConstraint) -> None:
        """Take these sets, of the same layers, from the next Z-step on."""
        self.constraint: NetworkConstraint
        if isinstance(constraints, Mapping):
            self.constraint = cast(
                NetworkConstraint, ByLayer(one_a_weight(model, "constraints", constraints))
            )
        else:
            self.constraint = constraints

    def begin_epoch(self, model: nn.Module, epoch: int) -> None:
        """Set rho, rescale U to it, and form the point Z - U that weights are drawn to."""
        rho = self.rho.at(epoch // self.interval)
        for name, u in self.u.items():
            u.mul_(self.current_rho / rho)
            self._pull[name] = from_gemm(self.z[name] - u, layer_of(model, name))
        self.current_rho = rho

    @torch.no_grad()
    def after_backward(self, model: nn.Module) -> None:
        """Add rho (W - Z + U), the gradient of the penalty."""
        for name, pull in self._pull.items():
            weight = weight_of(model, name)
            if weight.grad is None:  # the loss does not reach it in this step; the penalty does
                weight.grad = torch.zeros_like(weight)
            weight.grad.add_(weight, alpha=self.current_rho).sub_(pull, alpha=self.current_rho)

    @torch.no_grad()
    def end_epoch(self, model: nn.Module, epoch: int) -> list[dict[str, Any]]:
        """Z- and U-step; by layer the residuals, primal `|W - Z|/|W|` and dual `rho |Z_new - Z_old|`."""
        if (epoch + 1) % self.interval:
            return []
        rows = []
        weights = _matrices(model, self.z)
        projected = self.constraint.project({name: w + self.u[name] for name, w in weights.items()})
        for name, (z, mask) in projected.items():
            w = weights[name]
            dual = self.current_rho * float((z - self.z[name]).norm())
            self.z[name] = z
            self.u[name] = self.u[name] + w - z
            primal = float((w - z).norm() / w.norm().clamp_min(1e-30))
            rows.append(
                {
                    "layer": name,
                    "primal": primal,
                    "dual": dual,
                    "rho": self.current_rho,
                    "kept": int(mask.sum()),
                }
            )
        return rows

    @torch.no_grad()
    def finish(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Project the weights onto their sets, in place (masked mapping); the masks, (K, N) bool by layer."""
        projected = self.constraint.project(_matrices(model, self.z))
        for name, (z, _) in projected.items():
            layer = layer_of(model, name)
            layer.weight.copy_(from_gemm(z, layer))
        masks = {name: mask for name, (_, mask) in projected.items()}
        return for_all_layers(model, self.layers, masks)

    def may_end(self, epoch: int, epochs: int) -> bool:
        """A training may only keep its last epoch, since weights are drawn to their sets until then."""
        return epoch == epochs - 1

    def arguments(self) -> Any:
        """The sets, rho and the interval."""
        return ["ADMM", self.constraint, self.layers, self.rho, self.interval]

    def state(self) -> dict[str, torch.Tensor]:
        """Z and U by layer, and rho."""
        tensors = {"rho": torch.tensor(self.current_rho, dtype=torch.float64)}
        for name in self.z:
            tensors |= {f"z.{name}": self.z[name], f"u.{name}": self.u[name]}
        return tensors

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""
        self.current_rho = float(tensors["rho"])
        self.u = {name: tensors[f"u.{name}"] for name in self.z}
        self.z = {name: tensors[f"z.{name}"] for name in self.z}


def _matrices(model: nn.Module, names: Iterable[str]) -> dict[str, torch.Tensor]:
    return {name: finite_gemm(layer_of(model, name), name) for name in names}
