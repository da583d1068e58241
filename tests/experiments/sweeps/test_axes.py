"""Axes: what each kind goes through, and how evenly samples lie."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, strategies as st

from experiments.sweeps.axes import Axis, Options, Range, Sample, dimension, points_of, product
from xbar import XbarError
from xbar.hardware.files import build


def axis(**data: object) -> Axis:
    return build(Axis, data, "test")


@given(low=st.floats(-1e3, 1e3), span=st.floats(1e-3, 1e3), n=st.integers(2, 50))
def test_a_linear_range_has_equal_steps_from_end_to_end(low: float, span: float, n: int) -> None:
    values = Range(low, low + span, n).values()
    assert len(values) == n
    assert values[0] == pytest.approx(low, rel=1e-9, abs=1e-9)
    assert values[-1] == pytest.approx(low + span, rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(np.diff(values), span / (n - 1), rtol=1e-6, atol=1e-8)


@given(low=st.floats(1e-6, 1e3), factor=st.floats(1.1, 1e6), n=st.integers(2, 30))
def test_a_logarithmic_range_has_equal_ratios(low: float, factor: float, n: int) -> None:
    values = np.array(Range(low, low * factor, n, scale="log").values())
    np.testing.assert_allclose(values[1:] / values[:-1], factor ** (1 / (n - 1)), rtol=1e-9)


@pytest.mark.parametrize(
    ("range_", "values"),
    [
        ({"low": 4, "high": 8, "step": 2}, [4, 6, 8]),
        ({"low": 0, "high": 0.3, "step": 0.1}, [0, 0.1, 0.2, 0.3]),
        ({"low": 4, "high": 9, "step": 2}, [4, 6, 8]),
        ({"low": 16, "high": 256, "n": 5, "scale": "log", "whole": True}, [16, 32, 64, 128, 256]),
        ({"low": 1, "high": 3, "n": 9, "whole": True}, [1, 2, 3]),
    ],
)
def test_ranges(range_: dict, values: list[float]) -> None:
    assert [point["k"] for point in points_of(axis(key="k", range=range_))] == values


@given(low=st.integers(1, 50), span=st.integers(1, 50), scale=st.sampled_from(["linear", "log"]))
def test_whole_numbers_are_drawn_between_both_ends(low: int, span: int, scale: str) -> None:
    drawn = [Range(low, low + span, scale=scale, whole=True).at(u) for u in np.linspace(0, 1, 2001)]
    assert all(isinstance(value, int) for value in drawn)
    assert set(drawn) == set(range(low, low + span + 1))
    assert drawn == sorted(drawn)


def test_whole_numbers_of_a_linear_range_are_equally_likely() -> None:
    shares = (np.arange(3000) + 0.5) / 3000
    counts = np.unique([Range(4, 8, whole=True).at(u) for u in shares], return_counts=True)[1]
    assert counts.tolist() == [600] * 5


def test_a_zip_steps_together_and_a_product_goes_through_all() -> None:
    axes = (axis(zip={"a": {"x": [1, 2], "y": [3, 4]}}), axis(key=["b", "c"], values=[5, 6]))
    assert list(product(axes)) == [
        {"a.x": 1, "a.y": 3, "b": 5, "c": 5},
        {"a.x": 1, "a.y": 3, "b": 6, "c": 6},
        {"a.x": 2, "a.y": 4, "b": 5, "c": 5},
        {"a.x": 2, "a.y": 4, "b": 6, "c": 6},
    ]


@pytest.mark.parametrize(("method", "n"), [("latin-hypercube", 20), ("sobol", 32)])
def test_samples_have_one_point_in_each_slice_of_each_key(method: str, n: int) -> None:
    """Latin hypercubes by definition; a scrambled Sobol sequence of 2^m points in base 2 as well."""
    sample = axis(
        sample={
            "method": method,
            "n": n,
            "seed": 3,
            "keys": {"a": {"low": 0, "high": 1}, "b": {"low": 1, "high": 1e4, "scale": "log"}, "c": [7, 8]},
        }
    )
    points = points_of(sample)
    assert points == points_of(sample)
    a = np.sort([math.floor(point["a"] * n) for point in points])
    b = np.sort([math.floor(math.log(point["b"]) / math.log(1e4) * n) for point in points])
    assert a.tolist() == b.tolist() == list(range(n))
    assert sum(point["c"] == 7 for point in points) == n // 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"key": "a"}, "sample; has none"),
        ({"key": "a", "values": [1], "range": {"low": 1, "high": 2, "n": 2}}, "sample; has values and range"),
        ({"values": [1]}, "key is missing beside values"),
        ({"key": "a", "zip": {"b": [1]}}, "key has no effect with zip"),
        ({"key": "a", "values": []}, "at least one value"),
        ({"key": "a", "values": [1, 2, 1]}, "a value occurs twice"),
        ({"zip": {"a": [1, 2], "b": [1]}}, "a: 2, b: 1"),
        ({"zip": {"a": 3}}, "a: no list"),
        ({"key": "a", "range": {"low": 2, "high": 1, "n": 2}}, "low must be below high"),
        ({"key": "a", "range": {"low": 0, "high": 1, "n": 3, "scale": "log"}}, "low must be positive"),
        ({"key": "a", "range": {"low": 0, "high": 1}}, "needs n >= 2, or a step"),
        ({"key": "a", "range": {"low": 0, "high": 1, "n": 2, "step": 1}}, "one of them is enough"),
        ({"key": "a", "range": {"low": 0, "high": 1, "setp": 1}}, "did you mean 'step'"),
        ({"sample": {"method": "sobol", "n": 20, "keys": {"a": [1, 2]}}}, "powers of two"),
        ({"sample": {"method": "sobol", "n": 4, "keys": {"a": [1]}, "seed": 2**31}}, "seed = 2147483648"),
        ({"sample": {"method": "sobol", "n": 4, "keys": {"a": 1}}}, "must be a list, or a table"),
        ({"sample": {"method": "sobol", "n": 4, "keys": {"a": {"low": 0, "high": 1, "n": 3}}}}, "no effect"),
    ],
)
def test_mistakes(data: dict, words: str) -> None:
    with pytest.raises(XbarError) as caught:
        points_of(axis(**data))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_axes_of_one_key_are_refused() -> None:
    axes = (axis(key="a", values=[1]), axis(zip={"b": [1], "a": [2]}))
    with pytest.raises(XbarError, match="axes: a: set by more than one axis"):
        list(product(axes))


def test_options_are_equally_likely() -> None:
    options = dimension("k", ["x", "y", "z"])
    assert isinstance(options, Options)
    assert [options.at(u) for u in (0, 0.34, 0.67, 1)] == ["x", "y", "z", "z"]
    assert Sample("sobol", 4, {"k": ["x"]}).n == 4


def test_an_axis_of_many_values_takes_no_time() -> None:
    start = time.process_time()  # of this process alone: other work on the machine does not count
    assert len(points_of(Axis("seed", values=tuple(range(100_000))))) == 100_000
    with pytest.raises(XbarError, match="seed: a value occurs twice"):
        points_of(Axis("seed", values=(*range(100_000), 5.0)))
    with pytest.raises(XbarError, match="layers: a value occurs twice"):
        points_of(Axis("layers", values=([{"layer": "fc"}], [], [{"layer": "fc"}])))
    assert time.process_time() - start < 5  # minutes before


def test_what_takes_all_memory_is_refused_before_it_is_made() -> None:
    with pytest.raises(XbarError, match=r"step = 0\.001: gives more than 1,000,000 values"):
        Range(0, 1e12, step=1e-3)
    axes = tuple(Axis(key, values=tuple(range(2000))) for key in ("seed", "chips.n"))
    with pytest.raises(XbarError, match=r"give 4,000,000 points; at most 1,000,000 are possible"):
        next(product(axes))
