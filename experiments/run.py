"""One study from data to `result.json`, figures and report."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from tqdm import tqdm

from experiments import data as datasets
from experiments.batches import Batches
from experiments.folder import finished_chips, open_folder
from experiments.networks import build_network
from experiments.plots import (
    accuracy_over_chips,
    admm_residuals,
    breakdown,
    conductance_histogram,
    masks_on_tiles,
    save,
)
from experiments.report import write_report
from experiments.stages import Compute, StageResult, run_stage, stage_id
from experiments.study import LayerRule, NoiseCase, Study, study_dict, with_noise
from experiments.summary import (
    chip_statistics,
    compression_summary,
    mapping_summary,
    test_set_interval,
    versions,
)
from mapping import (
    Admm,
    BlockSparse,
    Constraint,
    Levels,
    MappedNetwork,
    Masked,
    OnLevels,
    Recipe,
    RhoSchedule,
    TileRowsAndColumns,
    accuracy,
    analog_network,
    calibrate,
    map_network,
    program_network,
    shares_to_keep,
    train,
    without_device_effects,
)
from mapping.constraints import by_pattern
from mapping.gemm import mappable_layers, to_gemm
from mapping.store import write_atomically
from mapping.through_chip import ThroughChip
from mapping.training import Method, derive_seed
from power.estimate import estimate, reduction_percent
from xbar.encoding import levels, target_conductances
from xbar.errors import XbarError
from xbar.files import to_dict
from xbar.hardware import Hardware

EVALUATION_BATCH = 500
WARMUP_EPOCHS = 0.3


def bar(iterable: Iterable[Any], description: str, total: int) -> Iterable[Any]:
    """Progress bar with time left, on a terminal only."""
    return tqdm(iterable, description, total or None, leave=False, disable=None, dynamic_ncols=True)


def constraint_of(rule: LayerRule, keep: float, hardware: Hardware) -> Constraint:
    """Constraint of one layer at the grain of the hardware's tiles."""
    rows, cols = hardware.crossbar.rows, hardware.weights_per_tile_row
    if rule.kind == "rows-and-columns":
        return TileRowsAndColumns(rows, cols, math.sqrt(keep), math.sqrt(keep))
    shape = {"tile-columns": (rows, 1), "tile-rows": (1, cols), "tiles": (rows, cols), "irregular": (1, 1)}
    return BlockSparse(*shape[rule.kind], keep)


@dataclasses.dataclass
class Run:
    """A study at work in a folder; its steps in order are the methods, `run_study` calls them."""

    study: Study
    data: datasets.Dataset
    out: Path

    def __post_init__(self) -> None:
        self.hardware = self.study.hardware
        self.model = build_network(self.study.network).to(memory_format=torch.channels_last)
        named_files = (self.study.network.rpartition(":")[0], self.study.train.weights)
        self.files = {file: _checksum(Path(file)) for file in named_files if file}
        self.layers = mappable_layers(self.model)
        names = list(self.layers)
        rules = by_pattern(
            {rule.layer: rule for rule in self.study.compress.layers}, names, "compress.layers"
        )
        sizes = {name: layer.weight.numel() for name, layer in self.layers.items()}
        keep = shares_to_keep(
            self.study.compress.rate, sizes, {name: rule.share for name, rule in rules.items()}
        )
        self.constraints = {
            name: constraint_of(rule, keep[name], self.hardware) for name, rule in rules.items()
        }
        self._check_rate()
        self.train_batches = Batches(
            self.data.train_x,
            self.data.train_y,
            self.study.train.batch,
            shuffle=True,
            shift=self.study.train.shift,
        )
        self.example = self.data.train_x[:1]

    def _check_rate(self) -> None:
        """Refuse a rate that even the fewest groups of each layer exceed."""
        kept = sum(
            int(self.constraints[name].project(to_gemm(layer.weight))[1].sum())
            if name in self.constraints and self.constraints[name].exact
            else 0
            for name, layer in self.layers.items()
        )
        total = sum(layer.weight.numel() for layer in self.layers.values())
        if kept * self.study.compress.rate > total * (1 + 1e-9):
            raise XbarError(
                f"compress.rate = {self.study.compress.rate}: out of reach; at least one group of weights "
                f"stays in each layer, which gives {total / kept:.2f}"
            )

    def stage(self, name: str, inputs: dict[str, Any], compute: Compute, remark: str = "") -> StageResult:
        """A stage of this run; says what it does and how long it took."""
        identity = stage_id(name, {"seed": self.study.seed, **inputs})
        result = run_stage(self.out / "stages", name, identity, compute)
        validation = result.record.get("validation", {}).items()
        remark += "".join(f", {key} {value:.2f} % on the validation part" for key, value in validation)
        print(f"{name:<9} {result.seconds:6.1f} s{remark}", flush=True)
        return dataclasses.replace(result, record={**result.record, "id": identity})

    def validate(self, model: nn.Module) -> float:
        """Accuracy on the validation part [percent]."""
        return accuracy(model, Batches(self.data.val_x, self.data.val_y, EVALUATION_BATCH))

    def test(self, model: nn.Module, description: str) -> float:
        """Accuracy on the test set [percent]."""
        batches = Batches(self.data.test_x, self.data.test_y, EVALUATION_BATCH)
        return accuracy(model, batches, lambda it, _, __: bar(it, description, len(batches)))

    def fit(self, prefix: Path, stage: str, recipe: Recipe, methods: list[Method]) -> list[dict[str, Any]]:
        """Train `self.model` with checkpoints under the stage's prefix."""
        return train(
            self.model,
            self.train_batches,
            recipe,
            methods=methods,
            seed=derive_seed(self.study.seed, "order"),
            stage=stage,
            validate=self.validate,
            checkpoint=prefix.with_name(f"{prefix.name}.{stage}.safetensors"),
            progress=bar,
        )

    def train_baseline(self) -> StageResult:
        """Step 1: the float network."""
        study = self.study
        inputs: dict[str, Any] = {
            "data": self.data.checksum,
            "network": study.network,
            "train": to_dict(study.train),
        }
        inputs |= self.files

        def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            torch.manual_seed(derive_seed(study.seed, "initial weights"))
            for module in self.model.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
            if study.train.weights:
                _load_weights(self.model, Path(study.train.weights))
            t = study.train
            recipe = Recipe(t.epochs, t.lr, weight_decay=t.weight_decay, warmup=min(WARMUP_EPOCHS, t.epochs))
            log = self.fit(prefix, "train", recipe, [])
            return dict(self.model.state_dict()), {
                "log": log,
                "validation": {"float": self.validate(self.model)},
            }

        return self.stage("train", inputs, compute)

    def compress(self, baseline: StageResult) -> StageResult:
        """Steps 2 and 3: ADMM to the constraints, hard projection, masked retraining."""
        c = self.study.compress
        crossbar = [self.hardware.crossbar.rows, self.hardware.weights_per_tile_row]
        inputs = {"baseline": baseline.record["id"], "compress": to_dict(c), "tile": crossbar}

        def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            self.model.load_state_dict(baseline.tensors)
            admm = Admm(
                self.model, self.constraints, RhoSchedule(c.rho, c.rho_factor, c.rho_limit), c.interval
            )
            log = self.fit(prefix, "prune", Recipe(c.epochs, c.lr, final=0.1), [admm])
            masks = admm.finish(self.model)
            masked = Masked(self.model, masks)
            log += self.fit(prefix, "retrain", Recipe(c.retrain_epochs, c.retrain_lr), [masked])
            tensors = dict(self.model.state_dict()) | {f"mask.{name}": mask for name, mask in masks.items()}
            return tensors, {"log": log, "validation": {"compressed": self.validate(self.model)}}

        return self.stage("compress", inputs, compute)

    def quantise(self, compressed: StageResult) -> StageResult:
        """Steps 2 and 4: ADMM onto the levels under the masks, retraining on them."""
        q, device, encoding = self.study.quantise, self.hardware.device, self.hardware.encoding
        values = torch.from_numpy(levels(encoding, device))
        inputs = {"compressed": compressed.record["id"], "quantise": to_dict(q), "levels": values.tolist()}
        if q.noise.kind != "none" or q.converter_epochs:
            inputs["hardware"] = to_dict(self.hardware)

        def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            state, masks = split_masks(compressed.tensors)
            self.model.load_state_dict(state)
            constraints = {name: Levels(values, masks.get(name)) for name in self.layers}
            masked = Masked(self.model, masks)
            admm = Admm(self.model, constraints, RhoSchedule(q.rho, q.rho_factor, q.rho_limit), q.interval)
            log = self.fit(prefix, "levels", Recipe(q.epochs, q.lr, final=0.1), [admm, masked])
            noisy = dataclasses.replace(device, programming=q.noise)
            on_levels = OnLevels(self.model, constraints, noisy if q.noise.kind != "none" else None, encoding)
            log += self.fit(
                prefix, "levels-retrain", Recipe(q.retrain_epochs, q.retrain_lr), [on_levels, masked]
            )
            if q.converter_epochs:
                hardware = dataclasses.replace(self.hardware, device=noisy)
                calibration = self.calibration_batches()
                through = ThroughChip(
                    self.model, constraints, hardware, calibration, derive_seed(self.study.seed, "draws")
                )
                recipe = Recipe(q.converter_epochs, q.retrain_lr / 4)
                log += self.fit(prefix, "converters", recipe, [through, masked])
            scales = on_levels.finish(self.model)
            tensors = dict(self.model.state_dict()) | {f"mask.{name}": mask for name, mask in masks.items()}
            record = {"log": log, "scales": scales, "validation": {"quantised": self.validate(self.model)}}
            return tensors, record

        return self.stage("quantise", inputs, compute)

    def calibration_batches(self) -> Batches:
        """The first images of the training data."""
        n = self.study.calibration_images
        return Batches(self.data.train_x[:n], self.data.train_y[:n], EVALUATION_BATCH)

    def chips(self, mapped: MappedNetwork, case: NoiseCase, quantised: StageResult) -> StageResult:
        """Steps 5 and 6: n chips of one noise case on the test set, one line a finished chip."""
        noisy = dataclasses.replace(mapped, hardware=with_noise(mapped.hardware, case))
        seed = derive_seed(self.study.seed, "chips") % (1 << 31)
        inputs = {
            "quantised": quantised.record["id"],
            "hardware": to_dict(noisy.hardware),
            "calibration": self.study.calibration_images,
            "n": self.study.chips.n,
        }

        def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            lines = prefix.with_name(f"{prefix.name}.jsonl")
            finished = finished_chips(lines)
            with open(lines, "a", encoding="utf-8") as file:
                for chip in bar(range(self.study.chips.n), f"chips, {case.name}", self.study.chips.n):
                    if chip in finished:
                        continue
                    network = analog_network(self.model, program_network(noisy, seed=seed, chip=chip))
                    finished[chip] = self.test(network, f"chip {chip}")
                    file.write(json.dumps({"chip": chip, "accuracy": finished[chip]}) + "\n")
                    file.flush()
            return {}, {"accuracies": [finished[chip] for chip in range(self.study.chips.n)]}

        return self.stage("chips", inputs, compute, f", {case.name}")


def prepare(study: Study, data_folder: Path | None, out: Path) -> Run:
    """Read the data and check that network, rules and data fit; writes nothing.

    Raises
    ------
    XbarError
        For every mistake that can be found before work starts.
    """
    run = Run(study, datasets.load(study.data, data_folder), out)
    _check_fits(run)
    return run


def run_study(study: Study, data_folder: Path | None, out: Path, resume: bool = False) -> dict[str, Any]:
    """Run a study and write its folder; returns what `result.json` holds.

    The folder gets `study.toml`, `stages/` (checkpoints), `figures/`, `result.json` and `report.html`.

    Raises
    ------
    XbarError
        For a folder that holds something already (without `resume`) or another study (with it), and for
        every mistake in study and data.
    """
    start = time.perf_counter()
    run = prepare(study, data_folder, out)
    data = run.data
    open_folder(out, study, resume)
    print(f"{study.name}: {study.network} on {data.name}, seed {study.seed}, into {out}", flush=True)
    baseline = run.train_baseline()
    compressed = run.compress(baseline)
    quantised = run.quantise(compressed)

    mark = time.perf_counter()
    state, masks = split_masks(baseline.tensors)
    run.model.load_state_dict(state)
    plain_hardware = study.hardware.replace(encoding__slices=study.compare.slices)
    plain = map_network(run.model, plain_hardware, run.example)
    plain, plain_activity = calibrate(plain, run.model, run.calibration_batches())
    float_accuracy = run.test(run.model, "float")

    state, masks = split_masks(compressed.tensors)
    run.model.load_state_dict(state)
    compressed_accuracy = run.test(run.model, "compressed")

    state, masks = split_masks(quantised.tensors)
    run.model.load_state_dict(state)
    scales = quantised.record["scales"]
    unpacked = map_network(run.model, study.hardware, run.example, masks=masks, scales=scales, packing=False)
    mapped = map_network(run.model, study.hardware, run.example, masks=masks, scales=scales)
    mapped, activity = calibrate(mapped, run.model, run.calibration_batches())
    whole = map_network(run.model, study.hardware, run.example)
    map_seconds = time.perf_counter() - mark

    mark = time.perf_counter()
    quantised_accuracy = run.test(run.model, "quantised")
    ideal = analog_network(run.model, program_network(without_device_effects(mapped)))
    ideal_accuracy = run.test(ideal, "ideal chip")
    infer_seconds = time.perf_counter() - mark
    cases = []
    for case in study.chips.cases:
        stage = run.chips(mapped, case, quantised)
        infer_seconds += stage.seconds
        cases.append(chip_statistics(case.name, stage.record["accuracies"], study.chips.threshold))

    before = estimate(plain, plain_activity)
    after = estimate(mapped, activity, image_rate=before.image_rate_per_s)
    result: dict[str, Any] = {
        "name": study.name,
        "accuracy": {
            "float": float_accuracy,
            "compressed": compressed_accuracy,
            "quantised": quantised_accuracy,
            "ideal_chip": ideal_accuracy,
            "chips": cases[0],
            "chips_cases": cases,
            "test_set_ci95": test_set_interval(ideal_accuracy, len(data.test_y)),
            "test_images": len(data.test_y),
            "validation": {
                key: value
                for stage in (baseline, compressed, quantised)
                for key, value in stage.record["validation"].items()
            },
        },
        "compression": compression_summary(mapped),
        "mapping": mapping_summary(whole, unpacked, mapped),
        "estimate": {
            "before": before.to_dict(),
            "after": after.to_dict(),
            "reduction_percent": reduction_percent(before, after),
        },
        "seconds": {
            "train": baseline.seconds,
            "compress": compressed.seconds + quantised.seconds,
            "map": map_seconds,
            "infer": infer_seconds,
            "total": baseline.seconds + compressed.seconds + quantised.seconds + map_seconds + infer_seconds,
            "this_session": time.perf_counter() - start,
        },
        "units": {"accuracy": "percent", "seconds": "s"},
        "seed": study.seed,
        "versions": versions(),
        "data": {"name": data.name, "checksum": data.checksum},
        "stages": {
            s: r.record["id"]
            for s, r in zip(("train", "compress", "quantise"), (baseline, compressed, quantised), strict=True)
        },
        "study": study_dict(study),
        "hardware": to_dict(study.hardware),
    }
    log = compressed.record["log"] + quantised.record["log"]
    figures = draw(result, mapped, log, with_noise(study.hardware, study.chips.cases[0]), out / "figures")
    write_atomically(out / "log.json", json.dumps(baseline.record["log"] + log, indent=1).encode())
    write_atomically(out / "result.json", json.dumps(result, indent=1).encode())
    write_report(result, figures, out / "report.html")
    return result


def draw(
    result: dict[str, Any], mapped: MappedNetwork, log: list[dict[str, Any]], noisy: Hardware, folder: Path
) -> dict[str, str]:
    """All figures of a run as files; their SVG text by name."""
    chip = program_network(dataclasses.replace(mapped, hardware=noisy), seed=result["seed"])
    targets, programmed = [], []
    for name, layer in mapped.layers.items():
        for band, g in zip(layer.bands, chip.conductances[name], strict=True):
            assert layer.state is not None
            cells = layer.state[np.ix_(band.rows, band.cols)]
            target = target_conductances(cells, mapped.hardware.encoding, mapped.hardware.device)
            on = np.broadcast_to(band.built(), g.shape) & (target > 0)
            targets.append(target[on])
            programmed.append(g[on])
    rows = [
        {"phase": {"prune": "prune", "levels": "levels"}[entry["stage"]], **entry}
        for entry in log
        if "primal" in entry
    ]
    cases = [{"name": c["name"], "accuracies": c["per_chip"]} for c in result["accuracy"]["chips_cases"]]
    both = [result["estimate"][side]["by_component"] for side in ("before", "after")]
    figures = {
        "masks": masks_on_tiles(mapped),
        "conductances": conductance_histogram(
            np.concatenate(targets), np.concatenate(programmed), mapped.hardware.device.conductances()
        ),
        "accuracy": accuracy_over_chips(cases, result["accuracy"]["ideal_chip"]),
        "area": breakdown(*both, "area_mm2"),
        "energy": breakdown(*both, "energy_nj"),
    }
    if rows:
        figures["residuals"] = admm_residuals(rows)
    for name, figure in figures.items():
        save(figure, folder, name)
    return {name: (folder / f"{name}.svg").read_text(encoding="utf-8") for name in figures}


def split_masks(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """State dict and masks of a stage's tensors."""
    masks = {name[5:]: t for name, t in tensors.items() if name.startswith("mask.")}
    return {name: t for name, t in tensors.items() if not name.startswith("mask.")}, masks


def _check_fits(run: Run) -> None:
    """Refuse a network that does not take the data before any work."""
    try:
        with torch.no_grad():
            outputs = run.model.eval()(run.example)
    except RuntimeError as error:
        raise XbarError(
            f"network {run.study.network} does not take images of {run.data.name} "
            f"{tuple(run.example.shape[1:])}: {str(error).splitlines()[0]}"
        ) from None
    if outputs.shape != (1, len(run.data.classes)):
        raise XbarError(
            f"network {run.study.network} gives {tuple(outputs.shape[1:])} outputs, "
            f"{run.data.name} has {len(run.data.classes)} classes"
        )


def _checksum(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise XbarError(f"{path}: cannot be read ({error.strerror})") from None


def _load_weights(model: nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise XbarError(f"train.weights = {path}: no such file") from None
    except Exception as error:
        raise XbarError(f"train.weights = {path}: {str(error).splitlines()[0]}") from None
