"""`compress`: from a network, data and a table of constraints to a network that lies exactly in them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mapping.compression.admm import Admm, RhoSchedule
from mapping.compression.freezing import Freezing
from mapping.compression.masks import Masked, masks_met, on_weights_met
from mapping.compression.pruning import project_layer
from mapping.compression.shared_weights import by_weight, for_all_layers
from mapping.constraints.centroids import Centroids
from mapping.constraints.constraint import Constraint, by_pattern
from mapping.constraints.intersections import SparseValues
from mapping.constraints.levels import Levels, Ternary, equal_levels
from mapping.network.gemm import mappable_layers, types_of
from mapping.recipes.recipe import Recipe
from mapping.training.arguments import digests_of
from mapping.training.checkpoints import Checkpoint
from mapping.training.loop import BatchSource, Progress, length, train
from mapping.training.method import Method
from mapping.training.objective import Loss
from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class Compressed:
    """The result of `compress`.

    Parameters
    ----------
    model
        A copy of the network; each constrained layer lies in its set.
    masks
        Weights that may be other than zero, (K, N) bool by layer that is constrained or was pruned before.
    log
        One row an epoch, and those of the methods: residuals, rho, weights kept, frozen.
    """

    model: nn.Module
    masks: Mapping[str, torch.Tensor]
    log: list[dict[str, Any]]


def compress(
    model: nn.Module,
    batches: BatchSource,
    constraints: Mapping[str, Constraint],
    recipe: Recipe,
    retrain: Recipe,
    *,
    loss: Loss = nn.functional.cross_entropy,
    teacher: nn.Module | None = None,
    rho: RhoSchedule | None = None,
    interval: int = 1,
    freeze: Sequence[float] = (0.5, 0.75, 0.9, 1.0),
    seed: int = 0,
    validate: Callable[[nn.Module], float] | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Compressed:
    """ADMM to a set for each layer, the projection, and retraining within it.

    What is exactly 0 in the network stays so, but for layers that are 0 altogether, which are free to grow
    (`mapping.compression.masks.masks_met`). Sparsities hold their masks in the retraining. Single values that
    weights may take (`Levels`, `Ternary`, `Centroids`, `Magnitudes`, and those of `SparseValues`) are reached
    by freezing shares of the weights, equally many epochs each. What a retraining may leave, such as a
    `Window` or `OneSign`, is projected once more at its end.

    Parameters
    ----------
    constraints
        Constraint by layer name, pattern (``*``, ``?``) or type (``Conv2d``); a layer that none fits is free.
    recipe, retrain
        Recipes of the training with ADMM, and of the retraining.
    teacher
        Teacher of a recipe with `mapping.Distillation`; None: the network as it is given.
    freeze
        Shares of the weights to freeze, rising to 1, for layers with values.
    checkpoint
        Prefix of the files that an interrupted call with the same arguments goes on from. They belong to the
        network with its weights, the constraints, recipes, loss, rho, interval, shares, seed and number of
        batches; files of others are refused.

    Raises
    ------
    XbarError
        For an entry that fits no layer, a retraining of fewer epochs than there are shares to freeze, all
        that the methods refuse, and checkpoints of other arguments.
    """
    network = copy.deepcopy(model)
    chosen = _chosen(network, constraints)
    single = _to_freeze(chosen, freeze, retrain)
    if teacher is not None and not (recipe.options.distillation or retrain.options.distillation):
        raise XbarError("teacher: has an effect with a recipe whose options have a Distillation only")
    kept: dict[str, Checkpoint] = {}
    if checkpoint is not None:
        kept = _checkpoints(
            checkpoint,
            network=model,
            constraints=constraints,
            recipe=recipe,
            retrain=retrain,
            loss=loss,
            teacher=teacher,
            rho=rho,
            interval=interval,
            freeze=tuple(freeze),
            seed=seed,
            batches=length(batches),
        )

    def fit(how: Recipe, **named: Any) -> list[dict[str, Any]]:
        taught_by = (teacher or model) if how.options.distillation else None
        common: dict[str, Any] = {"loss": loss, "seed": seed, "validate": validate, "progress": progress}
        return train(network, batches, how, teacher=taught_by, **common, **named)

    met = masks_met(network)
    admm = Admm(network, {n: on_weights_met(of, met.get(n)) for n, of in chosen.items()}, rho, interval)
    with_admm: list[Method] = [admm, Masked(network, met)]
    log = fit(recipe, methods=with_admm, stage="admm", checkpoint=kept.get("admm"))
    found = admm.finish(network)
    masks = met | {name: mask & met[name] if name in met else mask for name, mask in found.items()}
    methods: list[Method] = [Masked(network, masks)]
    if single:
        onto = {name: dataclasses.replace(values, mask=masks[name]) for name, values in single.items()}
        methods.append(Freezing(network, onto, freeze, retrain.epochs // len(freeze)))
    log += fit(retrain, methods=methods, stage="retrain", checkpoint=kept.get("retrain"))
    masks |= _projected_at_end(network, {n: of for n, of in chosen.items() if n not in single}, masks)
    return Compressed(network.eval(), masks, log)


def _chosen(network: nn.Module, constraints: Mapping[str, Constraint]) -> dict[str, Constraint]:
    """The constraint of each layer that has one."""
    layers = mappable_layers(network)
    chosen = by_pattern(constraints, list(layers), "constraints", types_of(layers))
    if not chosen:
        raise XbarError("constraints: none given; a table of layer names, patterns or types")
    return chosen


def _to_freeze(
    chosen: Mapping[str, Constraint], freeze: Sequence[float], retrain: Recipe
) -> dict[str, Levels | Centroids]:
    """Single values that weights of a layer may take, by layer that has such."""
    found = {name: values for name, of in chosen.items() if (values := _single_values(of)) is not None}
    if found and retrain.epochs < len(freeze):
        raise XbarError(
            f"retrain.epochs = {retrain.epochs}: too few to freeze {len(freeze)} shares of the weights on "
            f"their values; at least {len(freeze)}"
        )
    return found


def _checkpoints(prefix: Path, **belongs: Any) -> dict[str, Checkpoint]:
    """Checkpoints of both trainings, none of which may belong to other arguments."""
    digests = digests_of(**belongs)
    stages = ("admm", "retrain")
    kept = {stage: Checkpoint(Path(f"{prefix}.{stage}.safetensors"), digests) for stage in stages}
    for checkpoint in kept.values():
        checkpoint.check()
    return kept


def _projected_at_end(
    network: nn.Module, chosen: Mapping[str, Constraint], masks: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Masks of layers that are put into their sets once more, those that share a weight as one."""
    after: dict[str, torch.Tensor] = {}
    for first, sharing in by_weight(network, list(chosen)).items():
        left = masks[first] & project_layer(network, first, chosen[first])
        after |= for_all_layers(network, sharing, {first: left})
    return after


def _single_values(constraint: Constraint) -> Levels | Centroids | None:
    """The values that a set lets unmasked weights take, where there are so many and no more."""
    of = constraint.values if isinstance(constraint, SparseValues) else constraint
    if isinstance(of, Ternary):
        return Levels(equal_levels(1), per=of.per)
    return of if isinstance(of, Levels | Centroids) else None
