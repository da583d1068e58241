"""The scale that brings the weights of a layer or column nearest to levels, by a search on the processor.

`mapping.constraints.fits` has the same scale, and others, as operators of torch.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from xbar.multiply.threads import run_workers, worker_count

Per = Literal["layer", "column"]
"""The range of one scale: a layer, or each column (output) of its GEMM matrix."""

EXACT_LEVELS = 64
"""Levels up to which the search for the best scale always ends."""

_BLOCK_BITS = 6
_LARGE = 1 << 20
"""Weights of one fit from which on sums are kept below every 64th weight only: of fewer, below each, which
takes 8 bytes a weight in place of 1/8, and no addition where a sum is read."""

_FIRST_CUTS = 256
_CUTS = 4
_SWEPT = 2048
"""Changes of assignment in an interval that are gone through one by one."""
TIE = 1e-13
"""Scales whose errors differ by less than this part of the weights' energy are equally good; the smaller one
is taken: its weights lie on higher states, where noise of a cell is a smaller part of a weight."""
_MOST_SEARCHES = 1 << 23
"""Of one fit with many levels."""


def fit_scales(
    w: NDArray[np.floating], kept: NDArray[np.bool_] | None, levels: NDArray[np.float64], per: Per = "column"
) -> NDArray[np.float64]:
    """Scale q of each column that minimises sum_i min_l (|w_i| - q l)^2, or that of the layer for all, shape
    (N,); 0 where there is no weight other than zero.

    For a fixed assignment of weights to levels the best q is <w, l>/<l, l> and the error is
    |w|^2 - <w, l>^2/<l, l>; assignments change only where q crosses |w_i| / midpoint. As q grows, <w, l> and
    <l, l> both fall, so that between q1 and q2 no assignment reaches more than <w, l>(q1)^2/<l, l>(q2).
    Intervals of q that cannot hold a better one than the best found are dropped and the others cut, until
    they hold few changes, which are gone through one by one: exact. With more than 64 levels the search may
    end before; then the best scale found is refitted (near the optimum, not proved).

    Parameters
    ----------
    w
        Weights, shape (K, N). A fit takes a copy of those that it is made of; one of fewer than 2^20 weights
        takes 8 bytes more for each.
    kept
        Weights that count, shape (K, N); None: all.
    levels
        Positive levels, ascending, shape (L,).
    """
    values = np.ascontiguousarray(levels, np.float64)
    most = _MOST_SEARCHES if len(values) > EXACT_LEVELS else -1
    together: list[Any] = [...] if per == "layer" else [(slice(None), n) for n in range(w.shape[1])]
    found = np.zeros(len(together))
    workers = worker_count(None, len(together))

    def work(number: int) -> None:
        for place in range(number, len(together), workers):
            part = w[together[place]]
            magnitudes = part.flatten() if kept is None else part[kept[together[place]]]  # a copy
            np.abs(magnitudes, out=magnitudes)
            magnitudes.sort()
            zeros = int(
                np.searchsorted(magnitudes, magnitudes.dtype.type(0), "right")
            )  # of its type: no copy
            if zeros < len(magnitudes):
                found[place] = _best_scale(_as_floats(magnitudes[zeros:]), zeros, values, most)

    run_workers(work, workers)
    return np.repeat(found, w.shape[-1]) if per == "layer" else found


def _as_floats(magnitudes: NDArray[np.floating]) -> NDArray[np.floating]:
    """Numbers in a type that the kernels take, without a copy where they are in it."""
    return magnitudes if magnitudes.dtype in (np.float32, np.float64) else magnitudes.astype(np.float64)


@njit(cache=True, nogil=True)
def _best_scale(w: NDArray[np.floating], zeros: int, levels: NDArray[np.float64], most: int) -> float:
    """The scale of ascending positive weights and so many zeros; ``most``: searches, -1 for no bound."""
    bits = _BLOCK_BITS if len(w) >= _LARGE else 0
    sums, in_block = np.zeros((len(w) >> bits) + 1), (1 << bits) - 1
    total = 0.0
    for i in range(len(w)):
        if i & in_block == 0:
            sums[i >> bits] = total
        total += w[i]
    if len(w) & in_block == 0:
        sums[-1] = total
    if len(levels) == 1:
        return float(total / (len(w) + zeros) / levels[0])
    midpoints = (levels[1:] + levels[:-1]) / 2
    first, last = np.log(w[0] / midpoints[-1] / 2), np.log(2 * w[-1] / midpoints[0])
    edges = np.exp(np.linspace(first, last, _FIRST_CUTS + 1))
    wl, ll, changes = _at_all(edges, w, zeros, levels, midpoints, sums)
    best, scale = -1.0, 0.0
    for i in range(len(edges)):
        if _is_better(wl[i] ** 2 / ll[i], wl[i] / ll[i], best, scale):
            best, scale = wl[i] ** 2 / ll[i], wl[i] / ll[i]
    searches = len(edges) * len(midpoints)
    hopeful = np.argsort(wl[:-1] ** 2 / ll[1:])  # the best comes last, which is looked at first
    open_ = [(edges[i], edges[i + 1], wl[i], ll[i + 1], changes[i + 1] - changes[i]) for i in hopeful]
    while len(open_) and (most < 0 or searches < most):
        low, high, wl_low, ll_high, between = open_.pop()
        if wl_low**2 / ll_high < best * (1 - TIE) or between == 0:
            continue
        if between <= _SWEPT or high - low <= 1e-15 * high:
            found, at = _sweep(low, high, w, zeros, levels, midpoints, sums)
            searches += between + 2 * len(midpoints)
            if _is_better(found, at, best, scale):
                best, scale = found, at
            continue
        edges = low + (high - low) * np.linspace(0, 1, _CUTS + 1)
        wl, ll, changes = _at_all(edges, w, zeros, levels, midpoints, sums)
        searches += len(edges) * len(midpoints)
        for i in range(_CUTS + 1):
            found, at = wl[i] ** 2 / ll[i], wl[i] / ll[i]
            if _is_better(found, at, best, scale):
                best, scale = found, at
        for i in range(_CUTS):
            open_.append((edges[i], edges[i + 1], wl[i], ll[i + 1], changes[i + 1] - changes[i]))
    if len(open_):  # not proved: the best scale of the assignment there, and so on
        for _ in range(20):
            wl, ll, _ = _at_all(np.array([scale]), w, zeros, levels, midpoints, sums)
            before, scale = scale, wl[0] / ll[0]
            if scale == before:
                break
    return float(scale)


@njit(cache=True, nogil=True)
def _is_better(found: float, at: float, best: float, scale: float) -> bool:
    """Whether a scale leaves less error; of those that leave the same to rounding, the smaller one is better:
    its weights lie on higher states, where noise of a cell is a smaller part of a weight."""
    return found > best * (1 + TIE) or (found >= best * (1 - TIE) and at < scale)


@njit(cache=True, nogil=True)
def _at_all(
    q: NDArray[np.float64],
    w: NDArray[np.floating],
    zeros: int,
    levels: NDArray[np.float64],
    midpoints: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """<w, l>, <l, l>, and how many changes of assignment lie below each of ascending scales q, l the nearest
    levels."""
    if len(midpoints) >= EXACT_LEVELS and len(w) < len(midpoints):
        return _at_all_by_weight(q, w, zeros, levels, midpoints)
    of_each = len(sums) > len(w)
    total = _sum_below(len(w), w, sums)
    wl = np.full(len(q), levels[0] * total)
    ll = np.full(len(q), levels[0] ** 2 * (len(w) + zeros))
    changes = np.zeros(len(q), np.int64)
    for i in range(len(midpoints)):
        step, of_squares = levels[i + 1] - levels[i], levels[i + 1] ** 2 - levels[i] ** 2
        below = 0
        for j in range(len(q)):
            below = _count_below(q[j] * midpoints[i], w, below)
            under = sums[below] if of_each else _sum_below(below, w, sums)
            wl[j] += (total - under) * step
            ll[j] += (len(w) - below) * of_squares
            changes[j] += below
    return wl, ll, changes


@njit(cache=True, nogil=True)
def _at_all_by_weight(
    q: NDArray[np.float64],
    w: NDArray[np.floating],
    zeros: int,
    levels: NDArray[np.float64],
    midpoints: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """The same, weight by weight: of fewer weights than levels most levels are nobody's nearest."""
    wl = np.zeros(len(q))
    ll = np.full(len(q), levels[0] ** 2 * zeros)
    changes = np.zeros(len(q), np.int64)
    for j in range(len(q)):
        state = 0
        for i in range(len(w)):
            # from the state of the last weight past the midpoints below |w| / q, in steps that double
            step = 1
            while state + step <= len(midpoints) and q[j] * midpoints[state + step - 1] <= w[i]:
                state += step
                step *= 2
            while step:
                if state + step <= len(midpoints) and q[j] * midpoints[state + step - 1] <= w[i]:
                    state += step
                step >>= 1
            wl[j] += w[i] * levels[state]
            ll[j] += levels[state] ** 2
            changes[j] += len(midpoints) - state
    return wl, ll, changes


@njit(cache=True, nogil=True)
def _sum_below(count: int, w: NDArray[np.floating], sums: NDArray[np.float64]) -> float:
    """Sum of the first so many of w, from the sums below each or every 64th; the bits are those of one long
    sum."""
    if len(sums) > len(w):
        return float(sums[count])
    block = count >> _BLOCK_BITS
    total = float(sums[block])
    for i in range(block << _BLOCK_BITS, count):
        total += w[i]
    return total


@njit(cache=True, nogil=True)
def _count_below(x: float, w: NDArray[np.floating], least: int) -> int:
    """How many of ascending w are below x; at least so many are."""
    low, high = least, len(w)
    while low < high:
        middle = (low + high) >> 1
        if w[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _sweep(
    low: float,
    high: float,
    w: NDArray[np.floating],
    zeros: int,
    levels: NDArray[np.float64],
    midpoints: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> tuple[float, float]:
    """Most of <w, l>^2/<l, l> over all assignments between two scales, and the best scale of that one."""
    wl, ll, _ = _at_all(np.array([low]), w, zeros, levels, midpoints, sums)
    first = np.array([_count_below(low * m, w, 0) for m in midpoints])
    last = np.array([_count_below(high * m, w, 0) for m in midpoints])
    count = int((last - first).sum())
    place, of_wl, of_ll = np.empty(count), np.empty(count), np.empty(count)
    n = 0
    for i in range(len(midpoints)):
        for j in range(first[i], last[i]):
            place[n] = w[j] / midpoints[i]
            of_wl[n] = w[j] * (levels[i + 1] - levels[i])
            of_ll[n] = levels[i + 1] ** 2 - levels[i] ** 2
            n += 1
    best, scale = -1.0, 0.0
    now_wl, now_ll = wl[0], ll[0]
    for change in np.argsort(place):
        now_wl -= of_wl[change]
        now_ll -= of_ll[change]
        found, at = now_wl**2 / now_ll, now_wl / now_ll
        if _is_better(found, at, best, scale):
            best, scale = found, at
    return best, scale
