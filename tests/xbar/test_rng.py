import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xbar.rng import normals, stream_key, uniforms

GOLDEN_KEY = 0x30796866B56D6FB4
GOLDEN_WORDS = [[9563274831358889912, 2490728102097263597], [17290895795360186445, 16720217815114410891]]


def reference_bits(key: int, rows: Any, cols: Any) -> np.ndarray:
    def mix(z: np.ndarray) -> np.ndarray:
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    k, n = np.asarray(rows, np.uint64)[:, None], np.asarray(cols, np.uint64)[None, :]
    return mix(mix((k << np.uint64(32) | n) + np.uint64(0x9E3779B97F4A7C15)) + np.uint64(key))


indices = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=6)


@settings(deadline=None)
@given(key=st.integers(0, 2**64 - 1), rows=indices, cols=indices)
def test_draws_are_functions_of_the_reference_bits(key: int, rows: list[int], cols: list[int]) -> None:
    bits = reference_bits(key, rows, cols)
    u = (bits >> np.uint64(40)).astype(np.float64) * 2.0**-24
    np.testing.assert_array_equal(uniforms(np.uint64(key), rows, cols), u.astype(np.float32))
    high = ((bits >> np.uint64(32)).astype(np.float64) + 0.5) * 2.0**-32
    angle = 2 * np.pi * (bits & np.uint64(0xFFFFFFFF)).astype(np.float64) * 2.0**-32
    expected = np.sqrt(-2 * np.log(high)) * np.cos(angle)
    np.testing.assert_allclose(normals(np.uint64(key), rows, cols), expected, rtol=1e-5, atol=1e-6)


def test_golden_values() -> None:
    assert stream_key("programming", 0, 1, "conv1", 0, 2) == GOLDEN_KEY
    words = reference_bits(GOLDEN_KEY, [0, 2**32 - 1], [0, 7])
    assert words.tolist() == GOLDEN_WORDS
    assert (uniforms(np.uint64(GOLDEN_KEY), [0, 2**32 - 1], [0, 7]) * 2**24).tolist() == [
        [word >> 40 for word in row] for row in GOLDEN_WORDS
    ]


@settings(deadline=None)
@given(data=st.data())
def test_packing_keeps_every_draw(data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, 99), min_size=1, max_size=20))
    cols = data.draw(st.lists(st.integers(0, 49), min_size=1, max_size=20))
    key = stream_key("a", data.draw(st.integers(0, 9)))
    for draw in (normals, uniforms):
        whole = draw(key, np.arange(100), np.arange(50))
        np.testing.assert_array_equal(draw(key, rows, cols), whole[np.ix_(rows, cols)])


def test_keys_of_different_names_differ() -> None:
    names = itertools.product(["programming", "faults"], range(3), range(3), ["a", "b"], range(2), range(2))
    lists = [*names, ("a", 1), (1, "a"), ("a", "1"), (), ("a1",), (11,), (1, 1), (-1,)]
    assert len({int(stream_key(*parts)) for parts in lists}) == len(lists)
    assert stream_key(np.int64(3), "x") == stream_key(3, "x")


# Each statistical test below has a false alarm rate of at most 1e-6 over all seeds; the seed is fixed.
FALSE_ALARM = 1e-6
SIDE = 1000
Z = stats.norm.isf(FALSE_ALARM / 2)


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    return normals(stream_key("sample", 1), np.arange(SIDE), np.arange(SIDE)).astype(np.float64)


def test_normals_are_normal(sample: np.ndarray) -> None:
    x = sample.ravel()
    assert stats.kstest(x, "norm").pvalue > FALSE_ALARM
    assert abs(x.mean()) < Z / np.sqrt(x.size)
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], x.size)
    assert low < np.sum(x**2) < high


@pytest.mark.parametrize("threshold", [2.0, 3.0, 4.0])
def test_tails_hold_as_many_as_they_should(sample: np.ndarray, threshold: float) -> None:
    for count in (np.sum(sample > threshold), np.sum(sample < -threshold)):
        assert stats.binomtest(int(count), sample.size, stats.norm.sf(threshold)).pvalue > FALSE_ALARM


def test_uniforms_are_uniform() -> None:
    u = uniforms(stream_key("sample", 2), np.arange(SIDE), np.arange(SIDE)).ravel().astype(np.float64)
    assert 0 <= u.min() <= u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((np.uint64(6), 0, 0), id="key"),
        pytest.param((stream_key("layer", 2), 0, 0), id="named-key"),
        pytest.param((np.uint64(5), 1, 0), id="row"),
        pytest.param((np.uint64(5), 0, 1), id="column"),
        pytest.param((np.uint64(5 + 0x9E3779B97F4A7C15 & 2**64 - 1), 0, 0), id="key-plus-increment"),
    ],
)
def test_neighbours_are_uncorrelated(other: tuple[np.uint64, int, int]) -> None:
    """The product of independent normals has mean 0 and variance 1, and so has that of their squares less 1
    over 2; a million of each."""
    key, row, col = other
    a = normals(np.uint64(5), np.arange(SIDE), np.arange(SIDE)).astype(np.float64)
    b = normals(key, np.arange(SIDE) + row, np.arange(SIDE) + col).astype(np.float64)
    assert abs(np.mean(a * b)) < Z / SIDE
    assert abs(np.mean((a**2 - 1) * (b**2 - 1))) < 2 * Z / SIDE


def test_every_bit_of_neighbouring_counters_is_fair() -> None:
    """Flips of each of the 64 bits from one column to the next: binomial(n, 1/2)."""
    words = reference_bits(7, np.arange(200), np.arange(501))
    flips = words[:, 1:] ^ words[:, :-1]
    counts = [int(np.sum(flips >> np.uint64(bit) & np.uint64(1))) for bit in range(64)]
    bound = stats.norm.isf(FALSE_ALARM / 128) * np.sqrt(flips.size) / 2
    assert np.max(np.abs(np.asarray(counts) - flips.size / 2)) < bound
