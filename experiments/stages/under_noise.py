"""The metric of the compressed network under noise: curves over one kind of it, and layer by layer."""

from __future__ import annotations

import functools

from experiments.plans.plan import StudyPlan
from experiments.results.result import Curve, CurvePoint, LayerNoiseAccuracy
from experiments.results.summary import over_chips
from experiments.stages.chips import chip_accuracies
from experiments.stages.measure import Networks
from experiments.stages.quantise import QuantisedNetwork, quantise
from experiments.studies.noise_cases import points
from experiments.studies.study import Study
from mapping.tiles.mapped import MappedNetwork
from xbar.hardware.design import Hardware


def measured_curves(plan: StudyPlan, study: Study, nets: Networks) -> tuple[Curve, ...]:
    """Every curve of the study, with the statistics of its points over chips.

    Another device has its own levels, and so a network of its own.
    """
    context, example = plan.context, plan.network.example

    @functools.cache
    def on_levels(hardware: Hardware) -> QuantisedNetwork:
        if hardware == study.hardware:
            return nets.quantised
        placement = plan.placement.on(hardware)
        return quantise(context, plan.network, placement, study.quantise, plan.last, nets.compressed)

    @functools.cache
    def on_tiles(device: Hardware, hardware: Hardware) -> MappedNetwork:
        quantised = on_levels(device)
        mapped = quantised.mapped(plan.placement.on(hardware), example)
        return quantised.calibrated(context, mapped)[0]

    curves = []
    for curve in study.under_noise:
        base = curve.on(study.hardware)
        measured = []
        for point in points(curve, study.hardware):
            mapped = on_tiles(base, point.hardware)
            stage = chip_accuracies(context, on_levels(base), mapped, point.case, study.chips)
            chips = over_chips(point.label, stage.record, study.chips.threshold, context.label)
            measured.append(CurvePoint(**vars(chips), value=point.value))
        curves.append(Curve(curve.name, curve.axis, base.device.name, curve.compensation, tuple(measured)))
    return tuple(curves)


def measured_layers(
    plan: StudyPlan, study: Study, nets: Networks, mapped: MappedNetwork
) -> tuple[LayerNoiseAccuracy, ...]:
    """Accuracy of chips on which one layer alone is noisy, and of chips on which all others are."""
    rows = []
    for case in (case for case in study.chips.cases if case.by_layer):
        for name in mapped.layers:
            sets = {"only": [name], "others": [other for other in mapped.layers if other != name]}
            found = {}
            for key, noisy in sets.items():
                stage = chip_accuracies(plan.context, nets.quantised, mapped, case, study.chips, noisy)
                found[key] = over_chips(key, stage.record, study.chips.threshold, plan.context.label)
            rows.append(LayerNoiseAccuracy(case.name, name, **found))
    return tuple(rows)
