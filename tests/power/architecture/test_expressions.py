"""Arithmetic in files: what Python gives for it, and what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from power.architecture.expressions import check_expression, names_of, value_of
from xbar.hardware.errors import XbarError

NAMES = {"rows": 128.0, "cols": 64.0, "planes": 2.0}
leaves = st.one_of(st.integers(0, 99).map(str), st.sampled_from(sorted(NAMES)))
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "*", "/", "//", "%", "-"]), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
        st.tuples(st.sampled_from(["ceil", "floor", "sqrt"]), inner).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} > 3 else {p[2]})"),
    ),
    max_leaves=8,
)


@given(expressions)
def test_the_value_is_that_of_python_or_is_refused(text: str) -> None:
    functions = {"ceil": math.ceil, "floor": math.floor, "sqrt": math.sqrt}
    try:
        expected = float(eval(text, functions, dict(NAMES)))
    except (ArithmeticError, ValueError):
        expected = math.nan
    if math.isfinite(expected) and expected >= 0:
        assert value_of("count", text, NAMES) == expected
    else:
        with pytest.raises(XbarError, match=r"^count = "):
            value_of("count", text, NAMES)


def test_a_number_is_itself_and_names_are_found() -> None:
    assert value_of("count", 0, {}) == 0
    assert value_of("count", 2.5, {}) == 2.5
    assert names_of("count", "max(rows, cols) if planes > 1 else 3") == {"rows", "cols", "planes"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("row + 1", "unknown name 'row'; did you mean 'rows'?"),
        ("rows +", "is no arithmetic; allowed: numbers, names"),
        ("rows ** 2", "is no arithmetic"),
        ("'a'", "is no arithmetic"),
        ("rows.real", "is no arithmetic"),
        ("[rows][0]", "is no arithmetic"),
        ("__import__('os')", "calls what is no function of these"),
        ("(lambda: 1)()", "calls what is no function of these"),
        ("max(rows, key=cols)", "calls what is no function of these"),
        ("ceil + 1", "unknown name 'ceil'"),
        ("True", "is no arithmetic"),
        ("1 +" * 400 + "1", "has 1201 characters; at most 1000"),
        ("(" * 300 + "1" + ")" * 300, "is no arithmetic"),
        ("", "is no arithmetic"),
        ("+" * 999 + "1", "is no arithmetic"),
    ],
)
def test_what_is_no_arithmetic_is_refused(text: str, words: str) -> None:
    with pytest.raises(XbarError, match=r"^own\.count") as caught:
        check_expression("own.count", text, NAMES)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rows / (cols - cols)", "division by zero"),
        ("cols - rows", "gives -64; must give a number from 0 on"),
        ("1e300 * 1e300", "gives inf"),
        ("log2(0)", "own.count = "),
        ("max(3)", "own.count = "),
        ("ceil(1, 2)", "own.count = "),
        (-1.0, "gives -1; must give a number from 0 on"),
    ],
)
def test_a_value_that_is_no_count_is_refused(text: str | float, words: str) -> None:
    with pytest.raises(XbarError, match=r"^own\.count = ") as caught:
        value_of("own.count", text, NAMES)
    assert words in str(caught.value)
