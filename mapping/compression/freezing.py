"""Iterative freeze and retrain: weights go onto their values a share at a time, the others make up for it.

After ADMM has drawn the weights near to their values, the nearest ones are set to them and held, the rest is
retrained, and so on to the last one (Ye et al., arXiv:1811.01907 and arXiv:1903.09769, down to binary
weights).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from mapping.compression.shared_weights import one_a_weight
from mapping.constraints.levels import Values
from mapping.network.gemm import finite_gemm, from_gemm, layer_of, to_gemm, weight_of
from mapping.training.method import Method
from xbar.hardware.checks import check_rising_to_one, check_whole


class Freezing(Method):
    """A `mapping.training.method.Method`: every `epochs` epochs a larger share of each layer's weights
    freezes.

    What is fitted to a layer (its scales, its centroids) is fitted once, at the start. Masked weights are
    held at zero.

    Parameters
    ----------
    model
        Its layers named in `values` end on these; others are free.
    values
        Values by layer name; their masks say which weights stay.
    shares
        Parts of the staying weights that are frozen, rising to 1.
    epochs
        Epochs between two shares.

    Raises
    ------
    XbarError
        For shares that do not rise to 1, or no epoch between them; for weights that are not finite numbers,
        and for different values on a weight that layers share.
    """

    def __init__(
        self, model: nn.Module, values: Mapping[str, Values], shares: Sequence[float], epochs: int = 1
    ) -> None:
        check_rising_to_one("shares", shares)
        check_whole("epochs", epochs, 1, 1 << 20)
        self.values = one_a_weight(model, "values", values)
        self.shares, self.epochs = tuple(shares), epochs
        self.z: dict[str, torch.Tensor] = {}
        self.held: dict[str, torch.Tensor] = {}
        self._place: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._fitted = {
            name: of.fit(finite_gemm(layer_of(model, name), name)) for name, of in self.values.items()
        }
        for name, values_of in self.values.items():
            w = to_gemm(layer_of(model, name))
            self.z[name], self.held[name] = torch.zeros_like(w), ~_stays(values_of, w)

    @property
    def total_epochs(self) -> int:
        """Epochs that all shares take."""
        return len(self.shares) * self.epochs

    @torch.no_grad()
    def begin_epoch(self, model: nn.Module, epoch: int) -> None:
        """Freeze more weights where it is time, those nearest to their values."""
        if epoch % self.epochs == 0 and epoch < self.total_epochs:
            for name in self.values:
                self._freeze(name, to_gemm(layer_of(model, name)), self.shares[epoch // self.epochs])
        for name in self.values:
            layer = layer_of(model, name)
            held = from_gemm(self.held[name].float(), layer) > 0
            self._place[name] = (from_gemm(self.z[name], layer), held)
            self._hold(weight_of(model, name), name)

    def _freeze(self, name: str, w: torch.Tensor, share: float) -> None:
        stays = _stays(self.values[name], w)
        free = stays & ~self.held[name]
        count = round(share * int(stays.sum())) - int((stays & self.held[name]).sum())
        nearest = self.values[name].nearest(w, self._fitted[name])
        distance = torch.where(free, (w - nearest).abs().double(), torch.inf).flatten()
        chosen = torch.zeros_like(distance, dtype=torch.bool)
        chosen[torch.sort(distance, stable=True).indices[:count]] = True
        chosen = chosen.reshape(w.shape)
        self.z[name] = torch.where(chosen, nearest, self.z[name])
        self.held[name] = self.held[name] | chosen

    def _hold(self, weight: nn.Parameter, name: str) -> None:
        z, held = self._place[name]
        weight.data.copy_(torch.where(held, z, weight.data))

    def after_backward(self, model: nn.Module) -> None:
        """Zero the gradients of frozen weights."""
        for name, (_, held) in self._place.items():
            grad = weight_of(model, name).grad
            if grad is not None:
                grad.masked_fill_(held, 0.0)

    @torch.no_grad()
    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Frozen weights stay at their values, whatever moments or decay say."""
        for name, (_, held) in self._place.items():
            weight = weight_of(model, name)
            self._hold(weight, name)
            for moment in optimizer.state.get(weight, {}).values():
                if isinstance(moment, torch.Tensor) and moment.shape == held.shape:
                    moment.masked_fill_(held, 0.0)

    def hold(self, model: nn.Module) -> None:
        """Put frozen weights on their values."""
        for name in self._place:
            self._hold(weight_of(model, name), name)

    def may_end(self, epoch: int, epochs: int) -> bool:
        """A training may keep an epoch once all shares are frozen."""
        return epoch >= self.total_epochs - self.epochs

    def end_epoch(self, model: nn.Module, epoch: int) -> list[dict[str, Any]]:
        """Log rows: the weights of each layer that are frozen, and those that stay free."""
        rows = []
        for name, held in self.held.items():
            mask = self.values[name].mask
            stays = held.numel() if mask is None else int(mask.sum())
            free = int((~held).sum())
            rows.append({"layer": name, "frozen": stays - free, "free": free})
        return rows

    def arguments(self) -> Any:
        """The values, the shares, and the epochs between them."""
        return ["freezing", self.values, self.shares, self.epochs]

    def state(self) -> dict[str, torch.Tensor]:
        """The frozen weights, their places, and the values that were fitted."""
        tensors: dict[str, torch.Tensor] = {}
        for name, fitted in self._fitted.items():
            tensors[f"fitted.{name}"] = fitted
            tensors |= {f"z.{name}": self.z[name], f"held.{name}": self.held[name]}
        return tensors

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""
        for name in self.values:
            self._fitted[name] = tensors[f"fitted.{name}"]
            self.z[name], self.held[name] = tensors[f"z.{name}"], tensors[f"held.{name}"]


def _stays(values: Values, w: torch.Tensor) -> torch.Tensor:
    """Mask (K, N) of the weights that take values, where w lies."""
    return torch.ones_like(w, dtype=torch.bool) if values.mask is None else values.mask.to(w.device)
