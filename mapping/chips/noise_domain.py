"""Whether the noise of a chip lies within the domain in which its error was measured, as sentences."""

from __future__ import annotations

import dataclasses

from mapping.chips.chip import program_network, without_random_effects
from mapping.chips.wires import noise_through_wires
from mapping.tiles.mapped import MappedNetwork
from mapping.tiles.reads import reads_of_band

LOST = 0.35
"""Share of the current that wires may take. Below it sigma of the read noise was within 7 % of the exact one
for 95 % of the outputs, on arrays of 64 and more lines whose loss is in the wires of both sides, for
independent inputs at the calibrated rate. Fewer lines, a loss that is mostly in r_sense, and inputs whose
level varies from vector to vector have larger errors (docs/physics, "Noise through wires")."""


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
