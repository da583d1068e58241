"""Converter ranges and input statistics of each layer, measured on calibration inputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mapping.chip import blocks, code_range, program_network, without_device_effects
from mapping.gemm import input_vectors, mappable_layers
from mapping.network import Calibration, MappedLayer, MappedNetwork
from mapping.training import Batches
from xbar.errors import XbarError
from xbar.hardware import Dac, Hardware
from xbar.mvm import Block, phase_weights

SAMPLES = 2048
"""Input vectors a layer on which the ADC's step is fitted."""


def quantise_inputs(x: NDArray[np.float32], calibration: Calibration, dac: Dac) -> NDArray[np.generic]:
    """Input codes: x / x_max times the largest code, rounded to even and clipped; float32 voltages [v_read]
    for an ideal DAC."""
    relative = x / np.float32(calibration.x_max)
    if dac.bits == "ideal":
        return relative.astype(np.float32)
    top = largest_code(dac, calibration.signed)
    low = -top - 1 if calibration.signed else 0
    dtype: type[np.generic] = np.uint8 if not calibration.signed and dac.bits <= 8 else np.int16
    codes: NDArray[np.generic] = np.clip(np.rint(relative * np.float32(top)), low, top).astype(dtype)
    return codes


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

    The largest input seen becomes `x_max`. The ADC step (`adc.range = "calibrated"`) is the one of least
    squared error over phases, weighted by their place value, on cells at their targets, among powers of two
    and 40 steps up to the one that clips nothing; the larger step wins
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
    of the mean of (V / v_read)^2, which for one-bit phases is the mean number of set bits.

    Raises
    ------
    XbarError
        Where there is no batch, or a layer's inputs are all zero or not finite.
    """
    inputs = _layer_inputs(mapped, model, batches)
    chip = program_network(without_device_effects(mapped))
    layers, activity = {}, {}
    for name, layer in mapped.layers.items():
        x = inputs[name]
        x_max = float(np.abs(x).max())
        if not (np.isfinite(x_max) and x_max > 0):
            raise XbarError(f"{name}: the largest calibration input is {x_max}; it must be a positive number")
        if mapped.hardware.dac.bits == 1 and (x < 0).any():
            raise XbarError(f"{name}: has negative inputs; they need dac.bits of at least 2")
        ranges = Calibration(x_max, bool((x < 0).any()), 0.0)
        vectors = input_vectors(quantise_inputs(x, ranges, mapped.hardware.dac), layer.geometry)
        activity[name] = _activity(vectors, mapped.hardware.dac)
        step = _adc_step(layer, vectors, blocks(chip, name), ranges.signed, mapped.hardware)
        layers[name] = dataclasses.replace(layer, calibration=dataclasses.replace(ranges, adc_step=step))
    return dataclasses.replace(mapped, layers=layers), activity


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


def _bits(codes: NDArray[np.generic], bits: int) -> NDArray[np.uint8]:
    """Phases of integer codes, two's complement, shape (bits, *codes.shape)."""
    unsigned = codes.astype(np.int32) & ((1 << bits) - 1)
    return np.stack([(unsigned >> p & 1).astype(np.uint8) for p in range(bits)])


def _activity(vectors: NDArray[np.generic], dac: Dac) -> NDArray[np.float64]:
    if dac.bits == "ideal":
        mean: NDArray[np.float64] = np.square(vectors.astype(np.float64)).mean(0)
        return mean
    masked = vectors.astype(np.int32) & ((1 << dac.bits) - 1)
    set_bits: NDArray[np.float64] = sum(
        ((masked >> p & 1).mean(0, dtype=np.float64) for p in range(dac.bits)), np.zeros(vectors.shape[1])
    )
    return set_bits


def _adc_step(
    layer: MappedLayer,
    vectors: NDArray[np.generic],
    columns: tuple[Block, ...],
    signed: bool,
    hardware: Hardware,
) -> float:
    """Step of the ADC [A]."""
    if hardware.adc.bits == "ideal":
        return 0.0
    low, high = code_range(hardware)
    amperes = hardware.dac.v_read * hardware.device.unit
    if hardware.adc.range == "full" or not columns:
        device = hardware.device
        window = device.g_max - device.g_min if hardware.encoding.subtract == "analog" else device.g_max
        return hardware.crossbar.rows * window / device.unit / high * amperes
    chosen = np.random.default_rng(0).permutation(len(vectors))[:SAMPLES]
    sample = vectors[np.sort(chosen)]
    if hardware.dac.bits == "ideal":
        phases, places = sample[None].astype(np.float32), np.ones(1, np.float32)
    else:
        phases = _bits(sample, hardware.dac.bits).astype(np.float32)
        places = phase_weights(hardware.dac.bits, signed)
    currents, importance = _current_histogram(phases, places, columns)
    largest = float(np.abs(currents).max())
    if largest == 0:
        return amperes
    lossless = largest / high
    candidates = np.concatenate([lossless * np.geomspace(0.05, 1, 40), np.exp2(np.arange(-4, 12))])
    candidates = np.sort(candidates[candidates <= max(2 * lossless, 1.0)])[::-1]
    errors = np.array(
        [
            importance @ np.square(np.clip(np.rint(currents / step), low, high) * step - currents)
            for step in candidates
        ]
    )
    good_enough = errors <= errors.min() * (1 + 1e-6) + 1e-12
    return float(candidates[np.flatnonzero(good_enough)[0]]) * amperes


def _current_histogram(
    phases: NDArray[np.float32], places: NDArray[np.float32], columns: tuple[Block, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Currents that occur [v_read unit], and how much each counts: occurrences times place value squared.

    Currents are binned to a power of two near 2^-15 of the largest, so that whole numbers stay exact.
    """
    strongest = float(np.abs(phases).max())
    bound = strongest * max(float(np.abs(block.weights).sum(0).max()) for block in columns)
    if bound == 0:
        return np.zeros(1), np.ones(1)
    width = 2.0 ** (math.floor(math.log2(bound)) - 14)
    half = math.ceil(bound / width) + 1
    counts: NDArray[np.float64] = np.zeros(2 * half + 1)
    for block in columns:
        for volts, place in zip(phases, places, strict=True):
            bins = np.rint((volts[:, block.rows] @ block.weights) / np.float32(width)).astype(np.int64) + half
            counts += float(place) ** 2 * np.bincount(bins.ravel(), minlength=len(counts))
    present = np.flatnonzero(counts)
    return np.asarray((present - half) * width, np.float64), counts[present]
