"""Values that each unmasked weight may take, up to a scale fitted to the layer or to each column; masked ones
are zero."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import numpy as np
import torch

from mapping.constraints.fits import (
    columns_of,
    fit_levels,
    nearest_levels,
    ternary_scales,
    to_all,
    window_scales,
)
from mapping.constraints.scale import EXACT_LEVELS, Per
from mapping.network.gemm import check_finite_weights
from xbar.hardware.checks import check_range, check_whole
from xbar.hardware.errors import XbarError, unknown_name

_ROUNDING = 1e-9
"""Of a level relative to the highest."""

Fitted = torch.Tensor
"""Scales (N,) or values, float64, on the device of the weights."""

Hold = Callable[[torch.Tensor], torch.Tensor]
"""Takes weights (K, N) to the nearest ones of a set that have the choices of one of its points."""


class Values(ABC):
    """Values that a weight may take once something (scales of the columns, centroids) has been fitted.

    A `mapping.constraints.constraint.Constraint`. `mask`, bool (K, N), says which weights stay; None: all.
    """

    mask: torch.Tensor | None

    @property
    @abstractmethod
    def exact(self) -> bool:
        """See `mapping.constraints.constraint.Constraint.exact`."""

    @property
    @abstractmethod
    def fixed(self) -> bool:
        """Whether nothing is fitted: the values are the same for every layer."""

    @abstractmethod
    def fit(self, v: torch.Tensor) -> Fitted:
        """Fit the values to the unmasked weights with the least squared error."""

    @abstractmethod
    def nearest(self, v: torch.Tensor, fitted: Fitted) -> torch.Tensor:
        """Nearest value to each weight, masked or not."""

    def scales(self, fitted: Fitted, columns: int) -> Fitted:
        """Scale of each column (N,), of values that are levels times a scale."""
        return fitted

    def project_with(self, v: torch.Tensor, fitted: Fitted) -> torch.Tensor:
        """Nearest point with what was fitted before, such as a scale."""
        z = self.nearest(v, fitted)
        return z if self.mask is None else torch.where(self.mask.to(z.device), z, 0.0)

    def project(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `mapping.constraints.constraint.Constraint.project`."""
        check_finite_weights(v)
        every = torch.ones(v.shape, dtype=torch.bool, device=v.device)
        mask = every if self.mask is None else self.mask.to(v.device)
        return self.project_with(v, self.fit(v)), mask


@dataclass(frozen=True, eq=False)
class Levels(Values):
    """Unmasked weights lie on +-scale times given levels; masked ones are zero.

    One level is binary with scale: the best one is mean `|w|` over the unmasked weights (XNOR-Net, one a
    column, arXiv:1603.05279).

    Parameters
    ----------
    values
        Positive levels, ascending, shape (L,), as a tensor, an array or a list: `equal_levels`,
        `power_levels`, or those of an encoding (`xbar.conductances.encoding.levels`). Zero is not among them.
    mask
        Weights that stay (K, N); None: all.
    scale
        None: fitted.
    per
        What a scale is fitted to: the ``layer``, or each ``column``, as `encoding.scale` has it.

    Raises
    ------
    XbarError
        For levels that are not positive and ascending, a scale that is not positive, or another `per`.
    """

    values: torch.Tensor
    mask: torch.Tensor | None = None
    scale: float | None = None
    per: Per = "layer"

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _as_tensor(self.values))
        steps = torch.diff(self.values, prepend=self.values.new_zeros(1)) if self.values.ndim == 1 else None
        if steps is None or not len(steps) or not (steps[0] > 0 and (steps >= 0).all()):
            raise XbarError("levels: must be a list of positive numbers, ascending, without zero")
        check_mask(self.mask)
        _check_scale(self.scale, self.per)

    @property
    def exact(self) -> bool:
        """Whether the scale is given, or the search for it always ends (`scale.fit_scales`)."""
        return self.fixed or len(self.values) <= EXACT_LEVELS

    @property
    def fixed(self) -> bool:
        """See `Values.fixed`."""
        return self.scale is not None

    def fit(self, v: torch.Tensor) -> Fitted:
        """Scales of least squared error on the unmasked weights, shape (N,)."""
        if self.scale is not None:
            return _given(self.scale, v)
        return fit_levels(v, self.mask, self.values, self.per)

    def nearest(self, v: torch.Tensor, fitted: Fitted) -> torch.Tensor:
        """See `Values.nearest`."""
        return nearest_levels(v, fitted, self.values)


@dataclass(frozen=True, eq=False)
class Window(Values):
    """Magnitudes of unmasked weights lie in scale * [low, high], signs stay; masked ones are zero. Exact.

    The window of conductances: [g_min, g_max] where idle cells are unformed, [0, g_max - g_min] where they
    sit at g_min.

    Parameters
    ----------
    low, high
        0 <= low <= high, high > 0.
    mask
        Weights that stay (K, N); None: all.
    scale
        None: fitted, the smallest of the best ones.
    per
        What a scale is fitted to, as in `Levels`.

    Raises
    ------
    XbarError
        For a window or a scale out of range, or another `per`.
    """

    low: float
    high: float
    mask: torch.Tensor | None = None
    scale: float | None = None
    per: Per = "layer"
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_range("high of a window", self.high, 1e-30, 1e30)
        check_range("low of a window", self.low, 0, self.high)
        check_mask(self.mask)
        _check_scale(self.scale, self.per)

    @property
    def fixed(self) -> bool:
        """See `Values.fixed`."""
        return self.scale is not None

    def fit(self, v: torch.Tensor) -> Fitted:
        """Scales of least squared error on the unmasked weights, shape (N,)."""
        if self.scale is not None:
            return _given(self.scale, v)
        return to_all(window_scales(columns_of(v, self.mask, self.per), self.low, self.high), v)

    def nearest(self, v: torch.Tensor, fitted: Fitted) -> torch.Tensor:
        """See `Values.nearest`; zero counts as positive."""
        q = fitted.to(v.dtype)
        magnitudes = v.abs().clamp(q * self.low, q * self.high)
        return torch.where(v < 0, -magnitudes, magnitudes)

    def held(self, z: torch.Tensor, inner: Hold) -> Hold:
        """See `Lasting.held`; the scale stays."""
        scale = dataclasses.replace(self, mask=z != 0).fit(z)
        return lambda w: self.nearest(inner(w), scale)

    def on_levels(self, levels: Values, z: torch.Tensor) -> Values:
        """See `Lasting.on_levels`: those from `low` to `high`, as shares of the
        highest level, whose weight is the scale of the window then.

        Exact, as the levels are: what is left are levels.
        """
        if not isinstance(levels, Levels):
            raise XbarError("a window needs the levels of cells; here they are free")
        if self.per == "layer" and levels.per == "column":
            raise XbarError(
                "one window for the layer (per = 'layer') needs encoding.scale = 'layer'; with a scale for "
                "each column, per = 'column'"
            )
        shares = levels.values / levels.values[-1]
        inside = (shares >= self.low * (1 - _ROUNDING)) & (shares <= self.high * (1 + _ROUNDING))
        if not inside.any():
            told = ", ".join(f"{share:.3g}" for share in shares[:8].tolist())
            more = f", ... {len(shares)} in all" if len(shares) > 8 else ""
            raise XbarError(
                f"no level of the cells lies in the window {self.low:g} to {self.high:g} of the highest; "
                f"they are at {told}{more}"
            )
        return dataclasses.replace(levels, values=levels.values[inside])


@dataclass(frozen=True, eq=False)
class Ternary:
    """Weights are -q, 0 or q, with q fitted to the layer or to each column. Exact.

    Those that become zero are pruned: they leave the mask (ternary weight networks, arXiv:1605.04711, with
    the threshold found by sorting in place of their approximation).

    Parameters
    ----------
    mask
        Weights that may stay (K, N); None: all.
    per
        What a q is fitted to, as in `Levels`.

    Raises
    ------
    XbarError
        For another `per`.
    """

    mask: torch.Tensor | None = None
    per: Per = "layer"
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_mask(self.mask)
        _check_scale(None, self.per)

    def fit(self, v: torch.Tensor) -> Fitted:
        """q of least squared error, shape (N,)."""
        return to_all(ternary_scales(columns_of(v, self.mask, self.per)), v)

    def project(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `mapping.constraints.constraint.Constraint.project`."""
        check_finite_weights(v)
        scale = self.fit(v).to(v.dtype)
        stays = v.abs() > scale / 2
        if self.mask is not None:
            stays &= self.mask.to(v.device)
        return torch.where(stays, v.sign() * scale, 0.0), stays


def equal_levels(count: int) -> torch.Tensor:
    """1, 2, ..., count: for +-{1..M} q (ADMM-NN, arXiv:1812.11677). One level is binary.

    Raises
    ------
    XbarError
        For a count outside 1 ... 65536.
    """
    check_range("levels of one sign", count, 1, 1 << 16)
    return torch.arange(1, count + 1, dtype=torch.float64)


def levels_of_width(bits: int, mask: torch.Tensor | None = None) -> Levels:
    """Levels +-{1, 2, ..., 2^(bits - 1)} q of weights of so many bits, signs included.

    Raises
    ------
    XbarError
        For bits outside 1 ... 16.
    """
    check_whole("bits of a weight", bits, 1, 16)
    return Levels(equal_levels(2 ** (bits - 1)), mask)


def power_levels(count: int) -> torch.Tensor:
    """1, 2, 4, ..., 2^(count - 1): for powers of two times a scale.

    Raises
    ------
    XbarError
        For a count outside 1 ... 64.
    """
    check_range("levels of one sign", count, 1, 64)
    return torch.arange(count, dtype=torch.float64).exp2()


def _as_tensor(values: Any) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values
    try:
        return torch.tensor(np.asarray(values, np.float64))
    except (TypeError, ValueError):
        raise XbarError(f"levels: a {type(values).__name__}; must be a list of positive numbers") from None


def check_mask(mask: Any) -> None:
    """Refuse what is no mask of weights.

    Raises
    ------
    XbarError
        For another type than a tensor of bool, or None.
    """
    if mask is not None and not (isinstance(mask, torch.Tensor) and mask.dtype == torch.bool):
        kind = str(mask.dtype) if isinstance(mask, torch.Tensor) else f"a {type(mask).__name__}"
        raise XbarError(f"mask: {kind}; must be a torch.Tensor of bool, true where a weight stays")


def _given(scale: float, v: torch.Tensor) -> torch.Tensor:
    """A given scale for each column of weights (K, N)."""
    return torch.full((v.shape[-1],), scale, dtype=torch.float64, device=v.device)


def _check_scale(scale: float | None, per: str) -> None:
    if per not in get_args(Per):
        raise unknown_name("per", str(per), get_args(Per))
    if scale is not None:
        check_range("scale", scale, 1e-30, 1e30)
