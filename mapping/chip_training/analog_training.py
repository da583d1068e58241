"""Networks that train on chips: the cells are drawn anew at each step, and gradients pass straight through.

A layer gives what its chip gives, and has the gradient of the float layer with the weights that the cells
hold: levels, noise and converters are passed as if they were not there (the straight-through estimator,
Bengio et al. 2013, arXiv:1308.3432). Noise of the device in the forward pass: Joshi et al. 2020,
doi:10.1038/s41467-020-16108-9; with converters, Rasch et al. 2023, doi:10.1038/s41467-023-40770-4.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from mapping.chip_training.learned_ranges import LearnedRange
from mapping.chip_training.present_states import LayerInTraining
from mapping.chip_training.room_to_grow import with_room
from mapping.chip_training.trainable_layer import TrainableLayer
from mapping.chips.analog import AnalogLayer
from mapping.chips.cells_on_device import on_processor_alone
from mapping.chips.chip import ProgrammedNetwork, program_network, without_random_effects
from mapping.chips.fitting import fitting_layers
from mapping.chips.layer_on_device import by_torch
from mapping.compression.shared_weights import differ
from mapping.network.gemm import from_gemm, mappable_layers
from mapping.network.inputs import device_of
from mapping.network.modules import copy_of
from mapping.tiles.mapped import MappedNetwork
from mapping.tiles.zeros import with_present_zeros
from mapping.training.loop import memory_format
from xbar.conductances.encoding import (
    decode_states,
)
from xbar.hardware.checks import check_kind
from xbar.hardware.design import Hardware
from xbar.hardware.errors import unknown_name

Multiply = Literal["tiles", "torch"]
Ranges = Literal["fixed", "learned", "learned-adc"]


def trainable_network(
    model: nn.Module,
    mapped: MappedNetwork,
    *,
    multiply: Multiply = "tiles",
    ranges: Ranges = "fixed",
    seed: int = 0,
    time: float | None = None,
) -> TrainableNetwork:
    """Copy of `model` that trains on chips, in any loop and with any optimiser.

    In train mode each call puts the present weights on their levels, under their masks, and programs the next
    chip with them; in eval mode it programs the chip at hand, so that two calls meet the same cells. Masks
    stay those of `mapped`. A masked weight is zero and has no gradient. One that
    was 0 when it was mapped is free to grow, and has a place on the tiles; 0 is a level for it as long as it
    is nearer than the others. A column that had no other weights has at each step the scale that fits those
    that it has then.

    Parameters
    ----------
    model
        The network that was mapped. Its weights need not lie on levels.
    multiply
        ``tiles``: with all effects of the hardware; an input beyond the calibrated range is clipped and has
        no gradient. ``torch``: by the weights that the cells hold, without wires, converters and read noise;
        faster, and it needs no calibration.
    ranges
        ``fixed``: scales and converter ranges stay those of `mapped`. ``learned``: scales, and with
        ``multiply="tiles"`` the input ranges of DACs that are not ideal, are parameters that an optimiser
        moves with the weights, by the gradients of learned step sizes (Esser et al. 2020, arXiv:1902.08153,
        eq. 3); ADC ranges stay. A weight beyond its column's last level then has no gradient.
        ``learned-adc``: the same, and with ``multiply="tiles"`` the range that the ADCs of a layer share.
    seed
        Chip i of the training is that of ``program_network(..., seed=seed, chip=i)``.
    time
        Seconds after the write [s]; None: the earliest that the device's data describe.

    Raises
    ------
    XbarError
        For a mapping of another network, without weights or without the calibration that it needs; where
        columns were moved off faults and weights of 0 need places; for a seed or time that no chip can have;
        for ADC ranges that are to be learned and that the hardware sets, or of which a layer has several.
    """
    check_kind("model", model, nn.Module)
    check_kind("mapped", mapped, MappedNetwork)
    if multiply not in get_args(Multiply):
        raise unknown_name("multiply", str(multiply), get_args(Multiply))
    if ranges not in get_args(Ranges):
        raise unknown_name("ranges", str(ranges), get_args(Ranges))
    return TrainableNetwork(model, mapped, multiply, ranges, seed, time)


class TrainableNetwork(nn.Module):
    """A network that trains on chips, as `trainable_network` gives it; it is called as the original network
    is.

    Attributes
    ----------
    model
        Copy of the network; its parameters are what an optimiser moves.
    step
        Calls in train mode, and the number of the chip at hand; a buffer, so that a checkpoint has it.
    """

    step: Tensor

    def __init__(
        self,
        model: nn.Module,
        mapped: MappedNetwork,
        multiply: Multiply,
        ranges: Ranges,
        seed: int,
        time: float | None,
    ) -> None:
        super().__init__()
        self.model = copy_of(model)
        zeros = {name: layer.zeros for name, layer in mapped.layers.items()}
        layers = {name: with_room(layer) for name, layer in mapped.layers.items()}
        mapped = dataclasses.replace(mapped, layers=layers)
        self.mapped = mapped
        self._simulated = mapped if multiply == "tiles" else mapped.with_hardware(_without_wires)
        self._on_targets = multiply == "torch" and _same_cells(mapped, without_random_effects(mapped))
        self.seed = seed
        self.time = time
        self._device: torch.device | None = None
        self._time = time
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        fitting_layers(model, mapped, weights=False)
        hosts = mappable_layers(self.model)
        self.layers: dict[str, TrainableLayer] = {}
        for name, layer in self._simulated.layers.items():
            self.layers[name] = TrainableLayer(hosts[name], layer, zeros[name])
        self.ranges = nn.ModuleList()
        if ranges != "fixed":
            self._learn_ranges(
                inputs=multiply == "tiles", adcs=multiply == "tiles" and ranges == "learned-adc"
            )
        chip = self.program()
        for trainable in self.layers.values():
            if multiply == "tiles":
                trainable.add_tiles(chip, memory_format(self.model) is torch.channels_last)
            trainable.host.forward = trainable.forward  # type: ignore[method-assign]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network on the next chip in train mode, on the chip at hand in eval mode."""
        if self.training:
            self.step += 1
            for module in self.modules():
                if isinstance(module, AnalogLayer):
                    module.vectors = 0
        device = device_of(self.model)
        if by_torch(device):
            self._program_there(device)
        elif self._on_targets:
            for layer in self.layers.values():
                layer.hold_targets()
        else:
            self.program()
        return self.model(*args, **kwargs)

    def _learn_ranges(self, inputs: bool, adcs: bool) -> None:
        """Make ranges parameters; layers that share a weight share its scales."""
        scales: dict[int, LearnedRange] = {}
        for layer in self.layers.values():
            layer.scales = scales.setdefault(id(layer.host.weight), layer.learned_scales())
            if inputs:
                layer.input_range = layer.learned_input_range()
            if adcs:
                layer.adc_range = layer.learned_adc_range()
            learned = (layer.scales, layer.input_range, layer.adc_range)
            self.ranges.extend(each for each in learned if each is not None)

    def program(self) -> ProgrammedNetwork:
        """Program the chip at hand with the present weights, as every call does; the chip."""
        layers = {name: layer.present() for name, layer in self.layers.items()}
        mapped = dataclasses.replace(self._simulated, layers=layers)
        chip = program_network(mapped, seed=self.seed, chip=int(self.step), time=self.time)
        for layer in self.layers.values():
            layer.hold(chip)
        return chip

    @torch.no_grad()
    def _program_there(self, device: torch.device) -> None:
        """Program the chip at hand on the device of the network; on the processor those layers of which
        `on_processor_alone` says so."""
        if self._device != device:
            self._send(device)
        number = int(self.step)
        there = [layer for layer in self.layers.values() if layer.there is not None]
        present = [layer.present_there() for layer in there]
        if present and not torch.stack([each.finite for each in present]).all():
            for layer in there:
                layer.present()  # which says what is not finite
        for layer, now in zip(there, present, strict=True):
            layer.hold_there(now, self.seed, number)
        left = {name: layer.present() for name, layer in self.layers.items() if layer.there is None}
        if left:
            mapped = dataclasses.replace(self._simulated, layers=left)
            chip = program_network(mapped, seed=self.seed, chip=number, time=self._time)
            for name in left:
                self.layers[name].hold(chip)

    def _send(self, device: torch.device) -> None:
        """Send what chips are made of to a device, once."""
        chip = program_network(self._simulated, seed=self.seed, time=self.time)
        self._device, self._time = device, chip.time
        for name, layer in self.layers.items():
            alone = on_processor_alone(layer.mapped, chip.time)
            layer.there = (
                None if alone else LayerInTraining(chip, name, layer.zeros, layer.analog is not None, device)
            )
            if layer.kept is not None:
                layer.kept = layer.kept.to(device)

    @torch.no_grad()
    def trained(self) -> tuple[nn.Module, MappedNetwork]:
        """Copy of the network with its weights on their levels, and its mapping, ready to be programmed.

        Its tiles are those of the training.

        Raises
        ------
        XbarError
            Where layers that share a weight hold it as different numbers: other masks, scales or levels.
        """
        model = copy_of(self.model)
        first: dict[int, str] = {}
        layers = {name: layer.present() for name, layer in self.layers.items()}
        for name, layer in layers.items():
            hardware = self.mapped.layers[name].hardware
            assert layer.state is not None
            assert layer.scale is not None
            w = decode_states(layer.state, layer.scale, hardware.encoding, hardware.device)
            layers[name] = with_present_zeros(dataclasses.replace(layer, hardware=hardware), w)
            host: Any = model.get_submodule(name)
            on_levels = from_gemm(torch.from_numpy(w), host)
            other = first.setdefault(id(host.weight), name)
            if other != name and not torch.equal(host.weight, on_levels):
                raise differ("cells", other, name)
            host.weight.copy_(on_levels)
            host._modules.pop("analog", None)
            del host.forward
        return model, dataclasses.replace(self.mapped, layers=layers)


def _same_cells(mapped: MappedNetwork, other: MappedNetwork) -> bool:
    """Whether the cells of both, and the lines that they are on, have the same effects in every layer."""
    pairs = [(layer.hardware, other.layers[name].hardware) for name, layer in mapped.layers.items()]
    return all((a.device, a.crossbar) == (b.device, b.crossbar) for a, b in pairs)


def _without_wires(hardware: Hardware) -> Hardware:
    crossbar = dataclasses.replace(hardware.crossbar, r_wl=0.0, r_bl=0.0, r_driver=0.0, r_sense=0.0)
    return dataclasses.replace(hardware, crossbar=crossbar)
