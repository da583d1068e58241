"""A relaxation and a drift that are not part of xbar, as a user writes them in a file that a study names in
`extensions`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xbar import DRIFTS, RELAXATIONS, AgingLaw, CellDrift, CellRelaxation, XbarError


@dataclass(frozen=True)
class ToTheMiddle(CellRelaxation):
    """Cells move to the middle of the window with a time constant `tau` [s], and spread by `sigma` [S]."""

    kind: str = "to-the-middle"
    tau: float = 1e4
    sigma: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau <= 0:
            raise XbarError(f"relaxation.tau = {self.tau}: must be above 0, in s")


class ToTheMiddleLaw(AgingLaw):
    def first_time(self, part):
        return 0.0

    def aged(self, part, device, g, target, xi, time):
        gone = 1 - np.exp(-time / part.tau)
        middle = (device.g_min + device.g_max) / 2
        return g + gone * ((middle - g) + part.sigma * xi)


@dataclass(frozen=True)
class Rise(CellDrift):
    """g (1 + slope (1 + spread xi) ln(t / t_start)), which rises where `slope` is above 0."""

    kind: str = "rise"
    t_start: float = 10.0
    slope: float = 0.0
    spread: float = 0.0


class RiseLaw(AgingLaw):
    def first_time(self, part):
        return part.t_start

    def aged(self, part, device, g, target, xi, time):
        return g * (1 + part.slope * (1 + part.spread * xi) * np.log(time / part.t_start))


RELAXATIONS.add("to-the-middle", ToTheMiddle, ToTheMiddleLaw())
DRIFTS.add("rise", Rise, RiseLaw())
