"""A hardware from the parameters of Sandia's CrossSim.

Names, defaults and meanings are those of CrossSim 3.1 (`simulator.parameters`,
https://github.com/sandialabs/cross-sim). Its conductances are relative to 1 / Rmin, its resistances in ohm.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from xbar.hardware.converters import Adc, Dac
from xbar.hardware.design import Crossbar, Hardware
from xbar.hardware.device import Device
from xbar.hardware.encodings import Encoding
from xbar.hardware.errors import XbarError
from xbar.hardware.noise import ProgrammingNoise, WhiteNoise
from xbar.other_tools.translation import Account, Translation, flat, is_off

TOOL = "CrossSim"
STATES = 1024
MOST_BITS = 15
DEFAULTS: dict[str, Any] = {
    "core.style": "BALANCED",
    "core.rows_max": 0,
    "core.cols_max": 0,
    "core.balanced.style": "ONE_SIDED",
    "core.balanced.subtract_current_in_xbar": True,
    "core.bit_sliced.style": "BALANCED",
    "core.bit_sliced.num_slices": 2,
    "core.offset.style": "DIGITAL_OFFSET",
    "xbar.device.cell_bits": 0,
    "xbar.device.Rmin": 1000.0,
    "xbar.device.Rmax": 10000.0,
    "xbar.device.Vread": 0.1,
    "xbar.device.infinite_on_off_ratio": False,
    "xbar.array.parasitics.enable": False,
    "xbar.adc.mvm.model": "IdealADC",
    "xbar.adc.mvm.bits": 0,
    "xbar.adc.mvm.adc_per_ibit": False,
    "xbar.adc.mvm.adc_range_option": "CALIBRATED",
    "xbar.dac.mvm.model": "IdealDAC",
    "xbar.dac.mvm.bits": 0,
    "xbar.dac.mvm.input_bitslicing": False,
    "xbar.dac.mvm.slice_size": 1,
    "xbar.dac.mvm.signed": True,
    **{f"xbar.array.parasitics.Rp_{line}": 0.0 for line in ("row", "col", "row_terminal", "col_terminal")},
    **{
        f"xbar.device.{error}.{key}": value
        for error in ("read_noise", "programming_error")
        for key, value in (("enable", False), ("model", "IdealDevice"), ("magnitude", 0.0))
    },
}
ENUMERATIONS = {
    "core.style": {1: "BALANCED", 2: "BITSLICED", 3: "OFFSET"},
    "core.balanced.style": {1: "ONE_SIDED", 2: "TWO_SIDED"},
    "core.bit_sliced.style": {1: "BALANCED", 3: "OFFSET"},
    "core.offset.style": {1: "DIGITAL_OFFSET", 2: "UNIT_COLUMN_SUBTRACTION"},
    "xbar.adc.mvm.adc_range_option": {1: "CALIBRATED", 2: "MAX", 3: "GRANULAR"},
}
"""Names of the numbers that a JSON file of CrossSim has for its enumerations."""
PRESETS = {"PCMJoshi": "pcm-90nm", "RRAMMilo": "milo-hfo2", "RRAMWan": "neurram-hfox"}
"""Its device models that a preset here has the source of."""
REASONS = {
    "simulation.": "is of the program, not of the hardware",
    "core.mapping.weights": "weights fill the window; a weight of 0 is masked",
    "core.mapping.inputs": "input ranges are fitted by `mapping.calibrate` (dac.range, dac.x_max)",
    "core.weight_bits": "follows from the states of a cell and encoding.slices",
    "core.complex": "is not modelled",
    "core.output_dtype": "is of the program, not of the hardware",
    "core.balanced.": "acts in a balanced core only, or is not modelled",
    "core.bit_sliced.": "acts in a bit-sliced core only",
    "core.offset.": "acts in an offset core only",
    "xbar.adc.vmm": "is of products with the transpose, as training needs them",
    "xbar.dac.vmm": "is of products with the transpose, as training needs them",
    "xbar.adc.mvm.calibrated_range": "ADC ranges are fitted by `mapping.calibrate` (adc.range)",
    "xbar.adc.mvm.": "is not modelled; adc.gain_sigma, offset_sigma and inl describe a converter's errors",
    "xbar.adc._match": "is of products with the transpose, as training needs them",
    "xbar.dac._match": "is of products with the transpose, as training needs them",
    "xbar.device.time": "is an argument here: `program_network(mapped, time=...)`, chips.cases.time",
    "xbar.device.drift_error": "is not modelled by name; device.drift has laws and presets with sources",
    "xbar.device.nonlinear_IV": "is not modelled by name; device.iv has laws",
    "xbar.device.clip_conductance": "is not modelled",
    "xbar.array.Icol_max": "is not modelled; converters clip",
    "xbar.array.parasitics": "is switched off, or not modelled",
    "xbar.device.read_noise": "is switched off, or is of a model that is not translated",
    "xbar.device.programming_error": "is switched off, or is of a model that is not translated",
    "xbar.device.Rmax": "does not act with infinite_on_off_ratio",
    "xbar.dac.mvm.": "does not act on an ideal DAC, or on whole codes",
}


def from_crosssim(parameters: Any, name: str = "from CrossSim") -> Translation:
    """Hardware of CrossSim's parameters.

    Parameters
    ----------
    parameters
        A `CrossSimParameters`, or its `as_dict()`, of which a part is enough: what is not given has the
        default of CrossSim. Enumerations are names or numbers.
    name
        Name of the hardware.

    Raises
    ------
    XbarError
        For a value that is not a number where one is needed, an unknown name of an enumeration, or what no
        hardware can be made of.
    """
    given = flat(parameters, TOOL)
    of = Account(TOOL, {key: _named(key, value) for key, value in given.items()}, DEFAULTS)
    of.refuse_unknown(REASONS)
    assumed: list[str] = []
    device = _device(of, assumed)
    encoding = _encoding(of)
    dac = _dac(of)
    hardware = Hardware(
        name,
        device,
        source="a translation of CrossSim's parameters",
        crossbar=_crossbar(of, encoding),
        encoding=encoding,
        dac=dac,
        adc=_adc(of, dac),
        assumed=tuple(assumed),
    )
    return of.close(hardware, REASONS)


def _named(key: str, value: Any) -> Any:
    names = ENUMERATIONS.get(key)
    if names is None:
        return value
    found = names.get(value, value) if isinstance(value, int) else value
    if found not in names.values():
        raise XbarError(f"{TOOL}: {key} = {value!r}: must be one of {', '.join(names.values())}")
    return found


def _encoding(of: Account) -> Encoding:
    style, slices = of("core.style"), 1
    of.became("core.style", "encoding.kind and slices")
    if style == "BITSLICED":
        slices, style = of.whole("core.bit_sliced.num_slices"), of("core.bit_sliced.style")
        of.became("core.bit_sliced.num_slices", f"encoding.slices = {slices}")
        of.became("core.bit_sliced.style", "encoding.kind")
    if style == "OFFSET":
        if of("core.offset.style") == "UNIT_COLUMN_SUBTRACTION":
            of.became("core.offset.style", "a reference column, subtracted after the ADC")
        else:
            of.leaves("core.offset.style", "the offset is that of a reference column here, after the ADC")
        return Encoding("offset", slices, subtract="digital", scale="layer")
    if of("core.balanced.style") == "ONE_SIDED":
        of.became("core.balanced.style", "a pair with one cell at g_min")
    else:
        of.leaves("core.balanced.style", "one cell of a pair is at g_min here")
    analog = bool(of("core.balanced.subtract_current_in_xbar"))
    subtract = "analog" if analog else "digital"
    of.became("core.balanced.subtract_current_in_xbar", f"encoding.subtract = {subtract!r}")
    return Encoding("differential", slices, subtract=subtract, scale="layer")  # type: ignore[arg-type]


def _crossbar(of: Account, encoding: Encoding) -> Crossbar:
    size: dict[str, Any] = {}
    if rows := of.whole("core.rows_max"):
        size["rows"] = rows
        of.became("core.rows_max", f"crossbar.rows = {rows}")
    else:
        of.leaves("core.rows_max", f"no limit there; crossbar.rows = {Crossbar().rows} here")
    if cols := of.whole("core.cols_max"):
        size["cols"] = cols * encoding.slices + encoding.reference_columns
        of.became("core.cols_max", f"crossbar.cols = {size['cols']}: all slices, and references, of a weight")
    else:
        of.leaves("core.cols_max", f"no limit there; crossbar.cols = {Crossbar().cols} here")
    at = "xbar.array.parasitics."
    if not of(at + "enable"):
        return Crossbar(**size)
    ohms: dict[str, float] = {}
    of.became(at + "enable", "crossbar.r_wl and the rest")
    for theirs, ours in (
        ("Rp_row", "r_wl"),
        ("Rp_col", "r_bl"),
        ("Rp_row_terminal", "r_driver"),
        ("Rp_col_terminal", "r_sense"),
    ):
        ohms[ours] = of.number(at + theirs)
        of.became(at + theirs, f"crossbar.{ours} [ohm]")
    return dataclasses.replace(Crossbar(**size), **ohms)  # type: ignore[arg-type]


def _device(of: Account, assumed: list[str]) -> Device:
    at = "xbar.device."
    g_max, g_min = (1 / of.positive(at + key) for key in ("Rmin", "Rmax"))
    of.became(at + "Rmin", f"device.g_max = {g_max:.3g} S")
    if of(at + "infinite_on_off_ratio"):
        g_min = 0.0
        of.became(at + "infinite_on_off_ratio", "device.g_min = 0 S")
    else:
        of.became(at + "Rmax", f"device.g_min = {g_min:.3g} S")
    bits = of.whole(at + "cell_bits")
    if bits > MOST_BITS:
        raise XbarError(f"{TOOL}: {at}cell_bits = {bits}: must be at most {MOST_BITS}")
    if bits <= 0:
        assumed.append(f"device.states = {STATES}: cells without cell_bits are analog in CrossSim")
        of.leaves(at + "cell_bits", f"analog there; device.states = {STATES} here")
    else:
        of.became(at + "cell_bits", f"device.states = {1 << bits}")
    write = _error(of, "programming_error", {"Independent": "g_max", "Proportional": "target"})
    read = _error(of, "read_noise", {"Independent": "g_max", "Proportional": "conductance"})
    return Device(
        "cell of a CrossSim configuration",
        "a translation of CrossSim's parameters",
        g_min,
        g_max,
        1 << bits if bits > 0 else STATES,
        programming=ProgrammingNoise("gaussian", *write) if write else ProgrammingNoise(),  # type: ignore[arg-type]
        read_noise=WhiteNoise(*read) if read else WhiteNoise(),  # type: ignore[arg-type]
    )


def _error(of: Account, which: str, relative: dict[str, str]) -> tuple[float, str] | None:
    """Sigma of a generic model and what it is relative to; None: there is none."""
    at = f"xbar.device.{which}."
    model = of(at + "model")
    if not of(at + "enable") or is_off(model):
        return None
    law = model.removeprefix("Normal").removesuffix("Device") if isinstance(model, str) else ""
    if law not in relative:
        preset = (
            f"; the preset {PRESETS[model]!r} has its source"
            if isinstance(model, str) and model in PRESETS
            else ""
        )
        of.leaves(at + "model", f"is not modelled by name{preset}")
        of.leaves(at + "enable", "its model is not translated: cells have no such error here")
        return None
    ours = "device.programming" if which == "programming_error" else "device.read_noise"
    for key in ("enable", "model"):
        of.became(at + key, f"{ours}, relative to {relative[law]}")
    of.became(at + "magnitude", f"{ours}.sigma")
    return of.number(at + "magnitude"), relative[law]


def _dac(of: Account) -> Dac:
    v_read, at = of.number("xbar.device.Vread"), "xbar.dac.mvm."
    of.became("xbar.device.Vread", "dac.v_read [V]")
    bits = of.whole(at + "bits")
    if is_off(bits) or of(at + "model") == "IdealDAC":
        of.became(at + "model", "dac.bits = 'ideal'")
        return Dac("ideal", v_read)
    of.became(at + "bits", f"dac.bits = {bits}")
    of.became(at + "model", "codes, rounded")
    by_sign = bool(of(at + "signed")) and of(at + "model") == "SignMagnitudeDAC" and bits > 1
    of.became(at + "signed", "dac.signed = 'sign-magnitude'" if by_sign else "the calibration says it")
    width = bits
    if of(at + "input_bitslicing"):
        width = min(bits, of.whole(at + "slice_size"))
        of.became(at + "slice_size", f"dac.phase_bits = {width}")
    of.became(at + "input_bitslicing", f"dac.phase_bits = {width}")
    signed = "sign-magnitude" if by_sign else "twos-complement"
    return Dac(bits, v_read, phase_bits=width, signed=signed)  # type: ignore[arg-type]


def _adc(of: Account, dac: Dac) -> Adc:
    at = "xbar.adc.mvm."
    bits = of.whole(at + "bits")
    if is_off(bits) or of(at + "model") == "IdealADC":
        of.became(at + "model", "adc.bits = 'ideal'")
        return Adc("ideal")
    of.became(at + "bits", f"adc.bits = {bits}")
    of.became(at + "model", "codes, rounded and clipped; its own errors are not translated")
    after = "phase"
    if dac.bits != "ideal" and not of(at + "adc_per_ibit"):
        after = "accumulation"
    of.became(at + "adc_per_ibit", f"adc.after = {after!r}")
    option = of(at + "adc_range_option")
    if option == "GRANULAR":
        of.leaves(at + "adc_range_option", "the range is fitted on calibration inputs here")
    else:
        found = "full" if option == "MAX" else "calibrated"
        of.became(at + "adc_range_option", f"adc.range = {found!r}")
    return Adc(bits, range="full" if option == "MAX" else "calibrated", after=after)  # type: ignore[arg-type]


__all__ = ["from_crosssim"]
