"""The loss and the metric of a study, by a name or from a user's file, ``path/file.py:name``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from experiments.inputs.batches import taken
from experiments.inputs.data import Dataset
from experiments.studies.own_code import from_own_file, own_file
from mapping.network.inputs import call, shapes_of
from mapping.recipes.options import TrainingOptions
from mapping.training.losses import LOSSES, check_targets
from mapping.training.metrics import (
    BINARY,
    CLASSES,
    R2,
    READY,
    RMSE,
    Metric,
    described,
    mean_iou,
    perplexity,
    pixel_classes,
    top_k,
)
from mapping.training.objective import BatchLoss, Loss
from xbar.hardware.errors import XbarError, naming, one_line, unknown_name

METRICS = {
    "accuracy": CLASSES,
    "top-5": top_k(5),
    "pixel-accuracy": pixel_classes(),
    "mean-iou": mean_iou(),
    "binary": BINARY,
    "rmse": RMSE,
    "r2": R2,
    "perplexity": perplexity(),
}
"""Metrics that a study may name; ``top-K`` of any other K too."""
CHECKED_AT_ONCE = 256
"""Targets that are held against outputs at a time."""
TOP = re.compile(r"top-([1-9]\d{0,5})")


@dataclass(frozen=True, eq=False)
class Measures:
    """The loss of a study's trainings, and the metric of its networks and chips.

    Parameters
    ----------
    source
        What of them the ids of stages hold, beside the digests of files.
    """

    loss: Loss
    metric: Metric
    source: Mapping[str, str] = field(default_factory=dict)


def measures_of(loss: str, metric: str, source: Mapping[str, str]) -> Measures:
    """Loss and metric by their names; errors as those of `loss_of` and `metric_of`."""
    return Measures(loss_of(loss), metric_of(metric), source)


def loss_of(name: str) -> Loss:
    """A loss by name, or a function of a user's file, ``loss(outputs, targets)``, a mean over the batch.

    Raises
    ------
    XbarError
        For an unknown name, and what `from_own_file` refuses; for what cannot be called with two arguments.
    """
    if own_file(name) is None:
        _check_has_name("loss", name)
        if name not in LOSSES:
            raise unknown_name("loss (or path/file.py:function)", name, LOSSES)
        return LOSSES[name]
    found: Loss = from_own_file("loss", name)
    if not _takes_two(found):
        raise XbarError(f"loss {name}: must be a function loss(outputs, targets), a mean over the batch")
    return found


def metric_of(name: str) -> Metric:
    """A metric by name, or a `mapping.Metric` of a user's file, or what a function without arguments gives.

    Raises
    ------
    XbarError
        For an unknown name, and what `from_own_file` refuses; for what is no metric.
    """
    if own_file(name) is None:
        _check_has_name("metric", name)
        top = TOP.fullmatch(name)
        if name not in METRICS and top is None:
            raise unknown_name("metric (or path/file.py:name)", name, METRICS)
        return top_k(int(top[1])) if top else METRICS[name]

    def use(found: Any) -> Any:
        is_builder = callable(found) and not isinstance(found, Metric) and not _parameters(found)
        return found() if is_builder else found

    found = from_own_file("metric", name, use)
    if isinstance(found, Metric):
        return found
    short = name.rpartition(":")[2]
    how = f"{short} = mapping.mean_over_samples('name', function, unit='', higher_is_better=True)"
    raise XbarError(
        f"metric {name}: a {type(found).__name__}; must be a mapping.Metric, which has a name and a "
        f"direction; of a function that gives a number a sample: {how}"
    )


def _check_has_name(key: str, name: str) -> None:
    if name.endswith(".py"):
        raise XbarError(f"{key} {name}: must name what it is in the file: {name}:NAME")


def check_options(measures: Measures, options: TrainingOptions) -> None:
    """Refuse options of a training that do not fit its loss or metric.

    Raises
    ------
    XbarError
        For epochs that are kept where the metric is worst, and for label smoothing and distillation with
        another loss than the cross-entropy of classes.
    """
    metric = measures.metric
    fitting = "highest" if metric.higher_is_better else "lowest"
    if options.keep not in ("last", fitting):
        raise XbarError(
            f"train.options.keep = {options.keep!r}: validation is by {metric.name}, the "
            f"{'higher' if metric.higher_is_better else 'lower'} the better; allowed: last, {fitting}"
        )
    of_classes = measures.loss is functional.cross_entropy
    for key, is_on in (("label_smoothing", options.label_smoothing), ("distillation", options.distillation)):
        if is_on and not of_classes:
            raise XbarError(f"train.options.{key}: acts on loss = 'cross-entropy' only")


def check_threshold(metric: Metric, threshold: float | None) -> None:
    """Refuse a threshold that is no value of the metric.

    Raises
    ------
    XbarError
        For one beyond the metric's bounds.
    """
    low, high = metric.bounds
    if threshold is None or ((low is None or threshold >= low) and (high is None or threshold <= high)):
        return
    ends = [f"{word} {end:g}" for word, end in (("at least", low), ("at most", high)) if end is not None]
    raise XbarError(
        f"chips.threshold = {threshold:g}: no chip's {metric.name} can be that; must be {' and '.join(ends)}"
    )


def check_fits(network: str, model: nn.Module, data: Dataset, measures: Measures) -> None:
    """Refuse a network that does not take the data, and outputs and targets that loss and metric do not take.

    Targets of all parts are held against the outputs of one input.

    Raises
    ------
    XbarError
        For the first of them.
    """
    outputs = check_metric_fits(network, model, data, measures.metric)
    for where, given, targets in _parts(f"network {network} on {data.name}", outputs, data):
        loss = _loss_of_batch(measures.loss, where, given, targets)
        if loss.dim() or not loss.is_floating_point():
            raise XbarError(
                f"{where}: the loss gives a {described(loss)}; must be one number, a mean over the batch"
            )


def _loss_of_batch(loss: Loss, where: str, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss of a batch; where it takes no such outputs and targets, losses that do are named."""
    name = next((name for name, each in LOSSES.items() if each is loss), "")
    with naming(f"{where}: loss = {name!r}"):
        check_targets(loss, outputs, targets)
    try:
        return BatchLoss(TrainingOptions(), loss, None, where)(nn.Identity(), outputs, targets)
    except XbarError as error:
        fitting = [repr(name) for name, each in LOSSES.items() if _takes(each, outputs, targets)]
        named = f"; this is loss = {name!r}" if name else ""
        offered = f"; loss = {' or '.join(fitting)} takes these" if fitting else ""
        raise XbarError(f"{error}{named}{offered}") from error.__cause__


def _takes(loss: Loss, outputs: torch.Tensor, targets: torch.Tensor) -> bool:
    try:
        return loss(outputs, targets).dim() == 0
    except Exception:  # torch refuses by errors of many kinds
        return False


def check_metric_fits(network: str, model: nn.Module, data: Dataset, metric: Metric) -> torch.Tensor:
    """The outputs of a network for one input, checked as `check_fits` does, without the loss."""
    example = taken(data.train_x, slice(0, 1))
    needs = _several_inputs(model)
    try:
        with torch.no_grad():
            outputs = call(model.eval(), example)
    except Exception as error:  # what a user's own forward raises may be of any kind
        several = (
            ""
            if needs is None or isinstance(example, tuple | dict)
            else (
                f"; forward takes {needs}: a network of several inputs takes data whose inputs are a tuple "
                "or a dict of tensors (data = path/file.py:function)"
            )
        )
        raise XbarError(
            f"network {network} does not take inputs of {data.name} ({shapes_of(example)}): "
            f"{one_line(error)}{several}"
        ) from error
    if not isinstance(outputs, torch.Tensor):
        raise XbarError(f"network {network} gives a {type(outputs).__name__}; must be one tensor")
    if metric is CLASSES and data.classes and outputs.shape != (1, len(data.classes)):
        first = min(int(each.min()) for each in (data.train_y, data.val_y, data.test_y))
        begins = f" (numbers from {first}, and classes begin at 0)" if first > 0 else ""
        raise XbarError(
            f"network {network} gives {tuple(outputs.shape[1:])} outputs, {data.name} has "
            f"{len(data.classes)} classes{begins}"
        )
    sums: dict[str, torch.Tensor] = {}
    for where, given, targets in _parts(f"network {network} on {data.name}", outputs, data):
        try:
            found = metric.of_batch(given, targets)
        except XbarError as error:
            raise XbarError(f"{where}: {_in_names_of_studies(str(error))}") from error.__cause__
        before = next(reversed(sums.values()), found)
        if before.shape != found.shape:
            raise XbarError(
                f"{where}: {metric.name}: statistics of shape {tuple(found.shape)}, those of another batch "
                f"are {tuple(before.shape)}; must be of one shape, however many samples a batch has"
            )
        try:
            sums[where] = metric.join(sums[where], found) if where in sums else found
        except Exception as error:
            raise XbarError(f"{where}: {metric.name}: join: {one_line(error)}") from error
    for where, of_part in sums.items():
        with naming(f"{where}: {metric.name}"):
            _check_value(metric, of_part)
    return outputs


def _several_inputs(model: nn.Module) -> str | None:
    """Names of what the forward of a network needs, where that is more than one input."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return None
    fixed = [
        each.name for each in parameters if each.default is each.empty and each.kind < each.VAR_POSITIONAL
    ]
    return ", ".join(fixed) if len(fixed) > 1 else None


def _check_value(metric: Metric, sums: torch.Tensor) -> None:
    """Refuse targets of which there is no value, whatever the outputs are, and what is no number.

    The outputs are all alike. A metric of the user's own, such as a correlation, may have no value there.
    """
    try:
        found = metric.value(sums)
    except (XbarError, ArithmeticError, ValueError):
        if getattr(metric.value, "__module__", "") == Metric.__module__:
            raise
        return
    except Exception as error:  # what a user's own function raises may be of any kind
        raise XbarError(one_line(error)) from error
    try:
        float(found)
    except Exception as error:
        raise XbarError(f"the value is a {type(found).__name__}; must be a number") from error


def _in_names_of_studies(message: str) -> str:
    """A message of a metric, the ready ones that it names called as a study calls them."""
    start, there, forms = message.partition("; metric=")
    if not there:
        return message
    by_title = {metric.name: name for name, metric in METRICS.items()}
    named = [by_title[READY[form].name] for form in forms.removesuffix(" takes these").split(" or ")]
    return f"{start}; metric = {' or '.join(map(repr, named))} takes these"


def _parts(
    where: str, outputs: torch.Tensor, data: Dataset
) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Targets of all parts, some at a time, with as many outputs like those of one input; where they are."""
    for part, targets in (("train", data.train_y), ("validation", data.val_y), ("test", data.test_y)):
        for some in torch.split(targets, CHECKED_AT_ONCE):
            yield f"{where}, {part}", outputs.expand(len(some), *outputs.shape[1:]), some


def _parameters(found: Any) -> int:
    try:
        return len(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        return 2


def _takes_two(found: Any) -> bool:
    if not callable(found):
        return False
    try:
        inspect.signature(found).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # a function without a signature, such as one written in C
        return True
    return True
