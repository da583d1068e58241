"""Weights that share k free values: 1-D k-means, solved exactly by dynamic programming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mapping.constraints.fits import free_values, nearest_values
from mapping.constraints.levels import Values, check_mask
from xbar.hardware.checks import check_whole
from xbar.machine.kernels import njit


@dataclass(frozen=True, eq=False)
class Centroids(Values):
    """Unmasked weights take at most ``count`` values, free and fitted at each projection. Exact.

    Masked weights are zero, a cluster of their own that no other weight joins and that is not counted.

    Parameters
    ----------
    count
        Values of the layer, both signs together; 1 to 256.
    mask
        Weights that stay (K, N); None: all.

    Raises
    ------
    XbarError
        For a count out of range.
    """

    count: int
    mask: torch.Tensor | None = None
    exact: ClassVar[bool] = True
    fixed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_whole(f"count of {type(self).__name__.lower()}", self.count, 1, 256)
        check_mask(self.mask)

    def fit(self, v: torch.Tensor) -> torch.Tensor:
        """Centroids of least squared error on the unmasked weights, ascending, at most (count,).

        On the processor `fit_centroids` finds them, elsewhere `mapping.constraints.fits.free_values`.
        """
        kept = (v if self.mask is None else v[self.mask.to(v.device)]).detach().double().flatten()
        if v.device.type == "cpu":
            return torch.from_numpy(fit_centroids(kept.numpy(), self.count))
        return free_values(kept, self.count)

    def nearest(self, v: torch.Tensor, fitted: torch.Tensor) -> torch.Tensor:
        """See `Values.nearest`."""
        return nearest_values(v, fitted)


class Magnitudes(Centroids):
    """`Centroids` of magnitudes: unmasked weights take at most ``count`` of them, with either sign. Exact.

    There are twice as many values, then: those of a pair of cells with ``count`` states above g_min. One is
    binary with scale.
    """

    def fit(self, v: torch.Tensor) -> torch.Tensor:
        """Magnitudes of least squared error on the unmasked weights, ascending, at most (count,)."""
        return super().fit(v.abs())

    def nearest(self, v: torch.Tensor, fitted: torch.Tensor) -> torch.Tensor:
        """See `Values.nearest`; zero counts as positive."""
        magnitudes = super().nearest(v.abs(), fitted)
        return torch.where(v < 0, -magnitudes, magnitudes)


def fit_centroids(values: NDArray[np.floating], count: int) -> NDArray[np.float64]:
    """Centroids c that minimise sum_i min_j (w_i - c_j)^2: exact, in O(count n log n).

    It holds 4 count n bytes.

    Clusters of the best solution are intervals of the sorted values (Wang and Song 2011,
    doi:10.32614/RJ-2011-015), and the best start of the last interval never falls as its end rises,
    so that each row of the recurrence is filled by halves (Gronlund et al., arXiv:1701.07204).
    As sum w^2 is given, least error is the most of sum over clusters of (sum w)^2 / n.

    Parameters
    ----------
    values
        Weights, shape (n,).
    count
        Most centroids.

    Returns
    -------
    array
        Ascending, shape (min(count, distinct values),); a single zero where there is no weight.
    """
    unique, repeats = np.unique(values.astype(np.float64), return_counts=True)
    if len(unique) <= count:
        return unique if len(unique) else np.zeros(1)
    centre = float(values.mean())
    sizes = np.concatenate([[0.0], np.cumsum(repeats, dtype=np.float64)])
    sums = np.concatenate([[0.0], np.cumsum((unique - centre) * repeats)])
    starts = _starts(sizes, sums, count)
    edges = np.concatenate([starts, [len(unique)]])
    centroids: NDArray[np.float64] = centre + np.diff(sums[edges]) / np.diff(sizes[edges])
    return centroids


@njit(cache=True, nogil=True)
def _starts(sizes: NDArray[np.float64], sums: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """First index of each of `count` intervals of the sorted values."""
    n = len(sizes) - 1
    before = np.empty(n + 1)
    after = np.empty(n + 1)
    start = np.zeros((count, n + 1), np.int32)
    stack = np.empty((64, 4), np.int64)
    for j in range(1, n + 1):
        before[j] = sums[j] ** 2 / sizes[j]
    for m in range(1, count):
        stack[0] = m + 1, n, m, n - 1
        depth = 1
        while depth:
            depth -= 1
            low, high, first, last = stack[depth]
            j = (low + high) // 2 if m < count - 1 else n
            best, at = -1.0, first
            for i in range(first, min(last, j - 1) + 1):
                value = before[i] + (sums[j] - sums[i]) ** 2 / (sizes[j] - sizes[i])
                if value > best:
                    best, at = value, i
            after[j], start[m, j] = best, at
            if low < j and m < count - 1:
                stack[depth] = low, j - 1, first, at
                depth += 1
            if j < high:
                stack[depth] = j + 1, high, at, last
                depth += 1
        before, after = after, before
    starts = np.zeros(count, np.int64)
    j = n
    for m in range(count - 1, 0, -1):
        j = starts[m] = start[m, j]
    return starts
