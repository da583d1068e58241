"""Figures of a chip that lie outside their domain: noise behind wires whose error was not measured, and
conversions beyond an ADC range that the hardware fixes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mapping.chips.adc_ranges import chosen_vectors, converted, phase_voltages, seen_by_converter
from mapping.chips.calibration import layer_inputs
from mapping.chips.calibration_inputs import calibration_inputs
from mapping.chips.chip import ProgrammedNetwork, program_network, without_random_effects
from mapping.chips.columns import blocks
from mapping.chips.wires import noise_through_wires
from mapping.tiles.mapped import MappedNetwork
from mapping.tiles.reads import reads_of_band
from mapping.training.loop import BatchSource
from xbar.multiply.blocks import Block

LOST = 0.35
"""Share of the current that wires may take. Below it sigma of the read noise was within 7 % of the exact one
for 95 % of the outputs, on arrays of 64 and more lines whose loss is in the wires of both sides, for
independent inputs at the calibrated rate. Fewer lines, a loss that is mostly in r_sense, and inputs whose
level varies from vector to vector have larger errors (docs/physics, "Noise through wires")."""

AT_ONCE = 256
"""Input vectors whose currents are computed at a time."""


def noise_outside_domain(mapped: MappedNetwork) -> list[str]:
    """A sentence for each layer whose noise behind wires is beyond the domain in which its error is known.

    Cells are taken at their targets, inputs at the mean of the calibration. Noise at each input's own
    voltages (`crossbar.noise_through_wires`) has no such domain.

    Raises
    ------
    XbarError
        For a mapping without weights or calibration.
    """
    noisy = {
        name: layer
        for name, layer in mapped.layers.items()
        if (hardware := layer.hardware).crossbar.wired
        and not hardware.crossbar.noise_by_form
        and (hardware.device.read_noise.acts or hardware.adc.bandwidth)
    }
    if not noisy:
        return []
    chip = program_network(without_random_effects(dataclasses.replace(mapped, layers=noisy)))
    found = []
    for name, layer in noisy.items():
        bands = chip.layers[name].bands
        shares = (
            noise_through_wires(layer, band.mapped, band.conductances, band.devices, read.rows).lost
            for band in bands
            for read in reads_of_band(band.mapped, layer.hardware)
        )
        lost = max((float(share.max(initial=0.0)) for share in shares), default=0.0)
        if lost > LOST:
            found.append(
                f"{name}: read noise and thermal noise behind wires: they take up to {100 * lost:.0f} % of a "
                f"tile's current; up to {100 * LOST:.0f} % the error of the noise is known (docs/physics.md)"
            )
    return found


@dataclass(frozen=True)
class Clipped:
    """The share of a layer's conversions that are clipped, and the full scale that would clip none [A]."""

    share: float
    needed: float


@torch.no_grad()
def clipped_conversions(mapped: MappedNetwork, model: nn.Module, batches: BatchSource) -> dict[str, Clipped]:
    """Conversions that are clipped in layers with ``adc.range = "fixed"``, by layer.

    Cells are at their targets, behind the wires of the hardware, and converters have no random errors. Up to
    2,048 input vectors a layer are looked at. Other ranges are fitted, or clip nothing.

    Parameters
    ----------
    mapped, model, batches
        As in `calibrate`; mapped is calibrated.

    Raises
    ------
    XbarError
        As `calibrate` does, and for a mapping that is not calibrated.
    """
    fixed = [name for name, layer in mapped.layers.items() if layer.hardware.adc.range == "fixed"]
    fixed = [name for name in fixed if mapped.layers[name].hardware.adc.bits != "ideal"]
    if not fixed:
        return {}
    inputs = layer_inputs(mapped, model, batches)
    chip = program_network(without_random_effects(mapped))
    return {name: _clipped(chip, name, inputs[name]) for name in fixed}


def _clipped(chip: ProgrammedNetwork, name: str, inputs: list[torch.Tensor]) -> Clipped:
    layer = chip.mapped.layers[name]
    assert layer.calibration is not None
    vectors = calibration_inputs(inputs).vectors(layer)
    chosen = vectors.some(chosen_vectors(len(vectors)))
    volts, _ = phase_voltages(chosen, layer.calibration.signed, layer.hardware)
    clipped, count, farthest = 0, 0, 0.0
    for block in blocks(chip, name):
        of_block = [_of_block(block, volts[:, at : at + AT_ONCE]) for at in range(0, volts.shape[1], AT_ONCE)]
        clipped += sum(one for one, _, _ in of_block)
        count += sum(all_ for _, all_, _ in of_block)
        farthest = max(farthest, *(reach for _, _, reach in of_block))
    return Clipped(clipped / max(count, 1), farthest * layer.hardware.adc.full_scale)


def _of_block(block: Block, volts: NDArray[np.float32]) -> tuple[int, int, float]:
    """Conversions that are clipped, all of them, and the largest current as a share of the range."""
    adc, columns = block.converter, converted(block)
    assert adc is not None
    weights = seen_by_converter(block)[:, columns].astype(np.float32)
    y = (volts[:, :, block.rows] @ weights) / adc.step[columns]
    codes = np.rint(y)
    reach = max(float(y.max(initial=0.0)) / adc.high, float(y.min(initial=0.0)) / (adc.low or -np.inf))
    return int(((codes < adc.low) | (codes > adc.high)).sum()), y.size, reach
