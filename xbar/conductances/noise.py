"""The equations of device noise as functions of arrays: the write, and what follows until the read.

`xi` are standard normal draws, one a cell. `xbar.conductances.programming` draws them and does all of it in
one pass.
"""

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


def written(g: ArrayLike, xi: ArrayLike, device: Device, time: float | None = None) -> NDArray[np.float64]:
    """Conductances [S] of cells after one write to g [S], clipped at 0.

    Clipping lifts the mean of cells whose sigma is not small against g: by sigma/sqrt(2 pi) at g = 0.
    """
    target, draw, noise = np.asarray(g, np.float64), np.asarray(xi, np.float64), device.programming
    if noise.kind == "lognormal":
        shift = noise.sigma**2 / 2 if noise.keep_mean else 0.0
        return np.asarray(target * np.exp(noise.sigma * draw - shift))
    return np.maximum(target + sigma(target, device, time) * draw, 0.0)


def accepted(g: ArrayLike, target: ArrayLike, device: Device) -> NDArray[np.bool_]:
    """Whether write-verify accepts cells of conductance g [S]; any shape. True without write-verify."""
    verify, goal = device.programming.verify, np.asarray(target, np.float64)
    if verify is None:
        return np.ones(np.shape(g), bool)
    bound = verify.acceptance * device.reference(verify.relative_to, goal)
    return np.asarray(np.abs(np.asarray(g) - goal) <= bound)


def relaxed(g: ArrayLike, xi: ArrayLike, device: Device, time: float) -> NDArray[np.float64]:
    """Conductances [S] a `time` [s] after the write by `Device.relaxation`, before `clamped`."""
    start, part = np.asarray(g, np.float64), device.relaxation
    if part is None:
        return start
    return start + part.mean * math.log(time) + (part.sigma * math.log(time) + part.sigma_0) * np.asarray(xi)


def clamped(g: ArrayLike, device: Device) -> NDArray[np.float64]:
    """Conductances [S] as they are read: in the window where the device relaxes, else at least 0."""
    if device.relaxation is None:
        return np.maximum(np.asarray(g, np.float64), 0.0)
    return np.clip(np.asarray(g, np.float64), device.g_min, device.g_max)


def drifted(
    g: ArrayLike, target: ArrayLike, xi: ArrayLike, device: Device, time: float
) -> NDArray[np.float64]:
    """Conductances [S] a `time` [s] after the write by `Device.drift`."""
    start, part = np.asarray(g, np.float64), device.drift
    if part is None:
        return start
    ratio = np.asarray(target, np.float64) / device.g_max
    nu = np.abs(part.nu(ratio) + part.nu_sigma(ratio) * np.asarray(xi))
    return np.asarray(start * np.exp(-nu * math.log(time / part.t0)))


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
