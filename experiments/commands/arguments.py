"""Checks of arguments that several verbs share."""

from __future__ import annotations

import re
from pathlib import Path

from xbar.hardware.errors import XbarError

DEFAULT_DESIGN = "admm-32x32"
"""Design that a network is put on where none is named."""


def check_file(key: str, path: Path | None) -> None:
    """Refuse a path that is a folder, or none at all."""
    if path is not None and (not path.name or path.is_dir()):
        raise XbarError(f"{key} {path}: is a folder; must be the path of a file")


def input_shape(text: str) -> tuple[int, ...] | None:
    """Sizes of one input; None where none are given."""
    if text and not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text):
        raise XbarError(f"--input {text}: must be sizes joined by x, without the batch, as 3x224x224")
    return tuple(map(int, text.split("x"))) if text else None


def check_figure(path: Path | None) -> None:
    """Refuse a path that no figure can be drawn into."""
    if path is not None and path.suffix not in (".svg", ".png", ".pdf"):
        raise XbarError(f"--figure {path}: the file's name must end in .svg, .png or .pdf")
    check_file("--figure", path)
