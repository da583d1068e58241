"""Scales that bring a layer's weights nearest to levels, a window or -1, 0, 1; and the nearest levels."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import torch
from numpy.typing import NDArray

EXACT_LEVELS = 64
"""Levels up to which the search for the best scale always ends."""

_FIRST_CUTS = 256
_CUTS = 4
_TIE = 1e-13
_MOST_SEARCHES = 1 << 23


def fit_scale(magnitudes: NDArray[np.floating], levels: NDArray[np.float64]) -> float:
    """Scale q that minimises sum_i min_l (|w_i| - q l)^2.

    For a fixed assignment of weights to levels the best q is <w, l>/<l, l> and the error is
    |w|^2 - <w, l>^2/<l, l>; assignments change only where q crosses |w_i| / midpoint. As q grows, <w, l> and
    <l, l> both fall, so that between q1 and q2 no assignment reaches more than <w, l>(q1)^2/<l, l>(q2).
    Intervals of q that cannot hold a better one than the best found are dropped and the others cut, until
    none has two changes: exact, in about sqrt(n L) steps. With more than 64 levels the search may end before;
    then the best scale found is refitted (near the optimum, not proved).

    Parameters
    ----------
    magnitudes
        Absolute weights, shape (n,).
    levels
        Positive levels, ascending, shape (L,).

    Returns
    -------
    float
        The scale; 0 where there is no weight other than zero.
    """
    w = np.sort(magnitudes[magnitudes > 0]).astype(np.float64)
    if not len(w):
        return 0.0
    if len(levels) == 1:
        return float(w.sum() / len(magnitudes) / levels[0])
    fit = _Fit(w, len(magnitudes), levels)
    edges = np.geomspace(w[0] / fit.midpoints[-1] / 2, 2 * w[-1] / fit.midpoints[0], _FIRST_CUTS + 1)[None]
    most = np.inf if len(levels) <= EXACT_LEVELS else _MOST_SEARCHES
    best, scale, searches = -1.0, 1.0, 0
    while edges.size and searches < most:
        wl, ll, changes = fit.at(edges)
        searches += edges.size * min(len(w), len(fit.midpoints))
        reached = wl**2 / ll
        top = np.unravel_index(np.argmax(reached), reached.shape)
        if reached[top] > best:
            best, scale = float(reached[top]), float(wl[top] / ll[top])
        bound = wl[:, :-1] ** 2 / ll[:, 1:]
        low, high = edges[:, :-1], edges[:, 1:]
        open_ = (bound > best * (1 + _TIE)) & (np.diff(changes) > 1) & (high - low > 1e-15 * high)
        edges = low[open_][:, None] + (high - low)[open_][:, None] * np.linspace(0, 1, _CUTS + 1)
    return fit.refitted(scale) if edges.size else scale


class _Fit:
    """Sums over sorted weights by the level that they are nearest to."""

    def __init__(self, w: NDArray[np.float64], count: int, levels: NDArray[np.float64]) -> None:
        self.w = w
        self.count = count
        self.levels = levels
        self.midpoints = (levels[1:] + levels[:-1]) / 2
        self.sums = np.concatenate([[0.0], np.cumsum(w)])

    def at(
        self, q: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """<w, l>, <l, l>, and how many changes of assignment lie below each scale; the shape of `q`."""
        if len(self.w) < len(self.midpoints):
            nearest = np.searchsorted(self.midpoints, self.w / q[..., None])
            held = self.levels[nearest]
            zeros = self.levels[0] ** 2 * (self.count - len(self.w))
            return held @ self.w, np.square(held).sum(-1) + zeros, (len(self.midpoints) - nearest).sum(-1)
        wl = np.full(q.shape, self.levels[0] * self.sums[-1])
        ll = np.full(q.shape, self.levels[0] ** 2 * self.count)
        changes = np.zeros(q.shape, np.int64)
        steps = zip(self.midpoints, np.diff(self.levels), np.diff(self.levels**2), strict=True)
        for midpoint, step, of_squares in steps:
            below = np.searchsorted(self.w, q * midpoint)
            wl += (self.sums[-1] - self.sums[below]) * step
            ll += (len(self.w) - below) * of_squares
            changes += below
        return wl, ll, changes

    def refitted(self, q: float) -> float:
        """The best scale of the assignment at q, and so on, at most 20 times."""
        for _ in range(20):
            wl, ll, _ = self.at(np.array(q))
            before, q = q, float(wl / ll)
            if q == before:
                break
        return q


def nearest_levels(v: torch.Tensor, scale: float, levels: torch.Tensor) -> torch.Tensor:
    """Nearest of +-scale * levels to each entry of v; zero counts as positive. With a scale of 0, zeros."""
    midpoints = ((levels[1:] + levels[:-1]) / 2).to(v.dtype)
    values = levels.to(v.dtype)[torch.bucketize((v.abs() / (scale or 1.0)).contiguous(), midpoints)]
    return torch.where(v < 0, -values, values) * scale


def fit_window(magnitudes: NDArray[np.floating], low: float, high: float) -> float:
    """Scale s that brings weights nearest to s * [low, high]; the smallest of the best ones. Exact.

    sum_i (s low - |w_i|)_+^2 + (|w_i| - s high)_+^2 is convex in s and quadratic between the breakpoints
    |w_i| / low and |w_i| / high: its slope is bisected over them, and the last piece solved.

    Parameters
    ----------
    magnitudes
        Absolute weights, shape (n,).

    Returns
    -------
    float
        The scale; 0 where there is no weight other than zero.
    """
    w = np.sort(magnitudes).astype(np.float64)
    if not len(w) or w[-1] == 0:
        return 0.0
    sums = np.concatenate([[0.0], np.cumsum(w)])

    def pulls(s: float) -> tuple[float, float]:
        """<w, l> and <l, l> over the weights outside, l the edge that each is clipped to."""
        below, above = np.searchsorted(w, s * low), np.searchsorted(w, s * high)
        wl = low * sums[below] + high * (sums[-1] - sums[above])
        return float(wl), float(low**2 * below + high**2 * (len(w) - above))

    inner = w[w * high < low * w[-1]]  # the largest weight bounds the scale: nothing is clipped beyond it
    edges = np.unique(np.concatenate([[0.0], w / high, inner / low if low else inner]))

    def piece(i: int) -> tuple[float, float]:
        return pulls((edges[i] + edges[i + 1]) / 2)

    def slope_at_end(i: int) -> float:
        wl, ll = piece(i)
        return float(edges[i + 1]) * ll - wl

    pieces = range(len(edges) - 1)
    best = min(bisect_left(pieces, 0.0, key=slope_at_end), pieces[-1])
    wl, ll = piece(best)
    return min(max(wl / ll if ll else 0.0, float(edges[best])), float(edges[best + 1]))


def fit_ternary(magnitudes: NDArray[np.floating]) -> float:
    """Scale q that brings weights nearest to -q, 0 and q. Exact.

    With the k largest on +-q the best q is their mean, and (sum of them)^2 / k is what they save: the best k
    is found by sorting.

    Parameters
    ----------
    magnitudes
        Absolute weights, shape (n,).

    Returns
    -------
    float
        The scale; 0 where there is no weight other than zero.
    """
    sums = np.cumsum(np.sort(magnitudes)[::-1], dtype=np.float64)
    if not len(sums) or sums[-1] == 0:
        return 0.0
    counts = np.arange(1, len(sums) + 1)
    best = int(np.argmax(sums**2 / counts))
    return float(sums[best] / counts[best])
