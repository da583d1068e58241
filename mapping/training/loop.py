"""The one training loop. Methods (ADMM, masks, levels) hook into its steps; it knows none of them."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from mapping.network.inputs import (
    Inputs,
    call,
    device_of,
    each_tensor,
    is_inputs,
    length_of,
    sent,
    tensors_of,
)
from mapping.network.modules import in_eval_mode
from mapping.recipes.recipe import Recipe, undecayed
from mapping.recipes.schedule import Schedule
from mapping.training.arguments import digests_of, form_of
from mapping.training.averaging import Average
from mapping.training.checkpoints import Checkpoint
from mapping.training.method import Method
from mapping.training.metrics import CLASSES, Metric
from mapping.training.objective import BatchLoss, Loss
from mapping.training.selection import EpochSelection
from mapping.training.state import Log, Place, TrainingState
from xbar.hardware.checks import check_kind, check_whole
from xbar.hardware.errors import XbarError

BatchSource = Iterable[tuple[Inputs, torch.Tensor]]
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]


def pair(batch: Any, who: str) -> tuple[Inputs, Any]:
    """Inputs and targets of a batch; `who` begins the message.

    Raises
    ------
    XbarError
        For a batch that is no pair, or holds no input.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not is_inputs(batch[0]):
        raise XbarError(
            f"{who}: the data loader gave a {type(batch).__name__}; must be pairs (inputs, targets), "
            "inputs a tensor, or a tuple, list or dict of tensors"
        )
    if not all(x.numel() for x in tensors_of(batch[0])):
        raise XbarError(f"{who}: the data loader gave a batch without an input")
    return batch[0], batch[1]


def placed(inputs: Inputs, device: torch.device, layout: torch.memory_format) -> Inputs:
    """Inputs on a device, each batch of pictures in a memory format."""

    return each_tensor(
        lambda x: x.contiguous(memory_format=layout) if x.dim() == 4 else x, sent(inputs, device)
    )


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
    teacher: nn.Module | None = None,
    seed: int = 0,
    stage: str = "train",
    validate: Callable[[nn.Module], float] | None = None,
    checkpoint: Path | Checkpoint | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place, on the device where it is, and return the log: one row an epoch, and the rows
    of the methods.

    Torch's global generator is seeded at each epoch from (seed, stage, epoch), so that a loader that shuffles
    with it gives a resumed run the order of an unbroken one.

    Parameters
    ----------
    batches
        Any iterable of (inputs, targets) that can be iterated once an epoch, a `DataLoader` for one. Inputs
        are a tensor, or a tuple, list or dict of what the network is called with; they, and the targets, go
        to the network's device. The loader need not know
        its length; then the learning rate changes by the epoch, see `Recipe`.
    methods
        Hooked in order; `after_backward` in reverse order.
    teacher
        For a recipe with `Distillation`, the network whose outputs are followed, such as the float network
        before it was compressed. A copy is taken.
    validate
        Called after each epoch on the model in eval mode; its value goes to the log as ``validation``. It may
        be of any metric: ``functools.partial(accuracy, batches=..., metric=RMSE)``.
    checkpoint
        File written after each epoch, and within long ones (`Checkpoint.every_s`), and read first where it
        exists: training goes on after it, to the bits of an unbroken one. Within an epoch, batches that were
        done are loaded and passed by. It belongs to the arguments: the network's form (not its weights, which
        an interrupted call leaves changed), the recipe, methods, loss, teacher, seed, stage and number of
        batches; a file of others is refused. What the batches hold is not compared.
    progress
        ``progress(iterable, description, total)`` wraps the steps of each epoch.

    Raises
    ------
    XbarError
        Where nothing can be trained, `batches` is empty, the loss refuses outputs and targets, or is not a
        finite number (with its epoch); for options that lack what they need; for a checkpoint of other
        arguments, and a damaged one.
    """
    check_kind("model", model, nn.Module)
    check_kind("recipe", recipe, Recipe)
    check_whole("seed", seed, -(2**63), 2**63 - 1)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise XbarError(f"{stage}: the network has no weight to train (requires_grad is False for all)")
    if recipe.options.keep != "last" and validate is None:
        raise XbarError(f"keep = {recipe.options.keep!r}: needs a validation; give validate=")
    objective = BatchLoss(recipe.options, loss, teacher, stage)
    spared = undecayed(model) if recipe.decayed == "weights" else ()
    average = None if recipe.options.ema is None else Average(model, recipe.options.ema)
    state = TrainingState(
        model=model,
        optimizer=recipe.build(parameters, spared),
        methods=[*methods, *([] if average is None else [average])],
        selection=EpochSelection(recipe.options),
    )
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        belongs = digests_of(
            network=form_of(model),
            recipe=recipe,
            methods=[found for method in methods if (found := method.arguments()) is not None],
            loss=loss,
            teacher=teacher,
            seed=seed,
            stage=stage,
            batches=length(batches),
        )
        checkpoint = Checkpoint(Path(checkpoint), belongs)
    return _Loop(
        state, batches, recipe, objective, average, seed, stage, validate, checkpoint, progress
    ).run()


@dataclass
class _Loop:
    """The loop of `train`, over epochs and steps."""

    state: TrainingState
    batches: BatchSource
    recipe: Recipe
    objective: BatchLoss
    average: Average | None
    seed: int
    stage: str
    validate: Callable[[nn.Module], float] | None
    kept: Checkpoint | None
    progress: Progress | None

    def __post_init__(self) -> None:
        self.model, self.methods = self.state.model, self.state.methods
        self.schedule = Schedule(self.recipe, self.state.optimizer)
        self.total = length(self.batches)
        self.device, self.layout = device_of(self.model), memory_format(self.model)
        self.inputs = 0
        """Inputs whose gradients a step has so far."""
        self.saved = time.monotonic()

    def run(self) -> Log:
        """Train from where the checkpoint is, or from the beginning; the log."""
        state = self.state
        if self.kept is not None and self.kept.path.exists():
            state.restore(self.kept)
            losses = {row["epoch"]: row["loss"] for row in reversed(state.log) if "loss" in row}
            self.schedule.go_to(losses[epoch] for epoch in range(state.place.epoch))
        while state.place.epoch < self.recipe.epochs and not state.selection.is_over:
            self._epoch(state.place.epoch)
            self._save()
        return self._finish()

    def _epoch(self, epoch: int) -> None:
        """One epoch, or the rest of it: its steps, and its rows of the log."""
        torch.manual_seed(derive_seed(self.seed, self.stage, epoch))
        self.model.train()
        for method in self.methods:
            method.begin_epoch(self.model, epoch)
        mean = self._steps(epoch)
        self.schedule.end_epoch(mean)
        row: dict[str, Any] = {"stage": self.stage, "epoch": epoch, "loss": mean}
        rows = [entry for method in self.methods for entry in method.end_epoch(self.model, epoch)]
        if self.validate is not None:
            row["validation"] = self._validation(self.validate, epoch)
        own = {"stage": self.stage, "epoch": epoch}
        self.state.log += [row, *({**own, **entry} for entry in rows)]
        self.state.place = Place(epoch + 1)

    def _steps(self, epoch: int) -> float:
        """Steps over the batches of an epoch that are not done; the mean loss of all."""
        place, group = self.state.place, self.recipe.options.accumulate
        for batch in self._batches(place):
            x, y = pair(batch, self.stage)
            if not self.inputs:
                self._begin_step(epoch)
            place.summed = place.summed + self._add_gradient(x, y)
            place.batch += 1
            if place.batch % group == 0:
                self._end_step()
                self._save_within()
        if self.inputs:
            self._end_step()
        if not place.batch:
            used_up = f" in epoch {epoch}: an iterator is used up after one pass; give a list or a DataLoader"
            raise XbarError(f"{self.stage}: the data loader gave no batch{used_up if epoch else ''}")
        mean = float(place.summed / place.batch)
        if not math.isfinite(mean):
            raise XbarError(
                f"{self.stage}: the loss is {mean} in epoch {epoch}; lower lr (now {self.recipe.lr}), or rho "
                "of ADMM"
            )
        return mean

    def _batches(self, place: Place) -> Iterator[Any]:
        """The batches of an epoch that are not done yet."""
        found: Iterable[Any] = self.batches
        if self.progress is not None:
            what = f"{self.stage} {place.epoch + 1}/{self.recipe.epochs}"
            found = self.progress(found, what, self.total)
        left = iter(found)
        if place.generator is not None:
            for _ in itertools.islice(left, place.batch):
                pass
            torch.set_rng_state(place.generator)
        return left

    def _begin_step(self, epoch: int) -> None:
        """Set the learning rate, and let methods prepare the forward passes."""
        self.schedule.begin_step(epoch, self.state.place.batch, self.total)
        for method in self.methods:
            method.before_forward(self.model)

    def _add_gradient(self, x: Inputs, y: Any) -> torch.Tensor:
        """Add the gradient of a batch to that of the step; its loss."""
        x = placed(x, self.device, self.layout)
        y = tree_map_only(torch.Tensor, lambda t: t.to(self.device, non_blocking=True), y)
        value, count = self.objective(self.model, x, y), length_of(x)
        if not self.inputs:
            # Not before the forward pass: memory freed there goes back to the system, and is asked for again.
            self.state.optimizer.zero_grad(set_to_none=True)
        of_sum = count * value if self.recipe.options.accumulate > 1 else value
        of_sum.backward()  # type: ignore[no-untyped-call]
        self.inputs += count
        return value.detach()

    def _end_step(self) -> None:
        """Move the weights."""
        optimizer = self.state.optimizer
        if self.recipe.options.accumulate > 1:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad /= self.inputs
        for method in reversed(self.methods):
            method.after_backward(self.model)
        optimizer.step()
        for method in self.methods:
            method.after_step(self.model, optimizer)
        self.inputs = 0

    def _validation(self, validate: Callable[[nn.Module], float], epoch: int) -> float:
        """Validation of the network as it would be kept now, which the selection may keep."""
        shown = nullcontext() if self.average is None else self.average.shown(self.model, self.methods)
        with shown:
            self.model.eval()
            value = validate(self.model)
            if self.recipe.options.keep != "last" and all(
                method.may_end(epoch, self.recipe.epochs) for method in self.methods
            ):
                self.state.selection.judge(self.model, epoch, value)
        return value

    def _save(self) -> None:
        if self.kept is not None:
            self.state.save(self.kept)
            self.saved = time.monotonic()

    def _save_within(self) -> None:
        """Write a checkpoint within an epoch where the last one is old enough."""
        if self.kept is not None and time.monotonic() - self.saved >= self.kept.every_s:
            self.state.place.generator = torch.get_rng_state()
            self._save()

    def _finish(self) -> Log:
        """Leave the network that the training keeps; the log."""
        selection, log = self.state.selection, self.state.log
        if selection.network:
            self.model.load_state_dict(selection.network)
            log = [*log, {"stage": self.stage, "epoch": selection.epoch, "best_validation": selection.best}]
        elif self.average is not None:
            self.average.put_into(self.model, self.methods)
        self.model.eval()
        return log


def length(batches: BatchSource) -> int:
    """Batches of an epoch; 0 where the loader does not know."""
    try:
        return len(batches) if isinstance(batches, Sized) else 0
    except TypeError:  # a DataLoader of a stream has a length that it does not know
        return 0


def memory_format(model: nn.Module) -> torch.memory_format:
    """``channels_last`` where the model's convolution weights are (it is the faster one), else contiguous."""
    last = any(has_channels_last(p) for p in model.parameters())
    return torch.channels_last if last else torch.contiguous_format


def has_channels_last(x: torch.Tensor) -> bool:
    """Whether the channels of pictures, or of their kernels, lie last in memory; of one channel, as torch
    takes it, the strides say so."""
    if x.dim() != 4 or not x.is_contiguous(memory_format=torch.channels_last):
        return False
    return not x.is_contiguous() or (x.stride(1) == 1 and x.shape[2] * x.shape[3] > 1)


@torch.no_grad()
def accuracy(
    model: nn.Module, batches: BatchSource, progress: Progress | None = None, *, metric: Metric = CLASSES
) -> float:
    """Measure a network on some data, in the unit of the metric. It runs in eval mode, and is left as it was.

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
        called = getattr(metric, "__name__", "") or "top_k"
        meant = f"did you mean {called}(...)? " if callable(metric) else ""
        said = called if callable(metric) else repr(metric)
        raise XbarError(f"metric = {said}: {meant}must be a mapping.Metric, such as RMSE, R2 or top_k(5)")
    device, layout = device_of(model), memory_format(model)
    sums: torch.Tensor | None = None
    with in_eval_mode(model):
        for batch in progress(batches, "accuracy", 0) if progress else batches:
            x, y = pair(batch, "accuracy")
            x = placed(x, device, layout)
            of_batch = metric.of_batch(call(model, x), y)
            if sums is not None and sums.shape != of_batch.shape:
                raise XbarError(f"{metric.name}: batches differ in the shape of their targets")
            sums = of_batch if sums is None else metric.join(sums, of_batch)
    if sums is None:
        raise XbarError("accuracy: the data loader gave no batch")
    return metric.of_sums(sums)
