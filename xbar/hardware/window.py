"""Checks of a device's conductances against its window, which find values in uS and noise above any signal.

A standard deviation beyond g_max - g_min leaves nothing of a weight. It is nearly always a wrong unit, so
that a device asks for it by name (`Device.noise_beyond_window`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import polynomial

from xbar.hardware.errors import XbarError

if TYPE_CHECKING:
    from xbar.hardware.device import Device

LARGEST = 0.01
"""Largest g_max [S]: 100 ohm, less than any memristor. A window of more than 10 nS that is typed in uS is
beyond it."""
POINTS = 1025
"""Conductances of the window at which a polynomial is looked at."""


def check_window(device: Device) -> None:
    """Refuse a window that is not in S, and noise that is larger than the window anywhere in it.

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

    Relaxation counts for a factor e in time, 1/f noise for the first time that the device's data describe,
    and at least for the time at which it has grown to its amplitude.
    """
    g = np.linspace(device.g_min, device.g_max, POINTS)
    programming, relaxation, flicker = device.programming, device.relaxation, device.low_frequency
    if programming.kind == "gaussian":
        yield (
            "programming.sigma",
            programming.sigma,
            _times(device, programming.sigma, programming.relative_to),
        )
    elif programming.kind == "lognormal":
        mean = device.g_max * (1.0 if programming.keep_mean else math.exp(programming.sigma**2 / 2))
        yield "programming.sigma", programming.sigma, mean * math.sqrt(math.expm1(programming.sigma**2))
    elif programming.kind == "states":
        yield "programming.sigmas", programming.sigmas, max(programming.sigmas)
    elif programming.kind == "polynomial":
        sets = [("at.coefficients", part.coefficients) for part in programming.at]
        for key, coefficients in sets or [("coefficients", programming.coefficients)]:
            deviation = polynomial.polyval(g / device.g_max, coefficients)
            if not deviation.max() > 0:
                raise XbarError(
                    f"device.programming.{key} = {_plain(coefficients)}: not above 0 anywhere in the window; "
                    "for a write without error, programming.kind = 'none'"
                )
            yield f"programming.{key}", coefficients, float(deviation.max())
    if relaxation:
        for key in ("mean", "sigma", "sigma_0"):
            yield f"relaxation.{key}", getattr(relaxation, key), abs(getattr(relaxation, key))
    if flicker:
        if flicker.kind == "log10" and device.g_max <= 1e-6 and not device.noise_beyond_window:
            raise XbarError(
                f"device.low_frequency.kind = 'log10': is 0 below 1 uS, and so in the whole window from "
                f"{device.g_min:g} to {device.g_max:g} S, whatever its amplitude; kind = 'power' is not"
            )
        grown = max(flicker.growth(device.first_time), 1.0)
        largest = float(flicker.amplitude_at(g, g / device.g_max).max())
        yield "low_frequency.amplitude", flicker.amplitude, largest * grown
    white = device.read_noise
    yield "read_noise.sigma", white.sigma, _times(device, white.sigma, white.relative_to)


def _times(device: Device, sigma: float, relative_to: str) -> float:
    """Largest deviation [S] of a relative one."""
    return sigma * float(device.reference(relative_to, np.array(device.g_max)))


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
