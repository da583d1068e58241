"""The methods that take a network to a rate, by their names in a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from experiments.studies.study import Compression
from mapping.compression.admm import Admm, RhoSchedule
from mapping.compression.gsm import Gsm
from mapping.compression.masks import Masked
from mapping.compression.shared_weights import by_weight
from mapping.constraints.budgets import NonzeroBudget, WidthBudget
from mapping.constraints.constraint import Constraint, NetworkConstraint
from mapping.constraints.joint_budget import JointBudget
from mapping.network.gemm import finite_gemm, mappable_layers
from mapping.smaller_networks.purification import Purification
from mapping.smaller_networks.unused_paths import remove_unused_paths
from mapping.training.loop import Method
from mapping.training.recipe import Recipe
from xbar.hardware.files import to_dict

Masks = dict[str, torch.Tensor]
Log = list[dict[str, Any]]
Fit = Callable[[str, Recipe, list[Method]], Log]
"""Trains the network in one named stage: ``fit(stage, recipe, methods)``."""

STAGES = {"admm": "prune", "budget": "prune", "gsm": "gsm"}
"""Stage of the log by method."""
WARMUP_EPOCHS = 0.3
"""Of training with a large learning rate from the start."""


def prune(
    model: nn.Module,
    example: torch.Tensor,
    c: Compression,
    constraints: Callable[[], Mapping[str, Constraint]],
    before: Masks,
    fit: Fit,
    at: str,
) -> tuple[Log, Masks]:
    """Take a network to the rate of `c` in place; the log, and the masks, which lie within those `before`.

    Parameters
    ----------
    constraints
        By layer, for the weights as they are: asked for at the start, and again before ADMM's projection. GSM
        and a budget take the names of the layers only.
    at
        Ends the names of the training stages.
    """
    held: list[Method] = [Masked(model, before)] if before else []
    method: Admm | Gsm
    if c.method == "gsm":
        method = Gsm(model, c.rate, constraints(), c.active or None)
        recipe = Recipe(c.epochs, c.lr, "sgd", c.momentum, c.weight_decay, min(WARMUP_EPOCHS, c.epochs))
    else:
        first = constraints()
        rho = RhoSchedule(c.rho, c.rho_factor, c.rho_limit)
        method = Admm(model, _tied(model, c, first), rho, c.interval, first)
        recipe = Recipe(c.epochs, c.lr, final=0.1)
    log = fit(f"{STAGES[c.method]}{at}", recipe, [method, *held])
    if isinstance(method, Admm):
        method.constrain(model, _tied(model, c, constraints()))
    masks = method.finish(model)
    masks = before | {name: mask & before[name] if name in before else mask for name, mask in masks.items()}
    if c.purify is not None:
        masks = _purify(model, example, Purification(**to_dict(c.purify)), masks)
    log += fit(f"retrain{at}", Recipe(c.retrain_epochs, c.retrain_lr), [Masked(model, masks)])
    return log, masks


def bits_of_layers(model: nn.Module, masks: Masks, budget: float) -> dict[str, int]:
    """Bits of each layer's weights within a budget in bytes, for the weights as they are."""
    layers, sharing = mappable_layers(model), by_weight(model, masks)
    budget_of = WidthBudget(8 * budget, {name: masks[name] for name in sharing}, JointBudget.widths)
    bits = budget_of.choose({name: finite_gemm(layers[name], name) for name in sharing})
    return {name: bits[first] for first, names in sharing.items() for name in names}


def _purify(model: nn.Module, example: torch.Tensor, purification: Purification, masks: Masks) -> Masks:
    """Masks without what purification and unused paths take away; biases take over what constants add. A
    layer without a bias that would need one keeps its weights."""
    left = purification.masks(model, example, masks)
    used = remove_unused_paths(model, example, left)
    found = mappable_layers(used.model)
    for name, layer in mappable_layers(model).items():
        if layer.bias is None and found[name].bias is not None:
            used.masks[name] = left[name]
            found[name].weight.data.copy_(layer.weight.data)
    model.load_state_dict(used.model.state_dict(), strict=False)
    frozen = {name for name, layer in mappable_layers(model).items() if not layer.weight.requires_grad}
    return {
        name: mask for name, mask in used.masks.items() if name in masks or not (mask.all() or name in frozen)
    }


def _tied(
    model: nn.Module, c: Compression, constraints: Mapping[str, Constraint]
) -> Mapping[str, Constraint] | NetworkConstraint:
    """What ADMM draws the weights to: each layer's constraint, or one number of weights or bits for all."""
    if c.method != "budget":
        return constraints
    if c.bytes:
        return JointBudget(8 * c.bytes)
    layers = mappable_layers(model)
    return NonzeroBudget(
        int(sum(layers[name].weight.numel() for name in by_weight(model, constraints)) / c.rate)
    )
