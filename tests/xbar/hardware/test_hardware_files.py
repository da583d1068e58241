"""TOML in and out: what ships loads, what is wrong is refused in one line that says what is allowed."""

from __future__ import annotations

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, strategies as st
from networks import designs

from xbar import XbarError
from xbar.hardware.design import Crossbar, Hardware
from xbar.hardware.device import Device
from xbar.hardware.files import build, load_device, load_hardware, preset_names, read_toml, to_dict
from xbar.hardware.iv import IV
from xbar.hardware.noise import ProgrammingNoise

IDEAL = load_hardware("ideal")


@pytest.mark.parametrize("name", preset_names("designs"))
def test_each_design_that_ships_loads_and_comes_back(name: str) -> None:
    hardware = load_hardware(name)
    assert hardware.name == name
    assert hardware.source
    assert build(Hardware, to_dict(hardware), name) == hardware


@pytest.mark.parametrize("name", preset_names("devices"))
def test_each_device_that_ships_loads_and_comes_back(name: str) -> None:
    device = load_device(name)
    assert device.name == name
    assert device.source
    assert device.claims
    assert build(Device, to_dict(device), name) == device


def test_there_are_presets() -> None:
    assert {"ideal", "admm-32x32"} <= set(preset_names("designs"))
    assert {"ideal", "admm-10mohm"} <= set(preset_names("devices"))


noises = st.one_of(
    st.builds(ProgrammingNoise),
    st.builds(
        ProgrammingNoise,
        kind=st.just("gaussian"),
        sigma=st.floats(0, 2),
        relative_to=st.sampled_from(["target", "g_max", "range"]),
    ),
    st.builds(ProgrammingNoise, kind=st.just("lognormal"), sigma=st.floats(0, 2), keep_mean=st.booleans()),
    st.builds(
        ProgrammingNoise,
        kind=st.just("polynomial"),
        coefficients=st.lists(st.floats(1e-9, 2e-7), min_size=1, max_size=4).map(tuple),
    ),
)


@given(designs(), noises, st.integers(1, 15) | st.just("ideal"), st.floats(0, 0.5))
def test_any_design_survives_a_file(
    hardware: Hardware, noise: ProgrammingNoise, bits: int | str, stuck: float
) -> None:
    hardware = hardware.replace(device__noise_beyond_window=True, device__programming=noise)
    hardware = hardware.replace(device__p_stuck_g_min=stuck, dac__bits=bits)
    text = tomli_w.dumps(to_dict(hardware))
    again = build(Hardware, tomllib.loads(text), "file")
    assert again == hardware
    assert hash(again) == hash(hardware)


def changed(key: str, value: Any) -> dict[str, Any]:
    """Plain data of the ideal design with one key set, dots leading into tables."""
    data = copy.deepcopy(to_dict(IDEAL))
    *path, leaf = key.split(".")
    table = data
    for part in path:
        table = table[part]
    table[leaf] = value
    return data


NAN = float("nan")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("crosbar", {}, "crosbar: unknown key; did you mean 'crossbar'? allowed: adc, assumed, crossbar"),
        (
            "crossbar.row",
            8,
            "crossbar.row: unknown key; did you mean 'rows'? allowed: cell_f2, cols, noise_through_wires",
        ),
        ("dac.bit", 8, "dac.bit: unknown key; did you mean 'bits'? allowed: bits, gain_error"),
        ("device.gmin", 0.0, "device.gmin: unknown key; did you mean 'g_min'? allowed: claims"),
        ("device.programming.sgima", 0.1, "device.programming.sgima: unknown key; did you mean 'sigma'?"),
        ("adc.zzzz", 1, "adc.zzzz: unknown key; allowed: after, bandwidth, bits, columns"),
        ("crossbar", 5, "crossbar = 5: must be a table"),
        ("crossbar.rows", "many", "crossbar.rows = 'many': must be a whole number"),
        ("crossbar.rows", 32.5, "crossbar.rows = 32.5: must be a whole number"),
        ("crossbar.rows", -4, "crossbar.rows = -4: must lie between 1 and 4096"),
        ("crossbar.cols", 0, "crossbar.cols = 0: must lie between 1 and 4096"),
        (
            "encoding.subtract",
            "analogue",
            "encoding.subtract = 'analogue': must be 'analog' or 'digi",
        ),
        ("encoding.slices", 9, "encoding.slices = 9: must lie between 1 and 8"),
        ("encoding.slices", 3, "encoding.slices = 3: the numbers of 256 states exceed 16 bits"),
        (
            "adc.range",
            "ful",
            "adc.range = 'ful': must be 'calibrated', 'percentile', 'full' or 'fixed'",
        ),
        ("adc.rate", NAN, "adc.rate = nan: must lie between 1 and 1e+12 conversions/s"),
        ("adc.bits", 1, "adc.bits = 1: must lie between 2 and 24"),
        ("dac.bits", 17, "dac.bits = 17: must lie between 1 and 16"),
        ("dac.v_read", NAN, "dac.v_read = nan: must lie between 0.0001 and 10 V"),
        ("device.g_min", NAN, "device.g_min = nan, device.g_max = 0.0001: needs 0 <= g_min < g_max"),
        ("device.g_max", 50.0, "device.g_max = 50.0: at most 0.01 S; conductances are in S, not in uS"),
        ("device.drift", {"t0": 1.0, "nu": {"intercept": -0.03}}, "drift: intercept = -0.03: lies outside"),
        ("device.g_max", float("inf"), "device.g_max = inf: needs 0 <= g_min < g_max"),
        ("device.g_min", 2e-4, "needs 0 <= g_min < g_max"),
        ("device.states", 1, "device.states = 1: must lie between 2 and 32768"),
        ("device.states", [0.0, NAN, 1e-4], "device.states: a list of state means needs at least two, asc"),
        ("device.states", [0.0, 5e-5], "device.states: the first and last mean must be g_min and g_max"),
        ("device.p_stuck_g_max", NAN, "device.p_stuck_g_max = nan: must lie between 0 and 1"),
        ("device.programming.sigma", NAN, "programming.sigma = nan: must lie between 0 and 2"),
        ("device.programming.sigma", 0.1, "has no effect with programming.kind = 'none'"),
        ("device.programming.sigmas", [1e-6], "only with 'states'"),
        ("device.programming.verify", {"acceptance": 0.1}, "only with 'gaussian' or 'lognormal' or 'poly"),
        ("device.programming.kind", "states", "programming.sigmas: missing"),
        ("device.drift", {"t0": 1.0}, "device.drift.nu: missing"),
        ("device.drift", {"t0": 0.0, "nu": {"intercept": 0.1}}, "drift.t0 = 0.0: must lie between 1e-09"),
        ("device.relaxation", {"sigma": -1.0}, "relaxation.sigma = -1.0: must lie between 0 and 1 S"),
        (
            "device.low_frequency",
            {"kind": "log10", "amplitude": 1.0, "t_read": 1e-6, "limit": 0.5},
            "only with",
        ),
        ("device.read_noise.relative_to", "target", "must be 'conductance', 'g_max' or 'range'"),
        ("device.iv.alpha", 2.0, "iv.alpha"),
        ("crossbar.r_wl", -1.0, "crossbar.r_wl = -1.0: must lie between 0 and 1e+06 ohm"),
        ("crossbar.p_open_bl", 1.5, "crossbar.p_open_bl = 1.5: must lie between 0 and 1"),
        ("encoding.kind", "twos-complement", "encoding.slices = 1: 'twos-complement' needs a slice for the"),
        ("dac.phase_bits", 0, "dac.phase_bits: has no effect with dac.bits = 'ideal'"),
        ("dac.range", "fixed", "dac.x_max: missing"),
        ("dac.x_max", 2.0, "dac.x_max = 2.0: has no effect with dac.range = 'max'; only with 'fixed'"),
        ("dac", {"bits": 8, "phase_bits": 9}, "dac.phase_bits = 9: must lie between 1 and 8"),
        ("dac", {"bits": 8, "inl": [0.1]}, "dac.inl: a table needs at least two entries"),
        ("adc.full_scale", 1e-6, "has no effect with adc.range = 'calibrated'; only with 'fixed'"),
        ("adc.gain_sigma", 0.1, "adc.gain_sigma: has no effect with adc.bits = 'ideal'"),
        ("adc.after", "accumulation", "has no effect with dac.bits = 'ideal', which has one phase"),
        (
            "device.programming.kind",
            "gausian",
            "device.programming.kind: unknown name 'gausian'; did you mean 'gaussian'? allowed: gaussian, ",
        ),
        (
            "device.programming.kind",
            "polynomial",
            "programming.coefficients: programming.kind = 'polynomial' needs",
        ),
        ("periphery.t_read", 0.0, "periphery.t_read = 0.0: must lie between 1e-11 and 0.01 s"),
        ("periphery.arrays_per_group", 0, "periphery.arrays_per_group = 0: must lie between 1"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(key: str, value: Any, message: str) -> None:
    with pytest.raises(XbarError, match="x.toml: .*" + re.escape(message)) as caught:
        build(Hardware, changed(key, value), "x.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["name", "device"])
def test_a_missing_key_is_named(key: str) -> None:
    data = to_dict(IDEAL)
    del data[key]
    with pytest.raises(XbarError, match=f"x.toml: {key}: missing"):
        build(Hardware, data, "x.toml")


def test_what_stands_in_the_file_arrives(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\n[device]\nbase = "admm-10mohm"\nstates = 8\n'
        '[device.programming]\nkind = "gaussian"\nsigma = 0.1\n[crossbar]\nrows = 16\n'
    )
    hardware = load_hardware(str(tmp_path / "mine.toml"))
    base = load_device("admm-10mohm")
    assert (hardware.device.g_min, hardware.device.g_max) == (base.g_min, base.g_max)
    assert hardware.device.states == 8
    assert hardware.device.programming == ProgrammingNoise("gaussian", 0.1)
    assert (hardware.crossbar.rows, hardware.crossbar.cols) == (16, 128)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\n', "device: missing; a preset's name or a table"),
        ('name = "x"\ndevice = "idael"\n', "unknown name 'idael'; did you mean 'ideal'?"),
        ('name = "x"\ndevice = "none.toml"\n', "none.toml: no such file"),
        ('name = "x"\n[device]\nbase = "idael"\n', "unknown name 'idael'; did you mean 'ideal'?"),
        (
            'name = "x"\n[device]\nbase = "ideal"\nstaets = 4\n',
            "device.staets: unknown key; did you mean 'st",
        ),
        ('name = \n[device]\nbase = "ideal"\n', "mine.toml: not a TOML file: .*line 1"),
    ],
)
def test_mistakes_in_a_file_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(XbarError, match=message) as caught:
        load_hardware(str(path))
    assert "\n" not in str(caught.value)


def test_unknown_presets_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        XbarError, match=r"unknown name 'admm-32x23'; did you mean 'admm-32x32'\?.*allowed: adm"
    ):
        load_hardware("admm-32x23")
    with pytest.raises(XbarError, match=r"device preset.*unknown name 'x'; allowed: admm-10mohm"):
        load_device("x")
    with pytest.raises(XbarError, match="no such file"):
        load_hardware(str(tmp_path / "absent.toml"))
    with pytest.raises(XbarError, match="cannot be read"):
        read_toml(tmp_path)


def test_cells_that_are_not_ohmic_are_refused_behind_wires() -> None:
    curved = IDEAL.replace(device__iv=IV("sinh", alpha=2.0))
    with pytest.raises(XbarError, match=r"device\.iv\.kind = 'sinh' with wires .*xbar\.solve takes both"):
        curved.replace(crossbar__r_bl=1.0)


def test_replace_checks_values_that_fit_together_only() -> None:
    # The copy was checked after each key: these two were refused in either order.
    window = {"device__g_min": 1e-3, "device__g_max": 1e-2}
    assert IDEAL.device.g_max < 1e-3
    for keys in (window, dict(reversed(window.items()))):
        device = IDEAL.replace(device__noise_beyond_window=True, **keys).device
        assert (device.g_min, device.g_max) == (1e-3, 1e-2)
    curved = IDEAL.replace(device__iv=IV("sinh", alpha=2.0))
    assert curved.replace(crossbar__r_bl=1.0, device__iv=IV()).crossbar.wired
    small = Crossbar(rows=8)
    assert IDEAL.replace(crossbar=small, crossbar__cols=4).crossbar == Crossbar(rows=8, cols=4)
    with pytest.raises(XbarError, match=r"hardware key device\.iv\.alpa: unknown name 'alpa'"):
        IDEAL.replace(device__iv__alpa=3, crossbar__rows=8)


def test_a_path_is_as_good_as_its_text(tmp_path: Path) -> None:
    # load_device(Path) was an AttributeError.
    path = tmp_path / "own.toml"
    path.write_text(tomli_w.dumps(to_dict(IDEAL.device)))
    assert load_device(path) == load_device(str(path))
    path.write_text(tomli_w.dumps(to_dict(IDEAL)))
    assert load_hardware(path) == IDEAL
    with pytest.raises(XbarError, match="device: a int; must be the name of a preset, or the path"):
        load_device(3)  # type: ignore[arg-type]


def test_replace_changes_one_value_and_checks_it() -> None:
    assert IDEAL.replace(crossbar__rows=7, adc__bits=4).crossbar.rows == 7
    assert IDEAL.crossbar.rows == 128
    with pytest.raises(XbarError, match=r"crossbar\.rows = 0"):
        IDEAL.replace(crossbar__rows=0)
    with pytest.raises(XbarError, match=r"encoding\.slices = 2: a tile needs at least 2 bit lines"):
        IDEAL.replace(crossbar__cols=1).replace(encoding__slices=2)
