"""Deviations of a cell's conductance: those of a write, 1/f noise since then, and white noise of a read.

All quantities are SI (S, V, s). The equations are in `xbar.conductances.noise`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from xbar.hardware.checks import STRICT, check_finite, check_range, check_types, refuse_idle
from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class PolynomialAt:
    """Coefficients [S] of `ProgrammingNoise.coefficients` that were measured a `time` [s] after the write."""

    __pydantic_config__: ClassVar = STRICT
    time: float
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        check_types(self, "programming.at.")
        check_range("programming.at.time", self.time, 0, 1e12, "s")
        check_finite("programming.at.coefficients", self.coefficients, "S")
        if not self.coefficients:
            raise XbarError("programming.at.coefficients = []: needs at least one, in S")


@dataclass(frozen=True)
class Verify:
    """Write-verify: a cell is written anew, each time with a fresh error, until it is near its target.

    Parameters
    ----------
    acceptance
        Largest `|g - target|` that is accepted, relative to what ``relative_to`` says.
    max_pulses
        Writes after which the cell stays as it is, accepted or not.
    """

    __pydantic_config__: ClassVar = STRICT
    acceptance: float
    relative_to: Literal["target", "g_max", "range"] = "target"
    max_pulses: int = 100

    def __post_init__(self) -> None:
        check_types(self, "programming.verify.")
        check_range("programming.verify.acceptance", self.acceptance, 1e-6, 10)
        check_range("programming.verify.max_pulses", self.max_pulses, 1, 100_000)


@dataclass(frozen=True)
class ProgrammingNoise:
    """Error of a write, drawn once a chip for every built cell.

    Parameters
    ----------
    kind
        ``none``; ``gaussian``: g + sigma xi; ``lognormal``: g exp(sigma xi - sigma^2/2), or without the
        second term where ``keep_mean`` is false; ``polynomial``: g + sigma(g) xi with
        sigma(g) = sum_i coefficients[i] (g/g_max)^i [S]; ``states``: g + sigma(g) xi with sigma(g) linear
        between the measured ``sigmas`` of the states.
    sigma
        Relative to what ``relative_to`` says (gaussian), or the standard deviation of ln g (lognormal).
    relative_to
        ``target``: sigma times the target conductance; ``g_max``; ``range``: g_max - g_min.
    keep_mean
        Log-normal only: the -sigma^2/2 term that keeps the mean at the target.
    coefficients
        Polynomial only [S].
    at
        Polynomial only: coefficients by the time after the write, in place of `coefficients`. Each is the
        total deviation from the target at that time; no other time is allowed.
    sigmas
        States only: one standard deviation for each state [S].
    verify
        Repeats the write until the cell is accepted; `sigma` is then that of a single write.
    """

    __pydantic_config__: ClassVar = STRICT
    kind: Literal["none", "gaussian", "lognormal", "polynomial", "states"] = "none"
    sigma: float = 0.0
    relative_to: Literal["target", "g_max", "range"] = "target"
    keep_mean: bool = True
    coefficients: tuple[float, ...] = ()
    at: tuple[PolynomialAt, ...] = ()
    sigmas: tuple[float, ...] = ()
    verify: Verify | None = None

    def __post_init__(self) -> None:
        check_types(self, "programming.")
        check_range("programming.sigma", self.sigma, 0, 2)
        check_finite("programming.coefficients", self.coefficients, "S")
        check_finite("programming.sigmas", self.sigmas, "S", low=0)
        refuse_idle(
            self,
            "programming",
            {
                "gaussian": ("sigma", "relative_to", "verify"),
                "lognormal": ("sigma", "keep_mean", "verify"),
                "polynomial": ("coefficients", "at", "verify"),
                "states": ("sigmas", "verify"),
            },
        )
        if self.kind == "polynomial" and bool(self.coefficients) == bool(self.at):
            raise XbarError(
                "programming.coefficients: programming.kind = 'polynomial' needs either these or "
                "programming.at, and not both"
            )
        if self.kind == "states" and not self.sigmas:
            raise XbarError(
                "programming.sigmas: missing; programming.kind = 'states' needs one for each state"
            )
        if len({part.time for part in self.at}) < len(self.at):
            raise XbarError("programming.at: two entries have the same time")
        if self.at and self.verify is not None:
            raise XbarError(
                "programming.verify: has no effect with programming.at, whose deviations are those of "
                "verified cells some time later"
            )


@dataclass(frozen=True)
class LowFrequencyNoise:
    """1/f noise accumulated since the write, g + sigma xi, drawn once a cell, chip and time.

    ``sigma = Q(g) sqrt(ln((t + t_read) / (2 t_read)))``, where Q is, by ``kind``,

    ``power``: g min(limit, amplitude (g_target/g_max)^-exponent);
    ``log10``: amplitude log10(g / 1 uS), 0 below 1 uS; a window that lies there is refused.

    Parameters
    ----------
    amplitude
        Without unit (power), or [S] (log10).
    t_read
        Length of the read [s].
    """

    __pydantic_config__: ClassVar = STRICT
    kind: Literal["power", "log10"]
    amplitude: float
    t_read: float
    exponent: float = 0.0
    limit: float = 1.0

    def __post_init__(self) -> None:
        check_types(self, "low_frequency.")
        check_range("low_frequency.amplitude", self.amplitude, 0, 10)
        check_range("low_frequency.t_read", self.t_read, 1e-12, 1, "s")
        check_range("low_frequency.exponent", self.exponent, 0, 10)
        check_range("low_frequency.limit", self.limit, 0, 10)
        refuse_idle(
            self,
            "low_frequency",
            {"power": ("amplitude", "t_read", "exponent", "limit"), "log10": ("amplitude", "t_read")},
        )

    def amplitude_at(self, g: NDArray[np.float64], ratio: NDArray[np.float64]) -> NDArray[np.float64]:
        """Q [S] of cells of conductance g [S] whose targets are so many g_max."""
        if self.kind == "power":
            falling = self.amplitude * np.maximum(ratio, 1e-30) ** -self.exponent
            return np.asarray(g * np.minimum(self.limit, falling))
        return np.asarray(self.amplitude * np.log10(np.maximum(g / 1e-6, 1.0)))

    def growth(self, time: float) -> float:
        """Sigma over Q at a time [s] after the write; 0 up to `t_read`."""
        return math.sqrt(max(math.log((time + self.t_read) / (2 * self.t_read)), 0.0))


@dataclass(frozen=True)
class WhiteNoise:
    """White noise of a read: g + sigma xi, drawn anew for every cell, vector and phase.

    ``relative_to``: sigma times the cell's conductance as it is, times g_max, or times g_max - g_min.
    """

    __pydantic_config__: ClassVar = STRICT
    sigma: float = 0.0
    relative_to: Literal["conductance", "g_max", "range"] = "conductance"

    def __post_init__(self) -> None:
        check_types(self, "read_noise.")
        check_range("read_noise.sigma", self.sigma, 0, 2)
