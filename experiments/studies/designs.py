"""Hardware from presets and files, with changes."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.studies.changes import merged, with_change
from experiments.studies.file_kinds import check_file_kind
from experiments.studies.parts import KEPT, SameObject, plain_of
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError, naming
from xbar.hardware.files import build, build_field, hardware_dict, resolve_device, to_dict
from xbar.hardware.registry import KindScope, scope


def load_design(name: str, changes: Sequence[str] = ()) -> Hardware:
    """A hardware preset by name or a TOML file by path, with changes ``hardware.key=value`` applied.

    Raises
    ------
    XbarError
        For an unknown preset, a missing or broken file, an unknown or impossible key, or one of a study.
    """
    check_file_kind(name, "design")
    return _design({"hardware": name}, changes, name)


def changed_design(hardware: Hardware, changes: Sequence[str]) -> Hardware:
    """A hardware with changes ``hardware.key=value`` applied; errors as those of `load_design`."""
    return _design({"hardware": to_dict(hardware)}, changes, hardware.name)


def _design(raw: dict[str, Any], changes: Sequence[str], where: str) -> Hardware:
    for change in changes:
        raw = with_change(raw, change)
        if raw.keys() > {"hardware"}:
            raise XbarError(f"--set {change}: only keys of hardware, for example hardware.crossbar.rows=64")
    return build(Hardware, resolved_hardware(raw["hardware"], where), where)


def changed(hardware: Hardware, changes: Mapping[str, Any], where: str) -> Hardware:
    """Hardware with some tables' keys changed.

    Raises
    ------
    XbarError
        For an unknown or impossible key.
    """
    try:
        tables = {table: _changed_table(hardware, table, keys, where) for table, keys in changes.items()}
        return dataclasses.replace(hardware, **tables)
    except (XbarError, AttributeError):  # the whole says what is wrong
        return build(Hardware, resolve_device(merged(to_dict(hardware), changes), where), where)


def _changed_table(hardware: Hardware, table: str, keys: Any, where: str) -> Any:
    """A field of a hardware with some keys changed. One with a device's file is read anew each time."""
    if table != "device":
        return _merged_table(table, SameObject(getattr(hardware, table)), SameObject(keys), scope())
    data = merged({table: plain_of(hardware.device)}, {table: keys})
    return build_field(Hardware, table, resolve_device(data, where)[table])


@functools.lru_cache(KEPT)
def _merged_table(table: str, part: SameObject, keys: SameObject, known: KindScope | None) -> Any:
    return build_field(Hardware, table, merged({table: plain_of(part.value)}, {table: keys.value})[table])


def resolved_hardware(hardware: Any, where: str) -> dict[str, Any]:
    """Plain data of a hardware: its preset (key `base`) merged with the changes beside it."""
    if isinstance(hardware, str):
        hardware = {"base": hardware}
    if not isinstance(hardware, Mapping):
        raise XbarError(f'{where}: hardware: missing; a table with `base = "PRESET"`, or a preset\'s name')
    changes = {key: value for key, value in hardware.items() if key != "base"}
    with naming(where):
        if "base" in hardware:
            changes = merged(hardware_dict(str(hardware["base"])), changes)
        return resolve_device(changes, where)


def hardware_from(table: Any) -> Hardware:
    """A hardware from the table ``[hardware]`` of a study; equal ones of a sweep are built once."""
    if not isinstance(table, Mapping):
        raise XbarError(f"hardware = {table!r}: must be a table")
    return _built(json.dumps(table), scope())


@functools.lru_cache(maxsize=1024)
def _built(table: str, known: KindScope | None) -> Hardware:
    return build(Hardware, json.loads(table), "", "hardware.")
