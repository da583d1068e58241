"""Metrics of a network: classes, top-k, pixels, two classes, regression, perplexity, or one of your own.

A metric joins statistics of batches, adding them up as a rule, and makes its value of those of all, so that
the value is that of all samples together, however they are split into batches; a mean of the values of
batches would not be.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from xbar.hardware.checks import check_number, check_whole
from xbar.hardware.errors import XbarError, one_line

BatchStatistics = Callable[[Tensor, Tensor], Tensor | Sequence[Any]]
IGNORED = -100
"""Label that does not count: what `torch.nn.functional.cross_entropy` ignores."""


_PERCENT = (0.0, 100.0)


def _added(sums: Tensor, more: Tensor) -> Tensor:
    return sums + more


@dataclass(frozen=True)
class Metric:
    """A figure of merit of a network's outputs.

    Parameters
    ----------
    name
        Begins messages.
    takes
        Shapes and types of outputs and targets, in words, for messages.
    statistics
        ``statistics(outputs, targets)`` of a batch: numbers, always as many, that the value is made of once
        those of all batches are joined. Raises `XbarError` for what does not fit.
    value
        The metric, of the joined statistics (float64).
    unit
        Unit of the value.
    higher_is_better
        Direction: true for an accuracy, false for an error.
    join
        Statistics of two parts of the samples together, of those of each: by default their sum.
    bounds
        The least and the greatest value that is possible; None: there is none.
    counts_samples
        Whether the value is the share of samples that are right, each counted once. Then the finite number of
        samples leaves it a binomial interval.
    """

    name: str
    takes: str
    statistics: BatchStatistics
    value: Callable[[Tensor], float]
    unit: str = "%"
    higher_is_better: bool = True
    join: Callable[[Tensor, Tensor], Tensor] = _added
    bounds: tuple[float | None, float | None] = (None, None)
    counts_samples: bool = False

    def better(self, one: float, other: float) -> bool:
        """Whether the first of two values is the better one."""
        return one > other if self.higher_is_better else one < other

    def of_batch(self, outputs: Any, targets: Any) -> Tensor:
        """Statistics of a batch, float64: the one door where outputs and targets are checked.

        Raises
        ------
        XbarError
            For outputs or targets that are no tensors, or do not fit; it names the ready metrics that they
            fit.
        """
        for what, given in (("outputs", outputs), ("targets", targets)):
            if not isinstance(given, Tensor):
                raise XbarError(f"{self.name}: {what} are a {type(given).__name__}; must be a tensor")
        if outputs.isnan().any():
            raise XbarError(f"{self.name}: outputs hold NaN")
        targets = targets.to(outputs.device)
        try:
            return _sums(self, outputs, targets)
        except XbarError as error:
            in_values = _fits(self, outputs, torch.zeros_like(targets))  # no other metric is a remedy
            ready = {} if in_values else READY
            fitting = [form for form, metric in ready.items() if _fits(metric, outputs, targets)]
            other = f"; metric={' or '.join(fitting)} takes these" if fitting else ""
            raise XbarError(
                f"{self.name}: outputs {described(outputs)} and targets {described(targets)}: {error}; "
                f"it takes {self.takes}{other}"
            ) from None
        except Exception as error:  # what a user's own function raises may be of any kind
            given = f"outputs {described(outputs)} and targets {described(targets)}"
            raise XbarError(f"{self.name}: {given}: {one_line(error)}") from error

    def of_sums(self, sums: Tensor) -> float:
        """The value of all batches.

        Raises
        ------
        XbarError
            For a value that is not a finite number.
        """
        try:
            found = float(self.value(sums))
        except XbarError as error:
            raise XbarError(f"{self.name}: {error}") from None
        except Exception as error:
            raise XbarError(f"{self.name}: the value: {one_line(error)}") from error
        if not math.isfinite(found):
            raise XbarError(f"{self.name}: is {found} on these data; must be a finite number")
        return found


def top_k(k: int) -> Metric:
    """Share of samples whose class is among the k largest outputs [percent].

    Raises
    ------
    XbarError
        For a k that is no whole number of at least 1; with outputs of fewer classes.
    """
    if isinstance(k, bool) or not isinstance(k, numbers.Integral) or k < 1:
        raise XbarError(f"k = {k!r}: must be a whole number, at least 1")

    def statistics(outputs: Tensor, targets: Tensor) -> Sequence[Any]:
        if outputs.dim() != 2 or targets.shape != outputs.shape[:1]:
            raise XbarError("shapes do not fit")
        targets, _ = class_numbers(targets, outputs.shape[1])
        if k > outputs.shape[1]:
            raise XbarError(f"k = {k} of {outputs.shape[1]} classes")
        if k == 1:
            return (outputs.argmax(1) == targets).sum(), len(targets)
        return (outputs.topk(k, 1).indices == targets[:, None]).sum(), len(targets)

    name = "accuracy" if k == 1 else f"top-{k} accuracy"
    takes = "outputs (N, classes) and class numbers (N,)"
    return Metric(name, takes, statistics, _percent, bounds=_PERCENT, counts_samples=True)


def pixel_classes(ignore: int = IGNORED) -> Metric:
    """Share of pixels, or other places, whose largest output is their class [percent].

    Parameters
    ----------
    ignore
        Label of places that do not count.
    """
    check_whole("ignore", ignore, -(2**63), 2**63 - 1)

    def statistics(outputs: Tensor, targets: Tensor) -> Sequence[Any]:
        if outputs.dim() < 3 or targets.shape != (outputs.shape[0], *outputs.shape[2:]):
            raise XbarError("shapes do not fit")
        targets, counted = class_numbers(targets, outputs.shape[1], ignore)
        return ((outputs.argmax(1) == targets) & counted).sum(), counted.sum()

    takes = "outputs (N, classes, places ...) and class numbers (N, places ...)"
    return Metric("pixel accuracy", takes, statistics, _percent, bounds=_PERCENT)


def mean_iou(ignore: int = IGNORED) -> Metric:
    """Intersection over union of the places of a class and those where its output is largest, the mean over
    classes [percent] (Everingham et al., doi:10.1007/s11263-014-0733-5, section 4.2).

    Places are counted over all samples. A class that is neither there nor found anywhere does not count.

    Parameters
    ----------
    ignore
        Label of places that do not count.
    """
    check_whole("ignore", ignore, -(2**63), 2**63 - 1)

    def statistics(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.dim() < 3 or targets.shape != (outputs.shape[0], *outputs.shape[2:]):
            raise XbarError("shapes do not fit")
        classes = outputs.shape[1]
        targets, counted = class_numbers(targets, classes, ignore)
        found, wanted = outputs.argmax(1)[counted], targets[counted]
        both = torch.bincount(wanted[found == wanted], minlength=classes)
        either = torch.bincount(found, minlength=classes) + torch.bincount(wanted, minlength=classes) - both
        return torch.stack([both, either])

    def value(sums: Tensor) -> float:
        both, either = sums
        there = either > 0
        _counted(float(there.sum()))
        return 100 * float((both[there] / either[there]).mean())

    takes = "outputs (N, classes, places ...) and class numbers (N, places ...)"
    return Metric("mean IoU", takes, statistics, value, bounds=_PERCENT)


def mean_over_samples(
    name: str,
    of_samples: Callable[[Tensor, Tensor], Tensor],
    *,
    unit: str,
    higher_is_better: bool,
    bounds: tuple[float | None, float | None] = (None, None),
) -> Metric:
    """The mean over samples of a figure of one's own.

    Parameters
    ----------
    name, unit, higher_is_better, bounds
        As in `Metric`.
    of_samples
        ``of_samples(outputs, targets)`` of a batch: a number a sample, (N,).
    """

    def statistics(outputs: Tensor, targets: Tensor) -> Sequence[Any]:
        try:
            found = torch.as_tensor(of_samples(outputs, targets)).double()
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise XbarError(str(error).partition("\n")[0]) from error
        if found.shape != outputs.shape[:1]:
            raise XbarError(f"gives numbers of shape {tuple(found.shape)}; must be one for each sample")
        return found.sum(), len(found)

    def value(sums: Tensor) -> float:
        return float(sums[0] / _counted(float(sums[1])))

    takes = f"what its function takes, a number a sample ({getattr(of_samples, '__name__', 'of_samples')})"
    return Metric(name, takes, statistics, value, unit, higher_is_better, bounds=bounds)


def binary(threshold: float = 0.0) -> Metric:
    """Share of answers yes or no that are right [percent]; of several questions a sample, of all answers.

    Parameters
    ----------
    threshold
        Outputs above it say yes: 0 for logits, 0.5 for probabilities.
    """

    check_number("threshold", threshold)

    def statistics(outputs: Tensor, targets: Tensor) -> Sequence[Any]:
        outputs = in_shape_of(targets, outputs)
        if not ((targets == 0) | (targets == 1)).all():
            raise XbarError("targets other than 0 or 1")
        return ((outputs > threshold) == (targets == 1)).sum(), targets.numel()

    takes = "outputs (N,), (N, 1) or (N, questions), and as many targets of 0 or 1"
    return Metric("binary accuracy", takes, statistics, _percent, bounds=_PERCENT)


def perplexity(ignore: int = IGNORED) -> Metric:
    """exp of the mean cross-entropy [nat] of the tokens that follow; the lower the better.

    Parameters
    ----------
    ignore
        Token that does not count, such as padding.
    """
    check_whole("ignore", ignore, -(2**63), 2**63 - 1)

    def statistics(outputs: Tensor, targets: Tensor) -> Sequence[Any]:
        if outputs.dim() < 2 or targets.shape != outputs.shape[:-1]:
            raise XbarError("shapes do not fit")
        targets, counted = class_numbers(targets, outputs.shape[-1], ignore)
        losses = cross_entropy(outputs[counted].float(), targets[counted], reduction="none")
        return losses.double().sum(), counted.sum()

    def value(sums: Tensor) -> float:
        return float((sums[0] / _counted(float(sums[1]))).exp())

    takes = "outputs (N, ..., tokens), the last axis all tokens there are, and token numbers (N, ...)"
    return Metric("perplexity", takes, statistics, value, "", higher_is_better=False, bounds=(1.0, None))


def _percent(sums: Tensor) -> float:
    right, count = map(float, sums)
    return 100 * right / _counted(count)


def _counted(count: float) -> float:
    if not count:
        raise XbarError("no target counts: all are to be ignored")
    return count


def _errors(outputs: Tensor, targets: Tensor) -> Sequence[Any]:
    outputs = in_shape_of(targets, outputs)
    return (outputs.double() - targets.double()).square().sum(), targets.numel()


def _moments(outputs: Tensor, targets: Tensor) -> Tensor:
    """Four numbers of each output (4, outputs): samples, mean of the targets, sum of their squared deviations
    from it, and sum of the squared errors."""
    outputs = in_shape_of(targets, outputs).double().reshape(len(targets), -1)
    targets = targets.double().reshape(outputs.shape)
    mean = targets.mean(0)
    count = torch.full_like(mean, len(targets))
    return torch.stack([count, mean, (targets - mean).square().sum(0), (outputs - targets).square().sum(0)])


def _join_moments(one: Tensor, other: Tensor) -> Tensor:
    """Moments of two parts together, without the cancellation of sums of squares (Chan, Golub and LeVeque,
    Am. Stat. 37, 242 (1983), doi:10.1080/00031305.1983.10483115)."""
    (n, mean, spread, errors), (m, its_mean, its_spread, its_errors) = one, other
    apart = its_mean - mean
    joined = spread + its_spread + apart.square() * n * m / (n + m)
    return torch.stack([n + m, mean + apart * m / (n + m), joined, errors + its_errors])


def _explained(moments: Tensor) -> float:
    count, mean, spread, errors = moments
    rounding = 16 * torch.finfo(torch.float64).eps * mean
    if (spread <= count * rounding.square()).any():
        raise XbarError("the targets of an output are all alike, or nearly so: nothing is there to explain")
    return float((1 - errors / spread).mean())


_AS_MANY = "outputs and targets, numbers, of one shape; (N,) and (N, 1) count as one"

CLASSES = top_k(1)
"""Share of samples whose largest output is their class [percent]: what is measured by default."""
BINARY = binary()
"""Share of logits on the right side of 0 [percent]."""
RMSE = Metric(
    "RMSE",
    _AS_MANY,
    _errors,
    lambda sums: float((sums[0] / _counted(float(sums[1]))).sqrt()),
    unit="that of the targets",
    higher_is_better=False,
    bounds=(0.0, None),
)
"""Root of the mean squared error over all samples and outputs, in the unit of the targets."""
R2 = Metric("R2", _AS_MANY, _moments, _explained, unit="", join=_join_moments, bounds=(None, 1.0))
"""Coefficient of determination, 1 - sum of squared errors / that of the targets about their mean; of several
outputs the mean."""

READY = {
    "CLASSES": CLASSES,
    "pixel_classes()": pixel_classes(),
    "mean_iou()": mean_iou(),
    "binary()": BINARY,
    "RMSE": RMSE,
    "R2": R2,
    "perplexity()": perplexity(),
}
"""Metrics that a message may name, as they are written in Python."""


def _sums(metric: Metric, outputs: Tensor, targets: Tensor) -> Tensor:
    found = metric.statistics(outputs, targets)
    parts = found if isinstance(found, Tensor) else [torch.as_tensor(part).cpu() for part in found]
    return torch.as_tensor(parts, dtype=torch.float64).cpu()


def _fits(metric: Metric, outputs: Tensor, targets: Tensor) -> bool:
    try:
        _sums(metric, outputs, targets)
    except XbarError:
        return False
    return True


def class_numbers(targets: Tensor, classes: int, ignore: int | None = None) -> tuple[Tensor, Tensor]:
    """Targets as int64, in which no `ignore` is the class of a smaller type, and which of them count."""
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise XbarError(f"targets are no whole numbers, but {targets.dtype}; class numbers must be int64")
    if classes < 2:
        raise XbarError("a single output has no classes to choose from")
    targets = targets.long()
    counted = torch.ones_like(targets, dtype=torch.bool) if ignore is None else targets != ignore
    found = targets[counted]
    if found.numel() and not (found.min() >= 0 and found.max() < classes):
        raise XbarError(
            f"class numbers from {int(found.min())} to {int(found.max())}; "
            f"must lie between 0 and {classes - 1}"
            + ("" if ignore is None else f", or be {ignore} where they do not count (void)")
        )
    return targets, counted


def in_shape_of(targets: Tensor, outputs: Tensor) -> Tensor:
    """Outputs in the shape of the targets, where both differ by an axis of length 1 at most."""
    if not outputs.is_floating_point() or targets.is_complex():
        raise XbarError("not real numbers")
    for axis in (1, -1):
        if outputs.shape == targets.shape:
            return outputs
        more, fewer = (outputs, targets) if outputs.dim() > targets.dim() else (targets, outputs)
        if more.dim() == fewer.dim() + 1 and more.dim() > 1 and more.squeeze(axis).shape == fewer.shape:
            return outputs.reshape(targets.shape)
    raise XbarError("shapes do not fit")


def described(tensor: Tensor) -> str:
    """Shape and type, for messages."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
