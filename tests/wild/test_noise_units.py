"""Noise in uS, pulses in ns, currents in uA: each was accepted once, and gave a wrong accuracy in silence."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from xbar.conductances.programming import program
from xbar.hardware.design import Hardware
from xbar.hardware.device import Device
from xbar.hardware.errors import XbarError
from xbar.hardware.files import build, load_device, load_hardware, preset_names, to_dict
from xbar.hardware.noise import LowFrequencyNoise, ProgrammingNoise, WhiteNoise


def device(name: str, **tables: Any) -> Device:
    """A preset with some of its tables changed, as a user's file has them."""
    return build(Device, {**to_dict(load_device(name)), **tables}, "mine.toml")


PCM_IN_US = {"kind": "polynomial", "coefficients": [0.26348, 1.965, -1.1731]}
NEURRAM_IN_US = {
    "kind": "polynomial",
    "at": [{"time": 1.0, "coefficients": [0.348, 16.03, -43.853, 45.393, -16.815]}],
}
CMO = {"mean": -0.08900206e-6, "sigma": 0.04201137e-6, "sigma_0": 0.41183342e-6}


@pytest.mark.parametrize(
    ("name", "tables", "message"),
    [
        # PCM fell from 87.5 to 8.3 % without a word
        ("pcm-90nm", {"programming": PCM_IN_US}, "device.programming.coefficients = [0.26348, 1.965, -1.17"),
        ("neurram-hfox", {"programming": NEURRAM_IN_US}, "device.programming.at.coefficients = [0.348, 16."),
        (
            "milo-hfo2",
            {"programming": {"kind": "states", "sigmas": [4.0] * 8}},
            "device.programming.sigmas = [4.0, 4.0,",
        ),
        ("cmo-hfox-2pct", {"relaxation": {**CMO, "mean": -0.089}}, "device.relaxation.mean = -0.089"),
        ("cmo-hfox-2pct", {"relaxation": {**CMO, "sigma": 0.042}}, "device.relaxation.sigma = 0.042"),
        ("cmo-hfox-2pct", {"relaxation": {**CMO, "sigma_0": 0.41}}, "device.relaxation.sigma_0 = 0.41"),
        (
            "cmo-hfox-2pct",
            {"low_frequency": {"kind": "log10", "amplitude": 0.0277, "t_read": 1e-6}},
            "device.low_frequency.amplitude = 0.0277",
        ),
        # no unit to mistake, but larger than the window all the same
        (
            "admm-10mohm",
            {"programming": {"kind": "lognormal", "sigma": 1.5}},
            "device.programming.sigma = 1.5",
        ),
        ("milo-hfo2", {"programming": {"kind": "gaussian", "sigma": 0.9}}, "device.programming.sigma = 0.9"),
        ("milo-hfo2", {"read_noise": {"sigma": 0.9}}, "device.read_noise.sigma = 0.9"),
        (
            "pcm-90nm",
            {"low_frequency": {"kind": "power", "amplitude": 0.5, "t_read": 250e-9}},
            "device.low_frequency.amplitude = 0.5",
        ),
        # a sign lost: the whole polynomial is below 0, and was taken as no noise at all
        (
            "pcm-90nm",
            {"programming": {"kind": "polynomial", "coefficients": [-0.3e-6]}},
            "device.programming.coefficients = [-3e-07]: not above 0 anywhere in the window",
        ),
    ],
)
def test_noise_larger_than_the_window_is_refused(name: str, tables: dict[str, Any], message: str) -> None:
    with pytest.raises(XbarError, match="mine.toml: " + re.escape(message)) as caught:
        device(name, **tables)
    if "not above 0" not in message:
        low, high = load_device(name).g_min, load_device(name).g_max
        assert f"the window from {low:g} to {high:g} S" in str(caught.value)
        assert "device.noise_beyond_window" in str(caught.value)
        assert device(name, **tables, noise_beyond_window=True).noise_beyond_window  # asked for: taken


def test_the_edge_of_the_window_is_where_it_is_said_to_be() -> None:
    """A deviation of exactly the window passes, one of 1.01 times it does not; also inside the window."""
    ideal = to_dict(load_device("ideal"))
    for polynomial in ([100e-6], [0.0, 400e-6, -400e-6]):
        for factor, fits in ((0.999, True), (1.01, False)):
            noise = {"kind": "polynomial", "coefficients": [factor * c for c in polynomial]}
            if fits:
                build(Device, {**ideal, "programming": noise}, "x")
            else:
                with pytest.raises(XbarError, match=r"deviation of up to 0\.000101 S"):
                    build(Device, {**ideal, "programming": noise}, "x")


@pytest.mark.parametrize("name", preset_names("devices"))
def test_every_preset_in_us_is_refused_and_as_it_is_not(name: str) -> None:
    """The whole file typed in uS: also where the window is so small that its numbers are below 1."""
    data = to_dict(load_device(name))
    in_us = {**data, "g_min": data["g_min"] * 1e6, "g_max": data["g_max"] * 1e6}
    if isinstance(data["states"], list):
        in_us["states"] = [g * 1e6 for g in data["states"]]
    with pytest.raises(XbarError, match="conductances are in S, not in uS"):
        build(Device, in_us, "x")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("periphery.t_read", 100.0, "periphery.t_read = 100.0: must lie between 1e-11 and 0.01 s"),
        ("periphery.t_read", 0.1, "periphery.t_read = 0.1: must lie between 1e-11 and 0.01 s"),
        ("dac.v_read", 200.0, "dac.v_read = 200.0: must lie between 0.0001 and 10 V"),
        ("dac.offset", 5.0, "dac.offset = 5.0: larger than dac.v_read = 0.2 V"),
        ("crossbar.r_wl", 1e7, "crossbar.r_wl = 10000000.0: must lie between 0 and 1e+06 ohm"),
        ("crossbar.r_sense", 1e8, "crossbar.r_sense = 100000000.0: must lie between 0 and 1e+07 ohm"),
        ("adc.noise_current", 0.5, "adc.noise_current = 0.5: larger than the largest current of a bit line"),
        ("device.pulse", {"voltage": 2.0, "width": 50.0, "source": "a"}, "pulse.width = 50.0: must lie"),
        ("device.pulse", {"voltage": 2e3, "width": 5e-8, "source": "a"}, "pulse.voltage = 2000.0: must"),
    ],
)
def test_times_voltages_and_resistances_of_impossible_magnitude(key: str, value: Any, message: str) -> None:
    data = to_dict(load_hardware("admm-32x32"))
    table, leaf = key.split(".")
    data[table][leaf] = value
    with pytest.raises(XbarError, match=re.escape(message)):
        build(Hardware, data, "x")


def test_a_full_scale_in_the_wrong_unit_is_refused() -> None:
    """60 A for 60 uA: no current would reach the first code, and every output be 0."""
    adc = load_hardware("admm-32x32").adc
    with pytest.raises(
        XbarError, match=r"adc.full_scale = 60.0: the largest current of a bit line, .* A, is"
    ):
        load_hardware("admm-32x32").replace(adc=type(adc)(bits=8, range="fixed", full_scale=60.0))


def test_a_noise_bandwidth_below_that_of_the_read_is_refused() -> None:
    """A read of 100 ns averages over 100 ns: 5 MHz at least, and no 10 kHz that would hide thermal noise."""
    load_hardware("admm-32x32").replace(adc__bandwidth=5e6)
    with pytest.raises(
        XbarError, match=re.escape("adc.bandwidth = 10000: a read of periphery.t_read = 1e-07")
    ):
        load_hardware("admm-32x32").replace(adc__bandwidth=1e4)


def test_targets_in_us_are_refused() -> None:
    """`xbar.program` took 20 for 20 uS, and gave 20 S."""
    with pytest.raises(XbarError, match=r"targets up to 20 S; the window of 'ideal' is 0 to 0\.0001 S; cond"):
        program(np.full((1, 1), 20.0), load_device("ideal"), [0], [0], **CELL)


CELL: dict[str, Any] = {"seed": 0, "chip": 0, "layer": "a", "plane": 0, "slice_": 0}


def test_targets_in_ms_are_refused() -> None:
    """The limit was 1000 g_max, so that 0.1 for 0.1 mS, all of a device's window, was 0.1 S."""
    with pytest.raises(XbarError, match=r"targets up to 0\.1 S; the window of 'ideal' is 0 to 0\.0001 S"):
        program(np.full((1, 1), 0.1), load_device("ideal"), [0], [0], **CELL)


def test_flicker_noise_that_is_0_in_the_whole_window_is_refused() -> None:
    """log10(g / 1 uS) is 0 there: an amplitude in uS passed, and one in S did nothing."""
    for amplitude in (0.02773, 0.02773e-6):
        noise = LowFrequencyNoise("log10", amplitude, 1.0)
        with pytest.raises(XbarError, match=r"low_frequency\.kind = 'log10': is 0 below 1 uS, and so in the"):
            Device("d", "s", 1e-7, 1e-6, 16, low_frequency=noise)
        Device("d", "s", 1e-7, 1e-6, 16, low_frequency=noise, noise_beyond_window=True)


def test_noise_of_a_noise_case_is_held_against_the_window_too() -> None:
    """Cases of a study replace the device's noise; they are refused before work starts."""
    with pytest.raises(XbarError, match=r"device.programming.sigma = 1.5: a deviation of up to"):
        load_hardware("admm-32x32").replace(device__programming=ProgrammingNoise("lognormal", sigma=1.5))


@pytest.mark.parametrize("relative_to", ["range", "conductance", "g_max"])
def test_one_percent_typed_as_one_is_refused(relative_to: str) -> None:
    """A sigma of the whole window passed, because it is not larger than the window."""
    with pytest.raises(XbarError, match=r"read_noise.sigma = 1.0: a deviation"):
        Device("d", "s", 9e-6, 88e-6, 16, read_noise=WhiteNoise(1.0, relative_to))


def test_flicker_noise_in_us_is_refused_where_its_first_time_is_its_read() -> None:
    """Its noise at the first time is 0 there, and cells reached .34 S."""
    with pytest.raises(XbarError, match=r"low_frequency.amplitude"):
        Device("d", "s", 1e-6, 40e-6, 16, low_frequency=LowFrequencyNoise("log10", 0.02773, 1.0))


def test_a_polynomial_below_zero_is_no_noise_there() -> None:
    """Its magnitude was held against the window, although the noise is 0 where it falls below 0."""
    noise = ProgrammingNoise("polynomial", coefficients=(1e-6, -30e-6))
    assert Device("d", "s", 0.0, 25e-6, 16, programming=noise).programming == noise
