"""A translation of another tool's parameters: the hardware, and where every parameter went."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError

DEEPEST = 12
"""Levels of tables in tables that are followed."""


@dataclass(frozen=True)
class Translation:
    """A hardware made of another tool's parameters, and an account of them.

    Every parameter that was given stands in one of `translated`, `off` and `left`.

    Parameters
    ----------
    hardware
        Its `assumed` says what the other tool does not state.
    translated
        What each parameter became, by its name.
    off
        Parameters without a counterpart here that are switched off (0, false, none), so that nothing is lost.
    left
        Values of the other parameters without a counterpart, with the reason or what takes their place here.
    """

    hardware: Hardware
    translated: Mapping[str, str] = field(default_factory=dict)
    off: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Three lists, in this order: translated, not translated, and switched off."""
        width = max(map(len, (*self.translated, *self.left)), default=0)
        lines = [f"hardware {self.hardware.name!r}", "", "translated"]
        lines += [f"  {key:<{width}}  {became}" for key, became in self.translated.items()]
        lines += ["", "not translated"]
        lines += [f"  {key:<{width}}  {why}" for key, why in self.left.items()] or ["  nothing"]
        lines += ["", "not translated, and off: " + (", ".join(self.off) or "nothing")]
        lines += ["", "assumed", *(f"  {line}" for line in self.hardware.assumed)]
        return "\n".join(lines)


class Account:
    """The parameters of another tool while they are translated; each is taken once.

    Parameters
    ----------
    tool
        Its name, for messages.
    given
        Flat parameters (`flat`).
    defaults
        What a parameter is that is not given.
    """

    def __init__(self, tool: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self.tool, self._given, self._defaults = tool, given, defaults
        self.translated: dict[str, str] = {}
        self.left: dict[str, str] = {}

    def __call__(self, key: str) -> Any:
        """Value of a parameter, or the tool's default, which it also has where it is None."""
        return self._given[key] if self.gives(key) else self._defaults.get(key)

    def gives(self, key: str) -> bool:
        """Whether a parameter was given with a value other than None."""
        return self._given.get(key) is not None

    def number(self, key: str) -> float:
        """Value of a parameter that must be a number.

        Raises
        ------
        XbarError
            Where it is not.
        """
        value = self(key)
        if not is_number(value):
            raise XbarError(f"{self.tool}: {key} = {_short(repr(value))}: must be a number")
        return float(value)

    def whole(self, key: str) -> int:
        """Value of a parameter that must be a whole number.

        Raises
        ------
        XbarError
            Where it is not.
        """
        if not (value := self.number(key)).is_integer():
            raise XbarError(f"{self.tool}: {key} = {value}: must be a whole number")
        return int(value)

    def positive(self, key: str) -> float:
        """Value of a parameter that must be a number above 0.

        Raises
        ------
        XbarError
            Where it is not.
        """
        if not (value := self.number(key)) > 0:
            raise XbarError(f"{self.tool}: {key} = {value}: must be above 0")
        return value

    def refuse_unknown(self, reasons: Mapping[str, str]) -> None:
        """Refuse parameters of which none is the tool's, and names that are nearly those of parameters.

        Parameters
        ----------
        reasons
            Parameters of the tool that are not translated, by the beginnings of their names.

        Raises
        ------
        XbarError
            With the first such name, and the nearest one of the tool's.
        """
        tables = {name.rpartition(".")[0] for name in self._defaults}
        strange = [name for name in self._given if not name.startswith((*self._defaults, *reasons))]
        for name in self._given:
            table, _, last = name.rpartition(".")
            if name in self._defaults or (table not in tables and name not in strange):
                continue
            if table in tables:
                own = (each.rpartition(".") for each in self._defaults)
                near = _near(last, {leaf: f"{its}.{leaf}" for its, _, leaf in own if its == table})
            else:
                near = _near(name, {each: each for each in self._defaults})
            if near:
                raise XbarError(f"{self.tool}: {name}: unknown; did you mean {near!r}?")
        if strange and len(strange) == len(self._given):
            raise XbarError(
                f"{self.tool}: none of the parameters is one of {self.tool}'s; the first is {strange[0]!r}"
            )

    def became(self, key: str, what: str) -> None:
        """Note what a parameter became."""
        default = "" if self.gives(key) else f" (default of {self.tool})"
        self.translated[key] = f"{_short(self(key))}{default}: {what}"

    def leaves(self, key: str, why: str) -> None:
        """Note why a parameter is not translated."""
        self.left[key] = f"{_short(self(key))}: {why}"

    def close(self, hardware: Hardware, reasons: Mapping[str, str]) -> Translation:
        """The translation, with every parameter that nobody took.

        Parameters
        ----------
        reasons
            Why parameters are not translated, by the beginnings of their names; the longest one counts.
        """
        off, left = [], dict(self.left)
        for key in self._given:
            if key in self.translated or key in left:
                continue
            if is_off(self._given[key]):
                off.append(key)
                continue
            begins = [start for start in reasons if key.startswith(start)]
            why = reasons[max(begins, key=len)] if begins else "has no counterpart"
            left[key] = f"{_short(self(key))}: {why}"
        return Translation(hardware, self.translated, tuple(off), left)


def _near(name: str, known: Mapping[str, str]) -> str:
    """The known name that a name is most like; empty where it is like none."""
    bare = {each.replace("_", "").lower(): each for each in known}
    found = bare.get(name.replace("_", "").lower()) or next(
        iter(difflib.get_close_matches(name, known, n=1, cutoff=0.88)), ""
    )
    return known[found] if found else ""


def is_number(value: Any) -> bool:
    """Whether a value is a number that is finite as a float."""
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) <= sys.float_info.max


def is_off(value: Any) -> bool:
    """Whether a value switches its effect off."""
    return value is None or value is False or value in (0, "", "None", "none", "IdealDevice") or value == []


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def flat(parameters: Any, tool: str) -> dict[str, Any]:
    """Parameters by their path with dots, of a table of tables, a dataclass, or any object with attributes.

    An enumeration is its value. An object that is no dataclass has its class name under `class`; a class or a
    function is its name.

    Raises
    ------
    XbarError
        For what has no parameters, and for what is nested without end.
    """
    if not isinstance(parameters, Mapping) and not hasattr(parameters, "__dict__"):
        raise XbarError(
            f"{tool}: parameters are a {type(parameters).__name__}; must be a table or its object"
        )
    found: dict[str, Any] = {}
    _flatten("", parameters, found, tool, 0)
    return found


def _flatten(path: str, value: Any, found: dict[str, Any], tool: str, depth: int) -> None:
    if depth > DEEPEST:
        raise XbarError(f"{tool}: {path}: is nested more than {DEEPEST} deep")
    inside = _inside(value)
    if inside is None:
        found[path] = _plain(value)
        return
    for key, part in inside:
        _flatten(f"{path}.{key}" if path else str(key), part, found, tool, depth + 1)


def _inside(value: Any) -> Iterable[tuple[str, Any]] | None:
    """Names and values of what has parts; None: it has none."""
    if isinstance(value, Mapping):
        by_number = bool(value) and all(_is_number(str(key)) for key in value)
        return None if by_number else [(str(key), part) for key, part in value.items()]
    if isinstance(value, type | Enum | str | bytes | np.ndarray | np.generic) or callable(value):
        return None
    if dataclasses.is_dataclass(value):
        return [(each.name, getattr(value, each.name, None)) for each in dataclasses.fields(value)]
    if hasattr(value, "__dict__") and not hasattr(value, "shape"):
        own = [(key, part) for key, part in vars(value).items() if not key.startswith("_")]
        return [("class", type(value).__name__), *own]
    return None


def _is_number(key: str) -> bool:
    try:
        return math.isfinite(float(key))
    except ValueError:
        return False


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def read_parameters(path: Path) -> dict[str, Any]:
    """Contents of a JSON file with parameters.

    Raises
    ------
    XbarError
        For a file that is missing, not JSON, or no table.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise XbarError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise XbarError(f"{path}: not a JSON file ({error})") from None
    if not isinstance(content, dict):
        raise XbarError(f"{path}: must hold a table of parameters")
    return content


__all__ = ["Account", "Translation", "flat", "is_number", "is_off", "read_parameters"]
