"""Scales of plain lists of weights."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mapping.constraints.fits import SortedColumns, columns_of, ternary_scales, window_scales
from mapping.constraints.scale import fit_scales


def fit_scale(magnitudes: NDArray[np.floating], levels: NDArray[np.float64]) -> float:
    """The scale that `fit_scales` gives to one column."""
    return float(fit_scales(magnitudes.reshape(-1, 1), None, levels)[0])


def fit_window(magnitudes: NDArray[np.floating], low: float, high: float) -> float:
    """The scale that `window_scales` gives to one column."""
    return float(window_scales(_column(magnitudes), low, high))


def fit_ternary(magnitudes: NDArray[np.floating]) -> float:
    """The scale that `ternary_scales` gives to one column."""
    return float(ternary_scales(_column(magnitudes)))


def _column(magnitudes: NDArray[np.floating]) -> SortedColumns:
    return columns_of(torch.from_numpy(magnitudes).reshape(-1, 1), None, "column")
