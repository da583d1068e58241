"""The one training loop. Methods (ADMM, masks, levels) hook into its steps; it knows none of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mapping.training.arguments import digests_of, form_of
from mapping.training.checkpoints import Checkpoint
from mapping.training.metrics import CLASSES, Metric, described
from mapping.training.recipe import Recipe, Schedule
from xbar.hardware.errors import XbarError, one_line

BatchSource = Iterable[tuple[torch.Tensor, torch.Tensor]]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]


def pair(batch: Any, who: str) -> tuple[torch.Tensor, Any]:
    """Inputs and targets of a batch; `who` begins the message.

    Raises
    ------
    XbarError
        For a batch that is no pair, or holds no input.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not isinstance(batch[0], torch.Tensor):
        raise XbarError(
            f"{who}: the data loader gave a {type(batch).__name__}; must be pairs (inputs, targets), "
            "inputs a tensor"
        )
    if not len(batch[0]):
        raise XbarError(f"{who}: the data loader gave a batch without an input")
    return batch[0], batch[1]


class Method:
    """What hooks into the training loop; every hook does nothing until a method overrides it."""

    def begin_epoch(self, model: nn.Module, epoch: int) -> None:
        """Before the first step of an epoch."""

    def before_forward(self, model: nn.Module) -> None:
        """Before a forward pass; may replace weights for the pass."""

    def after_backward(self, model: nn.Module) -> None:
        """After the backward pass, before the optimiser's step; may change weights and gradients."""

    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """After the optimiser's step."""

    def end_epoch(self, model: nn.Module, epoch: int) -> list[dict[str, Any]]:
        """After the last step of an epoch; rows for the log."""
        return []

    def arguments(self) -> Any:
        """What a checkpoint belongs to: the arguments that change the training, as plain values, arrays or
        dataclasses. None, of a method that only watches, is not compared."""
        return None

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors that a resumed run needs."""
        return {}

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers below 1e-38 count as zero within: on this thread, and on those of torch that start within.

    Weights that nothing but ADMM's penalty moves end up there, and a convolution of them would take some 80
    times as long.
    """
    before = float(torch.tensor(1e-40) * 1) == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def derive_seed(seed: int, *parts: str | int) -> int:
    """Seed of 63 bits for one purpose, from a run's seed and the purpose's name."""
    text = "/".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@flushed_denormals()
def train(
    model: nn.Module,
    batches: BatchSource,
    recipe: Recipe,
    *,
    methods: Sequence[Method] = (),
    loss: Loss = nn.functional.cross_entropy,
    seed: int = 0,
    stage: str = "train",
    validate: Callable[[nn.Module], float] | None = None,
    checkpoint: Path | Checkpoint | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place and return the log: one row an epoch, and the rows of the methods.

    Torch's global generator is seeded at each epoch from (seed, stage, epoch), so that a loader that shuffles
    with it gives a resumed run the order of an unbroken one.

    Parameters
    ----------
    batches
        Any iterable of (inputs, targets) that can be iterated once an epoch, a `DataLoader` for one. It need
        not know its length; then the learning rate changes by the epoch, see `Recipe`.
    methods
        Hooked in order; `after_backward` in reverse order.
    validate
        Called after each epoch on the model in eval mode; its value goes to the log as ``validation``. It may
        be of any metric: ``functools.partial(accuracy, batches=..., metric=RMSE)``.
    checkpoint
        File written after each epoch and read first where it exists: training goes on after it. It belongs
        to the arguments: the network's form (not its weights, which an interrupted call leaves changed), the
        recipe, methods, loss, seed, stage and number of batches; a file of others is refused. What the
        batches hold is not compared.
    progress
        ``progress(iterable, description, total)`` wraps the steps of each epoch.

    Raises
    ------
    XbarError
        Where nothing can be trained, `batches` is empty, the loss refuses outputs and targets, or is not a
        finite number (with its epoch); for a checkpoint of other arguments, and a damaged one.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise XbarError(f"{stage}: the network has no weight to train (requires_grad is False for all)")
    optimizer = recipe.build(parameters)
    schedule = Schedule(recipe, optimizer)
    log: list[dict[str, Any]] = []
    first = 0
    kept: Checkpoint | None = None
    if checkpoint is not None:
        kept = (
            checkpoint
            if isinstance(checkpoint, Checkpoint)
            else Checkpoint(
                Path(checkpoint),
                digests_of(
                    network=form_of(model),
                    recipe=recipe,
                    methods=[found for method in methods if (found := method.arguments()) is not None],
                    loss=loss,
                    seed=seed,
                    stage=stage,
                    batches=length(batches),
                ),
            )
        )
    if kept is not None and kept.path.exists():
        first, log = _restore(kept, model, optimizer, methods)
        losses = {row["epoch"]: row["loss"] for row in reversed(log) if "loss" in row}
        schedule.go_to(losses[epoch] for epoch in range(first))
    for epoch in range(first, recipe.epochs):
        torch.manual_seed(derive_seed(seed, stage, epoch))
        model.train()
        for method in methods:
            method.begin_epoch(model, epoch)
        mean = _epoch(model, batches, schedule, epoch, methods, loss, stage, progress)
        schedule.end_epoch(mean)
        row: dict[str, Any] = {"stage": stage, "epoch": epoch, "loss": mean}
        rows = [entry for method in methods for entry in method.end_epoch(model, epoch)]
        if validate is not None:
            model.eval()
            row["validation"] = validate(model)
        log += [row, *({"stage": stage, "epoch": epoch, **entry} for entry in rows)]
        if kept is not None:
            _save(kept, model, optimizer, methods, epoch + 1, log)
    model.eval()
    return log


def _epoch(
    model: nn.Module,
    batches: BatchSource,
    schedule: Schedule,
    epoch: int,
    methods: Sequence[Method],
    loss: Loss,
    stage: str,
    progress: Progress | None,
) -> float:
    """One pass over the batches; the mean loss."""
    recipe, optimizer, total = schedule.recipe, schedule.optimizer, length(batches)
    steps: Iterable[Any] = batches
    if progress is not None:
        steps = progress(batches, f"{stage} {epoch + 1}/{recipe.epochs}", total)
    layout = memory_format(model)
    summed, count = torch.zeros(()), 0
    for step, batch in enumerate(steps):
        x, y = pair(batch, stage)
        schedule.begin_step(epoch, step, total)
        x = x.contiguous(memory_format=layout) if x.dim() == 4 else x
        for method in methods:
            method.before_forward(model)
        value = _loss(loss, model(x), y, stage)
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        for method in reversed(methods):
            method.after_backward(model)
        optimizer.step()
        for method in methods:
            method.after_step(model, optimizer)
        summed += value.detach()
        count += 1
    if not count:
        used_up = f" in epoch {epoch}: an iterator is used up after one pass; give a list or a DataLoader"
        raise XbarError(f"{stage}: the data loader gave no batch{used_up if epoch else ''}")
    mean = float(summed / count)
    if not math.isfinite(mean):
        raise XbarError(
            f"{stage}: the loss is {mean} in epoch {epoch}; lower lr (now {recipe.lr}), or rho of ADMM"
        )
    return mean


def length(batches: BatchSource) -> int:
    """Batches of an epoch; 0 where the loader does not know."""
    try:
        return len(batches) if isinstance(batches, Sized) else 0
    except TypeError:  # a DataLoader of a stream has a length that it does not know
        return 0


def _loss(loss: Loss, outputs: Any, targets: Any, stage: str) -> torch.Tensor:
    try:
        return loss(outputs, targets)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        given = [
            described(each) if isinstance(each, torch.Tensor) else type(each).__name__
            for each in (outputs, targets)
        ]
        raise XbarError(
            f"{stage}: the loss refuses outputs {given[0]} and targets {given[1]}: "
            f"{str(error).partition(chr(10))[0]}"
        ) from error


def _save(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    methods: Sequence[Method],
    epoch: int,
    log: list[dict[str, Any]],
) -> None:
    tensors = {f"model.{name}": t for name, t in model.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, t in slots.items():
            if t is not None and not isinstance(t, torch.Tensor | int | float):
                raise XbarError(
                    f"checkpoint: {type(optimizer).__name__} keeps a {type(t).__name__} ({slot!r}); only "
                    "tensors and numbers can be kept"
                )
        tensors |= {
            f"optimizer.{index}.{slot}": torch.as_tensor(t) for slot, t in slots.items() if t is not None
        }
    for i, method in enumerate(methods):
        tensors |= {f"method.{i}.{name}": t for name, t in method.state().items()}
    checkpoint.save(tensors, {"epoch": epoch, "log": log})


def _restore(
    checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer, methods: Sequence[Method]
) -> tuple[int, list[dict[str, Any]]]:
    tensors, meta = checkpoint.load()
    try:
        return _restored(tensors, meta, model, optimizer, methods)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise XbarError(
            f"{checkpoint.path}: not a checkpoint of this training ({one_line(error)}); delete it to start "
            "again"
        ) from error


def _restored(
    tensors: dict[str, torch.Tensor],
    meta: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    methods: Sequence[Method],
) -> tuple[int, list[dict[str, Any]]]:
    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}

    model.load_state_dict(part("model."))
    slots: dict[int, dict[str, torch.Tensor]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, t in part("optimizer.").items():
        index, _, slot = name.partition(".")
        parameter = parameters[int(index)]
        # Fused optimisers walk memory: a moment needs the strides of its parameter.
        slots.setdefault(int(index), {})[slot] = (
            torch.empty_like(parameter).copy_(t) if t.shape == parameter.shape else t
        )
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    for i, method in enumerate(methods):
        method.load_state(part(f"method.{i}."))
    return meta["epoch"], meta["log"]


def memory_format(model: nn.Module) -> torch.memory_format:
    """``channels_last`` where the model's convolution weights are (it is the faster one), else contiguous."""
    for p in model.parameters():
        if p.dim() == 4 and not p.is_contiguous():
            return torch.channels_last
    return torch.contiguous_format


@torch.no_grad()
def accuracy(
    model: nn.Module, batches: BatchSource, progress: Progress | None = None, *, metric: Metric = CLASSES
) -> float:
    """What a network reaches on some data, in the unit of the metric; the model is left in eval mode.

    By default the share of inputs whose largest output is their class [percent]. The value is that of all
    samples together: it does not depend on how they are split into batches.

    Parameters
    ----------
    batches
        (inputs, targets).
    progress
        As in `train`.
    metric
        One of `mapping.training.metrics`, or one of your own.

    Raises
    ------
    XbarError
        Where there is no batch, or outputs and targets are not what the metric takes.
    """
    if not isinstance(metric, Metric):
        raise XbarError(f"metric = {metric!r}: must be a mapping.Metric, such as RMSE, R2 or top_k(5)")
    model.eval()
    layout = memory_format(model)
    sums: torch.Tensor | None = None
    for batch in progress(batches, "accuracy", 0) if progress else batches:
        x, y = pair(batch, "accuracy")
        x = x.contiguous(memory_format=layout) if x.dim() == 4 else x
        of_batch = metric.of_batch(model(x), y)
        if sums is not None and sums.shape != of_batch.shape:
            raise XbarError(f"{metric.name}: batches differ in the shape of their targets")
        sums = of_batch if sums is None else sums + of_batch
    if sums is None:
        raise XbarError("accuracy: the data loader gave no batch")
    return metric.of_sums(sums)
