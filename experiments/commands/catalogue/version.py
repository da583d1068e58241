"""`xbar version`: which version of xbar this is."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True)
class VersionCommand:
    """Print the version."""

    def __call__(self) -> None:
        print(version("xbar-codesign"))
