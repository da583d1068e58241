"""Conditions between the keys of a study, such as ``hardware.crossbar.rows * hardware.adc.bits <= 512``."""

from __future__ import annotations

import ast
import functools
import keyword
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

from xbar.hardware.errors import XbarError

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "len": len,
    "log2": math.log2,
    "max": max,
    "min": min,
    "round": lambda number, digits=0: round(number, max(-MOST_DIGITS, min(MOST_DIGITS, digits)) or None),
    "sqrt": math.sqrt,
}
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
MOST_DIGITS = 300
"""Decimal digits of a whole number on the way: about as many as a floating-point number has."""
_WORD = re.compile(r"""("[^"]*"|'[^']*')|(?<![\w.])[A-Za-z_]\w*(?:\.\w+)*""")
_ALLOWED = (
    *(ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.Constant, ast.Call),
    *(ast.Name, ast.Load, ast.List, ast.Tuple, ast.boolop, *OPERATORS, ast.unaryop, ast.cmpop),
)


class _Bounded(ast.NodeTransformer):
    """Makes calls of `_computed` of arithmetic: ``9**9**9`` and ``"a" * 10**9`` would take all time or
    memory."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.Call:
        self.generic_visit(node)
        which = ast.Constant(list(OPERATORS).index(type(node.op)))
        return ast.Call(ast.Name(_COMPUTED, ast.Load()), [which, node.left, node.right], [])


_COMPUTED = "_computed"


def _computed(which: int, left: Any, right: Any) -> Any:
    """Arithmetic of two numbers.

    Raises
    ------
    TypeError, OverflowError
        For what is no number, and for whole numbers of more than `MOST_DIGITS` digits.
    """
    compute = list(OPERATORS.values())[which]
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        raise TypeError(f"computes with {left!r:.40} and {right!r:.40}; must be numbers")
    digits = [math.log10(abs(x)) if x else 0.0 for x in (left, right)]
    whole = isinstance(left, int) and isinstance(right, int)
    if whole and (right * digits[0] if compute is operator.pow else sum(digits)) > MOST_DIGITS:
        raise OverflowError(f"a number has more than {MOST_DIGITS} digits")
    return compute(left, right)


@dataclass(frozen=True)
class Condition:
    """A condition that a study must meet: an expression over its dotted keys, numbers, texts and `FUNCTIONS`.

    Raises
    ------
    XbarError
        For a text that is no such expression.
    """

    text: str

    def __post_init__(self) -> None:
        _parsed(self.text)

    @property
    def keys(self) -> list[str]:
        """The dotted keys that it reads."""
        return list(_parsed(self.text)[1])

    def holds(self, data: Mapping[str, Any]) -> bool:
        """Whether the condition is true for plain data.

        Raises
        ------
        XbarError
            For a key that the data has not, and where the expression cannot be computed.
        """
        code, keys = _parsed(self.text)
        names = {name: self._value(data, key) for key, name in keys.items()}
        try:
            return bool(eval(code, {"__builtins__": {}, **FUNCTIONS, **names, _COMPUTED: _computed}))
        except (TypeError, ValueError, ArithmeticError) as error:
            raise XbarError(f"{self.text!r}: {error}") from None

    def _value(self, data: Any, key: str) -> Any:
        for part in key.split("."):
            if isinstance(data, Mapping):
                inside: dict[str, Any] = dict(data)
            else:
                inside = {str(i): one for i, one in enumerate(data)} if isinstance(data, list) else {}
            if part not in inside:
                allowed = f"has {', '.join(inside)}" if inside else "is a value"
                raise XbarError(f"{self.text!r}: {key}: no key {part!r}; what is before it {allowed}")
            data = inside[part]
        return data


@functools.cache
def _parsed(text: str) -> tuple[CodeType, dict[str, str]]:
    """Compiled expression, and the names in it of the keys."""
    keys: dict[str, str] = {}

    def named(match: re.Match[str]) -> str:
        word = match.group()
        if match.group(1) or word in FUNCTIONS or keyword.iskeyword(word):
            return word
        return keys.setdefault(word, f"_key{len(keys)}")

    try:
        tree = ast.parse(_WORD.sub(named, text.strip()), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise XbarError(f"{text!r}: not an expression such as hardware.adc.bits <= 8") from None
    for node in ast.walk(tree):
        calls = isinstance(node, ast.Call) and not isinstance(node.func, ast.Name)
        if calls or not isinstance(node, _ALLOWED):
            raise XbarError(
                f"{text!r}: only keys, numbers, texts, comparisons, and, or, not, + - * / // % ** and "
                f"{', '.join(FUNCTIONS)} are allowed"
            )
    bounded = ast.fix_missing_locations(_Bounded().visit(tree))
    return compile(bounded, "condition", "eval"), keys
