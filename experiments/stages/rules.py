"""The constraint that a rule of a study puts on a layer, and the states of cells that it finds itself."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from experiments.studies.study import LayerRule
from mapping.constraints.constraint import Constraint
from mapping.constraints.intersections import BothSparse
from mapping.constraints.sparsity import BlockSparse, TileRowsAndColumns, block_sparse
from mapping.network.gemm import Layer
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError

States = int | tuple[float, ...]
"""Of the cells of a layer: their number, or where each lies in the window, from 0 at g_min to 1 at g_max."""


def states_of_bits(bits: int) -> int:
    """States of cells in pairs that hold weights of so many bits."""
    return int(2 ** (bits - 1) + 1)


def states_of_magnitudes(magnitudes: NDArray[np.float64]) -> States:
    """States of cells in pairs that hold weights of these magnitudes, ascending, and their signs: g_min and
    one for each. A magnitude below a millionth of the largest has none: no weight that stays is on zero."""
    if not magnitudes[-1] > 0:
        return 2
    shares = magnitudes / magnitudes[-1]
    return (0.0, *shares[shares > 1e-6].tolist())


def with_states(hardware: Hardware, states: States, key: str) -> Hardware:
    """Hardware whose cells have other states, which `key` of the study gives them.

    Raises
    ------
    XbarError
        Where the states are not equidistant ones of cells in pairs, one slice a plane.
    """
    encoding, device = hardware.encoding, hardware.device
    if encoding.kind != "differential" or encoding.slices != 1 or not isinstance(device.states, int):
        raise XbarError(
            f"{key}: chooses the states of a layer's cells; {hardware.name!r} must have "
            "encoding.kind = 'differential', encoding.slices = 1 and a number as device.states"
        )
    if isinstance(states, int):
        return hardware.replace(device__states=states)
    window = device.g_max - device.g_min
    means = (*(device.g_min + share * window for share in states[:-1]), device.g_max)
    return hardware.replace(device__states=means)


def constraint_of(rule: LayerRule, keep: float, layer: Layer, hardware: Hardware) -> Constraint:
    """Constraint of one layer, at the grain of the hardware's tiles or of the layer's own channels."""
    rows, cols = hardware.crossbar.rows, hardware.weights_per_tile_row
    each = math.sqrt(keep)
    match rule.kind:
        case "filters":
            return block_sparse(layer, "filters", keep)
        case "channels":
            return block_sparse(layer, "channels", keep)
        case "filters-and-channels":
            return BothSparse(block_sparse(layer, "filters", each), block_sparse(layer, "channels", each))
        case "rows-and-columns":
            return TileRowsAndColumns(rows, cols, each, each)
    shape = {"tile-columns": (rows, 1), "tile-rows": (1, cols), "tiles": (rows, cols), "irregular": (1, 1)}
    return BlockSparse(*shape[rule.kind], keep)
