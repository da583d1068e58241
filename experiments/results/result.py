"""The shape of `result.json`: what a report reads of it. A file of another shape is refused with the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

Percent = float
"""A number that is a percentage; `Accuracy` has a field of the name of its type."""


@dataclass(frozen=True)
class Statistics:
    """Accuracy over chips [percent]; `share_above` is a share of 1."""

    name: str
    n: int
    mean: float
    std: float
    ci95_low: float | None
    ci95_high: float | None
    median: float
    p05: float
    threshold: float
    share_above: float
    per_chip: Annotated[tuple[float, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Settled(Statistics):
    """Chips under the stop rule."""

    settled: bool


@dataclass(frozen=True)
class CurvePoint(Settled):
    """A point of a curve, at `value` of its axis."""

    value: float


@dataclass(frozen=True)
class Curve:
    """Accuracy over one kind of noise."""

    name: str
    axis: Literal["mismatch", "stuck", "adc-bits", "time"]
    device: str
    compensation: Literal["none", "layer", "column"]
    points: Annotated[tuple[CurvePoint, ...], Field(min_length=1)]


@dataclass(frozen=True)
class LayerNoiseAccuracy:
    """Noise in one layer, and in all others."""

    case: str
    layer: str
    only: Settled
    others: Settled


@dataclass(frozen=True)
class Accuracy:
    """Accuracies of every step [percent]; that of the float network has the key ``float``."""

    compressed: Percent
    quantised: Percent
    ideal_chip: Percent
    float: Percent
    chips: Statistics
    chips_cases: Annotated[tuple[Statistics, ...], Field(min_length=1)]
    test_set_ci95: Percent
    clipped_inputs: Mapping[str, Percent] = field(default_factory=dict)
    outside_domain: tuple[str, ...] = ()
    validation: Mapping[str, Percent] = field(default_factory=dict)
    by_layer: tuple[LayerNoiseAccuracy, ...] = ()
    under_noise: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class CompressionRates:
    """Weights before and after, in all and by layer."""

    rate: float
    weights_total: int
    weights_kept: int
    counted: str
    layers: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class DigitalOperator:
    """What stays digital."""

    operator: str
    unit: str
    operations: int
    share: float


@dataclass(frozen=True)
class UnknownOperator:
    """What takes weights and may be a product of a size that is not known."""

    operator: str
    calls: int


@dataclass(frozen=True)
class Mapped:
    """Tiles before and after, in all and by layer."""

    tile_rows: int
    tile_cols: int
    tiles_per_plane_before: int
    tiles_per_plane_unpacked: int
    tiles_per_plane_after: int
    utilisation: float
    layers: Mapping[str, Mapping[str, float]]
    operations: int | None = None
    operations_share: float | None = None
    macs_share: float | None = None
    digital: tuple[DigitalOperator, ...] = ()
    unknown: tuple[UnknownOperator, ...] = ()


@dataclass(frozen=True)
class ComponentCost:
    """What a component or layer costs; None: not modelled."""

    area_mm2: float | None
    energy_nj: float | None


@dataclass(frozen=True)
class Side:
    """Estimate of one mapping."""

    area_mm2: float
    area_whole_tiles_mm2: float
    energy_nj_per_image: float
    image_rate_per_s: float
    power_mw: float
    latency_us_per_image: float
    weight_bits: float
    slices: int
    arrays: int
    groups: int
    tiles: int
    adc: str
    conductances: str
    inputs: str
    not_modelled: tuple[str, ...]
    sources: tuple[str, ...]
    by_component: Mapping[str, ComponentCost]
    by_layer: Mapping[str, ComponentCost]
    peak_image_rate_per_s: float | None = None
    peak_power_mw: float | None = None


@dataclass(frozen=True)
class Reduction:
    """Percent, after held against before."""

    area: float
    power: float
    energy: float


@dataclass(frozen=True)
class Estimates:
    """Both sides."""

    before: Side
    after: Side
    reduction_percent: Reduction


@dataclass(frozen=True)
class Data:
    """The data set, with the SHA-256 of what was read."""

    name: str
    checksum: str


@dataclass(frozen=True)
class Result:
    """A run. `study` and `hardware` have shapes of their own."""

    accuracy: Accuracy
    compression: CompressionRates
    mapping: Mapped
    estimate: Estimates
    seconds: Mapping[str, float]
    seed: int
    versions: Mapping[str, str]
    data: Data
    stages: Mapping[str, str]
    study: dict[str, Any]
    hardware: dict[str, Any]


@dataclass(frozen=True)
class Residuals:
    """A row of `log.json` in an epoch of ADMM."""

    stage: str
    epoch: int
    layer: str
    primal: float
    dual: float
