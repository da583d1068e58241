"""Networks that train on chips: the cells are drawn anew at each step, and gradients pass straight through.

A layer gives what its chip gives, and has the gradient of the float layer with the weights that the cells
hold: levels, noise and converters are passed as if they were not there (the straight-through estimator,
Bengio et al. 2013, arXiv:1308.3432). Noise of the device in the forward pass: Joshi et al. 2020,
doi:10.1038/s41467-020-16108-9; with converters, Rasch et al. 2023, doi:10.1038/s41467-023-40770-4.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvTransposeNd

from mapping.chip_training.learned_ranges import LearnedRange, quantised
from mapping.chip_training.room_to_grow import with_room
from mapping.chips.analog import AnalogLayer, output_gain
from mapping.chips.calibration import bias_on_rows
from mapping.chips.chip import ProgrammedNetwork, decoded_layer, program_network, without_random_effects
from mapping.chips.codes import largest_code, least_code
from mapping.chips.columns import blocks
from mapping.chips.fitting import fitting_layers
from mapping.compression.shared_weights import differ
from mapping.constraints.scale import fit_scales
from mapping.network.gemm import Layer, from_gemm, mappable_layers, to_gemm
from mapping.network.modules import copy_of
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from mapping.tiles.unfold import checked_input
from mapping.tiles.zeros import with_present_zeros
from mapping.training.loop import memory_format
from xbar.conductances.encoding import (
    decode,
    decode_states,
    encode,
    held_on_levels,
    levels,
    reference_conductances,
    target_conductances,
)
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError, unknown_name

Multiply = Literal["tiles", "torch"]
Ranges = Literal["fixed", "learned"]


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
    seed
        Chip i of the training is that of ``program_network(..., seed=seed, chip=i)``.
    time
        Seconds after the write [s]; None: the earliest that the device's data describe.

    Raises
    ------
    XbarError
        For a mapping of another network, without weights or without the calibration that it needs; where
        columns were moved off faults and weights of 0 need places; for a seed or time that no chip can have.
    """
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
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        fitting_layers(model, mapped, weights=False)
        hosts = mappable_layers(self.model)
        self.layers: dict[str, _TrainableLayer] = {}
        for name, layer in self._simulated.layers.items():
            self.layers[name] = _TrainableLayer(hosts[name], layer, zeros[name])
        self.ranges = nn.ModuleList()
        if ranges == "learned":
            self._learn_ranges(inputs=multiply == "tiles")
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
        if self._on_targets:
            for layer in self.layers.values():
                layer.hold_targets()
        else:
            self.program()
        return self.model(*args, **kwargs)

    def _learn_ranges(self, inputs: bool) -> None:
        """Make ranges parameters; layers that share a weight share its scales."""
        scales: dict[int, LearnedRange] = {}
        for layer in self.layers.values():
            layer.scales = scales.setdefault(id(layer.host.weight), layer.learned_scales())
            if inputs:
                layer.input_range = layer.learned_input_range()
            self.ranges.extend(each for each in (layer.scales, layer.input_range) if each is not None)

    def program(self) -> ProgrammedNetwork:
        """Program the chip at hand with the present weights, as every call does; the chip."""
        layers = {name: layer.present() for name, layer in self.layers.items()}
        mapped = dataclasses.replace(self._simulated, layers=layers)
        chip = program_network(mapped, seed=self.seed, chip=int(self.step), time=self.time)
        for layer in self.layers.values():
            layer.hold(chip)
        return chip

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


class _TrainableLayer:
    """The forward pass that a layer of the network, the host, does in place of its own.

    ``zeros``: weights for which 0 is a level.
    """

    def __init__(self, host: Layer, mapped: MappedLayer, zeros: NDArray[np.bool_] | None) -> None:
        mapped.states_of_weights()
        self.host = host
        self.mapped = mapped
        self.zeros = zeros
        self.analog: AnalogLayer | None = None
        self.scales: LearnedRange | None = None
        self.input_range: LearnedRange | None = None
        self.kept: Tensor | None = None
        if mapped.mask is not None:
            self.kept = from_gemm(torch.from_numpy(mapped.mask), host)
            host.weight.data.mul_(self.kept)

    def add_tiles(self, chip: ProgrammedNetwork, channels_last: bool) -> None:
        """Multiply on the tiles of a chip."""
        name = self.mapped.name
        self.analog = AnalogLayer(chip.mapped.layers[name], blocks(chip, name), channels_last=channels_last)
        self.host.add_module("analog", self.analog)

    def learned_scales(self) -> LearnedRange:
        """Scales of the columns as parameters, or one of the layer."""
        hardware, scale = self.mapped.hardware, self.mapped.scale
        assert scale is not None
        own = scale if hardware.encoding.scale == "column" else scale[:1]
        values = len(levels(hardware.encoding, hardware.device))
        return LearnedRange(torch.from_numpy(own.copy()), values).to(self.host.weight.device)

    def learned_input_range(self) -> LearnedRange | None:
        """The input range as a parameter; None for an ideal DAC, which has none."""
        calibration, dac = self.mapped.calibration, self.mapped.hardware.dac
        assert calibration is not None
        if dac.bits == "ideal":
            return None
        values = largest_code(dac, calibration.signed)
        return LearnedRange(torch.tensor(calibration.x_max), values).to(self.host.weight.device)

    def _with_ranges(self) -> MappedLayer:
        """The layer with the ranges that its parameters have now."""
        mapped = self.mapped
        if self.scales is not None:
            assert mapped.scale is not None
            scale = np.broadcast_to(self.scales.now().numpy(), mapped.scale.shape).copy()
            if not np.isfinite(scale).all():
                raise XbarError(f"{mapped.name}: has scales that are not finite; lower the learning rate")
            mapped = dataclasses.replace(mapped, scale=scale)
        if self.input_range is not None:
            assert mapped.calibration is not None
            x_max = float(self.input_range.now())
            calibration = dataclasses.replace(mapped.calibration, x_max=x_max)
            mapped = dataclasses.replace(mapped, calibration=calibration)
        return mapped

    def present(self) -> MappedLayer:
        """The layer with the state numbers of the host's weights."""
        mapped, rows = self._with_ranges(), self.mapped.bias_rows
        w = to_gemm(self.host).detach().float().cpu().contiguous().numpy()
        bias = None if self.host.bias is None else _as_array(self.host.bias)
        if bias is not None and not np.isfinite(bias).all():
            raise XbarError(f"{mapped.name}: has biases that are not finite; lower the learning rate")
        if not np.isfinite(w).all():
            raise XbarError(f"{mapped.name}: has weights that are not finite; lower the learning rate")
        kept = np.ones(w.shape, np.bool_) if mapped.mask is None else mapped.mask
        encoding, device = mapped.hardware.encoding, mapped.hardware.device
        scale, values = mapped.scale, levels(encoding, device)
        assert scale is not None
        new = scale == 0
        if new.any():
            held = held_on_levels(w, kept, encoding)
            scale = scale.copy()
            scale[new] = fit_scales(w[:, new], held[:, new], values, encoding.scale)
        if self.zeros is not None:
            kept = kept & ~(self.zeros & (np.abs(w) < scale * values[0] / 2))
        if rows:
            assert bias is not None
            w = np.concatenate([w, bias_on_rows(bias, rows, self._x_max)])
            kept = np.pad(kept, ((0, rows), (0, 0)), constant_values=True)
        state = encode(w, scale, kept, encoding, device)
        on_rows = state[mapped.k :] if rows else None
        return dataclasses.replace(
            mapped, state=state[: mapped.k], bias_state=on_rows, scale=scale, bias=bias
        )

    @property
    def _x_max(self) -> float:
        calibration = self._with_ranges().calibration
        assert calibration is not None
        return calibration.x_max

    def hold(self, chip: ProgrammedNetwork) -> None:
        """Take the weights that the cells of a chip hold; those of a bias are of an input of x_max."""
        layer = chip.mapped.layers[self.mapped.name]
        weights, bias = map(torch.from_numpy, decoded_layer(chip.layers[layer.name]))
        self.weight = from_gemm(weights, self.host)
        self.bias = bias.sum(0) * self._x_max if layer.bias_rows else None
        if self.analog is not None:
            self.analog.layer = layer
            self.analog.columns = blocks(chip, layer.name)
            self.analog.gain = output_gain(layer)
            if self.host.bias is not None and not layer.bias_rows:
                self.analog.bias = _as_array(self.host.bias)

    def hold_targets(self) -> None:
        """Take the weights that every chip holds whose cells are exactly on their targets."""
        layer = self.present()
        assert layer.state is not None
        assert layer.scale is not None
        self.weight = from_gemm(self._targets(layer.state, layer.scale), self.host)
        self.bias = None
        if layer.bias_state is not None:
            self.bias = self._targets(layer.bias_state, layer.scale).sum(0) * self._x_max

    def _targets(self, state: NDArray[np.int16], scale: NDArray[np.float64]) -> Tensor:
        """`decoded_weights` of states whose cells are on their targets, in a chip's own precision."""
        encoding, device = self.mapped.hardware.encoding, self.mapped.hardware.device
        top = len(levels(encoding, device))
        cells = target_conductances(np.arange(-top, top + 1, dtype=np.int16), encoding, device)
        reference = reference_conductances(encoding, device)[:, None]
        held = decode(cells.astype(np.float32), encoding, device, reference.astype(np.float32))
        return torch.from_numpy(held)[torch.from_numpy(state).int() + top] * torch.from_numpy(scale)

    def forward(self, input: Tensor) -> Tensor:
        """The chip's outputs, with the gradient of the float layer that has the weights of its cells."""
        checked_input(input, self.mapped)
        weight, bias = self.host.weight, self.host.bias
        if self.kept is not None:
            weight = weight * self.kept.to(weight)
        weight = _straight_through(self._carrier(weight), self.weight.to(weight))
        if bias is not None and self.bias is not None:
            bias = _straight_through(bias, self.bias.to(bias))
        if self.analog is None:
            return _product(self.host, input, weight, bias)
        return _straight_through(_product(self.host, self._driven(input), weight, bias), self.analog(input))

    def _carrier(self, weight: Tensor) -> Tensor:
        """A tensor that carries the gradient to the weights, and to their scales where these are learned."""
        if self.scales is None:
            return weight
        mapped = self.mapped
        count = torch.full((mapped.n,), float(mapped.k)) if mapped.mask is None else mapped.mask.sum(0)
        count = torch.as_tensor(count)
        scale = self.scales(count if len(self.scales.start) > 1 else count.sum())
        each = from_gemm(scale.expand(mapped.k, mapped.n), self.host)
        last = float(levels(mapped.hardware.encoding, mapped.hardware.device)[-1])
        beyond = weight.detach().abs() > last * each.detach()
        return quantised(weight, self.weight.to(weight), each, beyond)

    def _driven(self, input: Tensor) -> Tensor:
        """Inputs within the range of the DAC, whose limits have a gradient where they are learned."""
        low, high = _input_range(self._with_ranges())
        within = input.clamp(low, high)
        if self.input_range is None:
            return within
        step = high / self.input_range.values
        codes = (within.detach() / step).round()
        x_max = self.input_range(input.numel() / max(1, len(input)))
        return quantised(input, codes * step, x_max.to(input), (input < low) | (input > high))


def _as_array(parameter: Tensor) -> NDArray[np.float32]:
    """A copy of the numbers that a parameter holds now."""
    return parameter.detach().float().cpu().numpy().copy()


class _StraightThrough(torch.autograd.Function):
    """The second argument, with the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, carrier: Tensor, value: Tensor) -> Tensor:
        return value.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _straight_through(carrier: Tensor, value: Tensor) -> Tensor:
    y: Tensor = _StraightThrough.apply(carrier, value)  # type: ignore[no-untyped-call]
    return y


def _product(layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The forward of torch's layer with other parameters."""
    if isinstance(layer, nn.Linear):
        return functional.linear(x, weight, bias)
    if isinstance(layer, _ConvTransposeNd):
        convolve: Callable[..., Tensor] = getattr(functional, f"conv_transpose{len(layer.kernel_size)}d")
        how = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
        return convolve(x, weight, bias, *how)
    y: Tensor = layer._conv_forward(x, weight, bias)
    return y


def _input_range(layer: MappedLayer) -> tuple[float, float]:
    """Least and largest input that a layer does not clip."""
    dac = layer.hardware.dac
    assert layer.calibration is not None
    if dac.bits == "ideal":
        return -math.inf, math.inf
    x_max, signed = layer.calibration.x_max, layer.calibration.signed
    return x_max * least_code(dac, signed) / largest_code(dac, signed), x_max


def _same_cells(mapped: MappedNetwork, other: MappedNetwork) -> bool:
    """Whether the cells of both, and the lines that they are on, have the same effects in every layer."""
    pairs = [(layer.hardware, other.layers[name].hardware) for name, layer in mapped.layers.items()]
    return all((a.device, a.crossbar) == (b.device, b.crossbar) for a, b in pairs)


def _without_wires(hardware: Hardware) -> Hardware:
    crossbar = dataclasses.replace(hardware.crossbar, r_wl=0.0, r_bl=0.0, r_driver=0.0, r_sense=0.0)
    return dataclasses.replace(hardware, crossbar=crossbar)
