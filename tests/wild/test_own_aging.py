"""A user's own relaxation and drift, in a file of theirs that a study names."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from device_noise import drifted, relaxed
from networks import design
from own_files import check_known_by_its_file_alone, inline, read_without, refused
from small_study import SMALL, result_of_run
from torch import nn

from experiments.commands.catalogue.device_text import describe
from experiments.commands.cli import main
from experiments.figures.device_plots import device_figure
from experiments.report.run_report import report_run
from experiments.run_folder.ids import simulated
from experiments.studies.noise_cases import with_noise
from experiments.studies.own_code import extensions_of
from experiments.studies.study import load_study, resolve_study
from mapping import (
    analog_network,
    calibrate,
    compensate,
    load_mapping,
    map_network,
    program_network,
    read_known_inputs,
    reset_noise,
)
from mapping.chip_training.analog_training import trainable_network
from xbar import (
    DRIFTS,
    RELAXATIONS,
    AgingLaw,
    CellDrift,
    CellRelaxation,
    Device,
    Relaxation,
    XbarError,
    load_device,
)
from xbar.conductances.aging import relaxation_sigma
from xbar.conductances.programming import program
from xbar.conductances.rng import normals, stream_key
from xbar.hardware.files import build

LAWS = (Path(__file__).parents[1] / "support" / "own_aging.py").read_text()
RELAXATION = {"kind": "to-the-middle", "tau": 1e4, "sigma": 2e-6}
DRIFT = {"kind": "rise", "t_start": 10.0, "slope": 0.01, "spread": 0.3}
DEVICE = {"name": "mine", "source": "a test", "g_min": 1e-6, "g_max": 5e-5, "states": 16}
MIDDLE = 2.55e-5
NAMES: dict[str, Any] = {"seed": 1, "chip": 0, "layer": "a", "plane": 0, "slice_": 0}
SIDE = np.arange(256)
FIVE = 5 / math.sqrt(2 * 32768)
"""A sample's standard deviation of 32,768 cells is off by 5 of its own, 2 %, once in 1.7 million."""


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds that a test adds are gone after it."""
    for registry in (RELAXATIONS, DRIFTS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "_of_type", {})


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own_aging.py"
    file.write_text(LAWS)
    return file


def device_of(file: Path, **changes: object) -> Device:
    with extensions_of([str(file)]):
        return build(Device, {**DEVICE, **changes}, "")


def cells(device: Device, target: float, time: float) -> np.ndarray:
    """Conductances [S] of 32,768 cells of one target."""
    targets = np.full((256, 128), target)
    return program(targets, device, SIDE, SIDE[:128], **NAMES, time=time, dtype=np.float64).g


def draws(step: str) -> np.ndarray:
    return normals(stream_key(step, *NAMES.values()), SIDE, SIDE[:128]).astype(np.float64)


def changes(file: Path) -> list[str]:
    parts = {"relaxation": RELAXATION, "drift": DRIFT}
    keys = [f"hardware.device.{key}={inline(table)}" for key, table in parts.items()]
    window = [f"hardware.device.{key}={json.dumps(DEVICE[key])}" for key in ("g_min", "g_max", "states")]
    cases = "chips.cases=[{name='day', time=86400.0, compensation='column'}]"
    return [*SMALL, f"extensions=['{file}']", *window, *keys, cases]


def test_both_run_from_a_study(own: Path, tmp_path: Path) -> None:
    study = load_study("digits", changes(own))
    device = study.hardware.device
    assert [type(part).__name__ for part in device.aging] == ["ToTheMiddle", "Rise"]
    assert device.first_time == 10.0
    out = tmp_path / "run"
    result = result_of_run(study, None, out)
    assert result["hardware"]["device"]["relaxation"] == RELAXATION
    assert result["hardware"]["device"]["drift"] == DRIFT
    assert result["accuracy"]["chips_cases"][0]["name"] == "day"
    assert resolve_study(result["study"], "kept") == study
    with extensions_of(study.extensions):
        mapped = load_mapping(out / "mapping.safetensors")
    assert all(layer.hardware.device == device for layer in mapped.layers.values())
    report_run(out)
    assert "to-the-middle" in (out / "report.html").read_text()


@pytest.mark.parametrize("time", [3e3, 1e5])
def test_the_relaxation_is_drawn_in_its_size(own: Path, time: float) -> None:
    device = device_of(own, relaxation=RELAXATION)
    gone = 1 - math.exp(-time / 1e4)
    found = cells(device, 1.5e-5, time)
    assert np.std(found) == pytest.approx(2e-6 * gone, rel=FIVE)
    mean = 1.5e-5 + gone * (MIDDLE - 1.5e-5)
    assert np.mean(found) == pytest.approx(mean, abs=5 * 2e-6 * gone / math.sqrt(32768))
    np.testing.assert_allclose(relaxation_sigma([1.5e-5, 4e-5], device, time), 2e-6 * gone, rtol=1e-9)


@pytest.mark.parametrize("time", [100.0, 1e6])
def test_the_drift_is_drawn_in_its_size(own: Path, time: float) -> None:
    log = math.log(time / 10)
    found = cells(device_of(own, drift=DRIFT), 1.5e-5, time) / 1.5e-5
    assert np.std(found) == pytest.approx(0.01 * 0.3 * log, rel=FIVE)
    assert np.mean(found) == pytest.approx(1 + 0.01 * log, abs=5 * 0.003 * log / math.sqrt(32768))


def test_drift_follows_relaxation_and_both_are_clamped_to_the_window(own: Path) -> None:
    device = device_of(own, relaxation=RELAXATION, drift=DRIFT | {"slope": 0.2}, p_stuck_g_min=0.01)
    time = 1e5
    gone = 1 - math.exp(-time / 1e4)
    relaxed_to = 4e-5 + gone * ((MIDDLE - 4e-5) + 2e-6 * draws("relaxation"))
    risen = relaxed_to * (1 + 0.2 * (1 + 0.3 * draws("drift")) * math.log(time / 10))
    found = cells(device, 4e-5, time)
    stuck = found == device.g_min
    assert 0.005 < np.mean(stuck) < 0.015
    expected = np.clip(risen, device.g_min, device.g_max)
    assert (expected == device.g_max).any()
    np.testing.assert_allclose(found[~stuck], expected[~stuck], rtol=1e-12)


@dataclasses.dataclass(frozen=True)
class SameDrift(CellDrift):
    kind: str = "same-drift"


@dataclasses.dataclass(frozen=True)
class SameRelaxation(CellRelaxation):
    kind: str = "same-relaxation"


@pytest.mark.parametrize("own_parts", [("drift",), ("relaxation",), ("relaxation", "drift")])
def test_laws_outside_the_kernel_are_those_of_the_kernel(own_parts: tuple[str, ...]) -> None:
    """The laws that ship, as arrays, give the same cells to rounding, whatever else the device has."""
    shipped = dataclasses.replace(
        load_device("pcm-90nm"), relaxation=Relaxation(-1e-8, 1e-9, 1e-8), p_stuck_g_max=0.01
    )

    class ByArrays(AgingLaw):
        def first_time(self, part: Any) -> float:
            return 1.0

        def aged(self, part: Any, device: Device, g: Any, target: Any, xi: Any, time: float) -> Any:
            if part.at == "drift":
                return drifted(g, target, xi, shipped, time)
            return relaxed(g, xi, shipped, time)

    RELAXATIONS.add("same-relaxation", SameRelaxation, ByArrays())
    DRIFTS.add("same-drift", SameDrift, ByArrays())
    others: dict[str, Any] = {"relaxation": SameRelaxation(), "drift": SameDrift()}
    mine = dataclasses.replace(shipped, **{part: others[part] for part in own_parts})
    target = np.linspace(0, shipped.g_max, 1600).reshape(40, 40)
    found = [
        program(target, one, SIDE[:40], SIDE[:40], **NAMES, time=1e4, dtype=np.float64).g
        for one in (shipped, mine)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=1e-12)


def test_a_rise_of_all_cells_is_compensated_and_trained_on(own: Path) -> None:
    """Without spread it is a gain of the layer; a training meets the cells of the same chip and time."""
    torch.manual_seed(3)
    model, x = nn.Sequential(nn.Linear(24, 10)).eval(), torch.rand(64, 24)
    device = device_of(own, drift=DRIFT | {"spread": 0.0})
    hardware = design(8, 8, device=device, dac__bits=8)
    mapped = calibrate(map_network(model, hardware, x[:1]), model, [(x, x)])[0]
    known = read_known_inputs(mapped, model, [(x, x)])
    factor = 1 + 0.01 * math.log(1e6 / 10)
    chip = program_network(mapped, time=1e6)
    fresh = analog_network(model, program_network(mapped))(x)
    bias = model[0].bias
    torch.testing.assert_close(analog_network(model, chip)(x) - bias, (fresh - bias) * factor)
    held = compensate(chip, known, "layer")
    np.testing.assert_allclose(held.layers["0"].compensation, 1 / factor, rtol=1e-5)
    torch.testing.assert_close(analog_network(model, held)(x), fresh)
    training = trainable_network(model, mapped, time=1e6)
    expected = analog_network(model, program_network(mapped, time=1e6))(x)
    torch.testing.assert_close(training.train()(x), expected)


def test_both_paths_of_the_multiply_read_the_same_cells(own: Path) -> None:
    torch.manual_seed(3)
    model, x = nn.Sequential(nn.Linear(24, 10)).eval(), torch.rand(16, 24)
    device = device_of(own, relaxation=RELAXATION, drift=DRIFT, read_noise={"sigma": 0.02})
    hardware = design(8, 8, device=device, dac__bits=8)
    mapped = calibrate(map_network(model, hardware, x[:1]), model, [(x, x)])[0]
    network = analog_network(model, program_network(mapped, time=1e5, dtype=np.float64))
    compiled = network(x.double())
    reset_noise(network)
    torch.testing.assert_close(network(x.double().requires_grad_()).detach(), compiled, rtol=1e-6, atol=1e-6)


def test_it_is_described_and_drawn(own: Path) -> None:
    device = device_of(own, relaxation=RELAXATION, drift=DRIFT)
    text = " ".join(describe(device, 160).split())
    assert "relaxation to-the-middle (tau = 10000.0, sigma = 2e-06), a draw for each cell and chip" in text
    assert "drift rise (t_start = 10.0, slope = 0.01, spread = 0.3), a draw for each cell and chip" in text
    assert "time from 10 s after the write on" in text
    titles = [ax.get_title(loc="left") for ax in device_figure(device).axes]
    assert titles == ["16 states", "target 1 µS", "target 27.1 µS", "target 50 µS"]


def test_the_command_takes_the_file_that_a_device_file_needs(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    keys = [f"{key} = {json.dumps(value)}" for key, value in DEVICE.items()]
    file.write_text("\n".join([*keys, f"drift = {inline(DRIFT)}"]))
    figure = tmp_path / "mine.png"
    main(["devices", str(file), "--out", str(figure), "--extensions", str(own)])
    assert "rise (t_start = 10.0, slope = 0.01, spread = 0.3)" in " ".join(capsys.readouterr().out.split())
    assert figure.is_file()
    for arguments, words in (
        ([str(file), "--extensions", "none.py"], "extensions: none.py: must be the path of a Python file"),
        (["--extensions", str(own)], "--extensions: needs the NAME of a device file"),
    ):
        with pytest.raises(SystemExit):
            main(["devices", *arguments])
        assert words in capsys.readouterr().err
    with extensions_of([]), pytest.raises(XbarError, match="which must stand in `extensions`"):
        load_device(str(file))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("drift.kind=rize", "hardware.device.drift.kind: unknown name 'rize'; did you mean 'rise'"),
        ("drift.t0=1", "hardware.device.drift.t0: unknown key; "),
        ("relaxation.tau=-1", "relaxation.tau = -1.0: must be above 0, in s"),
        ("relaxation.tau='a'", "hardware.device.relaxation.tau = 'a': must be a number"),
        ("relaxation.sigma=1", "device.relaxation.kind = to-the-middle: a deviation of up to "),
        ("drift.slope=2", "device.drift.kind = rise: a deviation of up to "),
        ("drift.t_start=-1", "'rise': the first time of its law = -1.0: must lie between 0 and 1e+12 s"),
        ("drift=3", "hardware.device.drift = 3: must be a table"),
        ("drift={t0=20.0}", "hardware.device.drift.nu: missing"),
    ],
)
def test_mistakes_are_told_as_for_built_in_ones(own: Path, change: str, words: str) -> None:
    with refused(words):
        load_study("digits", [*changes(own), f"hardware.device.{change}"])


def test_a_case_before_the_first_time_is_refused(own: Path) -> None:
    study = load_study("digits", [*changes(own), "hardware.device.drift.t_start=1e5"])
    with pytest.raises(XbarError, match=r"case 'day': time = 86400.0: must lie between 100000 and 1e\+12 s"):
        with_noise(study.hardware, study.chips.cases[0])


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("return g + gone", "return g[:2] + gone", "could not be broadcast"),
        (
            "return g * (1 + part.slope",
            "return np.ones(3) * (1 + part.slope",
            "could not be broadcast",
        ),
        ("return g * (", "return (0 * g + np.nan) * (", "a conductance that is not finite at 27.1828 s"),
        ("return g + gone", "return 1 / 0 + gone", "kind of relaxation 'to-the-middle': ZeroDivisionError"),
        ("return part.t_start", "return None", "the first time of its law = None: must be a number"),
        ("    def first_time(self, part):\n        return 0.0\n", "", "Can't instantiate abstract class"),
        (
            "class ToTheMiddleLaw(AgingLaw):",
            "class ToTheMiddleLaw(AgingLaw):\n"
            "    def compiled(self, part, device, target, time):\n"
            "        return np.zeros(7), target\n",
            "'to-the-middle': its compiled form has shape (7,); must be (1,), as conductances are",
        ),
    ],
)
def test_a_law_that_contradicts_itself_is_refused(own: Path, before: str, after: str, words: str) -> None:
    assert before in LAWS
    own.write_text(LAWS.replace(before, after))
    with refused(words):
        cells(device_of(own, relaxation=RELAXATION, drift=DRIFT), 1e-5, 100.0)


def test_a_changed_file_changes_the_ids_of_what_uses_it(own: Path) -> None:
    before = simulated(load_study("digits", changes(own)).hardware)
    own.write_text(LAWS + "# another law\n")
    changed = load_study("digits", changes(own))
    assert simulated(changed.hardware) != before
    drift: dict[str, Any] = {"t0": 20.0, "nu": {"intercept": 0.03}}
    plain = {**DEVICE, "relaxation": {"sigma": 1e-9}, "drift": drift}
    shipped = dataclasses.replace(changed.hardware, device=build(Device, plain, ""))
    assert "code" not in simulated(shipped)
    assert shipped.device == build(Device, {**plain, "drift": drift | {"kind": "power"}}, "")
    table = simulated(shipped)["device"]
    assert set(table["relaxation"]) == {"mean", "sigma", "sigma_0"}
    assert set(table["drift"]) == {"t0", "nu", "nu_sigma"}


def test_a_kind_of_a_file_that_the_study_does_not_name_is_refused(own: Path) -> None:
    load_study("digits", changes(own))
    check_known_by_its_file_alone({"relaxation": RELAXATION, "drift": DRIFT}, "own_aging.py")


@pytest.mark.slow
def test_a_result_is_read_where_the_file_is_gone(own: Path, tmp_path: Path) -> None:
    _, report = read_without([own], load_study("digits", changes(own)), tmp_path / "run")
    assert "to-the-middle" in report
