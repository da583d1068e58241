"""Checks of a device's conductances against its window, which find values in uS and noise above any signal.

A standard deviation beyond g_max - g_min leaves nothing of a weight. It is nearly always a wrong unit, so
that a device asks for it by name (`Device.noise_beyond_window`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from xbar.hardware.errors import XbarError
from xbar.hardware.noise_laws import flicker_amplitude, read_sigma, write_spread

if TYPE_CHECKING:
    from xbar.hardware.device import Device

LARGEST = 0.01
"""Largest g_max [S]: 100 ohm, less than any memristor. A window of more than 10 nS that is typed in uS is
beyond it."""
POINTS = 1025
"""Conductances of the window at which deviations are looked at, beside those of the states."""


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
    g = np.union1d(np.linspace(device.g_min, device.g_max, POINTS), device.conductances())
    programming, relaxation, flicker = device.programming, device.relaxation, device.low_frequency
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
    if relaxation:
        for key in ("mean", "sigma", "sigma_0"):
            yield f"relaxation.{key}", getattr(relaxation, key), abs(getattr(relaxation, key))
    if flicker:
        grown = max(flicker.law.growth(flicker, device.first_time), 1.0)
        key, value = flicker.named()
        yield f"low_frequency.{key}", value, float(flicker_amplitude(device, g, g).max()) * grown
    key, value = device.read_noise.named()
    yield f"read_noise.{key}", value, float(read_sigma(device, g).max())


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
