"""Weights onto the levels of the cells: ADMM, then freezing, of all layers at once or some of them last."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import nn

from experiments.pruning import Fit, Log, Masks
from experiments.study import Quantisation
from mapping import Admm, Freezing, Levels, Masked, Recipe, RhoSchedule
from mapping.training import Method


def onto_levels(
    network: nn.Module,
    q: Quantisation,
    values: Mapping[str, torch.Tensor],
    masks: Masks,
    last: Collection[str],
    fit: Fit,
) -> Log:
    """Draw a network's weights to their levels in place, under its masks; the log.

    Parameters
    ----------
    values
        Positive levels by layer.
    last
        Layers that follow when the others are on their levels and held there (Ye et al., arXiv:1903.09769).
    """
    log: Log = []
    done: dict[str, Levels] = {}
    first = {name: v for name, v in values.items() if name not in last}
    for at, part in (("", first), (" last", {name: values[name] for name in last})):
        levels = {name: Levels(v, masks.get(name)) for name, v in part.items()}
        if not levels:
            continue
        admm = Admm(network, levels, RhoSchedule(q.rho, q.rho_factor, q.rho_limit), q.interval)
        recipe = Recipe(q.epochs, q.lr, final=0.1)
        log += fit(f"levels{at}", recipe, [admm, Masked(network, masks), *_held(network, done)])
        if q.freeze:
            freezing = Freezing(network, levels, q.freeze, q.freeze_epochs)
            recipe = Recipe(freezing.total_epochs, q.lr, final=0.1)
            log += fit(f"freeze{at}", recipe, [freezing, *_held(network, done)])
        done |= levels
    return log


def _held(network: nn.Module, on: Mapping[str, Levels]) -> list[Method]:
    return [Freezing(network, on, (1.0,))] if on else []
