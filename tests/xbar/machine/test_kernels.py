"""Kernels where neither the package nor the user's cache folder can be written, as in containers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from xbar.machine.kernels import remove_stale

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


def test_kernels_of_other_sources_are_removed(tmp_path: Path) -> None:
    """A kernel holds the code of those that it calls, in whatever file."""
    folder = tmp_path / "xbar" / "multiply"
    (folder / "__pycache__").mkdir(parents=True)
    (tmp_path / "xbar" / "machine").mkdir()
    (folder / "callee.py").write_text("@njit\ndef f(x): return x")
    (folder / "plain.py").write_text("a = 1")
    compiled = [folder / "__pycache__" / f"caller.{end}" for end in ("nbi", "nbc")]

    def after(change: str, text: str) -> bool:
        (folder / change).write_text(text)
        for path in compiled:
            path.touch()
        remove_stale.cache_clear()
        remove_stale(tmp_path)
        left = [path.exists() for path in compiled]
        assert len(set(left)) == 1
        return left[0]

    assert not after("plain.py", "a = 1")  # compiled before there was a digest
    assert after("plain.py", "a = 2")
    assert not after("callee.py", "@njit\ndef f(x): return x + 1")
    assert after("callee.py", "@njit\ndef f(x): return x + 1")
    assert not after("moved.py", "@njit\ndef g(x): return x")


COLD = """
from xbar.machine import kernels

@kernels.njit(cache=True)
def twice(x):
    return 2 * x

kernels.MOMENT_S, kernels.ROOMS = 0.0, ("__main__",)
print(twice(21))
"""


def test_compilation_is_told_where_no_cache_has_the_kernel(tmp_path: Path) -> None:
    """The first evaluation took over a minute without a word."""
    program = tmp_path / "program.py"
    program.write_text(COLD)
    told = []
    for _ in range(2):
        here = {
            "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        done = subprocess.run(
            [sys.executable, str(program)],
            env={**os.environ, **here},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "42\n"
        told.append(done.stderr)
    assert told == ["xbar: compiling kernels, once on this machine; this takes a minute or two\n", ""]
