"""Current-voltage law of a cell, separable: I = g f(V), one f for all cells of an array, with f'(0) = 1.

Forms: ohmic f(V) = V; f(V) = sinh(alpha V) / alpha, the voltage dependence of the Stanford/ASU model (Panda
et al., Nanoscale Res. Lett. 13:8, 2018, doi 10.1186/s11671-017-2419-8, table 3, with alpha = 1 / V_0);
f(V) = V + c2 V^2 + c3 V^3. Positive V goes from the word line to the bit line.

A law of one's own is one file: a frozen dataclass that derives from `CellCurrent`, its keys, a `CurrentLaw`,
and `CURRENT_LAWS.add`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from xbar.hardware.checks import STRICT, check_range, check_types
from xbar.hardware.errors import XbarError
from xbar.hardware.registry import ByKind, KeptTable, Registry

LARGEST_EXPONENT = 50.0
"""Largest alpha |V|; sinh is 2.6e21 there, far beyond any cell."""
POINTS = 1001
"""Cell voltages at which a law is looked at whose increase no formula says."""
SLOPE_AT_ZERO = 1e-3
"""Largest error of f'(0) = 1, of a law that divides by small voltages there, say."""
FROM_SLOPES = 0.02
"""Largest error of f as the sum of its slopes, relative to the largest |f|; the trapezium rule has a tenth of
it for sinh(50 V)."""


@dataclass(frozen=True)
class CellCurrent:
    """Keys that the shape of a cell's current-voltage curve has, whatever its kind.

    Parameters
    ----------
    kind
        One of `CURRENT_LAWS`.
    g_at
        Where g is the cell's conductance: ``zero``, I = g f(V), so that g = dI/dV at V = 0; ``read``,
        I = g f(V) v_read / f(v_read), so that g = I/V at the read voltage.

    Raises
    ------
    XbarError
        For a key that is out of range, or without effect with its kind.
    """

    __pydantic_config__: ClassVar = STRICT
    kind: str
    g_at: Literal["zero", "read"] = field(default="zero", kw_only=True)

    def __post_init__(self) -> None:
        check_types(self, "iv.")
        CURRENT_LAWS.check(self, "iv")

    @property
    def law(self) -> CurrentLaw:
        """The law by which the current follows from the voltage."""
        return CURRENT_LAWS.handler(self)


class CurrentLaw(ABC):
    """How the current of the cells of one kind follows from their voltage: I = g f(V).

    The functions take and give float64 arrays of any shape. Newton's method for cells behind wires calls them
    between its compiled steps.
    """

    @abstractmethod
    def f(self, iv: Any, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Current over conductance f(V) [V] at cell voltages [V]; f(0) = 0 and f'(0) = 1."""

    @abstractmethod
    def slope(self, iv: Any, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivative f'(V)."""

    def check_increasing(self, iv: Any, v_max: float) -> None:
        """Refuse a law that does not increase strictly from -`v_max` to `v_max` [V].

        Here f is looked at 1,001 voltages, and held against its slopes.

        Raises
        ------
        XbarError
            With the voltage at which the slope is not positive, or the law contradicts itself.
        """
        said, v = f"iv.kind = {iv.kind!r}", np.linspace(-v_max, v_max, POINTS)
        with CURRENT_LAWS.guarded(iv):
            f, slope = np.asarray(self.f(iv, v)), np.asarray(self.slope(iv, v))
        for name, found in (("f", f), ("slope", slope)):
            if found.shape != v.shape:
                raise XbarError(f"{said}: its {name} has shape {found.shape}; must be {v.shape}, as V is")
            if not np.isfinite(found).all():
                first = v[~np.isfinite(found)][0]
                raise XbarError(
                    f"{said}: its {name} at {first:g} V is not finite; cells here see +-{v_max:g} V"
                )
        if not slope.min() > 0:
            worst = int(slope.argmin())
            raise XbarError(_falls(said, slope[worst], v[worst], v_max))
        at_zero = float(slope[POINTS // 2])
        if abs(at_zero - 1) > SLOPE_AT_ZERO:
            raise XbarError(
                f"{said}: its slope at 0 V is {at_zero:g}; must be 1, so that g is the conductance there"
            )
        summed = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(v))])
        summed -= summed[POINTS // 2]
        error = float(np.abs(f - summed).max() / np.abs(summed).max()) if v_max > 0 else 0.0
        if error > FROM_SLOPES:
            raise XbarError(
                f"{said}: its f and the sum of its slopes from 0 V differ by {100 * error:.2g} % of the "
                f"largest current within +-{v_max:g} V; f must be 0 at 0 V, and slope its derivative"
            )

    def spice(self, iv: Any, volts: str) -> str:
        """The form f(V) as an expression of ngspice, `volts` that of the cell voltage.

        Raises
        ------
        XbarError
            Where the law has none.
        """
        raise XbarError(
            f"iv.kind = {iv.kind!r}: has no form for SPICE; give its CurrentLaw the method spice(iv, volts)"
        )

    def words(self, iv: Any) -> str:
        """The form f(V) in words of mathematics, with its parameters."""
        return f"that of {iv.kind!r}"


CURRENT_LAWS: Registry[CurrentLaw] = Registry("I-V law", tagged=True)
"""Current-voltage laws of cells, by kind."""


@dataclass(frozen=True)
class IV(CellCurrent):
    """Shape of a cell's current-voltage curve, of the laws that ship.

    Parameters
    ----------
    kind
        ``ohmic``; ``sinh``: sinh(alpha V) / alpha; ``polynomial``: V + c2 V^2 + c3 V^3. Whether a polynomial
        increases is checked where voltages are known, by `check_increasing`.
    alpha
        Sinh only [1/V].
    c2, c3
        Polynomial only [1/V], [1/V^2].
    g_at
        Where g is the cell's conductance, as `CellCurrent`.

    Raises
    ------
    XbarError
        For a parameter out of range, missing, or without effect with its kind.
    """

    __pydantic_config__: ClassVar = STRICT
    kind: Literal["ohmic", "sinh", "polynomial"] = "ohmic"
    alpha: float = 0.0
    c2: float = 0.0
    c3: float = 0.0

    def __post_init__(self) -> None:
        check_types(self, "iv.")
        for key, unit in (("c2", "1/V"), ("c3", "1/V^2")):
            check_range(f"iv.{key}", getattr(self, key), -1e6, 1e6, unit)
        check_range("iv.alpha", self.alpha, 0, 1e3, "1/V")
        if self.kind == "sinh" and self.alpha < 1e-9:
            raise XbarError(
                f"iv.alpha = {self.alpha}: iv.kind = 'sinh' needs alpha >= 1e-9 1/V; "
                "a straight line is 'ohmic'"
            )
        if self.kind == "polynomial" and self.c2 == 0 and self.c3 == 0:
            raise XbarError("iv.c2 = iv.c3 = 0 with iv.kind = 'polynomial': a straight line is 'ohmic'")
        for key, kind in (("alpha", "sinh"), ("c2", "polynomial"), ("c3", "polynomial")):
            if self.kind != kind and getattr(self, key) != 0:
                raise XbarError(
                    f"iv.{key} = {getattr(self, key)}: has no effect with iv.kind = {self.kind!r}; "
                    f"only with {kind!r}"
                )
        if self.kind == "ohmic" and self.g_at == "read":
            raise XbarError(
                "iv.g_at = 'read': has no effect with iv.kind = 'ohmic'; only with 'sinh' or 'polynomial'"
            )


class Ohmic(CurrentLaw):
    """f(V) = V."""

    def f(self, iv: IV, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `CurrentLaw.f`."""
        return v

    def slope(self, iv: IV, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `CurrentLaw.slope`."""
        return np.ones_like(v)

    def check_increasing(self, iv: IV, v_max: float) -> None:
        """It always does."""

    def spice(self, iv: IV, volts: str) -> str:
        """See `CurrentLaw.spice`."""
        return volts

    def words(self, iv: IV) -> str:
        """See `CurrentLaw.words`."""
        return "V"


class Sinh(CurrentLaw):
    """f(V) = sinh(alpha V) / alpha."""

    def f(self, iv: IV, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `CurrentLaw.f`."""
        return np.asarray(np.sinh(iv.alpha * v) / iv.alpha)

    def slope(self, iv: IV, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `CurrentLaw.slope`."""
        return np.asarray(np.cosh(iv.alpha * v))

    def check_increasing(self, iv: IV, v_max: float) -> None:
        """It always does; refuse alpha V beyond 50."""
        if iv.alpha * v_max > LARGEST_EXPONENT:
            raise XbarError(
                f"iv.alpha = {iv.alpha} with cell voltages up to {v_max:g} V: alpha V must not exceed "
                f"{LARGEST_EXPONENT:g}"
            )

    def spice(self, iv: IV, volts: str) -> str:
        """See `CurrentLaw.spice`."""
        return f"sinh({iv.alpha!r}*{volts})/{iv.alpha!r}"

    def words(self, iv: IV) -> str:
        """See `CurrentLaw.words`."""
        return f"sinh(alpha V) / alpha, alpha = {iv.alpha:g} / V"


class Cubic(CurrentLaw):
    """f(V) = V + c2 V^2 + c3 V^3."""

    def f(self, iv: IV, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `CurrentLaw.f`."""
        return v * (1 + v * (iv.c2 + v * iv.c3))

    def slope(self, iv: IV, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `CurrentLaw.slope`."""
        return 1 + v * (2 * iv.c2 + v * (3 * iv.c3))

    def check_increasing(self, iv: IV, v_max: float) -> None:
        """The slope 1 + 2 c2 V + 3 c3 V^2 is least at an end of the range or at V = -c2 / (3 c3)."""
        points = [-v_max, v_max]
        if iv.c3 > 0 and abs(iv.c2) < 3 * iv.c3 * v_max:
            points.append(-iv.c2 / (3 * iv.c3))
        slope, worst = min((1 + v * (2 * iv.c2 + 3 * iv.c3 * v), v) for v in points)
        if not slope > 0:
            raise XbarError(_falls(f"iv.c2 = {iv.c2}, iv.c3 = {iv.c3}", slope, worst, v_max))

    def spice(self, iv: IV, volts: str) -> str:
        """See `CurrentLaw.spice`."""
        return f"{volts}*(1+{volts}*(({iv.c2!r})+({iv.c3!r})*{volts}))"

    def words(self, iv: IV) -> str:
        """See `CurrentLaw.words`."""
        return f"V + c2 V^2 + c3 V^3, c2 = {iv.c2:g} / V, c3 = {iv.c3:g} / V^2"


def _falls(said: str, slope: float, at: float, v_max: float) -> str:
    return (
        f"{said}: the current must increase with the voltage, its slope at {at:g} V is {slope:g} g; cells "
        f"here see up to +-{v_max:g} V"
    )


def current_per_siemens(
    iv: CellCurrent, v: NDArray[np.float64], v_read: float | None = None
) -> NDArray[np.float64]:
    """Current of a cell over its conductance, I / g [V], for cell voltages of any shape.

    Parameters
    ----------
    v
        Voltage over the cell [V].
    v_read
        Read voltage [V]; needed where ``iv.g_at = "read"``, unused elsewhere.

    Raises
    ------
    XbarError
        For a missing read voltage, or one at which f is not positive.
    """
    with CURRENT_LAWS.guarded(iv):
        return iv.law.f(iv, v) * scale_of(iv, v_read)


def slope_per_siemens(
    iv: CellCurrent, v: NDArray[np.float64], v_read: float | None = None
) -> NDArray[np.float64]:
    """Derivative of `current_per_siemens` by the cell voltage [1], same arguments and errors."""
    with CURRENT_LAWS.guarded(iv):
        return iv.law.slope(iv, v) * scale_of(iv, v_read)


def check_increasing(iv: CellCurrent, v_max: float) -> None:
    """Refuse a law that does not increase strictly from -`v_max` to `v_max` [V].

    Raises
    ------
    XbarError
        With the voltage at which the slope is not positive, or where alpha `v_max` exceeds 50.
    """
    iv.law.check_increasing(iv, v_max)


def scale_of(iv: CellCurrent, v_read: float | None = None) -> float:
    """I / (g f(V)): 1, or v_read / f(v_read) where g is the conductance at the read voltage [V].

    Raises
    ------
    XbarError
        As `current_per_siemens`.
    """
    if iv.g_at == "zero":
        return 1.0
    if v_read is None or not (math.isfinite(v_read) and v_read > 0):
        raise XbarError(f"v_read = {v_read}: iv.g_at = 'read' needs a read voltage above 0, in V")
    check_increasing(iv, v_read)
    return float(v_read / iv.law.f(iv, np.asarray(v_read, float)))


for _kind, _law in {"ohmic": Ohmic(), "sinh": Sinh(), "polynomial": Cubic()}.items():
    CURRENT_LAWS.add(_kind, IV, _law)


@dataclass(frozen=True)
class KeptCurrent(KeptTable, CellCurrent):
    """The table of a law whose file is not there."""


AnyCurrent = Annotated[CellCurrent, ByKind(CURRENT_LAWS, "ohmic", KeptCurrent)]
"""An I-V law of any kind, in a field that files are read into."""


__all__ = [
    "CURRENT_LAWS",
    "IV",
    "CellCurrent",
    "CurrentLaw",
    "check_increasing",
    "current_per_siemens",
    "scale_of",
    "slope_per_siemens",
]
