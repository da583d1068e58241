"""Which epoch's network a training keeps, and when it stops."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from mapping.recipes.options import TrainingOptions


class EpochSelection:
    """The epoch of the best validation so far, its network, and how many epochs were none since."""

    def __init__(self, options: TrainingOptions) -> None:
        self.keep, self.patience = options.keep, options.patience
        self.best: float | None = None
        self.epoch = -1
        self.since = 0
        self.network: dict[str, torch.Tensor] = {}

    @property
    def is_over(self) -> bool:
        """Whether patience has run out."""
        return bool(self.patience) and self.since >= self.patience

    def judge(self, model: nn.Module, epoch: int, validation: float) -> None:
        """Keep the network of an epoch where it is better than all before it; on a tie the earlier stays.

        A validation that is not a number is never better.
        """
        worst = -math.inf if self.keep == "highest" else math.inf
        best = worst if self.best is None else self.best
        if validation > best if self.keep == "highest" else validation < best:
            self.best, self.epoch, self.since = validation, epoch, 0
            self.network = {name: t.detach().clone() for name, t in model.state_dict().items()}
        else:
            self.since += 1

    def meta(self) -> dict[str, Any]:
        """Plain data for a checkpoint, beside the tensors in `network`."""
        return {"best": self.best, "epoch": self.epoch, "since": self.since}

    def load(self, meta: dict[str, Any], network: dict[str, torch.Tensor]) -> None:
        """Take back `meta` and `network` of a checkpoint."""
        self.best, self.epoch, self.since = meta["best"], meta["epoch"], meta["since"]
        self.network = network
