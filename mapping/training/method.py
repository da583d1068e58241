"""The hooks of the training loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Method:
    """A method that hooks into the training loop; every hook does nothing until a method overrides it."""

    def begin_epoch(self, model: nn.Module, epoch: int) -> None:
        """Before the first step of an epoch, and once more where a training goes on within one, after
        `load_state`: then it must find what it did before."""

    def before_forward(self, model: nn.Module) -> None:
        """Before the forward passes of a step; may replace weights for them."""

    def after_backward(self, model: nn.Module) -> None:
        """After the backward passes of a step, before the optimiser moves; may change weights and
        gradients."""

    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """After the optimiser's step."""

    def hold(self, model: nn.Module) -> None:
        """Put weights that the method holds where they belong, after something else than a step has moved
        them: an average of them, say."""

    def end_epoch(self, model: nn.Module, epoch: int) -> list[dict[str, Any]]:
        """After the last step of an epoch; rows for the log."""
        return []

    def may_end(self, epoch: int, epochs: int) -> bool:
        """Whether the network of this epoch, of so many, may be the one that a training keeps."""
        return True

    def arguments(self) -> Any:
        """Arguments that change the training, as plain values, arrays or dataclasses. A checkpoint belongs to
        them. None, which a method gives that only watches, is not compared."""
        return None

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors that a resumed run needs."""
        return {}

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""
