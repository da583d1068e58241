"""The laws of relaxation and drift that ship, and what lies between the write of cells and their read.

The kernel of `xbar.conductances.programming` applies relaxation, drift and 1/f noise, in this order, as long
as each has the form that is compiled. From the first on that has another, `age` applies them to whole arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xbar.conductances.noise_laws import low_frequency_sigma
from xbar.hardware.aging import Aging, AgingLaw, Drift, Relaxation, aged, compiled_form
from xbar.hardware.device import Device
from xbar.hardware.noise_kinds import FLICKER_NOISES, Siemens

STEPS = {
    "relaxation": ("relaxation", "relaxation_sigma"),
    "drift": ("nu", "nu_sigma"),
    "low_frequency": ("flicker", "flicker_decade"),
}
"""Parts of a device that act between write and read, in order, each with its fields of `AgingTables`. Their
streams have the same names."""

NOTHING: Siemens = np.empty(0)


class LogRelaxation(AgingLaw):
    """g + a ln t + (b ln t + c) xi."""

    def first_time(self, part: Relaxation) -> float:
        """See `AgingLaw.first_time`; where ln t is 0."""
        return 1.0

    def aged(
        self, part: Relaxation, device: Device, g: Siemens, target: Siemens, xi: Siemens, time: float
    ) -> Siemens:
        """See `AgingLaw.aged`."""
        mean, sigma = self.compiled(part, device, target, time)
        return np.asarray(g + mean + sigma * xi)

    def compiled(
        self, part: Relaxation, device: Device, target: Siemens, time: float
    ) -> tuple[Siemens, Siemens]:
        """See `AgingLaw.compiled`."""
        log = math.log(time)
        return np.full_like(target, part.mean * log), np.full_like(target, part.sigma * log + part.sigma_0)

    def changes(self, part: Relaxation, device: Device, g: Siemens) -> list[tuple[str, object, float]]:
        """See `AgingLaw.changes`; each key apart."""
        return [(key, getattr(part, key), abs(getattr(part, key))) for key in ("mean", "sigma", "sigma_0")]


class PowerDrift(AgingLaw):
    """g (t/t0)^-|nu|, nu normal by target."""

    def first_time(self, part: Drift) -> float:
        """See `AgingLaw.first_time`."""
        return part.t0

    def aged(
        self, part: Drift, device: Device, g: Siemens, target: Siemens, xi: Siemens, time: float
    ) -> Siemens:
        """See `AgingLaw.aged`."""
        mean, sigma = self.compiled(part, device, target, time)
        return np.asarray(g * np.exp(-np.abs(mean + sigma * xi)))

    def compiled(self, part: Drift, device: Device, target: Siemens, time: float) -> tuple[Siemens, Siemens]:
        """See `AgingLaw.compiled`."""
        log, ratio = math.log(time / part.t0), target / device.g_max
        return log * part.nu(ratio), log * part.nu_sigma(ratio)

    def changes(self, part: Drift, device: Device, g: Siemens) -> list[tuple[str, object, float]]:
        """See `AgingLaw.changes`; a cell falls by no more than what it has."""
        return []


LOG, POWER = LogRelaxation(), PowerDrift()


class AgingTables(NamedTuple):
    """Tables that the kernel reads by target, shape (T,); an empty one has no effect.

    They hold the mean and standard deviation of the relaxation [S] and of the exponent of the drift, and the
    deviation of the 1/f noise relative to g. The last field is the factor of log10(g / 1 uS) in it [S].
    """

    relaxation: Siemens = NOTHING
    relaxation_sigma: Siemens = NOTHING
    nu: Siemens = NOTHING
    nu_sigma: Siemens = NOTHING
    flicker: Siemens = NOTHING
    flicker_decade: float = 0.0


def compiled(device: Device, target: Siemens, time: float) -> tuple[AgingTables, tuple[str, ...]]:
    """Tables that age cells of these targets [S] up to a time [s] in the kernel, and the `STEPS` left."""
    found = AgingTables()
    for number, (step, fields) in enumerate(STEPS.items()):
        part = getattr(device, step)
        if part is not None:
            pair = _pair(part, device, target, time)
            if pair is None:
                left = tuple(STEPS)[number:]
                return found, tuple(step for step in left if getattr(device, step) is not None)
            found = found._replace(**dict(zip(fields, pair, strict=True)))
    return found, ()


def _pair(part: Any, device: Device, target: Siemens, time: float) -> tuple[Siemens, Any] | None:
    """Tables of a part that the kernel applies as one step, or None where its law has another form."""
    if isinstance(part, Aging):
        return compiled_form(part, device, target, time)
    with FLICKER_NOISES.guarded(part):
        found, growth = part.law.compiled(part, device, target), part.law.growth(part, time)
    return None if found is None else (found[0] * growth, found[1] * growth)


def age(
    g: Siemens,
    target: Siemens,
    device: Device,
    time: float,
    draws: Mapping[str, NDArray[np.float32]],
) -> Siemens:
    """Conductances [S] at a time [s] after the write.

    Parameters
    ----------
    g, target
        What the cells have before the first of the steps, and what they were written to [S]; same shape.
    draws
        Standard normal draws, one a cell, of each of the `STEPS` that act, in their order.

    Raises
    ------
    XbarError
        For a law that gives no conductances, or no deviations.
    """
    for step, xi in draws.items():
        part = getattr(device, step)
        if isinstance(part, Aging):
            g = aged(part, device, g, target, xi.astype(np.float64), time)
        elif part is not None:
            g = g + low_frequency_sigma(np.maximum(g, 0), target, device, time) * xi
    low, high = clamped(device)
    return np.asarray(np.clip(g, low, high))


def clamped(device: Device) -> tuple[float, float]:
    """Least and largest conductance [S] of a cell that is read."""
    return (device.g_min, device.g_max) if device.relaxation else (0.0, math.inf)


def relaxation_sigma(g: ArrayLike, device: Device, time: float) -> Siemens:
    """Standard deviation [S] of the relaxation of cells of conductance g [S], exact where it is linear in the
    draw."""
    now, part = np.asarray(g, np.float64), device.relaxation
    if part is None:
        return np.zeros_like(now)
    high, low = (aged(part, device, now, now, np.full_like(now, xi), time) for xi in (1.0, -1.0))
    return np.asarray(np.abs(high - low) / 2)
