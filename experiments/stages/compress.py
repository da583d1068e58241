"""The second stage: the network pruned to its target, by way of lower rates where the study asks for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.plans.context import Context
from experiments.plans.placement import States, states_of_bits
from experiments.plans.plan import LayerRules, Untrained
from experiments.run_folder.ids import component_files, effective, own_code, simulated
from experiments.run_folder.stage import StageResult
from experiments.stages.train import NetworkWeights, split_masks, with_masks
from experiments.studies.compression import Compression, CompressionStep, Purify
from experiments.studies.training import FineTuning
from mapping.compression.configs import METHODS, AreaLimit, ByteBudget, EnergyLimit
from mapping.compression.masks import Masked, masks_met, on_weights_met
from mapping.compression.pruning import Masks, Pruning, PruningTask
from mapping.compression.shared_weights import by_weight
from mapping.compression.within import Within, holds_of_sets
from mapping.constraints.budgets import WidthBudget
from mapping.constraints.constraint import Constraint
from mapping.constraints.joint_budget import JointBudget
from mapping.constraints.rule_kinds import RULES, reads_more_than_tiles
from mapping.network.gemm import finite_gemm, mappable_layers
from mapping.network.inputs import Inputs, on_host
from mapping.recipes.recipe import Recipe
from mapping.smaller_networks.purification import Purification
from mapping.smaller_networks.unused_paths import remove_unused_paths
from mapping.training.method import Method
from mapping.training.metrics import Metric
from mapping.training.state import Log
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError
from xbar.hardware.files import to_dict

Fit = Callable[[str, Recipe, list[Method]], Log]
"""Trains the network in one named stage: ``fit(stage, recipe, methods)``."""


@dataclass(frozen=True, eq=False)
class CompressedWeights(NetworkWeights):
    """Weights of a pruned network.

    Parameters
    ----------
    states
        States of the cells of layers whose bits were chosen with their weights.
    baseline
        The float network that was pruned.
    lasting
        Sets of signs or values by layer, which the weights lie in and stay in on levels.
    """

    states: Mapping[str, States]
    baseline: NetworkWeights
    lasting: Mapping[str, Constraint]


def compress(
    context: Context, network: Untrained, rules: LayerRules, compression: Compression, trained: NetworkWeights
) -> CompressedWeights:
    """Train under the method, project, and retrain under the masks, for each step in turn.

    Among a network's children, the one that is best on the validation part goes on.
    """
    parent: NetworkWeights = trained
    for step in compression.steps:
        children = [
            _compress_to(context, network, rules, compression, step, trained, parent, child)
            for child in range(compression.children)
        ]
        parent = best_of(children, step.rate, context.measures.metric)
    assert isinstance(parent, CompressedWeights)
    return parent


def best_of(children: list[CompressedWeights], rate: float, metric: Metric) -> CompressedWeights:
    """The child that is best on the validation part, the values of all in its log."""
    if len(children) == 1:
        return children[0]
    reached = [child.validation["compressed"] for child in children]
    best = reached.index(max(reached) if metric.higher_is_better else min(reached))
    row = {"stage": f"children {rate:g}x", "compressed": reached, "best": best}
    return dataclasses.replace(children[best], log=(*children[best].log, row))


def _compress_to(
    context: Context,
    network: Untrained,
    rules: LayerRules,
    compression: Compression,
    step: CompressionStep,
    baseline: NetworkWeights,
    start: NetworkWeights,
    child: int,
) -> CompressedWeights:
    """Compress the network of a stage, and keep what is masked there masked."""
    inputs = compress_inputs(rules, compression, context.fine_tuning, step, start.identity, child)

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        model, teacher = (network.with_state(of.state).to(context.device) for of in (start, baseline))
        before = {name: mask for name, mask in masks_met(model, start.masks).items() if name in rules.layers}
        at = "" if step.rate == compression.rate else f" {step.rate:g}x"

        def fit(stage: str, recipe: Recipe, methods: list[Method]) -> Log:
            more = {"batch": compression.batch, "child": child, "teacher": teacher}
            return context.fine_tune(model, prefix, f"{stage}{at}", recipe, methods, **more)

        def constraints() -> dict[str, Constraint]:
            found = rules.constraints(step.target, on_host(model), network.example)
            return {name: on_weights_met(of, before.get(name)) for name, of in found.items()}

        task = PruningTask(model, step.target, constraints)
        log, masks = prune(task, step, before, compression.purify, network.example, rules.lasting, fit)
        log = [*(start.log if start.masks else ()), *log]
        kept = {name: mask for name, mask in masks.items() if name in rules.layers}
        record = {"log": log, "validation": {"compressed": context.validate(model)}}
        if isinstance(step.target, ByteBudget):
            of_rules = {name: masks[name] for name in rules.rules}
            record["bits"] = bits_of_layers(model, of_rules, step.target.bytes)
        return with_masks(model.state_dict(), kept), record

    remark = f", {step.rate:g}x" if compression.before else ""
    remark += f", child {child + 1} of {compression.children}" if compression.children > 1 else ""
    return _compressed(context.stage("compress", inputs, compute, remark), baseline, rules.lasting)


def _compressed(
    stage: StageResult, baseline: NetworkWeights, lasting: Mapping[str, Constraint]
) -> CompressedWeights:
    state, masks = split_masks(stage.tensors)
    record = stage.record
    states = {name: states_of_bits(bits) for name, bits in record.get("bits", {}).items()}
    found = stage.identity, state, masks, tuple(record["log"]), record["validation"]
    return CompressedWeights(*found, states, baseline, lasting)


def compress_inputs(
    rules: LayerRules,
    compression: Compression,
    fine_tuning: FineTuning | None,
    step: CompressionStep,
    start: str,
    child: int = 0,
) -> dict[str, Any]:
    """Plain data that the id of one step of `compress` hashes. `start` is the id of the stage before it.

    Ids without ``fine_tuning`` stand for Adam with a cosine, which every study had before there was the key.
    """
    tuning = {} if fine_tuning is None else {"fine_tuning": to_dict(fine_tuning)}
    return tuning | {
        "start": start,
        "step": to_dict(step),
        "final": step.rate == compression.rate,
        "batch": compression.batch,
        "purify": to_dict(compression.purify),
        "child": child,
        **own_code((METHODS, step.method)),
        **_plain_rules(rules, step),
    }


def _plain_rules(rules: LayerRules, step: CompressionStep) -> dict[str, Any]:
    """Plain data of the layers on crossbars, their rules and tiles, and what they cost where a limit asks."""
    own = rules.placement.by_layer()
    found: dict[str, Any] = {
        "layers": {
            name: {
                "tile": [hardware.crossbar.rows, hardware.weights_per_tile_row],
                **_plain_layer_rules(rules.rules.get(name, ()), hardware),
            }
            for name, hardware in own.items()
        }
    }
    if isinstance(step.target, AreaLimit | EnergyLimit):
        costs = (rules.placement.hardware, *own.values())
        found["costs"] = {name: effective(hardware) for name, hardware in own.items()}
        found["libraries"] = component_files(costs)
        found["bias_rows"] = rules.placement.bias_rows()
    return found


def _plain_layer_rules(rules: tuple[Any, ...], hardware: Hardware) -> dict[str, Any]:
    """The first rule of a layer, and those that hold together with it."""
    first, *others = [_plain_rule(rule, hardware) for rule in rules] or [{}]
    return {"rule": first, "beside": others} if others else {"rule": first}


def _plain_rule(rule: Any, hardware: Hardware) -> dict[str, Any]:
    read = {"hardware": simulated(hardware)} if reads_more_than_tiles(rule) else {}
    return {"kind": RULES.kind(rule), "keys": RULES.plain(rule), **read, **own_code((RULES, rule))}


def _pruning(method: object, task: PruningTask) -> Pruning:
    """The pruning that the handler of a method gives."""
    with METHODS.guarded(method):
        found = METHODS.handler(method)(method, task)
    if not isinstance(found, Pruning):
        raise XbarError(
            f"{METHODS.what} {METHODS.kind(method)!r}: its handler gives a {type(found).__name__}; must be a "
            "Pruning"
        )
    return found


def prune(
    task: PruningTask,
    step: CompressionStep,
    before: Masks,
    purify: Purify | None,
    example: Inputs,
    lasting: Mapping[str, Constraint],
    fit: Fit,
) -> tuple[Log, Masks]:
    """Take a network to the target of a task in place; the log, and the masks, which lie within those
    `before`. Weights stay in sets that are `lasting`."""
    model = task.model
    held: list[Method] = [Masked(model, before)] if before else []
    pruning = _pruning(step.method, task)
    log = fit(pruning.stage, pruning.recipe, [pruning.hook, *held])
    masks: Masks = pruning.finish()
    masks = before | {name: mask & before[name] if name in before else mask for name, mask in masks.items()}
    if purify is not None:
        masks = purified(model, example, Purification(purify.emptiness, purify.importance), masks)
    kept: list[Method] = [Masked(model, masks)]
    if lasting:
        kept.append(Within(model, holds_of_sets(model, lasting)))
    log += fit("retrain", Recipe(step.retrain_epochs, step.retrain_lr), kept)
    return log, masks


def bits_of_layers(model: nn.Module, masks: Masks, budget: float) -> dict[str, int]:
    """Bits of each layer's weights within a budget in bytes, for the weights as they are."""
    layers, sharing = mappable_layers(model), by_weight(model, masks)
    budget_of = WidthBudget(8 * budget, {name: masks[name] for name in sharing}, JointBudget.widths)
    bits = budget_of.choose({name: finite_gemm(layers[name], name) for name in sharing})
    return {name: bits[first] for first, names in sharing.items() for name in names}


def purified(model: nn.Module, example: Inputs, purification: Purification, masks: Masks) -> Masks:
    """Masks without what purification and unused paths take away; biases take over what constants add. A
    layer without a bias that would need one keeps its weights."""
    host = on_host(model)  # its graph is traced there
    left = purification.masks(host, example, {name: mask.cpu() for name, mask in masks.items()})
    used = remove_unused_paths(host, example, left)
    found = mappable_layers(used.model)
    for name, layer in mappable_layers(model).items():
        if layer.bias is None and found[name].bias is not None:
            used.masks[name] = left[name]
            found[name].weight.data.copy_(layer.weight.data)
    left_state = used.model.state_dict()
    for name, tensor in model.state_dict().items():
        tensor.copy_(left_state[name])
    frozen = {name for name, layer in mappable_layers(model).items() if not layer.weight.requires_grad}
    return {
        name: mask for name, mask in used.masks.items() if name in masks or not (mask.all() or name in frozen)
    }
