"""Ranges of the ADCs: steps fitted to the currents that calibration inputs drive through columns."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mapping.chips.chip import ProgrammedNetwork
from mapping.chips.columns import ideal_blocks
from mapping.tiles.mapped import MappedLayer
from xbar.hardware.design import Hardware
from xbar.multiply.blocks import Block
from xbar.multiply.converters import applied, code_range, drive

WITHOUT_CURRENTS = 1.0
"""Step of a converter that no current reached [v_read unit]."""

SAMPLES = 2048
"""Input vectors a layer on which the ADC's step is fitted."""


def adc_steps(
    chip: ProgrammedNetwork, name: str, vectors: NDArray[np.generic], signed: bool
) -> tuple[NDArray[np.float64], ...]:
    """ADC step of every column of every band of a layer [A], by `adc.range` and `adc.per`.

    Parameters
    ----------
    chip
        Cells at their targets, behind the wires of the hardware.
    vectors, signed
        Input codes on which steps are fitted, shape (M, K), and whether they have a sign.

    Returns
    -------
    For each band in order one number for each column of its block (`mapping.chips.columns`).
    """
    layer = chip.mapped.layers[name]
    hardware = layer.hardware
    amperes = hardware.dac.v_read * hardware.device.unit
    volts, places = phase_voltages(vectors, signed, hardware)
    bands = ideal_blocks(chip, name)
    steps = [np.full(len(band.whole.out), np.nan) for band in bands]
    for group in _groups(layer, [band.whole for band in bands]):
        if hardware.adc.range in ("full", "fixed"):
            step = _fixed_step(float(np.abs(volts).max()) or 1.0, signed, hardware)
        else:
            members = [
                (block, np.flatnonzero(np.isin(columns, chosen)))
                for number, chosen in group
                for block, columns in bands[number].reads
            ]
            served = _served(layer, members)
            currents = _histogram(volts, places, members, served, hardware)
            step = _fitted_step(*currents, signed, hardware)
        for number, chosen in group:
            steps[number][chosen] = step
    steps = [np.where(np.isnan(each), np.nanmax(each), each) for each in steps]  # of references: not read
    found = iter(steps)
    return tuple(next(found) * amperes if band.tiles else np.empty(0) for band in layer.bands)


def chosen_vectors(count: int) -> NDArray[np.int64]:
    """Which of so many input vectors steps are fitted on: at most `SAMPLES`, ascending."""
    return np.sort(np.random.default_rng(0).permutation(count)[:SAMPLES])


def phase_voltages(
    vectors: NDArray[np.generic], signed: bool, hardware: Hardware
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Voltages of vectors, shape (P, M, K), and the place value of each phase."""
    driven = drive(hardware, signed)
    if not driven.bits:
        vectors = applied(vectors.astype(np.float32), hardware)
    volts, _ = driven.voltages(vectors)
    return volts, driven.weights.astype(np.float64)


def _fixed_step(strongest: float, signed: bool, hardware: Hardware) -> float:
    """Step that `adc.full_scale`, or the largest current that the array can give, calls for [v_read unit]."""
    _, high = code_range(hardware, signed)
    if hardware.adc.range == "fixed":
        return hardware.adc.full_scale / (hardware.dac.v_read * hardware.device.unit) / high
    device = hardware.device
    window = device.g_max - device.g_min if hardware.encoding.subtract == "analog" else device.g_max
    reach = drive(hardware, signed).volts if hardware.dac.bits != "ideal" else np.array(strongest)
    return hardware.rows_at_once * window / device.unit * float(np.abs(reach).max()) / high


def step_without_currents(layer: MappedLayer) -> float:
    """Step of a converter that no current reached [A]: what the hardware fixes, or one unit at `v_read`."""
    assert layer.calibration is not None
    hardware, signed = layer.hardware, layer.calibration.signed
    amperes = hardware.dac.v_read * hardware.device.unit
    given = hardware.adc.range in ("full", "fixed")
    return amperes * (_fixed_step(1.0, signed, hardware) if given else WITHOUT_CURRENTS)


Group = list[tuple[int, NDArray[np.int64]]]


def _groups(layer: MappedLayer, blocks_of_bands: list[Block]) -> list[Group]:
    """Columns that share a range: (number of the block, columns in it) for all that belong together."""
    hardware, bands = layer.hardware, [band for band in layer.bands if band.tiles]
    read = [converted(block) for block in blocks_of_bands]
    if hardware.adc.per == "layer":
        return [list(enumerate(read))] if read else []
    if hardware.adc.per == "column":
        return [[(number, one)] for number, all_ in enumerate(read) for one in all_[:, None]]
    groups: list[Group] = []
    for number, (band, columns) in enumerate(zip(bands, read, strict=True)):
        tile = band.tile_of_column(hardware.encoding.reference_columns > 0)
        which = np.tile(tile, len(blocks_of_bands[number].out) // len(tile))[columns]
        groups += [[(number, columns[which == index])] for index in range(len(band.tiles))]
    return groups


def converted(block: Block) -> NDArray[np.int64]:
    """Columns that a converter reads: all but references that are subtracted before it."""
    if block.reference is None or not block.subtract_before:
        return np.arange(len(block.out))
    return np.flatnonzero(block.reference >= 0)


def _fitted_step(
    currents: NDArray[np.float64], importance: NDArray[np.float64], signed: bool, hardware: Hardware
) -> float:
    """Step for currents [v_read unit] that occur with a given importance."""
    low, high = code_range(hardware, signed)
    size = np.abs(currents)
    largest = float(size.max())
    if largest == 0:
        return WITHOUT_CURRENTS
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


Columns = list[tuple[Block, NDArray[np.int64]]]
"""Blocks, and which of their columns belong together."""


def _served(layer: MappedLayer, columns: Columns) -> list[NDArray[np.float64]]:
    """How much a squared error of each column counts: scale and place value of its slice squared, relative to
    the largest.

    That is what it is worth to the layer's output. A reference serves all columns of its tile.
    """
    assert layer.scale is not None
    found = []
    for block, chosen in columns:
        worth = np.square(layer.scale[block.out] * block.coefficient)
        if block.reference is not None:
            own = block.reference >= 0
            of_tile = np.bincount(block.reference[own], worth[own], minlength=len(worth))
            worth = np.where(own, worth, of_tile)
        found.append(worth[chosen])
    largest = max((float(each.max()) for each in found if each.size), default=0.0)
    return [each / largest if largest else np.ones_like(each) for each in found]


def _histogram(
    volts: NDArray[np.float32],
    places: NDArray[np.float64],
    columns: Columns,
    served: list[NDArray[np.float64]],
    hardware: Hardware,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Currents that occur in some columns [v_read unit], and how much each counts.

    That is how often it occurs, times the place value squared and what the column serves where the error is
    what counts. Currents are binned to a power of two near 2^-15 of the largest, so that whole numbers stay
    exact.
    """
    weights = [
        (block.rows, seen_by_converter(block)[:, chosen].astype(np.float32)) for block, chosen in columns
    ]
    percentile = hardware.adc.range == "percentile"
    strongest = float(np.abs(volts).max()) if volts.size else 0.0
    bound = strongest * max((float(np.abs(w).sum(0).max()) for _, w in weights if w.size), default=0.0)
    if bound == 0:
        return np.zeros(1), np.ones(1)
    width = 2.0 ** (math.floor(math.log2(bound)) - 14)
    half = math.ceil(bound / width) + 1
    counts: NDArray[np.float64] = np.zeros(2 * half + 1)
    for (rows, w), worth in zip(weights, served, strict=True):
        for phase, place in zip(volts, places, strict=True):
            bins = np.rint((phase[:, rows] @ w) / np.float32(width)).astype(np.int64) + half
            each = np.broadcast_to(1.0 if percentile else worth, bins.shape).ravel()
            factor = 1.0 if percentile else place**2
            counts += factor * np.bincount(bins.ravel(), each, minlength=len(counts))
    present = np.flatnonzero(counts)
    return np.asarray((present - half) * width, np.float64), counts[present]


def seen_by_converter(block: Block) -> NDArray[np.float64]:
    """Column weights less their references, where these are subtracted before the converter."""
    w: NDArray[np.float64] = block.weights
    if block.reference is None or not block.subtract_before:
        return w
    return np.where(block.reference >= 0, w - w[:, block.reference], w)
