"""Curves over one kind of noise: which hardware and noise each point has, and what is refused."""

from __future__ import annotations

import pytest

from experiments.studies.noise_cases import NoiseCase, NoiseCurve, points, with_noise
from experiments.studies.study import Study, load_study
from mapping.monte_carlo.sampling import LEAST
from xbar import XbarError, load_device
from xbar.hardware.noise import ProgrammingNoise


def study(*curves: str) -> Study:
    return load_study("digits", [f"under_noise=[{', '.join(curves)}]"])


def devices(text: str) -> list:
    made = study(text)
    return [with_noise(p.hardware, p.case).device for p in points(made.under_noise[0], made.hardware)]


def test_mismatch_is_the_deviation_of_ln_g_with_the_mean_kept() -> None:
    exact, noisy = devices('{name="m", axis="mismatch", values=[0, 0.15]}')
    assert exact.programming == ProgrammingNoise("lognormal", sigma=0.0)
    assert noisy.programming == ProgrammingNoise("lognormal", sigma=0.15, keep_mean=True)


def test_stuck_cells_are_shared_between_both_ends() -> None:
    for share, high, low in ((0.5, 0.01, 0.01), (1.0, 0.02, 0.0), (0.25, 0.005, 0.015)):
        (device,) = devices(f'{{name="s", axis="stuck", values=[0.02], share_g_max={share}}}')
        assert (device.p_stuck_g_max, device.p_stuck_g_min) == pytest.approx((high, low))
        assert device.programming.kind == "none"


def test_bits_change_the_hardware_and_leave_the_noise() -> None:
    made = study('{name="a", axis="adc-bits", values=[4, 9], programming={kind="lognormal", sigma=0.1}}')
    found = points(made.under_noise[0], made.hardware)
    assert [p.hardware.adc.bits for p in found] == [4, 9]
    assert all(with_noise(p.hardware, p.case).device.programming.sigma == 0.1 for p in found)
    assert found[1].hardware == made.hardware


def test_time_on_a_device_of_the_curve() -> None:
    made = study('{name="t", axis="time", values=[20, 86400], device="pcm-90nm", compensation="column"}')
    found = points(made.under_noise[0], made.hardware)
    assert [p.case.time for p in found] == [20.0, 86400.0]
    assert all(p.hardware.device == load_device("pcm-90nm") for p in found)
    assert all(p.case.compensation == "column" for p in found)
    assert made.under_noise[0].on(made.hardware).crossbar == made.hardware.crossbar


def test_points_have_names() -> None:
    made = study(
        '{name="m", axis="mismatch", values=[0, 0.005]}',
        '{name="a", axis="adc-bits", values=[4]}',
        '{name="t", axis="time", values=[20, 3600, 31536000], device="pcm-90nm"}',
    )
    labels = [[p.label for p in points(curve, made.hardware)] for curve in made.under_noise]
    assert labels == [["0 %", "0.5 %"], ["4 bits"], ["20 s", "1 h", "1 year"]]


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        (
            '{name="m", axis="mismatch", values=[3]}',
            "under_noise: 'm': values = 3.0: must lie between 0 and 2",
        ),
        ('{name="m", axis="mismatch", values=[]}', "values = []: needs at least one, ascending"),
        ('{name="m", axis="mismatch", values=[0.2, 0.1]}', "needs at least one, ascending"),
        ('{name="s", axis="stuck", values=[1.5]}', "must lie between 0 and 1"),
        ('{name="s", axis="stuck", values=[0.1], share_g_max=2}', "share_g_max = 2.0"),
        ('{name="a", axis="adc-bits", values=[4.5]}', "must be whole numbers of bits"),
        ('{name="a", axis="adc-bits", values=[1]}', "must lie between 2 and 24"),
        ('{name="a", axis="adc-bits", values=[4], share_g_max=1}', "only with 'stuck'"),
        ('{name="m", axis="mismatch", values=[0], programming={kind="none"}}', "which sets it"),
        ('{name="m", axis="noise", values=[0]}', "under_noise.0.axis = 'noise'"),
        ('{name="m", axis="time", values=[1], device="pcm"}', "did you mean 'pcm-90nm'"),
        ('{name="m", axis="time", values=[20], compensatio="layer"}', "did you mean 'compensation'"),
        ('{name="m", axis="stuck", values=[0]}, {name="m", axis="stuck", values=[0]}', "a name of its own"),
    ],
)
def test_mistakes_are_one_line_that_names_the_curve(curve: str, words: str) -> None:
    with pytest.raises(XbarError) as caught:
        study(curve)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "time", "words"),
    [
        ("pcm-90nm", 1.0, "noise case 't, 1 s': time = 1.0: must lie between 20"),
        ("neurram-hfox", 60.0, "was measured at 1, 86400, 172800 s only"),
        ("milo-hfo2", 60.0, "has no effect; the case's device has no relaxation"),
    ],
)
def test_a_time_that_the_device_has_no_data_for_is_refused(device: str, time: float, words: str) -> None:
    curve = NoiseCurve("t", "time", (time,), device=load_device(device))
    with pytest.raises(XbarError) as caught:
        points(curve, load_study("digits").hardware)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["chips.until=-1"], "chips.until = -1"),
        (["chips.until=0.1", "chips.n=5"], "chips.least = 10: must lie between 2 and 5 (chips.n)"),
        (["chips.until=0.1", "chips.least=1"], "chips.least = 1"),
        (["chips.cases.0.compensation=all"], "'none', 'layer' or 'column'"),
    ],
)
def test_the_stop_rule_s_keys(changes: list[str], words: str) -> None:
    with pytest.raises(XbarError) as caught:
        load_study("digits", changes)
    assert words in str(caught.value)


def test_columns_are_moved_around_faults_that_there_are() -> None:
    hardware = load_study("digits").hardware
    for faulty in ({"device__p_stuck_g_min": 0.01}, {"crossbar__p_open_bl": 0.01}):
        with_noise(hardware.replace(**faulty), NoiseCase("moved", around_faults=True))
    with pytest.raises(
        XbarError, match="'moved': around_faults = true: has no effect; the case has no stuck"
    ):
        with_noise(hardware, NoiseCase("moved", around_faults=True))


def test_the_default_least_number_of_chips_is_the_one_whose_coverage_is_known() -> None:
    assert load_study("digits").chips.least == LEAST


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (["chips.cases.0.name='$\\\\sigma_{$'"], "chips.cases: name"),
        (["name='a $\\\\nothing$'"], "name"),
        (["hardware.name='$x^$'"], "hardware.name"),
    ],
)
def test_a_name_that_no_figure_can_show_is_refused_before_the_training(changes: list[str], key: str) -> None:
    with pytest.raises(
        XbarError, match=rf"{key} = .*: what stands between \$ is mathematics, and this is none \("
    ) as caught:
        load_study("digits", changes)
    assert "\n" not in str(caught.value)


def test_names_with_mathematics_and_dollars_are_allowed() -> None:
    study = load_study("digits", [r"chips.cases.0.name='$\sigma_g$ = 5 %'", "name='5 $'"])
    assert study.chips.cases[0].name == r"$\sigma_g$ = 5 %"
