"""The kind of a user's TOML file: a study, a sweep, a search, a design or a device, told by its keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xbar.hardware.errors import XbarError
from xbar.hardware.files import read_toml

KINDS: dict[str, tuple[str, str]] = {
    "sweep": ("axes", "`xbar sweep` takes it"),
    "search": ("space", "`xbar search` takes it"),
    "study": ("network", "`xbar run` takes it"),
    "design": ("crossbar", "a study takes it by hardware.base, and commands by --hardware"),
    "device": ("g_max", "a study takes it by hardware.device, and `xbar devices` shows it"),
}
"""By kind a key that files of this kind have and no other, and what takes them."""


def check_kind(raw: Mapping[str, Any], kind: str, where: str) -> None:
    """Refuse the contents of a file that is of another kind.

    Raises
    ------
    XbarError
        With what the file is, and what takes it.
    """
    if KINDS[kind][0] in raw:
        return
    for other, (key, taker) in KINDS.items():
        if key in raw:
            raise XbarError(f"{where}: is a {other}, no {kind}; {taker}")


def check_file_kind(name: str, kind: str) -> None:
    """Refuse a file of another kind; a built-in name, and a file that is not there, are left to others."""
    if name.endswith(".toml") and Path(name).is_file():
        check_kind(read_toml(Path(name)), kind, name)
