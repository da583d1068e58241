"""Conditions between keys."""

from __future__ import annotations

import re
import time

import pytest

from experiments.sweeps.conditions import Condition
from xbar import XbarError

DATA = {
    "seed": 3,
    "hardware": {"crossbar": {"rows": 64, "cols": 32}, "encoding": {"kind": "differential"}},
    "cases": [{"sigma": 0.1}, {"sigma": 0.2}],
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("hardware.crossbar.rows * hardware.crossbar.cols <= 2048", True),
        ("hardware.crossbar.rows * hardware.crossbar.cols < 2048", False),
        ("log2(hardware.crossbar.rows) == 6 and not seed > 3", True),
        ("cases.1.sigma > cases.0.sigma", True),
        ("hardware.encoding.kind == 'differential'", True),
        ("hardware.encoding.kind in ['offset', \"hardware.crossbar\"]", False),
        ("len(cases) == 2 or 1e6 < seed", True),
        ("max(seed, 2) == 3 if seed else False", True),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert Condition(text).holds(DATA) is holds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hardware.crossbar.rows <", "not an expression"),
        ("__import__('os')", "'__import__'"),
        ("(lambda: 1)()", "allowed"),
        ("[x for x in cases]", "allowed"),
        ("seed.real", "no key 'real'; what is before it is a value"),
        ("hardware.crossbar.row < 3", "no key 'row'; what is before it has rows, cols"),
        ("cases.2.sigma > 0", "no key '2'; what is before it has 0, 1"),
        ("seed < 'a'", "not supported"),
        ("1 / (seed - 3) > 0", "division by zero"),
    ],
)
def test_mistakes(text: str, words: str) -> None:
    with pytest.raises(XbarError) as caught:
        Condition(text).holds(DATA)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9 > 1",
        "n ** n ** n > 1",
        "10 ** 299 * 10 ** 299 * 10 ** 299 > 1",
        "len('a' * 10**9) > 1",
        "len([1] * 10**9) > 1",
        "'%999999999d' % 1 == ''",
        "2.0 ** 5000 > 1",
    ],
)
def test_what_would_take_all_time_or_memory_is_refused(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(XbarError, match=re.escape(repr(text))):
        Condition(text).holds({"n": 99})
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "text", ["(" * 9999 + "1" + ")" * 9999, "not " * 99999 + "1", "1 << 99 > 1", "9" * 5000]
)
def test_what_is_no_expression_of_ours_is_refused(text: str) -> None:
    with pytest.raises(XbarError):
        Condition(text)


def test_arithmetic_is_that_of_python() -> None:
    data = {"n": 7, "x": 2.5}
    for text in (
        "n ** 2 == 49",
        "n // 2 + n % 4 == 6",
        "n / 2 - x == 1",
        "-n * 2 ** -1 == -3.5",
        "2 ** 600 > 1",
    ):
        assert Condition(text).holds(data), text
    assert Condition("round(x * 3.3333, 1) == 8.3 and round(n, -10 ** 9) == 0").holds(data)
