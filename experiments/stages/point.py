"""One point of a sweep: the figures that its store keeps."""

from __future__ import annotations

from experiments.plans.plan import StudyPlan
from experiments.results.point_result import (
    PointAccuracy,
    PointCosts,
    PointRate,
    PointResult,
    PointTiles,
)
from experiments.results.summary import over_chips
from experiments.stages.chips import calibrated, chip_accuracies
from experiments.stages.domain import outside_domain
from experiments.stages.measure import accuracies, networks
from experiments.studies.study import Study
from power.estimates.table import estimate
from xbar.hardware.files import build


def point(plan: StudyPlan, study: Study) -> tuple[PointResult, dict[str, str]]:
    """Compute what a sweep keeps of a study, and the ids of its stages. Only the first noise case is
    measured."""
    context = plan.context
    nets = networks(plan, study)
    mapped, activity = calibrated(context, plan.network, plan.placement, nets.quantised)
    case = study.chips.cases[0]
    stage = chip_accuracies(context, nets.quantised, mapped, case, study.chips)
    chips = over_chips(case.name, stage.record, study.chips.threshold, context.label)
    found = accuracies(plan, nets, mapped)
    result = PointResult(
        PointAccuracy(
            **found.networks,
            chips=chips,
            test_images=context.test_images,
            outside_domain=outside_domain(plan, nets, mapped, found),
            metric=context.label,
        ),
        PointRate(mapped.weights_total / mapped.weights_kept, mapped.weights_kept),
        PointTiles(mapped.tiles_per_plane, mapped.utilisation),
        build(PointCosts, estimate(mapped, activity).to_dict(), "estimate"),
    )
    return result, nets.ids()
