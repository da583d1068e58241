"""The steps of a study, each a stage with a strong id: train, compress, quantise, chips."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from tqdm import tqdm

from experiments import data as datasets
from experiments.batches import Batches
from experiments.folder import finished_chips
from experiments.networks import build_network
from experiments.stages import Compute, StageResult, run_stage, stage_id
from experiments.study import LayerRule, NoiseCase, Study, with_noise
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
    program_network,
    shares_to_keep,
    train,
)
from mapping.constraints import by_pattern
from mapping.gemm import mappable_layers, to_gemm
from mapping.through_chip import ThroughChip
from mapping.training import Method, derive_seed
from xbar.encoding import levels
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
        self.model = build_network(self.study.network)
        if ":" not in self.study.network:  # a user's network may `view` what a convolution gives
            self.model.to(memory_format=torch.channels_last)
        named_files = (self.study.network.rpartition(":")[0], self.study.train.weights)
        self.files = {file: _checksum(Path(file)) for file in named_files if file}
        self.layers = mappable_layers(self.model)
        slices = self.study.compare.slices
        try:
            self.uncompressed_hardware = self.hardware.replace(encoding__slices=slices)
        except XbarError as error:
            raise XbarError(
                f"compare.slices = {slices} (cells a weight of the uncompressed network that costs are held "
                f"against): {error}; compare.slices=1 fits any device"
            ) from None
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
            inputs |= {"hardware": to_dict(self.hardware), "calibration": self.study.calibration_images}

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
            "time": case.time,
        }

        def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            lines = prefix.with_name(f"{prefix.name}.jsonl")
            finished = finished_chips(lines)
            with open(lines, "a", encoding="utf-8") as file:
                for chip in bar(range(self.study.chips.n), f"chips, {case.name}", self.study.chips.n):
                    if chip in finished:
                        continue
                    network = analog_network(
                        self.model, program_network(noisy, seed=seed, chip=chip, time=case.time)
                    )
                    finished[chip] = self.test(network, f"chip {chip}")
                    file.write(json.dumps({"chip": chip, "accuracy": finished[chip]}) + "\n")
                    file.flush()
            return {}, {"accuracies": [finished[chip] for chip in range(self.study.chips.n)]}

        return self.stage("chips", inputs, compute, f", {case.name}")


def split_masks(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """State dict and masks of a stage's tensors."""
    masks = {name[5:]: t for name, t in tensors.items() if name.startswith("mask.")}
    return {name: t for name, t in tensors.items() if not name.startswith("mask.")}, masks


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
    except (SafetensorError, RuntimeError, OSError) as error:
        raise XbarError(f"train.weights = {path}: {str(error).splitlines()[0]}") from None
