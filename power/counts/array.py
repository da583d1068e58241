"""Energy of the arrays: t V^2 G over the cells that are there and driven.

Ohmic cells without wires: in general a read takes t sum_i V_i I_source,i, which wires make smaller.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mapping.chips.chip import ProgrammedNetwork
from mapping.tiles.mapped import MappedLayer
from xbar.conductances.encoding import levels, reference_conductances, target_conductances
from xbar.hardware.design import Hardware

Case = Literal["worst", "mean"]
"""The case that is assumed for inputs and weights that are not known."""


def read_energy_j(driven_s: float, v_read: float, t_read: float) -> float:
    """Energy of the reads of one input vector, t_read v_read^2 sum_k activity_k G_k [J].

    Parameters
    ----------
    driven_s
        Sum over the word lines of their activity (the sum over the phases of the mean of (V / v_read)^2)
        times the sum of the conductances on them [S].
    v_read
        Voltage of a set bit [V].
    t_read
        Length of a phase [s].
    """
    return t_read * v_read**2 * driven_s


def row_conductance(
    layer: MappedLayer, hardware: Hardware, case: Case = "worst", chip: ProgrammedNetwork | None = None
) -> NDArray[np.float64]:
    """Sum of the conductances that each word line of a layer drives [S], shape (inputs,).

    All planes and slices, every tile; with its reference column, and with the spare bit lines of a built
    tile at g_min, unless `periphery.gated_columns` or `encoding.unformed`.

    Parameters
    ----------
    case
        What a kept weight conducts in a layer without weights: the most that any can (``worst``), or the mean
        over all that it can be (``mean``).
    chip
        Programmed conductances in place of the targets.
    """
    encoding, device = hardware.encoding, hardware.device
    unused = encoding.unformed or hardware.periphery.gated_columns
    idle = 0.0 if unused else encoding.planes * device.g_min
    total = np.zeros(layer.inputs)
    for tile in layer.tiles:
        spare = hardware.crossbar.cols - len(tile.cols) * encoding.slices - encoding.reference_columns
        total[tile.rows] += spare * idle
    if chip is not None:
        for cells in chip.layers[layer.name].bands:
            total[cells.mapped.rows] += cells.conductances.sum(axis=(0, 1, 3), dtype=np.float64)
        return total
    largest = len(levels(encoding, device))
    numbers = np.arange(-largest, largest + 1, dtype=np.int16)
    of_weight = target_conductances(numbers, encoding, device).sum(axis=(0, 1))
    weights = of_weight[numbers != 0]
    unknown = weights.max() if case == "worst" else weights.mean()
    reference = reference_conductances(encoding, device).sum() if encoding.reference_columns else 0.0
    for band in layer.bands:
        if layer.has_states:
            held = of_weight[layer.states(band.rows, band.cols).astype(np.int64) + largest]
        else:
            held = np.where(layer.kept(band.rows, band.cols), unknown, of_weight[largest])
        total[band.rows] += (held * band.built()).sum(axis=1)
        for tile in band.tiles:
            total[tile.rows] += reference
    return total
