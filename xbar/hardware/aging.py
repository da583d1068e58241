"""Keys of what changes a cell's conductance between its write and its read: relaxation, and then drift.

The kinds of each are a registry. The keys of a kind are a frozen dataclass, and its law is an object that
says, with functions of arrays, what conductances have become. A law of one's own is one file: such a
dataclass, an `AgingLaw`, and the `add` of its registry. The laws that ship are in `xbar.conductances.aging`.
All quantities are SI (S, s).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from xbar.hardware.checks import STRICT, check_range, check_types
from xbar.hardware.errors import XbarError
from xbar.hardware.noise_kinds import Siemens, of_shape
from xbar.hardware.registry import ByKind, KeptTable, Registry

if TYPE_CHECKING:
    from xbar.hardware.device import Device

DRAWS = (-1.0, 0.0, 1.0)
"""Draws at which the change of a law is held against the window."""


class AgingLaw(ABC):
    """How the conductances of cells change with the time after the write, by one kind of relaxation or drift.

    A device's relaxation acts first, and its drift on what the relaxation left. Each has a standard normal
    draw of its own for each cell and chip, which stays the same at all times.
    """

    @abstractmethod
    def first_time(self, part: Any) -> float:
        """Earliest time after the write [s] that the law describes; no earlier read is allowed."""

    @abstractmethod
    def aged(
        self, part: Any, device: Device, g: Siemens, target: Siemens, xi: Siemens, time: float
    ) -> Siemens:
        """Conductances [S] at a `time` [s] after the write.

        Parameters
        ----------
        part
            The keys.
        g
            Conductances before the law acts [S], any shape; relaxation may have taken some below 0.
        target
            What the cells were written to [S]; same shape.
        xi
            The cells' draws; same shape.
        """

    def compiled(
        self, part: Any, device: Device, target: Siemens, time: float
    ) -> tuple[Siemens, Siemens] | None:
        """Mean m and standard deviation s by target, shape (T,), in the form that the compiled kernel has:
        ``g + m + s xi`` [S] for a relaxation, ``g exp(-|m + s xi|)`` for a drift. None: the law has another
        form, and `aged` is called."""
        return None

    def changes(self, part: Any, device: Device, g: Siemens) -> list[tuple[str, object, float]]:
        """Key, value and largest change [S] of cells of conductance `g` [S] until e times the first time, or
        e s where that is below 1 s.

        The window of the device must be larger (`Device.noise_beyond_window`).
        """
        time = math.e * max(first_time(part), 1.0)
        ends = [aged(part, device, g, g, np.full_like(g, xi), time) for xi in DRAWS]
        return [("kind", part.kind, float(np.max(np.abs(np.subtract(ends, g)))))]


RELAXATIONS: Registry[AgingLaw] = Registry("kind of relaxation", tagged=True)
"""Laws of relaxation, by kind."""

DRIFTS: Registry[AgingLaw] = Registry("kind of drift", tagged=True)
"""Laws of drift, by kind."""


@dataclass(frozen=True)
class Aging:
    """Key of a change with time, whatever its kind."""

    __pydantic_config__: ClassVar = STRICT
    registry: ClassVar[Registry[AgingLaw]]
    at: ClassVar[str]
    kind: str = field(kw_only=True)

    def __post_init__(self) -> None:
        check_types(self, f"{self.at}.")
        self.registry.check(self, self.at)

    @property
    def law(self) -> AgingLaw:
        """The law by which conductances change."""
        return self.registry.handler(self)


@dataclass(frozen=True)
class CellRelaxation(Aging):
    """Key that relaxation has, whatever its kind; a device that relaxes is clamped to its window when it is
    read, after 1/f noise.

    Parameters
    ----------
    kind
        One of `RELAXATIONS`.
    """

    registry = RELAXATIONS
    at = "relaxation"
    kind: str = field(default="log", kw_only=True)


@dataclass(frozen=True)
class Relaxation(CellRelaxation):
    """g(t) = g + a ln t + (b ln t + c) xi for t >= 1 s; xi drawn once a cell and chip.

    Parameters
    ----------
    mean
        a [S].
    sigma, sigma_0
        b and c [S].
    """

    __pydantic_config__: ClassVar = STRICT
    mean: float = 0.0
    sigma: float = 0.0
    sigma_0: float = 0.0
    kind: Literal["log"] = field(default="log", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("relaxation.mean", self.mean, -1, 1, "S")
        check_range("relaxation.sigma", self.sigma, 0, 1, "S")
        check_range("relaxation.sigma_0", self.sigma_0, 0, 1, "S")

    def plain(self) -> dict[str, Any]:
        """Keys of a file; the kind of a table that names none is this one."""
        return {"mean": self.mean, "sigma": self.sigma, "sigma_0": self.sigma_0}


@dataclass(frozen=True)
class LogClamp:
    """clamp(slope ln(g / g_max) + intercept, low, high) of a target conductance g."""

    __pydantic_config__: ClassVar = STRICT
    intercept: float
    slope: float = 0.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_types(self, "drift.")
        check_range("drift: intercept", self.intercept, -10, 10)
        check_range("drift: slope", self.slope, -10, 10)
        check_range("drift: low", self.low, 0, 10)
        check_range("drift: high", self.high, self.low, 10)
        if self.slope == 0 and not self.low <= self.intercept <= self.high:
            raise XbarError(
                f"drift: intercept = {self.intercept}: lies outside low = {self.low:g} to "
                f"high = {self.high:g}, to which it would be clamped"
            )

    def __call__(self, ratio: NDArray[np.float64]) -> NDArray[np.float64]:
        """Value at g / g_max, any shape; at 0 the limit."""
        value = self.intercept + self.slope * np.log(np.maximum(ratio, 1e-300))
        return np.asarray(np.clip(value, self.low, self.high))


@dataclass(frozen=True)
class CellDrift(Aging):
    """Key that drift has, whatever its kind.

    Parameters
    ----------
    kind
        One of `DRIFTS`.
    """

    registry = DRIFTS
    at = "drift"
    kind: str = field(default="power", kw_only=True)


@dataclass(frozen=True)
class Drift(CellDrift):
    """g(t) = g(t0) (t/t0)^-nu, with `nu = |mean(g) + sigma(g) xi|` drawn once a cell and chip.

    Parameters
    ----------
    t0
        Time after the write at which the cell has its programmed conductance [s]; no earlier one is allowed.
    nu, nu_sigma
        Mean and standard deviation of the exponent by target conductance.
    """

    __pydantic_config__: ClassVar = STRICT
    t0: float
    nu: LogClamp
    nu_sigma: LogClamp = LogClamp(0.0)
    kind: Literal["power"] = field(default="power", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("drift.t0", self.t0, 1e-9, 1e12, "s")

    def plain(self) -> dict[str, Any]:
        """Keys of a file; the kind of a table that names none is this one."""
        return {"t0": self.t0, "nu": self.nu, "nu_sigma": self.nu_sigma}


def first_time(part: Aging) -> float:
    """Earliest time after the write [s] that a relaxation or a drift describes.

    Raises
    ------
    XbarError
        For a law that gives no time.
    """
    with part.registry.guarded(part):
        found = part.law.first_time(part)
        said = f"device.{part.at}.kind = {part.kind!r}: the first time of its law"
        check_range(said, found, 0, 1e12, "s")
        return float(found)


def aged(part: Aging, device: Device, g: Siemens, target: Siemens, xi: Siemens, time: float) -> Siemens:
    """Conductances [S] after a relaxation or a drift; arguments are those of `AgingLaw.aged`.

    Raises
    ------
    XbarError
        For a law that gives no conductances.
    """
    with part.registry.guarded(part):
        said = f"device.{part.at}.kind = {part.kind!r}: its law"
        found = of_shape(said, part.law.aged(part, device, g, target, xi, time), g)
        if not np.isfinite(found).all():
            raise XbarError(f"{said}: a conductance that is not finite at {time:g} s")
        return found


def compiled_form(
    part: Aging, device: Device, target: Siemens, time: float
) -> tuple[Siemens, Siemens] | None:
    """Tables of `AgingLaw.compiled`, which are read without a look at their length.

    Raises
    ------
    XbarError
        For tables of another shape.
    """
    with part.registry.guarded(part):
        found = part.law.compiled(part, device, target, time)
        if found is None:
            return None
        said = f"device.{part.at}.kind = {part.kind!r}: its compiled form"
        mean, sigma = (of_shape(said, table, target) for table in found)
        return mean, sigma


RELAXATIONS.add("log", Relaxation, "xbar.conductances.aging:LOG")
DRIFTS.add("power", Drift, "xbar.conductances.aging:POWER")


@dataclass(frozen=True)
class KeptRelaxation(KeptTable, CellRelaxation):
    """The table of a relaxation whose file is not there."""


@dataclass(frozen=True)
class KeptDrift(KeptTable, CellDrift):
    """The table of a drift whose file is not there."""


AnyRelaxation = Annotated[CellRelaxation, ByKind(RELAXATIONS, "log", KeptRelaxation)]
"""A relaxation of any kind, in a field that files are read into."""

AnyDrift = Annotated[CellDrift, ByKind(DRIFTS, "power", KeptDrift)]
"""A drift of any kind, in a field that files are read into."""

__all__ = [
    "DRIFTS",
    "RELAXATIONS",
    "Aging",
    "AgingLaw",
    "CellDrift",
    "CellRelaxation",
    "Drift",
    "LogClamp",
    "Relaxation",
    "aged",
    "compiled_form",
    "first_time",
]
