"""Fits to the weights of each column, or of a layer: the scale of levels, of a window or of ternary weights,
and free values. They are operators of torch, which run on the device where the weights are.

All columns are fitted at once. `columns_of` makes a row of ascending magnitudes of each column of (K, N).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from mapping.constraints.scale import TIE, Per, fit_scales
from xbar.conductances.encoding import thresholds

GRID = 256
MOST_CHANGES = 1 << 24
"""Changes of assignment that are gone through at once; they take some 60 bytes each."""


class SortedColumns(NamedTuple):
    """Magnitudes of the weights that count, float64: one row a column, or one row for the layer.

    `sorted` (N, K) ascends and is infinite where no weight counts, `counts` (N, 1) says how many do, and
    `sums` (N, K + 1) are the sums of so many of the smallest.
    """

    sorted: torch.Tensor
    counts: torch.Tensor
    sums: torch.Tensor

    @property
    def largest(self) -> torch.Tensor:
        """The largest magnitude of each row, shape (N, 1); 0 where there is none."""
        padded = torch.nn.functional.pad(self.sorted, (1, 0))
        return padded.gather(1, self.counts)

    def part(self, rows: slice) -> SortedColumns:
        """Some of the rows."""
        return SortedColumns(self.sorted[rows], self.counts[rows], self.sums[rows])


def columns_of(w: torch.Tensor, kept: torch.Tensor | None, per: Per) -> SortedColumns:
    """Magnitudes of weights (K, N), those that count where `kept` (K, N) is given."""
    magnitudes = w.detach().double().abs()
    if kept is not None:
        magnitudes = torch.where(kept.to(w.device), magnitudes, torch.inf)
    rows = magnitudes.t() if per == "column" else magnitudes.reshape(1, -1)
    ascending = rows.sort(1).values
    finite = ascending.isfinite()
    sums = torch.nn.functional.pad(torch.where(finite, ascending, 0.0).cumsum(1), (1, 0))
    return SortedColumns(ascending.contiguous(), finite.sum(1, keepdim=True), sums)


def fit_levels(w: torch.Tensor, kept: torch.Tensor | None, levels: torch.Tensor, per: Per) -> torch.Tensor:
    """Scale of each column of w (K, N) that brings its weights nearest to levels (L,), or that of the layer
    for all, shape (N,), float64.

    On the processor `fit_scales` searches for it, elsewhere `level_scales`; both find the best one, and may
    differ where two are equally good to rounding.
    """
    if w.device.type == "cpu":
        held = None if kept is None else kept.numpy(force=True)
        return torch.from_numpy(fit_scales(w.detach().double().numpy(), held, levels.double().numpy(), per))
    return to_all(level_scales(columns_of(w, kept, per), levels.double().to(w.device)), w)


def to_all(scales: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """A scale (N,) a column of w (K, N), from one a row of its `SortedColumns`."""
    return scales.expand(w.shape[-1]).contiguous()


def ternary_scales(of: SortedColumns) -> torch.Tensor:
    """The scale q of each row that brings weights nearest to -q, 0 and q, shape (N,). Exact.

    With the k largest on +-q the best q is their mean, and (sum of them)^2 / k is what they save: the best k
    is found by sorting. A row without a weight other than zero has 0.
    """
    if not of.sorted.shape[1]:
        return of.sums[:, 0]
    descending = torch.where(of.sorted.isfinite(), of.sorted, 0.0).sort(1, descending=True).values
    sums = descending.cumsum(1)
    counts = torch.arange(1, sums.shape[1] + 1, dtype=torch.float64, device=sums.device)
    best = (sums.square() / counts).argmax(1, keepdim=True)
    return (sums.gather(1, best) / counts[best]).squeeze(1)


def window_scales(of: SortedColumns, low: float, high: float) -> torch.Tensor:
    """The scale s of each row that brings weights nearest to s * [low, high], the smallest of the best ones,
    shape (N,). Exact.

    sum_i (s low - w_i)_+^2 + (w_i - s high)_+^2 is convex in s and quadratic between the breakpoints
    w_i / low and w_i / high. Its slope rises with s: the piece in which it reaches zero is found, and solved.
    A row without a weight other than zero has 0.
    """
    w, top = of.sorted, of.largest

    def pulls(s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """<w, l> and <l, l> over the weights outside, l the edge that each is clipped to."""
        below = torch.searchsorted(w, s * low)
        above = torch.searchsorted(w, s * high).minimum(of.counts)
        wl = low * of.sums.gather(1, below) + high * (of.sums.gather(1, of.counts) - of.sums.gather(1, above))
        return wl, low**2 * below + high**2 * (of.counts - above)

    last = top / high  # the largest weight bounds the scale: nothing is clipped beyond it
    breaks = [torch.zeros_like(top), torch.where(w.isfinite(), w / high, last)]
    if low:
        breaks.append(torch.where(w * high < low * top, w / low, last))
    edges = torch.cat([*breaks, last], 1).sort(1).values
    starts, ends = edges[:, :-1], edges[:, 1:]
    wl, ll = pulls((starts + ends) / 2)
    rising = (ends * ll - wl >= 0) & (ends > starts)
    piece = rising.int().argmax(1, keepdim=True)
    piece = torch.where(rising.any(1, keepdim=True), piece, ends.shape[1] - 1)
    wl, ll, start, end = (each.gather(1, piece) for each in (wl, ll, starts, ends))
    solved = torch.where(ll > 0, wl / torch.where(ll > 0, ll, 1.0), 0.0)
    return solved.maximum(start).minimum(end).squeeze(1)


def level_scales(of: SortedColumns, levels: torch.Tensor) -> torch.Tensor:
    """The scale q of each row that brings weights nearest to q * levels, shape (N,). Exact to rounding.

    `mapping.constraints.scale.fit_scales` says how q is found. Here the intervals of a grid that cannot hold
    a better scale are dropped, for all rows at once, and all changes of assignment between the first and the
    last interval that is left are gone through.

    Parameters
    ----------
    levels
        Positive levels, ascending, shape (L,), float64, on the device of the weights.
    """
    alone = torch.zeros(len(of.counts), dtype=torch.float64, device=of.sorted.device)
    if not of.sorted.shape[1]:
        return alone
    if len(levels) == 1:
        total = of.sums.gather(1, of.counts)
        return (total / of.counts.clamp_min(1) / levels).squeeze(1)
    low, high = _ends(of, levels)
    best, scale = alone - 1, alone
    for _ in range(3):
        low, high, best, scale = _narrowed(of, levels, low, high, best, scale)
    first, last = (_below(of, levels, q) for q in (low, high))
    changes = (last - first).sum(1)
    rows = max(1, MOST_CHANGES // max(1, int(changes.max())))
    found = [
        _swept(of.part(part), levels, low[part], first[part], last[part], best[part], scale[part])
        for part in (slice(i, i + rows) for i in range(0, len(changes), rows))
    ]
    scale = torch.cat(found)
    wl, ll, _ = _at(of, levels, scale[:, None])  # once more, free of the rounding of long sums
    return torch.where(of.largest.squeeze(1) > 0, (wl / ll.clamp_min(1e-300)).squeeze(1), 0.0)


def _ends(of: SortedColumns, levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales (N, 1) below which all weights are on the highest level, and above which on the lowest."""
    middles = (levels[1:] + levels[:-1]) / 2
    zeros = (of.sorted == 0).sum(1, keepdim=True).minimum((of.counts - 1).clamp_min(0))
    least = of.sorted.gather(1, zeros)
    there = of.largest > 0
    low = torch.where(there, least / middles[-1] / 2, 1.0)
    return low, torch.where(there, 2 * of.largest / middles[0], 1.0)


def _below(of: SortedColumns, levels: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """How many weights lie below each midpoint of the levels times a scale (N, Q), shape (N, Q (L - 1))."""
    middles = (levels[1:] + levels[:-1]) / 2
    return torch.searchsorted(of.sorted, (q[:, :, None] * middles).flatten(1))


def _at(
    of: SortedColumns, levels: torch.Tensor, q: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """<w, l>, <l, l> and the changes of assignment below each scale (N, Q), l the nearest levels."""
    below = _below(of, levels, q).view(*q.shape, -1)
    total = of.sums.gather(1, of.counts)
    above = total[:, :, None] - of.sums.gather(1, below.flatten(1)).view(below.shape)
    wl = levels[0] * total + above @ levels.diff()
    ll = levels[0] ** 2 * of.counts + (of.counts[:, :, None] - below).double() @ levels.square().diff()
    return wl, ll, below.sum(2)


def _better(
    error: torch.Tensor, at: torch.Tensor, best: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The most of <w, l>^2/<l, l> (N, Q) and `best` (N,), and the smallest scale of those that reach it."""
    most = torch.cat([error, best[:, None]], 1)
    scales = torch.cat([at, scale[:, None]], 1)
    top = most.amax(1, keepdim=True)
    reached = torch.where(most >= top * (1 - TIE), scales, torch.inf)
    return top.squeeze(1), reached.amin(1)


def _narrowed(
    of: SortedColumns,
    levels: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    best: torch.Tensor,
    scale: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The interval (N, 1) that is left of one, and what was found on its grid."""
    steps = torch.linspace(0, 1, GRID + 1, dtype=torch.float64, device=low.device)
    edges = low * (high / low) ** steps
    wl, ll, changes = _at(of, levels, edges)
    best, scale = _better(wl.square() / ll.clamp_min(1e-300), wl / ll.clamp_min(1e-300), best, scale)
    bound = wl[:, :-1].square() / ll[:, 1:].clamp_min(1e-300)
    hopeful = (bound >= best[:, None] * (1 - TIE)) & (changes[:, 1:] > changes[:, :-1])
    places = torch.arange(GRID, device=low.device)
    first = torch.where(hopeful, places, GRID).amin(1, keepdim=True)
    last = torch.where(hopeful, places, -1).amax(1, keepdim=True) + 1
    first = first.minimum(last)  # equal, an interval of no width, where nothing is hopeful
    return edges.gather(1, first), edges.gather(1, last), best, scale


def _swept(
    of: SortedColumns,
    levels: torch.Tensor,
    low: torch.Tensor,
    first: torch.Tensor,
    last: torch.Tensor,
    best: torch.Tensor,
    scale: torch.Tensor,
) -> torch.Tensor:
    """The best scale (N,) among those of all assignments from `low` on.

    `first` and `last` (N, L - 1) say which weights cross each midpoint of the levels within the interval.
    """
    wl, ll, _ = _at(of, levels, low)
    ends = (last - first).cumsum(1)
    most = int(ends[:, -1].max())
    if not most:
        return scale
    number = torch.arange(most, device=low.device).expand(len(low), most).contiguous()
    there = number < ends[:, -1:]
    level = torch.searchsorted(ends, number, right=True).clamp_max(len(levels) - 2)
    weight = number - (ends - (last - first)).gather(1, level) + first.gather(1, level)
    w = of.sorted.gather(1, torch.where(there, weight, 0))
    middles = (levels[1:] + levels[:-1]) / 2
    order = torch.where(there, w / middles[level], torch.inf).sort(1).indices
    lost_wl = torch.where(there, w * levels.diff()[level], 0.0).gather(1, order).cumsum(1)
    lost_ll = torch.where(there, levels.square().diff()[level], 0.0).gather(1, order).cumsum(1)
    now_wl, now_ll = wl - lost_wl, (ll - lost_ll).clamp_min(1e-300)
    return _better(now_wl.square() / now_ll, now_wl / now_ll, best, scale)[1]


def free_values(values: torch.Tensor, count: int) -> torch.Tensor:
    """Centroids that minimise the squared error of values (n,), ascending, at most (count,). Exact.

    `mapping.constraints.centroids.fit_centroids` says how they are found. Here each row of the recurrence is
    filled by halves in the breadth: all ends of one depth at once.
    """
    found: tuple[torch.Tensor, torch.Tensor] = torch.unique(values.detach().double(), return_counts=True)
    unique, repeats = found
    if len(unique) <= count:
        return unique if len(unique) else unique.new_zeros(1)
    centre = values.double().mean()
    sizes = torch.nn.functional.pad(repeats.double().cumsum(0), (1, 0))
    sums = torch.nn.functional.pad(((unique - centre) * repeats).cumsum(0), (1, 0))
    n = len(unique)
    before = torch.nn.functional.pad(sums[1:].square() / sizes[1:], (1, 0))
    starts = [torch.zeros(n + 1, dtype=torch.int64, device=values.device)]
    for m in range(1, count):
        before, start = _row(before, sums, sizes, m, only_last=m == count - 1)
        starts.append(start)
    edges = [torch.full((), n, device=values.device)]
    for start in reversed(starts):
        edges.append(start[edges[-1]])
    edge = torch.stack(edges[::-1])
    means: torch.Tensor = sums[edge].diff() / sizes[edge].diff()
    return centre + means


def _row(
    before: torch.Tensor, sums: torch.Tensor, sizes: torch.Tensor, m: int, only_last: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each end j of m + 1 clusters the best value and the start of the last one, shape (n + 1,) each."""
    n = len(before) - 1
    after, starts = before.clone(), torch.zeros(n + 1, dtype=torch.int64, device=before.device)
    ends = torch.tensor([[n if only_last else m + 1], [n], [m], [n - 1]]).to(before.device)
    while ends.shape[1]:
        low, high, first, last = ends
        j = (low + high) // 2
        width = torch.minimum(last, j - 1) - first + 1
        node = torch.repeat_interleave(width, output_size=int(width.sum()))
        i = first[node] + torch.arange(len(node), device=node.device) - (width.cumsum(0) - width)[node]
        value = before[i] + (sums[j[node]] - sums[i]).square() / (sizes[j[node]] - sizes[i])
        best = torch.full(j.shape, -1.0, dtype=torch.float64, device=j.device)
        best = best.scatter_reduce(0, node, value, "amax")
        at = torch.where(value == best[node], i, n)
        start = torch.full_like(j, n).scatter_reduce(0, node, at, "amin")
        after[j], starts[j] = best, start
        left, right = torch.stack([low, j - 1, first, start]), torch.stack([j + 1, high, start, last])
        ends = torch.cat([left[:, low < j], right[:, j < high]], 1)
    return after, starts


def nearest_levels(v: torch.Tensor, scale: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Nearest of +-scale * levels to each entry of v (K, N), with a scale a column (N,); zero counts as
    positive. With a scale of 0, zeros."""
    q = scale.to(v.dtype)
    values = nearest_values(v.abs() / torch.where(q > 0, q, 1.0), levels)
    return torch.where(v < 0, -values, values) * q


def nearest_values(v: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The nearest of some ascending values to each entry of v."""
    there = values.to(v.device)
    return there.to(v.dtype)[torch.bucketize(v.contiguous(), thresholds(there).to(v.dtype))]
