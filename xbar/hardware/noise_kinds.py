"""Kinds of noise: their registries, and what a law of each must say about the deviations of cells.

The keys of a kind are a frozen dataclass (`xbar.hardware.noise`); its law is an object that says what the
standard deviation of a cell is. A law of one's own is one file: such a dataclass, a law, and the `add` of its
registry. The laws that ship are in `xbar.conductances.noise_laws`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xbar.hardware.errors import XbarError
from xbar.hardware.registry import Registry

if TYPE_CHECKING:
    from xbar.hardware.device import Device

Siemens = NDArray[np.float64]
"""Conductances and deviations [S]."""


class Spread(NamedTuple):
    """Spread of one write about its target g; xi is a standard normal number.

    Parameters
    ----------
    sigma
        Shape of the targets: in g + sigma xi [S], which is clipped at 0; or, with `shift`, in
        g exp(sigma xi - shift).
    shift
        None, or an array of the shape of the targets; sigma^2 / 2 keeps the mean at the target.
    """

    sigma: Siemens
    shift: Siemens | None = None

    def deviation(self, target: Siemens) -> Siemens:
        """Standard deviation [S] about its own mean, before conductances below 0 are clipped.

        That of a log-normal cell is exact: m sqrt(exp(sigma^2) - 1) with m its mean.
        """
        if self.shift is None:
            return self.sigma
        mean = target * np.exp(self.sigma**2 / 2 - self.shift)
        return np.asarray(mean * np.sqrt(np.expm1(self.sigma**2)))


class WriteLaw(ABC):
    """How far the writes of one kind miss their targets; `spread` is asked once for each different target."""

    @abstractmethod
    def spread(self, noise: Any, device: Device, target: Siemens, time: float) -> Spread:
        """Spread of one write to each of the targets [S], shape (T,); `time` [s] after the write is one of
        the config's ``times``, where it has any."""

    def check(self, noise: Any, device: Device) -> None:  # noqa: B027
        """Refuse keys that do not fit to a device.

        Raises
        ------
        XbarError
            With the key, its value and what is allowed.
        """


class FlickerLaw(ABC):
    """How large the 1/f noise of one kind is: sigma(t) = Q growth(t)."""

    @abstractmethod
    def amplitude(self, noise: Any, device: Device, g: Siemens, target: Siemens) -> Siemens:
        """Q [S] of cells of conductance `g` [S] that were written to `target` [S]; shape of both."""

    def growth(self, noise: Any, time: float) -> float:
        """Sigma over Q at a time [s] after the write: sqrt(ln((t + t_read) / (2 t_read))), 0 up to
        ``t_read``."""
        return math.sqrt(max(math.log((time + noise.t_read) / (2 * noise.t_read)), 0.0))

    def compiled(self, noise: Any, device: Device, target: Siemens) -> tuple[Siemens, float] | None:
        """Q as r g + d log10(max(g / 1 uS, 1)), the form that the compiled kernel draws: r by target, shape
        (T,), empty: none; and d [S]. None: it has another form, which is drawn by `amplitude`."""
        return None

    def check(self, noise: Any, device: Device) -> None:  # noqa: B027
        """Refuse keys that do not fit to a device; errors as in `WriteLaw.check`."""


class ReadLaw(ABC):
    """How large the noise of a read of one kind is."""

    @abstractmethod
    def sigma(self, noise: Any, device: Device, g: Siemens) -> Siemens:
        """Standard deviation [S] of cells of conductance `g` [S]; same shape."""

    def compiled(self, noise: Any, device: Device) -> tuple[float, float] | None:
        """a [S] and b where sigma is a + b g, the form that an accelerator computes. None: it has another
        form, and `sigma` is called on the processor."""
        return None

    def check(self, noise: Any, device: Device) -> None:  # noqa: B027
        """Refuse keys that do not fit to a device; errors as in `WriteLaw.check`."""


WRITE_NOISES: Registry[WriteLaw] = Registry("kind of write error", tagged=True)
"""Laws of the errors of writes, by kind."""

FLICKER_NOISES: Registry[FlickerLaw] = Registry("kind of 1/f noise", tagged=True)
"""Laws of 1/f noise, by kind."""

READ_NOISES: Registry[ReadLaw] = Registry("kind of read noise", tagged=True)
"""Laws of the noise of reads, by kind."""


def write_spread(device: Device, target: Siemens, time: float | None = None) -> Spread:
    """Spread of one write to targets [S] of any shape, at a time [s]; None: the first that is known.

    Raises
    ------
    XbarError
        For a time that the device has no data for, and a law that gives no standard deviations.
    """
    noise = device.programming
    moment = device.first_time if time is None else device.check_time(time)
    said = f"device.programming.kind = {noise.kind!r}: its law"
    with WRITE_NOISES.guarded(noise):
        found = noise.law.spread(noise, device, target, moment)
        if not isinstance(found, Spread):
            raise XbarError(f"{said} gives a {type(found).__name__}; must be a Spread")
        shift = None if found.shift is None else of_shape(f"{said}: shift", found.shift, target)
        return Spread(_deviations(said, found.sigma, target), shift)


def flicker_amplitude(device: Device, g: Siemens, target: Siemens) -> Siemens:
    """Q [S] of the 1/f noise of cells of conductance g [S] that were written to `target` [S].

    Cells that relaxation took below 0, before they are clamped, may have one below 0.

    Raises
    ------
    XbarError
        For a law that gives no standard deviations.
    """
    noise = device.low_frequency
    if noise is None:
        return np.zeros_like(g)
    with FLICKER_NOISES.guarded(noise):
        found = noise.law.amplitude(noise, device, g, target)
        return _deviations(f"device.low_frequency.kind = {noise.kind!r}: its law", found, g, -math.inf)


def read_sigma(device: Device, g: Siemens) -> Siemens:
    """Standard deviation [S] of one read of cells of conductance g [S], any shape.

    Raises
    ------
    XbarError
        For a law that gives no standard deviations.
    """
    noise = device.read_noise
    with READ_NOISES.guarded(noise):
        found = noise.law.sigma(noise, device, g)
        return _deviations(f"device.read_noise.kind = {noise.kind!r}: its law", found, g)


def read_form(device: Device) -> tuple[float, float] | None:
    """a [S] and b of `ReadLaw.compiled`.

    Raises
    ------
    XbarError
        Where a + b g is not the law's deviation at both ends of the device's window.
    """
    noise = device.read_noise
    with READ_NOISES.guarded(noise):
        found = noise.law.compiled(noise, device)
        if found is None:
            return None
        said = f"device.read_noise.kind = {noise.kind!r}: its compiled form"
        constant, slope = (float(part) for part in found)
        ends = np.array([device.g_min, device.g_max])
        given, expected = constant + slope * ends, read_sigma(device, ends)
        if not np.allclose(given, expected, rtol=1e-6, atol=0):
            raise XbarError(f"{said} gives {given} S at g_min and g_max; its sigma there is {expected} S")
        return constant, slope


def _deviations(said: str, found: Any, like: Siemens, least: float = 0.0) -> Siemens:
    """Standard deviations that a law gives, of the shape of `like`; one number stands for all."""
    sigma = of_shape(f"{said}: sigma", found, like)
    if sigma.size and not (sigma.min() >= least and np.isfinite(sigma).all()):
        raise XbarError(f"{said}: sigma from {sigma.min():g} to {sigma.max():g} S; must be finite and >= 0")
    return sigma


def of_shape(said: str, found: Any, like: Siemens) -> Siemens:
    """Arrays that a law gave, as float64 of the shape of `like`; one number stands for all.

    Raises
    ------
    XbarError
        For another shape; `said` begins the message.
    """
    values = np.asarray(found, np.float64)
    if values.ndim == 0:
        return np.full_like(like, values)
    if values.shape != like.shape:
        raise XbarError(f"{said} has shape {values.shape}; must be {like.shape}, as conductances are")
    return values
