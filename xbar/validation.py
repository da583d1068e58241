"""Checks of a dataclass's fields against their annotations, and of numbers against ranges."""

from __future__ import annotations

import dataclasses
import functools
import numbers
import types
import typing
from typing import Any, Literal

from xbar.errors import XbarError


def check_range(key: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Refuse a number outside [low, high] (NaN included).

    Raises
    ------
    XbarError
        With the key, the value and the allowed range.
    """
    if not low <= value <= high:
        raise XbarError(f"{key} = {value}: must lie between {low:g} and {high:g}{' ' + unit if unit else ''}")


def check_types(instance: Any, room: str) -> None:
    """Refuse a field whose value is not of its annotated type or choices; `room.` begins the key.

    Raises
    ------
    XbarError
        With the key, the value and what is allowed.
    """
    cls: Any = type(instance)
    for name, hint in _hints(cls).items():
        value = getattr(instance, name)
        if not _fits(value, hint):
            raise XbarError(f"{room}{name} = {value!r}: must be {_describe(hint)}")


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in inner
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(part, inner[0]) for part in value)
    if hint is int or hint is float:
        kind = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(repr(choice) for choice in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(part) for part in inner)
    if origin is tuple:
        return f"a list, each {_describe(inner[0])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(hint, f"a {getattr(hint, '__name__', hint)}")
