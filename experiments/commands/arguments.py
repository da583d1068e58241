"""Checks of arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path

from xbar.hardware.errors import XbarError

DEFAULT_DESIGN = "admm-32x32"
"""Design that a network is put on where none is named."""


def check_file(key: str, path: Path | None) -> None:
    """Refuse a path that is a folder, or none at all."""
    if path is not None and (not path.name or path.is_dir()):
        raise XbarError(f"{key} {path}: is a folder; must be the path of a file")


def check_figure(path: Path | None, option: str = "--figure") -> None:
    """Refuse a path that no figure can be drawn into."""
    if path is not None and path.suffix not in (".svg", ".png", ".pdf"):
        raise XbarError(f"{option} {path}: the file's name must end in .svg, .png or .pdf")
    check_file(option, path)
