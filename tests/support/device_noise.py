"""The equations of device noise one after the other, in float64, which the kernel of programming is held to.

`xi` are standard normal draws, one a cell.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xbar.conductances.noise_laws import sigma
from xbar.hardware.device import Device


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
