"""Device presets against numbers typed from their publications and fits, in uS and s.

Deviations are told from their 1.1-fold by chi-square tests on cells above their target: what is clipped, at
0 S or at an end of the window, lies below it (the sign of a normal draw is independent of its size). 30,000
cells leave at least 14,500 of them but for one time in 10^8, and with as many degrees of freedom a false
alarm rate of 10^-6 leaves a 1.1-fold sigma undetected less than one time in a hundred.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from xbar import Device, ProgrammingNoise, WhiteNoise, XbarError, load_device
from xbar.conductances import noise_laws
from xbar.conductances.programming import program
from xbar.hardware.files import preset_names

FALSE_ALARM = 1e-6
SIDE, CHIPS = 100, 3
DAY, YEAR = 86400.0, 31536000.0
PRESETS = preset_names("devices")
WINDOWS = {
    "ideal": (0, 100, 256),
    "admm-10mohm": (0.1, 1, 16),
    "neurram-hfox": (1, 40, 256),
    "milo-hfo2": (50, 225, 8),
    "cmo-hfox-2pct": (9, 88.2, 32),
    "cmo-hfox-0.2pct": (9, 88.2, 32),
    "pcm-90nm": (0, 25, 256),
    "taox-hfox": (1, 10, 128),
    "ag-a-si": (0.0030769, 0.038462, 97),
    "alox-hfo2": (13.4, 59.2, 40),
    "epiram": (0.246, 12.3, 64),
    "isaac-cimloop": (50, 1e6 / 1333, 4),
}
# (preset, time [s], {target [uS]: standard deviation of the write [uS]})
WRITES: list[tuple[str, float | None, dict[float, float]]] = [
    ("neurram-hfox", 1.0, {2: 1.0454, 10: 2.2583, 20: 2.0229, 30: 1.5330, 40: 1.1030}),
    ("neurram-hfox", DAY, {2: 1.6842, 10: 3.7208, 20: 3.9090, 30: 3.3665, 40: 2.6510}),
    ("neurram-hfox", 2 * DAY, {2: 1.6915, 10: 3.6638, 20: 3.9291, 30: 3.3744, 40: 2.6770}),
    ("milo-hfo2", None, {50: 4.32697, 75: 4.09930, 100: 3.87162, 150: 3.41627, 225: 2.73325}),
    ("cmo-hfox-2pct", None, {9: 0.112831, 25: 0.293475, 50: 0.575732, 70: 0.801538, 88.2: 1.007021}),
    ("cmo-hfox-0.2pct", None, {9: 0.0104302, 25: 0.0275308, 50: 0.0542506, 70: 0.0756264, 88.2: 0.0950784}),
    ("pcm-90nm", None, {0: 0.26348, 1: 0.34020, 5: 0.60956, 20: 1.08470, 25: 1.05538}),
]
CMO = ("cmo-hfox-2pct", "cmo-hfox-0.2pct")
# time [s]: mean and standard deviation of the relaxation [uS], for every target
CMO_RELAXATION = {1.0: (0.0, 0.41183), DAY: (-1.01166, 0.88937), 10 * YEAR: (-1.74170, 1.23396)}
# (preset, time [s], {conductance [uS]: standard deviation of the low-frequency noise [uS]})
LOW_FREQUENCY: list[tuple[str, float, dict[float, float]]] = [
    ("cmo-hfox-2pct", 1.0, {10: 0.100457, 50: 0.170674, 88.2: 0.195437}),
    ("cmo-hfox-2pct", DAY, {10: 0.137234, 50: 0.233157, 88.2: 0.266985}),
    ("cmo-hfox-0.2pct", 10 * YEAR, {10: 0.158560, 50: 0.269389, 88.2: 0.308474}),
    ("pcm-90nm", 20.0, {0.1: 0.083676, 1: 0.298344, 5: 0.524031, 25: 0.920441}),
    ("pcm-90nm", DAY, {0.1: 0.101736, 1: 0.362733, 5: 0.637128, 25: 1.119093}),
    ("pcm-90nm", YEAR, {0.1: 0.112739, 1: 0.401965, 5: 0.706038, 25: 1.240131}),
]
# target [uS]: mean and standard deviation of nu
PCM_NU = {0.1: (0.1, 0.045), 1: (0.074293, 0.034336), 5: (0.049346, 0.014218), 25: (0.049, 0.008)}
# (target [uS], time [s]): median, mean and standard deviation of g(t) / g(20 s)
PCM_DRIFT = {
    (0.1, 3600.0): (0.594938, 0.609252, 0.138683),
    (0.1, YEAR): (0.240004, 0.288837, 0.184639),
    (1, DAY): (0.536918, 0.556425, 0.155030),
    (5, 3600.0): (0.773946, 0.776049, 0.057339),
    (5, DAY): (0.661610, 0.666297, 0.079519),
    (5, YEAR): (0.494496, 0.504754, 0.103355),
    (25, 3600.0): (0.775339, 0.776008, 0.032252),
    (25, DAY): (0.663531, 0.665021, 0.044585),
    (25, YEAR): (0.496946, 0.500195, 0.057292),
}


def only(name: str, *parts: str) -> Device:
    """The preset with every kind of noise switched off but those named."""
    off: dict[str, Any] = {
        "programming": ProgrammingNoise(),
        "relaxation": None,
        "drift": None,
        "low_frequency": None,
        "read_noise": WhiteNoise(),
        "p_stuck_g_max": 0.0,
        "p_stuck_g_min": 0.0,
    }
    return dataclasses.replace(
        load_device(name), **{key: value for key, value in off.items() if key not in parts}
    )


def cells(device: Device, g_us: float, time: float | None = None, chip: int = 0) -> NDArray[np.float64]:
    """Conductances [uS] of 10,000 cells of one target on one chip, flat."""
    names = {"seed": 5, "chip": chip, "layer": "layer", "plane": 0, "slice_": 0}
    target = np.full((SIDE, SIDE), g_us * 1e-6)
    side = np.arange(SIDE)
    return program(target, device, side, side, time=time, **names).g.astype(np.float64).ravel() * 1e6


def all_cells(device: Device, g_us: float, time: float | None = None) -> NDArray[np.float64]:
    """As `cells`, of three chips."""
    return np.concatenate([cells(device, g_us, time, chip) for chip in range(CHIPS)])


def assert_normal(values: NDArray[np.float64], centre: float, sigma: float) -> None:
    """Values above the centre are those of a normal distribution about it, and half of the values are."""
    above = values[values > centre] - centre
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], len(above))
    assert low < np.sum((above / sigma) ** 2) < high
    assert stats.binomtest(len(above), len(values), 0.5).pvalue > FALSE_ALARM


def test_the_bounds_tell_a_sigma_from_its_1_1_fold() -> None:
    n = CHIPS * SIDE**2
    above = 14_500
    assert stats.binom.cdf(above, n, 0.5) < 1e-8
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], above)
    for factor in (1.1, 1 / 1.1):
        assert stats.chi2.cdf(high / factor**2, above) - stats.chi2.cdf(low / factor**2, above) < 0.01


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_what_it_rests_on(name: str) -> None:
    device = load_device(name)
    assert device.name == name
    assert name == "ideal" or re.search(r"doi:10\.\d{4,}/\S+|arXiv:\d{4}\.\d{5}", device.source)
    assert device.claims.strip()
    assert device.does_not_claim.strip()
    for text in (device.claims, device.does_not_claim):
        assert "\n" not in text
        assert "  " not in text


def test_windows_and_states() -> None:
    assert sorted(WINDOWS) == PRESETS
    for name, (low, high, states) in WINDOWS.items():
        g = load_device(name).conductances() * 1e6
        np.testing.assert_allclose(g, np.linspace(low, high, states), rtol=1e-12)


@pytest.mark.parametrize(("name", "time", "sigmas"), WRITES)
def test_sigma_of_the_write(name: str, time: float | None, sigmas: dict[float, float]) -> None:
    device = only(name, "programming")
    assert len(sigmas) == 5
    for g, sigma in sigmas.items():
        assert_normal(all_cells(device, g, time), g, sigma)


def test_every_preset_with_a_noisy_write_is_tested() -> None:
    noisy = {name for name in PRESETS if load_device(name).programming.kind != "none"}
    assert noisy == {name for name, _, _ in WRITES}


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {name for name, _, _ in WRITES}))
def test_a_preset_without_published_noise_has_none(name: str) -> None:
    device = load_device(name)
    g = device.conductances()[None]
    names: dict[str, Any] = {"seed": 5, "chip": 0, "layer": "layer", "plane": 0, "slice_": 0}
    result = program(g, device, [0], np.arange(g.size), time=DAY, **names)
    np.testing.assert_array_equal(result.g, g.astype(np.float32))
    assert not noise_laws.white_sigma(g, device).any()


def test_cells_written_near_zero_are_clipped_there() -> None:
    values = all_cells(only("pcm-90nm", "programming"), 0.2)
    at_zero = np.count_nonzero(values == 0)
    # sigma = .26348 + 1.965 * .008 - 1.1731 * .008^2 = .279125 uS
    assert stats.binomtest(at_zero, len(values), stats.norm.cdf(-0.2 / 0.279125)).pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", CMO)
@pytest.mark.parametrize("time", CMO_RELAXATION)
@pytest.mark.parametrize("g", [20.0, 50.0, 70.0])
def test_relaxation(name: str, time: float, g: float) -> None:
    mean, sigma = CMO_RELAXATION[time]
    assert_normal(all_cells(only(name, "relaxation"), g, time), g + mean, sigma)


@pytest.mark.parametrize(("g", "end"), [(9.0, 9.0), (88.2, 88.2)])
def test_relaxation_stays_in_the_window(g: float, end: float) -> None:
    mean, sigma = CMO_RELAXATION[DAY]
    values = all_cells(only("cmo-hfox-2pct", "relaxation"), g, DAY)
    assert values.min() >= 9 - 1e-5
    assert values.max() <= 88.2 + 1e-5
    outside = stats.norm.cdf((end - g - mean) / sigma)
    expected = outside if end == 9.0 else 1 - outside
    at_end = np.count_nonzero(np.abs(values - end) < 1e-5)
    assert stats.binomtest(at_end, len(values), expected).pvalue > FALSE_ALARM


@pytest.mark.parametrize(("name", "time", "sigmas"), LOW_FREQUENCY)
def test_low_frequency_noise(name: str, time: float, sigmas: dict[float, float]) -> None:
    device = only(name, "low_frequency")
    for g, sigma in sigmas.items():
        assert_normal(all_cells(device, g, time), g, sigma)


@pytest.mark.parametrize(("g", "time"), PCM_DRIFT)
def test_drift_has_its_median_and_mean(g: float, time: float) -> None:
    """Counts below the median are binomial; the mean of 30,000 cells is normal with the typed spread."""
    median, mean, spread = PCM_DRIFT[g, time]
    ratio = all_cells(only("pcm-90nm", "drift"), g, time) / g
    assert stats.binomtest(int(np.sum(ratio < median)), ratio.size, 0.5).pvalue > FALSE_ALARM
    assert abs(ratio.mean() - mean) < stats.norm.isf(FALSE_ALARM / 2) * spread / np.sqrt(ratio.size)


@pytest.mark.parametrize("g", PCM_NU)
def test_drift_exponents_spread_as_published(g: float) -> None:
    """From the cells that drift more than the mean; those that nu = |...| folds over drift less."""
    mean, sigma = PCM_NU[g]
    ratio = all_cells(only("pcm-90nm", "drift"), g, 20 * np.e) / g
    assert_normal(-np.log(ratio), mean, sigma)


def test_drift_begins_at_its_first_time() -> None:
    device = only("pcm-90nm", "drift")
    np.testing.assert_allclose(cells(device, 5, 20.0), 5, rtol=1e-7)
    np.testing.assert_array_equal(cells(device, 5), cells(device, 5, 20.0))


@pytest.mark.parametrize("name", [*CMO, "pcm-90nm"])
def test_low_frequency_noise_belongs_to_the_time(name: str) -> None:
    """Correlation of 10^4 independent pairs: standard deviation .01."""
    device = only(name, "low_frequency")
    first = cells(device, 20, DAY)
    np.testing.assert_array_equal(first, cells(device, 20, DAY))
    for other in (cells(device, 20, 2 * DAY), cells(device, 20, DAY, chip=1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.049


@pytest.mark.parametrize(
    ("name", "part"), [("neurram-hfox", "programming"), (CMO[0], "relaxation"), ("pcm-90nm", "drift")]
)
def test_all_other_noise_belongs_to_the_cell(name: str, part: str) -> None:
    """One draw a cell and chip, whatever the time; another one on another chip."""
    device = only(name, part)
    early, late, other = (cells(device, 24, t, chip) for t, chip in ((DAY, 0), (2 * DAY, 0), (DAY, 1)))
    rank = [stats.rankdata(values) for values in (early, late, other)]
    assert np.corrcoef(rank[0], rank[1])[0, 1] > 0.9999
    assert abs(np.corrcoef(rank[0], rank[2])[0, 1]) < 0.049


@pytest.mark.parametrize(
    ("name", "first", "times", "message"),
    [
        ("neurram-hfox", 1.0, [0.0, 2.0, 3600.0, 86399.0, 3 * DAY], "measured at 1, 86400, 172800 s only"),
        ("cmo-hfox-2pct", 1.0, [0.0, 0.999, -1.0, float("nan")], "must lie between 1 and"),
        ("cmo-hfox-0.2pct", 1.0, [0.5], "must lie between 1 and"),
        ("pcm-90nm", 20.0, [0.0, 1.0, 19.99, float("inf")], "must lie between 20 and"),
    ],
)
def test_times_without_data_are_refused(name: str, first: float, times: list[float], message: str) -> None:
    device = load_device(name)
    assert device.first_time == first
    assert device.check_time(first) == first
    np.testing.assert_array_equal(cells(device, 20), cells(device, 20, first))
    for time in times:
        with pytest.raises(XbarError, match=message):
            device.check_time(time)
        with pytest.raises(XbarError, match=message):
            cells(device, 20, time)


def test_read_noise_of_neurram() -> None:
    """A pair of cells has 1 % of the 39 uS that are the largest weight, for every conductance."""
    pair = np.sqrt(2) * noise_laws.white_sigma([1e-6, 2e-5, 4e-5], load_device("neurram-hfox"))
    np.testing.assert_allclose(pair, 0.39e-6, rtol=1e-3)


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"neurram-hfox"}))
def test_read_noise_of_the_others_is_not_known(name: str) -> None:
    device = load_device(name)
    assert device.read_noise.sigma == 0
    assert device.p_stuck_g_max == device.p_stuck_g_min == 0
    assert device.iv.kind == "ohmic"
