"""The metric of the networks of a study on the test set, and what the unpruned one costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.plans.context import Context
from experiments.plans.placement import Placement
from experiments.plans.plan import StudyPlan
from experiments.run_folder.ids import simulated_layers
from experiments.run_folder.stage import StageResult
from experiments.stages.compress import CompressedWeights, compress
from experiments.stages.quantise import QuantisedNetwork, quantise
from experiments.stages.train import NetworkWeights, train
from experiments.studies.study import Study
from mapping.chips.analog import analog_network, clipped_inputs
from mapping.chips.calibration import calibrate
from mapping.chips.chip import program_network, without_device_effects
from mapping.tiles.mapped import MappedNetwork
from mapping.training.loop import accuracy
from power.estimates.table import estimate
from power.estimates.totals import Estimate


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of a study, one after the other."""

    trained: NetworkWeights
    compressed: CompressedWeights
    quantised: QuantisedNetwork

    def ids(self) -> dict[str, str]:
        """Ids of the stages that made them."""
        return {
            "train": self.trained.identity,
            "compress": self.compressed.identity,
            "quantise": self.quantised.identity,
        }

    def validation(self) -> dict[str, float]:
        """The metric on the validation part."""
        return {**self.trained.validation, **self.compressed.validation, **self.quantised.validation}


@dataclass(frozen=True)
class Accuracies:
    """The metric on the test set.

    Parameters
    ----------
    networks
        By name: ``float``, ``compressed``, ``quantised``, ``ideal_chip``.
    clipped
        Share of the inputs of each layer that the converters of the ideal chip clipped.
    """

    networks: Mapping[str, float]
    clipped: Mapping[str, float]


def networks(plan: StudyPlan, study: Study) -> Networks:
    """Train, compress and quantise, or read what an earlier run left."""
    context, network = plan.context, plan.network
    trained = train(context, network, study.train)
    compressed = compress(context, network, plan.rules, study.compress, trained)
    quantised = quantise(context, network, plan.placement, study.quantise, plan.last, compressed)
    return Networks(trained, compressed, quantised)


def accuracies(plan: StudyPlan, nets: Networks, mapped: MappedNetwork) -> Accuracies:
    """The metric of each network, and of the last one on an ideal chip.

    Parameters
    ----------
    mapped
        The last one on its tiles, calibrated.
    """
    context, network = plan.context, plan.network
    exact = without_device_effects(mapped)

    def ideal() -> nn.Module:
        calibrated, _ = nets.quantised.calibrated(context, exact)
        return analog_network(nets.quantised.network, program_network(calibrated))

    chip = {"layers": simulated_layers(exact), "calibration": context.calibration_images}
    stages = {
        "float": measured(
            context, "float", nets.trained.identity, {}, lambda: network.with_state(nets.trained.state)
        ),
        "compressed": measured(
            context,
            "compressed",
            nets.compressed.identity,
            {},
            lambda: network.with_state(nets.compressed.state),
        ),
        "quantised": measured(
            context, "quantised", nets.quantised.identity, {}, lambda: nets.quantised.network
        ),
        "ideal_chip": measured(context, "ideal chip", nets.quantised.identity, chip, ideal),
    }
    found = {name: float(next(iter(stage.record["test"].values()))) for name, stage in stages.items()}
    clipped = stages["ideal_chip"].record.get("clipped", {})
    return Accuracies(found, clipped)


def measured(
    context: Context, what: str, identity: str, chip: Mapping[str, Any], build: Callable[[], nn.Module]
) -> StageResult:
    """A stage that measures a network that other stages made.

    Its record has under ``test`` the metric, and under ``clipped`` the share of the inputs that
    each analog layer clipped.

    Parameters
    ----------
    identity
        Id of the stage that made the network.
    chip
        Plain data of the chip that it is on; empty: it is on none.
    """

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        network = build().to(context.device)
        value = accuracy(network, *context.test_batches(what), metric=context.measures.metric)
        record: dict[str, Any] = {"test": {what: value}}
        if clipped := clipped_inputs(network):
            record["clipped"] = clipped
        return {}, record

    inputs = {"of": identity, "what": what, "chip": chip, "test_images": context.test_images}
    return context.stage("accuracy", inputs, compute)


def uncompressed_estimates(plan: StudyPlan, nets: Networks) -> tuple[Estimate, Estimate]:
    """Costs of the network before pruning: in the comparison's slices, and on the cells of the compressed
    one, which differs from that in pruning alone."""
    unpruned = plan.network.on_crossbars(nets.trained.state)

    def costs(placement: Placement) -> Estimate:
        mapped = placement.map(unpruned, plan.network.example)
        return estimate(*calibrate(mapped, unpruned, plan.context.calibration_batches()))

    compared, own = plan.uncompressed, plan.placement.with_states(nets.quantised.states)
    before = costs(compared)
    return before, before if own.by_layer() == compared.by_layer() else costs(own)
