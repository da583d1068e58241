"""The level that is nearest to each weight, in one pass over the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xbar.machine.kernels import njit

FEW = 64
"""Thresholds that a row is compared with one after the other; among more, each weight is searched for."""


@njit(cache=True, nogil=True)
def nearest_states(
    w: NDArray[Any],
    scale: NDArray[np.float64],
    held: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    state: NDArray[np.int16],
) -> int:
    """State numbers of the levels nearest to w / scale, with the sign of w; 0 where none is held.

    On a threshold, the lower level is nearest. Shapes are (R, C), that of `thresholds` is (L - 1,).

    Returns
    -------
    The first place, row after row, whose scale is none for its weight, or -1.
    """
    rows, cols = w.shape
    q, number = np.empty(cols), np.empty(cols, np.int16)
    wrong = -1
    for i in range(rows):
        for c in range(cols):
            unit = np.float64(scale[i, c])
            right = (np.isfinite(unit) and unit > 0) or (unit == 0 and w[i, c] == 0)
            if wrong < 0 and held[i, c] and not right:
                wrong = i * cols + c
            q[c] = abs(np.float64(w[i, c])) / (unit if unit > 0 else 1.0)
        number[:] = 1
        if len(thresholds) <= FEW:
            for threshold in thresholds:
                for c in range(cols):
                    number[c] += q[c] > threshold
        else:
            for c in range(cols):
                number[c] += np.searchsorted(thresholds, q[c])
        for c in range(cols):
            signed = -number[c] if w[i, c] < 0 else number[c]
            state[i, c] = signed if held[i, c] else 0
    return wrong
