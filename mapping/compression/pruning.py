"""Pruning by a method: its task, what it returns, and the methods that are built in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from mapping.compression.admm import Admm, RhoSchedule
from mapping.compression.configs import AdmmConfig, BudgetConfig, ByteBudget, GsmConfig, Rate, Target
from mapping.compression.gsm import Gsm
from mapping.compression.shared_weights import by_weight
from mapping.constraints.budgets import NonzeroBudget
from mapping.constraints.constraint import Constraint, NetworkConstraint
from mapping.constraints.joint_budget import JointBudget
from mapping.network.gemm import finite_gemm, from_gemm, layer_of, mappable_layers
from mapping.recipes.recipe import Recipe
from mapping.training.method import Method

WARMUP_EPOCHS = 0.3
"""Epochs over which a large learning rate is reached from 0."""

Masks = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class PruningTask:
    """The task of a compression method: a network, a target, and the constraints that meet it.

    Parameters
    ----------
    model
        The network, which the training changes in place.
    target
        How far it is to be pruned; one of those that the config `takes`.
    constraints
        The set of each layer that has a rule, for the weights as they are when it is called. Methods that
        choose over all layers together take only the names of the layers.
    """

    model: nn.Module
    target: Target
    constraints: Callable[[], Mapping[str, Constraint]]


@dataclass(frozen=True, eq=False)
class Pruning:
    """A method that is ready to prune one network: a hook, a recipe, and how to finish.

    Parameters
    ----------
    hook
        Works in the steps of the training loop.
    recipe
        Recipe of the training.
    finish
        Puts the trained weights into their sets, in place; the masks, (K, N) bool by layer.
    stage
        Name of the training in the log.
    """

    hook: Method
    recipe: Recipe
    finish: Callable[[], Masks]
    stage: str = "prune"


@torch.no_grad()
def project_layer(network: nn.Module, name: str, constraint: Constraint) -> torch.Tensor:
    """Put the weights of the layer `name` into their set, in place, and give the mask, (K, N) bool."""
    layer = layer_of(network, name)
    z, mask = constraint.project(finite_gemm(layer, name))
    layer.weight.copy_(from_gemm(z, layer))
    return mask


def by_admm(config: AdmmConfig, task: PruningTask) -> Pruning:
    """Prune by ADMM, each layer to its own constraint.

    Constraints that depend on the weights are in the end those of the last weights.
    """
    return _admm(config, task, task.constraints)


def by_budget(config: BudgetConfig, task: PruningTask) -> Pruning:
    """Prune by ADMM to one number of weights, or of bits, for all layers that have a rule."""
    model, target = task.model, task.target

    def tied() -> NetworkConstraint:
        if isinstance(target, ByteBudget):
            return JointBudget(8 * target.bytes)
        assert isinstance(target, Rate)
        layers = mappable_layers(model)
        each = by_weight(model, task.constraints())
        return NonzeroBudget(int(sum(layers[name].weight.numel() for name in each) / target.rate))

    return _admm(config, task, tied)


def by_gsm(config: GsmConfig, task: PruningTask) -> Pruning:
    """Prune by global sparse momentum SGD over all layers that have a rule."""
    assert isinstance(task.target, Rate)
    method = Gsm(task.model, task.target.rate, task.constraints(), config.active or None)
    warmup = min(WARMUP_EPOCHS, config.epochs)
    recipe = Recipe(config.epochs, config.lr, "sgd", config.momentum, config.weight_decay, warmup)
    return Pruning(method, recipe, lambda: method.finish(task.model), "gsm")


def _admm(
    config: AdmmConfig,
    task: PruningTask,
    sets: Callable[[], Mapping[str, Constraint] | NetworkConstraint],
) -> Pruning:
    rho = RhoSchedule(config.rho, config.rho_factor, config.rho_limit)
    method = Admm(task.model, sets(), rho, config.interval, task.constraints())

    def finish() -> Masks:
        method.constrain(task.model, sets())
        return method.finish(task.model)

    return Pruning(method, Recipe(config.epochs, config.lr, final=0.1), finish)
