"""Retraining through the chip: the forward pass runs on programmed tiles, gradients pass straight through."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from mapping.admm import layer_of
from mapping.analog import AnalogLayer
from mapping.calibration import calibrate
from mapping.chip import decoded_weights, program_network
from mapping.columns import blocks
from mapping.constraints import Levels
from mapping.gemm import from_gemm, mappable_layers, to_gemm
from mapping.mapper import map_network
from mapping.network import MappedNetwork
from mapping.training import Batches, Method
from xbar.encoding import encode
from xbar.errors import XbarError
from xbar.hardware import Hardware


class ThroughChip(Method):
    """A `mapping.training.Method`: every forward pass programs a chip and runs on it.

    Weights go to their levels, cells get the device's noise, inputs and currents pass DAC and ADC. The
    gradient is that of the layer with the weights that the cells hold. Scales and converter ranges are fitted
    at the start of every epoch; draws are keyed by (seed, epoch, step).

    Parameters
    ----------
    constraints
        `Levels`, with the layer's mask, for every layer of the network.
    calibration
        (inputs, targets) for `mapping.calibrate`.
    """

    def __init__(
        self,
        model: nn.Module,
        constraints: Mapping[str, Levels],
        hardware: Hardware,
        calibration: Batches,
        seed: int = 0,
    ) -> None:
        self.constraints = dict(constraints)
        free = [name for name in mappable_layers(model) if name not in self.constraints]
        if free:
            raise XbarError(f"{free[0]}: has no levels; training through the chip needs them for every layer")
        self.hardware = hardware
        self.calibration = calibration
        self.seed = seed
        self._draw = 0
        self._mapped: MappedNetwork | None = None
        self._latent: dict[str, torch.Tensor] = {}
        self._handles: list[RemovableHandle] = []

    @torch.no_grad()
    def begin_epoch(self, model: nn.Module, epoch: int) -> None:
        """Fit scales and converter ranges to the present weights."""
        self._draw = epoch << 20
        masks = {name: c.mask for name, c in self.constraints.items() if c.mask is not None}
        scales = {name: c.fit(to_gemm(layer_of(model, name))) for name, c in self.constraints.items()}
        example, _ = next(iter(self.calibration))
        mapped = map_network(model, self.hardware, example[:1], masks=masks, scales=scales)
        self._mapped, _ = calibrate(mapped, model, self.calibration)

    @torch.no_grad()
    def before_forward(self, model: nn.Module) -> None:
        """Program a chip from the present weights, and put it in the layers' place."""
        assert self._mapped is not None
        layers = {}
        for name, layer in self._mapped.layers.items():
            module = layer_of(model, name)
            self._latent[name] = module.weight.clone()
            mask = self.constraints[name].mask
            kept = torch.ones_like(to_gemm(module), dtype=torch.bool) if mask is None else mask
            assert layer.scale is not None
            state = encode(
                to_gemm(module).numpy(),
                layer.scale,
                kept.numpy(),
                self.hardware.encoding,
                self.hardware.device,
            )
            current = None if module.bias is None else module.bias.detach().numpy()
            layers[name] = dataclasses.replace(layer, state=state, bias=current)
        chip = program_network(
            dataclasses.replace(self._mapped, layers=layers), seed=self.seed, chip=self._draw
        )
        self._draw += 1
        for name, layer in layers.items():
            module = layer_of(model, name)
            module.weight.copy_(from_gemm(torch.from_numpy(decoded_weights(chip, name)).float(), module))
            analog = AnalogLayer(layer, self.hardware, blocks(chip, name))
            self._handles.append(module.register_forward_hook(_straight_through(analog)))

    @torch.no_grad()
    def after_backward(self, model: nn.Module) -> None:
        """Take the layers and their latent weights back."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for name, latent in self._latent.items():
            layer_of(model, name).weight.copy_(latent)


def _straight_through(analog: AnalogLayer) -> Callable[..., torch.Tensor]:
    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = analog(inputs[0])
        return output + (y - output).detach()

    return hook
