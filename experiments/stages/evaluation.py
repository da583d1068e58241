"""What the compressed network of a study does on its tiles, and what it costs there."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from experiments.results.summary import over_chips_summary
from experiments.stages import steps
from experiments.stages.ids import simulated
from experiments.stages.stage import StageResult
from experiments.stages.work import Run, split_masks
from mapping.chips.analog import analog_network
from mapping.chips.calibration import calibrate
from mapping.chips.chip import program_network, without_device_effects
from mapping.lab.chip_file import load_mapping, save_mapping
from mapping.tiles.mapped import MappedNetwork
from power.estimates.table import Estimate, estimate


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of a study: the stages that made them, and the last one as a module on its levels."""

    baseline: StageResult
    compressed: StageResult
    quantised: StageResult
    network: nn.Module

    def ids(self) -> dict[str, str]:
        """Ids of the stages by name."""
        stages = {"train": self.baseline, "compress": self.compressed, "quantise": self.quantised}
        return {name: stage.record["id"] for name, stage in stages.items()}

    def validation(self) -> dict[str, float]:
        """Accuracies on the validation part [percent]."""
        stages = (self.baseline, self.compressed, self.quantised)
        return {key: value for stage in stages for key, value in stage.record["validation"].items()}


def networks(run: Run) -> Networks:
    """Train, compress and quantise, or read what an earlier run left."""
    baseline = steps.train_baseline(run)
    compressed = steps.compress(run, baseline)
    return Networks(baseline, compressed, *steps.quantise(run, compressed, run.hardware))


def mapped_network(run: Run, nets: Networks, packing: bool = True) -> MappedNetwork:
    """The compressed network on the study's hardware."""
    masks, scales = split_masks(nets.compressed.tensors)[1], nets.quantised.record["scales"]
    return run.map(nets.network, run.hardware, masks=masks, scales=scales, packing=packing)


def calibrated(run: Run, nets: Networks) -> tuple[MappedNetwork, dict[str, NDArray[np.float64]]]:
    """`mapped_network` with converter ranges, and the activity of word lines; a stage of its own."""
    inputs = {
        "of": nets.ids()["quantise"],
        "hardware": simulated(run.hardware),
        "own_hardware": {n: simulated(c.hardware) for n, c in run.chosen(run.hardware).items() if c.hardware},
        "calibration": run.study.calibration_images,
    }

    def file(identity: str) -> Path:
        return run.out / "stages" / f"mapping-{identity}.safetensors"

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        found = calibrate(mapped_network(run, nets), nets.network, run.calibration_batches())
        save_mapping(found[0], file(prefix.name.partition("-")[2]))
        return {name: torch.from_numpy(share) for name, share in found[1].items()}, {}

    stage = run.stage("map", inputs, compute, beside=lambda identity: [file(identity)])
    mapped, chosen = load_mapping(file(stage.record["id"])), run.chosen(run.hardware)
    own = {name: chosen[name].hardware or run.hardware for name in mapped.own_hardware}
    mapped = dataclasses.replace(mapped, hardware=run.hardware, own_hardware=own)
    return mapped, {name: share.numpy() for name, share in stage.tensors.items()}


def accuracies(run: Run, nets: Networks, mapped: MappedNetwork) -> tuple[dict[str, float], dict[str, float]]:
    """Accuracy on the test set [percent] of each network, and of the last one on an ideal chip; and the share
    of the inputs that each layer of that chip clipped."""

    def loaded(stage: StageResult) -> nn.Module:
        run.load(stage)
        return run.model

    def ideal() -> nn.Module:
        exact, _ = calibrate(without_device_effects(mapped), nets.network, run.calibration_batches())
        return analog_network(nets.network, program_network(exact))

    exact = without_device_effects(mapped)
    of_ideal_chip = {
        "hardware": simulated(exact.hardware),
        "own_hardware": {name: simulated(own) for name, own in exact.own_hardware.items()},
        "calibration": run.study.calibration_images,
    }
    ids = nets.ids()
    found = {
        "float": run.accuracy("float", {"of": ids["train"]}, lambda: loaded(nets.baseline)),
        "compressed": run.accuracy("compressed", {"of": ids["compress"]}, lambda: loaded(nets.compressed)),
        "quantised": run.accuracy("quantised", {"of": ids["quantise"]}, lambda: nets.network),
    }
    record = run.measured("ideal chip", {"of": ids["quantise"], **of_ideal_chip}, ideal)
    found["ideal_chip"] = float(record["test"]["ideal chip"])
    return found, record.get("clipped", {})


def uncompressed_estimate(run: Run, baseline: StageResult) -> Estimate:
    """Costs of the network before pruning, in the comparison's slices."""
    run.load(baseline)
    unpruned = run.on_crossbars()
    plain = run.map(unpruned, run.uncompressed_hardware, states={})
    return estimate(*calibrate(plain, unpruned, run.calibration_batches()))


ESTIMATED = (
    *("area_mm2", "energy_nj_per_image", "latency_us_per_image", "peak_image_rate_per_s", "peak_power_mw"),
    *("arrays", "tops_per_w", "tops_per_mm2", "by_component"),
)
"""Of an estimate, what a point of a sweep keeps."""


def point(run: Run) -> tuple[dict[str, Any], dict[str, str]]:
    """What a sweep keeps of a study, by the keys of `result.json`, and the ids of its stages.

    Power is that at the point's own peak image rate. The first noise case is measured.
    """
    nets = networks(run)
    mapped, activity = calibrated(run, nets)
    case = run.study.chips.cases[0]
    chips = steps.chips(run, nets.network, mapped, case, nets.quantised)
    found = estimate(mapped, activity).to_dict()
    result = {
        "accuracy": {
            **accuracies(run, nets, mapped)[0],
            "chips": over_chips_summary(case.name, chips.record, run.study.chips.threshold),
            "test_images": run.test_images,
        },
        "compression": {
            "rate": mapped.weights_total / mapped.weights_kept,
            "weights_kept": mapped.weights_kept,
        },
        "mapping": {"tiles_per_plane": mapped.tiles_per_plane, "utilisation": mapped.utilisation},
        "estimate": {key: found[key] for key in ESTIMATED},
    }
    return result, nets.ids()
