"""The learning rate of an optimiser over a training: the cosine of a recipe, or a scheduler of torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from mapping.recipes.recipe import COSINE, Recipe, first_line, name_of
from xbar.hardware.errors import XbarError


class Schedule:
    """The learning rate of an optimiser over a training."""

    def __init__(self, recipe: Recipe, optimizer: Optimizer) -> None:
        self.recipe, self.optimizer = recipe, optimizer
        self.parts = [group["lr"] / recipe.lr for group in optimizer.param_groups]
        self.scheduler: Any = None
        if recipe.scheduler == COSINE:
            return
        build = recipe.build_scheduler()
        name = name_of(build)
        try:
            self.scheduler = build(optimizer)
        except (TypeError, ValueError, KeyError) as error:
            raise XbarError(f"scheduler {name}: {first_line(error)}") from error
        if not isinstance(self.scheduler, LRScheduler):
            raise XbarError(
                f"scheduler {name}: gave a {type(self.scheduler).__name__}; must be a "
                "torch.optim.lr_scheduler.LRScheduler"
            )

    def begin_step(self, epoch: int, step: int, steps: int) -> None:
        """Set the rate of a step; `steps`: those of an epoch, 0 where that is not known."""
        if self.scheduler is not None:
            return
        rate = self.recipe.lr_at(epoch + (min(step / steps, 1.0) if steps else 0.5))
        for group, part in zip(self.optimizer.param_groups, self.parts, strict=True):
            group["lr"] = rate * part

    def end_epoch(self, loss: float) -> None:
        """Go on to the next epoch, after one of this mean loss."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(loss)
        elif self.scheduler is not None:
            self.scheduler.step()

    def go_to(self, losses: Iterable[float]) -> None:
        """Go past epochs of an interrupted training."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch misses the steps, which were taken before
            for loss in losses:
                self.end_epoch(loss)
