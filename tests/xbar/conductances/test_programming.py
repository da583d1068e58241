import dataclasses
from typing import Any

import numpy as np
import pytest
from device_noise import accepted, clamped, drifted, relaxed, written
from hypothesis import given, settings, strategies as st
from scipy import stats

from xbar import (
    Device,
    Drift,
    LogClamp,
    LowFrequencyNoise,
    PolynomialAt,
    ProgrammingNoise,
    Relaxation,
    Verify,
    XbarError,
)
from xbar.conductances.noise_laws import low_frequency_sigma, sigma
from xbar.conductances.programming import Cells, program as program_cells, stuck_conductances
from xbar.conductances.rng import normals, stream_key

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
    "states": (
        ProgrammingNoise("states", sigmas=tuple(np.linspace(1e-6, 0.4e-6, 16))),
        lambda g: 1e-6 - 0.6e-6 * (g - G_MIN) / (G_MAX - G_MIN),
        lambda result, g: result - g,
    ),
    "at": (
        ProgrammingNoise("polynomial", at=(PolynomialAt(9.0, (1e-5,)), PolynomialAt(1.0, COEFFICIENTS))),
        lambda g: 0.3e-6 + 1.2e-6 * g / G_MAX - 0.7e-6 * (g / G_MAX) ** 2,
        lambda result, g: result - g,
    ),
    "polynomial": (
        ProgrammingNoise("polynomial", coefficients=COEFFICIENTS),
        lambda g: 0.3e-6 + 1.2e-6 * g / G_MAX - 0.7e-6 * (g / G_MAX) ** 2,
        lambda result, g: result - g,
    ),
}
FALSE_ALARM = 1e-6
N = 100 * 100


def program(*args: Any, **kwargs: Any) -> np.ndarray:
    """Conductances alone."""
    return program_cells(*args, **kwargs).g


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
def test_sigma_is_the_standard_deviation_of_a_write(kind: str) -> None:
    """By quadrature over the draw: Gauss-Hermite with 60 nodes is exact to rounding here."""
    part = device(programming=KINDS[kind][0])
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    unclipped = np.abs(nodes) < 9  # the rest has a weight below 1e-17
    for g in (0.6 * G_MAX, G_MAX):
        values = written(np.full(60, g), nodes, part)[unclipped]
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


def test_the_known_stuck_cells_are_those_that_are_programmed() -> None:
    g, rows, cols = np.full((40, 30), 0.5 * G_MAX), np.arange(40)[::-1], np.arange(5, 35)
    faulty = device(p_stuck_g_max=0.2, p_stuck_g_min=0.3)
    stuck = stuck_conductances(faulty, rows, cols, tuple(NAMES.values()))
    assert {*stuck[~np.isnan(stuck)]} == {G_MIN, G_MAX}
    expected = np.where(np.isnan(stuck), g, stuck).astype(np.float32)
    np.testing.assert_array_equal(program(g, faulty, rows, cols, **NAMES), expected)


ONE_DAY = 86400.0
AGING: dict[str, Any] = {
    "relaxation": Relaxation(-0.09e-6, 0.042e-6, 0.41e-6),
    "drift": Drift(20.0, LogClamp(0.0244, -0.0155, 0.049, 0.1), LogClamp(-0.0059, -0.0125, 0.008, 0.045)),
    "low_frequency": LowFrequencyNoise("power", 0.0088, 250e-9, 0.65, 0.2),
}
LOG10 = LowFrequencyNoise("log10", 0.02773e-6, 1e-6)
SIDE = np.arange(100)


def draws(part: str, *more: Any) -> np.ndarray:
    """Those of the cells `SIDE` x `SIDE`, by the names of the streams."""
    return normals(stream_key(part, *NAMES.values(), *more), SIDE, SIDE).astype(np.float64)


COMBINATIONS = [
    (kind, relaxation, drift, low_frequency)
    for kind in ("none", *KINDS)
    for relaxation in (AGING["relaxation"], None)
    for drift in (AGING["drift"], None)
    for low_frequency in (AGING["low_frequency"], LOG10, None)
    if kind != "at" or not (relaxation or drift)  # refused: the table holds the change with time
]


@pytest.mark.parametrize(("kind", "relaxation", "drift", "low_frequency"), COMBINATIONS)
def test_the_kernel_does_what_the_equations_say_in_their_order(
    kind: str, relaxation: Any, drift: Any, low_frequency: Any
) -> None:
    noise = KINDS[kind][0] if kind in KINDS else ProgrammingNoise()
    part = device(programming=noise, relaxation=relaxation, drift=drift, low_frequency=low_frequency)
    time = 9.0 if noise.at and not low_frequency else part.first_time if noise.at else ONE_DAY
    target = targets(100, 100, low=G_MIN)
    g = written(target, draws("programming"), part, time)
    g = relaxed(g, draws("relaxation"), part, time)
    g = drifted(g, target, draws("drift"), part, time)
    spread = low_frequency_sigma(g, target, part, time)
    g = clamped(g + spread * draws("low-frequency", time), part)
    result = program(target, part, SIDE, SIDE, **NAMES, time=time)
    np.testing.assert_allclose(result, g, rtol=3e-6, atol=1e-12)


def test_drift_has_its_closed_form() -> None:
    """E (t/t0)^-nu = exp(-mean L + sigma^2 L^2 / 2) with L = ln(t/t0), where nu is hardly ever negative."""
    part = device(drift=Drift(20.0, LogClamp(0.06), LogClamp(0.01)))
    g = np.full((300, 300), 0.5 * G_MAX)
    index = np.arange(300)
    for time in (20.0, 1e3, 1e6, 3e8):
        log = np.log(time / 20)
        ratio = program(g, part, index, index, **NAMES, time=time) / g
        spread = np.exp(-0.06 * log) * 0.01 * log
        bound = stats.norm.isf(FALSE_ALARM / 2) * 1.1 * spread / 300 + 1e-6
        assert abs(ratio.mean() - np.exp(-0.06 * log + (0.01 * log) ** 2 / 2)) < bound


def test_a_cell_keeps_its_drift_and_gets_other_flicker_at_another_time() -> None:
    g = np.full((100, 100), 0.5 * G_MAX)
    drifting = device(drift=AGING["drift"])
    nu = [np.log(g / program(g, drifting, SIDE, SIDE, **NAMES, time=t)) / np.log(t / 20) for t in (1e3, 1e6)]
    np.testing.assert_allclose(nu[0], nu[1], atol=1e-5)
    flicker = device(low_frequency=AGING["low_frequency"])
    early, again, late = (program(g, flicker, SIDE, SIDE, **NAMES, time=t) / g - 1 for t in (1.0, 1.0, 2.0))
    np.testing.assert_array_equal(early, again)
    assert abs(np.corrcoef(early.ravel(), late.ravel())[0, 1]) < 0.049
    relative = 0.0088 * 0.5**-0.65 * np.sqrt(np.log((1 + 250e-9) / 500e-9))
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], N)
    assert low < np.sum((early / relative) ** 2) < high


def test_relaxation_stays_in_the_window() -> None:
    part = device(relaxation=Relaxation(0.0, 0.0, 1e-5))
    g = targets(100, 100, low=G_MIN)
    result = program(g, part, SIDE, SIDE, **NAMES, time=1.0)
    assert result.min() == np.float32(G_MIN)
    assert result.max() == np.float32(G_MAX)


def test_times_without_data_are_refused() -> None:
    g, at = np.full((1, 1), 1e-5), {"time": 0.5}
    with pytest.raises(XbarError, match=r"time = 0.5: must lie between 20 and 1e\+12 s after the write"):
        program(g, device(drift=AGING["drift"]), [0], [0], **NAMES, **at)
    with pytest.raises(XbarError, match=r"time = 0\.5: must lie between 1 and"):
        program(g, device(relaxation=AGING["relaxation"]), [0], [0], **NAMES, **at)
    with pytest.raises(XbarError, match=r"time = 0\.5 s: 'test' was measured at 1, 9 s only"):
        program(g, device(programming=KINDS["at"][0]), [0], [0], **NAMES, **at)
    with pytest.raises(XbarError, match="time = nan"):
        program(g, device(), [0], [0], **NAMES, time=float("nan"))


VERIFIED = ProgrammingNoise("gaussian", 0.1, verify=Verify(0.05, "target", 40))


def test_write_verify_leaves_a_truncated_error_and_geometric_pulses() -> None:
    """An error is accepted within +-s/2: p = .383; after 40 writes, 4e-9 of the cells are left."""
    g = targets(200, 200)
    cells = program_cells(g, device(programming=VERIFIED), np.arange(200), np.arange(200), **NAMES)
    error = (cells.g / g - 1) / 0.1
    assert np.abs(error).max() <= 0.5 * (1 + 1e-5)
    truncated = stats.truncnorm(-0.5, 0.5)
    assert stats.kstest(error.ravel(), truncated.cdf).pvalue > FALSE_ALARM
    p = 2 * stats.norm.cdf(0.5) - 1
    for count in (1, 2, 5):
        found = int(np.sum(cells.pulses == count))
        assert stats.binomtest(found, g.size, p * (1 - p) ** (count - 1)).pvalue > FALSE_ALARM
    assert cells.pulses.max() <= 40
    assert accepted(cells.g, g, device(programming=VERIFIED)).mean() > 0.9999


def test_a_cell_that_is_never_accepted_keeps_its_last_write() -> None:
    hopeless = dataclasses.replace(VERIFIED, verify=Verify(1e-6, "range", 3))
    cells = program_cells(targets(100, 100), device(programming=hopeless), SIDE, SIDE, **NAMES)
    assert (cells.pulses == 3).mean() > 0.999
    error = (cells.g / targets(100, 100) - 1) / 0.1
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], N)
    assert low < np.sum(error**2) < high


def test_pulses_are_one_without_verify_and_none_without_a_device() -> None:
    noise = KINDS["target"][0]
    cells = program_cells(np.array([[0.0, G_MAX]]), device(programming=noise), [0], [0, 1], **NAMES)
    assert cells.pulses.tolist() == [[0, 1]]


FAULTY = device(
    **AGING,
    programming=dataclasses.replace(VERIFIED, kind="lognormal", sigma=0.2),
    p_stuck_g_max=0.1,
    p_stuck_g_min=0.1,
)


@settings(deadline=None)
@given(data=st.data())
def test_a_cell_keeps_its_noise_under_any_packing(data: st.DataObject) -> None:
    rows = np.asarray(data.draw(st.lists(st.integers(0, 29), max_size=10)), np.int64)
    cols = np.asarray(data.draw(st.lists(st.integers(0, 19), max_size=10)), np.int64)
    g = targets(30, 20)
    whole = program_cells(g, FAULTY, np.arange(30), np.arange(20), **NAMES, time=1e4)
    part = program_cells(g[np.ix_(rows, cols)], FAULTY, rows, cols, **NAMES, time=1e4)
    for name in Cells._fields:
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[np.ix_(rows, cols)])


def test_a_table_in_time_and_a_law_in_time_are_refused_together() -> None:
    for key in ("relaxation", "drift"):
        with pytest.raises(XbarError, match=r"programming\.at: its deviations hold the change with time"):
            device(programming=KINDS["at"][0], **{key: AGING[key]})


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"chip": 1}, {"layer": "conv2"}, {"plane": 1}, {"slice_": 1}]
)
def test_every_name_gives_other_noise(change: dict[str, Any]) -> None:
    """Correlation of 10^4 independent pairs: standard deviation .01; in each stream."""
    parts = [device(programming=ProgrammingNoise("gaussian", 0.05))]
    parts += [device(**{key: value}) for key, value in AGING.items()]
    for part in parts:
        check_other_noise(part, change)


def check_other_noise(part: Device, change: dict[str, Any]) -> None:
    g = np.full((100, 100), 0.5 * G_MAX)
    index = np.arange(100)
    first, second = (
        program(g, part, index, index, time=1e4, **names) / g for names in (NAMES, NAMES | change)
    )
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


def test_drift_beyond_all_measure_leaves_nothing() -> None:
    part = device(drift=Drift(1e-9, LogClamp(6.0, high=10.0)))
    result = program(np.full((1, 1), 5e-6), part, [0], [0], **NAMES, time=1e12)
    assert 0 <= result[0, 0] < 1e-30
