"""The noise laws that ship, and standard deviations of a device as functions of arrays.

`xbar.conductances.programming` draws what is between a write and a read.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

from xbar.hardware.device import Device
from xbar.hardware.errors import XbarError
from xbar.hardware.noise import LowFrequencyNoise, ProgrammingNoise, WhiteNoise
from xbar.hardware.noise_kinds import (
    FlickerLaw,
    ReadLaw,
    Siemens,
    Spread,
    WriteLaw,
    flicker_amplitude,
    read_sigma,
    write_spread,
)

BOLTZMANN = 1.380649e-23
"""[J/K], exact in the SI."""


class NoWriteNoise(WriteLaw):
    """Cells are at their targets."""

    def spread(self, noise: ProgrammingNoise, device: Device, target: Siemens, time: float) -> Spread:
        """See `WriteLaw.spread`."""
        return Spread(np.zeros_like(target))


class GaussianWrites(WriteLaw):
    """g + sigma xi, sigma relative to the target, g_max or the range."""

    def spread(self, noise: ProgrammingNoise, device: Device, target: Siemens, time: float) -> Spread:
        """See `WriteLaw.spread`."""
        return Spread(noise.sigma * device.reference(noise.relative_to, target))


class LogNormalWrites(WriteLaw):
    """g exp(sigma xi - sigma^2/2), or without the second term where the mean is not kept."""

    def spread(self, noise: ProgrammingNoise, device: Device, target: Siemens, time: float) -> Spread:
        """See `WriteLaw.spread`."""
        shift = noise.sigma**2 / 2 if noise.keep_mean else 0.0
        return Spread(np.full_like(target, noise.sigma), np.full_like(target, shift))


class PolynomialWrites(WriteLaw):
    """g + sigma(g) xi, sigma(g) = sum_i coefficients[i] (g/g_max)^i, 0 where that is below 0."""

    def spread(self, noise: ProgrammingNoise, device: Device, target: Siemens, time: float) -> Spread:
        """See `WriteLaw.spread`."""
        at = {part.time: part.coefficients for part in noise.at}
        coefficients = at[time] if at else noise.coefficients
        return Spread(np.maximum(polynomial.polyval(target / device.g_max, coefficients), 0.0))


class WritesByState(WriteLaw):
    """g + sigma(g) xi, sigma(g) linear between those of the states."""

    def check(self, noise: ProgrammingNoise, device: Device) -> None:
        """See `WriteLaw.check`."""
        if len(noise.sigmas) != device.n_states:
            raise XbarError(
                f"device.programming.sigmas: {len(noise.sigmas)} of them; "
                f"needs one for each of the {device.n_states} states"
            )

    def spread(self, noise: ProgrammingNoise, device: Device, target: Siemens, time: float) -> Spread:
        """See `WriteLaw.spread`."""
        return Spread(np.interp(target, device.conductances(), noise.sigmas))


class FlickerByPower(FlickerLaw):
    """Q = g min(limit, amplitude (g_target/g_max)^-exponent)."""

    def amplitude(self, noise: LowFrequencyNoise, device: Device, g: Siemens, target: Siemens) -> Siemens:
        """See `FlickerLaw.amplitude`."""
        return np.asarray(g * self._relative(noise, device, target))

    def compiled(self, noise: LowFrequencyNoise, device: Device, target: Siemens) -> tuple[Siemens, float]:
        """See `FlickerLaw.compiled`."""
        return self._relative(noise, device, target), 0.0

    def _relative(self, noise: LowFrequencyNoise, device: Device, target: Siemens) -> Siemens:
        """Q / g."""
        falling = noise.amplitude * np.maximum(target / device.g_max, 1e-30) ** -noise.exponent
        return np.asarray(np.minimum(noise.limit, falling))


class FlickerByDecades(FlickerLaw):
    """Q = amplitude log10(g / 1 uS), 0 below 1 uS."""

    def check(self, noise: LowFrequencyNoise, device: Device) -> None:
        """See `WriteLaw.check`."""
        if device.g_max <= 1e-6 and not device.noise_beyond_window:
            raise XbarError(
                f"device.low_frequency.kind = 'log10': is 0 below 1 uS, and so in the whole window from "
                f"{device.g_min:g} to {device.g_max:g} S, whatever its amplitude; kind = 'power' is not"
            )

    def amplitude(self, noise: LowFrequencyNoise, device: Device, g: Siemens, target: Siemens) -> Siemens:
        """See `FlickerLaw.amplitude`."""
        return np.asarray(noise.amplitude * np.log10(np.maximum(g / 1e-6, 1.0)))

    def compiled(self, noise: LowFrequencyNoise, device: Device, target: Siemens) -> tuple[Siemens, float]:
        """See `FlickerLaw.compiled`."""
        return np.empty(0), noise.amplitude


class WhiteReads(ReadLaw):
    """sigma times the conductance as it is, g_max or the range."""

    def sigma(self, noise: WhiteNoise, device: Device, g: Siemens) -> Siemens:
        """See `ReadLaw.sigma`."""
        return np.asarray(noise.sigma * device.reference(noise.relative_to, g))

    def compiled(self, noise: WhiteNoise, device: Device) -> tuple[float, float]:
        """See `ReadLaw.compiled`."""
        if noise.relative_to == "conductance":
            return 0.0, noise.sigma
        return float(self.sigma(noise, device, np.zeros(()))), 0.0


NONE, GAUSSIAN, LOGNORMAL = NoWriteNoise(), GaussianWrites(), LogNormalWrites()
POLYNOMIAL, STATES = PolynomialWrites(), WritesByState()
POWER, LOG10 = FlickerByPower(), FlickerByDecades()
WHITE = WhiteReads()


def sigma(g: ArrayLike, device: Device, time: float | None = None) -> NDArray[np.float64]:
    """Standard deviation [S] of one write to g [S], before conductances below 0 are clipped.

    `time` [s] chooses among `programming.at`; None: the first. See `Spread.deviation`.
    """
    target = np.asarray(g, np.float64)
    return write_spread(device, target, time).deviation(target)


def low_frequency_sigma(g: ArrayLike, target: ArrayLike, device: Device, time: float) -> NDArray[np.float64]:
    """Standard deviation [S] of the low-frequency noise of cells of conductance g [S]."""
    now, part = np.asarray(g, np.float64), device.low_frequency
    if part is None:
        return np.zeros_like(now)
    wanted = np.asarray(target, np.float64)
    return np.asarray(flicker_amplitude(device, now, wanted) * part.law.growth(part, time))


def white_sigma(g: ArrayLike, device: Device) -> NDArray[np.float64]:
    """Standard deviation [S] of the noise of one read of cells of conductance g [S]."""
    return read_sigma(device, np.asarray(g, np.float64))
