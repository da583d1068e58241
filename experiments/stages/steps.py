"""The steps of a study, each a stage with a strong id: train, compress, quantise, chips."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.stages.folder import finished_chips
from experiments.stages.ids import component_files, device_files, simulated
from experiments.stages.json_lines import append_line
from experiments.stages.pruning import WARMUP_EPOCHS, bits_of_layers, prune
from experiments.stages.quantising import fitted_states, onto_levels
from experiments.stages.rules import states_of_bits
from experiments.stages.stage import StageResult
from experiments.stages.work import Run, split_masks
from experiments.studies.noise_cases import NoiseCase, with_noise
from experiments.studies.study import Compression
from mapping.chips.analog_training import trainable_network
from mapping.chips.calibration import calibrate
from mapping.chips.chip import without_random_effects
from mapping.constraints.centroids import Magnitudes
from mapping.constraints.constraint import Constraint
from mapping.constraints.levels import Levels
from mapping.lab.compensation import compensate, read_known_inputs
from mapping.lab.faults import around_faults
from mapping.monte_carlo.layer_noise import noise_in
from mapping.monte_carlo.one_chip import chip_accuracy
from mapping.monte_carlo.sampling import sample_chips
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from mapping.training.loop import Method, derive_seed
from mapping.training.recipe import COSINE, Recipe
from xbar.conductances.encoding import levels
from xbar.hardware.design import Hardware
from xbar.hardware.files import to_dict


def train_baseline(run: Run) -> StageResult:
    """Step 1: the float network."""
    study = run.study
    inputs: dict[str, Any] = {
        "data": run.data.checksum,
        "network": study.network,
        "train": to_dict(study.train),
    }
    inputs |= run.files
    # Keys that came later count where they are set, so that earlier runs keep their ids.
    if study.width != 1:
        inputs["width"] = study.width
    for key, default in (("flip", False), ("optimizer", "Adam"), ("scheduler", COSINE)):
        if inputs["train"][key] == default:
            del inputs["train"][key]

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        t = study.train
        warmup = min(WARMUP_EPOCHS, t.epochs) if t.scheduler == COSINE else 0.0
        recipe = Recipe(
            *(t.epochs, t.lr, t.optimizer),
            weight_decay=t.weight_decay,
            warmup=warmup,
            scheduler=t.scheduler,
        )
        log = run.fit(run.model, prefix, "train", recipe, [])
        return dict(run.model.state_dict()), {
            "log": log,
            "validation": {"float": run.validate(run.model)},
        }

    return run.stage("train", inputs, compute)


def compress(run: Run, baseline: StageResult) -> StageResult:
    """Steps 2 and 3, for each rate in turn: ADMM, hard projection, masked retraining; of a network's
    children, the one that is best on the validation part goes on. Bits that it found for layers hold for
    their cells from here on."""
    parent = baseline
    for step in run.study.compress.steps():
        children = [_compress_to(run, step, parent, child) for child in range(step.children)]
        parent = children[0] if len(children) == 1 else best_of(children, step.rate)
    run.states = {name: states_of_bits(bits) for name, bits in parent.record.get("bits", {}).items()}
    return parent


def _compress_to(run: Run, c: Compression, start: StageResult, child: int) -> StageResult:
    """Compress the network of a stage, and keep what is masked there masked."""
    crossbar = [run.hardware.crossbar.rows, run.hardware.weights_per_tile_row]
    inputs = {"baseline": start.record["id"], "compress": to_dict(c), "tile": crossbar}
    # Keys that came later count where they are set, so that earlier runs keep their ids.
    for key in ("before", "method", "momentum", "weight_decay", "batch", "active", "purify", "bytes"):
        if not inputs["compress"].get(key) or inputs["compress"][key] == "admm":
            inputs["compress"].pop(key, None)
    del inputs["compress"]["children"]
    if child:
        inputs["child"] = child
    if c.limit is not None:
        inputs["cost"] = to_dict(run.hardware)
        inputs |= component_files(run.study)
    if run.study.layers:
        inputs["layers"] = to_dict(run.study.layers)
        inputs |= device_files(run.study)

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        progressive = run.load(start)
        before = run.masks_met(run.model, progressive)
        at = "" if c.rate == run.study.compress.rate else f" {c.rate:g}x"
        batches = run.batches(c.batch)

        def fit(stage: str, recipe: Recipe, methods: list[Method]) -> list[dict[str, Any]]:
            return run.fit(run.model, prefix, stage, recipe, methods, batches, child)

        def constraints() -> dict[str, Constraint]:
            return run.constraints[c.rate] if c.limit is None else run.constraints_within(c.limit)

        log, masks = prune(run.model, run.example, c, constraints, before, fit, at)
        log = (start.record["log"] if progressive else []) + log
        tensors = dict(run.model.state_dict())
        tensors |= {f"mask.{name}": mask for name, mask in masks.items() if name in run.layers}
        record = {"log": log, "validation": {"compressed": run.validate(run.model)}}
        if c.bytes:
            of_rules = {name: masks[name] for name in run.constraints[c.rate]}
            record["bits"] = bits_of_layers(run.model, of_rules, c.bytes)
        return tensors, record

    remark = f", {c.rate:g}x" if run.study.compress.before else ""
    remark += f", child {child + 1} of {c.children}" if c.children > 1 else ""
    return run.stage("compress", inputs, compute, remark)


def quantise(run: Run, compressed: StageResult, hardware: Hardware) -> tuple[StageResult, nn.Module]:
    """Steps 2 and 4: ADMM onto the levels under the masks, retraining on them; with the network."""
    q, chosen = run.study.quantise, run.chosen(hardware)
    own = {name: chosen[name].hardware or hardware for name in run.layers}
    masks = run.load(compressed)
    network = run.on_crossbars()
    on_levels = run.masks_met(network, masks)
    free: dict[str, Magnitudes] = {}
    fixed: dict[str, Levels] = {}
    for name, h in own.items():
        if q.centroids:
            free[name] = Magnitudes(q.centroids, on_levels.get(name))
        else:
            values = torch.from_numpy(levels(h.encoding, h.device))
            fixed[name] = Levels(values, on_levels.get(name), per=h.encoding.scale)
    inputs = {"compressed": compressed.record["id"], "quantise": to_dict(q)}
    if not q.freeze:
        del inputs["quantise"]["freeze"], inputs["quantise"]["freeze_epochs"]
    for key in ("last", "centroids"):
        if not inputs["quantise"][key]:
            del inputs["quantise"][key]
    inputs["levels"] = {name: of.values.tolist() for name, of in fixed.items()}
    inputs["batch_norm"] = run.study.batch_norm
    zeros = [name for name, h in own.items() if h.encoding.zeros == "level"]
    if zeros:
        inputs["zeros_on_levels"] = zeros
    by_column = [name for name, h in own.items() if h.encoding.scale == "column"]
    if by_column:
        inputs["scales_by_column"] = by_column
    if q.noise.kind != "none" or q.converter_epochs or any(s.bias_rows for s in run.study.layers):
        inputs |= {"hardware": simulated(hardware), "calibration": run.study.calibration_images}

    def with_write_errors(own: Hardware) -> Hardware:
        return own.replace(device__programming=q.noise)

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        def fit(stage: str, recipe: Recipe, methods: list[Method]) -> list[dict[str, Any]]:
            return run.fit(network, prefix, stage, recipe, methods)

        log = onto_levels(network, q, free or fixed, on_levels, run.last, fit)
        run.states |= fitted_states(network, free)
        seed = derive_seed(run.study.seed, "draws")
        mapped = run.map(network, hardware, masks=masks)
        if any(layer.bias_rows for layer in mapped.layers.values()):
            mapped, _ = calibrate(mapped, network, run.calibration_batches())
        written = without_random_effects(mapped).with_hardware(with_write_errors)
        training = trainable_network(network, written, multiply="torch", seed=seed)
        recipe = Recipe(q.retrain_epochs, q.retrain_lr)
        log += run.fit(training, prefix, "levels-retrain", recipe, [])
        trained, mapped = training.trained()
        if q.converter_epochs:
            mapped = mapped.with_hardware(with_write_errors)
            mapped, _ = calibrate(mapped, trained, run.calibration_batches())
            training = trainable_network(trained, mapped, seed=seed)
            recipe = Recipe(q.converter_epochs, q.retrain_lr / 4)
            log += run.fit(training, prefix, "converters", recipe, [])
            trained, mapped = training.trained()
        scales = {name: scales_of(layer) for name, layer in mapped.layers.items()}
        tensors = dict(trained.state_dict()) | {f"mask.{name}": mask for name, mask in masks.items()}
        record = {"log": log, "scales": scales, "validation": {"quantised": run.validate(trained)}}
        if free:
            record["states"] = {name: run.states[name] for name in free}
        return tensors, record

    result = run.stage("quantise", inputs, compute)
    for name, states in result.record.get("states", {}).items():
        run.states[name] = tuple(states) if isinstance(states, list) else states
    network.load_state_dict(split_masks(result.tensors)[0])
    return result, network


def chips(
    run: Run,
    network: nn.Module,
    mapped: MappedNetwork,
    case: NoiseCase,
    quantised: StageResult,
    layers: Collection[str] | None = None,
) -> StageResult:
    """Steps 5 and 6: chips of one noise case on the test set, one line a finished chip.

    ``layers``: those that are noisy; None: all.
    """
    chips = run.study.chips
    noisy = mapped.with_hardware(lambda hardware: with_noise(hardware, case))
    noisy = noisy if layers is None else noise_in(noisy, layers)
    seed = chips_seed(run.study.seed)
    inputs = {
        "quantised": quantised.record["id"],
        "hardware": simulated(noisy.hardware),
        "own_hardware": {name: simulated(own) for name, own in noisy.own_hardware.items()},
        "calibration": run.study.calibration_images,
        "chips": [chips.n, chips.least, chips.until],
        "time": case.time,
        "compensation": case.compensation,
        **run.test_part(),
    }
    if case.around_faults:
        inputs["around_faults"] = True

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        adjust = None
        if case.compensation != "none":
            known = read_known_inputs(noisy, network, run.calibration_batches())
            adjust = functools.partial(compensate, known=known, per=case.compensation)
        lines = prefix.with_name(f"{prefix.name}.jsonl")
        finished = finished_chips(lines)
        with open(lines, "ab", buffering=0) as file:

            def run_chip(chip: int) -> float:
                batches, progress = run.test_batches(f"{case.name}, chip {chip + 1} of {chips.n}")
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
                append_line(file, {"chip": chip, "accuracy": percent})
                return percent

            found = sample_chips(run_chip, most=chips.n, least=chips.least, until=chips.until, known=finished)
        return {}, {"accuracies": list(found.accuracies), "settled": found.settled}

    where = "" if layers is None else f", noise in {', '.join(layers)} only"
    return run.stage("chips", inputs, compute, f", {case.name}{where}")


def scales_of(layer: MappedLayer) -> float | list[float]:
    """Scales of a layer's columns as plain data; one number where they are the same."""
    assert layer.scale is not None
    scales: list[float] = layer.scale.tolist()
    return scales[0] if len(set(scales)) == 1 else scales


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
