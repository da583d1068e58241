"""The steps of a study, each a stage with a strong id: train, compress, quantise, chips."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments import data as datasets
from experiments.batches import Batches
from experiments.folder import finished_chips
from experiments.ids import simulated, stage_id
from experiments.networks import build_network, network_file
from experiments.noise_cases import NoiseCase, with_noise
from experiments.process import bar
from experiments.pruning import WARMUP_EPOCHS, bits_of_layers, prune
from experiments.quantising import onto_levels
from experiments.rules import constraint_of, in_bits
from experiments.stages import Compute, StageResult, run_stage
from experiments.study import Compression, Limit, Study
from experiments.weights import read_weights
from mapping import (
    Choice,
    Constraint,
    JointBudget,
    MappedNetwork,
    Recipe,
    accuracy,
    around_faults,
    calibrate,
    chip_accuracy,
    compensate,
    crossbar_form,
    known_reads,
    map_network,
    over_chips,
    shares_to_keep,
    train,
    trainable_network,
)
from mapping.chip import without_random_effects
from mapping.constraints import by_pattern
from mapping.gemm import mappable_layers, to_gemm, types_of
from mapping.hardware_budget import within
from mapping.layer_noise import noise_in
from mapping.mapper import without_weights
from mapping.monte_carlo import half_width
from mapping.sensitivity import Family
from mapping.training import Method, Progress, derive_seed
from power.estimate import estimate
from xbar.encoding import levels
from xbar.errors import XbarError
from xbar.files import to_dict
from xbar.hardware import Hardware
from xbar.validation import check_range

EVALUATION_BATCH = 500


@dataclasses.dataclass
class Run:
    """A study at work in a folder; its steps in order are the methods, `run_study` calls them.

    ``quiet``: without lines and bars.
    """

    study: Study
    data: datasets.Dataset
    out: Path
    quiet: bool = False
    seconds: dict[tuple[str, str], float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hardware = self.study.hardware
        self.bits: dict[str, int] = {}
        torch.manual_seed(derive_seed(self.study.seed, "initial weights"))
        self.model = build_network(self.study.network, self.study.width)
        own_file = network_file(self.study.network)
        if own_file is None:  # a user's network may `view` what a convolution gives
            self.model.to(memory_format=torch.channels_last)
        weights = self.study.train.weights
        if weights:
            self.model.load_state_dict(read_weights(Path(weights), self.model), strict=False)
        self.example = self.data.train_x[:1]
        self.model = crossbar_form(self.model, self.example, batch_norm="digital")
        named_files = (str(own_file or ""), weights)
        self.files = {file: _checksum(Path(file)) for file in named_files if file}
        self.types = types_of(mappable_layers(self.model))
        chosen = self.chosen(self.hardware)
        self.layers = {
            name: layer for name, layer in mappable_layers(self.model).items() if not chosen[name].digital
        }
        if not self.layers:
            raise XbarError("layers: every layer is left digital; at least one must go onto crossbars")
        slices = self.study.compare.slices
        try:
            self.uncompressed_hardware = self.hardware.replace(encoding__slices=slices)
        except XbarError as error:
            raise XbarError(
                f"compare.slices = {slices} (cells a weight of the uncompressed network that costs are held "
                f"against): {error}; compare.slices=1 fits any device"
            ) from None
        table = {rule.layer: rule for rule in self.study.compress.layers}
        fitting = by_pattern(table, list(self.types), "compress.layers", self.types)
        rules = {name: rule for name, rule in fitting.items() if name in self.layers}
        sizes = {name: layer.weight.numel() for name, layer in self.layers.items()}
        self.shares = {name: rule.share for name, rule in rules.items()}
        self.families: dict[str, Family] = {
            name: functools.partial(
                constraint_of,
                rule,
                layer=self.layers[name],
                hardware=chosen[name].hardware or self.hardware,
            )
            for name, rule in rules.items()
        }
        self.constraints: dict[float, dict[str, Constraint]] = {}
        for step in self.study.compress.steps():
            keep = shares_to_keep(step.rate, sizes, self.shares)
            self.constraints[step.rate] = {name: of(keep[name]) for name, of in self.families.items()}
        self._check_rate()
        if self.study.compress.bytes:
            self._check_bytes(self.study.compress.bytes, {n: sizes[n] for n in rules})
        every = dict.fromkeys(self.study.quantise.last, True)
        self.last = list(by_pattern(every, list(self.layers), "quantise.last", self.types))
        if len(self.last) == len(self.layers):
            raise XbarError("quantise.last: fits every layer; at least one must come before")

    def batches(self, size: int = 0) -> Batches:
        """The training data in random order, so many images at once; 0: as many as the baseline takes."""
        t = self.study.train
        return Batches(
            self.data.train_x, self.data.train_y, size or t.batch, shuffle=True, shift=t.shift, flip=t.flip
        )

    def chosen(self, hardware: Hardware, bits: Mapping[str, int] | None = None) -> dict[str, Choice]:
        """What the study says of every layer, by name, where the network is on some hardware.

        ``bits``: of the weights of layers; None: those that a budget gave.
        """
        table = {
            setting.layer: Choice(setting.on(hardware), setting.digital, setting.bias_rows)
            for setting in self.study.layers
        }
        found = by_pattern(table, list(self.types), "layers", self.types)
        chosen = {name: found.get(name, Choice()) for name in self.types}
        for name, of in (self.bits if bits is None else bits).items():
            own = in_bits(chosen[name].hardware or hardware, of)
            chosen[name] = dataclasses.replace(chosen[name], hardware=own)
        return chosen

    def map(
        self, network: nn.Module, hardware: Hardware, bits: Mapping[str, int] | None = None, **arguments: Any
    ) -> MappedNetwork:
        """`map_network` with the choices of layers; other arguments are its own."""
        layers = self.chosen(hardware, bits)
        return map_network(network, hardware, self.example, layers=layers, **arguments)

    def constraints_within(self, limit: Limit) -> dict[str, Constraint]:
        """Constraints under which the network, with its weights as they are, costs at most the limit."""

        def cost(mapped: MappedNetwork) -> float:
            found = estimate(mapped)
            return found.area_mm2 if limit.energy_nj is None else found.energy_nj_per_image

        most = limit.area_mm2 if limit.energy_nj is None else limit.energy_nj
        assert most is not None
        mapped = without_weights(self.map(self.model, self.hardware))
        key = "area_mm2" if limit.energy_nj is None else "energy_nj"
        try:
            found = within(self.model, mapped, self.families, self.shares, cost, most)
        except XbarError as error:
            raise XbarError(f"compress.limit.{key}: {error}") from None
        if all(keep == 1 for keep in found.keeps.values()):
            raise XbarError(
                f"compress.limit.{key} = {most:g}: must be less than the {found.cost:.4g} that the network "
                "costs without pruning"
            )
        return {name: self.families[name](keep) for name, keep in found.keeps.items()}

    def _check_rate(self) -> None:
        """Refuse a rate that even the fewest groups of each layer exceed, or one weight of all layers."""
        constraints = self.constraints[self.study.compress.rate]
        if self.study.compress.method != "admm" and constraints:
            most = sum(self.layers[name].weight.numel() for name in constraints)
            check_range("compress.rate", self.study.compress.rate, 1, most)
            return
        kept = sum(
            int(constraints[name].project(to_gemm(layer))[1].sum())
            if name in constraints and constraints[name].exact
            else 0
            for name, layer in self.layers.items()
        )
        total = sum(layer.weight.numel() for layer in self.layers.values())
        if kept * self.study.compress.rate > total * (1 + 1e-9):
            raise XbarError(
                f"compress.rate = {self.study.compress.rate}: out of reach; at least one group of weights "
                f"stays in each layer, which gives {total / kept:.2f}"
            )

    def _check_bytes(self, budget: float, sizes: Mapping[str, int]) -> None:
        """Refuse a budget that prunes nothing, and cells that cannot have the states of any bits."""
        if not sizes:
            raise XbarError("compress.bytes: no rule in compress.layers fits a layer on crossbars")
        most = max(JointBudget.widths) * sum(sizes.values()) / 8
        if budget >= most:
            raise XbarError(
                f"compress.bytes = {budget:g}: must be less than {most:g}, in which every weight of a layer "
                f"with a rule fits in {max(JointBudget.widths)} bits"
            )
        chosen = self.chosen(self.hardware)
        for name, bits in itertools.product(sizes, JointBudget.widths):
            own = in_bits(chosen[name].hardware or self.hardware, bits)
            for case in self.study.chips.cases:
                with_noise(own, case)

    def stage(self, name: str, inputs: dict[str, Any], compute: Compute, remark: str = "") -> StageResult:
        """A stage of this run; says what it does, how long it took and what came out."""
        identity = stage_id(name, {"seed": self.study.seed, **inputs})
        result = run_stage(self.out / "stages", name, identity, compute)
        self.seconds[name, identity] = result.seconds
        for part, where in (("validation", "the validation part"), ("test", "the test set")):
            accuracies = result.record.get(part, {}).items()
            remark += "".join(f", {key} {value:.2f} % on {where}" for key, value in accuracies)
        chips = result.record.get("accuracies", [])
        if chips:
            spread = f" ± {half_width(chips):.2f}" if len(chips) > 1 else ""
            remark += f": {sum(chips) / len(chips):.2f}{spread} % over {len(chips)} chips"
        if not self.quiet:
            print(f"{name:<9} {result.seconds:6.1f} s{remark}", flush=True)
        return dataclasses.replace(result, record={**result.record, "id": identity})

    def seconds_of(self, *stages: str) -> float:
        """Work on all stages of these names [s], interrupted runs included."""
        return sum(seconds for (name, _), seconds in self.seconds.items() if name in stages)

    def validate(self, model: nn.Module) -> float:
        """Accuracy on the validation part [percent]."""
        return accuracy(model, Batches(self.data.val_x, self.data.val_y, EVALUATION_BATCH))

    def accuracy(self, what: str, inputs: dict[str, Any], build: Callable[[], nn.Module]) -> float:
        """Accuracy on the test set of a network that other stages made [percent], a stage of its own."""

        def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            return {}, {"test": {what: accuracy(build(), *self.test_batches(what))}}

        stage = self.stage("accuracy", {**inputs, "what": what, **self.test_part()}, compute)
        return float(stage.record["test"][what])

    @property
    def test_images(self) -> int:
        """Images of the test set that accuracies are measured on."""
        return min(self.study.test_images or len(self.data.test_y), len(self.data.test_y))

    def test_part(self) -> dict[str, int]:
        """What ids of measurements say of the part of the test set: nothing where it is all of it."""
        return {} if self.test_images == len(self.data.test_y) else {"test_images": self.test_images}

    def test_batches(self, description: str) -> tuple[Batches, Progress]:
        """The test set, or images evenly spaced in it, and the bar that shows how far it is."""
        every = torch.linspace(0, len(self.data.test_y) - 1, self.test_images).round().long()
        whole = self.test_images == len(self.data.test_y)
        x, y = self.data.test_x, self.data.test_y
        batches = Batches(x if whole else x[every], y if whole else y[every], EVALUATION_BATCH)
        return batches, lambda it, _, __: self.bar(it, description, len(batches))

    def bar(self, iterable: Iterable[Any], description: str, total: int) -> Iterable[Any]:
        """`bar`, but where the run is quiet."""
        return iterable if self.quiet else bar(iterable, description, total)

    def load(self, stage: StageResult) -> dict[str, torch.Tensor]:
        """Put the weights of `train` or `compress` into `self.model`; the masks."""
        state, masks = split_masks(stage.tensors)
        self.model.load_state_dict(state)
        return masks

    def on_crossbars(self) -> nn.Module:
        """Copy of `self.model` as crossbars hold it: with its batch norms folded, or digital ones."""
        return crossbar_form(self.model, self.example, batch_norm=self.study.batch_norm)

    def fit(
        self,
        model: nn.Module,
        prefix: Path,
        stage: str,
        recipe: Recipe,
        methods: list[Method],
        batches: Batches | None = None,
        child: int = 0,
    ) -> list[dict[str, Any]]:
        """Train a network with checkpoints under the stage's prefix; each child sees its own order."""
        return train(
            model,
            batches or self.batches(),
            recipe,
            methods=methods,
            seed=derive_seed(self.study.seed, "order", *([child] if child else [])),
            stage=stage,
            validate=self.validate,
            checkpoint=prefix.with_name(f"{prefix.name}.{stage}.safetensors"),
            progress=self.bar,
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
        # Keys that came later count where they are set, so that earlier runs keep their ids.
        if study.width != 1:
            inputs["width"] = study.width
        if not study.train.flip:
            del inputs["train"]["flip"]

        def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            t = study.train
            recipe = Recipe(t.epochs, t.lr, weight_decay=t.weight_decay, warmup=min(WARMUP_EPOCHS, t.epochs))
            log = self.fit(self.model, prefix, "train", recipe, [])
            return dict(self.model.state_dict()), {
                "log": log,
                "validation": {"float": self.validate(self.model)},
            }

        return self.stage("train", inputs, compute)

    def compress(self, baseline: StageResult) -> StageResult:
        """Steps 2 and 3, for each rate in turn: ADMM, hard projection, masked retraining; of a network's
        children, the one that is best on the validation part goes on. Bits that it found for layers hold for
        their cells from here on."""
        parent = baseline
        for step in self.study.compress.steps():
            children = [self._compress_to(step, parent, child) for child in range(step.children)]
            parent = children[0] if len(children) == 1 else best_of(children, step.rate)
        self.bits = parent.record.get("bits", {})
        return parent

    def _compress_to(self, c: Compression, start: StageResult, child: int) -> StageResult:
        """Compress the network of a stage, and keep what is masked there masked."""
        crossbar = [self.hardware.crossbar.rows, self.hardware.weights_per_tile_row]
        inputs = {"baseline": start.record["id"], "compress": to_dict(c), "tile": crossbar}
        # Keys that came later count where they are set, so that earlier runs keep their ids.
        for key in ("before", "method", "momentum", "weight_decay", "batch", "active", "purify", "bytes"):
            if not inputs["compress"].get(key) or inputs["compress"][key] == "admm":
                inputs["compress"].pop(key, None)
        del inputs["compress"]["children"]
        if child:
            inputs["child"] = child
        if c.limit is not None:
            inputs["cost"] = to_dict(self.hardware)
        if self.study.layers:
            inputs["layers"] = to_dict(self.study.layers)

        def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            before = self.load(start)
            at = "" if c.rate == self.study.compress.rate else f" {c.rate:g}x"
            batches = self.batches(c.batch)

            def fit(stage: str, recipe: Recipe, methods: list[Method]) -> list[dict[str, Any]]:
                return self.fit(self.model, prefix, stage, recipe, methods, batches, child)

            def constraints() -> dict[str, Constraint]:
                return self.constraints[c.rate] if c.limit is None else self.constraints_within(c.limit)

            log, masks = prune(self.model, self.example, c, constraints, before, fit, at)
            log = (start.record["log"] if before else []) + log
            tensors = dict(self.model.state_dict())
            tensors |= {f"mask.{name}": mask for name, mask in masks.items() if name in self.layers}
            record = {"log": log, "validation": {"compressed": self.validate(self.model)}}
            if c.bytes:
                of_rules = {name: masks[name] for name in self.constraints[c.rate]}
                record["bits"] = bits_of_layers(self.model, of_rules, c.bytes)
            return tensors, record

        remark = f", {c.rate:g}x" if self.study.compress.before else ""
        remark += f", child {child + 1} of {c.children}" if c.children > 1 else ""
        return self.stage("compress", inputs, compute, remark)

    def quantise(self, compressed: StageResult, hardware: Hardware) -> tuple[StageResult, nn.Module]:
        """Steps 2 and 4: ADMM onto the levels under the masks, retraining on them; with the network."""
        q, chosen = self.study.quantise, self.chosen(hardware)
        own = {name: chosen[name].hardware or hardware for name in self.layers}
        values = {name: torch.from_numpy(levels(h.encoding, h.device)) for name, h in own.items()}
        inputs = {"compressed": compressed.record["id"], "quantise": to_dict(q)}
        if not q.freeze:
            del inputs["quantise"]["freeze"], inputs["quantise"]["freeze_epochs"]
        if not q.last:
            del inputs["quantise"]["last"]
        inputs["levels"] = {name: value.tolist() for name, value in values.items()}
        inputs["batch_norm"] = self.study.batch_norm
        if q.noise.kind != "none" or q.converter_epochs or any(s.bias_rows for s in self.study.layers):
            inputs |= {"hardware": simulated(hardware), "calibration": self.study.calibration_images}
        masks = self.load(compressed)
        network = self.on_crossbars()

        def with_write_errors(own: Hardware) -> Hardware:
            return own.replace(device__programming=q.noise)

        def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            def fit(stage: str, recipe: Recipe, methods: list[Method]) -> list[dict[str, Any]]:
                return self.fit(network, prefix, stage, recipe, methods)

            log = onto_levels(network, q, values, masks, self.last, fit)
            seed = derive_seed(self.study.seed, "draws")
            mapped = self.map(network, hardware, masks=masks)
            if any(layer.bias_rows for layer in mapped.layers.values()):
                mapped, _ = calibrate(mapped, network, self.calibration_batches())
            scales = {name: layer.scale for name, layer in mapped.layers.items()}
            written = without_random_effects(mapped).with_hardware(with_write_errors)
            training = trainable_network(network, written, multiply="torch", seed=seed)
            recipe = Recipe(q.retrain_epochs, q.retrain_lr)
            log += self.fit(training, prefix, "levels-retrain", recipe, [])
            trained, on_levels = training.trained()
            if q.converter_epochs:
                mapped = dataclasses.replace(mapped, layers=on_levels.layers).with_hardware(with_write_errors)
                mapped, _ = calibrate(mapped, trained, self.calibration_batches())
                training = trainable_network(trained, mapped, seed=seed)
                recipe = Recipe(q.converter_epochs, q.retrain_lr / 4)
                log += self.fit(training, prefix, "converters", recipe, [])
                trained, _ = training.trained()
            tensors = dict(trained.state_dict()) | {f"mask.{name}": mask for name, mask in masks.items()}
            record = {"log": log, "scales": scales, "validation": {"quantised": self.validate(trained)}}
            return tensors, record

        result = self.stage("quantise", inputs, compute)
        network.load_state_dict(split_masks(result.tensors)[0])
        return result, network

    def calibration_batches(self) -> Batches:
        """The first images of the training data."""
        n = self.study.calibration_images
        return Batches(self.data.train_x[:n], self.data.train_y[:n], EVALUATION_BATCH)

    def chips(
        self,
        network: nn.Module,
        mapped: MappedNetwork,
        case: NoiseCase,
        quantised: StageResult,
        layers: Collection[str] | None = None,
    ) -> StageResult:
        """Steps 5 and 6: chips of one noise case on the test set, one line a finished chip.

        ``layers``: those that are noisy; None: all.
        """
        chips = self.study.chips
        noisy = mapped.with_hardware(lambda hardware: with_noise(hardware, case))
        noisy = noisy if layers is None else noise_in(noisy, layers)
        seed = chips_seed(self.study.seed)
        inputs = {
            "quantised": quantised.record["id"],
            "hardware": simulated(noisy.hardware),
            "own_hardware": {name: simulated(own) for name, own in noisy.own_hardware.items()},
            "calibration": self.study.calibration_images,
            "chips": [chips.n, chips.least, chips.until],
            "time": case.time,
            "compensation": case.compensation,
            **self.test_part(),
        }
        if case.around_faults:
            inputs["around_faults"] = True

        def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            adjust = None
            if case.compensation != "none":
                known = known_reads(noisy, network, self.calibration_batches())
                adjust = functools.partial(compensate, known=known, per=case.compensation)
            lines = prefix.with_name(f"{prefix.name}.jsonl")
            finished = finished_chips(lines)
            with open(lines, "a", encoding="utf-8") as file:

                def run_chip(chip: int) -> float:
                    batches, progress = self.test_batches(f"{case.name}, chip {chip + 1} of {chips.n}")
                    percent = chip_accuracy(
                        around_faults(noisy, seed=seed, chip=chip) if case.around_faults else noisy,
                        network,
                        batches,
                        seed=seed,
                        chip=chip,
                        time=case.time,
                        adjust=adjust,
                        progress=progress,
                    )
                    file.write(json.dumps({"chip": chip, "accuracy": percent}) + "\n")
                    file.flush()
                    return percent

                found = over_chips(
                    run_chip, most=chips.n, least=chips.least, until=chips.until, known=finished
                )
            return {}, {"accuracies": list(found.accuracies), "settled": found.settled}

        where = "" if layers is None else f", noise in {', '.join(layers)} only"
        return self.stage("chips", inputs, compute, f", {case.name}{where}")


def best_of(children: list[StageResult], rate: float) -> StageResult:
    """The child that is best on the validation part, the accuracies of all in its log."""
    reached = [child.record["validation"]["compressed"] for child in children]
    best = reached.index(max(reached))
    row = {"stage": f"children {rate:g}x", "compressed": reached, "best": best}
    record = children[best].record
    return dataclasses.replace(children[best], record={**record, "log": [*record["log"], row]})


def chips_seed(seed: int) -> int:
    """Key of the noise of a study's chips."""
    return derive_seed(seed, "chips") % (1 << 31)


def split_masks(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """State dict and masks of a stage's tensors."""
    masks = {name[5:]: t for name, t in tensors.items() if name.startswith("mask.")}
    return {name: t for name, t in tensors.items() if not name.startswith("mask.")}, masks


def _checksum(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise XbarError(f"{path}: cannot be read ({error.strerror})") from None
