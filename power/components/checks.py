"""What the readers of component libraries share: where a library lies, and what its numbers must be."""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path

from xbar.hardware.errors import XbarError, unknown_name
from xbar.hardware.files import read_toml

MOST = 1e18
"""Of any price or count in a library: a sum of products of them stays finite."""


def find_library(key: str, name: str, holds: set[str]) -> Path:
    """Path of the library `name`: a file that has one of the tables `holds`, or any whose path is given.

    Raises
    ------
    XbarError
        For a name that no library of this kind has.
    """
    if name.endswith(".toml"):
        return Path(name)
    folder = Path(str(resources.files("power.components")))
    paths = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    if name not in paths or not holds & read_toml(paths[name]).keys():
        allowed = [stem for stem, path in paths.items() if holds & read_toml(path).keys()]
        raise unknown_name(f"{key} (or a path that ends in .toml)", name, allowed)
    return paths[name]


def check_positive(key: str, value: float) -> None:
    """Refuse what is not a positive number, or is one beyond all measure.

    Raises
    ------
    XbarError
        With the key and the value.
    """
    if not (math.isfinite(value) and 0 < value <= MOST):
        raise XbarError(f"{key} = {value}: must be a positive number, at most {MOST:g}")
