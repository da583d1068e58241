"""Converter ranges and input statistics of each layer, measured on calibration inputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mapping.chip import ProgrammedNetwork, program_network, without_random_effects
from mapping.columns import blocks
from mapping.gemm import input_vectors, mappable_layers
from mapping.network import Band, Calibration, MappedLayer, MappedNetwork
from mapping.training import Batches
from xbar.blocks import Block
from xbar.converters import code_range, currents, drive
from xbar.errors import XbarError
from xbar.hardware import Adc, Dac, Hardware

SAMPLES = 2048
"""Input vectors a layer on which the ADC's step is fitted."""

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
    small = dac.bits + (not calibration.signed)
    dtype: type[np.generic] = np.uint8 if small <= 9 and not calibration.signed else np.int16
    if small > 16:
        dtype = np.int32
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
            steps = _adc_steps(chip, layer, vectors, signed)
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
    chosen = x.ravel()[:: max(1, x.size // INPUTS)].astype(np.float64)
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
    device = dataclasses.replace(hardware.device, iv=type(hardware.device.iv)())
    return dataclasses.replace(hardware, dac=dac, adc=adc, device=device)


def response(hardware: Hardware) -> float:
    """Current of a cell of one unit at the nominal v_read, in units of v_read unit: 1 for ohmic cells."""
    return float(currents(np.array(hardware.dac.v_read), hardware))


def _adc_steps(
    chip: ProgrammedNetwork, layer: MappedLayer, vectors: NDArray[np.generic], signed: bool
) -> tuple[NDArray[np.float64], ...]:
    """ADC step of every column of every band [A]."""
    hardware = chip.mapped.hardware
    amperes = hardware.dac.v_read * hardware.device.unit
    volts, places = _phases(vectors, signed, hardware)
    made = iter(blocks(chip, layer.name, converters=False, dtype=np.float64))
    columns = [next(made) if band.tiles else None for band in layer.bands]
    present = [block for block in columns if block is not None]
    if hardware.adc.range in ("full", "fixed"):
        step = _fixed_step(float(np.abs(volts).max()), signed, hardware)
        steps = [np.full(len(block.out), step) for block in present]
    elif hardware.adc.per == "layer":
        histogram = _histogram(
            volts, places, [(block, np.arange(len(block.out))) for block in present], hardware
        )
        step = _fitted_step(*histogram, signed, hardware)
        steps = [np.full(len(block.out), step) for block in present]
    else:
        bands = [band for band in layer.bands if band.tiles]
        steps = [
            _band_steps(block, _groups(block, band, hardware), volts, places, signed, hardware)
            for block, band in zip(present, bands, strict=True)
        ]
    found = iter(steps)
    return tuple(np.empty(0) if block is None else next(found) * amperes for block in columns)


def _phases(
    vectors: NDArray[np.generic], signed: bool, hardware: Hardware
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Voltages of at most `SAMPLES` vectors, shape (P, M, K), and the place value of each phase."""
    chosen = np.random.default_rng(0).permutation(len(vectors))[:SAMPLES]
    driven = drive(hardware, signed)
    volts, _ = driven.voltages(vectors[np.sort(chosen)])
    return volts, driven.weights.astype(np.float64)


def _fixed_step(strongest: float, signed: bool, hardware: Hardware) -> float:
    """Step that `adc.full_scale`, or the largest current that the array can give, calls for [v_read unit]."""
    _, high = code_range(hardware, signed)
    if hardware.adc.range == "fixed":
        return hardware.adc.full_scale / (hardware.dac.v_read * hardware.device.unit) / high
    device = hardware.device
    window = device.g_max - device.g_min if hardware.encoding.subtract == "analog" else device.g_max
    reach = drive(hardware, signed).volts if hardware.dac.bits != "ideal" else np.array(strongest)
    return hardware.crossbar.rows * window / device.unit * float(np.abs(reach).max()) / high


def _groups(block: Block, band: Band, hardware: Hardware) -> list[NDArray[np.int64]]:
    """Columns of a block that share a range."""
    count = len(block.out)
    if hardware.adc.per == "column":
        return [np.array([column]) for column in range(count)]
    tile = band.tile_of_column(hardware.encoding.reference_columns > 0)
    which = np.tile(tile, count // len(tile))
    return [np.flatnonzero(which == index) for index in range(len(band.tiles))]


def _band_steps(
    block: Block,
    groups: list[NDArray[np.int64]],
    volts: NDArray[np.float32],
    places: NDArray[np.float64],
    signed: bool,
    hardware: Hardware,
) -> NDArray[np.float64]:
    steps = np.empty(len(block.out))
    for group in groups:
        histogram = _histogram(volts, places, [(block, group)], hardware)
        steps[group] = _fitted_step(*histogram, signed, hardware)
    return steps


def _fitted_step(
    currents: NDArray[np.float64], importance: NDArray[np.float64], signed: bool, hardware: Hardware
) -> float:
    """Step for currents [v_read unit] that occur with a given importance."""
    low, high = code_range(hardware, signed)
    size = np.abs(currents)
    largest = float(size.max())
    if largest == 0:
        return 1.0
    if hardware.adc.range == "percentile":
        order = np.argsort(size)
        share = np.cumsum(importance[order]) / importance.sum()
        at = min(int(np.searchsorted(share, hardware.adc.percentile / 100)), len(order) - 1)
        return (float(size[order][at]) or largest) / high
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
    return float(candidates[np.flatnonzero(good_enough)[0]])


def _histogram(
    volts: NDArray[np.float32],
    places: NDArray[np.float64],
    columns: list[tuple[Block, NDArray[np.int64]]],
    hardware: Hardware,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Currents that occur in some columns [v_read unit], and how much each counts.

    That is how often it occurs, times the place value squared where the error is what counts. Currents are
    binned to a power of two near 2^-15 of the largest, so that whole numbers stay exact.
    """
    weights = [
        (block.rows, _seen_by_converter(block)[:, chosen].astype(np.float32)) for block, chosen in columns
    ]
    strongest = float(np.abs(volts).max()) if volts.size else 0.0
    bound = strongest * max((float(np.abs(w).sum(0).max()) for _, w in weights if w.size), default=0.0)
    if bound == 0:
        return np.zeros(1), np.ones(1)
    width = 2.0 ** (math.floor(math.log2(bound)) - 14)
    half = math.ceil(bound / width) + 1
    counts: NDArray[np.float64] = np.zeros(2 * half + 1)
    for rows, w in weights:
        for phase, place in zip(volts, places, strict=True):
            bins = np.rint((phase[:, rows] @ w) / np.float32(width)).astype(np.int64) + half
            factor = 1.0 if hardware.adc.range == "percentile" else place**2
            counts += factor * np.bincount(bins.ravel(), minlength=len(counts))
    present = np.flatnonzero(counts)
    return np.asarray((present - half) * width, np.float64), counts[present]


def _seen_by_converter(block: Block) -> NDArray[np.float64]:
    """Column weights less their references, where these are subtracted before the converter."""
    w: NDArray[np.float64] = block.weights
    if block.reference is None or not block.subtract_before:
        return w
    return np.where(block.reference >= 0, w - w[:, block.reference], w)
