"""Who makes a result: the machine, and a digest of the code with the versions that its numbers depend on."""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

from xbar.hardware.errors import OURS, ROOT

SUFFIXES = (".py", ".toml")
LIBRARIES = ("torch", "numpy", "numba", "scipy")
"""Libraries whose version may change a result."""


@dataclass(frozen=True)
class Maker:
    """Host, digest of our code, and versions; all empty where nobody could say."""

    host: str = ""
    code: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def differs_from(self, other: Maker) -> str:
        """Say which code and libraries differ; empty if none do."""
        found = [
            f"{name} {self.versions.get(name, 'none')} (here {other.versions.get(name, 'none')})"
            for name in LIBRARIES
            if self.versions.get(name) != other.versions.get(name)
        ]
        if self.code != other.code:
            found.insert(0, f"code {self.code or 'unknown'} (here {other.code})")
        return ", ".join(found)


def this_maker() -> Maker:
    """This process."""
    from experiments.results.summary import versions

    return Maker(platform.node(), code_digest(), versions())


@functools.cache
def code_digest() -> str:
    """16 hexadecimal digits of all our files of code and data, by name and content."""
    digest = hashlib.sha256()
    for folder in OURS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                content = path.read_bytes()
                digest.update(f"{path.relative_to(ROOT).as_posix()} {len(content)}\n".encode())
                digest.update(content)
    return digest.hexdigest()[:16]
