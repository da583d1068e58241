"""Converter ranges and input statistics of each layer, measured on calibration inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mapping.chips.adc_ranges import adc_steps, chosen_vectors
from mapping.chips.calibration_inputs import (
    DeviceInputs,
    DeviceVectors,
    HostInputs,
    HostVectors,
    calibration_inputs,
)
from mapping.chips.chip import program_network, without_random_effects
from mapping.chips.codes import largest_code, least_code
from mapping.chips.fitting import fitting_layers
from mapping.network.inputs import call, device_of, sent
from mapping.network.modules import in_eval_mode
from mapping.tiles.mapped import Calibration, MappedLayer, MappedNetwork
from mapping.tiles.unfold import batched, checked_input
from mapping.training.loop import BatchSource, pair
from xbar.conductances.encoding import encode, levels as levels_of
from xbar.hardware.checks import check_kind
from xbar.hardware.converters import Adc, Dac
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError
from xbar.hardware.iv import IV
from xbar.multiply.converters import code_range, currents, drive


@dataclass(frozen=True)
class GivenRanges:
    """Converter ranges of a layer that are not fitted: those that a training through converters has learned.

    Parameters
    ----------
    x_max, signed
        As in `mapping.tiles.mapped.Calibration`.
    adc_range
        Current of the largest ADC code [A], the same for all columns; None: fitted. It is no range of a
        hardware whose `adc.range` is full or fixed.
    """

    x_max: float
    signed: bool
    adc_range: float | None = None

    def step(self, layer: MappedLayer) -> float | None:
        """The ADC step of a layer [A]; None: it is not given."""
        if self.adc_range is None or layer.hardware.adc.range in ("full", "fixed"):
            return None
        return self.adc_range / code_range(layer.hardware, self.signed)[1]


@torch.no_grad()
def calibrate(
    mapped: MappedNetwork,
    model: nn.Module,
    batches: BatchSource,
    *,
    given: Mapping[str, GivenRanges] | None = None,
) -> tuple[MappedNetwork, dict[str, NDArray[np.float64]]]:
    """Fit input and ADC ranges on a few batches, and measure how often word lines are driven.

    Input ranges follow `dac.range`, ADC steps `adc.range` and `adc.per`, on cells at their targets, with
    wires and I-V as they are. ``calibrated`` takes the step of least squared error over phases, weighted by
    their place value, among powers of two and 40 steps up to the one that clips nothing; the larger step wins
    a tie. ``full`` takes the largest current that a bit line can give. A layer whose inputs are all zero (its
    units are dead, or it sees the first state of a recurrent one) gets the range 1, unless that is fixed.

    Parameters
    ----------
    model
        The network that was mapped, weights on their levels.
    batches
        (inputs, targets) from training data.
    given
        Ranges of layers, by name, that are not fitted.

    Returns
    -------
    The mapping with a `Calibration` in each layer, and the activity by layer: shape (inputs,), the sum over
    phases of the mean of (V / v_read)^2, which for one-bit phases is the mean number of set bits (of nominal
    voltages, without the errors of a driver).

    Raises
    ------
    XbarError
        Where there is no batch, or none reaches a layer; where a layer's inputs are not finite or not
        floating point, or the model is not the network that was mapped (`analog_network`).
    """
    check_kind("model", model, nn.Module)
    check_kind("mapped", mapped, MappedNetwork)
    inputs = layer_inputs(mapped, model, batches)
    given = given or {}
    layers, activity = {}, {}
    for name, layer in mapped.layers.items():
        ranges = _input_range(name, inputs[name], layer.hardware.dac)
        if name in given:
            ranges = Calibration(given[name].x_max, given[name].signed)
        layer = dataclasses.replace(layer, calibration=ranges)
        layers[name] = _with_bias_states(layer, ranges.x_max) if layer.bias_rows else layer
    chip = program_network(without_random_effects(dataclasses.replace(mapped, layers=layers)))
    for name, layer in layers.items():
        assert layer.calibration is not None
        signed = layer.calibration.signed
        vectors = calibration_inputs(inputs.pop(name)).vectors(layer)
        activity[name], mean, mean_square = _driven(vectors, signed, layer.hardware)
        steps = None
        if layer.hardware.adc.bits != "ideal":
            steps = adc_steps(chip, name, vectors.some(chosen_vectors(len(vectors))), signed)
            step = given[name].step(layer) if name in given else None
            if step is not None:
                steps = tuple(np.full_like(each, step) for each in steps)
        calibration = dataclasses.replace(
            layer.calibration, adc_steps=steps, mean=mean, mean_square=mean_square
        )
        layers[name] = dataclasses.replace(layer, calibration=calibration)
    return dataclasses.replace(mapped, layers=layers), activity


def _input_range(name: str, parts: list[torch.Tensor], dac: Dac) -> Calibration:
    """Range of a layer's inputs; the converters' are not known yet."""
    inputs = calibration_inputs(parts)
    largest, signed = inputs.peak()
    if not np.isfinite(largest):
        raise XbarError(f"{name}: the largest calibration input is {largest}; it must be a finite number")
    if dac.bits == 1 and signed:
        raise XbarError(f"{name}: has negative inputs; they need dac.bits of at least 2")
    x_max = _x_max(inputs, largest, signed, dac) if largest else dac.x_max or 1.0
    return Calibration(x_max, signed)


def _with_bias_states(layer: MappedLayer, x_max: float) -> MappedLayer:
    """The layer with the states of a bias on word lines: each has its share at the largest input.

    A column without weights takes the scale that its bias needs.

    Raises
    ------
    XbarError
        Where the bias is larger than its word lines can carry.
    """
    assert layer.bias is not None
    assert layer.scale is not None
    share = bias_on_rows(layer.bias, layer.bias_rows, x_max)
    encoding, device = layer.hardware.encoding, layer.hardware.device
    top = float(levels_of(encoding, device)[-1])
    whole = encoding.scale == "layer"
    own = np.abs(share).max(initial=0.0) if whole else np.abs(share).max(0, initial=0.0)
    scale = np.where(layer.scale > 0, layer.scale, own / top)
    largest = scale * top * x_max
    rows = np.abs(layer.bias) / np.where(largest > 0, largest, 1.0)
    worst = int(rows.argmax())
    needed = int(np.ceil(rows[worst] * (1 - 1e-6)))
    if needed > layer.bias_rows:
        a_column = "" if whole else ", or encoding.scale = 'layer'"
        raise XbarError(
            f"{layer.name}: bias_rows = {layer.bias_rows}: a bias of {np.abs(layer.bias[worst]):.3g} needs "
            f"at least {needed}, each of which gives at most {largest[worst]:.3g}{a_column}"
        )
    kept = np.ones(share.shape, np.bool_)
    state = encode(share, scale, kept, encoding, device)
    return dataclasses.replace(layer, bias_state=state, scale=scale)


def bias_on_rows(bias: NDArray[np.float32], rows: int, x_max: float) -> NDArray[np.float32]:
    """Weights that together give a bias where each of so many word lines is driven at x_max, shape
    (rows, n)."""
    return np.broadcast_to(bias / (rows * x_max), (rows, len(bias)))


def _x_max(inputs: HostInputs | DeviceInputs, largest: float, signed: bool, dac: Dac) -> float:
    """Input that the largest code stands for."""
    if dac.range == "fixed":
        return dac.x_max
    if dac.range == "percentile":
        return inputs.percentile(dac.percentile) or largest
    if dac.range == "max" or dac.bits == "ideal":
        return largest
    candidates = largest * np.geomspace(0.05, 1, 60)[::-1]
    best = inputs.best(candidates, least_code(dac, signed), largest_code(dac, signed))
    return float(candidates[best])


@torch.no_grad()
def layer_inputs(
    mapped: MappedNetwork, model: nn.Module, batches: BatchSource
) -> dict[str, list[torch.Tensor]]:
    """Inputs of each call of each layer, float32, where the network is."""
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in mapped.layers}

    def record(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            layer = mapped.layers[name]
            x = batched(checked_input(next(iter((*args, *kwargs.values()))), layer), layer.geometry)
            own = x.float().clone(memory_format=torch.contiguous_format)  # the network may go on in place
            seen[name].append(own)

        return hook

    modules = fitting_layers(model, mapped)
    handles = [
        modules[name].register_forward_pre_hook(record(name), with_kwargs=True) for name in mapped.layers
    ]
    try:
        with in_eval_mode(model):
            for batch in batches:
                call(model, sent(pair(batch, "calibrate")[0], device_of(model)))
    finally:
        for handle in handles:
            handle.remove()
    without = [name for name, inputs in seen.items() if not inputs]
    if without == list(seen):
        raise XbarError("calibrate: the data loader gave no batch")
    if without:
        raise XbarError(f"{without[0]}: no calibration batch reaches it; leave it digital, or give others")
    return seen


def _driven(vectors: HostVectors | DeviceVectors, signed: bool, hardware: Hardware) -> NDArray[np.float64]:
    """How each word line is driven [v_read], shape (3, k): the sum over phases of the mean of V^2, then, over
    phases weighted by the square of their place value, the mean of V and that of V^2."""
    if hardware.dac.bits == "ideal":
        mean, mean_square = vectors.moments()
        return np.stack([mean_square, mean, mean_square])
    phases = drive(_nominal(hardware), signed)
    codes = np.arange(phases.code_range[0], phases.code_range[1] + 1)
    volts, power = (part.astype(np.float64) for part in phases.voltages(codes))
    place = np.square(phases.weights.astype(np.float64))
    place /= place.sum()
    of_codes = np.stack([power.sum(0), place @ volts, place @ power])
    counts = vectors.counts(int(codes[0]), len(codes))
    return np.stack([of_codes @ count for count in counts], axis=1) / len(vectors)


def _nominal(hardware: Hardware) -> Hardware:
    """The hardware with exact drivers, ohmic cells, and a converter at each phase."""
    dac = dataclasses.replace(hardware.dac, gain_error=0.0, offset=0.0, inl=())
    adc = Adc(bits=8)
    device = dataclasses.replace(hardware.device, iv=IV())
    return dataclasses.replace(hardware, dac=dac, adc=adc, device=device)


def response(hardware: Hardware) -> float:
    """Current of a cell of one unit at the nominal v_read, in units of v_read unit: 1 for ohmic cells."""
    return float(currents(np.array(hardware.dac.v_read), hardware))
