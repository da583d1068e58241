"""The first stage: the float network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from experiments.plans.context import Context
from experiments.plans.plan import Untrained
from experiments.run_folder.stage import StageResult
from experiments.studies.training import Training
from mapping.compression.pruning import WARMUP_EPOCHS
from mapping.recipes.recipe import COSINE, Recipe
from xbar.hardware.files import to_dict


@dataclass(frozen=True, eq=False)
class NetworkWeights:
    """Weights that a stage left.

    Parameters
    ----------
    identity
        Id of the stage.
    state
        State dict of the network in the form that is trained.
    masks
        Weights that may be other than zero, (K, N) bool, by the name of each layer that was pruned.
    log
        Rows of the training and its methods.
    validation
        The metric on the validation part, by the name of the network.
    """

    identity: str
    state: Mapping[str, torch.Tensor]
    masks: Mapping[str, torch.Tensor]
    log: tuple[dict[str, Any], ...]
    validation: Mapping[str, float]


def train(context: Context, network: Untrained, training: Training) -> NetworkWeights:
    """Train the float network, or read the finished stage that an earlier run left in the folder."""

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        model = network.with_state(network.form.state_dict()).to(context.device)
        log = context.fit(model, prefix, "train", recipe_of(training), [])
        record = {"log": log, "validation": {"float": context.validate(model)}}
        return with_masks(model.state_dict(), {}), record

    return weights_of(context.stage("train", train_inputs(context, network, training), compute))


def train_inputs(context: Context, network: Untrained, training: Training) -> dict[str, Any]:
    """Plain data that the id of `train` hashes."""
    measures = context.measures.source
    return {
        "data": context.data.checksum,
        "device": context.device.type,
        **network.source,
        "train": to_dict(training),
        **measures,
    }


def recipe_of(training: Training) -> Recipe:
    """The recipe with which the baseline is trained."""
    is_cosine = training.scheduler == COSINE
    return Recipe(
        *(training.epochs, training.lr),
        **training.recipe_keys(),
        warmup=min(WARMUP_EPOCHS, training.epochs) if is_cosine else 0.0,
    )


def weights_of(stage: StageResult) -> NetworkWeights:
    """The weights, masks and records of a stage's file."""
    state, masks = split_masks(stage.tensors)
    record = stage.record
    return NetworkWeights(stage.identity, state, masks, tuple(record["log"]), record["validation"])


def with_masks(
    state: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Tensors of a stage's file, on the processor: a state dict, and masks under their layers' names after
    ``mask.``."""
    tensors = {**state, **{f"mask.{name}": mask for name, mask in masks.items()}}
    return {name: tensor.cpu() for name, tensor in tensors.items()}


def split_masks(
    tensors: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """State dict and masks of what `with_masks` gave."""
    masks = {name[5:]: t for name, t in tensors.items() if name.startswith("mask.")}
    return {name: t for name, t in tensors.items() if not name.startswith("mask.")}, masks
