"""Counts and times of what happens in a layer for one image.

There is an array for each plane of a weight. A phase is one application of an input bit, in one read of the
array or in several (`periphery.rows_per_read`); a converted line is a bit line that an ADC reads, or what is
left of it where another plane or a reference is subtracted in analog. Bytes of a sum are those of ISAAC: 16
bits (doi:10.1109/ISCA.2016.12).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapping.network.elementary import OPERATIONS
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from mapping.tiles.packing import cut
from mapping.tiles.reads import reads_of_tile
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class LayerCounts:
    """Numbers of tiles, lines and reads of a layer, in one plane.

    Parameters
    ----------
    tiles, rows, cols
        Tiles, word lines and columns of weights of all of them.
    reads, read_cols
        Reads of all tiles for one phase of a vector (`periphery.rows_per_read`), and the columns of weights
        that they are of, each as often as it is read.
    busiest
        Columns and reads of tiles that no other has as many of, one of which takes the longest for a vector.
    band_rows
        Word lines of all bands, each once.
    columns, outputs
        Columns of the layer that stand on some tile, and the outputs of an image that have such a column.
    index_bytes
        Bytes that name packed columns and dropped rows.
    weights_kept
        Weights that are not masked.
    """

    tiles: int
    rows: int
    cols: int
    reads: int
    read_cols: int
    busiest: tuple[tuple[int, int], ...]
    band_rows: int
    columns: int
    outputs: int
    index_bytes: float
    weights_kept: int


def layer_counts(layer: MappedLayer, hardware: Hardware) -> LayerCounts:
    """Numbers of tiles, lines and reads of a layer.

    The rows, columns, encoding and rows a read of the hardware matter, and nothing else of it.
    """
    tiles = layer.tiles
    widths = [len(tile.cols) for tile in tiles]
    reads = [reads_of_tile(tile, band, hardware) for band in layer.bands for tile in band.tiles]
    on = np.zeros(layer.n, np.int64)
    if tiles:
        on[np.concatenate([tile.cols for tile in tiles])] = 1
    return LayerCounts(
        tiles=len(tiles),
        rows=sum(len(tile.rows) for tile in tiles),
        cols=sum(widths),
        reads=sum(reads),
        read_cols=sum(width * count for width, count in zip(widths, reads, strict=True)),
        busiest=_busiest(set(zip(widths, reads, strict=True))),
        band_rows=sum(len(band.rows) for band in layer.bands),
        columns=int(on.sum()),
        outputs=_outputs_on_tiles(layer, on),
        index_bytes=index_bytes(layer, hardware),
        weights_kept=layer.weights_kept,
    )


def layer_events(
    layer: MappedLayer, hardware: Hardware, counts: LayerCounts | None = None
) -> dict[str, float]:
    """Number of times that each of `power.architecture.vocabulary.EVENTS` happens in a layer for one image.

    In a layer without a tile nothing happens: its outputs are its bias.

    Parameters
    ----------
    layer
        A mapped layer.
    hardware
        Hardware that it is on.
    counts
        Counts of the layer, from `layer_counts`; None: they are made here.

    Raises
    ------
    XbarError
        As `refuse_unpriced`.
    """
    counts = counts or layer_counts(layer, hardware)
    signed, encoding = has_sign(layer), hardware.encoding
    vectors = layer.positions if counts.tiles else 0
    phases, planes = hardware.dac.phases_of(signed), encoding.planes
    refuse_unpriced(hardware)
    assert hardware.dac.bits != "ideal"
    input_bytes = hardware.dac.bits / 8
    sums = vectors * counts.cols
    outputs = layer.output_values if counts.tiles else 0
    references = counts.reads * encoding.reference_columns
    converted = references if encoding.subtract == "digital" else 0
    lines = (counts.read_cols * encoding.slices + converted) * encoding.converted_planes
    bit_lines = counts.read_cols * encoding.slices + references
    return {
        "row_drives": vectors * phases * planes * counts.rows,
        "line_phases": vectors * phases * planes * bit_lines,
        "array_reads": vectors * phases * planes * counts.reads,
        "conversions": vectors * hardware.conversions(signed) * lines,
        "sum_updates": vectors * counts.read_cols * hardware.conversions(signed),
        "sums": sums,
        "partial_sums": sums - counts.outputs,
        "rescaled": vectors * counts.columns,
        "fetched_bytes": vectors * counts.band_rows * input_bytes,
        "outputs": outputs,
        "stored_bytes": outputs * input_bytes,
        "index_bytes": vectors * counts.index_bytes,
        "vectors": vectors,
        "macs": vectors * counts.weights_kept,
    }


def refuse_unpriced(hardware: Hardware) -> None:
    """Refuse inputs that are not codes: nothing prices their drivers.

    Raises
    ------
    XbarError
        For ``dac.bits = "ideal"``.
    """
    if hardware.dac.bits == "ideal":
        raise XbarError(
            "dac.bits = 'ideal': has no cost entry; allowed: a number of one-bit phases (accuracy without an "
            "estimate: docs/howto.md)"
        )


def network_events(mapped: MappedNetwork) -> dict[str, float]:
    """Number of times that each of `power.architecture.vocabulary.NETWORK_EVENTS` happens for one image."""
    of_operators = mapped.digital_operations.values()
    elementary = {kind: sum(counts.get(kind, 0) for counts in of_operators) for kind in OPERATIONS}
    return {"digital_macs": sum(mapped.digital_macs.values()), **elementary, "images": 1}


def arrays_of(layer: MappedLayer, hardware: Hardware, tiles: int | None = None) -> int:
    """Physical arrays of a layer, in all planes and copies; `tiles` is how many it has, where it is known."""
    count = len(layer.tiles) if tiles is None else tiles
    return hardware.encoding.planes * hardware.periphery.copies * count


def has_sign(layer: MappedLayer) -> bool:
    """Whether a layer's inputs have a sign; of one that is not calibrated they have none."""
    return layer.calibration is not None and layer.calibration.signed


def index_bytes(layer: MappedLayer, hardware: Hardware) -> float:
    """Bytes that say where a packed layer's columns and rows belong; 0 for an unpacked one.

    A tile whose columns are not the run that an unpacked band would put there names each of them with
    ceil(log2 n) bits; a tile with dropped rows has one bit for every word line that it could have. A tile
    whose columns are moved names the place of each with ceil(log2 places) bits more.
    """
    rows, width, places = hardware.crossbar.rows, hardware.weights_per_tile_row, hardware.column_places
    bits, name_bits, place_bits = 0, math.ceil(math.log2(layer.n)), math.ceil(math.log2(max(places, 1)))
    unpacked = cut(layer.k, layer.n, layer.groups, layer.bias_rows, rows, width)
    for band, (inputs, columns) in zip(layer.bands, unpacked, strict=True):
        first, height = int(columns[0]), len(inputs)
        for tile in band.tiles:
            count, at = len(tile.cols), int(tile.cols[0]) - first
            run = int(tile.cols[-1]) - first == at + count - 1
            if not (run and at % width == 0 and count == min(width, len(columns) - at)):
                bits += count * name_bits
            if len(tile.rows) < height:
                bits += height
            if tile.places is not None:
                bits += count * place_bits
    return bits / 8


def layer_time_s(layer: MappedLayer, hardware: Hardware) -> float:
    """Time of a layer for one image [s]: that of a vector on its slowest tile, at each position of a copy.

    0 without a tile.
    """
    return math.ceil(layer.positions / hardware.periphery.copies) * slowest_vector_s(layer, hardware)


def slowest_vector_s(
    layer: MappedLayer, hardware: Hardware, busiest: tuple[tuple[int, int], ...] | None = None
) -> float:
    """Time of one input vector on the slowest tile of a layer [s]; 0 without one.

    `busiest` is `LayerCounts.busiest` where it is known.
    """
    tiles = layer_counts(layer, hardware).busiest if busiest is None else busiest
    signed = has_sign(layer)
    return max((vector_time_s(columns, hardware, signed, reads) for columns, reads in tiles), default=0.0)


def _busiest(tiles: set[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The pairs that no other exceeds: one goes where another has as much of one and more of the other."""
    found: list[tuple[int, int]] = []
    for columns, reads in sorted(tiles, reverse=True):
        if not found or reads > found[-1][1]:
            found.append((columns, reads))
    return tuple(found)


def vector_time_s(columns: int, hardware: Hardware, signed: bool = False, reads: int = 1) -> float:
    """Time of one input vector on a tile with so many columns of weights, which so many reads take [s]: a
    read of a phase takes max(t_read, columns of the busiest ADC / its rate).

    Where phases are accumulated, the one conversion of a read goes on while the next one is made.
    """
    lines = converted_lines(columns, hardware) // hardware.encoding.converted_planes
    phases, conversion = hardware.dac.phases_of(signed), min(lines, hardware.adc.columns) / hardware.adc.rate
    if hardware.adc.after == "accumulation":
        return reads * max(phases * hardware.periphery.t_read, conversion)
    return reads * phases * max(hardware.periphery.t_read, conversion)


def fastest_vector_s(hardware: Hardware) -> float:
    """Least time of an input vector on a tile that is full [s]: signed ones count where their phases are
    fewer."""
    columns, reads = hardware.weights_per_tile_row, math.ceil(hardware.crossbar.rows / hardware.rows_at_once)
    return min(vector_time_s(columns, hardware, signed, reads) for signed in (False, True))


def converted_lines(columns: int, hardware: Hardware) -> int:
    """Lines that the ADCs of a tile (in all planes) read for so many columns of weights."""
    encoding = hardware.encoding
    references = encoding.reference_columns if encoding.subtract == "digital" else 0
    return (columns * encoding.slices + references) * encoding.converted_planes


def _outputs_on_tiles(layer: MappedLayer, on: NDArray[np.int64]) -> int:
    """How many outputs an image have a column on some tile, of columns that are marked with 1.

    A channel of a transposed convolution has as many of them as columns, and at most as many as outputs.
    """
    geometry = layer.geometry
    places = math.prod(geometry.kernel) if geometry is not None and geometry.transposed else 1
    by_channel = layer.positions * on.reshape(-1, places).sum(1)
    return int(np.minimum(by_channel, layer.output_values * places // layer.n).sum())
