"""Standard deviations of device noise as functions of arrays; `xbar.conductances.programming` draws it."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

from xbar.hardware.device import Device

BOLTZMANN = 1.380649e-23
"""[J/K], exact in the SI."""


def sigma(g: ArrayLike, device: Device, time: float | None = None) -> NDArray[np.float64]:
    """Standard deviation [S] of one write to g [S], before conductances below 0 are clipped.

    That of a log-normal cell is exact: m sqrt(exp(sigma^2) - 1) with m its mean. A polynomial that falls
    below 0 counts as 0 there. `time` [s] chooses among `programming.at`; None: the first.
    """
    noise, target = device.programming, np.asarray(g, np.float64)
    if noise.kind == "gaussian":
        return noise.sigma * device.reference(noise.relative_to, target)
    if noise.kind == "lognormal":
        mean = target * np.exp(0.0 if noise.keep_mean else noise.sigma**2 / 2)
        return np.asarray(mean * np.sqrt(np.expm1(noise.sigma**2)))
    if noise.kind == "polynomial":
        at = {part.time: part.coefficients for part in noise.at}
        moment = device.first_time if time is None else device.check_time(time)
        coefficients = at[moment] if at else noise.coefficients
        return np.asarray(np.maximum(polynomial.polyval(target / device.g_max, coefficients), 0.0))
    if noise.kind == "states":
        return np.interp(target, device.conductances(), noise.sigmas)
    return np.zeros_like(target)


def low_frequency_sigma(g: ArrayLike, target: ArrayLike, device: Device, time: float) -> NDArray[np.float64]:
    """Standard deviation [S] of the low-frequency noise of cells of conductance g [S]."""
    now, part = np.asarray(g, np.float64), device.low_frequency
    if part is None:
        return np.zeros_like(now)
    ratio = np.asarray(target, np.float64) / device.g_max
    return np.asarray(part.amplitude_at(now, ratio) * part.growth(time))


def white_sigma(g: ArrayLike, device: Device) -> NDArray[np.float64]:
    """Standard deviation [S] of the white read noise of cells of conductance g [S]."""
    now = np.asarray(g, np.float64)
    return device.read_noise.sigma * device.reference(device.read_noise.relative_to, now)
