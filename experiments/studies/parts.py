"""Plain data of the parts of studies, and their text in an id: a sweep has few parts, in many combinations.

A part is a frozen object, the value of a field. What was made of it is kept, by the object that it is.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from xbar.hardware.files import SCALARS, to_dict

KEPT = 8192
"""Parts whose data are kept, those that were used last."""


class SameObject:
    """A key that is equal for the same object, not for one that only looks alike."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameObject) and other.value is self.value


def plain_of(value: Any) -> Any:
    """`to_dict` of a part, the same object each time, of which nothing may be changed."""
    return value if type(value) in SCALARS else _plain(SameObject(value))


@functools.lru_cache(KEPT)
def _plain(part: SameObject) -> Any:
    return to_dict(part.value)


def text_of(value: Any) -> str:
    """JSON of a part with its keys in order, as ids take it."""
    if type(value) is float:  # -0.0 equals 0.0, and has another text
        return json.dumps(value)
    return _scalar(value) if type(value) in SCALARS else _text(SameObject(value))


_scalar = functools.lru_cache(KEPT, typed=True)(json.dumps)  # True equals 1, and is of another type


@functools.lru_cache(KEPT)
def _text(part: SameObject) -> str:
    return json.dumps(plain_of(part.value), sort_keys=True)


def joined(texts: Mapping[str, str]) -> str:
    """The JSON object whose values have these texts, its keys in order: what `json.dumps` gives of it all."""
    return "{" + ", ".join([f"{_quoted(key)}: {texts[key]}" for key in sorted(texts)]) + "}"


_quoted = functools.lru_cache(KEPT)(json.dumps)
