"""Data of any kind in parts: inputs and targets, checked and split, with a checksum of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_structure

from experiments.inputs.batches import taken
from experiments.inputs.data import Dataset, split_off
from mapping.network.inputs import Inputs, each_tensor, tensors_of
from mapping.training.metrics import IGNORED, described
from xbar.hardware.errors import XbarError

MOST_CLASSES = 100_000
"""Larger whole numbers are no classes without names of their own, such as identity numbers or counts."""


class DataPart(NamedTuple):
    """Inputs and targets of a part of the data, one after the other along their first axes.

    ``where`` begins messages.
    """

    where: str
    inputs: Inputs
    targets: torch.Tensor

    @property
    def pair(self) -> tuple[Inputs, torch.Tensor]:
        """Inputs and targets."""
        return self.inputs, self.targets

    def checked(self) -> DataPart:
        """The part with its tensors in the types that networks take: float32 and int64.

        Raises
        ------
        XbarError
            For inputs and targets of different number, or none, for NaN and infinities, and for numbers that
            these types do not hold.
        """
        tensors, targets = tensors_of(self.inputs), self.targets
        if not tensors or not targets.dim() or not len(targets):
            raise XbarError(f"{self.where}: holds no input, or no target")
        for tensor in (*tensors, targets):
            if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
                raise XbarError(
                    f"{self.where}: holds a sparse, quantised or empty tensor; must be plain numbers"
                )
        for tensor in tensors:
            if not tensor.dim() or len(tensor) != len(targets):
                raise XbarError(
                    f"{self.where}: inputs {tuple(tensor.shape)} and targets {tuple(targets.shape)}; must be "
                    "as many along the first axis"
                )
        found = DataPart(self.where, each_tensor(_input, self.inputs), _target(targets))
        for what, tensor in (
            *(("inputs", each) for each in tensors_of(found.inputs)),
            ("targets", found.targets),
        ):
            if tensor.is_complex() or (tensor.is_floating_point() and not tensor.isfinite().all()):
                raise XbarError(
                    f"{self.where}: {what} hold NaN or inf, or numbers beyond float32, or complex numbers"
                )
        if targets.dtype == torch.uint64 and (found.targets < 0).any():
            raise XbarError(f"{self.where}: targets hold whole numbers beyond int64")
        return found


def _input(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous()


def _target(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.float() if tensor.is_floating_point() else tensor.long()).contiguous()


def dataset_of_parts(name: str, parts: Mapping[str, DataPart], classes: Sequence[Any] = ()) -> Dataset:
    """A data set of the parts ``train``, ``test`` and, where there is one, ``validation``.

    Parameters
    ----------
    classes
        Names of the classes, where targets are their numbers; empty: the numbers.

    Raises
    ------
    XbarError
        For what `DataPart.checked` refuses, parts of different kinds, and numbers of classes without a name.
    """
    found = {key: part.checked() for key, part in parts.items()}
    for part in found.values():
        _check_kind(part, found["train"])
    if "validation" not in found:
        where, x, y = found["train"]
        kept, held = (torch.from_numpy(places) for places in split_off(len(y)))
        if not len(held):
            raise XbarError(f"{where}: {len(y)} inputs; a validation part of a tenth needs at least 10")
        found |= {
            "train": DataPart(where, taken(x, kept), y[kept]),
            "validation": DataPart(where, taken(x, held), y[held]),
        }
    names = _classes(name, [part.targets for part in found.values()], classes)
    train, validation, test = (found[key].pair for key in ("train", "validation", "test"))
    content = _checksum([*train, *validation, *test, *names])
    return Dataset(name, *train, *validation, *test, names, content)


def _check_kind(part: DataPart, train: DataPart) -> None:
    """Refuse a part whose inputs or targets are of another kind than those of the training part."""
    if tree_structure(part.inputs) != tree_structure(train.inputs):
        raise XbarError(f"{part.where}: inputs are put together in another way than those of train")
    for what, tensors, others in (
        ("inputs", tensors_of(part.inputs), tensors_of(train.inputs)),
        ("targets", [part.targets], [train.targets]),
    ):
        for one, other in zip(tensors, others, strict=True):
            if one.dtype != other.dtype or one.shape[1:] != other.shape[1:]:
                raise XbarError(
                    f"{part.where}: {what} are {described(one)}, those of train {described(other)}; "
                    "must be of one kind"
                )


def _classes(name: str, targets: Sequence[torch.Tensor], given: Sequence[Any]) -> tuple[str, ...]:
    """Names of the classes; none where targets are no class numbers, or too many."""
    if targets[0].is_floating_point() or (targets[0].dim() > 1 and not given):
        return ()
    low = min(int(each.min()) for each in targets)
    high = max(int(each.max()) for each in targets)
    if not given:
        return tuple(map(str, range(high + 1))) if low >= 0 and high < MOST_CLASSES else ()
    if (low < 0 and targets[0].dim() == 1) or high >= len(given):
        raise XbarError(
            f"data {name}: classes from {low} to {high}; must be whole numbers from 0 to {len(given) - 1}, "
            f"one for each of the {len(given)} names"
            + (f", or {IGNORED} for places that do not count (void)" if targets[0].dim() > 1 else "")
        )
    return tuple(map(str, given))


def _checksum(values: Sequence[Any]) -> str:
    """SHA-256 of tensors, their shapes and types, how they are put together, and of names."""
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, str):
            digest.update(value.encode() + b"\0")
            continue
        if not torch.is_tensor(value):
            digest.update(f"{tree_structure(value)} {_plain(value)}".encode())
        for tensor in tensors_of(value):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Inputs without the contents of their tensors: numbers and the like that a network is called with."""
    return each_tensor(lambda tensor: torch.empty(0), value)
