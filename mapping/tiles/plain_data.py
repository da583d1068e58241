"""Frozen dataclasses that hold arrays, as plain data and named arrays, and back.

The type hints of the fields are what a file may hold: plain data that do not fit them are refused, with the
path that leads there.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError, unknown_name
from xbar.hardware.files import build, to_dict

Arrays = dict[str, NDArray[Any]]


def taken_apart(value: Any, where: str, arrays: Arrays) -> Any:
    """Plain data of a dataclass; an array goes into `arrays` and leaves its name, ``{"array": where}``."""
    if isinstance(value, np.ndarray):
        arrays[where] = np.ascontiguousarray(value)
        return {"array": where}
    if isinstance(value, Hardware):
        return to_dict(value)
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: taken_apart(part, f"{where}/{name}", arrays) for name, part in value.items()}
    if isinstance(value, tuple):
        return [taken_apart(part, f"{where}/{number}", arrays) for number, part in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def put_together(
    hint: Any, data: Any, where: str, arrays: Mapping[str, NDArray[Any]], **elsewhere: Any
) -> Any:
    """Put together what `taken_apart` took apart: a value of the type `hint`.

    Parameters
    ----------
    elsewhere
        Fields of a dataclass that its data do not have.

    Raises
    ------
    XbarError
        For data that do not fit, a missing or unknown entry, or an array that is missing or of another type.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if data is None:
            return None
        return put_together(next(one for one in inner if one is not type(None)), data, where, arrays)
    if origin is np.ndarray:
        return _array(inner, _of(dict, data, where), where, arrays)
    if origin is tuple:
        parts = _of(list, data, where)
        hints = [inner[0]] * len(parts) if inner[1:] == (...,) else inner
        if len(parts) != len(hints):
            raise XbarError(f"{where}: {len(parts)} entries; must be {len(hints)}")
        numbered = enumerate(zip(hints, parts, strict=True))
        return tuple(put_together(one, part, f"{where}/{i}", arrays) for i, (one, part) in numbered)
    if hint is Hardware:
        return build(Hardware, _of(dict, data, where), where)
    if hint is Any:
        return data
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, _of(dict, data, where), where, arrays, elsewhere)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        table = _of(dict, data, where)
        return {name: put_together(inner[1], part, f"{where}/{name}", arrays) for name, part in table.items()}
    return _of(hint, data, where)


def _dataclass(
    hint: Any,
    data: Mapping[str, Any],
    where: str,
    arrays: Mapping[str, NDArray[Any]],
    elsewhere: Mapping[str, Any],
) -> Any:
    hints = typing.get_type_hints(hint)
    names = [field.name for field in dataclasses.fields(hint) if field.name not in elsewhere]
    for name in data:
        if name not in names:
            raise unknown_name(where, name, names)
    for name in names:
        if name not in data:
            raise XbarError(f"{where}/{name}: missing")
    parts = {name: put_together(hints[name], data[name], f"{where}/{name}", arrays) for name in names}
    return hint(**parts, **elsewhere)


def _array(
    inner: tuple[Any, ...], data: Mapping[str, Any], where: str, arrays: Mapping[str, NDArray[Any]]
) -> NDArray[Any]:
    name, kind = str(data.get("array")), typing.get_args(inner[1])[0]
    dtypes = [np.dtype(one) for one in typing.get_args(kind) or (kind,)]
    if name not in arrays:
        raise XbarError(f"{where}: the array {name!r} is missing")
    if arrays[name].dtype not in dtypes:
        raise XbarError(f"{where}: an array of {arrays[name].dtype}; must be {' or '.join(map(str, dtypes))}")
    return arrays[name]


def _of(kind: type, data: Any, where: str) -> Any:
    """`data` where it is of a kind; a whole number will do for a float, and true or false for no number."""
    if isinstance(data, (int, float) if kind is float else kind) and isinstance(data, bool) == (kind is bool):
        return data
    names = {dict: "a table", list: "a list", str: "text", int: "a whole number", float: "a number"}
    raise XbarError(f"{where} = {data!s:.40}: must be {names.get(kind, 'true or false')}")
