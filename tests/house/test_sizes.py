"""Modules and folders stay small enough to be found and read."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 450
MOST_MODULES = 12


@pytest.mark.parametrize("room", ["experiments", "power", "mapping", "xbar", "models"])
def test_a_module_is_short_and_a_folder_holds_a_dozen(room: str) -> None:
    modules: dict[Path, int] = {}
    for path in (ROOT / room).rglob("*.py"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MOST_LINES, f"{path.relative_to(ROOT)} has {lines} lines: split it by question"
        modules[path.parent] = modules.get(path.parent, 0) + (path.name != "__init__.py")
    assert modules
    for folder, count in modules.items():
        assert count <= MOST_MODULES, f"{folder.relative_to(ROOT)} holds {count} modules"
