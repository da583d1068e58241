"""Noise that chips are measured under: single cases, and curves over one kind of noise."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from experiments.studies.durations import duration
from experiments.studies.labels import check_label
from xbar.hardware.checks import STRICT, check_range
from xbar.hardware.design import Hardware
from xbar.hardware.device import Device
from xbar.hardware.errors import XbarError
from xbar.hardware.noise import AnyWriteNoise, ProgrammingNoise

Compensation = Literal["none", "layer", "column"]


@dataclass(frozen=True)
class NoiseCase:
    """Device noise of one set of chips; what it does not name is that of the hardware's device.

    ``time``: seconds after the write [s]. ``compensation``: what has a digital factor of its own, fitted on
    each chip at that time. ``by_layer``: measure the chips also with one layer noisy, and with all but one.
    ``around_faults``: the columns of each chip are moved off its faulty cells.
    """

    __pydantic_config__: ClassVar = STRICT
    name: str
    programming: AnyWriteNoise | None = None
    p_stuck_g_max: float | None = None
    p_stuck_g_min: float | None = None
    time: float | None = None
    compensation: Compensation = "none"
    by_layer: bool = False
    around_faults: bool = False

    def __post_init__(self) -> None:
        check_label("chips.cases: name", self.name)


def with_noise(hardware: Hardware, case: NoiseCase) -> Hardware:
    """The hardware with the device noise of a case."""
    named = ("programming", "p_stuck_g_max", "p_stuck_g_min")
    changes = {key: getattr(case, key) for key in named if getattr(case, key) is not None}
    try:
        device = dataclasses.replace(hardware.device, **changes)
        if case.time is not None:
            device.check_time(case.time)
            if not device.ages:
                raise XbarError(
                    f"time = {case.time:g} s: has no effect; the case's device has no relaxation, drift, 1/f "
                    "noise or measured times"
                )
        broken = hardware.crossbar.p_open_wl + hardware.crossbar.p_open_bl
        if case.around_faults and not device.p_stuck_g_max + device.p_stuck_g_min + broken:
            raise XbarError(
                "around_faults = true: has no effect; the case has no stuck cells or broken lines"
            )
        return dataclasses.replace(hardware, device=device)
    except XbarError as error:
        raise XbarError(f"noise case {case.name!r}: {error}") from None


@dataclass(frozen=True)
class NoiseCurve:
    """Accuracy of the compressed network over one kind of noise, all else as the hardware has it.

    Parameters
    ----------
    axis
        ``mismatch``: log-normal write errors, `values` the standard deviations of ln g; ``stuck``: shares of
        cells, `share_g_max` of them at g_max and the others at g_min; ``adc-bits``; ``time``: after the
        write [s].
    device
        In place of the hardware's; the network is quantised on its levels.
    programming
        Write error at every point; None: the device's.
    """

    __pydantic_config__: ClassVar = STRICT
    name: str
    axis: Literal["mismatch", "stuck", "adc-bits", "time"]
    values: tuple[float, ...]
    device: Device | None = None
    programming: AnyWriteNoise | None = None
    share_g_max: float = 0.5
    compensation: Compensation = "none"

    def __post_init__(self) -> None:
        check_label("under_noise: name", self.name)
        room = f"under_noise: {self.name!r}"
        low, high = {"mismatch": (0, 2), "stuck": (0, 1), "adc-bits": (2, 24), "time": (0, 1e12)}[self.axis]
        for value in self.values:
            check_range(f"{room}: values", value, low, high)
            if self.axis == "adc-bits" and value != int(value):
                raise XbarError(f"{room}: values = {value}: must be whole numbers of bits")
        if not self.values or list(self.values) != sorted(set(self.values)):
            raise XbarError(f"{room}: values = {list(self.values)}: needs at least one, ascending")
        check_range(f"{room}: share_g_max", self.share_g_max, 0, 1)
        if self.axis != "stuck" and self.share_g_max != 0.5:
            raise XbarError(
                f"{room}: share_g_max: has no effect with axis = {self.axis!r}; only with 'stuck'"
            )
        if self.axis == "mismatch" and self.programming is not None:
            raise XbarError(f"{room}: programming: has no effect with axis = 'mismatch', which sets it")

    def on(self, hardware: Hardware) -> Hardware:
        """The hardware with the curve's device."""
        return hardware if self.device is None else dataclasses.replace(hardware, device=self.device)


@dataclass(frozen=True)
class NoisePoint:
    """One point of a curve: the hardware that the network is calibrated on, and the noise of its chips."""

    value: float
    label: str
    hardware: Hardware
    case: NoiseCase


def points(curve: NoiseCurve, hardware: Hardware) -> tuple[NoisePoint, ...]:
    """Points of a curve in order.

    Raises
    ------
    XbarError
        For a value that the device or the hardware does not take.
    """
    return tuple(_point(curve, value, curve.on(hardware)) for value in curve.values)


def _point(curve: NoiseCurve, value: float, hardware: Hardware) -> NoisePoint:
    label = label_of(curve.axis, value)
    case = NoiseCase(f"{curve.name}, {label}", curve.programming, compensation=curve.compensation)
    if curve.axis == "mismatch":
        case = dataclasses.replace(case, programming=ProgrammingNoise("lognormal", sigma=value))
    elif curve.axis == "stuck":
        high = value * curve.share_g_max
        case = dataclasses.replace(case, p_stuck_g_max=high, p_stuck_g_min=value - high)
    elif curve.axis == "time":
        case = dataclasses.replace(case, time=value)
    else:
        hardware = hardware.replace(adc__bits=int(value))
    with_noise(hardware, case)
    return NoisePoint(value, label, hardware, case)


def label_of(axis: str, value: float) -> str:
    """``5 %``, ``7 bits``, ``1 day``."""
    if axis == "time":
        return duration(value)
    return f"{value:g} bits" if axis == "adc-bits" else f"{100 * value:g} %"
