"""Weights onto the levels of the cells, or onto free ones that their cells then have: ADMM, then freezing, of
all layers at once or some of them last."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import nn

from experiments.stages.pruning import Fit, Log, Masks
from experiments.stages.rules import States, states_of_magnitudes
from experiments.studies.study import Quantisation
from mapping.compression.admm import Admm, RhoSchedule
from mapping.compression.freezing import Freezing
from mapping.compression.masks import Masked
from mapping.constraints.centroids import Magnitudes
from mapping.constraints.levels import Values
from mapping.network.gemm import finite_gemm, mappable_layers
from mapping.training.loop import Method
from mapping.training.recipe import Recipe


def onto_levels(
    network: nn.Module,
    q: Quantisation,
    values: Mapping[str, Values],
    masks: Masks,
    last: Collection[str],
    fit: Fit,
) -> Log:
    """Draw a network's weights to their values in place, under its masks; the log.

    Parameters
    ----------
    values
        Levels of the cells, or free magnitudes, by layer.
    last
        Layers that follow when the others are on their levels and held there (Ye et al., arXiv:1903.09769).
    """
    log: Log = []
    done: dict[str, Values] = {}
    first = {name: of for name, of in values.items() if name not in last}
    for at, levels in (("", first), (" last", {name: values[name] for name in last})):
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


def fitted_states(network: nn.Module, values: Mapping[str, Magnitudes]) -> dict[str, States]:
    """States of cells that hold the magnitudes that a network's weights are nearest to, by layer."""
    layers = mappable_layers(network)
    return {
        name: states_of_magnitudes(of.fit(finite_gemm(layers[name], name))) for name, of in values.items()
    }


def _held(network: nn.Module, on: Mapping[str, Values]) -> list[Method]:
    return [Freezing(network, on, (1.0,))] if on else []
