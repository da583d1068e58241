"""The exponential moving average of a network's weights, as a method of the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from mapping.recipes.options import Ema
from mapping.training.method import Method


class Average(Method):
    """A `mapping.training.method.Method` that follows the weights and the statistics of batch norms.

    It comes after the methods that hold weights, so that it averages what they leave. Whole numbers, such as
    counts of batches, are copied.
    """

    def __init__(self, model: nn.Module, ema: Ema) -> None:
        self.ema = ema
        self.steps = 0
        self.average = {name: t.detach().clone() for name, t in model.state_dict().items()}

    @torch.no_grad()
    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Move the average towards the weights."""
        self.steps += 1
        decay = min(self.ema.decay, (1 + self.steps) / (10 + self.steps))
        for name, now in model.state_dict().items():
            if now.is_floating_point():
                self.average[name].lerp_(now, 1 - decay)
            else:
                self.average[name].copy_(now)

    def put_into(self, model: nn.Module, methods: Sequence[Method]) -> None:
        """Replace the network's weights by their average, where methods hold them none the less."""
        model.load_state_dict(self.average)
        for method in methods:
            method.hold(model)

    @contextmanager
    def shown(self, model: nn.Module, methods: Sequence[Method]) -> Iterator[None]:
        """The network with the average of its weights within, and with its own after it."""
        own = {name: t.detach().clone() for name, t in model.state_dict().items()}
        self.put_into(model, methods)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def state(self) -> dict[str, torch.Tensor]:
        """The average, and the steps that are in it."""
        return {"steps": torch.tensor(self.steps)} | {f"of.{name}": t for name, t in self.average.items()}

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""
        self.steps = int(tensors["steps"])
        for name, t in self.average.items():
            t.copy_(tensors[f"of.{name}"])
