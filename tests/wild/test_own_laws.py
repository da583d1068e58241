"""A user's own noise laws and current-voltage curve, in a file of theirs that a study names."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from own_files import check_known_by_its_file_alone, inline, read_without, refused
from small_study import SMALL, result_of_run

from experiments.run_folder.ids import simulated
from experiments.stages.planned import planned_ids
from experiments.stages.run import prepare
from experiments.studies.own_code import extensions_of
from experiments.studies.study import load_study, resolve_study, study_dict
from mapping import load_mapping
from xbar import CURRENT_LAWS, FLICKER_NOISES, READ_NOISES, WRITE_NOISES, load_device, solve
from xbar.conductances.noise_laws import low_frequency_sigma, sigma, white_sigma
from xbar.conductances.programming import program
from xbar.hardware.device import Device
from xbar.hardware.files import build, to_dict
from xbar.hardware.iv import current_per_siemens
from xbar.wires.netlist import spice_netlist

LAWS = (Path(__file__).parents[1] / "support" / "own_laws.py").read_text()
DEVICE = {
    "name": "mine",
    "source": "a test",
    "g_min": 1e-6,
    "g_max": 5e-5,
    "states": 16,
    "programming": {"kind": "square-root", "sigma": 1e-6},
    "low_frequency": {"kind": "at-middle", "amplitude": 2e-6},
    "read_noise": {"kind": "telegraph", "step": 4e-7},
    "iv": {"kind": "arctangent", "v_0": 0.3},
}


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds that a test adds are gone after it."""
    for registry in (WRITE_NOISES, FLICKER_NOISES, READ_NOISES, CURRENT_LAWS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own_laws.py"
    file.write_text(LAWS)
    return file


def device_of(file: Path, **changes: object) -> Device:
    with extensions_of([str(file)]):
        return build(Device, {**DEVICE, **changes}, "")


def changes(file: Path) -> list[str]:
    keys = [f"hardware.device.{key}={inline(value)}" for key, value in DEVICE.items()]
    return [*SMALL, f"extensions=['{file}']", *keys, "chips.n=2"]


def test_all_four_run_from_a_study(own: Path, tmp_path: Path) -> None:
    study = load_study("digits", changes(own))
    device = study.hardware.device
    assert [type(part).__name__ for _, part in device.kinds] == [
        "SquareRoot",
        "Telegraph",
        "Arctangent",
        "FlickerAtMiddle",
    ]
    out = tmp_path / "run"
    result = result_of_run(study, None, out)
    assert result["hardware"]["device"]["iv"] == {"kind": "arctangent", "g_at": "zero", "v_0": 0.3}
    assert resolve_study(result["study"], "kept") == study
    with extensions_of(study.extensions):
        mapped = load_mapping(out / "mapping.safetensors")
    assert all(layer.hardware.device == device for layer in mapped.layers.values())


def test_the_write_law_is_drawn_in_its_size(own: Path) -> None:
    """32,768 cells: the standard deviation of a sample is off by 5 of its own, 2 %, once in 1.7 million."""
    device = device_of(own, low_frequency=None)
    found = program_spread(device, 0.25 * device.g_max)
    assert found == pytest.approx(0.5e-6, rel=5 / math.sqrt(2 * 32768))
    assert sigma([0.25 * device.g_max], device) == pytest.approx([0.5e-6], rel=1e-12)


def program_spread(device: Device, target: float, time: float | None = None) -> float:
    """Standard deviation [S] of 32,768 cells of one target."""
    side = np.arange(256)
    names = {"seed": 1, "chip": 0, "layer": "a", "plane": 0, "slice_": 0}
    cells = program(
        np.full((256, 128), target), device, side, side[:128], **names, time=time, dtype=np.float64
    )
    return float(np.std(cells.g))


@pytest.mark.parametrize("time", [1.0, 1e5])
def test_the_flicker_law_is_drawn_in_its_size(own: Path, time: float) -> None:
    """Half way between g_min and g_max, where a deviation of g hardly changes that of its noise."""
    device = device_of(own, programming={"kind": "none"})
    middle = (device.g_min + device.g_max) / 2
    expected = 2e-6 * math.sqrt(math.log((time + 1e-6) / 2e-6))
    assert program_spread(device, middle, time) == pytest.approx(expected, rel=5 / math.sqrt(2 * 32768))
    assert low_frequency_sigma([middle], [middle], device, time) == pytest.approx([expected], rel=1e-12)


def test_what_follows_the_own_flicker_law_acts(own: Path) -> None:
    """Stuck cells stay, cells that are not there are 0, and a device that relaxes stays in its window."""
    relaxation = {"mean": 0.0, "sigma": 1e-9, "sigma_0": 0.0}
    device = device_of(own, p_stuck_g_max=0.3, relaxation=relaxation)
    side = np.arange(64)
    built = np.ones((64, 64), bool)
    built[:, 0] = False
    names = {"seed": 1, "chip": 0, "layer": "a", "plane": 0, "slice_": 0}
    g = program(np.full((64, 64), 4.9e-5), device, side, side, **names, built=built, time=1e6).g
    assert not g[:, 0].any()
    assert 0.25 < np.mean(g[:, 1:] == np.float32(device.g_max)) < 0.9
    assert g[:, 1:].min() >= np.float32(device.g_min)
    assert g.max() <= np.float32(device.g_max)


def test_a_flicker_law_outside_the_kernel_is_that_of_the_kernel(own: Path) -> None:
    """The same law as one that ships, asked for its amplitudes alone, gives the same cells to rounding."""
    shipped = load_device("pcm-90nm")
    text = LAWS.replace(
        "share = (g - device.g_min) / (device.g_max - device.g_min)\n"
        "        return noise.amplitude * np.clip(4 * share * (1 - share), 0, 1)",
        "x = np.maximum(target / device.g_max, 1e-30)\n"
        "        return g * np.minimum(0.2, noise.amplitude * x**-0.65)",
    )
    assert text != LAWS
    own.write_text(text)
    flicker = shipped.low_frequency
    assert flicker is not None
    table = {"kind": "at-middle", "amplitude": flicker.amplitude, "t_read": flicker.t_read}
    with extensions_of([str(own)]):
        mine = build(Device, {**to_dict(shipped), "low_frequency": table}, "")
    side, target = np.arange(40), np.linspace(0, shipped.g_max, 1600).reshape(40, 40)
    names = {"seed": 3, "chip": 1, "layer": "a", "plane": 0, "slice_": 0}
    cells = [program(target, one, side, side, **names, time=1e4, dtype=np.float64) for one in (shipped, mine)]
    np.testing.assert_allclose(cells[0].g, cells[1].g, rtol=1e-6, atol=1e-12)


def test_the_read_law_is_the_noise_of_a_read(own: Path) -> None:
    device = device_of(own)
    np.testing.assert_allclose(white_sigma([1e-6, 5e-5], device), [2e-7, 2e-7], rtol=1e-15)


def test_the_current_law_acts_in_converters_circuits_and_netlists(own: Path) -> None:
    law = device_of(own).iv
    v = np.array([-0.4, 0.1, 0.4])
    np.testing.assert_allclose(current_per_siemens(law, v), 0.3 * np.arctan(v / 0.3), rtol=1e-15)
    g, volts = np.full((3, 2), 5e-5), np.array([0.1, 0.2, 0.4])
    solution = solve(g, volts, r_wl=200, r_bl=200, iv=law).checked()
    wires = solve(g, volts, r_wl=200, r_bl=200).checked()
    inside = solution.g * 0.3 * np.arctan(solution.cell_voltages / 0.3)
    np.testing.assert_allclose(solution.currents, inside.sum(0), rtol=1e-9)
    assert (solution.currents < wires.currents).all()  # it saturates
    assert "atan" in spice_netlist(g, volts, r_wl=200, r_bl=200, iv=law)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("iv.kind=arctangen", "hardware.device.iv.kind: unknown name 'arctangen'; did you mean 'arctangent'"),
        ("iv.v0=1", "hardware.device.iv.v0: unknown key; did you mean 'v_0'? allowed: g_at, kind, v_0"),
        ("programming.sigma=-1", "programming.sigma = -1.0: must be at least 0, in S"),
        ("programming.sigma=1", "device.programming.kind = square-root: a deviation of up to 1 S"),
        ("read_noise.step='a'", "hardware.device.read_noise.step = 'a': must be a number"),
        ("low_frequency=3", "hardware.device.low_frequency = 3: must be a table"),
        ("low_frequency={amplitude=1e-6}", "hardware.device.low_frequency.kind: missing; allowed: power"),
    ],
)
def test_mistakes_are_told_as_for_built_in_ones(own: Path, change: str, words: str) -> None:
    with refused(words):
        load_study("digits", [*changes(own), f"hardware.device.{change}"])


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            "return Spread(noise.sigma * np.sqrt(target / device.g_max))",
            "return 1e-6",
            "device.programming.kind = 'square-root': its law gives a float; must be a Spread",
        ),
        (
            "np.sqrt(target / device.g_max)",
            "np.ones(3)",
            "'square-root': its law: sigma has shape (3,); must be (",
        ),
        ("return noise.step / 2", "return -noise.step", "its law: sigma from -4e-07 to -4e-07 S; must be"),
        ("return noise.step / 2", "return 1 / 0", "kind of read noise 'telegraph': ZeroDivisionError"),
        (
            "return 1 / (1 + (v / iv.v_0) ** 2)",
            "return 1 / (1 + (v / iv.v_0) ** 4)",
            "iv.kind = 'arctangent': its f and the sum of its slopes from 0 V differ by",
        ),
        (
            "return 1 / (1 + (v / iv.v_0) ** 2)",
            "return 1 - (v / 0.1) ** 2",
            "iv.kind = 'arctangent': the current must increase with the voltage, its slope at -",
        ),
        ("return 1 / (1 + (v", "return 2 / (1 + (v", "its slope at 0 V is 2; must be 1"),
        ("return iv.v_0 * np.arctan(v / iv.v_0)", "return v[:2]", "its f has shape (2,); must be (1001,)"),
        ("return iv.v_0 * np.arctan(v / iv.v_0)", "return v / 0.0", "its f at "),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_a_law_that_contradicts_itself_is_refused(own: Path, before: str, after: str, words: str) -> None:
    assert before in LAWS
    own.write_text(LAWS.replace(before, after))
    with refused(words):
        load_study("digits", changes(own))


def test_a_changed_file_changes_the_ids_of_what_uses_it(own: Path, tmp_path: Path) -> None:
    noise = "quantise.noise={kind='square-root', sigma=1e-7}"
    study = load_study("digits", [*changes(own), noise])
    before, hardware = planned_ids(prepare(study, None, tmp_path), study), simulated(study.hardware)
    own.write_text(LAWS + "# another law\n")
    changed = load_study("digits", [*changes(own), noise])
    after = planned_ids(prepare(changed, None, tmp_path), changed)
    assert [stage for stage in before if before[stage] != after[stage]] == ["quantise"]
    assert simulated(changed.hardware) != hardware


def test_a_kind_of_a_file_that_the_study_does_not_name_is_refused(own: Path) -> None:
    load_study("digits", changes(own))
    parts = {key: table for key, table in DEVICE.items() if isinstance(table, dict)}
    check_known_by_its_file_alone(parts, "own_laws.py")


@pytest.mark.slow
def test_a_result_is_read_where_the_file_is_gone(own: Path, tmp_path: Path) -> None:
    result, report = read_without([own], load_study("digits", changes(own)), tmp_path / "run")
    assert study_dict(result.study)["hardware"]["device"]["read_noise"]["step"] == 4e-7
    assert "square-root" in report
