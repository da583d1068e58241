"""Figures of a run from its stages: statistics over chips, rates, tiles, versions, and a short text."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, Literal

import numpy as np
import torch
from scipy import stats

from experiments.results.metric_label import ACCURACY, MetricLabel
from experiments.results.result import (
    Accuracy,
    CompressionRates,
    DigitalOperator,
    LayerRate,
    LayerTiles,
    Mapped,
    Operations,
    OverChips,
    Result,
    StorageSummary,
    UnknownOperator,
)
from experiments.studies.noise_cases import with_noise
from experiments.studies.study import USUAL_THRESHOLD
from mapping.chips.chip import acts_at_random
from mapping.monte_carlo.sampling import half_width, standard_deviation
from mapping.network.gemm import shown_name
from mapping.smaller_networks.storage import storage
from mapping.tiles.mapped import MappedNetwork


def over_chips(
    name: str, record: Mapping[str, Any], threshold: float | None, label: MetricLabel = ACCURACY
) -> OverChips:
    """Statistics of the chips that a stage recorded, and whether the stop rule ended them."""
    found = chip_statistics(name, record["accuracies"], threshold, label)
    return dataclasses.replace(found, settled=record["settled"])


def chip_statistics(
    name: str, accuracies: Sequence[float], threshold: float | None, label: MetricLabel = ACCURACY
) -> OverChips:
    """Mean, spread, 95 % interval of the mean over chips (Student's t, within what the metric can be),
    quantiles, share that reaches a threshold, by default 99 of a percentage."""
    if threshold is None and label.is_percentage:
        threshold = USUAL_THRESHOLD
    reaching = None if threshold is None else [label.reaches(value, threshold) for value in accuracies]
    values = np.asarray(accuracies)
    n = len(values)
    half = half_width(values)
    mean = float(values.mean())
    return OverChips(
        name=name,
        n=n,
        mean=mean,
        std=standard_deviation(values) if n > 1 else 0.0,
        ci95_low=None if n == 1 else label.within(mean - half),
        ci95_high=None if n == 1 else label.within(mean + half),
        median=float(np.median(values)),
        p05=float(np.quantile(values, 0.05 if label.higher_is_better else 0.95)),
        threshold=threshold,
        share_above=None if reaching is None else float(np.mean(reaching)),
        per_chip=tuple(map(float, accuracies)),
    )


def finite_test_set_ci95(percent: float, images: int) -> float:
    """Half width of the 95 % Wilson interval of an accuracy on so many images [percentage points]."""
    low, high = interval_of_images(percent, images)
    return (high - low) / 2


def interval_of_images(percent: float, images: int) -> tuple[float, float]:
    """Ends of the 95 % interval of an accuracy that was found on so many images [percent].

    That of Wilson 1927 (doi:10.1080/01621459.1927.10502953). Near 100 % the accuracy is not its middle: an
    interval of the same width around the accuracy held the truth of 98 % in 92 and not 95 of 100 test sets of
    360 images.
    """
    interval = stats.binomtest(round(percent / 100 * images), images).proportion_ci(method="wilson")
    return 100 * float(interval.low), 100 * float(interval.high)


def left_by_images(accuracy: Accuracy) -> str:
    """The 95 % interval that the finite test set alone leaves to the ideal chip; "" where it is not known."""
    if accuracy.test_set_ci95 is None:
        return ""
    if accuracy.test_images is None:  # of a result that was kept before it said how many
        return f"within ±{accuracy.test_set_ci95:.2f}"
    low, high = interval_of_images(accuracy.ideal_chip, accuracy.test_images)
    return f"interval {low:.2f} to {high:.2f} of the ideal chip"


def compression_rates(mapped: MappedNetwork) -> CompressionRates:
    """Rates over the network and by layer."""
    return CompressionRates(
        rate=mapped.weights_total / mapped.weights_kept,
        weights_total=mapped.weights_total,
        weights_kept=mapped.weights_kept,
        counted="all weights of mapped layers; biases and indices not counted",
        storage=StorageSummary(**storage(mapped).to_dict()),
        layers={
            name: LayerRate(
                layer.weights_total, layer.weights_kept, layer.weights_total / max(layer.weights_kept, 1)
            )
            for name, layer in mapped.layers.items()
        },
    )


def mapping_summary(whole: MappedNetwork, unpacked: MappedNetwork, mapped: MappedNetwork) -> Mapped:
    """Tiles a plane before pruning, after it without packing, and packed; whole network and by layer."""
    crossbar = mapped.hardware.crossbar
    layers = {}
    for name, layer in mapped.layers.items():
        tiles, hardware = len(layer.tiles), layer.hardware
        cells = tiles * hardware.crossbar.rows * hardware.crossbar.cols
        layers[name] = LayerTiles(
            k=layer.k,
            n=layer.n,
            positions=layer.positions,
            tiles_before=len(whole.layers[name].tiles),
            tiles_unpacked=len(unpacked.layers[name].tiles),
            tiles_after=tiles,
            utilisation=layer.weights_kept * hardware.encoding.slices / cells if tiles else 0.0,
        )
    operations = operations_of(mapped)
    return Mapped(
        tile_rows=crossbar.rows,
        tile_cols=crossbar.cols,
        tiles_per_plane_before=whole.tiles_per_plane,
        tiles_per_plane_unpacked=unpacked.tiles_per_plane,
        tiles_per_plane_after=mapped.tiles_per_plane,
        utilisation=mapped.utilisation,
        layers=layers,
        **{field.name: getattr(operations, field.name) for field in dataclasses.fields(operations)},
    )


def operations_of(mapped: MappedNetwork) -> Operations:
    """Operations an image, the share of those on crossbars, and what stays digital, the most first.

    An operation is a multiply-accumulate of a product, or an input element of any other operator. Operators
    that take a weight and whose work is not known are listed apart.
    """
    kinds: dict[Literal["multiply-accumulates", "elements"], Mapping[str, int]] = {
        "multiply-accumulates": mapped.digital_macs,
        "elements": mapped.digital_elements,
    }
    total = mapped.macs + sum(count for counts in kinds.values() for count in counts.values())
    digital = [
        DigitalOperator(operator, unit, count, count / total)
        for unit, counts in kinds.items()
        for operator, count in counts.items()
    ]
    return Operations(
        operations=total,
        operations_share=mapped.macs / total,
        macs_share=mapped.macs_share,
        digital=tuple(sorted(digital, key=lambda row: -row.operations)),
        unknown=tuple(UnknownOperator(operator, calls) for operator, calls in mapped.digital_unknown.items()),
    )


def coverage(mapping: Operations) -> str:
    """One line on how much of a network is on crossbars; empty for a result that does not say."""
    share = share_of_macs(mapping)
    if share is None:
        return ""
    text = f"{percent_of_macs(share)} of {_macs(mapping):,} multiply-accumulates an image are on crossbars"
    if unknown := {row.operator: row.calls for row in mapping.unknown}:
        text += f", and more are not counted: {not_counted(unknown)}"
    return text


def share_of_macs(mapping: Operations) -> float | None:
    """Share of the known multiply-accumulates of an image that is on crossbars; None: not known."""
    if mapping.operations is None or not (mapping.digital or mapping.macs_share is not None):
        return None
    digital = sum(row.operations for row in mapping.digital if row.unit == "multiply-accumulates")
    macs = _macs(mapping)
    return (macs - digital) / macs


def _macs(mapping: Operations) -> int:
    elements = sum(row.operations for row in mapping.digital if row.unit == "elements")
    return (mapping.operations or 0) - elements


def percent_of_macs(share: float) -> str:
    """A share in percent, one that is not all never rounded up to 100 %."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.99):.2f} %"


def not_counted(unknown: Mapping[str, int]) -> str:
    """Calls of operators by name whose work is not known, and what to do."""
    calls = ", ".join(f"{name} ({count} call{'s' * (count > 1)})" for name, count in unknown.items())
    return f"{calls}: take weights, and what they do with them is not known"


def versions() -> dict[str, str]:
    """Versions of the software that the result was computed with."""
    names = ("xbar-codesign", "torch", "numpy", "numba", "scipy")
    return {
        **{name: metadata.version(name) for name in names},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": str(torch.get_num_threads()),
    }


def text_summary(result: Result) -> str:
    """A dozen lines for the terminal."""
    a, c, m = result.accuracy, result.compression, result.mapping
    before, after = result.estimate.before, result.estimate.after
    images = "" if a.test_images is None else f" of {a.test_images}"
    label = a.metric
    left = left_by_images(a)
    of_test = f"  (test set{images}: 95 % {left})" if left else ""
    networks = {
        "float": a.float,
        "compressed": a.compressed,
        "quantised": a.quantised,
        "ideal chip": a.ideal_chip,
    }
    lines = [
        "",
        f"{label.name:<12} "
        + ", ".join(f"{key} {label.text(value)}" for key, value in networks.items())
        + of_test,
        f"on tiles     {coverage(m)}",
    ]
    for case in a.chips_cases:
        ends = [label.digits(end) for end in (case.ci95_low, case.ci95_high) if end is not None]
        spread = f", 95 % interval {' to '.join(ends)}" if ends else ""
        spread = f", {are_alike(result, case)}" if are_alike(result, case) else spread
        lines.append(f"  {case.name:<18} {label.text(case.mean)} over {case.n} chips{spread}")
    for curve in a.under_noise:
        points = ", ".join(f"{point.name} {label.digits(point.mean)}" for point in curve.points)
        lines.append(f"  {curve.name}: {points}{label.symbol}")
    for row in a.by_layer:
        only, others = label.text(row.only.mean), label.text(row.others.mean)
        lines.append(f"  {row.case}, {shown_name(row.layer)} only {only}, all but it {others}")
    lines += [f"  outside its domain: {line}" for line in a.outside_domain]
    lines += [
        f"compression  {c.rate:.2f}x ({c.weights_kept} of {c.weights_total} weights)",
        f"tiles        {m.tiles_per_plane_before} a plane before pruning, "
        f"{m.tiles_per_plane_unpacked} after, {m.tiles_per_plane_after} packed "
        f"({m.tile_rows} x {m.tile_cols}, {m.utilisation:.0%} used)",
    ]
    for what, unit, key in (
        ("area", "mm2", "area_mm2"),
        ("power", "mW", "power_mw"),
        ("energy", "nJ an image", "energy_nj_per_image"),
    ):
        old, new, cut = getattr(before, key), getattr(after, key), _cut(result, what)
        sides = f"{new:.4g}" if keeps_all(result) else f"{old:.4g} -> {new:.4g}"
        lines.append(f"{what:<12} {sides} {unit}{f' ({cut})' if cut else ''}")
    return "\n".join(lines)


def keeps_all(result: Result) -> bool:
    """Whether the run kept every weight, so that nothing of what it saves is pruning's."""
    return result.compression.weights_kept == result.compression.weights_total


def _cut(result: Result, what: str) -> str:
    """How much less of something there is than uncompressed, and by pruning alone, as far as that differs."""
    estimate = result.estimate
    change = getattr(estimate.reduction_percent, what)
    if keeps_all(result):
        same = estimate.before.cells == estimate.after.cells
        return "" if same else f"{_change(change)} the same weights of {estimate.before.cells}"
    slices = estimate.before.slices
    saved = estimate.pruning_percent
    alone = "" if saved is None else f", {_change(getattr(saved, what), '')} by pruning alone"
    return f"{_change(change)} uncompressed in {slices} slice{'s' * (slices > 1)}{alone}"


def are_alike(result: Result, case: OverChips) -> str:
    """``all alike``, where a case has several chips of one value, and why; else empty."""
    if case.n < 2 or len(set(case.per_chip)) > 1:
        return ""
    given = next((each for each in result.study.chips.cases if each.name == case.name), None)
    quiet = given is not None and not acts_at_random(with_noise(result.study.hardware, given))
    return "all alike: nothing differs between chips of this case" if quiet else "all alike"


def _change(reduction: float, than: str = " than") -> str:
    """How much less, or more, of something there is [%]: ``2.00 % more than``."""
    if f"{abs(reduction):.2f}" == "0.00":
        return "as much as" if than else "0.00 % less"
    return f"{abs(reduction):.2f} % {'less' if reduction > 0 else 'more'}{than}"
