"""Scales of plain lists of weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapping.constraints.scale import fit_scales


def fit_scale(magnitudes: NDArray[np.floating], levels: NDArray[np.float64]) -> float:
    """The scale that `fit_scales` gives to one column."""
    return float(fit_scales(magnitudes.reshape(-1, 1), None, levels)[0])
