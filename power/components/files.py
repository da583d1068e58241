"""Where the files that price a chip lie, what they say, and what their numbers must be."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from xbar.hardware.errors import XbarError, unknown_name
from xbar.hardware.files import read_toml

MOST = 1e18
"""No price or count in a file may be larger, so that sums of their products stay finite."""


class TomlFile(NamedTuple):
    """A file as it was read: what is made of it can be kept by it."""

    path: Path
    content: bytes


def read_file(path: Path) -> TomlFile:
    """A TOML file with its bytes.

    Raises
    ------
    XbarError
        Where the file is missing, unreadable, or not TOML.
    """
    try:
        file = TomlFile(path, path.read_bytes())
    except OSError:
        read_toml(path)  # which says what is wrong with it
        raise
    said(file)
    return file


@functools.lru_cache(maxsize=128)
def said(file: TomlFile) -> Mapping[str, Any]:
    """The content of a file, parsed once for its bytes."""
    return MappingProxyType(read_toml(file.path))


def find_file(
    key: str, name: str, holds: set[str], room: str = "power.components", folder: Path | None = None
) -> TomlFile:
    """The file `name`: one that ships and has one of the tables `holds`, or any whose path is given.

    Parameters
    ----------
    key
        What named it, for the error.
    room
        The package beside whose code those that ship lie.
    folder
        That of the file which names it: a path is looked up there first.

    Raises
    ------
    XbarError
        For a name that no file of this kind has.
    """
    if name.endswith(".toml"):
        beside = None if folder is None else folder / name
        return read_file(beside if beside is not None and beside.is_file() else Path(name))
    paths = _that_ship(room)
    if name not in paths or not holds & said(read_file(paths[name])).keys():
        allowed = [stem for stem, path in paths.items() if holds & said(read_file(path)).keys()]
        raise unknown_name(f"{key} (or a path that ends in .toml)", name, allowed)
    return read_file(paths[name])


@functools.cache
def _that_ship(room: str) -> dict[str, Path]:
    """Files beside the code of a package, by name."""
    return {path.stem: path for path in sorted(Path(str(resources.files(room))).glob("*.toml"))}


def file_and_bases(
    key: str, name: str, holds: set[str], room: str = "power.components"
) -> tuple[TomlFile, ...]:
    """A file and that of each ``base`` behind it, whose path is looked up beside the file that names it.

    Raises
    ------
    XbarError
        For a file that cannot be had, or a base that leads back.
    """
    names: list[str] = []
    found: list[TomlFile] = []
    folder: Path | None = None
    while True:
        file = find_file(key, name, holds, room, folder)
        if found and file.path.resolve() in (known.path.resolve() for known in found):
            raise XbarError(f"{key}: {' -> '.join((*names, name))}: a base that leads back to itself")
        found.append(file)
        base = said(file).get("base")
        if base is None:
            return tuple(found)
        if not isinstance(base, str):
            raise XbarError(
                f"{file.path.name}: base = {base!r}: must be the name of a file that ships, or a path"
            )
        names.append(name)
        name, folder = base, file.path.parent


def table_of(file: TomlFile, key: str) -> Mapping[str, Any]:
    """A table of a file, empty where it has none.

    Raises
    ------
    XbarError
        Where the key is no table.
    """
    table = said(file).get(key, {})
    if not isinstance(table, dict):
        raise XbarError(f"{file.path.name}: {key} = {table!r:.60}: must be a table")
    return table


def check_positive(key: str, value: float) -> None:
    """Refuse what is not a positive number, or is one beyond all measure.

    Raises
    ------
    XbarError
        With the key and the value.
    """
    if not (math.isfinite(value) and 0 < value <= MOST):
        raise XbarError(f"{key} = {value}: must be a positive number, at most {MOST:g}")


def check_cost(key: str, value: float) -> None:
    """Refuse what is no price: a number from 0 on, which is one.

    Raises
    ------
    XbarError
        With the key and the value.
    """
    if not (math.isfinite(value) and 0 <= value <= MOST):
        raise XbarError(f"{key} = {value}: must be a number from 0 to {MOST:g}")
