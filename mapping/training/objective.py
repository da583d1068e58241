"""The loss of a batch, with mixed inputs, in a precision of choice, and with the loss to a teacher added."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from mapping.network.inputs import Inputs, call, tensors_of
from mapping.network.modules import copy_of
from mapping.recipes.options import Cutout, Distillation, Mixup, TrainingOptions
from mapping.training.metrics import described
from xbar.hardware.errors import XbarError, one_line

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class BatchLoss:
    """The loss that a training minimises, as a function of network and batch.

    Parameters
    ----------
    loss
        A function of outputs and targets that gives a mean over inputs.
    teacher
        Network whose outputs are followed; a copy of it is taken, in eval mode.
    stage
        Begins the messages.

    Raises
    ------
    XbarError
        For label smoothing of another loss than the cross-entropy, distillation without a teacher, and a
        teacher without distillation.
    """

    def __init__(self, options: TrainingOptions, loss: Loss, teacher: nn.Module | None, stage: str) -> None:
        self.options, self.stage = options, stage
        if options.label_smoothing and loss is not functional.cross_entropy:
            raise XbarError(
                f"label_smoothing = {options.label_smoothing}: acts on the cross-entropy of "
                "torch.nn.functional only; a loss of your own smooths its labels itself"
            )
        if options.distillation is not None and teacher is None:
            raise XbarError("distillation: needs the network that is followed; give it with teacher=")
        if options.distillation is None and teacher is not None:
            raise XbarError("teacher: has an effect with a recipe whose options have a Distillation only")
        self.loss = (
            functools.partial(functional.cross_entropy, label_smoothing=options.label_smoothing)
            if options.label_smoothing
            else loss
        )
        self.teacher = None if teacher is None else copy_of(teacher).eval().requires_grad_(False)

    def __call__(self, model: nn.Module, x: Inputs, y: Any) -> torch.Tensor:
        """The loss of a network on a batch."""
        x, targets = mixed(self.options.mixing, x, y, self.stage)
        outputs = self._outputs(model, x)
        (share, first), *others = targets
        value = share * self._loss(outputs, first)
        for share, other in others:
            value = value + share * self._loss(outputs, other)
        if self.teacher is None or self.options.distillation is None:
            return value
        with torch.no_grad():
            wanted = self._outputs(self.teacher, x)
        part = self.options.distillation.weight
        return (1 - part) * value + part * distilled(outputs, wanted, self.options.distillation, self.stage)

    def _outputs(self, model: nn.Module, x: Inputs) -> Any:
        """Outputs of a network, in float32."""
        if self.options.precision == "fp32":
            return call(model, x)
        with torch.autocast(tensors_of(x)[0].device.type, torch.bfloat16):
            y = call(model, x)
        return y.float() if isinstance(y, torch.Tensor) else y

    def _loss(self, outputs: Any, targets: Any) -> torch.Tensor:
        try:
            found = self.loss(outputs, targets)
        except Exception as error:  # what a user's own loss raises may be of any kind
            why = str(error) if isinstance(error, XbarError) else one_line(error)
            given = [
                described(each) if isinstance(each, torch.Tensor) else type(each).__name__
                for each in (outputs, targets)
            ]
            raise XbarError(
                f"{self.stage}: the loss refuses outputs {given[0]} and targets {given[1]}: {why}"
            ) from error
        if not isinstance(found, torch.Tensor):
            raise XbarError(
                f"{self.stage}: the loss gives a {type(found).__name__}; must be one number in a tensor"
            )
        return found


def mixed(
    mixing: Mixup | Cutout | None, x: Inputs, y: Any, stage: str
) -> tuple[Inputs, list[tuple[float, Any]]]:
    """Inputs of a batch after mixing, and its targets with their shares of the loss.

    Draws come from torch's global generator.
    """
    if mixing is None:
        return x, [(1.0, y)]
    if not isinstance(x, torch.Tensor):
        kind = type(mixing).__name__
        raise XbarError(f"{stage}: {kind}: inputs are a {type(x).__name__}; must be one tensor")
    if isinstance(mixing, Mixup):
        if not isinstance(y, torch.Tensor):
            raise XbarError(f"{stage}: Mixup: targets are a {type(y).__name__}; must be a tensor")
        if not x.is_floating_point():
            raise XbarError(f"{stage}: Mixup: inputs are {described(x)}; must be floating point")
        share = float(torch.distributions.Beta(mixing.alpha, mixing.alpha).sample())
        other = torch.randperm(len(x)).to(x.device)
        return share * x + (1 - share) * x[other], [(share, y), (1 - share, y[other])]
    return cut_out(x, mixing.size, stage), [(1.0, y)]


def cut_out(x: torch.Tensor, size: int, stage: str) -> torch.Tensor:
    """Images (N, C, H, W) with a square of zeros around a random pixel of each."""
    if x.dim() != 4:
        raise XbarError(f"{stage}: Cutout: inputs are {described(x)}; must be images, (N, C, H, W)")
    inside = []
    for axis in (2, 3):
        first = torch.randint(0, x.shape[axis], (len(x), 1)) - size // 2
        at = torch.arange(x.shape[axis])
        inside.append((at >= first) & (at < first + size))
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x.masked_fill(square.to(x.device), 0.0)


def distilled(outputs: Any, wanted: Any, how: Distillation, stage: str) -> torch.Tensor:
    """``T^2 KL(p || q)``, the mean over inputs, of the softmax p of what is wanted, q of the outputs, over
    T."""
    for each in (outputs, wanted):
        if not isinstance(each, torch.Tensor) or each.dim() < 2 or each.shape[1] < 2:
            found = described(each) if isinstance(each, torch.Tensor) else f"a {type(each).__name__}"
            raise XbarError(f"{stage}: distillation: outputs are {found}; must be of classes, (N, C, ...)")
    if outputs.shape != wanted.shape:
        raise XbarError(
            f"{stage}: distillation: the teacher gives {described(wanted)}, the network {described(outputs)}"
        )
    log_q = functional.log_softmax(outputs / how.temperature, 1)
    log_p = functional.log_softmax(wanted / how.temperature, 1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(1)
    return how.temperature**2 * divergence.mean()
