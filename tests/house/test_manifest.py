"""The source distribution holds tests and kept runs: MANIFEST.in names every ending of their files."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = dict(
    line.removeprefix("recursive-include ").split(" ", 1)
    for line in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()
    if line.startswith("recursive-include ")
)


@pytest.mark.parametrize("folder", ["tests", "results"])
def test_every_file_has_an_ending_that_the_manifest_names(folder: str) -> None:
    files = [path for path in (ROOT / folder).rglob("[!.]*.*") if path.is_file() and path.suffix != ".pyc"]
    assert len(files) > 40
    patterns = MANIFEST[folder].split()
    assert [path.name for path in files if not any(fnmatch(path.name, one) for one in patterns)] == []
    assert [one for one in patterns if not any(fnmatch(path.name, one) for path in files)] == []
