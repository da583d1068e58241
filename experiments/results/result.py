"""`Result`: what a run gives, and the one place where its shape stands.

``result.json`` is its plain data, and the rows of a sweep, the report, the tables and the text in the
terminal read it and nothing else. A file of another shape is refused with the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from experiments.results.metric_label import ACCURACY, MetricLabel
from experiments.results.plain_checks import KEY as DIGESTS, check_numbers, check_result, plain
from experiments.studies.own_code import extensions_of
from experiments.studies.study import Study, resolve_study, study_dict
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError
from xbar.hardware.files import build, to_dict

MetricValue = float
"""A number in the unit of the metric. `Accuracy` has a field called ``float``, which hides the type."""


class _Strict:
    """Keys that a part of a result does not have are refused."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}


@dataclass(frozen=True)
class OverChips(_Strict):
    """The metric over chips, in its unit.

    ``p05``: what all but the worst 5 % of chips reach. ``share_above``: share of 1 of those at the
    threshold or better; None: no threshold. ``settled``: whether the stop rule ended them; None: none asked.
    """

    name: str
    n: int
    mean: float
    std: float
    ci95_low: float | None
    ci95_high: float | None
    median: float
    p05: float
    threshold: float | None
    share_above: float | None
    per_chip: Annotated[tuple[float, ...], Field(min_length=1)]
    settled: bool | None = None


@dataclass(frozen=True, kw_only=True)
class CurvePoint(OverChips):
    """A point of a curve, at `value` of its axis."""

    value: float


@dataclass(frozen=True)
class Curve(_Strict):
    """The metric over one kind of noise."""

    name: str
    axis: Literal["mismatch", "stuck", "adc-bits", "time"]
    device: str
    compensation: Literal["none", "layer", "column"]
    points: Annotated[tuple[CurvePoint, ...], Field(min_length=1)]


@dataclass(frozen=True)
class LayerNoiseAccuracy(_Strict):
    """The metric with noise in one layer only, and in all others."""

    case: str
    layer: str
    only: OverChips
    others: OverChips


@dataclass(frozen=True)
class Accuracy(_Strict):
    """The accuracy that every step reaches on the test set, in percent or the unit of ``metric``.

    ``chips`` is the first of ``chips_cases``. ``test_set_ci95``: half width of the interval that the finite
    test set alone leaves; None: not known. ``clipped_inputs``: shares of the inputs of a layer.
    """

    compressed: MetricValue
    quantised: MetricValue
    ideal_chip: MetricValue
    float: MetricValue
    chips: OverChips
    chips_cases: Annotated[tuple[OverChips, ...], Field(min_length=1)]
    test_set_ci95: MetricValue | None
    test_images: int | None = None
    clipped_inputs: Mapping[str, MetricValue] = field(default_factory=dict)
    outside_domain: tuple[str, ...] = ()
    validation: Mapping[str, MetricValue] = field(default_factory=dict)
    by_layer: tuple[LayerNoiseAccuracy, ...] = ()
    under_noise: tuple[Curve, ...] = ()
    metric: MetricLabel = ACCURACY


@dataclass(frozen=True)
class StorageSummary(_Strict):
    """Size of the weights as a file, and the compression rates against 32-bit weights."""

    rate_without_indices: float
    rate_with_indices: float
    bytes_without_indices: float
    bytes_with_indices: float
    index_bits: int
    bytes_of_scales: float | None = None


@dataclass(frozen=True)
class LayerRate(_Strict):
    """Weights of a layer before and after."""

    weights_total: int
    weights_kept: int
    rate: float


@dataclass(frozen=True)
class CompressionRates(_Strict):
    """Weights before and after, in all and by layer."""

    rate: float
    weights_total: int
    weights_kept: int
    counted: str
    layers: Mapping[str, LayerRate]
    storage: StorageSummary | None = None


@dataclass(frozen=True)
class DigitalOperator(_Strict):
    """An operator that stays digital."""

    operator: str
    unit: Literal["multiply-accumulates", "elements"]
    operations: int
    share: float


@dataclass(frozen=True)
class UnknownOperator(_Strict):
    """An operator that takes weights, and may be a product of a size that is not known."""

    operator: str
    calls: int


@dataclass(frozen=True)
class LayerTiles(_Strict):
    """The GEMM matrix of a layer, and its tiles a plane."""

    k: int
    n: int
    positions: int
    tiles_before: int
    tiles_unpacked: int
    tiles_after: int
    utilisation: float


@dataclass(frozen=True, kw_only=True)
class Operations(_Strict):
    """Operations of an image, and what of them stays digital; None in older files."""

    operations: int | None = None
    operations_share: float | None = None
    macs_share: float | None = None
    digital: tuple[DigitalOperator, ...] = ()
    unknown: tuple[UnknownOperator, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mapped(Operations):
    """Tiles before and after, in all and by layer, and what stays digital."""

    tile_rows: int
    tile_cols: int
    tiles_per_plane_before: int
    tiles_per_plane_unpacked: int
    tiles_per_plane_after: int
    utilisation: float
    layers: Mapping[str, LayerTiles]


@dataclass(frozen=True)
class ComponentCost(_Strict):
    """Area and energy of a component or layer; None: not modelled."""

    area_mm2: float | None
    energy_nj: float | None
    allocated_mm2: float | None = None
    dynamic_nj: float | None = None
    idle_nj: float | None = None


@dataclass(frozen=True)
class Side(_Strict):
    """Estimate of one mapping: `power.estimates.totals.Estimate` as plain data."""

    area_mm2: float
    area_whole_tiles_mm2: float
    energy_nj_per_image: float
    image_rate_per_s: float
    power_mw: float
    latency_us_per_image: float | None  # None: of before layers streamed
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
    by_level: Mapping[str, ComponentCost] = field(default_factory=dict)
    area_allocated_mm2: float | None = None
    dynamic_nj_per_image: float | None = None
    idle_nj_per_image: float | None = None
    assumed_leakage_mw: float | None = None
    assumed_idle_nj_per_image: float | None = None
    levels: Mapping[str, int] = field(default_factory=dict)
    nodes: Mapping[str, int] = field(default_factory=dict)
    bottleneck: str = ""
    schedule: str = ""
    critical_path: tuple[Mapping[str, Any], ...] = ()
    utilisation: Mapping[str, float] = field(default_factory=dict)
    architecture: str = ""
    counting: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    peak_image_rate_per_s: float | None = None
    peak_power_mw: float | None = None
    leakage_mw: float | None = None
    macs_share: float | None = None
    tops: float | None = None
    tops_per_w: float | None = None
    tops_per_mm2: float | None = None
    operations: int | None = None
    dense_operations: int | None = None
    peak_operations_per_s: float | None = None
    digital_macs: Mapping[str, int] = field(default_factory=dict)
    digital_unknown: Mapping[str, int] = field(default_factory=dict)
    digital_operations: int | None = None
    digital_unpriced: Mapping[str, int] = field(default_factory=dict)
    unpriced_share: float | None = None
    not_scaled: tuple[str, ...] = ()
    prices: Mapping[str, Any] = field(default_factory=dict)
    table: tuple[Mapping[str, Any], ...] = ()

    @property
    def cells(self) -> str:
        """Text of how a weight is stored: ``9 bit in 2 slices``."""
        return f"{self.weight_bits:.3g} bit in {self.slices} slice{'s' * (self.slices > 1)}"


@dataclass(frozen=True)
class Reduction(_Strict):
    """Percent that the compressed network takes less than an uncompressed one."""

    area: float
    power: float
    energy: float
    dynamic: float | None = None


@dataclass(frozen=True)
class Estimates(_Strict):
    """Costs of the uncompressed network and of the compressed one.

    ``before`` is in the slices that the study compares with; ``unpruned`` is the same network on the cells of
    the compressed one, so that ``pruning_percent`` is what pruning alone saves; None: of an older run.
    """

    before: Side
    after: Side
    reduction_percent: Reduction
    unpruned: Side | None = None
    pruning_percent: Reduction | None = None

    @property
    def sides(self) -> dict[str, Side]:
        """The sides of the comparison, by title: uncompressed, with the cells of the compressed one where
        these are others, and compressed."""
        sides = {f"uncompressed, {self.before.cells}": self.before}
        if self.unpruned is not None and self.unpruned.cells != self.before.cells:
            sides[f"uncompressed, {self.unpruned.cells}"] = self.unpruned
        return {**sides, f"compressed, {self.after.cells}": self.after}


@dataclass(frozen=True)
class DataSource(_Strict):
    """The data set, with the SHA-256 of what was read."""

    name: str
    checksum: str


@dataclass(frozen=True)
class _Figures(_Strict):
    """Everything of a result but its study."""

    accuracy: Accuracy
    compression: CompressionRates
    mapping: Mapped
    estimate: Estimates
    seconds: Mapping[str, float]
    seed: int
    versions: Mapping[str, str]
    data: DataSource
    stages: Mapping[str, str]


UNITS = {
    "accuracy": "percent, or that of accuracy.metric",
    "share_above": "share of chips",
    "clipped_inputs": "share of the inputs of a layer",
    "compression.rate": "weights in all / weights kept",
    "mapping.utilisation": "share of built cells",
    "reduction_percent": "percent",
    "seconds": "s",
    "hardware": "S, V, A, s, 1/s",
}
"""Units of what does not say its own in the name of its key."""


@dataclass(frozen=True)
class Result(_Figures):
    """The typed outcome of a run: its study, accuracies, compression, tiles and costs.

    Parameters
    ----------
    accuracy, compression, mapping, estimate
        Its figures.
    seconds
        Work by kind of stage, interrupted runs included, and that of this session [s].
    stages
        Ids of the stages that made the networks.
    study
        What was asked for, every value resolved.
    """

    study: Study

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.study.name

    @property
    def hardware(self) -> Hardware:
        """The study's hardware."""
        return self.study.hardware

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what ``result.json`` holds."""
        figures = {name: plain(getattr(self, name)) for name in _Figures.__dataclass_fields__}
        return {
            "name": self.name,
            **figures,
            "units": UNITS,
            "study": study_dict(self.study),
            "hardware": to_dict(self.hardware),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str) -> Result:
        """The result of plain data; `where` begins messages.

        Keys that are younger than the data are at their defaults; the study is read by today's rules. What
        a file of the study's extensions adds that is not there is kept as data.

        Raises
        ------
        XbarError
            For data of another shape, an unknown key, NaN, and data that their digest does not fit.
        """
        check_result(data, where)
        check_numbers(data, where)
        beside = ("name", "units", "study", "hardware", DIGESTS)
        figures = build(_Figures, {name: part for name, part in data.items() if name not in beside}, where)
        for key in ("study", "hardware"):
            if not isinstance(data.get(key), Mapping):
                raise XbarError(f"{where}: {key}: missing")
        study = resolve_study(data["study"], f"{where}: study", reading=True)
        with extensions_of(study.extensions, reading=True):
            build(Hardware, data["hardware"], f"{where}: hardware")
        return cls(**{name: getattr(figures, name) for name in _Figures.__dataclass_fields__}, study=study)


@dataclass(frozen=True)
class Residuals:
    """A row of `log.json` in an epoch of ADMM."""

    stage: str
    epoch: int
    layer: str
    primal: float
    dual: float
