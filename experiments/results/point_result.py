"""`PointResult`: the part of a `Result` that a point of a sweep keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.results.metric_label import ACCURACY, MetricLabel
from experiments.results.plain_checks import plain
from experiments.results.result import ComponentCost, MetricValue, OverChips


@dataclass(frozen=True)
class PointAccuracy:
    """The part of an `Accuracy` that a point of a sweep keeps."""

    compressed: MetricValue
    quantised: MetricValue
    ideal_chip: MetricValue
    float: MetricValue
    chips: OverChips
    test_images: int
    outside_domain: tuple[str, ...] = ()
    metric: MetricLabel = ACCURACY


@dataclass(frozen=True)
class PointRate:
    """The part of `CompressionRates` that a point of a sweep keeps."""

    rate: float
    weights_kept: int


@dataclass(frozen=True)
class PointTiles:
    """The part of `Mapped` that a point of a sweep keeps."""

    tiles_per_plane_after: int
    utilisation: float


@dataclass(frozen=True)
class PointCosts:
    """The part of a `Side` that a point of a sweep keeps. The power is at the point's own peak rate."""

    area_mm2: float
    energy_nj_per_image: float
    latency_us_per_image: float
    peak_image_rate_per_s: float
    peak_power_mw: float
    arrays: int
    tops_per_w: float | None
    tops_per_mm2: float | None
    by_component: Mapping[str, ComponentCost]


@dataclass(frozen=True)
class PointResult:
    """The result of a point of a sweep: figures of a `Result`, under the same keys. Its estimate is of the
    compressed network alone."""

    accuracy: PointAccuracy
    compression: PointRate
    mapping: PointTiles
    estimate: PointCosts

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as the store of a sweep holds it."""
        found: dict[str, Any] = plain(self)
        return found
