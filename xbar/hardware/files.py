"""Frozen dataclasses from TOML, with errors that name the key, and back to plain dicts."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import secrets
import tomllib
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from xbar.hardware.design import Hardware
from xbar.hardware.device import Device
from xbar.hardware.errors import XbarError, naming, nearest, unknown_name
from xbar.hardware.registry import ByKind

T = TypeVar("T")


def read_toml(path: Path) -> dict[str, Any]:
    """Contents of a TOML file.

    Raises
    ------
    XbarError
        Where the file is missing, unreadable, or not TOML (with line and column).
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise XbarError(f"{path}: no such file") from None
    except OSError as error:
        raise XbarError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # also of a number of too many digits, or nested too deeply
        raise XbarError(f"{path}: not a TOML file: {error}") from None


def write_atomically(path: Path, *content: bytes | memoryview) -> None:
    """Write a file so that a crash, or a full disk, leaves either the old content or the new, never a part.

    Where several processes write one file at once, the content of one of them stays.

    Parameters
    ----------
    content
        Parts that follow each other.

    Raises
    ------
    XbarError
        Where the file cannot be written, with its name and the reason.
    """
    partial = path.with_name(f"{path.name[:200]}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb") as file:
            for part in content:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise XbarError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def build(cls: type[T], data: Mapping[str, Any], where: str, at: str = "") -> T:
    """Dataclass `cls` from nested plain data.

    Parameters
    ----------
    where
        Begins every message, such as the name of a file; may be empty.
    at
        Begins every key in a message: where in the file the data stand, with a dot at its end.

    Raises
    ------
    XbarError
        One line for the first mistake: its key path, its value, and the nearest valid name or allowed range.
    """
    begin = f"{where}: " if where else ""
    try:
        content = json.dumps(dict(data), default=str)
    except (ValueError, RecursionError) as error:
        raise XbarError(f"{begin}{at}holds what no JSON can: {error}") from None
    try:
        built: T = adapter(typing.cast(Any, cls)).validate_json(content, strict=True)
        return built
    except pydantic.ValidationError as error:
        raise XbarError(_mistake(cls, data, begin, at, error)) from None


@functools.cache
def adapter(cls: Any) -> pydantic.TypeAdapter[Any]:
    """The reader of a dataclass, which is kept, as making one takes as long as dozens of uses."""
    return pydantic.TypeAdapter(cls)


def build_field(cls: type, name: str, data: Any) -> Any:
    """A field of a dataclass from plain data, as `build` of the whole gives it.

    Raises
    ------
    XbarError
        For data that the field does not take. It does not say where they stand; `build` does.
    """
    try:
        content = json.dumps(data, default=str)
        return _field_adapter(cls, name).validate_json(content, strict=True)
    except (ValueError, RecursionError) as error:  # also pydantic's
        raise XbarError(f"{name}: {error}") from None


@functools.cache
def _field_adapter(cls: type, name: str) -> pydantic.TypeAdapter[Any]:
    return adapter(typing.get_type_hints(cls, include_extras=True)[name])


def _mistake(cls: type, data: Any, begin: str, at: str, error: pydantic.ValidationError) -> str:
    """One line for the first mistake that pydantic found."""
    unknown = ("unexpected_keyword_argument", "extra_forbidden")
    errors = sorted(error.errors(), key=lambda one: one["type"] not in unknown)
    path = _field_path(cls, data, errors[0]["loc"])
    key, kind = at + ".".join(map(str, path)), errors[0]["type"]
    if kind in unknown:
        return f"{begin}{at}{_unknown_key(cls, data, path)}"
    if kind == "kind":
        return f"{begin}{key}.kind{errors[0]['msg']}"
    if kind in MISSING:
        keys = [at + ".".join(map(str, each)) for each in _missing(cls, data, errors)]
        return f"{begin}{', '.join(keys) or key}: missing"
    if kind in ("value_error", "assertion_error"):
        return f"{begin}{errors[0]['ctx']['error']}"
    messages = dict.fromkeys(e["msg"] for e in errors if _field_path(cls, data, e["loc"]) == path)
    said = f"{key} = {errors[0]['input']!r}"
    return f"{begin}{said}: {_in_our_words(list(messages))}"


MISSING = ("missing", "missing_argument")
WORDS = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a text in quotes",
    "a valid boolean": "true or false",
    "a valid array": "a list",
    "a valid tuple": "a list",
    "a valid dictionary": "a table",
    "an object": "a table",
}
"""What pydantic asks for, in the words of a file of TOML."""


def _in_our_words(messages: Sequence[str]) -> str:
    """A text of what is wrong with a value, from what pydantic says of it."""
    theirs = "Input should be "
    wanted = [each.removeprefix(theirs) for each in messages if each.startswith(theirs)]
    named = [next((ours for key, ours in WORDS.items() if each.startswith(key)), each) for each in wanted]
    others = [each for each in messages if not each.startswith(theirs)]
    return ", ".join([*([f"must be {' or '.join(dict.fromkeys(named))}"] if named else []), *others])


def _missing(cls: type, data: Any, errors: Sequence[Any]) -> list[list[int | str]]:
    """Paths of all missing keys that are not in one branch of a union."""
    paths = [(_field_path(cls, data, e["loc"]), e["loc"]) for e in errors if e["type"] in MISSING]
    return [path for path, location in paths if path == list(location)]


def _field_path(cls: type, data: Any, location: tuple[int | str, ...]) -> list[int | str]:
    """The part of pydantic's location that names keys; branches of a union are left out."""
    path: list[int | str] = []
    owner: Any = cls
    named = False  # whether the part is a name in a table of any names
    for part in location:
        if named:
            path.append(part)
            data, named = _part(data, part), False
            continue
        is_key = dataclasses.is_dataclass(owner) and part in {f.name for f in dataclasses.fields(owner)}
        if isinstance(part, str) and not is_key and part is not location[-1]:
            continue
        if isinstance(part, str) and not is_key and path and not dataclasses.is_dataclass(owner):
            continue
        path.append(part)
        data = _part(data, part)
        if is_key:
            named = _is_mapping(typing.get_type_hints(owner)[str(part)])
            owner = _resolve(owner, str(part), data)
    return path


def _part(data: Any, part: int | str) -> Any:
    """The value at a key or a place of plain data; None where there is none."""
    if isinstance(data, Mapping):
        return data.get(str(part))
    in_list = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
    return data[part] if in_list else None


def _is_mapping(hint: Any) -> bool:
    return any(typing.get_origin(part) in (dict, Mapping) for part in (hint, *typing.get_args(hint)))


def _unknown_key(cls: type, data: Any, path: list[int | str]) -> str:
    """Sentence for an unknown key: the fields of the dataclass that the path leads to are what is allowed."""
    owner: Any = cls
    for part in path[:-1]:
        data = _part(data, part)
        hints = {f.name: f.type for f in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else {}
        if isinstance(part, str) and part in hints:
            owner = _resolve(owner, part, data)
    names = sorted(f.name for f in dataclasses.fields(owner)) if dataclasses.is_dataclass(owner) else []
    near = nearest(str(path[-1]), names)
    inside = [f"{name}.{path[-1]}" for name in names if path[-1] in _names_inside(owner, name)]
    hint = f"did you mean {[*near, *inside][0]!r}? " if near or inside else ""
    return f"{'.'.join(map(str, path)):.200}: unknown key; {hint}allowed: {', '.join(names)}"


def _names_inside(owner: type, name: str) -> list[str]:
    """Names of the keys of the one table that a field is; none for lists of tables and values."""
    hint = typing.get_type_hints(owner)[name]
    return [field.name for field in dataclasses.fields(hint)] if dataclasses.is_dataclass(hint) else []


def _resolve(owner: type, name: str, table: Any) -> Any:
    """The dataclass behind a field's annotation, through Optional and containers, and that of the kind that
    the field's `table` names."""
    hint = typing.get_type_hints(owner, include_extras=True)[name]
    stack = [hint]
    while stack:
        candidate = stack.pop()
        for by_kind in getattr(candidate, "__metadata__", ()):
            if isinstance(by_kind, ByKind) and isinstance(table, Mapping):
                with contextlib.suppress(ValueError):  # the kind itself is the mistake
                    return by_kind.config_of(table)
        if dataclasses.is_dataclass(candidate) and isinstance(candidate, type):
            return candidate
        stack.extend(typing.get_args(candidate))
    return hint


def to_dict(value: Any) -> Any:
    """Nested plain data of a frozen dataclass, as TOML and JSON take it; None is left out.

    A dataclass whose table has another form than its fields gives that by a method `plain`.
    """
    if type(value) in SCALARS:
        return value
    if hasattr(value, "plain"):
        return to_dict(value.plain())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((name, getattr(value, name)) for name in _field_names(type(value)))
        return {name: to_dict(part) for name, part in pairs if part is not None}
    if isinstance(value, tuple | list):
        return [to_dict(part) for part in value]
    if isinstance(value, Mapping):
        return {str(name): to_dict(part) for name, part in value.items()}
    return value


SCALARS = frozenset({str, int, float, bool, type(None)})
"""Types of most values of a table; a sweep asks for those of each of its points."""


@functools.cache
def _field_names(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


def preset_names(kind: str) -> list[str]:
    """Names of the presets that ship: kind is ``devices`` or ``designs``."""
    return sorted(_presets(kind))


@functools.cache
def _presets(kind: str) -> dict[str, Path]:
    """Files of the presets that ship, by name."""
    folder = Path(str(resources.files("xbar.hardware"))) / kind
    return {path.stem: path for path in folder.glob("*.toml")}


def _find(kind: str, name: str | Path) -> Path:
    """Path of a preset by name, or of a user's TOML file."""
    if not isinstance(name, str | Path):
        raise XbarError(
            f"{kind[:-1]}: a {type(name).__name__}; must be the name of a preset, or the path of a TOML file"
        )
    name = str(name)
    if name.endswith(".toml"):
        return Path(name)
    presets = _presets(kind)
    if name not in presets:
        raise unknown_name(f"{kind[:-1]} preset (or a path that ends in .toml)", name, sorted(presets))
    return presets[name]


def load_device(name: str | Path) -> Device:
    """A device by preset name or path of a TOML file.

    Raises
    ------
    XbarError
        For an unknown preset, a missing file, an unknown or impossible key.
    """
    path = _find("devices", name)
    return _preset_device(path) if path in _presets("devices").values() else _device(path)


def _device(path: Path) -> Device:
    return build(Device, read_toml(path), str(path.name))


_preset_device = functools.cache(_device)
"""The device of a preset that ships: built once, as sweeps name it at every point."""


def hardware_dict(name: str | Path) -> dict[str, Any]:
    """Plain data of a whole-hardware preset (or file), its device preset resolved in place."""
    path = _find("designs", name)
    read = _read_preset if path in _presets("designs").values() else read_toml
    return resolve_device(beside(read(path), path.parent), path.name, path.parent)


_read_preset = functools.cache(read_toml)
"""The contents of a design that ships, which nobody changes."""


PRICED_BY = (("periphery", "architecture"), ("periphery", "library"), ("adc", "library"))
"""Keys that name a file of the room `power`."""


def beside(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`data` of a design with the paths of its architecture and libraries as they are from here, where such a
    file lies in `folder`, that of the design."""
    found = dict(data)
    for table, key in PRICED_BY:
        own = found.get(table)
        name = own.get(key) if isinstance(own, dict) else None
        if isinstance(own, dict) and isinstance(name, str) and name.endswith(".toml"):
            path = folder / name
            found[table] = {**own, key: str(path) if path.is_file() else name}
    return found


def resolve_device(data: dict[str, Any], where: str, folder: Path | None = None) -> dict[str, Any]:
    """`data` with a device given by name replaced by the contents of its preset.

    A device table may name a preset to start from in the key `base` and change some of its values. The path
    of a device file is looked up in `folder` first, that of the file which names it.
    """
    device = data.get("device")

    def load(name: str) -> dict[str, Any]:
        beside = folder is not None and name.endswith(".toml") and (folder / name).is_file()
        with naming(where):
            loaded: dict[str, Any] = to_dict(load_device(str(folder / name) if folder and beside else name))
        return loaded

    if isinstance(device, str):
        return {**data, "device": load(device)}
    if isinstance(device, dict) and "base" in device:
        changes = {key: value for key, value in device.items() if key != "base"}
        return {**data, "device": {**load(str(device["base"])), **changes}}
    if device is None:
        raise XbarError(f"{where}: device: missing; a preset's name or a table")
    return data


def load_hardware(name: str | Path) -> Hardware:
    """A whole-hardware preset by name, or a user's TOML file by path.

    Raises
    ------
    XbarError
        For an unknown preset, a missing file, an unknown or impossible key.
    """
    return build(Hardware, hardware_dict(name), str(name))
