"""Arithmetic in files: numbers, names, ``+ - * / // %``, comparisons, ``a if b else c``, some functions."""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from types import CodeType
from typing import Any

from xbar.hardware.errors import XbarError, unknown_name

Expression = float | str
"""A number, or arithmetic over names."""

FUNCTIONS: dict[str, Callable[..., float]] = {
    "ceil": math.ceil,
    "floor": math.floor,
    "min": min,
    "max": max,
    "log2": math.log2,
    "sqrt": math.sqrt,
}

_KNOWN = {"__builtins__": {}, **FUNCTIONS}

_ALLOWED = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.IfExp, ast.Compare, ast.BoolOp),
    *(ast.BinOp, ast.UnaryOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.USub, ast.UAdd),
    *(ast.And, ast.Or, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)

LONGEST = 1000
"""Characters of an expression."""


def check_expression(key: str, text: Expression, known: Iterable[str]) -> None:
    """Refuse what is no arithmetic over `known` names.

    Raises
    ------
    XbarError
        With the key, and what is allowed.
    """
    for name in sorted(names_of(key, text)):
        if name not in (allowed := set(known)):
            raise unknown_name(key, name, allowed)


def names_of(key: str, text: Expression) -> frozenset[str]:
    """Names that an expression reads, functions left out; errors as those of `value_of`."""
    return frozenset() if not isinstance(text, str) else _parsed(key, text)[1]


def addends_of(key: str, text: Expression) -> tuple[frozenset[str], ...]:
    """Names that each addend of a sum or difference reads; errors as those of `value_of`."""
    if not isinstance(text, str):
        return ()
    names = names_of(key, text)
    found, left = [], [ast.parse(text.strip(), mode="eval").body]
    while left:
        node = left.pop()
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            left += [node.left, node.right]
        else:
            found.append(names & {part.id for part in ast.walk(node) if isinstance(part, ast.Name)})
    return tuple(found)


def value_of(key: str, text: Expression, names: Mapping[str, float]) -> float:
    """Value of an expression over numbers by name.

    Raises
    ------
    XbarError
        For what is no arithmetic, divides by zero, or gives no number from 0 on; with the key.
    """
    if isinstance(text, str):
        code, _ = _parsed(key, text)
        try:
            value = float(eval(code, _KNOWN, names))
        except (ArithmeticError, ValueError, TypeError) as error:
            raise XbarError(f"{key} = {text!r:.100}: {error}") from None
    else:
        value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise XbarError(f"{key} = {text!r:.100}: gives {value:g}; must give a number from 0 on")
    return value


@functools.lru_cache(maxsize=1024)
def _parsed(key: str, text: str) -> tuple[CodeType, frozenset[str]]:
    """Code of an expression of which every part is allowed, and the names that it reads."""
    allowed = f"allowed: numbers, names, + - * / // %, comparisons, a if b else c, {', '.join(FUNCTIONS)}"
    if len(text) > LONGEST:
        raise XbarError(f"{key}: has {len(text)} characters; at most {LONGEST}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        code = compile(tree, "<expression>", "eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise XbarError(f"{key} = {text!r:.100}: is no arithmetic; {allowed}") from None
    called: set[int] = set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS or node.keywords:
                raise XbarError(f"{key} = {text!r:.100}: calls what is no function of these; {allowed}")
            called.add(id(node.func))
    for node in ast.walk(tree):
        wrong: Any = not isinstance(node, _ALLOWED)
        wrong |= isinstance(node, ast.Constant) and type(node.value) not in (int, float)
        if wrong:
            raise XbarError(f"{key} = {text!r:.100}: is no arithmetic; {allowed}")
        if isinstance(node, ast.Name) and id(node) not in called:
            names.add(node.id)
    return code, frozenset(names)
