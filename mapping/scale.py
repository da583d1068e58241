"""The scale q that brings a layer's weights nearest to +-q times given levels, and the nearest levels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

EXACT_LIMIT = 8_000_000
_GRID = 512


def fit_scale(magnitudes: NDArray[np.float64], levels: NDArray[np.float64]) -> float:
    """Scale q that minimises sum_i min_l (|w_i| - q l)^2.

    For a fixed assignment of weights to levels the best q is <w, l>/<l, l> and the error is
    |w|^2 - <w, l>^2/<l, l>; assignments change only where q crosses |w_i| / midpoint. All of them are scanned
    (exact) while there are at most 8 million; beyond that, a grid of 512 scales, the best one
    polished by refitting (near the optimum, not proved).

    Parameters
    ----------
    magnitudes
        Absolute weights, shape (n,).
    levels
        Positive levels, ascending, shape (L,).

    Returns
    -------
    float
        The scale; 1 where there is no weight other than zero.
    """
    w = magnitudes[magnitudes > 0]
    if not len(w):
        return 1.0
    if len(levels) == 1:
        return float(magnitudes.mean() / levels[0])
    midpoints = (levels[1:] + levels[:-1]) / 2
    if len(w) * len(midpoints) <= EXACT_LIMIT:
        return _scan(w, levels, midpoints, len(magnitudes) - len(w))
    return _grid(w, levels, midpoints, len(magnitudes) - len(w))


def _scan(
    w: NDArray[np.float64], levels: NDArray[np.float64], midpoints: NDArray[np.float64], zeros: int
) -> float:
    """Every breakpoint in descending order of q, from all weights on the lowest level."""
    order = np.argsort(-(w[:, None] / midpoints[None, :]).ravel(), kind="stable")
    d_wl = (w[:, None] * np.diff(levels)[None, :]).ravel()[order]
    d_ll = np.broadcast_to(np.diff(levels**2), (len(w), len(midpoints))).ravel()[order]
    wl = levels[0] * w.sum() + np.concatenate([[0.0], np.cumsum(d_wl)])
    ll = levels[0] ** 2 * (len(w) + zeros) + np.concatenate([[0.0], np.cumsum(d_ll)])
    best = np.argmax(wl**2 / ll)
    return float(wl[best] / ll[best])


def _grid(
    w: NDArray[np.float64], levels: NDArray[np.float64], midpoints: NDArray[np.float64], zeros: int
) -> float:
    """Scales from a grid on a histogram of the weights, the best one polished on the weights themselves."""
    counts, edges = np.histogram(w, bins=1 << 14)
    centres = (edges[1:] + edges[:-1]) / 2

    def refit(q: float, x: NDArray[np.float64], c: NDArray[np.floating]) -> tuple[float, float]:
        value = levels[np.searchsorted(midpoints, x / q)]
        wl, ll = float((c * x * value).sum()), float((c * value**2).sum() + zeros * levels[0] ** 2)
        return wl / ll, wl**2 / ll

    top = w.max() / levels[-1]
    candidates = [refit(q, centres, counts) for q in top * np.geomspace(0.02, 1.5, _GRID)]
    q = max(candidates, key=lambda pair: pair[1])[0]
    for _ in range(20):
        before, (q, _) = q, refit(q, w, np.ones(1))
        if q == before:
            break
    return q


def nearest_levels(v: torch.Tensor, scale: float, levels: torch.Tensor) -> torch.Tensor:
    """Nearest of +-scale * levels to each entry of v; zero counts as positive."""
    midpoints = ((levels[1:] + levels[:-1]) / 2).to(v.dtype)
    values = levels.to(v.dtype)[torch.bucketize((v.abs() / scale).contiguous(), midpoints)]
    return torch.where(v < 0, -values, values) * scale
