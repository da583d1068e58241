"""`Sweep`: a study and what of it changes, from a TOML file; every point has a strong id."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal

from experiments.studies.changes import with_value
from experiments.studies.study import Study, in_unit_of_metric, raw_study
from experiments.sweeps.axes import Axis, AxisValues, flat, product
from experiments.sweeps.conditions import Condition
from experiments.sweeps.variants import Variants
from xbar.hardware.checks import STRICT
from xbar.hardware.errors import XbarError, naming, unknown_name
from xbar.hardware.files import build, read_toml, to_dict


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

    __pydantic_config__: ClassVar = STRICT
    name: str
    study: str
    axes: tuple[Axis, ...]
    description: str = ""
    set: dict[str, Any] = field(default_factory=dict)
    where: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_names(self.name, self.where)
        check_comparable("axes", self.swept())

    def swept(self) -> list[str]:
        """The keys that differ between points."""
        return list(next(product(self.axes)))


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One point: what it sets, and the study that this gives."""

    values: AxisValues
    study: Study


FileKind = Literal["sweep", "search"]
_FOLDERS: dict[FileKind, str] = {"sweep": "sweeps", "search": "searches"}


def check_names(name: str, where: tuple[str, ...]) -> None:
    """Refuse a name that cannot be a folder's, and conditions that are none."""
    if not name or any(c in name for c in '/\\:*?"<>|\0'):
        raise XbarError(f"name = {name!r}: must be a name that can be a folder's")
    for text in where:
        try:
            Condition(text)
        except XbarError as error:
            raise XbarError(f"where: {error}") from None


def check_comparable(what: str, keys: Iterable[str]) -> None:
    """Refuse points that are measured by different metrics, which no front or figure could hold."""
    if "metric" in keys:
        raise XbarError(f"{what}: metric: points of different metrics cannot be compared; one file for each")


def sweep_names(kind: FileKind = "sweep") -> list[str]:
    """Built-in sweeps, or searches."""
    folder = resources.files("experiments.studies") / "files" / _FOLDERS[kind]
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
    return dataclasses.replace(sweep, study=study_beside(folder, sweep.study))


def study_beside(folder: Path | None, study: str) -> str:
    """The study's file in the folder where there is one, else what was given."""
    beside = folder / study if folder and study.endswith(".toml") else None
    return str(beside) if beside and beside.is_file() else study


def raw_file(name: str, kind: FileKind = "sweep") -> tuple[dict[str, Any], str, Path | None]:
    """Contents of the file of a sweep or search, what begins messages about it, and a user's file's folder.

    Raises
    ------
    XbarError
        For an unknown name, and a missing or broken file.
    """
    if name.endswith(".toml"):
        return read_toml(Path(name)), name, Path(name).parent
    if name not in sweep_names(kind):
        raise unknown_name(f"{kind} (or a path that ends in .toml)", name, sweep_names(kind))
    folder = resources.files("experiments.studies") / "files" / _FOLDERS[kind]
    return tomllib.loads((folder / f"{name}.toml").read_text("utf-8")), f"{kind} {name}", None


def points_of(sweep: Sweep, changes: Mapping[str, Any] | None = None, said: str = "") -> Iterator[SweepPoint]:
    """Points of a sweep in order, without those that its conditions leave out.

    Parameters
    ----------
    changes
        Values by key, which are set after those of the sweep and of its axes.
    said
        Text that begins messages, such as the name of the file; by default the sweep's name.

    Raises
    ------
    XbarError
        For the first point that is no possible study and that no condition leaves out, with what it sets.
    """
    said = said or sweep.name
    base = in_unit_of_metric(base_of(sweep.study, sweep.set, said), changes or {})
    swept = sweep.swept()
    for key in changes or {}:
        if key in swept:
            raise XbarError(f"--set {key}: is an axis of {said}")
    variants = Variants(base, said, [Condition(text) for text in sweep.where])
    for values in _product(sweep.axes, said):
        study = variants.meeting({**values, **(changes or {})})
        if study is not None:
            yield SweepPoint(values, study)


def _product(axes: tuple[Axis, ...], said: str) -> Iterator[AxisValues]:
    with naming(said):
        yield from product(axes)


def base_of(
    study: str, changes: Mapping[str, Any], said: str, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Plain data of a study with the changes that all points share, those of the file and `more`, of the
    command."""
    with naming(said):
        base, _ = raw_study(study)
    for each in (flat(changes), more or {}):
        base = in_unit_of_metric(base, each)
        for key, value in each.items():
            base = with_value(base, key, value, f"{said}: set: {key}")
    return base


def sweep_dict(sweep: Sweep) -> dict[str, Any]:
    """Plain data of the sweep, as TOML takes it."""
    data: dict[str, Any] = to_dict(sweep)
    axes = [{key: part for key, part in axis.items() if part not in ({}, [])} for axis in data["axes"]]
    return {**data, "axes": axes}
