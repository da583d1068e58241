"""A training as tensors and plain data: what a checkpoint holds, and how a training takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mapping.training.checkpoints import Checkpoint
from mapping.training.method import Method
from mapping.training.selection import EpochSelection
from xbar.hardware.errors import XbarError, one_line

Log = list[dict[str, Any]]


@dataclass
class Place:
    """Place of a training within an epoch: the batches that are done, and the sum of their losses."""

    epoch: int = 0
    batch: int = 0
    summed: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    generator: torch.Tensor | None = None
    """State of torch's global generator after these batches; None: at the beginning of an epoch."""


@dataclass
class TrainingState:
    """All that changes in a training."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    methods: Sequence[Method]
    selection: EpochSelection
    place: Place = field(default_factory=Place)
    log: Log = field(default_factory=list)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint.

        Raises
        ------
        XbarError
            For an optimiser that keeps what is neither a tensor nor a number.
        """
        tensors = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        tensors |= self._optimizer_tensors()
        for i, method in enumerate(self.methods):
            tensors |= {f"method.{i}.{name}": t for name, t in method.state().items()}
        tensors |= {f"selected.{name}": t for name, t in self.selection.network.items()}
        place = self.place
        if place.generator is not None:
            tensors |= {"within.generator": place.generator, "within.summed": place.summed}
        meta = {"epoch": place.epoch, "batch": place.batch, "selection": self.selection.meta()}
        checkpoint.save(tensors, {**meta, "log": self.log})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what a checkpoint holds.

        Raises
        ------
        XbarError
            Where it is damaged, or of another training.
        """
        tensors, meta = checkpoint.load()
        try:
            self._take(tensors, meta)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise XbarError(
                f"{checkpoint.path}: not a checkpoint of this training ({one_line(error)}); delete it to "
                "start again"
            ) from error

    def _optimizer_tensors(self) -> dict[str, torch.Tensor]:
        tensors = {}
        for index, slots in self.optimizer.state_dict()["state"].items():
            for slot, t in slots.items():
                if t is not None and not isinstance(t, torch.Tensor | int | float):
                    raise XbarError(
                        f"checkpoint: {type(self.optimizer).__name__} keeps a {type(t).__name__} ({slot!r}); "
                        "only tensors and numbers can be kept"
                    )
                if t is not None:
                    tensors[f"optimizer.{index}.{slot}"] = torch.as_tensor(t)
        return tensors

    def _take(self, tensors: dict[str, torch.Tensor], meta: dict[str, Any]) -> None:
        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        self._take_optimizer(part("optimizer."))
        device = next(self.model.parameters()).device
        for i, method in enumerate(self.methods):
            method.load_state({name: t.to(device) for name, t in part(f"method.{i}.").items()})
        self.selection.load(meta["selection"], part("selected."))
        self.place = Place(meta["epoch"], meta["batch"])
        if self.place.batch:
            self.place.summed = tensors["within.summed"]
            self.place.generator = tensors["within.generator"]
        self.log = meta["log"]

    def _take_optimizer(self, tensors: dict[str, torch.Tensor]) -> None:
        slots: dict[int, dict[str, torch.Tensor]] = {}
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for name, t in tensors.items():
            index, _, slot = name.partition(".")
            parameter = parameters[int(index)]
            # Fused optimisers walk memory: a moment needs the strides of its parameter.
            slots.setdefault(int(index), {})[slot] = (
                torch.empty_like(parameter).copy_(t) if t.shape == parameter.shape else t
            )
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
