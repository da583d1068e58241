"""Data of a user's own: what a function in a Python file gives, ``path/file.py:function``."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from experiments.inputs.data import Dataset, split_off
from experiments.studies.own_code import from_own_file
from xbar.hardware.errors import XbarError, unknown_name

InputsAndLabels = tuple[torch.Tensor, torch.Tensor]

FORMS = (
    "(train, test) or (train, validation, test), or a table of them with these names and `classes`; each two "
    "arrays or tensors (inputs, classes), a data set of pairs, or a DataLoader"
)


def own_data(name: str, folder: Path | None) -> Dataset:
    """The data that a user's function gives.

    It is called with the folder of the data (`--data`, or None), or without arguments if it takes none, and
    has to give the same each time. Where it gives no validation part, the last tenth of a fixed permutation
    of the training part is that, as for the data sets that are built in.

    Raises
    ------
    XbarError
        For a file or function that is missing, what goes wrong in it, with its place, and what it gives that
        are no such parts: inputs and classes of different number, classes that are no whole numbers from 0.
    """
    given = _called(name, folder)
    parts, classes = _parts(name, given)
    tensors = {part: _tensors(f"data {name}: {part}", value) for part, value in parts.items()}
    if "validation" not in tensors:
        x, y = tensors["train"]
        kept, held = (torch.from_numpy(places) for places in split_off(len(y)))
        tensors |= {"train": (x[kept], y[kept]), "validation": (x[held], y[held])}
    numbers = torch.cat([y for _, y in tensors.values()])
    names = tuple(map(str, classes)) if classes else tuple(map(str, range(int(numbers.max()) + 1)))
    if int(numbers.min()) < 0 or int(numbers.max()) >= len(names):
        raise XbarError(
            f"data {name}: classes from {int(numbers.min())} to {int(numbers.max())}; must be whole numbers "
            f"from 0 to {len(names) - 1}, one for each of the {len(names)} names"
        )
    train, validation, test = (tensors[part] for part in ("train", "validation", "test"))
    return Dataset(name, *train, *validation, *test, names, _checksum([*train, *validation, *test, *names]))


def _called(name: str, folder: Path | None) -> Any:
    """What the function gives."""

    def call(build: Any) -> Any:
        return build(folder) if inspect.signature(build).parameters else build()

    return from_own_file("data", name, call)


def _parts(name: str, given: Any) -> tuple[dict[str, Any], Sequence[Any]]:
    """Parts by name, and names of the classes where they are given."""
    if isinstance(given, Mapping):
        known = ("train", "validation", "test", "classes")
        for key in given:
            if key not in known:
                raise unknown_name(f"data {name}: part", str(key), known)
        found = {key: given[key] for key in known[:3] if key in given}
        classes = list(given.get("classes", ()))
    elif isinstance(given, tuple | list) and len(given) in (2, 3):
        names = ("train", "test") if len(given) == 2 else ("train", "validation", "test")
        found, classes = dict(zip(names, given, strict=True)), []
    else:
        raise XbarError(f"data {name}: gives a {type(given).__name__}; must be {FORMS}")
    for key in ("train", "test"):
        if key not in found:
            raise XbarError(f"data {name}: the part {key!r} is missing; must be {FORMS}")
    return found, classes


def _tensors(what: str, part: Any) -> InputsAndLabels:
    """Inputs and classes of a part."""
    if isinstance(part, DataLoader):
        pairs = [(torch.as_tensor(x), torch.as_tensor(y)) for x, y in part]
        x, y = torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])
    elif isinstance(part, tuple | list) and len(part) == 2 and all(map(_is_array, part)):
        x, y = (torch.as_tensor(np.asarray(one) if not torch.is_tensor(one) else one) for one in part)
    elif hasattr(part, "__getitem__") and hasattr(part, "__len__") and len(part):
        samples = [part[place] for place in range(len(part))]
        x = torch.stack([torch.as_tensor(one) for one, _ in samples])
        y = torch.as_tensor([int(one) for _, one in samples])
    else:
        raise XbarError(f"{what}: a {type(part).__name__}; must be two arrays, a data set or a DataLoader")
    if len(x) != len(y) or not len(x) or y.dim() != 1:
        raise XbarError(
            f"{what}: inputs {tuple(x.shape)} and classes {tuple(y.shape)}; must be as many, a class each"
        )
    if y.is_floating_point() or y.dtype == torch.bool:
        raise XbarError(f"{what}: classes are {y.dtype}; must be whole numbers")
    if x.is_floating_point():
        x = x.float()
        if not x.isfinite().all():
            raise XbarError(f"{what}: inputs hold NaN or inf")
    return x.contiguous(), y.long().contiguous()


def _is_array(value: Any) -> bool:
    return torch.is_tensor(value) or isinstance(value, np.ndarray)


def _checksum(values: Sequence[Any]) -> str:
    """SHA-256 of tensors, their shapes and types, and of names."""
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(str(value).encode() + b"\0")
    return digest.hexdigest()
