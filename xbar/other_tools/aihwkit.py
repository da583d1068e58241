"""A hardware from an RPU config of IBM's aihwkit, for inference.

Names, defaults and meanings are those of aihwkit 1.1 (https://github.com/IBM/aihwkit, its modules
`aihwkit.simulator.parameters` and `aihwkit.inference.noise`). Its largest weight is weight_scaling_omega and
its inputs lie within +-1, so that an output of 1 is the current (g_max - g_min) v_read / omega here; its
conductances are in uS.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from xbar.hardware.aging import Drift, LogClamp
from xbar.hardware.checks import check_range
from xbar.hardware.converters import Adc, Dac
from xbar.hardware.design import Crossbar, Hardware
from xbar.hardware.device import Device
from xbar.hardware.encodings import Encoding
from xbar.hardware.errors import XbarError
from xbar.hardware.noise import LowFrequencyNoise, PolynomialAt, ProgrammingNoise, WhiteNoise
from xbar.other_tools.translation import Account, Translation, flat, is_number

TOOL = "aihwkit"
V_READ = 0.2
STATES = 1024
MOST_STEPS = 2.0**24
LEAST_G_MAX = 1e-3
"""[uS]; a smaller largest conductance was given in siemens."""
LEAST_COEFFICIENT = 1e-4
"""[uS]; coefficients that are all smaller were given in siemens."""
ASSUMED = (
    f"dac.v_read = {V_READ} V: aihwkit has no voltages; currents and energies scale with it",
    f"device.states = {STATES}: cells of aihwkit are analog",
)
DEFAULTS: dict[str, Any] = {
    "mapping.max_input_size": 512,
    "mapping.max_output_size": 512,
    "mapping.digital_bias": True,
    "mapping.weight_scaling_columnwise": False,
    "mapping.weight_scaling_omega": 0.0,
    "forward.is_perfect": False,
    "forward.mv_type": "OnePass",
    "forward.inp_bound": 1.0,
    "forward.inp_res": 1 / 126,
    "forward.out_bound": 12.0,
    "forward.out_res": 1 / 510,
    "forward.out_noise": 0.06,
    "forward.w_noise": 0.0,
    "forward.w_noise_type": "None",
    "forward.ir_drop": 0.0,
    "forward.ir_drop_g_ratio": 1 / 0.35 / 5e-6,
    "noise_model.class": "PCMLikeNoiseModel",
    "noise_model.g_converter.class": "SinglePairConductanceConverter",
    "noise_model.g_converter.g_max": 25.0,
    "noise_model.g_converter.g_min": 0.0,
    "noise_model.prog_coeff": [0.26348, 1.9650, -1.1731],
    "noise_model.t_0": 20.0,
    "noise_model.t_read": 250e-9,
    "noise_model.prog_noise_scale": 1.0,
    "noise_model.read_noise_scale": 1.0,
    "noise_model.drift_scale": 1.0,
    "noise_model.noise_scale": 1.0,
}
PCM_REFERENCE = 25.0
"""g_max [uS] at which aihwkit gives its own coefficients. A user's are those at the g_max of the config where
no reference is given with them."""
TRAINING = "is of training; `mapping.trainable_network` trains on chips here"
REASONS = {
    "backward.": TRAINING,
    "update.": TRAINING,
    "modifier.": TRAINING,
    "clip.": TRAINING,
    "remap.": TRAINING,
    "device.": TRAINING,
    "runtime.": "is of the program, not of the hardware",
    "tile_class": "is of the program, not of the hardware",
    "tile_array_class": "is of the program, not of the hardware",
    "simulator_tile_class": "is of the program, not of the hardware",
    "pre_post.": "input ranges are fitted by `mapping.calibrate` (dac.range)",
    "mapping.weight_scaling": "weights always fill the window; encoding.scale says what shares a factor",
    "mapping.": TRAINING,
    "drift_compensation": 'no part of a chip; `mapping.compensate(chip, known, "layer")` afterwards',
    "noise_model.": "has no counterpart in the noise model that was translated",
    "forward.noise_management": "inputs have one range a layer, fitted by `mapping.calibrate`",
    "forward.bound_management": "a converter clips; its share is reported (accuracy.clipped_inputs)",
    "forward.max_bm": "a converter clips; its share is reported (accuracy.clipped_inputs)",
    "forward.bm_": "a converter clips; its share is reported (accuracy.clipped_inputs)",
    "forward.nm_": "inputs have one range a layer, fitted by `mapping.calibrate`",
    "forward.out_scale": "digital factors follow from the scale of the weights",
    "forward.v_offset_w_min": "acts with v_offset_std only, which is not modelled",
    "forward.": "is not modelled",
}


def from_aihwkit(config: Any, name: str = "from aihwkit", phase_bits: int | None = None) -> Translation:
    """Hardware of an RPU config for inference.

    Parameters
    ----------
    config
        An `InferenceRPUConfig` or one of its kinds, or the same as tables of tables
        (`{"forward": {"out_noise": 0.04}, "noise_model": {"class": "PCMLikeNoiseModel"}}`). What a table does
        not give, or gives as None, has the default of aihwkit; the coefficients of a
        `ReRamWan2022NoiseModel` must be given.
    name
        Name of the hardware.
    phase_bits
        Bits of an input code that go in one phase, for a hardware that the component libraries price (1, as a
        rule). Each phase then has a conversion of its own, and `adc.noise_current` is that of a conversion
        for which the noise of the sum is `out_noise`. None: whole codes in one phase, as in aihwkit.

    Raises
    ------
    XbarError
        For a value that is not a number where one is needed, or of which no hardware can be made.
    """
    if phase_bits is not None:
        check_range("phase_bits", phase_bits, 1, 16)
    of = Account(TOOL, flat(config, TOOL), DEFAULTS)
    of.refuse_unknown(REASONS)
    device = _device(of)
    dac, adc = _converters(of, device, phase_bits)
    return of.close(
        Hardware(
            name,
            device,
            source="a translation of aihwkit's parameters",
            crossbar=_crossbar(of, device),
            encoding=_encoding(of),
            dac=dac,
            adc=adc,
            assumed=ASSUMED,
        ),
        REASONS,
    )


def _crossbar(of: Account, device: Device) -> Crossbar:
    size: dict[str, Any] = {}
    for key, what in (("max_input_size", "rows"), ("max_output_size", "cols")):
        path = f"mapping.{key}"
        if lines := of.whole(path):
            size[what] = lines
            of.became(path, f"crossbar.{what}")
        else:
            of.leaves(path, f"no limit there; crossbar.{what} = {getattr(Crossbar(), what)} here")
    drop = of.number("forward.ir_drop")
    if not drop or _is_perfect(of):
        return Crossbar(**size)
    ohm = drop / of.positive("forward.ir_drop_g_ratio") / device.g_max
    of.became("forward.ir_drop", f"crossbar.r_bl = {ohm:.3g} ohm, solved exactly (there: approximately)")
    of.became("forward.ir_drop_g_ratio", "conductance of a segment of wire over g_max, in crossbar.r_bl")
    return Crossbar(**size, r_bl=ohm)


def _encoding(of: Account) -> Encoding:
    by_column = bool(of("mapping.weight_scaling_columnwise"))
    scale = "column" if by_column else "layer"
    of.became("mapping.weight_scaling_columnwise", f"encoding.scale = {scale!r} (there: a factor a tile)")
    if of("mapping.digital_bias"):
        of.became("mapping.digital_bias", "the bias is digital, as it is here by default")
    else:
        of.leaves("mapping.digital_bias", "`Choice(bias_rows=...)` of map_network puts a bias on word lines")
    return Encoding(scale=scale)  # type: ignore[arg-type]


def _converters(of: Account, device: Device, phase_bits: int | None) -> tuple[Dac, Adc]:
    if _is_perfect(of):
        of.became("forward.is_perfect", "dac.bits and adc.bits ideal; other keys of forward do not act")
        return Dac("ideal", V_READ), Adc("ideal")
    dac = Dac("ideal", V_READ)
    if bits := _bits(of, "forward.inp_res", "dac.bits"):
        dac = Dac(bits, V_READ, phase_bits=min(phase_bits or bits, bits), signed="sign-magnitude")
    phases, of_noise = dac.phases, _noise_of_phases(dac)
    if of("forward.mv_type") != "OnePass":
        of.leaves("forward.mv_type", "codes go in one phase here; phase_bits of from_aihwkit divides them")
    elif phases == 1:
        of.became("forward.mv_type", "one phase of whole codes")
    else:
        each = f"{phases} phases of dac.phase_bits = {dac.phase_bits}, each with a conversion, were asked for"
        of.became("forward.mv_type", f"{each}: rounding is {of_noise:.3g} of that of one conversion")
    of.became(
        "forward.inp_bound",
        "the largest code; calibration fits what it stands for (all codes, if none is negative)",
    )
    ampere = (device.g_max - device.g_min) * V_READ / _largest_weight(of)
    noise = of.number("forward.out_noise") * ampere / of_noise
    of.became(
        "forward.out_noise",
        f"adc.noise_current = {noise:.3g} A"
        + (f" at each of {phases} conversions, so that their sum has the noise" if phases > 1 else ""),
    )
    if not (bits := _bits(of, "forward.out_res", "adc.bits")):
        return dac, Adc("ideal", noise_current=noise)
    scale = of.number("forward.out_bound") * ampere
    of.became("forward.out_bound", f"adc.full_scale = {scale:.3g} A")
    return dac, Adc(bits, range="fixed", full_scale=scale, noise_current=noise)


def _noise_of_phases(dac: Dac) -> float:
    """Noise of a sum of phases over that of one conversion of a whole code, each conversion with the same.

    Phase k of p bits counts (2^p - 1) 2^(p k) / (2^b - 1) of the largest code of b bits, and the errors of
    conversions are independent. It is that of codes without a sign; those with one have a bit fewer.
    """
    if dac.bits == "ideal":
        return 1.0
    shares = [(2**dac.phase_bits - 1) * 2 ** (dac.phase_bits * k) for k in range(dac.phases)]
    return math.hypot(*shares) / ((1 << dac.bits) - 1)


def _is_perfect(of: Account) -> bool:
    """Whether the other parameters of the forward pass do not act."""
    return bool(of("forward.is_perfect")) or of("forward.mv_type") == "Ideal"


def _largest_weight(of: Account) -> float:
    """Weight that has the largest conductance."""
    omega = of.number("mapping.weight_scaling_omega")
    if omega > 0:
        of.became("mapping.weight_scaling_omega", "the weight of g_max, in the currents of forward")
        return omega
    why = "weights fill the window here; currents of forward are those of a largest weight of 1"
    of.leaves("mapping.weight_scaling_omega", why)
    return 1.0


def _bits(of: Account, key: str, what: str) -> int:
    """Bits of a converter of 1 / resolution steps about 0, those with the nearest step; 0: none.

    2^b - 1 codes from -(2^(b - 1) - 1) have 2^b - 2 steps between them, so that 2^b steps, as 1 / 2^b asks
    for, are b bits.
    """
    given = of.number(key)
    if given <= 0:
        of.became(key, f"{what} = 'ideal'")
        return 0
    steps = given if given > 1 else 1 / given
    if steps > MOST_STEPS:
        raise XbarError(f"{TOOL}: {key} = {given:g}: {steps:g} steps; must be at most {MOST_STEPS:g}")
    ours = {bits: 2**bits - 2 for bits in range(2, 26)}
    bits = min(ours, key=lambda each: abs(math.log(ours[each] / steps)))
    change = steps / ours[bits] - 1
    finer = f"{100 * abs(change):.2g} % {'wider' if change > 0 else 'narrower'}"
    exact = "" if math.isclose(ours[bits], steps) else f", {ours[bits]} steps for {steps:g}: each {finer}"
    of.became(key, f"{what} = {bits}{exact}")
    return bits


def _device(of: Account) -> Device:
    base = "noise_model.g_converter."
    of_model = not of.gives(base + "g_max") and of.gives("noise_model.g_max")
    at_g_max = "noise_model.g_max" if of_model else base + "g_max"
    g_max, g_min = (of.number(key) * 1e-6 for key in (at_g_max, base + "g_min"))
    if 0 < g_max < LEAST_G_MAX * 1e-6:
        raise XbarError(
            f"{TOOL}: {at_g_max} = {g_max * 1e6:g}: is in uS, as in aihwkit; must be at least {LEAST_G_MAX:g}"
        )
    of.became(at_g_max, f"device.g_max = {g_max:.3g} S")
    of.became(base + "g_min", f"device.g_min = {g_min:.3g} S")
    if of(base + "class") == "SinglePairConductanceConverter":
        of.became(base + "class", "encoding.kind = 'differential'")
    else:
        of.leaves(base + "class", "a pair of one cell a plane here")
    if of("noise_model.g_max") is not None and not of_model:
        of.became("noise_model.g_max", "the same as that of g_converter")
    kind = of("noise_model.class")
    noise: dict[str, Any] = {}
    if isinstance(kind, str) and kind in NOISE_MODELS:
        of.became("noise_model.class", "device.programming and what follows")
        noise = NOISE_MODELS[kind](of, g_max)
    else:
        _refuse_near_model(kind)
        models = " and ".join(NOISE_MODELS)
        of.leaves("noise_model.class", f"{models} are translated; cells have no errors here")
    return Device(
        "cell of an aihwkit config",
        "a translation of aihwkit's parameters",
        g_min,
        g_max,
        STATES,
        read_noise=_read_noise(of),
        **noise,
    )


def _refuse_near_model(kind: Any) -> None:
    near = difflib.get_close_matches(kind, NOISE_MODELS, n=1) if isinstance(kind, str) else []
    if near:
        raise XbarError(
            f"{TOOL}: noise_model.class = {kind!r}: unknown; did you mean {near[0]!r}? One of your own has "
            "no translation: give 'None', and the design's device its noise afterwards"
        )


def _read_noise(of: Account) -> WhiteNoise:
    """Noise of a weight at every read, as that of two cells, relative to the largest weight's range."""
    if of("forward.w_noise_type") == "AdditiveConstant" and not _is_perfect(of):
        sigma = of.number("forward.w_noise") / _largest_weight(of) / math.sqrt(2)
        of.became("forward.w_noise_type", "device.read_noise relative to the range")
        what = f"device.read_noise.sigma = {sigma:.3g}, in both cells of a pair, drawn anew at each phase"
        of.became("forward.w_noise", what)
        return WhiteNoise(sigma, "range")
    return WhiteNoise()


def _pcm(of: Account, g_max: float) -> dict[str, Any]:
    """Joshi et al., Nat. Commun. 11, 2473 (2020), doi:10.1038/s41467-020-16108-9, as aihwkit fits it."""
    at = "noise_model."
    own, key = of.gives(at + "prog_coeff"), at + "prog_coeff_g_max_reference"
    relative = 1.0 if own else g_max * 1e6 / PCM_REFERENCE
    if own and of.gives(key):
        relative = g_max * 1e6 / of.positive(key)
        of.became(key, "device.programming.coefficients [S]")
    elif of.gives(key):
        of.leaves(key, f"acts with prog_coeff alone; that of aihwkit's own is {PCM_REFERENCE:g} uS")
    factor = of.number(at + "prog_noise_scale") * relative
    coefficients = _coefficients(of(at + "prog_coeff"), factor)
    of.became(at + "prog_coeff", f"device.programming.coefficients [S], times {relative:g}")
    of.became(at + "prog_noise_scale", "factor of device.programming.coefficients")
    nu, t0 = of.number(at + "drift_scale"), of.number(at + "t_0")
    of.became(at + "drift_scale", "factor of device.drift.nu and nu_sigma")
    of.became(at + "t_0", "device.drift.t0 [s]; times here are t_inference + t_0")
    exponent = LogClamp(0.0244 * nu, -0.0155 * nu, 0.049 * nu, 0.1 * nu)
    its_sigma = LogClamp(-0.0059 * nu, -0.0125 * nu, 0.008 * nu, 0.045 * nu)
    read, t_read = of.number(at + "read_noise_scale"), of.number(at + "t_read")
    of.became(at + "read_noise_scale", "device.low_frequency (there by the written, here the target g)")
    of.became(at + "t_read", "device.low_frequency.t_read [s]")
    power: dict[str, Any] = {"exponent": 0.65, "limit": 0.2 * read}
    return {
        "programming": _written(of, coefficients),
        "drift": Drift(t0, exponent, its_sigma) if nu else None,
        "low_frequency": LowFrequencyNoise("power", 0.0088 * read, t_read, **power) if read else None,
    }


def _reram(of: Account, g_max: float) -> dict[str, Any]:
    """Wan et al., Nature 608, 504 (2022), doi:10.1038/s41586-022-04992-8, as aihwkit fits it."""
    table = of("noise_model.coeff_dic")
    if not isinstance(table, Mapping) or not table:
        raise XbarError(f"{TOOL}: noise_model.coeff_dic = {table!r}: must be coefficients [uS] by time [s]")
    key = "noise_model.coeff_g_max_reference"
    relative = g_max * 1e6 / of.positive(key) if of.gives(key) else 1.0
    factor = of.number("noise_model.noise_scale") * relative
    at = {float(time): _coefficients(coefficients, factor) for time, coefficients in table.items()}
    of.became("noise_model.coeff_dic", "device.programming.at [S]")
    of.became("noise_model.noise_scale", "factor of these coefficients")
    if of.gives(key):
        of.became(key, "factor of these coefficients")
    if not any(map(any, at.values())):
        return {"programming": _written(of, ())}
    parts = tuple(PolynomialAt(time, coefficients) for time, coefficients in at.items())
    return {"programming": ProgrammingNoise("polynomial", at=parts)}


def _written(of: Account, coefficients: tuple[float, ...]) -> ProgrammingNoise:
    """The error of a write with these coefficients [S]; without one other than 0 there is no error."""
    if any(coefficients):
        return ProgrammingNoise("polynomial", coefficients=coefficients)
    of.became("noise_model.class", "device.programming.kind = 'none', for the coefficients are 0")
    return ProgrammingNoise()


def _coefficients(values: Any, factor: float) -> tuple[float, ...]:
    """Coefficients [S] of those in uS."""
    if not isinstance(values, Sequence) or not all(map(is_number, values)):
        raise XbarError(f"{TOOL}: coefficients of the noise = {values!r}: must be a list of numbers, in uS")
    if 0 < max(map(abs, values), default=0) < LEAST_COEFFICIENT:
        raise XbarError(
            f"{TOOL}: coefficients of the noise = {list(values)}: are in uS, as in aihwkit; the largest must "
            f"be at least {LEAST_COEFFICIENT:g}, or all 0"
        )
    return tuple(float(value) * factor * 1e-6 for value in values)


NOISE_MODELS = {"PCMLikeNoiseModel": _pcm, "ReRamWan2022NoiseModel": _reram}

__all__ = ["from_aihwkit"]
