"""Ids that the stages of a study's networks will have, known before any of them has run."""

from __future__ import annotations

from experiments.plans.plan import StudyPlan
from experiments.run_folder.ids import stage_id
from experiments.stages.compress import compress_inputs
from experiments.stages.quantise import quantise_inputs
from experiments.stages.train import train_inputs
from experiments.studies.study import Study
from xbar.hardware.errors import XbarError


def planned_ids(plan: StudyPlan, study: Study) -> dict[str, str]:
    """Id of the last stage of each kind, ``train``, ``compress`` and ``quantise``.

    Raises
    ------
    XbarError
        For a compression with several children: which of them goes on is not known before they are trained.
    """
    if study.compress.children > 1:
        raise XbarError("compress.children: ids after the first rate are known only when all are trained")
    context, seed = plan.context, {"seed": study.seed}
    train = stage_id("train", {**seed, **train_inputs(context, plan.network, study.train)})
    compress = train
    for step in study.compress.steps:
        of_step = compress_inputs(plan.rules, study.compress, context.fine_tuning, step, compress)
        compress = stage_id("compress", {**seed, **of_step})
    inputs = quantise_inputs(context, plan.network, plan.placement, study.quantise, plan.last, compress)
    return {"train": train, "compress": compress, "quantise": stage_id("quantise", {**seed, **inputs})}
