"""Losses by name, each a mean over a batch: of classes, tokens, answers yes or no, and regression."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from mapping.training.metrics import IGNORED, class_numbers, in_shape_of
from mapping.training.objective import Loss
from xbar.hardware.errors import XbarError


def token_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy [nat] of tokens: outputs (N, ..., tokens) and token numbers (N, ...), of which -100
    does not count."""
    if outputs.shape[:-1] != targets.shape:
        raise XbarError("token-cross-entropy: takes outputs (N, ..., tokens) and token numbers (N, ...)")
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy [nat] of answers yes or no: logits and as many targets of 0 to 1."""
    return functional.binary_cross_entropy_with_logits(in_shape_of(targets, outputs), targets.float())


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error over all samples and outputs; (N,) and (N, 1) count as one shape."""
    return functional.mse_loss(in_shape_of(targets, outputs), targets.float())


def mean_absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute error over all samples and outputs; (N,) and (N, 1) count as one shape."""
    return functional.l1_loss(in_shape_of(targets, outputs), targets.float())


def huber(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean of Huber's loss (doi:10.1214/aoms/1177703732), squared up to an error of 1, absolute beyond."""
    return functional.huber_loss(in_shape_of(targets, outputs), targets.float())


def check_targets(loss: Loss, outputs: Tensor, targets: Tensor) -> None:
    """Refuse targets of the right shape that a loss of this module does not mean.

    Raises
    ------
    XbarError
        For class or token numbers that are none, but for the -100 of places that do not count, and for
        answers that are not from 0 to 1. A loss of one's own decides for itself.
    """
    axis = {functional.cross_entropy: 1, token_cross_entropy: -1}.get(loss)
    if axis is not None and outputs.dim() > 1 and not targets.is_floating_point():
        classes = outputs.shape[axis]
        if outputs.movedim(axis, -1).shape[:-1] == targets.shape:
            class_numbers(targets, classes, IGNORED)
    elif loss is binary_cross_entropy and not targets.is_complex():
        low, high = float(targets.min()), float(targets.max())
        if low < 0 or high > 1:
            raise XbarError(f"targets from {low:g} to {high:g}; must lie between 0 and 1")


LOSSES: dict[str, Loss] = {
    "cross-entropy": functional.cross_entropy,
    "token-cross-entropy": token_cross_entropy,
    "binary-cross-entropy": binary_cross_entropy,
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
    "huber": huber,
}
"""Losses that a study may name. ``cross-entropy`` takes classes in the second axis of the outputs: of samples
(N, classes) or of places (N, classes, places ...)."""
