"""Parameters of aihwkit and CrossSim as a hardware: units, defaults, and that no parameter is lost."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from experiments.commands.cli import main
from experiments.studies.noise_cases import with_noise
from experiments.studies.study import load_study
from mapping import analog_network, calibrate, map_network, program_network
from mapping.compression.configs import Rate
from xbar import XbarError, from_aihwkit, from_crosssim, load_device, load_hardware
from xbar.conductances.noise_laws import flicker_amplitude, sigma
from xbar.other_tools.translation import Translation, flat


def accounted(translation: Translation) -> set[str]:
    return {*translation.translated, *translation.left, *translation.off}


class MVType(enum.Enum):
    ONE_PASS = "OnePass"


class PCMLikeNoiseModel:
    """Has the attributes of aihwkit's class of this name after its `__init__`."""

    def __init__(self, g_max: float, **scales: float) -> None:
        self.g_converter = SinglePairConductanceConverter(g_max, 1.0)
        self.g_max = g_max
        self.prog_coeff, self.prog_coeff_g_max_reference = [0.26348, 1.9650, -1.1731], 25.0
        self.t_0, self.t_read = 20.0, 250e-9
        self.prog_noise_scale = self.read_noise_scale = self.drift_scale = 1.0
        self.__dict__.update(scales)


class SinglePairConductanceConverter:
    def __init__(self, g_max: float, g_min: float) -> None:
        self.g_max, self.g_min, self.scale_ratio = g_max, g_min, None


@dataclasses.dataclass
class Forward:
    mv_type: MVType = MVType.ONE_PASS
    inp_res: float = 1 / 254
    out_res: float = 1 / 1022
    out_bound: float = 10.0
    out_noise: float = 0.04
    w_noise: float = 0.02
    w_noise_type: str = "AdditiveConstant"
    ir_drop: float = 0.5
    ir_drop_g_ratio: float = 1e5
    out_nonlinearity: float = 0.3
    r_series: float = 0.0


@dataclasses.dataclass
class RPUConfig:
    forward: Forward
    noise_model: Any
    tile_class: type = dict
    drift_compensation: Any = None


def test_a_default_of_aihwkit_is_its_pcm_cell() -> None:
    found = from_aihwkit({}).hardware
    preset = load_device("pcm-90nm")
    assert (found.crossbar.rows, found.crossbar.cols) == (512, 512)
    assert (found.dac.bits, found.dac.signed, found.dac.phase_bits) == (7, "sign-magnitude", 7)
    assert found.dac.phases_of(True) == found.dac.phases_of(False) == 1
    assert found.adc.bits == 9  # 1/510: 510 steps
    assert found.adc.full_scale == pytest.approx(12 * 25e-6 * 0.2)
    assert found.adc.noise_current == pytest.approx(0.06 * 25e-6 * 0.2)
    g = np.linspace(0, 25e-6, 50)
    assert sigma(g, found.device) == pytest.approx(sigma(g, preset), rel=1e-12)
    assert found.device.drift == preset.drift
    assert found.device.low_frequency == preset.low_frequency


def test_units_and_scales_of_an_object_of_aihwkit() -> None:
    model = PCMLikeNoiseModel(50.0, prog_noise_scale=2.0, read_noise_scale=0.5, drift_scale=3.0)
    translation = from_aihwkit(RPUConfig(Forward(), model), "mine")
    hardware, device = translation.hardware, translation.hardware.device
    assert (device.g_min, device.g_max) == pytest.approx((1e-6, 50e-6))
    # sigma at half of g_max: 2 times the polynomial [uS] at g_max = 25 uS, times 50 / 25.
    expected = 2 * 2 * (0.26348 + 1.9650 / 2 - 1.1731 / 4) * 1e-6
    assert sigma(np.array([25e-6]), device) == pytest.approx([expected], rel=1e-12)
    x = np.array([1e-3, 0.1, 1.0])
    nu = np.clip(-0.0155 * np.log(x) + 0.0244, 0.049, 0.1)
    assert device.drift.nu(x) == pytest.approx(3 * nu)
    assert flicker_amplitude(device, 50e-6 * x, device.g_max * x) == pytest.approx(
        0.5 * 50e-6 * x * np.minimum(0.2, 0.0088 * x**-0.65)
    )
    assert device.read_noise.sigma == pytest.approx(0.02 / math.sqrt(2))
    assert hardware.crossbar.r_bl == pytest.approx(0.5 / (1e5 * 50e-6))
    assert (hardware.dac.bits, hardware.adc.bits) == (8, 10)
    assert hardware.adc.full_scale == pytest.approx(10 * 49e-6 * 0.2)
    assert "forward.out_nonlinearity" in translation.left
    assert "forward.r_series" in translation.off
    assert set(flat(RPUConfig(Forward(), model), "aihwkit")) <= accounted(translation)
    assert "0.3: is not modelled" in str(translation)


def test_currents_are_those_of_the_largest_weight() -> None:
    found = from_aihwkit({"mapping": {"weight_scaling_omega": 0.5}}).hardware.adc
    assert found.full_scale == pytest.approx(12 * 25e-6 * 0.2 / 0.5)
    assert found.noise_current == pytest.approx(0.06 * 25e-6 * 0.2 / 0.5)


def test_reram_of_aihwkit_has_its_polynomials_by_time() -> None:
    table = {"1.0": [0.3, 16.0, -43.0], "86400.0": [0.7, 22.0, -50.0]}
    model = {"class": "ReRamWan2022NoiseModel", "coeff_dic": table, "noise_scale": 0.5, "g_max": 40.0}
    device = from_aihwkit({"noise_model": {**model, "g_converter": {"g_max": 40.0}}}).hardware.device
    assert device.g_max == pytest.approx(40e-6)
    assert [part.time for part in device.programming.at] == [1.0, 86400.0]
    assert device.programming.at[1].coefficients == pytest.approx((0.35e-6, 11e-6, -25e-6))


def test_perfect_forward_passes_and_unknown_noise_models() -> None:
    translation = from_aihwkit(
        {"forward": {"is_perfect": True}, "noise_model": {"class": "Mine", "beta": 2.0}}
    )
    assert translation.hardware.dac.bits == translation.hardware.adc.bits == "ideal"
    assert translation.hardware.device.programming.kind == "none"
    assert {"noise_model.class", "noise_model.beta"} <= translation.left.keys()


CROSSSIM = {
    "core": {"style": 2, "rows_max": 64, "cols_max": 32, "bit_sliced": {"style": 1, "num_slices": 4}},
    "xbar": {
        "device": {
            "cell_bits": 2,
            "Rmin": 2e4,
            "Rmax": 2e6,
            "Vread": 0.15,
            "programming_error": {"enable": True, "model": "NormalIndependentDevice", "magnitude": 0.03},
            "read_noise": {"enable": True, "model": "NormalProportionalDevice", "magnitude": 0.01},
            "drift_error": {"enable": True, "model": "PCMJoshi", "magnitude": 0},
        },
        "array": {"parasitics": {"enable": True, "Rp_row": 1.5, "Rp_col": 2.5, "Rp_col_terminal": 100.0}},
        "adc": {"mvm": {"model": "QuantizerADC", "bits": 7, "adc_per_ibit": True, "adc_range_option": 2}},
        "dac": {"mvm": {"model": "SignMagnitudeDAC", "bits": 8, "input_bitslicing": True, "slice_size": 2}},
    },
    "simulation": {"useGPU": True},
}


def test_units_of_crosssim() -> None:
    translation = from_crosssim(CROSSSIM)
    hardware, device = translation.hardware, translation.hardware.device
    assert (device.g_min, device.g_max, device.states) == pytest.approx((5e-7, 5e-5, 4))
    assert (device.programming.kind, device.programming.sigma) == ("gaussian", 0.03)
    assert device.programming.relative_to == "g_max"
    assert (device.read_noise.sigma, device.read_noise.relative_to) == (0.01, "conductance")
    crossbar, encoding = hardware.crossbar, hardware.encoding
    assert (crossbar.rows, crossbar.cols) == (64, 32 * 4)
    assert (crossbar.r_wl, crossbar.r_bl, crossbar.r_driver, crossbar.r_sense) == (1.5, 2.5, 0.0, 100.0)
    assert (encoding.kind, encoding.slices, encoding.subtract) == ("differential", 4, "analog")
    assert (hardware.dac.bits, hardware.dac.phase_bits, hardware.dac.signed) == (8, 2, "sign-magnitude")
    assert hardware.dac.v_read == 0.15
    assert (hardware.adc.bits, hardware.adc.range, hardware.adc.after) == (7, "full", "phase")
    assert "xbar.device.drift_error.model" in translation.left
    assert set(flat(CROSSSIM, "CrossSim")) == accounted(translation) & set(flat(CROSSSIM, "CrossSim"))


def test_offset_cores_and_codes_that_are_accumulated() -> None:
    given = {
        "core": {"style": "OFFSET", "cols_max": 16, "offset": {"style": "UNIT_COLUMN_SUBTRACTION"}},
        "xbar": {
            "device": {"infinite_on_off_ratio": True, "Rmax": 1e6},
            "adc": {"mvm": {"model": "QuantizerADC", "bits": 8}},
            "dac": {"mvm": {"model": "QuantizerDAC", "bits": 4, "signed": False}},
        },
    }
    hardware = from_crosssim(given).hardware
    assert (hardware.encoding.kind, hardware.encoding.subtract) == ("offset", "digital")
    assert hardware.crossbar.cols == 16 + 1
    assert hardware.device.g_min == 0.0
    assert (hardware.dac.phase_bits, hardware.adc.after) == (4, "accumulation")


@pytest.mark.parametrize("make", [from_aihwkit, from_crosssim])
def test_what_is_no_set_of_parameters_is_refused(make: Any) -> None:
    with pytest.raises(XbarError, match="must be a table or its object"):
        make(3)
    endless: dict[str, Any] = {}
    endless["a"] = endless
    with pytest.raises(XbarError, match="nested"):
        make(endless)


OWN, REFERENCE = {"prog_coeff": [0.3]}, "prog_coeff_g_max_reference"
RERAM = {"class": "ReRamWan2022NoiseModel", "coeff_dic": {"1.0": [0.3]}}
BIT_SLICED = {"core": {"style": "BITSLICED", "bit_sliced": {"num_slices": math.inf}}}


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (from_aihwkit, {"forward": {"out_noise": "much"}}, "forward.out_noise = 'much': must be a number"),
        (from_aihwkit, {"noise_model": {"prog_coeff": 3.0}}, "must be a list of numbers"),
        (from_aihwkit, {"mapping": {"max_input_size": 9999}}, "crossbar.rows"),
        (from_crosssim, {"core": {"style": "BALANCE"}}, "must be one of BALANCED, BITSLICED, OFFSET"),
        (from_crosssim, {"xbar": {"device": {"cell_bits": 20}}}, "must be at most 15"),
        (from_crosssim, {"xbar": {"device": {"Rmin": 0}}}, "Rmin = 0.0: must be above 0"),
        (from_crosssim, {"core": {"rows_max": math.nan}}, "core.rows_max = nan: must be a number"),
        (from_crosssim, {"core": {"cols_max": math.inf}}, "core.cols_max = inf: must be a number"),
        (from_crosssim, {"xbar": {"device": {"cell_bits": math.nan}}}, "cell_bits = nan: must be a number"),
        (from_crosssim, {"xbar": {"device": {"cell_bits": 2.5}}}, "cell_bits = 2.5: must be a whole number"),
        (from_crosssim, {"xbar": {"adc": {"mvm": {"bits": math.nan}}}}, "bits = nan: must be a number"),
        (from_crosssim, BIT_SLICED, "num_slices = inf: must be a number"),
        (from_crosssim, {"xbar": {"device": {"Rmax": 10**400}}}, r"Rmax = 10*\.\.\.: must be a number"),
        (from_aihwkit, {"mapping": {"max_input_size": math.inf}}, "max_input_size = inf: must be a number"),
        (from_aihwkit, {"forward": {"inp_res": math.nan}}, "inp_res = nan: must be a number"),
        (from_aihwkit, {"forward": {"inp_res": 1e-320}}, "inp_res = .*: inf steps; must be at most"),
        (from_aihwkit, {"forward": {"ir_drop": 1.0, "ir_drop_g_ratio": 0}}, "g_ratio = 0.0: must be above 0"),
        (from_aihwkit, {"noise_model": {**OWN, REFERENCE: 0}}, "reference = 0.0: must be above 0"),
        (from_aihwkit, {"noise_model": {**OWN, "g_max": 0}}, "g_max = 0.0"),
        (from_aihwkit, {"noise_model": {"prog_coeff": [math.nan]}}, "must be a list of numbers"),
        (from_aihwkit, {"noise_model": {**RERAM, "coeff_g_max_reference": 0}}, "must be above 0"),
        (from_aihwkit, {"noise_model": {**RERAM, "coeff_g_max_reference": "a"}}, "= 'a': must be a number"),
        (
            from_aihwkit,
            {"forward": {"out_noize": 0.1}},
            "unknown; did you mean 'forward.out_noise'",
        ),
        (
            from_aihwkit,
            {"foward": {"out_noise": 0.1}},
            "unknown; did you mean 'forward.out_noise",
        ),
        (from_aihwkit, {"noise_model": {"t0": 20.0}}, "t0: unknown; did you mean 'noise_model.t_0'"),
        (from_aihwkit, {"noise_model": {"class": "PCMNoise"}}, "did you mean 'PCMLikeNoiseModel'"),
        (from_aihwkit, CROSSSIM, "none of the parameters is one of aihwkit's; the first is 'core.style'"),
        (from_crosssim, {"forward": {"out_noise": 0.1}}, "none of the parameters is one of CrossSim's"),
        (from_crosssim, {"xbar": {"device": {"RMin": 1e4}}}, "did you mean 'xbar.device.Rmin'"),
        (from_aihwkit, {"noise_model": {"g_max": 25e-6}}, "g_max = 2.5e-05: is in uS"),
        (from_aihwkit, {"noise_model": {"g_converter": {"g_max": 25e-6}}}, "g_max = 2.5e-05: is in uS"),
        (from_aihwkit, {"noise_model": {"prog_coeff": [2.6e-7, 1.9e-6]}}, "are in uS"),
    ],
)
def test_mistakes_are_refused(make: Any, given: dict, message: str) -> None:
    with pytest.raises(XbarError, match=message):
        make(given)


def test_the_command_writes_a_design(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(CROSSSIM))
    main(["translate", "crosssim", str(tmp_path / "mine.json"), "--out", str(tmp_path / "mine.toml")])
    assert "crossbar.r_bl [ohm]" in capsys.readouterr().out
    assert load_hardware(tmp_path / "mine.toml") == from_crosssim(CROSSSIM, "mine").hardware
    for arguments, message in (
        ([str(tmp_path / "no.json")], "cannot be read"),
        ([str(tmp_path / "mine.json"), "--out", str(tmp_path / "mine.toml")], "exists already"),
    ):
        with pytest.raises(SystemExit):
            main(["translate", "crosssim", *arguments])
        assert message in capsys.readouterr().err


def test_aihwkit_itself_is_translated_where_it_is_installed() -> None:
    pytest.importorskip("aihwkit", reason="aihwkit is not installed (pip install aihwkit)")
    from aihwkit.simulator.configs import InferenceRPUConfig  # type: ignore[import-not-found]

    translation = from_aihwkit(InferenceRPUConfig())
    assert translation.hardware.device.drift == load_device("pcm-90nm").drift
    assert set(flat(InferenceRPUConfig(), "aihwkit")) <= accounted(translation)


def test_noise_of_weights_is_relative_to_the_largest_weight() -> None:
    """The largest weight, omega, has the whole range: the noise is a larger share of a smaller omega."""
    noise = {"w_noise_type": "AdditiveConstant", "w_noise": 0.02}
    for omega, largest in ((0.5, 0.5), (2.0, 2.0), (0.0, 1.0)):
        given = {"mapping": {"weight_scaling_omega": omega}, "forward": noise}
        found = from_aihwkit(given).hardware.device.read_noise
        assert found.sigma == pytest.approx(0.02 / largest / math.sqrt(2))


def test_a_perfect_forward_pass_has_no_noise_of_weights_and_no_drop() -> None:
    noise = {"w_noise_type": "AdditiveConstant", "w_noise": 0.02, "ir_drop": 1.0}
    for perfect in ({"is_perfect": True}, {"mv_type": "Ideal"}):
        translation = from_aihwkit({"forward": {**noise, **perfect}})
        assert translation.hardware.device.read_noise.sigma == 0
        assert translation.hardware.crossbar.r_bl == 0
        assert {"forward.w_noise", "forward.ir_drop"} <= translation.left.keys()


@pytest.mark.parametrize("absent", [{}, {"prog_coeff_g_max_reference": None}])
def test_own_coefficients_are_those_at_the_own_largest_conductance(absent: dict) -> None:
    """aihwkit takes 25 uS as the reference of its own coefficients alone."""
    table = {"g_converter": {"g_max": 50.0}, **absent}
    own = from_aihwkit({"noise_model": {**table, "prog_coeff": [0.5, 1.0]}}).hardware.device
    assert own.programming.coefficients == pytest.approx((0.5e-6, 1.0e-6))
    shipped = from_aihwkit({"noise_model": {**table, "prog_coeff": None}}).hardware.device
    assert shipped.programming.coefficients == pytest.approx((0.52696e-6, 3.93e-6, -2.3462e-6))
    given = {**table, "prog_coeff": [0.5, 1.0], "prog_coeff_g_max_reference": 100.0}
    coefficients = from_aihwkit({"noise_model": given}).hardware.device.programming.coefficients
    assert coefficients == pytest.approx((0.25e-6, 0.5e-6))


def test_the_largest_conductance_of_a_noise_model_is_that_of_its_converter() -> None:
    assert from_aihwkit({"noise_model": {"g_max": 40.0}}).hardware.device.g_max == pytest.approx(40e-6)


def test_what_is_none_has_the_default() -> None:
    table = {"noise_model": {"g_converter": {"g_max": None, "g_min": None}, "t_0": None}}
    translation = from_aihwkit(table)
    assert translation.hardware == from_aihwkit({}).hardware
    assert set(flat(table, "aihwkit")) <= accounted(translation)
    with pytest.raises(XbarError, match="coeff_dic = None: must be coefficients"):
        from_aihwkit({"noise_model": {"class": "ReRamWan2022NoiseModel"}})


def test_lists_in_the_place_of_names_are_left() -> None:
    found = from_aihwkit({"noise_model": {"class": ["PCMLikeNoiseModel"]}})
    assert "noise_model.class" in found.left
    error = {"enable": True, "model": ["NormalIndependentDevice"], "magnitude": 0.1}
    assert "xbar.device.read_noise.model" in from_crosssim({"xbar": {"device": {"read_noise": error}}}).left


OF_AIHWKIT = """
    bound_management inp_asymmetry inp_bound inp_noise inp_res inp_sto_round ir_drop ir_drop_g_ratio
    is_perfect max_bm_factor max_bm_res mv_type nm_assumed_wmax nm_decay nm_thres noise_management
    out_asymmetry out_bound out_noise out_noise_std out_nonlinearity out_nonlinearity_std out_res
    out_scale out_sto_round r_series slope_calibration v_offset_std v_offset_w_min w_noise w_noise_type
"""


def test_no_parameter_of_aihwkit_is_taken_for_a_mistake() -> None:
    numbers = dict.fromkeys(OF_AIHWKIT.split(), 0.0)
    model = {"g_max": 25.0, "prog_coeff_g_max_reference": 25.0, "coeff_g_max_reference": 25.0, "beta": 1.0}
    mapping = dict.fromkeys(
        ("learn_out_scaling", "out_scaling_columnwise", "weight_scaling_lr_compensation"), 0
    )
    translation = from_aihwkit({"forward": numbers, "noise_model": model, "mapping": mapping})
    assert {f"forward.{name}" for name in numbers} <= accounted(translation)


@pytest.mark.parametrize(
    "model",
    [
        {"prog_noise_scale": 0.0},
        {"prog_coeff": [0.0, 0.0]},
        {"prog_coeff": []},
        {**RERAM, "noise_scale": 0.0},
        {**RERAM, "coeff_dic": {"1.0": [0.0], "60.0": [0.0, 0.0]}},
    ],
)
def test_coefficients_of_0_are_writes_without_error(model: dict) -> None:
    translation = from_aihwkit({"noise_model": model})
    assert translation.hardware.device.programming.kind == "none"
    assert "device.programming.kind = 'none'" in translation.translated["noise_model.class"]


def test_what_is_scaled_away_needs_no_time() -> None:
    model = {"drift_scale": 0.0, "t_0": 0.0, "read_noise_scale": 0.0, "t_read": 0.0}
    device = from_aihwkit({"noise_model": model}).hardware.device
    assert device.drift is None
    assert device.low_frequency is None


@pytest.mark.parametrize(
    ("steps", "bits"), [(2, 2), (16, 4), (64, 6), (126, 7), (128, 7), (254, 8), (256, 8), (510, 9), (800, 10)]
)
def test_a_resolution_has_the_bits_of_the_nearest_step(steps: int, bits: int) -> None:
    """2^b - 2 steps are b bits; 2^b of them, a step 2 / 2^b narrower, are no bit more."""
    for given in (1 / steps, float(steps)):
        translation = from_aihwkit({"forward": {"inp_res": given, "out_res": given}})
        hardware = translation.hardware
        assert (hardware.dac.bits, hardware.adc.bits) == (bits, bits)
        said = translation.translated["forward.out_res"]
        assert (f"{2**bits - 2} steps for {steps}: each" in said) == (steps != 2**bits - 2)
    said = from_aihwkit({"forward": {"out_res": 1 / 256}}).translated["forward.out_res"]
    assert "adc.bits = 8, 254 steps for 256: each 0.79 % wider" in said


@pytest.mark.parametrize("phase_bits", [None, 1, 2])
@pytest.mark.parametrize("bits", [4, 8])
def test_output_noise_is_that_of_the_config_in_any_phases(bits: int, phase_bits: int | None) -> None:
    """Over 10,000 outputs a standard deviation is known to 1 / sqrt(20,000), .71 %: six of them are 4.2 %."""
    torch.manual_seed(0)
    model, x = nn.Linear(16, 20, bias=False), torch.rand(500, 16)
    nn.init.uniform_(model.weight, -1, 1)
    forward = {"out_noise": 0.04, "out_res": -1, "inp_res": 1 / (2**bits - 2)}
    given = {"mapping": {"weight_scaling_omega": 1.0}, "forward": forward, "noise_model": {"class": "None"}}
    quiet = {**given, "forward": {**forward, "out_noise": 0.0}}
    outputs = []
    for config in (given, quiet):
        hardware = from_aihwkit(config, phase_bits=phase_bits).hardware
        mapped, _ = calibrate(map_network(model, hardware, x[:1]), model, [(x, x)])
        outputs.append(analog_network(model, program_network(mapped))(x).detach())
    scale = float(x.max() * model.weight.detach().abs().max())
    assert float((outputs[0] - outputs[1]).std()) / scale == pytest.approx(0.04, rel=0.042)


def test_one_bit_phases_say_what_they_change() -> None:
    translation = from_aihwkit({"forward": {"inp_res": 1 / 254}}, phase_bits=1)
    hardware = translation.hardware
    assert (hardware.dac.bits, hardware.dac.phase_bits) == (8, 1)
    share = math.sqrt(sum(4.0**k for k in range(8))) / 255
    assert hardware.adc.noise_current == pytest.approx(0.06 * 25e-6 * 0.2 / share)
    assert "rounding is 0.58 of" in translation.translated["forward.mv_type"]
    with pytest.raises(XbarError, match="phase_bits"):
        from_aihwkit({}, phase_bits=0)


def test_the_command_makes_a_design_that_is_priced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The study that the pages name measures the translated chip: nothing is pruned, no noise is replaced."""
    given, out = tmp_path / "mine.json", tmp_path / "mine.toml"
    given.write_text(json.dumps({"forward": {"out_noise": 0.04}}))
    main(["translate", "aihwkit", str(given), "--phase-bits", "1", "--out", str(out)])
    assert load_hardware(out).dac.phase_bits == 1
    main(["run", "digits-uncompressed", "--plan", "--set", f"hardware.base={out}"])
    study = load_study("digits-uncompressed", [f"hardware.base={out}"])
    assert study.hardware == load_hardware(out)
    (case,) = study.chips.cases
    assert with_noise(study.hardware, case) == study.hardware
    assert study.compress.target == Rate(1.0)
    assert study.compare.slices == 1
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["translate", "crosssim", str(given), "--phase-bits", "1"])
    assert "--phase-bits: is of aihwkit" in capsys.readouterr().err


def test_crosssim_s_arrays_have_no_limit_unless_one_is_given() -> None:
    translation = from_crosssim({})
    assert (translation.hardware.crossbar.rows, translation.hardware.crossbar.cols) == (128, 128)
    assert "no limit there" in translation.left["core.rows_max"]
    assert from_crosssim({"core": {"rows_max": 64}}).hardware.crossbar.rows == 64
