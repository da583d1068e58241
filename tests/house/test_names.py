"""A class name has one meaning across the project."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("xbar", "mapping", "power", "models", "experiments")


def names_of_types() -> dict[str, list[str]]:
    """Modules by the name of a class that they define, or of a type that they give a name."""
    found = defaultdict(list)
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(str(path.relative_to(ROOT)))
                elif isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name):
                    is_type = target.id[0].isupper() and not target.id.isupper() and len(target.id) > 1
                    if is_type:
                        found[target.id].append(str(path.relative_to(ROOT)))
    return found


def test_no_two_types_have_one_name() -> None:
    found = names_of_types()
    assert len(found) > 150
    assert {name: homes for name, homes in found.items() if len(homes) > 1} == {}
