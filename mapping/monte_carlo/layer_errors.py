"""The loss of each layer on one hardware or another: the error of its outputs on a chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from mapping.chips.analog import analog_network
from mapping.chips.calibration import calibrate
from mapping.chips.chip import program_network
from mapping.network.inputs import Inputs, call, device_of, sent
from mapping.network.modules import in_eval_mode
from mapping.smaller_networks.mixed_hardware import HardwareOptions, choices_by_option, options_of
from mapping.tiles.mapper import map_network
from mapping.training.loop import BatchSource, pair
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError


@torch.no_grad()
def layer_errors(
    model: nn.Module,
    hardware: Hardware,
    options: HardwareOptions,
    batches: BatchSource,
    *,
    masks: Mapping[str, torch.Tensor] | None = None,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Squared error of each layer's outputs on a chip, over the sum of their squares, by layer and option.

    Each layer sees the inputs that it has in the float network, so that the error is its own: that of
    levels, input codes, converters, wires, and of the noise of one chip.

    Parameters
    ----------
    hardware, options, masks
        As in `mapping.smaller_networks.mixed_hardware.hardware_within`.
    batches
        (inputs, targets) of training data. They calibrate the converters, too.
    seed
        Seed of the chip.

    Raises
    ------
    XbarError
        As `map_network` and `calibrate` do; for a layer whose outputs are all zero.
    """
    of_layer = options_of(model, options)
    batches = list(batches)
    if not batches:
        raise XbarError("layer_errors: needs at least one batch")
    inputs = [pair(batch, "layer_errors")[0] for batch in batches]
    found: dict[str, dict[str, float]] = {name: {} for name in of_layer}
    for option, layers in choices_by_option(of_layer).items():
        mapped = map_network(model, hardware, inputs[0], layers=layers, masks=masks)
        mapped, _ = calibrate(mapped, model, batches)
        chip = analog_network(model, program_network(mapped, seed=seed))
        twins = {name: chip.get_submodule(name) for name in layers}
        for name, error in _relative_errors(model, twins, inputs).items():
            found[name][option] = error
    return found


def _relative_errors(
    model: nn.Module, twins: Mapping[str, nn.Module], inputs: list[Inputs]
) -> dict[str, float]:
    """Squared error of the outputs of `twins` of layers, for the inputs that these layers have."""
    lost, whole = dict.fromkeys(twins, 0.0), dict.fromkeys(twins, 0.0)

    def compare(name: str) -> Callable[..., None]:
        def hook(
            module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: torch.Tensor
        ) -> None:
            lost[name] += float((twins[name](*args, **named) - output).double().square().sum())
            whole[name] += float(output.double().square().sum())

        return hook

    hooks = [
        model.get_submodule(name).register_forward_hook(compare(name), with_kwargs=True) for name in twins
    ]
    try:
        with in_eval_mode(model):
            for x in inputs:
                call(model, sent(x, device_of(model)))
    finally:
        for one in hooks:
            one.remove()
    for name, energy in whole.items():
        if energy == 0:
            raise XbarError(f"{name}: all of its outputs are zero; give batches that reach it")
    return {name: lost[name] / whole[name] for name in twins}
