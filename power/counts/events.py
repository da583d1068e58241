"""Counts and times of what happens in a layer for one image.

There is an array for each plane of a weight. A phase is one application of an input bit; a converted line is
a bit line that an ADC reads, or what is left of it where another plane or a reference is subtracted in
analog. Bytes of a sum are those of ISAAC: 16 bits (doi:10.1109/ISCA.2016.12).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mapping.network.elementary import OPERATIONS
from mapping.tiles.mapped import MappedLayer, MappedNetwork, Tile
from mapping.tiles.packing import cut
from xbar.hardware.design import Hardware


def layer_events(layer: MappedLayer, hardware: Hardware) -> dict[str, float]:
    """How often each of `power.architecture.vocabulary.EVENTS` happens in a layer for one image.

    Of a layer without a tile nothing does: its outputs are its bias.

    Parameters
    ----------
    layer
        A mapped layer.
    hardware
        With `dac.bits` a number.
    """
    signed = has_sign(layer)
    vectors = layer.positions if layer.tiles else 0
    phases, planes = hardware.dac.phases_of(signed), hardware.encoding.planes
    assert hardware.dac.bits != "ideal"
    input_bytes = hardware.dac.bits / 8
    sums = vectors * sum(len(tile.cols) for tile in layer.tiles)
    outputs = layer.output_values if layer.tiles else 0
    lines = sum(converted_lines(len(tile.cols), hardware) for tile in layer.tiles)
    encoding = hardware.encoding
    bit_lines = sum(len(t.cols) * encoding.slices + encoding.reference_columns for t in layer.tiles)
    return {
        "row_drives": vectors * phases * planes * sum(len(tile.rows) for tile in layer.tiles),
        "line_phases": vectors * phases * planes * bit_lines,
        "array_reads": vectors * phases * planes * len(layer.tiles),
        "conversions": vectors * hardware.conversions(signed) * lines,
        "sum_updates": sums * hardware.conversions(signed),
        "sums": sums,
        "partial_sums": sums - _outputs_on_tiles(layer),
        "rescaled": vectors * len(_columns_on_tiles(layer)),
        "fetched_bytes": vectors * sum(len(band.rows) for band in layer.bands) * input_bytes,
        "outputs": outputs,
        "stored_bytes": outputs * input_bytes,
        "index_bytes": vectors * index_bytes(layer, hardware),
        "vectors": vectors,
        "macs": vectors * layer.weights_kept,
    }


def network_events(mapped: MappedNetwork) -> dict[str, float]:
    """How often each of `power.architecture.vocabulary.NETWORK_EVENTS` happens for one image."""
    of_operators = mapped.digital_operations.values()
    elementary = {kind: sum(counts.get(kind, 0) for counts in of_operators) for kind in OPERATIONS}
    return {"digital_macs": sum(mapped.digital_macs.values()), **elementary, "images": 1}


def arrays_of(layer: MappedLayer, hardware: Hardware) -> int:
    """Physical arrays of a layer, in all planes and copies."""
    return hardware.encoding.planes * hardware.periphery.copies * len(layer.tiles)


def has_sign(layer: MappedLayer) -> bool:
    """Whether a layer's inputs have a sign; of one that is not calibrated they have none."""
    return layer.calibration is not None and layer.calibration.signed


def index_bytes(layer: MappedLayer, hardware: Hardware) -> float:
    """Bytes that say where a packed layer's columns and rows belong; 0 for an unpacked one.

    A tile whose columns are not the run that an unpacked band would put there names each of them with
    ceil(log2 n) bits; a tile with dropped rows has one bit for every word line that it could have. A tile
    whose columns are moved names the place of each with ceil(log2 places) bits more.
    """
    rows, width = hardware.crossbar.rows, hardware.weights_per_tile_row
    bits = 0
    unpacked = cut(layer.k, layer.n, layer.groups, layer.bias_rows, rows, width)
    for band, (inputs, columns) in zip(layer.bands, unpacked, strict=True):
        for tile in band.tiles:
            bits += _column_bits(tile, columns, layer.n, width)
            bits += _row_bits(tile, len(inputs)) + _place_bits(tile, hardware.column_places)
    return bits / 8


def layer_time_s(layer: MappedLayer, hardware: Hardware) -> float:
    """Time of a layer for one image [s]: that of a vector on its fullest tile, at each position of a copy."""
    if not layer.tiles:
        return 0.0
    return math.ceil(layer.positions / hardware.periphery.copies) * widest_vector_s(layer, hardware)


def widest_vector_s(layer: MappedLayer, hardware: Hardware) -> float:
    """Time of one input vector on the fullest tile of a layer, which has one [s]."""
    widest = max(len(tile.cols) for tile in layer.tiles)
    return vector_time_s(widest, hardware, has_sign(layer))


def vector_time_s(columns: int, hardware: Hardware, signed: bool = False) -> float:
    """Time of one input vector on a tile with so many columns of weights [s]: a phase takes max(t_read,
    columns of the busiest ADC / its rate).

    Where phases are accumulated, the one conversion goes on while the next vector is read.
    """
    lines = converted_lines(columns, hardware) // hardware.encoding.converted_planes
    phases, conversion = hardware.dac.phases_of(signed), min(lines, hardware.adc.columns) / hardware.adc.rate
    if hardware.adc.after == "accumulation":
        return max(phases * hardware.periphery.t_read, conversion)
    return phases * max(hardware.periphery.t_read, conversion)


def fastest_vector_s(hardware: Hardware) -> float:
    """Least time of an input vector on a tile that is full [s]: signed ones count where their phases are
    fewer."""
    columns = hardware.weights_per_tile_row
    return min(vector_time_s(columns, hardware, signed) for signed in (False, True))


def converted_lines(columns: int, hardware: Hardware) -> int:
    """Lines that the ADCs of a tile (in all planes) read for so many columns of weights."""
    encoding = hardware.encoding
    references = encoding.reference_columns if encoding.subtract == "digital" else 0
    return (columns * encoding.slices + references) * encoding.converted_planes


def _outputs_on_tiles(layer: MappedLayer) -> int:
    """How many outputs an image have a column on some tile.

    Of a channel of a transposed convolution they are as many as its columns, and at most its outputs.
    """
    found = np.zeros(layer.n, np.int64)
    found[_columns_on_tiles(layer)] = 1
    geometry = layer.geometry
    places = math.prod(geometry.kernel) if geometry is not None and geometry.transposed else 1
    by_channel = layer.positions * found.reshape(-1, places).sum(1)
    return int(np.minimum(by_channel, layer.output_values * places // layer.n).sum())


def _columns_on_tiles(layer: MappedLayer) -> NDArray[np.int64]:
    """GEMM columns that stand on some tile; each is rescaled by a factor of its own, whatever the scales."""
    columns = [tile.cols for tile in layer.tiles]
    return np.unique(np.concatenate(columns)) if columns else np.empty(0, np.int64)


def _column_bits(tile: Tile, columns: NDArray[np.int64], n: int, width: int) -> int:
    """Bits that name a tile's columns, where they are not those that the plain grid puts on a tile."""
    start = int(np.searchsorted(columns, tile.cols[0]))
    if start % width == 0 and np.array_equal(tile.cols, columns[start : start + width]):
        return 0
    return len(tile.cols) * math.ceil(math.log2(n))


def _place_bits(tile: Tile, places: int) -> int:
    return 0 if tile.places is None else len(tile.cols) * math.ceil(math.log2(places))


def _row_bits(tile: Tile, height: int) -> int:
    return height if len(tile.rows) < height else 0
