"""DAC and ADC: codes as voltages phase by phase, and columns' converters with their errors.

Voltages are in units of `v_read`, currents in units of `v_read` times `device.unit`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xbar.hardware.checks import check_array, check_range
from xbar.hardware.converters import Adc
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError
from xbar.hardware.iv import IV, current_per_siemens


@dataclass(frozen=True)
class Drive:
    """Voltages and powers that each input code puts on a word line, phase by phase.

    Digit d of phase p drives a current of ``volts[p, d]`` through a cell of one unit, with the phase's place
    value ``weights[p]``, so that with perfect drivers ``sum_p weights[p] volts[p, d_p]`` is the code.

    Parameters
    ----------
    bits
        Bits of a code; 0: inputs are voltages [v_read] themselves, in one phase.
    signed
        Codes have a sign: two's complement, or sign and magnitude.
    digit_bits
        Bits of a digit; phase p applies bits p digit_bits ... (p + 1) digit_bits - 1, of the magnitude where
        that is what codes are.
    weights
        Shape (P,).
    volts
        Shape (P, 2^digit_bits) [v_read]; of sign and magnitude (P, 2 2^digit_bits), the second half the
        digits of negative codes.
    power
        Sum of squares that weighs a cell's noise, shape of `volts` [v_read^2].
    sign_magnitude
        Whether signed codes go as sign and magnitude.
    unmerged
        The phases that `merged` made one of; None where each is read by itself.

    Raises
    ------
    XbarError
        For bits beyond 16, or arrays whose shapes do not fit.
    """

    bits: int
    signed: bool
    digit_bits: int
    weights: NDArray[np.float32]
    volts: NDArray[np.float32]
    power: NDArray[np.float32]
    sign_magnitude: bool = False
    unmerged: Drive | None = None

    def __post_init__(self) -> None:
        check_range("bits", self.bits, 0, 16)
        if self.sign_magnitude and not (self.signed and self.bits > 1):
            raise XbarError("drive.sign_magnitude: needs signed codes of at least 2 bits")
        phases = len(self.weights)
        check_array("drive.weights", self.weights, np.float32, (phases,))
        table = (phases, 2 ** (self.digit_bits + self.sign_magnitude))
        check_array("drive.volts", self.volts, np.float32, table)
        check_array("drive.power", self.power, np.float32, table)
        if phases * self.digit_bits < self.bits - self.sign_magnitude:
            raise XbarError(f"drive: {phases} phases of {self.digit_bits} bits for codes of {self.bits} bits")

    @property
    def phases(self) -> int:
        """Applications of the array for one input vector."""
        return len(self.weights)

    @cached_property
    def linear(self) -> bool:
        """Whether `volts` is a phase's digit times its volt of digit 1, as it is for perfect drivers."""
        digits = np.arange(1 << self.digit_bits, dtype=np.float32)
        if self.sign_magnitude:
            digits = np.concatenate([digits, -digits])
        return self.bits > 0 and np.array_equal(self.volts, digits * self.volts[:, 1:2])

    @cached_property
    def single_bits(self) -> bool:
        """Whether a phase drives `v_read` for a set bit and nothing for a clear one, with the power of it."""
        bits = np.tile(np.array([0, 1], np.float32), (self.phases, 1))
        return self.bits > 0 and np.array_equal(self.volts, bits) and np.array_equal(self.power, bits)

    @cached_property
    def power_is_square(self) -> bool:
        """Whether `power` is that of `volts`, as it is before phases are merged."""
        return np.array_equal(self.power, self.volts * self.volts)

    @property
    def code_range(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return input_codes(self.bits, self.signed, self.sign_magnitude)

    def digits(self, codes: NDArray[Any]) -> NDArray[np.int64]:
        """Entries of `volts` that integer codes call for, shape (P, *codes.shape)."""
        whole, mask = codes.astype(np.int64), (1 << self.digit_bits) - 1
        pattern = np.abs(whole) if self.sign_magnitude else whole & ((1 << self.bits) - 1)
        half = np.where(whole < 0, mask + 1, 0) if self.sign_magnitude else 0
        return np.stack([(pattern >> (p * self.digit_bits) & mask) + half for p in range(self.phases)])

    def voltages(self, codes: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`volts` and `power` of inputs, shape (P, *codes.shape) each."""
        if not self.bits:
            volts = codes.astype(np.float32)[None]
            return volts, volts * volts
        digits, phase = self.digits(codes), np.arange(self.phases).reshape(-1, *[1] * codes.ndim)
        return self.volts[phase, digits], self.power[phase, digits]

    def merged(self) -> Drive:
        """The same with all phases accumulated before anything reads them, each with its place among the
        bits: one phase of whole codes."""
        if self.phases == 1:
            return self
        codes = np.arange(1 << (self.bits - self.sign_magnitude))
        codes = np.concatenate([codes, -codes]) if self.sign_magnitude else codes
        volts, power = self.voltages(codes)
        steps = np.abs(self.weights[:1])
        place = self.weights.astype(np.float64) / steps
        return Drive(
            self.bits,
            self.signed,
            self.bits - self.sign_magnitude,
            steps,
            np.ascontiguousarray((place @ volts)[None], np.float32),
            np.ascontiguousarray((place**2 @ power)[None], np.float32),
            self.sign_magnitude,
            self,
        )


def input_codes(bits: int, signed: bool, sign_magnitude: bool) -> tuple[int, int]:
    """Smallest and largest input code: from 0, or with a sign; two's complement has one more below 0."""
    if not signed:
        return 0, (1 << bits) - 1
    top = (1 << (bits - 1)) - 1
    return -top - (not sign_magnitude), top


def drive(hardware: Hardware, signed: bool) -> Drive:
    """Drivers of a hardware for signed or unsigned inputs, in the phases that its converters read.

    One step of a digit is ``v_read / (2^phase_bits - 1)``; where a two's complement code goes in one phase,
    ``v_read / 2^(bits - 1)``. A cell's current at voltage V is g f(V) by `Device.iv`.
    """
    dac = hardware.dac
    if dac.bits == "ideal":
        one = np.ones(1, np.float32)
        return Drive(0, signed, 0, one, one[None], one[None])
    bits, phases, by_sign = dac.bits, dac.phases_of(signed), signed and dac.signed == "sign-magnitude"
    width = min(dac.phase_bits, dac.digit_bits(signed))
    table = np.tile(np.arange(2.0**width), (phases, 1))
    whole = signed and not by_sign and phases == 1 and bits > 1
    steps = float((1 << (bits - 1)) if whole else (1 << width) - 1)
    weights = np.exp2(width * np.arange(phases)) * steps
    top_bits = bits - width * (phases - 1)
    if by_sign:
        table = np.concatenate([table, -table], axis=1)
    elif signed and top_bits == 1:
        weights[-1] *= -1
    elif signed:
        top = table[-1]
        table[-1] = np.where(top >= 1 << (top_bits - 1), top - (1 << top_bits), top)
    perfect = dac.gain_error == 0 and dac.offset == 0 and not dac.inl and hardware.device.iv.kind == "ohmic"
    if perfect:
        volts = table.astype(np.float32) * np.float32(1 / steps)
    else:
        volts = currents(drive_voltages(table, steps, hardware), hardware).astype(np.float32)
    made = Drive(bits, signed, width, weights.astype(np.float32), volts, volts * volts, by_sign)
    return made.merged() if hardware.adc.bits == "ideal" or hardware.adc.after == "accumulation" else made


def phase_volts(hardware: Hardware, signed: bool, codes: NDArray[Any]) -> NDArray[np.float64]:
    """Voltage that each code puts on a word line [V] in each of its phases, shape (P, *codes.shape).

    It has the errors of the drivers, whoever reads the currents of the phases. The codes of an ideal DAC are
    voltages [v_read].
    """
    if hardware.dac.bits == "ideal":
        return drive_voltages(codes[None], 1.0, hardware)
    device = dataclasses.replace(hardware.device, iv=IV())
    exact = dataclasses.replace(hardware, device=device, adc=Adc(bits=8))
    return drive(exact, signed).voltages(codes)[0].astype(np.float64) * hardware.dac.v_read


def accumulated_phases(hardware: Hardware, signed: bool) -> float:
    """Sum of the squared places of the phases that are one number to the multiply: what their noise of equal
    variance adds up to. 1 where each phase is converted by itself."""
    merged = hardware.adc.bits == "ideal" or hardware.adc.after == "accumulation"
    if hardware.dac.bits == "ideal" or not merged:
        return 1.0
    return float(np.sum(4.0 ** (hardware.dac.phase_bits * np.arange(hardware.dac.phases_of(signed)))))


def drive_voltages(digits: NDArray[np.floating], steps: float, hardware: Hardware) -> NDArray[np.float64]:
    """Voltages [V] of signed digits, of which `steps` give v_read, with gain error, offset and INL."""
    dac = hardware.dac
    nominal = np.asarray(digits, np.float64)
    if dac.inl:
        at = np.linspace(0, steps, len(dac.inl))
        sign = np.where(nominal < 0, -1.0, 1.0)
        nominal = nominal + sign * np.interp(np.abs(nominal), at, dac.inl)
    return nominal / steps * dac.v_read * (1 + dac.gain_error) + dac.offset


def currents(volts: NDArray[np.floating], hardware: Hardware) -> NDArray[np.float64]:
    """Current per siemens of cells at `volts` [V], in units of v_read; same shape."""
    v_read = hardware.dac.v_read
    return np.asarray(current_per_siemens(hardware.device.iv, np.asarray(volts, np.float64), v_read) / v_read)


def applied(x: NDArray[np.float32], hardware: Hardware) -> NDArray[np.float32]:
    """Voltages that an ideal DAC's inputs x / x_max drive through a cell of one unit [v_read]; same shape."""
    dac = hardware.dac
    if hardware.device.iv.kind == "ohmic" and dac.gain_error == 0 and dac.offset == 0:
        return x
    volts = x.astype(np.float64) * dac.v_read * (1 + dac.gain_error) + dac.offset
    return currents(volts, hardware).astype(np.float32)


@dataclass(frozen=True)
class Converter:
    """The ADCs of a block's columns: code = clip(round_half_even(x), low, high), value = step code, where

    x = y + inl(y), y = gain I / step + offset.

    Parameters
    ----------
    step
        Nominal current of one code of each column [v_read unit], float32, shape (C,).
    low, high
        Smallest and largest code.
    gain, offset
        Relative gain and offset [steps] of each column's converter, float32, shape (C,).
    inl
        Integral non-linearity [steps] at equally spaced codes from `low` to `high`, float32; empty: none.

    Raises
    ------
    XbarError
        For a step that is not positive and finite, limits that are not integers within 2^24, low < high, or
        arrays of another type or shape.
    """

    step: NDArray[np.float32]
    low: float
    high: float
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    inl: NDArray[np.float32]

    def __post_init__(self) -> None:
        cols = (len(self.step),)
        for name in ("step", "gain", "offset"):
            check_array(f"converter.{name}", getattr(self, name), np.float32, cols)
        check_array("converter.inl", self.inl, np.float32, (len(self.inl),))
        if not ((self.step > 1e-30) & (self.step < 1e30)).all():
            raise XbarError(
                f"converter.step: {self.step.min():g} to {self.step.max():g}; "
                "must lie between 1e-30 and 1e+30 v_read unit"
            )
        whole = self.low == round(self.low) and self.high == round(self.high)
        if not (whole and -(2**24) <= self.low < self.high <= 2**24):
            raise XbarError(
                f"converter.low = {self.low}, converter.high = {self.high}: "
                "must be integers, -2^24 <= low < high <= 2^24"
            )

    @classmethod
    def uniform(cls, step: float, low: float, high: float, columns: int) -> Converter:
        """Converters without errors that have one step [v_read unit]."""
        ones = np.ones(columns, np.float32)
        return cls(ones * np.float32(step), low, high, ones, 0 * ones, np.empty(0, np.float32))


def code_range(hardware: Hardware, signed: bool) -> tuple[int, int]:
    """Smallest and largest ADC code: two's complement where a current can have either sign, else from 0."""
    if hardware.adc.bits == "ideal":
        return 0, 0
    dac = hardware.dac
    one_bit = dac.bits != "ideal" and dac.phase_bits == 1 and hardware.adc.after == "phase"
    one_bit = one_bit and dac.signed == "twos-complement"
    bipolar = dac.bits == "ideal" or (signed and not one_bit)
    if hardware.encoding.subtract == "analog" or bipolar:
        half = 1 << (hardware.adc.bits - 1)
        return -half, half - 1
    return 0, (1 << hardware.adc.bits) - 1
