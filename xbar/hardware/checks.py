"""Checks of a dataclass's fields against their annotations, and of numbers against ranges."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import numbers
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xbar.hardware.errors import XbarError

STRICT = {"extra": "forbid"}
"""What every dataclass that a file is read into tells pydantic: an unknown key is refused."""


def check_kind(key: str, value: Any, kind: type) -> None:
    """Refuse an argument that is not of its class, such as the name of a design where a mapping is needed.

    Raises
    ------
    XbarError
        With the argument, the class of its value, and that which is needed.
    """
    if not isinstance(value, kind):
        room = "torch.nn." if kind.__module__.startswith("torch.") else ""
        raise XbarError(f"{key}: a {type(value).__name__}; must be a {room}{kind.__name__}")


def check_range(key: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Refuse a number outside [low, high] (NaN included), and what is no number.

    Raises
    ------
    XbarError
        With the key, the value and the allowed range.
    """
    try:
        inside = low <= value <= high
    except TypeError:
        raise XbarError(f"{key} = {value!r}: must be a number") from None
    if not inside:
        ends = " and ".join(f"{end:g}" if float(f"{end:g}") == end else f"{end:.15g}" for end in (low, high))
        raise XbarError(f"{key} = {value}: must lie between {ends}{' ' + unit if unit else ''}")


def check_number(key: str, value: float) -> None:
    """Refuse what is no real number, such as a text.

    Raises
    ------
    XbarError
        With the key and the value.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or math.isnan(value):
        raise XbarError(f"{key} = {value!r}: must be a number")


def check_whole(key: str, value: int, low: int, high: int) -> None:
    """Refuse what is no whole number in [low, high].

    Raises
    ------
    XbarError
        With the key, the value and the allowed range.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise XbarError(f"{key} = {value!r}: must be a whole number")
    check_range(key, value, low, high)


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
        if type(value) is not hint and not _fits(value, hint):
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
    names[types.NoneType] = "None"
    return names.get(hint, f"a {getattr(hint, '__name__', hint)}")


def check_finite(key: str, values: tuple[float, ...], unit: str, low: float = -math.inf) -> None:
    """Refuse a list with a number that is not finite, or below `low`.

    Raises
    ------
    XbarError
        With the key, the list and what is allowed.
    """
    if not all(math.isfinite(value) and value >= low for value in values):
        least = "" if low == -math.inf else f" and at least {low:g}"
        raise XbarError(f"{key} = {list(values)}: must be finite{least}, in {unit}")


def refuse_idle(
    instance: Any, room: str, effective: Mapping[str, Sequence[str]], switch: str = "kind"
) -> None:
    """Refuse a field that differs from its default but has no effect with the instance's `switch`.

    Parameters
    ----------
    effective
        Names of the fields that have an effect, by value of the switch; a field that stands nowhere in it
        always has one.

    Raises
    ------
    XbarError
        With the key, its value, and the values of the switch that it belongs to.
    """
    chosen = getattr(instance, switch)
    guarded = {name for names in effective.values() for name in names} - set(effective.get(chosen, ()))
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if field.name not in guarded or value == field.default:
            continue
        values = " or ".join(repr(kind) for kind, names in effective.items() if field.name in names)
        raise XbarError(
            f"{room}.{field.name} = {_plain(value)}: has no effect with {room}.{switch} = {chosen!r}; "
            f"only with {values}"
        )


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else repr(value)


def check_array(name: str, array: Any, dtype: type, shape: tuple[int, ...]) -> None:
    """Refuse an array of another dtype, shape or memory order.

    Raises
    ------
    XbarError
        With what it is and what it must be.
    """
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise XbarError(
            f"{name}: {array.dtype} of shape {array.shape}; "
            f"must be C-contiguous {np.dtype(dtype)} of shape {shape}"
        )


def as_floats(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """C-contiguous float64.

    Raises
    ------
    XbarError
        For what is not a number, or not finite.
    """
    given = np.atleast_1d(np.asarray(values))
    if given.dtype.kind not in "biuf":
        raise XbarError(f"{name}: must be an array of real numbers, not of {given.dtype}")
    array = np.ascontiguousarray(given, np.float64)
    if not np.isfinite(array).all():
        raise XbarError(f"{name}: must be finite, has nan or inf")
    return array


def check_rising_to_one(key: str, shares: Sequence[float]) -> None:
    """Refuse shares that do not rise from above 0 to 1.

    Raises
    ------
    XbarError
        With the key and the shares.
    """
    for share in shares:
        check_number(f"{key}: a share", share)
    rises = all(low < high for low, high in itertools.pairwise([0.0, *shares]))
    if not shares or not rises or shares[-1] != 1:
        raise XbarError(f"{key} = {list(shares)}: must rise from above 0 to 1, such as 0.3, 0.6, 1.0")
