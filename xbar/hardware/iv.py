"""Current-voltage law of a cell, separable: I = g f(V), one f for all cells of an array.

Forms: ohmic f(V) = V; f(V) = sinh(alpha V) / alpha, the voltage dependence of the Stanford/ASU model (Panda
et al., Nanoscale Res. Lett. 13:8, 2018, doi 10.1186/s11671-017-2419-8, table 3, with alpha = 1 / V_0);
f(V) = V + c2 V^2 + c3 V^3. Positive V goes from the word line to the bit line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from xbar.hardware.checks import STRICT, check_range, check_types
from xbar.hardware.errors import XbarError

LARGEST_EXPONENT = 50.0
"""V|: sinh is 2.6e21 there, far beyond any cell.|Largest alpha |V|; sinh is 2.6e21 there, far beyond any
cell.|V|: sinh is 2.6e21 there, far beyond any cell."""


@dataclass(frozen=True)
class IV:
    """Shape of a cell's current-voltage curve.

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
        Where g is the cell's conductance: ``zero``, I = g f(V), so that g = dI/dV at V = 0; ``read``,
        I = g f(V) v_read / f(v_read), so that g = I/V at the read voltage.

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
    g_at: Literal["zero", "read"] = "zero"

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


def current_per_siemens(iv: IV, v: NDArray[np.float64], v_read: float | None = None) -> NDArray[np.float64]:
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
    return _f(iv, v) * _scale(iv, v_read)


def slope_per_siemens(iv: IV, v: NDArray[np.float64], v_read: float | None = None) -> NDArray[np.float64]:
    """Derivative of `current_per_siemens` by the cell voltage [1], same arguments and errors."""
    if iv.kind == "ohmic":
        slope = np.ones_like(v)
    elif iv.kind == "sinh":
        slope = np.cosh(iv.alpha * v)
    else:
        slope = 1 + v * (2 * iv.c2 + v * (3 * iv.c3))
    return slope * _scale(iv, v_read)


def check_increasing(iv: IV, v_max: float) -> None:
    """Refuse a law that does not increase strictly for |V| <= `v_max` [V].

    A polynomial's slope 1 + 2 c2 V + 3 c3 V^2 is least at an end of the range or at V = -c2 / (3 c3).

    Raises
    ------
    XbarError
        With the voltage at which the slope is not positive, or where alpha `v_max` exceeds 50.
    """
    if iv.kind == "sinh" and iv.alpha * v_max > LARGEST_EXPONENT:
        raise XbarError(
            f"iv.alpha = {iv.alpha} with cell voltages up to {v_max:g} V: alpha V must not exceed "
            f"{LARGEST_EXPONENT:g}"
        )
    if iv.kind == "polynomial":
        points = [-v_max, v_max]
        if iv.c3 > 0 and abs(iv.c2) < 3 * iv.c3 * v_max:
            points.append(-iv.c2 / (3 * iv.c3))
        slope, worst = min((1 + v * (2 * iv.c2 + 3 * iv.c3 * v), v) for v in points)
        if not slope > 0:
            raise XbarError(
                f"iv.c2 = {iv.c2}, iv.c3 = {iv.c3}: the current must increase with the voltage, its slope "
                f"at {worst:g} V is {slope:g} g; cells here see up to +-{v_max:g} V"
            )


def _f(iv: IV, v: NDArray[np.float64]) -> NDArray[np.float64]:
    if iv.kind == "ohmic":
        return v
    if iv.kind == "sinh":
        current: NDArray[np.float64] = np.sinh(iv.alpha * v) / iv.alpha
        return current
    return v * (1 + v * (iv.c2 + v * iv.c3))


def _scale(iv: IV, v_read: float | None) -> float:
    if iv.g_at == "zero":
        return 1.0
    if v_read is None or not (math.isfinite(v_read) and v_read > 0):
        raise XbarError(f"v_read = {v_read}: iv.g_at = 'read' needs a read voltage above 0, in V")
    check_increasing(iv, v_read)
    return float(v_read / _f(iv, np.asarray(v_read, float)))


__all__ = ["IV", "check_increasing", "current_per_siemens", "slope_per_siemens"]
