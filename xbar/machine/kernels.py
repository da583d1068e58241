"""Compilation of kernels, with a cache on the disk wherever one can be written.

Numba keeps compiled kernels beside the package, or else in the user's cache folder. In containers both are
often read-only, and it then refuses to compile at all.
"""

from __future__ import annotations

import functools
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Compiled = TypeVar("Compiled", bound=Callable[..., Any])


def njit(**options: Any) -> Callable[[Compiled], Compiled]:
    """`numba.njit`; a cache that cannot be written is one in a temporary folder, or none, with one line."""

    def compiled(function: Compiled) -> Compiled:
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
