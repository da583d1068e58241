"""Kernels where neither the package nor the user's cache folder can be written, as in containers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from numba.core import caching

for locator in (caching.InTreeCacheLocator, caching.UserWideCacheLocator):
    locator.from_function = classmethod(lambda cls, function, file: None)

from xbar.machine.kernels import njit
from xbar.multiply.blocks import Block

@njit(cache=True)
def twice(x):
    return 2 * x

@njit(cache=True)
def thrice(x):
    return 3 * x

print(twice(21), thrice(14))
"""


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    here = {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, **here},
        capture_output=True,
        text=True,
        check=False,
    )


def test_kernels_are_kept_in_a_temporary_folder(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.stdout == "42 42\n", done.stderr
    (folder,) = tmp_path.glob("xbar-kernels-*")
    assert len(done.stderr.splitlines()) == 1
    assert f"compiled kernels are kept in {folder}" in done.stderr
    assert folder.stat().st_mode & 0o777 == 0o700
    assert any(path.suffix == ".nbc" for path in folder.rglob("*"))


def test_a_folder_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / f"xbar-kernels-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    done = run(tmp_path)
    assert done.stdout == "42 42\n", done.stderr
    assert "made anew in each process" in done.stderr
    assert not list(folder.iterdir())
