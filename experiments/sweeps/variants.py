"""The studies of a sweep: one study of which some keys change, and what did not change is built once.

A grid of 100,000 points is made of few parts. A field of a study depends on its own table alone, as does a
field of a hardware, so that a point's study is another point's with some fields replaced. All that is checked
across fields is checked for each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.studies.changes import with_value
from experiments.studies.compression import keys_of_tables
from experiments.studies.own_code import scope_of
from experiments.studies.parts import plain_of
from experiments.studies.study import Study, resolve_study, study_field
from experiments.sweeps.axes import AxisValues
from experiments.sweeps.conditions import Condition
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError
from xbar.hardware.registry import KindScope, kinds_of

_FIELDS = frozenset(field.name for field in dataclasses.fields(Study)) - {"extensions"}
_TABLES = frozenset(field.name for field in dataclasses.fields(Hardware))

FieldPlace = tuple[str, str]
"""A field of a study, and one of its hardware; empty where the first is meant as a whole."""


def study_at(base: Mapping[str, Any], values: AxisValues, where: str, reading: bool = False) -> Study:
    """The study with some keys set; `reading`: as in `resolve_study`."""
    return resolve_study(_set(base, values, where), where, reading)


def told(values: AxisValues) -> str:
    """``hardware.crossbar.rows = 32, seed = 1``."""
    return ", ".join(f"{key} = {value}" for key, value in values.items())


def _set(base: Mapping[str, Any], values: AxisValues, where: str) -> dict[str, Any]:
    raw = dict(base)
    for key, value in values.items():
        raw = with_value(raw, key, value, where)
    return raw


class Variants:
    """Studies that differ from plain data in the values of some keys.

    Parameters
    ----------
    base
        Plain data of the study, which nobody changes meanwhile.
    name
        Begins every message, with what the point sets.
    conditions
        That points must meet.
    """

    def __init__(self, base: Mapping[str, Any], name: str, conditions: Sequence[Condition] = ()) -> None:
        self.base, self.name, self.conditions = base, name, tuple(conditions)
        self._kin: dict[tuple[str, ...], _Kin | None] = {}
        """By the keys that are set, in order; None where they do not divide into fields."""
        self._compress: dict[str, dict[str, Any]] = {}

    def at(self, values: AxisValues) -> Study:
        """The study with these values: what `study_at` gives.

        Raises
        ------
        XbarError
            Where it is no possible study.
        """
        try:
            return self._of_parts(values) or self._parsed(values)
        except XbarError:
            return self._parsed(values)  # which says what is wrong

    def meeting(self, values: AxisValues) -> Study | None:
        """The study with these values; None where it does not meet the conditions, which may leave out what
        is no possible study.

        Raises
        ------
        XbarError
            For what is no possible study although the conditions hold, and conditions that cannot be
            computed.
        """
        try:
            study = self._of_parts(values) or self._parsed(values)
        except XbarError:
            if self.conditions and not self._hold_of_plain(values):
                return None
            study = self._parsed(values)
        if not self.conditions:
            return study
        data = self._readable(study, values)
        try:
            return study if all(condition.holds(data) for condition in self.conditions) else None
        except XbarError as error:
            raise XbarError(f"{self.name}, {told(values)}: where: {error}") from None

    def _of_parts(self, values: AxisValues) -> Study | None:
        """The study of parts that are known or built; None as long as none with these keys was parsed."""
        kin = self._kin.get(tuple(values))
        return kin.study(values) if kin is not None else None

    def _parsed(self, values: AxisValues) -> Study:
        study = study_at(self.base, values, f"{self.name}, {told(values)}")
        keys = tuple(values)
        if keys not in self._kin:
            places = _places(keys)
            self._kin[keys] = None if places is None else _Kin(self.base, study, places)
        return study

    def _hold_of_plain(self, values: AxisValues) -> bool:
        """Whether all conditions hold of the values in the study that they change; those that cannot be
        computed do."""
        data = dict(self._base_readable)
        for key, value in values.items():
            with contextlib.suppress(XbarError):
                data = with_value(data, key, value, "")
        for condition in self.conditions:
            with contextlib.suppress(XbarError):
                if not condition.holds(data):
                    return False
        return True

    @functools.cached_property
    def _base_readable(self) -> Mapping[str, Any]:
        with contextlib.suppress(XbarError):
            return self._readable(resolve_study(self.base, ""), {})
        return self.base

    def _readable(self, study: Study, values: AxisValues) -> dict[str, Any]:
        """Plain data that conditions read: all of a study, which target and method hold, and keys of targets
        and methods that do not."""
        parts = {name: plain_of(part) for name, part in vars(study).items() if part is not None}
        hardware = {name: plain_of(part) for name, part in vars(study.hardware).items() if part is not None}
        compress = {**self._keys_of_compress(values), **parts["compress"]}
        return {**parts, "hardware": hardware, "compress": compress}

    def _keys_of_compress(self, values: AxisValues) -> dict[str, Any]:
        own = {key: value for key, value in values.items() if key.partition(".")[0] == "compress"}
        key = repr(own)
        if key not in self._compress:
            self._compress[key] = keys_of_tables(_set(self.base, own, "")["compress"])
        return self._compress[key]


class _Kin:
    """Studies that set the same keys.

    Parameters
    ----------
    sibling
        One of them.
    places
        The keys that reach into each field.
    """

    def __init__(
        self, base: Mapping[str, Any], sibling: Study, places: Mapping[FieldPlace, list[str]]
    ) -> None:
        self.base, self.sibling, self.places = base, sibling, places
        self._scope: KindScope = scope_of(sibling.extensions)
        self._built: dict[tuple[FieldPlace, str], Any] = {}
        """Fields, or why there is none, by their place and what is set in them."""

    def study(self, values: AxisValues) -> Study:
        """The study with these values.

        Raises
        ------
        XbarError
            Where it is no possible study; not in the words of `study_at`.
        """
        own = {place: {key: values[key] for key in keys} for place, keys in self.places.items()}
        with kinds_of(self._scope):
            fields = {name: self._field((name, ""), set_) for (name, table), set_ in own.items() if not table}
            tables = {place: set_ for place, set_ in own.items() if place[1]}
            if tables:
                fields["hardware"] = self._hardware(tables)
            return dataclasses.replace(self.sibling, **fields)

    def _hardware(self, tables: Mapping[FieldPlace, AxisValues]) -> Hardware:
        def build() -> Hardware:
            fields = {place[1]: self._field(place, set_) for place, set_ in tables.items()}
            return dataclasses.replace(self.sibling.hardware, **fields)

        found: Hardware = self._once((("hardware", ""), repr(tables)), build)
        return found

    def _field(self, place: FieldPlace, set_: AxisValues) -> Any:
        return self._once((place, repr(set_)), lambda: study_field(_set(self.base, set_, ""), *place))

    def _once(self, key: tuple[FieldPlace, str], build: Callable[[], Any]) -> Any:
        """Build a thing when it is first asked for, and give or refuse the same one each time after."""
        if key not in self._built:
            try:
                self._built[key] = build()
            except XbarError as error:
                self._built[key] = error
        found = self._built[key]
        if isinstance(found, XbarError):
            raise found
        return found


def _places(keys: Sequence[str]) -> dict[FieldPlace, list[str]] | None:
    """The fields that keys reach into; None where one is no key of a study, or says which kinds there are."""
    found: dict[FieldPlace, list[str]] = {}
    paths = [key.split(".") for key in keys]
    by_table = all(path[1:2] and path[1] in _TABLES for path in paths if path[0] == "hardware")
    for key, path in zip(keys, paths, strict=True):
        if path[0] not in _FIELDS:
            return None
        table = path[1] if path[0] == "hardware" and by_table else ""
        found.setdefault((path[0], table), []).append(key)
    return found
