"""What happens in the periphery for one image, and how many units of it an array needs: counts only.

There is an array for each plane of a weight. A phase is one application of an input bit; a converted line is
a bit line that an ADC reads, or what is left of it where another plane or a reference is subtracted in
analog.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mapping.tiles.mapped import MappedLayer, Tile
from mapping.tiles.packing import cut
from power.components.library import Components
from xbar.hardware.design import Hardware

FORMULAS = {
    "dac": ("positions x phases x planes x driven rows of all tiles", "rows an array"),
    "row_driver": ("as dac", "as dac"),
    "column_driver": ("positions x phases x planes x bit lines in use of all tiles", "columns an array"),
    "mux": ("as adc", "bit lines an array, where an ADC has more than one"),
    "adc": ("positions x conversions a vector x converted lines of all tiles", "converters an array"),
    "sample_hold": ("as adc", "converted bit lines an array"),
    "shift_add": ("as adc", "as adc"),
    "input_register": ("as dac: one bit is read a drive", "rows x phases / 8 bytes an array"),
    "output_register": ("2 bytes x positions x conversions a vector x columns", "2 bytes a converted column"),
    "tile_output_register": ("2 bytes x positions x columns of all tiles", "as output_register"),
    "edram": ("(positions x driven rows of all bands + outputs) x input bits / 8", "an array's share"),
    "bus": ("as edram, and 2 bytes for each addition of tile_shift_add", "an array's share"),
    "sigmoid": ("outputs", "an array's share"),
    "max_pool": ("input elements of operators with pool in their name", "an array's share"),
    "tile_shift_add": ("positions x columns of all tiles - outputs", "an array's share"),
    "rescale": ("positions x columns of the layer that are on tiles", "an array's share"),
    "factor_register": ("2 bytes as rescale", "2 bytes a column of a weight, in one of the planes"),
    "router": ("outputs x input bits / 8", "an array's share of a tile's"),
    "index": ("positions x bytes of the index", "bytes that name packed columns and dropped rows"),
    "array": ("positions x phases x planes x tiles", "planes x tiles"),
}
"""How the events of an image and the units of a layer are counted, in words, by component."""

VALUE_BYTES = 2
"""Bytes of a sum in an output register (ISAAC: 16 bits, doi:10.1109/ISCA.2016.12)."""


def layer_events(layer: MappedLayer, hardware: Hardware) -> dict[str, float]:
    """Events an image, by the component that they are charged to.

    Parameters
    ----------
    layer
        A mapped layer.
    hardware
        With `dac.bits` a number.
    """
    signed = has_sign(layer)
    vectors, phases, planes = layer.positions, hardware.dac.phases_of(signed), hardware.encoding.planes
    input_bytes = hardware.dac.phases / 8
    sums = vectors * sum(len(tile.cols) for tile in layer.tiles)
    outputs = layer.output_values
    crossing = sums - _outputs_on_tiles(layer)
    drives = vectors * phases * planes * sum(len(tile.rows) for tile in layer.tiles)
    lines = sum(converted_lines(len(tile.cols), hardware) for tile in layer.tiles)
    conversions = vectors * hardware.conversions(signed) * lines
    fetched = vectors * sum(len(band.rows) for band in layer.bands) * input_bytes
    encoding = hardware.encoding
    rescaled = vectors * len(_columns_on_tiles(layer))
    bit_lines = sum(len(t.cols) * encoding.slices + encoding.reference_columns for t in layer.tiles)
    return {
        "dac": drives,
        "row_driver": drives,
        "column_driver": vectors * phases * planes * bit_lines,
        "mux": conversions if hardware.adc.columns > 1 else 0,
        "adc": conversions,
        "sample_hold": conversions,
        "shift_add": conversions,
        "input_register": drives,
        "output_register": VALUE_BYTES * sums * hardware.conversions(signed),
        "tile_output_register": VALUE_BYTES * sums,
        "edram": fetched + outputs * input_bytes,
        "bus": fetched + outputs * input_bytes + VALUE_BYTES * crossing,
        "sigmoid": outputs,
        "tile_shift_add": crossing,
        "rescale": rescaled,
        "factor_register": VALUE_BYTES * rescaled,
        "router": outputs * input_bytes,
        "index": vectors * index_bytes(layer, hardware),
        "array": vectors * phases * planes * len(layer.tiles),
    }


def has_sign(layer: MappedLayer) -> bool:
    """Whether a layer's inputs have a sign; of one that is not calibrated they have none."""
    return layer.calibration is not None and layer.calibration.signed


def units_per_array(hardware: Hardware, components: Components) -> dict[str, float]:
    """Units of each component that one array brings, its share of a tile's and a router's included."""
    crossbar, periphery, encoding = hardware.crossbar, hardware.periphery, hardware.encoding
    converted = encoding.converted_planes / encoding.planes
    converters = math.ceil(crossbar.cols / hardware.adc.columns) * converted
    sum_bytes = VALUE_BYTES * hardware.weights_per_tile_row * converted
    tile_share = 1 / (periphery.arrays_per_group * periphery.groups_per_tile)
    units = {
        "array": 1,
        "dac": crossbar.rows,
        "row_driver": crossbar.rows,
        "column_driver": crossbar.cols,
        "mux": crossbar.cols if hardware.adc.columns > 1 else 0,
        "adc": converters,
        "sample_hold": crossbar.cols * converted,
        "shift_add": converters,
        "input_register": crossbar.rows * hardware.dac.phases / 8,
        "output_register": sum_bytes,
        "tile_output_register": sum_bytes,
        "edram": components.edram.count * tile_share,
        "bus": components.bus.count * tile_share,
        "sigmoid": components.sigmoid.count * tile_share,
        "max_pool": components.max_pool.count * tile_share,
        "tile_shift_add": components.tile_shift_add.count * tile_share,
        "rescale": components.rescale.count * tile_share if components.rescale else 0,
        "factor_register": VALUE_BYTES * hardware.weights_per_tile_row / encoding.planes,
        "router": components.router.count * tile_share / periphery.tiles_per_router,
    }
    return {part: count for part, count in units.items() if part in components.charged()}


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
    positions = math.ceil(layer.positions / hardware.periphery.copies)
    widest = max(len(tile.cols) for tile in layer.tiles)
    return positions * vector_time_s(widest, hardware, has_sign(layer))


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
