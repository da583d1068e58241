"""Energy of the arrays: t V^2 G over the cells that are there and driven.

Ohmic cells without wires: in general a read takes t sum_i V_i I_source,i, which wires make smaller.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapping.network import MappedLayer, Tile
from xbar.encoding import levels, reference_conductances, target_conductances
from xbar.hardware import Hardware


def read_energy_j(
    activity: NDArray[np.floating], row_conductance: NDArray[np.floating], v_read: float, t_read: float
) -> float:
    """Energy of the reads of one input vector, t_read v_read^2 sum_k activity_k G_k [J].

    Parameters
    ----------
    activity
        Sum over the phases of the mean of (V / v_read)^2 of each word line, shape (k,).
    row_conductance
        Sum of the conductances on each word line [S], shape (k,).
    v_read
        Voltage of a set bit [V].
    t_read
        Length of a phase [s].
    """
    return float(t_read * v_read**2 * np.dot(activity, row_conductance))


def row_conductance(layer: MappedLayer, hardware: Hardware) -> NDArray[np.float64]:
    """Sum of the target conductances that each word line of a layer drives [S], shape (inputs,).

    All planes and slices, every tile; with its reference column, and with the spare bit lines of a built
    tile at g_min, unless `periphery.gated_columns` or `encoding.unformed`. A layer without weights takes the
    worst: every kept weight at the number whose cells conduct most.
    """
    encoding, device = hardware.encoding, hardware.device
    largest = len(levels(encoding, device))
    numbers = np.arange(-largest, largest + 1, dtype=np.int16)
    of_weight = target_conductances(numbers, encoding, device).sum(axis=(0, 1))
    unused = encoding.unformed or hardware.periphery.gated_columns
    idle = 0.0 if unused else encoding.planes * device.g_min
    reference = reference_conductances(encoding, device).sum() if encoding.reference_columns else 0.0

    total = np.zeros(layer.inputs)
    for tile in layer.tiles:
        spare = hardware.crossbar.cols - len(tile.cols) * encoding.slices - encoding.reference_columns
        held = of_weight[_numbers(layer, tile, int(np.argmax(of_weight)) - largest) + largest]
        total[tile.rows] += held.sum(axis=1) + reference + spare * idle
    return total


def _numbers(layer: MappedLayer, tile: Tile, worst: int) -> NDArray[np.int64]:
    """State number of each cell of a tile, shape (len(rows), len(cols)); without weights, the worst one."""
    if not layer.has_states:
        return np.where(layer.kept(tile.rows, tile.cols), worst, 0)
    return layer.states(tile.rows, tile.cols).astype(np.int64)
