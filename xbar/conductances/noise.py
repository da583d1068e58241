"""Standard deviations of device noise as functions of arrays; `xbar.conductances.programming` draws it."""

from __future__ import annotations

import math

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


def accumulated(time: float, t_read: float) -> float:
    """sqrt(ln((t + t_read) / (2 t_read))): 1/f noise from `t_read` to t after the write; 0 up to t_read."""
    return math.sqrt(max(math.log((time + t_read) / (2 * t_read)), 0.0))


def low_frequency_sigma(g: ArrayLike, target: ArrayLike, device: Device, time: float) -> NDArray[np.float64]:
    """Standard deviation [S] of the low-frequency noise of cells of conductance g [S]."""
    now, part = np.asarray(g, np.float64), device.low_frequency
    if part is None:
        return np.zeros_like(now)
    if part.kind == "power":
        ratio = np.maximum(np.asarray(target, np.float64) / device.g_max, 1e-30)
        q = now * np.minimum(part.limit, part.amplitude * ratio**-part.exponent)
    else:
        q = part.amplitude * np.log10(np.maximum(now / 1e-6, 1.0))
    return np.asarray(q * accumulated(time, part.t_read))


def white_sigma(g: ArrayLike, device: Device) -> NDArray[np.float64]:
    """Standard deviation [S] of the white read noise of cells of conductance g [S]."""
    now = np.asarray(g, np.float64)
    return device.read_noise.sigma * device.reference(device.read_noise.relative_to, now)
