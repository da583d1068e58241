"""Notices before work starts, a line each: a study allows something that its user hardly means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch.nn import functional

from experiments.inputs.networks import draws_weights, network_file
from experiments.plans.plan import StudyPlan
from experiments.studies.study import Study
from mapping.network.modules import run_example
from mapping.training.losses import LOSSES, binary_cross_entropy, token_cross_entropy
from mapping.training.untrained import looks_untrained

DEFAULT_IMAGES = {
    field.name: field.default
    for field in dataclasses.fields(Study)
    if field.name in ("calibration_images", "test_images")
}
"""Numbers of inputs that nobody asked for; 0 stands for all."""


def notices(plan: StudyPlan, study: Study) -> Iterator[str]:
    """A sentence for a network whose weights nobody trained, for one that gives probabilities to a loss that
    takes logits, for a device whose own write error no chip has, and for more inputs than there are."""
    named = network_file(study.network) is not None and not draws_weights(study.network)
    given = named and not looks_untrained(plan.network.form)
    if study.train.epochs == 0 and not study.train.weights and not given:
        yield (
            f"network {study.network} has random weights: train.epochs = 0, and no train.weights (--weights) "
            "are given"
        )
    loss = plan.context.measures.loss
    axis = {functional.cross_entropy: 1, token_cross_entropy: -1}.get(loss)
    outputs = run_example(plan.network.form, plan.network.example)
    last = list(plan.network.form.modules())[-1]
    of_classes = axis is not None and _are_shares(outputs, axis)
    if of_classes or (loss is binary_cross_entropy and isinstance(last, torch.nn.Sigmoid)):
        name = next(name for name, each in LOSSES.items() if each is loss)
        ends = "Softmax" if of_classes else "Sigmoid"
        yield (
            f"network {study.network} gives probabilities, and loss = {name} takes logits: leave its last "
            f"{ends} away"
        )
    yield from _replaced_errors(study)
    data = plan.context.data
    for key, what, there in (
        ("calibration_images", "training", len(data.train_y)),
        ("test_images", "test", len(data.test_y)),
    ):
        asked = getattr(study, key)
        if asked > there and asked != DEFAULT_IMAGES[key]:
            yield f"{key} = {asked:,}: the data have {there:,} {what} inputs, and all of them are taken"


def _replaced_errors(study: Study) -> Iterator[str]:
    """A sentence where each case puts another write error in the place of the device's own."""
    device, cases = study.hardware.device, study.chips.cases
    if device.programming.acts and all(case.programming is not None for case in cases):
        names = ", ".join(repr(case.name) for case in cases)
        yield (
            f"chips.cases: {names}: in the place of the write error of device {device.name!r}, which no chip "
            "has; a case without programming keeps it"
        )


def _are_shares(outputs: torch.Tensor, axis: int) -> bool:
    """Whether numbers along an axis are none below 0, and sum to 1."""
    return outputs.shape[axis] > 1 and bool(
        (outputs >= 0).all() and ((outputs.sum(axis) - 1).abs() < 1e-4).all()
    )
