"""Objectives of a search: figures of a point that are to be small or large, and how far a search got.

Hypervolumes are shares of a box that spans from the best to the worst value of each figure, those with
``scale = "log"`` by their logarithm. Its corners are those of all points that are compared, so that volumes
are comparable within one box, and not between two; `worst` fixes a corner, beyond which points count nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from experiments.searches.pareto import Goal, hypervolume, pareto_front
from experiments.searches.trials import Figures
from xbar.hardware.checks import STRICT, check_range
from xbar.hardware.errors import XbarError

OF_METRIC = (
    *(f"accuracy.{key}" for key in ("float", "compressed", "quantised", "ideal_chip")),
    *(f"accuracy.chips.{key}" for key in ("mean", "median", "p05")),
)
"""Figures that are the better the way that the metric is."""
FIGURES = (
    *OF_METRIC,
    *("accuracy.chips.std", "accuracy.chips.share_above", "compression.rate", "compression.weights_kept"),
    *("mapping.tiles_per_plane_after", "mapping.utilisation", "estimate.area_mm2"),
    *(f"estimate.{key}_per_image" for key in ("energy_nj", "latency_us")),
    *(f"estimate.{key}" for key in ("peak_image_rate_per_s", "peak_power_mw", "arrays")),
    *("estimate.tops_per_w", "estimate.tops_per_mm2"),
)
"""Figures of a point that can be an objective."""


@dataclass(frozen=True)
class Objective:
    """A figure of a point, such as ``accuracy.chips.mean``, that is to be small or large.

    ``worst``: where hypervolumes end; by default at the worst of the points that are compared.
    """

    __pydantic_config__: ClassVar = STRICT
    figure: str
    goal: Goal
    scale: Literal["linear", "log"] = "linear"
    worst: float | None = None

    def __post_init__(self) -> None:
        if self.worst is not None:
            check_range(f"objectives: {self.figure}: worst", self.worst, -1e300, 1e300)
            self.cost(self.worst)

    def cost(self, value: float) -> float:
        """The value on its scale, the smaller the better."""
        if self.scale == "log":
            if value <= 0:
                raise XbarError(f"objectives: {self.figure} = {value:g}: must be above 0 with scale = 'log'")
            value = math.log10(value)
        return value if self.goal == "min" else -value


DEFAULT = (
    Objective("accuracy.chips.mean", "max"),
    Objective("estimate.energy_nj_per_image", "min", "log"),
    Objective("estimate.area_mm2", "min", "log"),
)


def front_of(objectives: Sequence[Objective], figures: Sequence[Figures | None]) -> list[int]:
    """Numbers of the points that no other one dominates, those without figures left out."""
    there = {number: of for number, of in enumerate(figures) if of is not None}
    front = pareto_front(list(there.values()), [one.goal for one in objectives])
    return [list(there)[i] for i in front]


@dataclass(frozen=True)
class Box:
    """Costs of the corners between which hypervolumes are measured."""

    best: tuple[float, ...]
    worst: tuple[float, ...]

    @classmethod
    def around(cls, objectives: Sequence[Objective], figures: Iterable[Figures | None]) -> Box:
        """The box of all points that are compared."""
        costs = _costs(objectives, [of for of in figures if of is not None])
        low, high = (costs.min(axis=0), costs.max(axis=0)) if costs.size else (np.zeros(len(objectives)),) * 2
        fixed = [high[i] if one.worst is None else one.cost(one.worst) for i, one in enumerate(objectives)]
        return cls(tuple(map(float, low)), tuple(map(float, fixed)))

    def volumes(self, objectives: Sequence[Objective], figures: Sequence[Figures | None]) -> list[float]:
        """Share of the box that the first point dominates, the first two, and so on to all."""
        span = np.subtract(self.worst, self.best)
        corner = np.ones(len(objectives))
        front = np.empty((0, len(objectives)))
        volumes: list[float] = []
        for of in figures:
            volumes.append(volumes[-1] if volumes else 0.0)
            if of is None or (span <= 0).any():
                continue
            cost = (_costs(objectives, [of])[0] - self.best) / span
            if not (front <= cost).all(axis=1).any():
                front = np.vstack([front[~(cost <= front).all(axis=1)], cost])
                volumes[-1] = hypervolume(front, corner)
        return volumes


def _costs(objectives: Sequence[Objective], figures: Sequence[Figures]) -> NDArray[np.float64]:
    rows = [[one.cost(value) for one, value in zip(objectives, of, strict=True)] for of in figures]
    return np.array(rows, float).reshape(-1, len(objectives))
