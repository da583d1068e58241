"""Laws of a cell that are not part of xbar, as a user writes them in a file that a study names in
`extensions`: an error of a write, 1/f noise, noise of a read, and a current-voltage curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xbar import (
    CURRENT_LAWS,
    FLICKER_NOISES,
    READ_NOISES,
    WRITE_NOISES,
    CellCurrent,
    CellReadNoise,
    CurrentLaw,
    FlickerLaw,
    FlickerNoise,
    ReadLaw,
    Spread,
    WriteLaw,
    WriteNoise,
    XbarError,
)


@dataclass(frozen=True)
class SquareRoot(WriteNoise):
    """A deviation that grows with the root of the conductance, `sigma` [S] at g_max."""

    kind: str = "square-root"
    sigma: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma < 0:
            raise XbarError(f"programming.sigma = {self.sigma}: must be at least 0, in S")


class SquareRootLaw(WriteLaw):
    def spread(self, noise, device, target, time):
        return Spread(noise.sigma * np.sqrt(target / device.g_max))


@dataclass(frozen=True)
class FlickerAtMiddle(FlickerNoise):
    """1/f noise that is largest, `amplitude` [S], half way between g_min and g_max."""

    kind: str = "at-middle"
    amplitude: float = 0.0
    t_read: float = 1e-6


class FlickerAtMiddleLaw(FlickerLaw):
    def amplitude(self, noise, device, g, target):
        share = (g - device.g_min) / (device.g_max - device.g_min)
        return noise.amplitude * np.clip(4 * share * (1 - share), 0, 1)


@dataclass(frozen=True)
class Telegraph(CellReadNoise):
    """A deviation of all cells alike, `step` [S]."""

    kind: str = "telegraph"
    step: float = 0.0


class TelegraphLaw(ReadLaw):
    def sigma(self, noise, device, g):
        return noise.step / 2


@dataclass(frozen=True)
class Arctangent(CellCurrent):
    """f(V) = v_0 atan(V / v_0), which saturates."""

    kind: str = "arctangent"
    v_0: float = 1.0


class ArctangentLaw(CurrentLaw):
    def f(self, iv, v):
        return iv.v_0 * np.arctan(v / iv.v_0)

    def slope(self, iv, v):
        return 1 / (1 + (v / iv.v_0) ** 2)

    def spice(self, iv, volts):
        return f"{iv.v_0!r}*atan({volts}/{iv.v_0!r})"


WRITE_NOISES.add("square-root", SquareRoot, SquareRootLaw())
FLICKER_NOISES.add("at-middle", FlickerAtMiddle, FlickerAtMiddleLaw())
READ_NOISES.add("telegraph", Telegraph, TelegraphLaw())
CURRENT_LAWS.add("arctangent", Arctangent, ArctangentLaw())
