"""The page of one run: accuracy, compression, mapping, cost, hardware, provenance and what to cite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.figures.noise_plots import AXES
from experiments.inputs.data import is_path
from experiments.report.citations import citations
from experiments.report.hardware_table import changes, hardware_notes, hardware_rows
from experiments.report.page import leaves, placed, shown_value, toml, unique, write_page
from experiments.results.domain import residual_sentences
from experiments.results.metric_label import MetricLabel
from experiments.results.result import Curve, CurvePoint, Estimates, Result
from experiments.results.summary import (
    are_alike,
    coverage,
    keeps_all,
    percent_of_macs,
    share_of_macs,
)
from experiments.studies.study import Study, load_study, study_dict, study_names
from mapping.network.gemm import shown_name
from xbar.hardware.files import to_dict

CAPTIONS = {
    "accuracy": (
        "accuracy",
        "Test accuracy by noise case. A dot is one chip, the diamond their mean with its 95 % interval "
        "(Student's t), the dashed line the ideal chip; the height of a dot within its case means nothing.",
    ),
    "noise-mismatch": (
        "noise",
        "Test accuracy (up, at the logarithm of the error) over the log-normal write error of every cell "
        "relative to its own target, mean kept (across). Means over chips with 95 % intervals.",
    ),
    "noise-stuck": (
        "noise",
        "Test accuracy (up, at the logarithm of the error) over the share of stuck cells (across), "
        "unknown when the weights are mapped, no repair. Means over chips with 95 % intervals.",
    ),
    "noise-adc-bits": (
        "noise",
        "Test accuracy (up, at the logarithm of the error) over the bits of the ADC (across), its ranges "
        "calibrated for each. Means over chips with 95 % intervals.",
    ),
    "noise-time": (
        "noise",
        "Test accuracy (up, at the logarithm of the error) of the same chips over the time since the "
        "write (across, logarithmic). Beyond what a device's source measured, its law is extrapolated; "
        "xbar devices says where.",
    ),
    "by-layer": (
        "noise",
        "Which layer's noise costs most: test accuracy (across) with noise in one layer only, and in all "
        "others. Means over chips with 95 % intervals; dashed: no layer noisy, and all.",
    ),
    "residuals": (
        "compression",
        "Residuals of ADMM (up, logarithmic) over the epochs (across), a row a layer and a column a "
        "phase. Both fall where the constraint is reached.",
    ),
    "masks": (
        "mapping",
        "Left: kept weights of each layer's matrix, word lines down and outputs across, the bluer the more "
        "of them; orange lines are tile borders. Right: tiles of each band of word lines, by the share of "
        "their cells that hold a kept weight; empty squares are not built.",
    ),
    "conductances": (
        "mapping",
        "How many cells (up, logarithmic) of one chip of the first noise case, at its time, have which "
        "conductance (across). Orange: cells wanted at a state; grey lines are the device's states.",
    ),
    "area": (
        "cost",
        "Area by component (across), uncompressed and compressed; below, compressed on its own scale.",
    ),
    "energy": (
        "cost",
        "Energy of one image by component (across), uncompressed and compressed; below, compressed on its "
        "own scale.",
    ),
}

COSTS = (
    ("Area (whole arrays, share of tiles)", "mm²", "area_mm2", "area"),
    ("Area of the nodes that are bought for it", "mm²", "area_allocated_mm2", None),
    ("Area in whole periphery tiles", "mm²", "area_whole_tiles_mm2", None),
    ("Energy an image", "nJ", "energy_nj_per_image", "energy"),
    ("of it what leaks, by a source", "nJ", "idle_nj_per_image", None),
    ("What could leak beside it (assumed, in no total)", "nJ", "assumed_idle_nj_per_image", None),
    ("Image rate", "1/s", "image_rate_per_s", None),
    ("Power at this image rate", "mW", "power_mw", "power"),
    ("Latency of an image", "µs", "latency_us_per_image", None),
    ("Weight precision", "bit", "weight_bits", None),
    ("Slices a weight", "", "slices", None),
    ("Arrays", "", "arrays", None),
    ("Groups", "", "groups", None),
    ("Tiles of the periphery", "", "tiles", None),
)
PEAKS = (
    ("Peak image rate", "1/s", "peak_image_rate_per_s"),
    ("Power at this rate", "mW", "peak_power_mw"),
)
AREAS = {"area_allocated_mm2", "area_whole_tiles_mm2"}
REDUCIBLE = AREAS | {"latency_us_per_image", "arrays", "groups", "tiles"}

MANY_LAYERS = 6
"""Layers from which on the panels of residuals are folded."""


def write_report(
    result: Result, figures: Mapping[str, str], path: Path, log: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write the report of one run.

    Parameters
    ----------
    result
        Result of the run.
    figures
        SVG text by stem. The stems of `CAPTIONS` have their place and caption; others follow at the end
        under their stem.
    path
        HTML file, replaced as a whole.
    log
        Rows of the run's ``log.json``.
    """
    estimate, hardware = result.estimate, to_dict(result.hardware)
    share = share_of_macs(result.mapping)
    write_page(
        "report.html.jinja",
        path,
        result=result,
        coverage=coverage(result.mapping),
        share_on_tiles=None if share is None else percent_of_macs(share),
        figures=placed(figures, captions_for(result.accuracy.metric), folded(log)),
        residuals=residual_sentences(log),
        trained_by_admm=_layers_of_admm(log),
        sides=list(estimate.sides),
        alike={
            case.name: are_alike(result, case)
            for case in (result.accuracy.chips, *result.accuracy.chips_cases)
        },
        keeps_all=keeps_all(result),
        versus=_versus(result),
        costs=_cost_rows(estimate),
        peaks=_peak_rows(estimate),
        splits=[
            (title, _split_rows(estimate, key))
            for title, key in (("Component", "by_component"), ("Layer", "by_layer"))
        ],
        layers=_layer_rows(result),
        curve_tables=_curve_tables(result.accuracy.under_noise),
        hardware=hardware_rows(hardware),
        changed=list(changes(hardware)),
        changed_study=changed_of_study(result.study),
        own_description=_has_own_description(result.study),
        assumed=hardware_notes(hardware),
        sources=_sources(result),
        citations=citations([result]),
        provenance=provenance(result),
        command=_command(result),
        not_modelled=unique([*estimate.before.not_modelled, *estimate.after.not_modelled]),
        study=toml(study_dict(result.study)),
    )


def _versus(result: Result) -> str | None:
    """Text after a reduction: empty where weights were pruned, else the cells that it is against. None where
    nothing is reduced."""
    before, after = result.estimate.before, result.estimate.after
    if not keeps_all(result):
        return ""
    return None if before.cells == after.cells else f" against {before.cells}"


def changed_of_study(study: Study) -> list[tuple[str, str, str]]:
    """(key, value here, value there) of what differs from the built-in study of the same name, if there is
    one; seed and description are not of it."""
    if study.name not in study_names():
        return []
    here, there = (dict(leaves(study_dict(each))) for each in (study, load_study(study.name)))
    return [
        (key, shown_value(here.get(key)), shown_value(there.get(key)))
        for key in unique([*there, *here])
        if here.get(key) != there.get(key) and key not in ("seed", "description")
    ]


def _has_own_description(study: Study) -> bool:
    """Whether the description is not that of the built-in study of the same name."""
    return study.name not in study_names() or study.description != load_study(study.name).description


def _layers_of_admm(log: Iterable[Mapping[str, Any]]) -> int:
    """Layers that have residuals in a log."""
    return len({row["layer"] for row in log if "primal" in row})


def folded(log: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The line under which a figure is folded, by stem: that of residuals where layers are many."""
    layers = _layers_of_admm(log)
    return {"residuals": f"Residuals of {layers} layers, epoch by epoch"} if layers > MANY_LAYERS else {}


def captions_for(metric: MetricLabel) -> dict[str, tuple[str, str]]:
    """(section, caption) of the figures, in the words of the metric."""
    up = " (up, at the logarithm of the error)"
    return {
        stem: (
            section,
            caption.replace(up, up if metric.is_percentage else " (up)").replace(
                "est accuracy", f"est {metric.name}"
            ),
        )
        for stem, (section, caption) in CAPTIONS.items()
    }


def provenance(result: Result) -> dict[str, str]:
    """Rows that say what the result was computed from and with: seed, data, stages, versions."""
    names = {"xbar-codesign": "xbar", "machine": "processor", "threads": "threads of torch"}
    return {
        "seed": str(result.seed),
        "data set": result.data.name,
        "SHA-256 of the data": result.data.checksum,
        **{f"id of stage {stage}": identity for stage, identity in result.stages.items()},
        **{names.get(name, name): version for name, version in result.versions.items()},
    }


def _command(result: Result) -> str:
    """The command that runs the study once more."""
    alone = result.data.name == "digits" or ":" in result.data.name or is_path(result.data.name)
    data = "" if alone else " --data FOLDER"
    return f"xbar run study.toml{data} --out runs/again"


def _reduction(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None or before == 0 else 100 * (1 - after / before)


def _cost_rows(estimate: Estimates) -> list[tuple[str, str, list[Any], list[float | None]]]:
    """(label, unit, the value of each side, reductions in percent) of the totals: the reduction in all, and
    that by pruning alone where a side says what this is."""
    *uncompressed, after = estimate.sides.values()
    saved = [estimate.reduction_percent, estimate.pruning_percent]
    rows = []
    for label, unit, key, reduced in COSTS:
        reductions = []
        for side, percents in zip(uncompressed, saved, strict=False):
            if reduced is not None and percents is not None:
                reductions.append(getattr(percents, reduced))
            else:
                values = getattr(side, key), getattr(after, key)
                reductions.append(_reduction(*values) if key in REDUCIBLE else None)
        rows.append((label, unit, [getattr(side, key) for side in (*uncompressed, after)], reductions))
    return rows


def _peak_rows(estimate: Estimates) -> list[tuple[str, str, list[Any]]]:
    """(label, unit, values) of each side at the rate at which its own slowest layer is always busy."""
    sides = estimate.sides.values()
    rows = [(label, unit, [getattr(side, key) for side in sides]) for label, unit, key in PEAKS]
    return [row for row in rows if row[2][0] is not None]


def _split_rows(estimate: Estimates, key: str) -> list[tuple[str, list[float | None]]]:
    """(name, [area of each side, energy of each]) of every part of a total, the costliest first."""
    sides = [getattr(side, key) for side in estimate.sides.values()]
    names = unique(name for side in sides for name in side)
    rows = [
        (
            shown_name(name),
            [getattr(side.get(name), what, None) for what in ("area_mm2", "energy_nj") for side in sides],
        )
        for name in names
    ]
    if key == "by_component":
        rows.sort(key=lambda row: -(row[1][len(sides)] or 0))
    return rows


def _layer_rows(result: Result) -> list[dict[str, Any]]:
    """A row for each layer, with the keys of mapping and compression."""
    mapping, compression = to_dict(result.mapping.layers), to_dict(result.compression.layers)
    return [
        {"name": shown_name(name), **mapping.get(name, {}), **compression.get(name, {})}
        for name in unique([*mapping, *compression])
    ]


def _curve_tables(
    curves: Iterable[Curve],
) -> list[tuple[str, list[str], list[tuple[float, str, list[CurvePoint | None]]]]]:
    """For every axis: its words, the names of its curves, and (value, label, a point a curve), ascending."""
    tables = []
    for axis in unique(curve.axis for curve in curves):
        own = [curve for curve in curves if curve.axis == axis]
        labels = {point.value: point.name for curve in own for point in curve.points}
        found = [{point.value: point for point in curve.points} for curve in own]
        rows = [(value, labels[value], [points.get(value) for points in found]) for value in sorted(labels)]
        tables.append((AXES[axis], [curve.name for curve in own], rows))
    return tables


def _sources(result: Result) -> list[str]:
    hardware, estimate = result.hardware, result.estimate
    lines = [hardware.source, hardware.device.source]
    return unique(line for line in [*lines, *estimate.before.sources, *estimate.after.sources] if line)
