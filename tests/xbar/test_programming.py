import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xbar import Device, ProgrammingNoise, XbarError
from xbar.programming import noisy, program, sigma

G_MIN, G_MAX = 1e-6, 4e-5
NAMES: dict[str, Any] = {"seed": 1, "chip": 0, "layer": "conv1", "plane": 0, "slice_": 0}
COEFFICIENTS = (0.3e-6, 1.2e-6, -0.7e-6)

# (noise, standard deviation of what is normal as a function of g, what is normal as a function of (G, g))
KINDS = {
    "target": (
        ProgrammingNoise("gaussian", 0.05),
        lambda g: 0.05 * g,
        lambda result, g: result - g,
    ),
    "g_max": (
        ProgrammingNoise("gaussian", 0.02, relative_to="g_max"),
        lambda g: 0.02 * G_MAX + 0 * g,
        lambda result, g: result - g,
    ),
    "range": (
        ProgrammingNoise("gaussian", 0.02, relative_to="range"),
        lambda g: 0.02 * (G_MAX - G_MIN) + 0 * g,
        lambda result, g: result - g,
    ),
    "lognormal": (
        ProgrammingNoise("lognormal", 0.3),
        lambda g: 0.3 + 0 * g,
        lambda result, g: np.log(result / g) + 0.3**2 / 2,
    ),
    "lognormal-median": (
        ProgrammingNoise("lognormal", 0.3, keep_mean=False),
        lambda g: 0.3 + 0 * g,
        lambda result, g: np.log(result / g),
    ),
    "polynomial": (
        ProgrammingNoise("polynomial", coefficients=COEFFICIENTS),
        lambda g: 0.3e-6 + 1.2e-6 * g / G_MAX - 0.7e-6 * (g / G_MAX) ** 2,
        lambda result, g: result - g,
    ),
}
FALSE_ALARM = 1e-6
N = 100 * 100


def device(**changes: Any) -> Device:
    return dataclasses.replace(Device("test", "none", G_MIN, G_MAX, 16), **changes)


def targets(rows: int, cols: int, low: float = 0.5 * G_MAX) -> np.ndarray:
    """At least half of g_max, so that no normal draw is clipped."""
    return np.linspace(low, G_MAX, rows * cols).reshape(rows, cols)


def test_the_bounds_below_tell_a_sigma_from_its_1_1_fold() -> None:
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], N)
    for factor in (1.1, 1 / 1.1):
        missed = stats.chi2.cdf(high / factor**2, N) - stats.chi2.cdf(low / factor**2, N)
        assert missed < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_sigma_and_mean_of_each_kind(kind: str) -> None:
    noise, expected_sigma, normal_part = KINDS[kind]
    g = targets(100, 100)
    result = program(g, device(programming=noise), np.arange(100), np.arange(100), **NAMES)
    xi = (normal_part(result.astype(np.float64), g) / expected_sigma(g)).ravel()
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], N)
    assert low < np.sum(xi**2) < high
    assert abs(np.sum(xi)) < stats.norm.isf(FALSE_ALARM / 2) * np.sqrt(N)
    assert stats.kstest(xi, "norm").pvalue > FALSE_ALARM


def test_log_normal_mean_stays_at_the_target_unless_told_otherwise() -> None:
    """Standard error of G/g over 10^6 cells: sqrt(exp(.09) - 1)/1000 = 3.1e-4; the shift is 4.6 %."""
    side = np.arange(1000)
    g = targets(1000, 1000)
    for keep_mean, mean in ((True, 1.0), (False, np.exp(0.3**2 / 2))):
        noise = ProgrammingNoise("lognormal", 0.3, keep_mean=keep_mean)
        ratio = program(g, device(programming=noise), side, side, **NAMES) / g
        assert abs(ratio.mean() - mean) < 4.9 * mean * np.sqrt(np.expm1(0.09)) / 1000


@pytest.mark.parametrize("kind", KINDS)
def test_sigma_is_the_standard_deviation_of_noisy(kind: str) -> None:
    """By quadrature over the draw: Gauss-Hermite with 60 nodes is exact to rounding here."""
    part = device(programming=KINDS[kind][0])
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    unclipped = np.abs(nodes) < 9  # the rest has a weight below 1e-17
    for g in (0.6 * G_MAX, G_MAX):
        values = noisy(np.full(60, g), nodes, part)[unclipped]
        mean = np.sum(weights[unclipped] * values)
        deviation = np.sqrt(np.sum(weights[unclipped] * (values - mean) ** 2))
        np.testing.assert_allclose(sigma(g, part), deviation, rtol=1e-9)


def test_conductances_are_clipped_at_zero() -> None:
    part = device(programming=ProgrammingNoise("gaussian", 0.5, relative_to="g_max"))
    g = np.full((100, 100), G_MIN)
    result = program(g, part, np.arange(100), np.arange(100), **NAMES)
    clipped = np.sum(result == 0)
    assert result.min() == 0
    p = stats.norm.cdf(-G_MIN / (0.5 * G_MAX))
    assert stats.binomtest(int(clipped), N, p).pvalue > FALSE_ALARM


def test_a_polynomial_below_zero_counts_as_zero() -> None:
    part = device(programming=ProgrammingNoise("polynomial", coefficients=(-1e-6, 2e-6)))
    np.testing.assert_allclose(sigma([0.25 * G_MAX, G_MAX], part), [0, 1e-6])


def test_an_ideal_device_returns_its_targets() -> None:
    g = targets(5, 7, low=G_MIN)
    result = program(g, device(), np.arange(5), np.arange(7), **NAMES)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, g.astype(np.float32))


def test_stuck_cells_are_as_frequent_as_stated_and_independent_of_noise() -> None:
    noise = ProgrammingNoise("gaussian", 0.01)
    side = np.arange(500)
    g = np.full((500, 500), 0.5 * G_MAX)
    faulty = device(programming=noise, p_stuck_g_max=0.0175, p_stuck_g_min=0.0904)
    result = program(g, faulty, side, side, **NAMES)
    at_max, at_min = result == np.float32(G_MAX), result == np.float32(G_MIN)
    assert stats.binomtest(int(at_max.sum()), g.size, 0.0175).pvalue > FALSE_ALARM
    assert stats.binomtest(int(at_min.sum()), g.size, 0.0904).pvalue > FALSE_ALARM
    healthy = program(g, device(programming=noise), side, side, **NAMES)
    sound = ~(at_max | at_min)
    np.testing.assert_array_equal(result[sound], healthy[sound])
    deviation = (healthy[~sound] - g[~sound]) / (0.01 * g[~sound])
    for count in (np.sum(deviation > 0), np.sum(np.abs(deviation) > stats.norm.ppf(0.75))):
        assert stats.binomtest(int(count), len(deviation), 0.5).pvalue > FALSE_ALARM


FAULTY = device(programming=ProgrammingNoise("lognormal", 0.2), p_stuck_g_max=0.1, p_stuck_g_min=0.1)


@settings(deadline=None)
@given(data=st.data())
def test_a_cell_keeps_its_noise_under_any_packing(data: st.DataObject) -> None:
    rows = np.asarray(data.draw(st.lists(st.integers(0, 29), max_size=10)), np.int64)
    cols = np.asarray(data.draw(st.lists(st.integers(0, 19), max_size=10)), np.int64)
    g = targets(30, 20)
    whole = program(g, FAULTY, np.arange(30), np.arange(20), **NAMES)
    part = program(g[np.ix_(rows, cols)], FAULTY, rows, cols, **NAMES)
    np.testing.assert_array_equal(part, whole[np.ix_(rows, cols)])


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"chip": 1}, {"layer": "conv2"}, {"plane": 1}, {"slice_": 1}]
)
def test_every_name_gives_other_noise(change: dict[str, Any]) -> None:
    """Correlation of 10^4 independent pairs: standard deviation .01."""
    part = device(programming=ProgrammingNoise("gaussian", 0.05))
    g = targets(100, 100)
    index = np.arange(100)
    first, second = (program(g, part, index, index, **names) / g - 1 for names in (NAMES, NAMES | change))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.049


def test_where_there_is_no_device_there_is_nothing() -> None:
    certain = device(programming=ProgrammingNoise("gaussian", 0.1, relative_to="g_max"), p_stuck_g_max=1.0)
    g = np.array([[0.0, G_MIN], [G_MAX, G_MAX]])
    built = np.array([[True, True], [True, False]])
    result = program(g, certain, [0, 1], [0, 1], built=built, **NAMES)
    np.testing.assert_array_equal(result, np.float32([[0, G_MAX], [G_MAX, 0]]))


def test_a_cell_at_a_g_min_of_zero_is_a_device() -> None:
    part = device(g_min=0.0, p_stuck_g_max=1.0)
    result = program(np.zeros((1, 2)), part, [0], [0, 1], built=np.array([[True, False]]), **NAMES)
    np.testing.assert_array_equal(result, np.float32([[G_MAX, 0]]))


@pytest.mark.parametrize(
    ("target", "built", "message"),
    [
        (np.zeros((2, 3)), None, r"layer 'conv1': target of shape \(2, 3\); rows x cols is \(2, 2\)"),
        (np.zeros((2, 2)), np.ones((2, 3), bool), r"built of shape \(2, 3\); rows x cols is \(2, 2\)"),
        (np.full((2, 2), -1.0), None, "must be finite and >= 0"),
        (np.full((2, 2), np.nan), None, "must be finite and >= 0"),
        (np.full((2, 2), np.inf), None, "must be finite and >= 0"),
    ],
)
def test_mistakes_are_refused(target: np.ndarray, built: np.ndarray | None, message: str) -> None:
    with pytest.raises(XbarError, match=message) as caught:
        program(target, device(), [0, 1], [0, 1], built=built, **NAMES)
    assert "\n" not in str(caught.value)
