"""Names that the expressions of an architecture are made of: events of an image, and numbers of a design."""

from __future__ import annotations

from mapping.network.elementary import OPERATIONS
from xbar.hardware.design import Hardware

EVENTS = {
    "row_drives": "positions x phases x planes x driven rows of all tiles",
    "line_phases": "positions x phases x planes x bit lines in use of all reads of all tiles",
    "array_reads": "positions x phases x planes x reads of all tiles",
    "conversions": "positions x conversions a vector x converted lines of all reads of all tiles",
    "sum_updates": "positions x conversions a vector x columns of all reads of all tiles",
    "sums": "positions x columns of all tiles",
    "partial_sums": "positions x columns of all tiles - outputs: the sums that join another",
    "rescaled": "positions x columns of the layer that are on tiles",
    "fetched_bytes": "positions x driven rows of all bands x input bits / 8",
    "outputs": "values that the layer gives",
    "stored_bytes": "outputs x input bits / 8",
    "index_bytes": "positions x bytes that name packed columns and dropped rows",
    "vectors": "positions",
    "macs": "positions x kept weights",
}
"""Events of a layer for one image, and how each is counted."""

NETWORK_EVENTS = {
    "digital_macs": "multiply-accumulates of products left digital",
    **OPERATIONS,
    "images": "1",
}
"""Events between layers, counted once for the network."""

TRAFFIC_EVENTS = {
    "routed_bytes": "bytes between nodes x routers of the mesh that they pass",
    "hop_bytes": "bytes between nodes x links of the mesh that they go over",
}
"""Events of what nodes send each other over a mesh, counted once for the chip (`power.floorplan`)."""

OFF_CHIP = "off_chip_bytes"
"""Traffic of the chip's links. No mapping knows it: only a nameplate has what is charged for it."""

NO_EVENTS = dict.fromkeys((*EVENTS, *NETWORK_EVENTS, *TRAFFIC_EVENTS, OFF_CHIP), 0.0)
"""Nothing happens."""

VARIABLES = {
    "rows": "word lines of an array",
    "rows_per_read": "word lines of an array that are active in one read",
    "cols": "bit lines of an array",
    "slices": "cells of a weight in one plane",
    "planes": "arrays that hold the cells of one weight",
    "converted_planes": "planes with a converter of their own: 1 where pairs are subtracted in analog",
    "weight_cols": "columns of weights of an array",
    "input_bits": "bits of an input code",
    "phases": "one-bit applications of an input without sign",
    "adc_cols": "bit lines that share a converter",
    "adc_rate": "conversions a second of one converter",
    "t_read": "time of a phase [s]",
    "vector_s": "least time of an input vector on a full array [s]",
    "arrays_per_group": "periphery.arrays_per_group",
    "groups_per_tile": "periphery.groups_per_tile",
    "tiles_per_router": "periphery.tiles_per_router",
}
"""Numbers of a design."""

LAYER_VARIABLES = {"layer_index_bytes": "bytes that name packed columns and dropped rows of a layer"}
"""Numbers of a mapped layer, for components that are counted by the layer."""

BUFFER = "buffer_kb"
"""Capacity of a memory [KB]: `periphery.buffer_kb`, or that of the library."""


def variables_of(hardware: Hardware, vector_s: float) -> dict[str, float]:
    """Value of each of `VARIABLES`; `dac.bits` is a number."""
    crossbar, periphery, encoding = hardware.crossbar, hardware.periphery, hardware.encoding
    assert hardware.dac.bits != "ideal"
    return {
        "rows": crossbar.rows,
        "rows_per_read": hardware.rows_at_once,
        "cols": crossbar.cols,
        "slices": encoding.slices,
        "planes": encoding.planes,
        "converted_planes": encoding.converted_planes,
        "weight_cols": hardware.weights_per_tile_row,
        "input_bits": hardware.dac.bits,
        "phases": hardware.dac.phases,
        "adc_cols": hardware.adc.columns,
        "adc_rate": hardware.adc.rate,
        "t_read": periphery.t_read,
        "vector_s": vector_s,
        "arrays_per_group": periphery.arrays_per_group,
        "groups_per_tile": periphery.groups_per_tile,
        "tiles_per_router": periphery.tiles_per_router,
    }
