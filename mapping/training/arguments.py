"""Digests of a call's arguments, by which a checkpoint is known to belong to a training.

Values count by what they hold: numbers, tensors, dataclasses, networks, functions by their code and what they
enclose, other objects by their type and attributes. Data that a loader gives are not read.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def digests_of(**arguments: Any) -> dict[str, str]:
    """A digest of each argument, by name."""
    return {name: digest_of(value) for name, value in arguments.items()}


def digest_of(value: Any) -> str:
    """32 hexadecimal digits that are the same for equal values, in every process."""
    digest = hashlib.blake2b(digest_size=16)
    for part in _parts(value, ()):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def form_of(network: nn.Module) -> Any:
    """A network without the values of its weights: its modules, and names, sizes and types of its tensors."""
    tensors = [(name, tuple(t.shape), str(t.dtype)) for name, t in network.state_dict().items()]
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    return [_ADDRESS.sub("", repr(network)), tensors, trained]


def _parts(value: Any, inside: tuple[int, ...]) -> Iterator[bytes]:
    """Bytes that tell a value; `inside`: objects that hold it, which are not followed once more."""
    if isinstance(value, bytes):
        yield value
        return
    if value is None or isinstance(value, bool | int | float | complex | str | torch.dtype):
        yield f"{type(value).__name__} {value!r}".encode()
        return
    if id(value) in inside:
        return
    yield _name(value if isinstance(value, type | FunctionType) else type(value)).encode()
    inside = (*inside, id(value))
    for part in _content(value):
        yield from _parts(part, inside)


def _content(value: Any) -> Iterator[Any]:
    """Plainer values that a value is made of."""
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous()
        yield from (str(plain.dtype), tuple(plain.shape))
        yield plain.reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield from (str(value.dtype), value.shape, value.tobytes())
    elif isinstance(value, nn.Module):
        yield from (form_of(value), value.state_dict())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from (field.name, getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from (key, item)
    elif isinstance(value, set | frozenset):
        yield from sorted(map(digest_of, value))
    elif isinstance(value, list | tuple | np.ndarray):
        yield from value
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
        yield from (value.__code__, value.__defaults__, value.__kwdefaults__, cells)
    elif isinstance(value, CodeType):
        yield from (value.co_code, value.co_names, value.co_consts)
    elif not isinstance(value, type | ModuleType):
        yield dict(vars(value)) if hasattr(value, "__dict__") else _ADDRESS.sub("", repr(value))


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a variable that has no value yet
        return False


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
