"""Which hardware each layer is on, out of a few, so that the network costs at most a limit.

Bits and cells by layer: a layer that loses little with few states, one slice or a small converter is given
them, and what it saves pays for layers that lose much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from mapping.constraints.constraint import by_pattern
from mapping.network.gemm import mappable_layers, types_of
from mapping.network.inputs import Inputs
from mapping.smaller_networks.limited import (
    EQUAL,
    Cost,
    ErrorTable,
    Limited,
    Trials,
    check_limit,
    greedy_choices,
)
from mapping.tiles.mapped import MappedLayer
from mapping.tiles.mapper import Choice, map_network
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError, unknown_name

HardwareOptions = Mapping[str, Mapping[str, Hardware]]
"""Hardware that layers may be on, by layer name, pattern or type, and by a name of the user's."""


def hardware_within(
    model: nn.Module,
    hardware: Hardware,
    example_input: Inputs,
    options: HardwareOptions,
    errors: Mapping[str, Mapping[str, float]],
    cost: Cost,
    limit: float,
    *,
    masks: Mapping[str, torch.Tensor] | None = None,
) -> Limited[str]:
    """Hardware of each layer, for a small sum of errors: step by step, the cheapest loss first.

    Each layer begins with the option of the least error. `mapping.smaller_networks.limited.greedy_choices`
    says how the search goes on, and what it promises. An option that loses as much as another or more, and
    costs as much or more while all other layers have their best, is not looked at.

    Parameters
    ----------
    model, example_input, masks
        As in `map_network`.
    hardware
        Hardware of the layers without options, and of what all layers share.
    options
        One periphery goes with all of them.
    errors
        Error of each layer with each of its options, such as `mapping.monte_carlo.layer_errors.layer_errors`
        measures.
    cost
        Function of the mapping, such as ``lambda mapped: estimate(mapped).area_mm2``.
    limit
        In the unit of the cost.

    Returns
    -------
    `choices` names the option of each layer; ``Choice(hardware=options[...][name])`` puts it there.

    Raises
    ------
    XbarError
        Where even the cheapest options cost more than the limit; for a layer without options or errors, an
        error that is not a finite number, a limit that is not positive, and as `map_network` does.
    """
    check_limit(limit)
    of_layer = options_of(model, options)
    for name in of_layer:
        if name not in errors:
            raise XbarError(f"errors of {name}: missing; each layer with options needs them")
    table = {name: _sorted(name, own, errors[name]) for name, own in of_layer.items()}
    base = map_network(model, hardware, example_input, masks=masks)
    mapped = {
        option: map_network(model, hardware, example_input, layers=layers, masks=masks)
        for option, layers in choices_by_option(of_layer).items()
    }

    def layer_of(name: str, option: str) -> MappedLayer:
        return mapped[option].layers[name]

    trials = Trials(base, layer_of, cost)
    return greedy_choices(trials, _undominated(trials, table), limit)


def options_of(model: nn.Module, options: HardwareOptions) -> dict[str, dict[str, Hardware]]:
    """HardwareOptions of each layer that has some.

    Raises
    ------
    XbarError
        For a pattern that fits no layer, or an option that is no `Hardware`.
    """
    if not options:
        raise XbarError("options: need at least one layer that may be on several hardwares")
    for pattern, own in options.items():
        if not own:
            raise XbarError(f"options of {pattern}: need at least one")
        for option, one in own.items():
            if not isinstance(one, Hardware):
                raise XbarError(f"options of {pattern}: {option}: a {type(one).__name__}; must be a Hardware")
    layers = mappable_layers(model)
    return {
        name: dict(own)
        for name, own in by_pattern(options, list(layers), "options", types_of(layers)).items()
    }


def choices_by_option(of_layer: HardwareOptions) -> dict[str, dict[str, Choice]]:
    """For each option, the choice of all layers that have it: what `map_network` takes."""
    names = dict.fromkeys(option for own in of_layer.values() for option in own)
    return {
        option: {name: Choice(hardware=own[option]) for name, own in of_layer.items() if option in own}
        for option in names
    }


def _sorted(name: str, options: Mapping[str, Hardware], errors: Mapping[str, float]) -> dict[str, float]:
    """Errors of a layer's options, the least first."""
    for option in options:
        if option not in errors:
            raise XbarError(f"errors of {name}: {option}: missing; each option needs an error")
        if not math.isfinite(errors[option]):
            raise XbarError(f"error of {name} on {option} = {errors[option]}: must be a finite number")
    for option in errors:
        if option not in options:
            raise unknown_name(f"errors of {name}: option", option, options)
    return {option: errors[option] for option in sorted(options, key=lambda option: errors[option])}


def _undominated(trials: Trials[str], table: ErrorTable[str]) -> dict[str, dict[str, float]]:
    """HardwareOptions that cost less than every one of the layer that loses as little or less."""
    best = {name: next(iter(own)) for name, own in table.items()}
    found: dict[str, dict[str, float]] = {}
    for name, own in table.items():
        costs = {option: trials.trial({**best, name: option}).cost for option in own}
        kept: dict[str, float] = {}
        for option in sorted(own, key=lambda option: (own[option], costs[option])):
            if all(costs[option] < costs[other] * (1 - EQUAL) for other in kept):
                kept[option] = own[option]
        found[name] = kept
    return found
