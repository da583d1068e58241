"""A memristive cell: its window, states, and what happens to a conductance when and after it is written.

All quantities are SI (S, V, s). Each part is a frozen dataclass that acts only where it is given; together
they act in this order: write (`ProgrammingNoise`), `Relaxation`, `Drift`, `LowFrequencyNoise`, stuck cells.
`WhiteNoise` is drawn anew at every read. The equations are in `xbar.conductances`.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

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
from xbar.hardware.noise_laws import FLICKER_NOISES, READ_NOISES, WRITE_NOISES
from xbar.hardware.registry import KeptTable, Registry
from xbar.hardware.window import check_window


@dataclass(frozen=True)
class Relaxation:
    """g(t) = g + a ln t + (b ln t + c) xi for t >= 1 s; xi drawn once a cell and chip.

    A device that relaxes is clamped to its window when it is read, after low-frequency noise.

    Parameters
    ----------
    mean
        a [S].
    sigma, sigma_0
        b and c [S].
    """

    __pydantic_config__: ClassVar = STRICT
    mean: float = 0.0
    sigma: float = 0.0
    sigma_0: float = 0.0

    def __post_init__(self) -> None:
        check_types(self, "relaxation.")
        check_range("relaxation.mean", self.mean, -1, 1, "S")
        check_range("relaxation.sigma", self.sigma, 0, 1, "S")
        check_range("relaxation.sigma_0", self.sigma_0, 0, 1, "S")


@dataclass(frozen=True)
class LogClamp:
    """clamp(slope ln(g / g_max) + intercept, low, high) of a target conductance g."""

    __pydantic_config__: ClassVar = STRICT
    intercept: float
    slope: float = 0.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_types(self, "drift.")
        check_range("drift: intercept", self.intercept, -10, 10)
        check_range("drift: slope", self.slope, -10, 10)
        check_range("drift: low", self.low, 0, 10)
        check_range("drift: high", self.high, self.low, 10)
        if self.slope == 0 and not self.low <= self.intercept <= self.high:
            raise XbarError(
                f"drift: intercept = {self.intercept}: lies outside low = {self.low:g} to "
                f"high = {self.high:g}, to which it would be clamped"
            )

    def __call__(self, ratio: NDArray[np.float64]) -> NDArray[np.float64]:
        """Value at g / g_max, any shape; at 0 the limit."""
        value = self.intercept + self.slope * np.log(np.maximum(ratio, 1e-300))
        return np.asarray(np.clip(value, self.low, self.high))


@dataclass(frozen=True)
class Drift:
    """g(t) = g(t0) (t/t0)^-nu, with `nu = |mean(g) + sigma(g) xi|` drawn once a cell and chip.

    Parameters
    ----------
    t0
        Time after the write at which the cell has its programmed conductance [s]; no earlier one is allowed.
    nu, nu_sigma
        Mean and standard deviation of the exponent by target conductance.
    """

    __pydantic_config__: ClassVar = STRICT
    t0: float
    nu: LogClamp
    nu_sigma: LogClamp = LogClamp(0.0)

    def __post_init__(self) -> None:
        check_types(self, "drift.")
        check_range("drift.t0", self.t0, 1e-9, 1e12, "s")


@dataclass(frozen=True)
class WritePulse:
    """Pulse that a write applies to a cell, for the time and energy of programming.

    Parameters
    ----------
    voltage, width
        Of one pulse [V], [s].
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
    relaxation: Relaxation | None = None
    drift: Drift | None = None
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
        check_window(self)
        if self.programming.times and (self.relaxation or self.drift):
            raise XbarError(
                "device.programming.at: its deviations hold the change with time; "
                "device.relaxation and device.drift would count it twice"
            )
        check_range("device.p_stuck_g_max", self.p_stuck_g_max, 0, 1)
        check_range("device.p_stuck_g_min", self.p_stuck_g_min, 0, 1)
        check_range("device.p_stuck_g_max + p_stuck_g_min", self.p_stuck_g_max + self.p_stuck_g_min, 0, 1)

    @property
    def kept(self) -> bool:
        """Whether a kind in it is one whose file is not there, so that it can be read and not used."""
        return any(isinstance(config, KeptTable) for _, config in self.kinds)

    @property
    def kinds(self) -> tuple[tuple[Registry[Any], Any], ...]:
        """Registry and config of each part that has kinds."""
        found: list[tuple[Registry[Any], Any]] = [
            (WRITE_NOISES, self.programming),
            (READ_NOISES, self.read_noise),
            (CURRENT_LAWS, self.iv),
        ]
        return (*found, *([(FLICKER_NOISES, self.low_frequency)] if self.low_frequency else []))

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
        return bool(self.programming.times or self.relaxation or self.drift or self.low_frequency)

    @property
    def first_time(self) -> float:
        """Earliest time after the write that the data describe [s]; the default of a read."""
        if self.programming.times:
            return min(self.programming.times)
        starts = [1.0] if self.relaxation else []
        return max([*starts, *([self.drift.t0] if self.drift else [])], default=1.0)

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
        depends = self.relaxation is not None or self.drift is not None
        check_range("time", time, self.first_time if depends else 0, 1e12, "s after the write")
        return time


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
