"""Converter ranges and input statistics of each layer, measured on calibration inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mapping.adc_ranges import adc_steps
from mapping.chip import program_network, without_random_effects
from mapping.gemm import input_vectors, mappable_layers
from mapping.network import Calibration, MappedNetwork
from mapping.training import Batches
from xbar.converters import currents, drive
from xbar.errors import XbarError
from xbar.hardware import Adc, Dac, Hardware
from xbar.iv import IV

INPUTS = 1 << 20
"""Input values a layer on which an input range of least squared error is fitted."""


def quantise_inputs(x: NDArray[np.float32], calibration: Calibration, dac: Dac) -> NDArray[np.generic]:
    """Input codes: x / x_max times the largest code, rounded to even and clipped; float32 voltages [v_read]
    for an ideal DAC."""
    relative = x / np.float32(calibration.x_max)
    if dac.bits == "ideal":
        return relative.astype(np.float32)
    top = largest_code(dac, calibration.signed)
    low = -top - 1 if calibration.signed else 0
    codes: NDArray[np.generic] = np.clip(np.rint(relative * np.float32(top)), low, top)
    return codes.astype(np.uint8 if low == 0 and top < 1 << 8 else np.int16 if top < 1 << 15 else np.int32)


def largest_code(dac: Dac, signed: bool) -> int:
    """Code that stands for x_max; 1 for an ideal DAC."""
    if dac.bits == "ideal":
        return 1
    return (1 << (dac.bits - 1)) - 1 if signed else (1 << dac.bits) - 1


@torch.no_grad()
def calibrate(
    mapped: MappedNetwork, model: nn.Module, batches: Batches
) -> tuple[MappedNetwork, dict[str, NDArray[np.float64]]]:
    """Fit input and ADC ranges on a few batches, and measure how often word lines are driven.

    Input ranges follow `dac.range`, ADC steps `adc.range` and `adc.per`, on cells at their targets, with
    wires and I-V as they are. ``calibrated`` takes the step of least squared error over phases, weighted by
    their place value, among powers of two and 40 steps up to the one that clips nothing; the larger step wins
    a tie. ``full`` takes the largest current that a bit line can give.

    Parameters
    ----------
    model
        The network that was mapped, weights on their levels.
    batches
        (inputs, targets) from training data.

    Returns
    -------
    The mapping with a `Calibration` in each layer, and the activity by layer: shape (k,), the sum over phases
    of the mean of (V / v_read)^2, which for one-bit phases is the mean number of set bits (of nominal
    voltages, without the errors of a driver).

    Raises
    ------
    XbarError
        Where there is no batch, or a layer's inputs are all zero or not finite.
    """
    inputs = _layer_inputs(mapped, model, batches)
    hardware = mapped.hardware
    chip = program_network(without_random_effects(mapped))
    layers, activity = {}, {}
    for name, layer in mapped.layers.items():
        x = inputs[name]
        largest = float(np.abs(x).max())
        if not (np.isfinite(largest) and largest > 0):
            raise XbarError(
                f"{name}: the largest calibration input is {largest}; it must be a positive number"
            )
        if hardware.dac.bits == 1 and (x < 0).any():
            raise XbarError(f"{name}: has negative inputs; they need dac.bits of at least 2")
        signed = bool((x < 0).any())
        ranges = Calibration(_x_max(x, signed, hardware.dac), signed)
        vectors = input_vectors(quantise_inputs(x, ranges, hardware.dac), layer.geometry)
        activity[name] = _activity(vectors, signed, hardware)
        if hardware.adc.bits != "ideal":
            steps = adc_steps(chip, layer, vectors, signed)
            ranges = dataclasses.replace(ranges, adc_steps=steps)
        layers[name] = dataclasses.replace(layer, calibration=ranges)
    return dataclasses.replace(mapped, layers=layers), activity


def _x_max(x: NDArray[np.float32], signed: bool, dac: Dac) -> float:
    """Input that the largest code stands for."""
    size = np.abs(x)
    if dac.range == "fixed":
        return dac.x_max
    if dac.range == "percentile":
        return float(np.percentile(size, dac.percentile)) or float(size.max())
    if dac.range == "max" or dac.bits == "ideal":
        return float(size.max())
    chosen = x.ravel().astype(np.float64)
    if x.size > INPUTS:
        chosen = chosen[np.random.default_rng(0).integers(0, x.size, INPUTS)]
    candidates = float(size.max()) * np.geomspace(0.05, 1, 60)[::-1]
    top = largest_code(dac, signed)
    errors = [
        np.square(np.clip(np.rint(chosen / c * top), -top - 1 if signed else 0, top) * c / top - chosen).sum()
        for c in candidates
    ]
    return float(candidates[int(np.argmin(errors))])


def _layer_inputs(
    mapped: MappedNetwork, model: nn.Module, batches: Batches
) -> dict[str, NDArray[np.float32]]:
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in mapped.layers}

    def record(name: str) -> Callable[..., None]:
        return lambda module, args: seen[name].append(args[0].detach().float())

    modules: Mapping[str, nn.Module] = mappable_layers(model)
    for name in mapped.layers:
        if name not in modules:
            raise XbarError(f"{name}: mapped, but {type(model).__name__} has no such layer")
    handles = [modules[name].register_forward_pre_hook(record(name)) for name in mapped.layers]
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        for x, _ in batches:
            model(x)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode
    if not next(iter(seen.values())):
        raise XbarError("calibrate: the data loader gave no batch")
    return {name: torch.cat(parts).contiguous().numpy() for name, parts in seen.items()}


def _activity(vectors: NDArray[np.generic], signed: bool, hardware: Hardware) -> NDArray[np.float64]:
    """Sum over the phases of the mean of (V / v_read)^2 of each word line, shape (k,)."""
    dac = hardware.dac
    if dac.bits == "ideal":
        mean: NDArray[np.float64] = np.square(vectors.astype(np.float64)).mean(0)
        return mean
    phases = drive(_nominal(hardware), signed)
    _, power = phases.voltages(np.arange(1 << dac.bits))
    squares = power.sum(0)
    pattern = vectors.astype(np.int64) & ((1 << dac.bits) - 1)
    total: NDArray[np.float64] = np.array([squares[line].mean(dtype=np.float64) for line in pattern.T])
    return total


def _nominal(hardware: Hardware) -> Hardware:
    """The hardware with exact drivers, ohmic cells, and a converter at each phase."""
    dac = dataclasses.replace(hardware.dac, gain_error=0.0, offset=0.0, inl=())
    adc = Adc(bits=8)
    device = dataclasses.replace(hardware.device, iv=IV())
    return dataclasses.replace(hardware, dac=dac, adc=adc, device=device)


def response(hardware: Hardware) -> float:
    """Current of a cell of one unit at the nominal v_read, in units of v_read unit: 1 for ohmic cells."""
    return float(currents(np.array(hardware.dac.v_read), hardware))
