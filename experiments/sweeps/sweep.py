"""`Sweep`: a study and what of it changes, from a TOML file; every point has a strong id."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from experiments.study import Study, raw_study, resolve_study, study_dict, with_value
from experiments.sweeps.axes import Axis, Values, flat, product
from experiments.sweeps.conditions import Condition
from xbar.errors import XbarError, unknown_name
from xbar.files import build, read_toml, to_dict

_STRICT = {"extra": "forbid"}


@dataclass(frozen=True)
class Sweep:
    """Studies that differ in a few keys.

    Parameters
    ----------
    study
        The one that is changed: a built-in name, or a TOML file, looked up beside the sweep's file first.
    set
        Changes of it that all points share: keys, or tables of keys.
    axes
        The points are the product of the axes.
    where
        Conditions, such as ``hardware.crossbar.rows <= 128``, that a point's study must meet; others are left
        out.
    """

    __pydantic_config__: ClassVar = _STRICT
    name: str
    study: str
    axes: tuple[Axis, ...]
    description: str = ""
    set: dict[str, Any] = field(default_factory=dict)
    where: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or any(c in self.name for c in '/\\:*?"<>|\0'):
            raise XbarError(f"name = {self.name!r}: must be a name that can be a folder's")
        for text in self.where:
            try:
                Condition(text)
            except XbarError as error:
                raise XbarError(f"where: {error}") from None

    def swept(self) -> list[str]:
        """The keys that differ between points."""
        return list(next(product(self.axes)))


@dataclass(frozen=True)
class Point:
    """One point: what it sets, and the study that this gives."""

    values: Values
    study: Study


def sweep_names() -> list[str]:
    """Built-in sweeps."""
    folder = resources.files("experiments") / "sweeps" / "files"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_sweep(name: str) -> Sweep:
    """A built-in sweep by name or a TOML file by path.

    Raises
    ------
    XbarError
        For an unknown sweep, a missing or broken file, an unknown or impossible key.
    """
    raw, where, folder = raw_file(name)
    sweep = build(Sweep, raw, where)
    beside = folder / sweep.study if folder and sweep.study.endswith(".toml") else None
    return dataclasses.replace(sweep, study=str(beside)) if beside and beside.is_file() else sweep


def raw_file(name: str) -> tuple[dict[str, Any], str, Path | None]:
    """Contents of the file of a sweep or search, what begins messages about it, and a user's file's folder.

    Raises
    ------
    XbarError
        For an unknown name, and a missing or broken file.
    """
    if name.endswith(".toml"):
        return read_toml(Path(name)), name, Path(name).parent
    if name not in sweep_names():
        raise unknown_name("sweep (or a path that ends in .toml)", name, sweep_names())
    text = (resources.files("experiments") / "sweeps" / "files" / f"{name}.toml").read_text("utf-8")
    return tomllib.loads(text), f"sweep {name}", None


def points_of(sweep: Sweep, changes: Mapping[str, Any] | None = None) -> Iterator[Point]:
    """Points of a sweep in order, those that its conditions leave out left out; `changes` come last of all.

    Raises
    ------
    XbarError
        For the first point that is no possible study, with what it sets.
    """
    base = base_of(sweep.study, sweep.set, sweep.name)
    for key in changes or {}:
        if key in sweep.swept():
            raise XbarError(f"--set {key}: is an axis of {sweep.name}")
    conditions = [Condition(text) for text in sweep.where]
    for values in product(sweep.axes):
        study = study_at(base, {**values, **(changes or {})}, f"{sweep.name}, {told(values)}")
        data = study_dict(study) if conditions else {}
        try:
            kept = all(condition.holds(data) for condition in conditions)
        except XbarError as error:
            raise XbarError(f"{sweep.name}: where: {error}") from None
        if kept:
            yield Point(values, study)


def base_of(study: str, changes: Mapping[str, Any], said: str) -> dict[str, Any]:
    """Plain data of a study with the changes that all points share."""
    base, _ = raw_study(study)
    for key, value in flat(changes).items():
        base = with_value(base, key, value, f"{said}: set: {key}")
    return base


def study_at(base: Mapping[str, Any], values: Values, where: str) -> Study:
    """The study with some keys set."""
    raw = dict(base)
    for key, value in values.items():
        raw = with_value(raw, key, value, where)
    return resolve_study(raw, where)


def told(values: Values) -> str:
    """``hardware.crossbar.rows = 32, seed = 1``."""
    return ", ".join(f"{key} = {value}" for key, value in values.items())


def sweep_dict(sweep: Sweep) -> dict[str, Any]:
    """Plain data of the sweep, as TOML takes it."""
    data: dict[str, Any] = to_dict(sweep)
    return data
