"""Data of a user's own: what a function in a Python file gives, ``path/file.py:function``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, default_collate

from experiments.inputs.data import Dataset
from experiments.inputs.parts import DataPart, dataset_of_parts
from experiments.studies.own_code import from_own_file
from mapping.network.inputs import tensors_of
from xbar.hardware.errors import XbarError, one_line, unknown_name

FORMS = (
    "(train, test) or (train, validation, test), or a table of them with these names and `classes`; each two "
    "arrays or tensors (inputs, targets), a data set of pairs, or a DataLoader"
)
NAMES = ("train", "validation", "test")


def own_data(name: str, folder: Path | None) -> Dataset:
    """The data that a user's function gives.

    It is called with the folder of the data (`--data`, or None), or without arguments if it takes none, and
    has to give the same each time; torch's generator is seeded before. Inputs are a tensor, or a tuple or
    dict of those that the network is called with; targets a tensor: classes, masks, tokens or numbers. Where
    there is no validation part, the last tenth of a fixed permutation of the training part is that, as for
    the data sets that are built in.

    Raises
    ------
    XbarError
        For a file or function that is missing, what goes wrong in it, with its place, and what it gives that
        are no such parts: inputs and targets of different number, parts of different kinds.
    """

    def call(build: Any) -> tuple[dict[str, DataPart], Sequence[Any]]:
        found, classes = _parts(name, build(folder) if inspect.signature(build).parameters else build())
        return {part: _part(f"data {name}: {part}", value) for part, value in found.items()}, classes

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a loader that shuffles gives the same each time
        parts, classes = from_own_file("data", name, call)
    return dataset_of_parts(name, parts, classes)


def _parts(name: str, given: Any) -> tuple[dict[str, Any], Sequence[Any]]:
    """Parts by name, and names of the classes where they are given."""
    if isinstance(given, Mapping):
        known = (*NAMES, "classes")
        for key in given:
            if key not in known:
                raise unknown_name(f"data {name}: part", str(key), known)
        found = {key: given[key] for key in NAMES if key in given}
        classes = list(given.get("classes", ()))
    elif isinstance(given, tuple | list) and len(given) in (2, 3):
        names = ("train", "test") if len(given) == 2 else NAMES
        found, classes = dict(zip(names, given, strict=True)), []
    else:
        raise XbarError(f"data {name}: gives a {type(given).__name__}; must be {FORMS}")
    for key in ("train", "test"):
        if key not in found:
            raise XbarError(f"data {name}: the part {key!r} is missing; must be {FORMS}")
    return found, classes


def _part(what: str, given: Any) -> DataPart:
    """Inputs and targets of a part."""
    if _are_arrays(given):
        found = tree_map(torch.as_tensor, given[0]), torch.as_tensor(given[1])
    elif isinstance(given, DataLoader):
        found = _joined(what, given)
    elif hasattr(given, "__getitem__") and hasattr(given, "__len__") and len(given):
        found = _joined(what, (_collated(what, [given[place]]) for place in range(len(given))))
    else:
        raise XbarError(f"{what}: a {type(given).__name__}; must be two arrays, a data set or a DataLoader")
    return DataPart(what, *found)


def _are_arrays(given: Any) -> bool:
    """Whether it is all inputs, in arrays, and all targets, in one."""
    if not (isinstance(given, tuple | list) and len(given) == 2 and _is_array(given[1])):
        return False
    return isinstance(given[0], Mapping) or _is_array(given[0]) or all(map(_is_array, given[0]))


def _is_array(value: Any) -> bool:
    return torch.is_tensor(value) or isinstance(value, np.ndarray)


def _collated(what: str, samples: list[Any]) -> Any:
    """A batch of samples."""
    try:
        return default_collate(samples)
    except (TypeError, RuntimeError) as error:
        raise XbarError(
            f"{what}: a sample is no pair of arrays or numbers: {str(error).partition(chr(10))[0]}"
        ) from error


def _joined(what: str, batches: Iterable[Any]) -> tuple[Any, torch.Tensor]:
    """Inputs and targets of all batches."""
    pairs = []
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2 or not torch.is_tensor(batch[1]):
            raise XbarError(f"{what}: gives a {type(batch).__name__}; must be pairs (inputs, targets)")
        pairs.append(batch)
    if not pairs:
        raise XbarError(f"{what}: holds no input")
    inputs, targets = [pair[0] for pair in pairs], torch.cat([pair[1] for pair in pairs])
    leaves = [tensors_of(each) for each in inputs]
    try:
        joined = iter([torch.cat(column) for column in zip(*leaves, strict=True)])
    except (RuntimeError, ValueError) as error:
        raise XbarError(
            f"{what}: inputs of different shapes ({one_line(error)}); pad sequences to one length"
        ) from error
    return tree_map(lambda leaf: next(joined) if torch.is_tensor(leaf) else leaf, inputs[0]), targets
