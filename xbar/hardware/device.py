"""A memristive cell: its window, states, and what happens to a conductance when and after it is written.

All quantities are SI (S, V, s). Each part is a frozen dataclass that acts only where it is given; together
they act in this order: write (`ProgrammingNoise`), `Relaxation`, `Drift`, `LowFrequencyNoise`, stuck cells.
`WhiteNoise` is drawn anew at every read. The equations are in `xbar.conductances`.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from xbar.hardware.aging import Aging, AnyDrift, AnyRelaxation, first_time
from xbar.hardware.checks import STRICT, check_range, check_types
from xbar.hardware.errors import XbarError
from xbar.hardware.iv import CURRENT_LAWS, IV, AnyCurrent
from xbar.hardware.noise import (
    AnyFlickerNoise,
    AnyReadNoise,
    AnyWriteNoise,
    ProgrammingNoise,
    WhiteNoise,
)
from xbar.hardware.noise_kinds import (
    FLICKER_NOISES,
    READ_NOISES,
    WRITE_NOISES,
    flicker_amplitude,
    read_sigma,
    write_spread,
)
from xbar.hardware.registry import KeptTable, Registry

LARGEST = 0.01
"""Largest g_max [S]: 100 ohm, less than any memristor. A window of more than 10 nS that is typed in uS is
beyond it."""
POINTS = 1025
"""Conductances of the window at which deviations are looked at, beside those of the states."""


@dataclass(frozen=True)
class WritePulse:
    """Pulse that a write applies to a cell, for the time and energy of programming.

    Parameters
    ----------
    voltage, width
        Voltage [V] and length [s] of one pulse.
    per
        A ``write`` is one pulse; or one pulse leads from each ``state`` to the next, so that state k, reached
        from g_min, takes k of them.
    source
        Where the numbers come from.
    """

    __pydantic_config__: ClassVar = STRICT
    voltage: float
    width: float
    source: str
    per: Literal["write", "state"] = "write"

    def __post_init__(self) -> None:
        check_types(self, "pulse.")
        check_range("pulse.voltage", self.voltage, 1e-2, 100, "V")
        check_range("pulse.width", self.width, 1e-12, 10, "s")


@dataclass(frozen=True)
class Device:
    """A memristive cell.

    Parameters
    ----------
    name, source
        What it is and where the numbers come from (a DOI or arXiv number).
    g_min, g_max
        Conductance window [S].
    states
        Number of equidistant states from g_min to g_max, or the mean of each state [S], ascending.
    programming, relaxation, drift, low_frequency
        What changes a conductance from its write to its read; None: nothing of that kind.
    read_noise
        White noise of every read.
    iv
        Current against voltage.
    p_stuck_g_max, p_stuck_g_min
        Probability that a cell is stuck at g_max, g_min.
    pulse
        What a write takes; None: not known.
    noise_beyond_window
        Whether a deviation may exceed g_max - g_min. It is refused otherwise: nothing of a weight is left
        then, and it is nearly always a wrong unit.
    claims, does_not_claim
        What the source says, and what it does not.
    """

    __pydantic_config__: ClassVar = STRICT
    name: str
    source: str
    g_min: float
    g_max: float
    states: int | tuple[float, ...]
    programming: AnyWriteNoise = field(default_factory=ProgrammingNoise)
    relaxation: AnyRelaxation | None = None
    drift: AnyDrift | None = None
    low_frequency: AnyFlickerNoise | None = None
    read_noise: AnyReadNoise = field(default_factory=WhiteNoise)
    iv: AnyCurrent = field(default_factory=IV)
    p_stuck_g_max: float = 0.0
    p_stuck_g_min: float = 0.0
    pulse: WritePulse | None = None
    noise_beyond_window: bool = False
    claims: str = ""
    does_not_claim: str = ""

    def __post_init__(self) -> None:
        check_types(self, "device.")
        if isinstance(self.states, int):
            check_range("device.states", self.states, 2, 32768)
        else:
            means = np.asarray(self.states, float)
            if len(means) < 2 or not (np.diff(means) > 0).all():
                raise XbarError("device.states: a list of state means needs at least two, ascending, in S")
            if not (math.isclose(means[0], self.g_min) and math.isclose(means[-1], self.g_max)):
                raise XbarError("device.states: the first and last mean must be g_min and g_max")
        if self.kept:
            return  # not all is known of it, and nothing computed
        self.programming.law.check(self.programming, self)
        self.read_noise.law.check(self.read_noise, self)
        if self.low_frequency:
            self.low_frequency.law.check(self.low_frequency, self)
        _check_window(self)
        if self.programming.times and self.aging:
            raise XbarError(
                "device.programming.at: its deviations hold the change with time; "
                "device.relaxation and device.drift would count it twice"
            )
        check_range("device.p_stuck_g_max", self.p_stuck_g_max, 0, 1)
        check_range("device.p_stuck_g_min", self.p_stuck_g_min, 0, 1)
        check_range("device.p_stuck_g_max + p_stuck_g_min", self.p_stuck_g_max + self.p_stuck_g_min, 0, 1)

    @property
    def kept(self) -> bool:
        """Whether it has a kind whose file is not there, so that the device can be read but not used."""
        return any(isinstance(config, KeptTable) for _, config in self.kinds)

    @property
    def kinds(self) -> tuple[tuple[Registry[Any], Any], ...]:
        """Registry and config of each part that has kinds."""
        found: list[tuple[Registry[Any], Any]] = [
            (WRITE_NOISES, self.programming),
            (READ_NOISES, self.read_noise),
            (CURRENT_LAWS, self.iv),
        ]
        if self.low_frequency:
            found.append((FLICKER_NOISES, self.low_frequency))
        return (*found, *((part.registry, part) for part in self.aging))

    @property
    def aging(self) -> tuple[Aging, ...]:
        """Relaxation and drift, as far as the device has them."""
        return tuple(part for part in (self.relaxation, self.drift) if part)

    @property
    def n_states(self) -> int:
        """Number of states L."""
        return self.states if isinstance(self.states, int) else len(self.states)

    @property
    def unit(self) -> float:
        """Mean distance of two neighbouring states [S], the conductance that weight 1 stands for."""
        return (self.g_max - self.g_min) / (self.n_states - 1)

    def conductances(self) -> NDArray[np.float64]:
        """State conductances g_0 = g_min ... g_(L-1) = g_max [S], shape (L,)."""
        if isinstance(self.states, int):
            return self.g_min + self.unit * np.arange(self.states, dtype=float)
        return np.asarray(self.states, float)

    def reference(self, relative_to: str, g: NDArray[np.float64]) -> NDArray[np.float64]:
        """Conductance [S] that a relative figure refers to, for cells of conductance `g`; same shape."""
        constant = {"g_max": self.g_max, "range": self.g_max - self.g_min}
        return np.full_like(g, constant[relative_to]) if relative_to in constant else g

    @property
    def ages(self) -> bool:
        """Whether anything changes with the time after the write."""
        return bool(self.programming.times or self.aging or self.low_frequency)

    @property
    def first_time(self) -> float:
        """Earliest time after the write that the data describe [s]; the default of a read."""
        if self.programming.times:
            return min(self.programming.times)
        return max(map(first_time, self.aging), default=1.0)

    def check_time(self, time: float) -> float:
        """`time` [s] after the write, where the device's data describe it.

        Raises
        ------
        XbarError
            For a time that is not a number, lies before the first one, or was not measured.
        """
        if isinstance(time, bool) or not isinstance(time, numbers.Real):
            raise XbarError(f"time = {time!r}: must be a number, in s after the write")
        known = sorted(self.programming.times)
        if known and time not in known:
            raise XbarError(f"time = {time} s: {self.name!r} was measured at {_listed(known)} s only")
        check_range("time", time, self.first_time if self.aging else 0, 1e12, "s after the write")
        return time


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _check_window(device: Device) -> None:
    """Refuse a window that is not in S, and noise that is larger than the window anywhere in it.

    Such noise leaves nothing of a weight. It is nearly always a wrong unit, so that a device asks for it by
    name (`Device.noise_beyond_window`).

    Raises
    ------
    XbarError
        With the key, its value, and the window.
    """
    low, high = device.g_min, device.g_max
    if not (math.isfinite(high) and 0 <= low < high):
        raise XbarError(f"device.g_min = {low}, device.g_max = {high}: needs 0 <= g_min < g_max, in S")
    if high > LARGEST:
        raise XbarError(f"device.g_max = {high}: at most {LARGEST:g} S; conductances are in S, not in uS")
    for key, value, deviation in _deviations(device):
        if deviation >= (high - low) * (1 - 1e-9) and not device.noise_beyond_window:
            raise XbarError(
                f"device.{key} = {_plain(value)}: a deviation of up to {deviation:.3g} S, as large as "
                f"the window from {low:g} to {high:g} S, or larger; conductances are in S, not in uS (where "
                "it is meant, set device.noise_beyond_window = true)"
            )


def _deviations(device: Device) -> Iterator[tuple[str, object, float]]:
    """Key, value and largest standard deviation in the window [S] of all that spreads or moves cells.

    Relaxation and drift count for a factor e in time, 1/f noise for the first time that the device's data
    describe, and at least for the time at which it has grown to its amplitude.
    """
    g = np.union1d(np.linspace(device.g_min, device.g_max, POINTS), device.conductances())
    programming, flicker = device.programming, device.low_frequency
    if programming.acts:
        for time in programming.times or (None,):
            key, value = programming.named(time)
            deviation = float(write_spread(device, g, time).deviation(g).max())
            if isinstance(value, tuple) and not deviation > 0:
                raise XbarError(
                    f"device.programming.{key} = {_plain(value)}: not above 0 anywhere in the window; "
                    "for a write without error, programming.kind = 'none'"
                )
            yield f"programming.{key}", value, deviation
    for part in device.aging:
        with part.registry.guarded(part):
            for key, value, deviation in part.law.changes(part, device, g):
                yield f"{part.at}.{key}", value, deviation
    if flicker:
        grown = max(flicker.law.growth(flicker, device.first_time), 1.0)
        key, value = flicker.named()
        yield f"low_frequency.{key}", value, float(flicker_amplitude(device, g, g).max()) * grown
    key, value = device.read_noise.named()
    yield f"read_noise.{key}", value, float(read_sigma(device, g).max())


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
