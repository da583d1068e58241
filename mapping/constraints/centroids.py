"""Weights that share k free values: 1-D k-means, solved exactly by dynamic programming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mapping.constraints.fits import free_values, nearest_values
from mapping.constraints.levels import Fitted, Hold, Levels, Values, check_mask
from mapping.network.gemm import check_finite_weights
from xbar.hardware.checks import check_whole
from xbar.hardware.errors import XbarError
from xbar.machine.kernels import njit

SHARING_ROUNDS = 50


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

    def held(self, z: torch.Tensor, inner: Hold) -> Hold:
        """See `Lasting.held`: weights that share a value go on sharing it, and
        it moves by the mean of their moves (Han et al., ICLR 2016, arXiv:1510.00149, section 3)."""
        stays = z != 0
        values, cluster = torch.unique(z[stays], return_inverse=True)
        counts = torch.bincount(cluster, minlength=len(values))

        def hold(w: torch.Tensor) -> torch.Tensor:
            inside = inner(w)
            sums = torch.zeros(len(values), dtype=torch.float64, device=inside.device)
            sums.index_add_(0, cluster, inside[stays].double())
            shared = torch.zeros_like(inside)
            shared[stays] = (sums / counts)[cluster].to(inside.dtype)
            return shared

        return hold

    def on_levels(self, levels: Values, z: torch.Tensor) -> Values:
        """See `Lasting.on_levels`: at most `count` of them, of either sign."""
        if not isinstance(levels, Levels):
            raise XbarError(
                "shared values need the levels of cells as they are; here they are chosen already"
            )
        if levels.per == "column":
            raise XbarError(
                "values that a layer shares need one scale for the layer: encoding.scale = 'layer'; a column "
                "with a scale of its own has values of its own"
            )
        return SharedLevels(levels, self.count)


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


@dataclass(frozen=True, eq=False)
class SharedLevels(Values):
    """Unmasked weights take at most `count` of the values +-scale times given levels. Not exact.

    The start are free centroids, exact ones. Then three steps take turns, none of which raises the error, to
    a fixed point: each weight goes to the nearest of the values, each value to the level that is nearest to
    the mean of its weights, and the scale is fitted to the levels (Lloyd 1982, doi:10.1109/TIT.1982.1056489,
    with levels in place of means).

    Parameters
    ----------
    levels
        Levels of the layer, all on one scale.
    count
        Most values, both signs together.
    """

    levels: Levels
    count: int

    @property
    def mask(self) -> torch.Tensor | None:  # type: ignore[override]
        """That of the levels."""
        return self.levels.mask

    @property
    def exact(self) -> bool:
        """See `mapping.constraints.constraint.Constraint.exact`."""
        return False

    @property
    def fixed(self) -> bool:
        """See `Values.fixed`."""
        return False

    def fit(self, v: torch.Tensor) -> Fitted:
        """The scale, and then the levels with their signs that weights take, ascending."""
        check_finite_weights(v)
        w = (v if self.mask is None else v[self.mask.to(v.device)]).detach().double().flatten()
        values = self.levels.values.double().to(w.device)
        signed = torch.cat([-values.flip(0), values])
        free = Centroids(self.count).fit(w)
        grouped = nearest_values(w, free)
        q = float(Levels(values).fit(grouped[:, None])[0]) if len(w) else 0.0
        if q == 0:
            return torch.stack([torch.zeros_like(values[0]), values[0]])
        chosen = torch.unique(nearest_values(free / q, signed))
        for _ in range(SHARING_ROUNDS):
            before = q, chosen
            level = nearest_values(w / q, chosen)
            q = float((w * level).sum() / level.square().sum())
            means = torch.stack([w[level == one].mean() for one in chosen if (level == one).any()])
            chosen = torch.unique(nearest_values(means / q, signed))
            if q == before[0] and torch.equal(chosen, before[1]):
                break
        return torch.cat([chosen.new_tensor([q]), chosen])

    def nearest(self, v: torch.Tensor, fitted: Fitted) -> torch.Tensor:
        """See `Values.nearest`."""
        q = float(fitted[0])
        return nearest_values(v / (q if q > 0 else 1.0), fitted[1:]) * q

    def scales(self, fitted: Fitted, columns: int) -> Fitted:
        """See `Values.scales`."""
        return fitted[:1].expand(columns).contiguous()


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
