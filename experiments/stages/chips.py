"""The stages on tiles: the calibrated mapping, and chips of one noise case on the test set."""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from experiments.plans.context import Context
from experiments.plans.placement import Placement
from experiments.plans.plan import Untrained
from experiments.run_folder.folder import finished_chips
from experiments.run_folder.ids import chips_seed, simulated_layers
from experiments.run_folder.json_lines import append_line
from experiments.run_folder.stage import StageResult
from experiments.stages.quantise import Activity, QuantisedNetwork
from experiments.studies.noise_cases import NoiseCase, with_noise
from experiments.studies.study import Chips
from mapping.lab.chip_file import load_mapping, save_mapping
from mapping.lab.compensation import compensate, read_known_inputs
from mapping.lab.faults import around_faults
from mapping.monte_carlo.layer_noise import noise_in
from mapping.monte_carlo.one_chip import chip_accuracy
from mapping.monte_carlo.sampling import sample_chips
from mapping.tiles.mapped import MappedNetwork


def calibrated(
    context: Context, network: Untrained, placement: Placement, quantised: QuantisedNetwork
) -> tuple[MappedNetwork, Activity]:
    """The network on its tiles with converter ranges, and the activity of word lines."""
    own = placement.with_states(quantised.states)
    inputs = {
        "of": quantised.identity,
        "layers": own.plain(),
        "calibration": context.calibration_images,
    }

    def file(identity: str) -> Path:
        return context.out / "stages" / f"mapping-{identity}.safetensors"

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        mapped = quantised.mapped(placement, network.example)
        found = quantised.calibrated(context, mapped)
        save_mapping(found[0], file(prefix.name.partition("-")[2]))
        return {name: torch.from_numpy(share) for name, share in found[1].items()}, {}

    stage = context.stage("map", inputs, compute, beside=lambda identity: [file(identity)])
    # A mapping is the same for hardware of other costs, but what it is given here is the study's own.
    mapped = load_mapping(file(stage.identity)).on_hardware(own.hardware, own.by_layer())
    return mapped, {name: share.numpy() for name, share in stage.tensors.items()}


def chip_accuracies(
    context: Context,
    quantised: QuantisedNetwork,
    mapped: MappedNetwork,
    case: NoiseCase,
    chips: Chips,
    layers: Collection[str] | None = None,
) -> StageResult:
    """Chips of one noise case on the test set, one line a finished chip.

    Parameters
    ----------
    mapped
        The network on its tiles, calibrated.
    layers
        Those that are noisy; None: all.
    """
    noisy = mapped.with_hardware(lambda hardware: with_noise(hardware, case))
    noisy = noisy if layers is None else noise_in(noisy, layers)
    inputs = {
        "quantised": quantised.identity,
        "layers": simulated_layers(noisy),
        "calibration": context.calibration_images,
        "chips": [chips.n, chips.least, chips.until],
        "time": case.time,
        "compensation": case.compensation,
        "around_faults": case.around_faults,
        "test_images": context.test_images,
    }

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return {}, _measured(context, quantised, noisy, case, chips, prefix)

    where = "" if layers is None else f", noise in {', '.join(layers)} only"
    return context.stage("chips", inputs, compute, f", {case.name}{where}")


def _measured(
    context: Context,
    quantised: QuantisedNetwork,
    noisy: MappedNetwork,
    case: NoiseCase,
    chips: Chips,
    prefix: Path,
) -> dict[str, Any]:
    """The metric of the chips, and whether the stop rule ended them; finished ones are not
    measured again."""
    seed = chips_seed(context.seed)
    adjust = None
    if case.compensation != "none":
        known = read_known_inputs(noisy, quantised.network, context.calibration_batches())
        adjust = functools.partial(compensate, known=known, per=case.compensation)
    lines = prefix.with_name(f"{prefix.name}.jsonl")
    finished = finished_chips(lines)
    network = copy.deepcopy(quantised.network).to(context.device)
    with open(lines, "ab", buffering=0) as file:

        def run_chip(chip: int) -> float:
            batches, progress = context.test_batches(f"{case.name}, chip {chip + 1} of {chips.n}")
            percent = chip_accuracy(
                around_faults(noisy, seed=seed, chip=chip) if case.around_faults else noisy,
                network,
                batches,
                seed=seed,
                chip=chip,
                time=case.time,
                adjust=adjust,
                progress=progress,
                metric=context.measures.metric,
            )
            append_line(file, {"chip": chip, "accuracy": percent})
            return percent

        found = sample_chips(run_chip, most=chips.n, least=chips.least, until=chips.until, known=finished)
    return {"accuracies": list(found.accuracies), "settled": found.settled}
