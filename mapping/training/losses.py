"""Losses by name, each a mean over a batch: of classes, tokens, answers yes or no, and regression."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from mapping.training.metrics import in_shape_of
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
