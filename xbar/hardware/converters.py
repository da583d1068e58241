"""The converters of one design: the drivers of the word lines, and the converters of the bit lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from xbar.hardware.checks import STRICT, check_finite, check_range, check_types, refuse_idle
from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class Dac:
    """Word-line drivers. All drivers of a chip are alike.

    Parameters
    ----------
    bits
        Bits of an input code; ``ideal``: one phase with the voltage x/x_max v_read of either sign, as it is.
    v_read
        Voltage of the largest digit of a phase [V].
    phase_bits
        Bits that one phase applies, least significant first.
    signed
        How inputs of either sign go: as ``twos-complement`` codes, whose last phase carries the sign; or with
        ``sign-magnitude``, the bits of the magnitude, each phase with a voltage of the input's sign.
    range
        What the largest code stands for: ``max``: the largest calibration input; ``percentile``: that of
        their absolute values; ``mse``: the value of least squared error; ``fixed``: `x_max`.
    gain_error, offset
        The voltage is (1 + gain_error) times its nominal value plus `offset` [V].
    inl
        Integral non-linearity at equally spaced digits from 0 to that of v_read [steps of a digit], linear
        between them; of negative digits with the sign turned.
    """

    __pydantic_config__: ClassVar = STRICT
    bits: int | Literal["ideal"] = 8
    v_read: float = 0.2
    phase_bits: int = 1
    signed: Literal["twos-complement", "sign-magnitude"] = "twos-complement"
    range: Literal["max", "percentile", "mse", "fixed"] = "max"
    percentile: float = 99.9
    x_max: float = 0.0
    gain_error: float = 0.0
    offset: float = 0.0
    inl: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_types(self, "dac.")
        if self.bits != "ideal":
            check_range("dac.bits", self.bits, 1, 16)
            check_range("dac.phase_bits", self.phase_bits, 1, self.bits)
        else:
            idle = {
                "phase_bits": self.phase_bits != 1,
                "inl": bool(self.inl),
                "range = 'mse'": self.range == "mse",
                "signed = 'sign-magnitude'": self.signed == "sign-magnitude",
            }
            for key in (key for key, given in idle.items() if given):
                raise XbarError(f"dac.{key}: has no effect with dac.bits = 'ideal'; needs a number of bits")
        check_range("dac.v_read", self.v_read, 1e-4, 10, "V")
        refuse_idle(self, "dac", {"percentile": ("percentile",), "fixed": ("x_max",)}, "range")
        check_range("dac.percentile", self.percentile, 50, 100, "percent")
        check_range("dac.x_max", self.x_max, 0, 1e30)
        if self.range == "fixed" and self.x_max == 0:
            raise XbarError("dac.x_max: missing; dac.range = 'fixed' needs a positive number")
        check_range("dac.gain_error", self.gain_error, -0.9, 10)
        if not abs(self.offset) <= self.v_read:
            raise XbarError(
                f"dac.offset = {self.offset}: larger than dac.v_read = {self.v_read:g} V; it is in V"
            )
        check_finite("dac.inl", self.inl, "steps of a digit")
        if len(self.inl) == 1:
            raise XbarError("dac.inl: a table needs at least two entries, the first for digit 0")

    @property
    def largest_voltage(self) -> float:
        """Bound of what a driver applies, its errors included [V]."""
        bent = max(map(abs, self.inl), default=0.0) / ((1 << self.phase_bits) - 1)
        return self.v_read * (1 + bent) * (1 + self.gain_error) + abs(self.offset)

    @property
    def phases(self) -> int:
        """Applications of the array for one input vector, at most: those of inputs without a sign."""
        return self.phases_of(False)

    def phases_of(self, signed: bool) -> int:
        """Applications of the array for one vector of inputs of either sign, or of none.

        The sign of a sign-magnitude input takes no phase of its own.
        """
        return 1 if self.bits == "ideal" else -(-self.digit_bits(signed) // self.phase_bits)

    def digit_bits(self, signed: bool) -> int:
        """Bits of a code that phases apply, `bits` a number: all, or those of the magnitude."""
        assert self.bits != "ideal"
        return self.bits - 1 if signed and self.signed == "sign-magnitude" else self.bits


@dataclass(frozen=True)
class Adc:
    """Bit-line converters.

    Parameters
    ----------
    range
        ``calibrated``: least squared error on calibration inputs; ``percentile``: that of the absolute
        currents; ``full``: the largest current that the array can give; ``fixed``: `full_scale`.
    full_scale
        With ``fixed``: the current of the largest code [A], of what a conversion reads. After
        ``accumulation`` that is the sum of the currents of all phases, each times its place, sum_p 2^(b p)
        I_p with b `Dac.phase_bits` and the least significant phase p = 0: with P phases that all drive
        v_read, (2^(b P) - 1) / (2^b - 1) times the current of one (255 for eight phases of a bit).
    per
        What shares one range: a ``layer``, a ``tile`` or a ``column``.
    after
        A conversion after each ``phase``, or one after analog ``accumulation`` of all phases.
    columns
        Bit lines that share one converter.
    rate
        Conversions a second of one converter [1/s].
    gain_sigma, offset_sigma
        Standard deviation of the converters' gain (relative) and offset [steps], drawn once a chip.
    inl
        Integral non-linearity at equally spaced codes from the lowest to the highest [steps], linear between
        them; the same for all converters.
    noise_lsb, noise_current
        Input-referred noise of converter and amplifier [steps], [A], drawn at every conversion.
    bandwidth, temperature
        B [Hz] and T [K] of the thermal noise 4 k T G B of the cells on a bit line; B = 0: no noise.
    library
        Component library that prices it.
    """

    __pydantic_config__: ClassVar = STRICT
    bits: int | Literal["ideal"] = 8
    range: Literal["calibrated", "percentile", "full", "fixed"] = "calibrated"
    percentile: float = 99.99
    full_scale: float = 0.0
    per: Literal["layer", "tile", "column"] = "layer"
    after: Literal["phase", "accumulation"] = "phase"
    columns: int = 128
    rate: float = 1.28e9
    gain_sigma: float = 0.0
    offset_sigma: float = 0.0
    inl: tuple[float, ...] = ()
    noise_lsb: float = 0.0
    noise_current: float = 0.0
    bandwidth: float = 0.0
    temperature: float = 300.0
    library: str = "isaac-scaled-adc"

    def __post_init__(self) -> None:
        check_types(self, "adc.")
        if self.bits != "ideal":
            check_range("adc.bits", self.bits, 2, 24)
        check_range("adc.columns", self.columns, 1, 4096)
        check_range("adc.rate", self.rate, 1, 1e12, "conversions/s")
        refuse_idle(self, "adc", {"percentile": ("percentile",), "fixed": ("full_scale",)}, "range")
        check_range("adc.percentile", self.percentile, 50, 100, "percent")
        check_range("adc.full_scale", self.full_scale, 0, 1e3, "A")
        if self.range == "fixed" and self.full_scale == 0:
            raise XbarError("adc.full_scale: missing; adc.range = 'fixed' needs a positive current [A]")
        check_range("adc.gain_sigma", self.gain_sigma, 0, 0.3)
        check_range("adc.offset_sigma", self.offset_sigma, 0, 1e6, "steps")
        check_finite("adc.inl", self.inl, "steps")
        if len(self.inl) == 1:
            raise XbarError("adc.inl: a table needs at least two entries, the first for the lowest code")
        check_range("adc.noise_lsb", self.noise_lsb, 0, 1e6, "steps")
        check_range("adc.noise_current", self.noise_current, 0, 1, "A")
        check_range("adc.bandwidth", self.bandwidth, 0, 1e15, "Hz")
        check_range("adc.temperature", self.temperature, 0, 2000, "K")
        if self.bits == "ideal":
            for key in ("gain_sigma", "offset_sigma", "inl", "noise_lsb"):
                if getattr(self, key):
                    raise XbarError(
                        f"adc.{key}: has no effect with adc.bits = 'ideal'; needs a number of bits"
                    )
