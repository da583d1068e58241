"""Accuracy of the compressed network under noise: curves over one kind of it, and layer by layer."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

from experiments.results.summary import over_chips_summary
from experiments.stages import steps
from experiments.stages.stage import StageResult
from experiments.stages.work import Run, split_masks
from experiments.studies.noise_cases import points
from mapping.chips.calibration import calibrate
from mapping.tiles.mapped import MappedNetwork
from xbar.hardware.design import Hardware


def measured_curves(
    run: Run, compressed: StageResult, quantised: StageResult, network: nn.Module
) -> list[dict[str, Any]]:
    """Every curve of the study, with the statistics of its points over chips.

    `quantised` and `network` are those of the study's own hardware; another device has its own levels, and so
    a network of its own.
    """
    study = run.study

    @functools.cache
    def on_levels(hardware: Hardware) -> tuple[StageResult, nn.Module]:
        same = hardware == study.hardware
        return (quantised, network) if same else steps.quantise(run, compressed, hardware)

    @functools.cache
    def on_tiles(levels: Hardware, hardware: Hardware) -> MappedNetwork:
        stage, model = on_levels(levels)
        masks, scales = split_masks(stage.tensors)[1], stage.record["scales"]
        mapped = run.map(model, hardware, masks=masks, scales=scales)
        return calibrate(mapped, model, run.calibration_batches())[0]

    curves = []
    for curve in study.under_noise:
        base = curve.on(study.hardware)
        stage, model = on_levels(base)
        measured = []
        for point in points(curve, study.hardware):
            chips = steps.chips(run, model, on_tiles(base, point.hardware), point.case, stage)
            summary = over_chips_summary(point.label, chips.record, study.chips.threshold)
            measured.append({"value": point.value, **summary})
        row = {"name": curve.name, "axis": curve.axis, "device": base.device.name}
        curves.append({**row, "compensation": curve.compensation, "points": measured})
    return curves


def measured_layers(
    run: Run, network: nn.Module, mapped: MappedNetwork, quantised: StageResult
) -> list[dict[str, Any]]:
    """For every layer and case that asks for it: chips with that layer noisy only, and with all others."""
    rows = []
    for case in (case for case in run.study.chips.cases if case.by_layer):
        for name in mapped.layers:
            row: dict[str, Any] = {"case": case.name, "layer": name}
            sets = {"only": [name], "others": [other for other in mapped.layers if other != name]}
            for key, noisy in sets.items():
                record = steps.chips(run, network, mapped, case, quantised, noisy).record
                row[key] = over_chips_summary(key, record, run.study.chips.threshold)
            rows.append(row)
    return rows
