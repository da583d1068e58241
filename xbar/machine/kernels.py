"""Compilation of kernels, with a cache on the disk wherever one can be written.

Numba keeps compiled kernels beside the package, or else in the user's cache folder. In containers both are
often read-only, and it then refuses to compile at all.

A kernel holds the machine code of those that it calls, and numba only looks whether its own file has changed.
So kernels that were compiled from other sources than today's, of any file with kernels, are removed first.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import event

from xbar.hardware.errors import ROOT

Compiled = TypeVar("Compiled", bound=Callable[..., Any])
ROOMS = ("xbar", "mapping", "power", "experiments")
"""Packages that may have kernels."""
MOMENT_S = 2.0
"""Compilation that takes longer than this is told."""


def njit(**options: Any) -> Callable[[Compiled], Compiled]:
    """`numba.njit`; a cache that cannot be written is one in a temporary folder, or none, with one line."""

    def compiled(function: Compiled) -> Compiled:
        remove_stale(ROOT)
        try:
            kernel: Compiled = numba.njit(**options)(function)
            return kernel
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
        folder = _temporary_cache()
        if not folder:
            kernel = numba.njit(**{**options, "cache": False})(function)
            return kernel
        config: Any = numba.config
        config.CACHE_DIR = folder
        kernel = numba.njit(**options)(function)
        return kernel

    return compiled


@functools.cache
def _temporary_cache() -> str:
    """A folder for compiled kernels that nobody else can write; empty where there is none."""
    folder = Path(tempfile.gettempdir()) / f"xbar-kernels-{os.getuid()}"
    told = "xbar: neither the package nor the user's cache folder can be written"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        there = folder.lstat()
        # What is cached is run: a folder that another user made, or may write, is not to be trusted.
        own = there.st_uid == os.getuid() and stat.S_ISDIR(there.st_mode) and not there.st_mode & 0o022
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        own = False
    kept = f"kept in {folder}" if own else "made anew in each process (NUMBA_CACHE_DIR=FOLDER keeps them)"
    print(f"{told}; compiled kernels are {kept}", file=sys.stderr)
    return str(folder) if own else ""


class Compiling(event.Listener):
    """Tells on standard error, once, that kernels are being compiled, where that takes more than a moment.

    Numba tells it of kernels that are in no cache; those that are loaded from one are not compiled.
    """

    def __init__(self) -> None:
        self.spent, self.began, self.depth, self.told = 0.0, 0.0, 0, False

    def on_start(self, event: Any) -> None:
        """A kernel, or one that it calls, begins to be compiled."""
        kernel = event.data["dispatcher"]
        ours = kernel.py_func.__module__.partition(".")[0] in ROOMS
        if self.depth == 0:
            self.began = time.monotonic()
        self.depth += 1
        if ours and not self.told and self.spent + time.monotonic() - self.began > MOMENT_S:
            self.told = True
            once = "" if type(kernel._cache).__name__ == "NullCache" else ", once on this machine"
            print(f"xbar: compiling kernels{once}; this takes a minute or two", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        """It is compiled."""
        self.depth -= 1
        if self.depth == 0:
            self.spent += time.monotonic() - self.began


compiling = Compiling()
event.register("numba:compile", compiling)  # type: ignore[no-untyped-call]


@functools.cache
def remove_stale(home: Path) -> None:
    """Remove compiled kernels beside the packages of a folder where those were compiled from other sources.

    A file in this package's cache holds the digest of the sources. Where it cannot be written, nothing is
    removed, and numba could not write its own files there either.
    """
    files = [path for room in ROOMS for path in sorted((home / room).rglob("*.py"))]
    sources = ((path, path.read_bytes()) for path in files)
    digest = hashlib.blake2b(digest_size=16)
    for path, source in sources:
        if b"njit" in source or b"intrinsic" in source:
            digest.update(f"{path.relative_to(home)} {len(source)}\n".encode() + source)
    kept = home / "xbar" / "machine" / "__pycache__" / "kernels.digest"
    with contextlib.suppress(OSError):
        if kept.exists() and kept.read_text(encoding="ascii") == digest.hexdigest():
            return
        for room in ROOMS:
            for index in (home / room).rglob("__pycache__/*.nb[ic]"):
                index.unlink(missing_ok=True)
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(digest.hexdigest(), encoding="ascii")
