"""A function has at most 60 lines beside its docstring: longer ones are steps that have no names yet."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("xbar", "mapping", "power", "models", "experiments")
MOST = 60


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function with its head, without its docstring and decorators."""
    assert function.end_lineno is not None
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    of_docstring = 0
    if docstring is not None:
        assert docstring.end_lineno is not None
        of_docstring = docstring.end_lineno - docstring.lineno + 1
    return function.end_lineno - function.lineno + 1 - of_docstring


def functions() -> dict[str, int]:
    """Lines of every function and method of the five rooms, by file and name."""
    found: dict[str, int] = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    name = f"{path.relative_to(ROOT).as_posix()}:{node.name}"
                    found[name] = max(found.get(name, 0), lines_of(node))
    return found


def test_lines_are_counted_without_the_docstring() -> None:
    (function,) = ast.parse(
        '@one\ndef f(\n    x: int,\n) -> int:\n    """A.\n\n    B.\n    """\n    return x\n'
    ).body
    assert isinstance(function, ast.FunctionDef)
    assert lines_of(function) == 4


def test_no_function_is_longer() -> None:
    found = functions()
    assert len(found) > 1000
    assert {name for name, lines in found.items() if lines > MOST} == set()
