"""A docstring has a subject: it does not begin with "What", and none of its lines begins with "Of"."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("xbar", "mapping", "power", "models", "experiments", "benchmarks")
LOST_FIRST = re.compile(r"(Of|What)\b")
LOST_LATER = re.compile(r"^ *Of\b", re.MULTILINE)


def complaints(source: str) -> list[str]:
    """Names of the definitions of a module, itself included, with a docstring that lacks a subject."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            is_question = isinstance(node, ast.Module) and text.partition("\n")[0].endswith("?")
            if (LOST_FIRST.match(text) and not is_question) or LOST_LATER.search(text):
                found.append(getattr(node, "name", "module"))
    return found


def test_a_lost_subject_is_found() -> None:
    assert complaints('"""What is it?"""') == []
    assert complaints('"""What a reader found."""') == ["module"]
    assert complaints('def f():\n    """Of a layer."""') == ["f"]
    assert complaints('class A:\n    """A layer.\n\n    k\n        Of the layer.\n    """') == ["A"]
    assert complaints('def f():\n    """Often, a layer."""') == []


def test_docstrings_have_a_subject() -> None:
    modules = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(modules) > 300
    found = {str(path.relative_to(ROOT)): complaints(path.read_text(encoding="utf-8")) for path in modules}
    assert {path: names for path, names in found.items() if names} == {}
