"""A layer that trains on chips: the weights of its cells forward, the gradient of its own ones back."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapping.chip_training.learned_ranges import (
    LearnedRange,
    check_adc_ranges,
    largest_current,
    quantised,
)
from mapping.chip_training.present_states import LayerInTraining, Present
from mapping.chip_training.straight_through import product, straight_through, with_gradient_of
from mapping.chips.analog import AnalogLayer, output_gain
from mapping.chips.calibration import bias_on_rows
from mapping.chips.chip import ProgrammedNetwork, decoded_layer
from mapping.chips.codes import largest_code, least_code
from mapping.chips.columns import blocks
from mapping.constraints.scale import fit_scales
from mapping.network.gemm import Layer, from_gemm, to_gemm
from mapping.tiles.mapped import MappedLayer
from mapping.tiles.unfold import checked_input
from xbar.conductances.encoding import (
    decode,
    encode,
    held_on_levels,
    levels,
    reference_conductances,
    target_conductances,
)
from xbar.hardware.errors import XbarError
from xbar.multiply.converters import code_range, drive


class TrainableLayer:
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
        self.adc_range: LearnedRange | None = None
        self.kept: Tensor | None = None
        self.there: LayerInTraining | None = None
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

    def learned_adc_range(self) -> LearnedRange | None:
        """The range of the ADCs as a parameter, in units of the layer's output, to which the largest phase
        counts most; None for ideal ones."""
        mapped = self.mapped
        assert mapped.calibration is not None
        check_adc_ranges(mapped.hardware.adc, mapped.name)
        largest = largest_current(mapped)
        if largest is None:
            return None
        unit = mapped.hardware.dac.v_read * mapped.hardware.device.unit
        place = float(np.abs(drive(mapped.hardware, mapped.calibration.signed).weights).max())
        gains = np.abs(output_gain(mapped))
        gain = float(np.median(gains[gains > 0])) if gains.any() else 1.0  # columns may be without weights
        start = largest / unit * place * gain
        values = code_range(mapped.hardware, mapped.calibration.signed)[1]
        return LearnedRange(torch.tensor(start), values).to(self.host.weight.device)

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
        if self.adc_range is not None:
            assert mapped.calibration is not None
            assert mapped.calibration.adc_steps is not None
            factor = float(self.adc_range.factor())
            if not 0 < factor < math.inf:
                raise XbarError(
                    f"{mapped.name}: has an ADC range that is not finite; lower the learning rate"
                )
            steps = tuple(each * factor for each in mapped.calibration.adc_steps)
            calibration = dataclasses.replace(mapped.calibration, adc_steps=steps)
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

    def present_there(self) -> Present:
        """The layer's parameters as they are, on their device."""
        layer, there = self.host, self.there
        assert there is not None
        scale, x_max = there.scale, there.x_max
        if self.scales is not None:
            scale = self.scales.there(there.dtype).expand(scale.shape)
        if self.input_range is not None:
            x_max = self.input_range.there(there.dtype)
        bias = None if layer.bias is None else layer.bias.detach().float()
        factor = None if self.adc_range is None else self.adc_range.factor()
        return Present(to_gemm(layer).float(), bias, scale, x_max, factor)

    def hold_there(self, now: Present, seed: int, chip: int) -> None:
        """`hold` of a chip that is programmed on the device of the layer."""
        assert self.there is not None
        weight, self.bias = self.there.program(now, seed, chip)
        self.weight = from_gemm(weight, self.host)
        if self.analog is not None:
            assert self.there.there is not None
            self.analog.compute_by(self.there.there)

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
        weight = straight_through(self._carrier(weight), self.weight.to(weight))
        if bias is not None and self.bias is not None:
            bias = straight_through(bias, self.bias.to(bias))
        if self.analog is None:
            return product(self.host, input, weight, bias)
        first = self.analog.vectors
        y = with_gradient_of(self.host, self._driven(input), weight, bias, self.analog(input))
        return y if self.adc_range is None else y + self._by_adc_range(self.adc_range, input, first)

    def _by_adc_range(self, adc_range: LearnedRange, input: Tensor, first: int) -> Tensor:
        """Zeros that have the gradient of the outputs by the range of the ADCs."""
        assert self.analog is not None
        slope = self.analog.adc_slope(input, first)
        conversions = sum(len(block.out) for block in self.analog.columns) * self.analog.drive.phases
        now = adc_range(slope.numel() / max(1, len(slope)) / self.mapped.n * conversions)
        zero: Tensor = (now - now.detach()).to(slope) / now.detach().to(slope)
        return slope * zero

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

    def _input_range(self) -> tuple[Any, Any]:
        """Least and largest input that the layer does not clip; tensors where they are learned."""
        dac, calibration = self.mapped.hardware.dac, self.mapped.calibration
        assert calibration is not None
        if dac.bits == "ideal":
            return -math.inf, math.inf
        x_max: Any = calibration.x_max
        if self.input_range is not None:
            there = self.there
            x_max = self.input_range.there(there.dtype) if there else float(self.input_range.now())
        least, largest = least_code(dac, calibration.signed), largest_code(dac, calibration.signed)
        return x_max * least / largest, x_max

    def _driven(self, input: Tensor) -> Tensor:
        """Inputs within the range of the DAC, whose limits have a gradient where they are learned."""
        low, high = self._input_range()
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
