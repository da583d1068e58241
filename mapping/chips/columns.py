"""The blocks of a chip's columns that `xbar.multiply.mvm` multiplies by.

A block has the columns of one band in the order (plane, slice, column); where planes are subtracted in
analog, their difference is one column. With `periphery.rows_per_read` each read of a band is a block of its
own, with the word lines that are active in it: what its converters give is added to the same outputs. Behind
wires it is a part of the transfer matrix of the whole array, whose other word lines are at 0 V.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapping.chips.chip import ProgrammedLayer, ProgrammedNetwork
from mapping.chips.wires import bit_lines, forms_through_wires, noise_through_wires
from mapping.tiles.mapped import Band, MappedLayer
from mapping.tiles.reads import Read, reads_of_band
from xbar.conductances.encoding import slice_weights
from xbar.conductances.noise_laws import BOLTZMANN, white_sigma
from xbar.conductances.rng import normals, stream_key
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError
from xbar.multiply.blocks import Block, ReadNoise
from xbar.multiply.converters import Converter, accumulated_phases, code_range

REFERENCE_PLACES = 1 << 20
"""Places of the read noise that a plane and slice has beyond its N outputs, for reference columns."""


def blocks(chip: ProgrammedNetwork, name: str, *, dtype: type = np.float32) -> tuple[Block, ...]:
    """Blocks of a layer in units of v_read and `device.unit`: one for each read of a band that has tiles.

    Parameters
    ----------
    dtype
        Type of the products, ``np.float32`` or ``np.float64``.

    Raises
    ------
    XbarError
        For a layer that is not calibrated.
    """
    layer = chip.layers[name]
    if layer.mapped.calibration is None:
        raise XbarError(f"{name}: not calibrated; call mapping.calibrate(mapped, model, batches) first")
    return tuple(
        block
        for number, band in enumerate(layer.mapped.bands)
        if band.tiles
        for block in _with_converters(chip, layer, number, dtype)
    )


class IdealBlock(NamedTuple):
    """All columns of a band on all its word lines, and its reads: the block of each, and where its columns
    are among those of the band. There are no converters and no noise."""

    whole: Block
    reads: tuple[tuple[Block, NDArray[np.int64]], ...]


def ideal_blocks(chip: ProgrammedNetwork, name: str) -> tuple[IdealBlock, ...]:
    """Blocks of a layer's bands that have tiles, in float64, as a calibration needs them."""
    layer = chip.layers[name]
    found = []
    for number, band in enumerate(layer.mapped.bands):
        if band.tiles:
            whole = _parts_of_block(layer, number, np.float64)
            reads = reads_of_band(band, layer.mapped.hardware)
            columns = [read_columns(layer.mapped, band, read) for read in reads]
            parts = (Block(**_of_read(whole, read, of)) for read, of in zip(reads, columns, strict=True))
            found.append(IdealBlock(Block(**whole), tuple(zip(parts, columns, strict=True))))
    return tuple(found)


def _with_converters(
    chip: ProgrammedNetwork, layer: ProgrammedLayer, number: int, dtype: type
) -> Iterator[Block]:
    """Blocks of the reads of a band, with converters and noise."""
    mapped, band = layer.mapped, layer.mapped.bands[number]
    whole = _parts_of_block(layer, number, dtype)
    converter, forms = _converter(chip, mapped, number), _forms(layer, number)
    for read in reads_of_band(band, mapped.hardware):
        columns = read_columns(mapped, band, read)
        noise = _read_noise(chip, layer, number, forms, read) if _is_noisy(mapped.hardware) else None
        yield Block(
            **_of_read(whole, read, columns),
            converter=None if converter is None else _of_columns(converter, columns),
            noise=None if noise is None else _noise_of_read(noise, read, columns, dtype),
        )


def read_columns(layer: MappedLayer, band: Band, read: Read) -> NDArray[np.int64]:
    """Columns of the band's block that a read converts: those of tiles with an active word line."""
    encoding = layer.hardware.encoding
    tile = band.tile_of_column(encoding.reference_columns > 0)
    lines = encoding.converted_planes * encoding.slices
    if len(read.tiles) == len(band.tiles):
        return np.arange(lines * len(tile))
    return np.flatnonzero(np.tile(np.isin(tile, read.tiles), lines))


def _of_read(block: dict[str, Any], read: Read, columns: NDArray[np.int64]) -> dict[str, Any]:
    """The part of a band's block that a read is, apart from converters and noise."""
    if len(read.rows) == len(block["rows"]):
        return block  # all that the band has is read at once
    reference = block["reference"]
    if reference is not None:
        place = np.full(len(reference), -1)
        place[columns] = np.arange(len(columns))
        reference = np.where(reference[columns] < 0, -1, place[reference[columns]])
    return {
        **block,
        "rows": block["rows"][read.rows],
        "weights": np.ascontiguousarray(block["weights"][np.ix_(read.rows, columns)]),
        "out": block["out"][columns],
        "coefficient": block["coefficient"][columns],
        "reference": reference,
    }


def _of_columns(converter: Converter, columns: NDArray[np.int64]) -> Converter:
    """The converters of some columns."""
    if len(columns) == len(converter.step):
        return converter
    chosen = {key: getattr(converter, key)[columns] for key in ("step", "gain", "offset")}
    return dataclasses.replace(converter, **chosen)


def _noise_of_read(noise: ReadNoise, read: Read, columns: NDArray[np.int64], dtype: type) -> ReadNoise:
    """The noise of the columns of a read, of what its word lines drive."""
    variance = noise.variance
    if len(columns) == len(noise.floor) and len(read.rows) == variance.shape[-2]:
        return dataclasses.replace(noise, variance=np.ascontiguousarray(variance, dtype))
    if variance.ndim == 3:
        variance = variance[np.ix_(columns, read.rows, read.rows)]
    elif len(variance):
        variance = variance[np.ix_(read.rows, columns)]
    else:
        variance = variance[:, columns]
    return ReadNoise(
        np.ascontiguousarray(variance, dtype), noise.floor[columns], noise.key, noise.places[columns]
    )


def _parts_of_block(layer: ProgrammedLayer, number: int, dtype: type) -> dict[str, Any]:
    """All columns of a band on all its word lines: the parts of a block with ideal converters."""
    hardware, band = layer.mapped.hardware, layer.mapped.bands[number]
    encoding = hardware.encoding
    g, shape = layer.bands[number].conductances, layer.bands[number].devices.shape
    if g.shape != shape or not (g.min(initial=0.0) >= 0 and g.max(initial=0.0) < np.inf):
        raise XbarError(
            f"{layer.mapped.name}: conductances of band {number}: shape {g.shape}, must be {shape}, finite "
            "and at least 0; mapping.with_conductances takes measured ones"
        )
    seen = layer.transfer[number] if layer.transfer else g
    sign = np.array([1.0, -1.0][: encoding.planes])
    place = slice_weights(encoding, hardware.device)
    if encoding.planes > encoding.converted_planes:
        columns, gains = np.subtract(seen[0], seen[1], dtype=np.float64)[None], place[None]
    else:
        columns, gains = seen.astype(np.float64), sign[:, None] * place
    columns /= hardware.device.unit
    tiles = len(band.tiles) if encoding.reference_columns else 0
    coefficient = np.repeat(gains[..., None], columns.shape[-1], axis=-1)
    coefficient[..., len(band.cols) :] = 0.0
    out = np.concatenate([band.cols, np.zeros(tiles, np.int64)])
    groups = columns.shape[0] * columns.shape[1]
    return {
        "rows": band.rows,
        "weights": _flat(columns, dtype),
        "out": np.tile(out, groups),
        "coefficient": coefficient.ravel().astype(np.float32),
        "reference": _references(band, groups) if tiles else None,
        "subtract_before": encoding.subtract == "analog",
    }


def _flat(columns: NDArray[np.float64], dtype: type) -> NDArray[Any]:
    """(planes, slices, R, C) as (R, planes slices C)."""
    rows = columns.shape[2]
    return np.ascontiguousarray(columns.transpose(2, 0, 1, 3).reshape(rows, -1), dtype)


def _references(band: Band, groups: int) -> NDArray[np.int64]:
    """For each column the place of its tile's reference; -1 for the references themselves."""
    one = np.concatenate([len(band.cols) + band.tile_of_column(False), np.full(len(band.tiles), -1)])
    width = len(one)
    all_ = np.concatenate([np.where(one < 0, -1, one + group * width) for group in range(groups)])
    return all_.astype(np.int64)


def _converter(chip: ProgrammedNetwork, layer: MappedLayer, number: int) -> Converter | None:
    """ADCs of a block's columns, each shared by `adc.columns` neighbouring bit lines of a tile and plane."""
    assert layer.calibration is not None
    if layer.calibration.adc_steps is None:
        return None
    hardware, adc = layer.hardware, layer.hardware.adc
    band = layer.bands[number]
    step = layer.calibration.adc_steps[number] / (hardware.dac.v_read * hardware.device.unit)
    errors = np.zeros((2, len(step)), np.float32)
    if adc.gain_sigma or adc.offset_sigma:
        which = converters_of_columns(layer, band)
        key = stream_key("converters", chip.seed, chip.chip, layer.name)
        draws = normals(key, [2 * band.first_row, 2 * band.first_row + 1], which)
        errors = draws * np.array([[adc.gain_sigma], [adc.offset_sigma]], np.float32)
    low, high = code_range(hardware, layer.calibration.signed)
    return Converter(
        step.astype(np.float32),
        low,
        high,
        1 + errors[0],
        np.ascontiguousarray(errors[1]),
        np.asarray(adc.inl, np.float32),
    )


def converters_of_columns(layer: MappedLayer, band: Band) -> NDArray[np.int64]:
    """Number of the converter in the band that reads each of a block's columns."""
    hardware = layer.hardware
    a_tile = -(-hardware.crossbar.cols // hardware.adc.columns)
    planes = hardware.encoding.converted_planes
    own, references = [], []
    for index, tile in enumerate(band.tiles):
        at = index * planes * a_tile + bit_lines(layer, tile) // hardware.adc.columns
        own.append(at[:, : len(tile.cols)])
        references.append(at[:, len(tile.cols) :])
    line = np.concatenate([*own, *references], axis=1)
    return np.concatenate([line + plane * a_tile for plane in range(planes)]).ravel()


def _forms(layer: ProgrammedLayer, number: int) -> NDArray[np.float64] | None:
    """Forms of the noise of a band's columns [unit^2], shape (columns, rows, rows); None: it has none."""
    hardware, programmed = layer.mapped.hardware, layer.bands[number]
    if not (hardware.device.read_noise.acts and hardware.crossbar.noise_by_form):
        return None
    g = programmed.conductances.astype(np.float64)
    forms = forms_through_wires(layer.mapped, programmed.mapped, g, programmed.devices)
    forms = forms / hardware.device.unit**2
    forms = forms if hardware.encoding.converted_planes == len(g) else forms.sum(0)
    return forms.reshape(-1, *forms.shape[-2:])


def _is_noisy(hardware: Hardware) -> bool:
    """Whether two reads of the same cells may differ."""
    adc = hardware.adc
    return hardware.device.read_noise.acts or any((adc.bandwidth, adc.noise_lsb, adc.noise_current))


def _read_noise(
    chip: ProgrammedNetwork,
    programmed: ProgrammedLayer,
    number: int,
    forms: NDArray[np.float64] | None,
    read: Read,
) -> ReadNoise | None:
    """White noise of the cells, thermal noise of the bit lines, and noise of the converters in one read.

    Behind wires, a cell's noise reaches its output by the factors of `xbar.wires.noise`: one of the square of
    its word line's voltage, and a constant, which adds to the column's own noise; or, by choice, by the forms
    of `xbar.wires.noise_forms`. All word lines and columns of the band have a place.
    """
    layer, hardware = programmed.mapped, programmed.mapped.hardware
    adc, device, band = hardware.adc, hardware.device, layer.bands[number]
    assert layer.calibration is not None
    g = programmed.bands[number].conductances.astype(np.float64)
    converted = hardware.encoding.converted_planes
    ampere = hardware.dac.v_read * device.unit
    width = converted * g.shape[1] * g.shape[3]
    devices = programmed.bands[number].devices
    by_cell = device.read_noise.acts and forms is None
    behind_wires = None
    if hardware.crossbar.wired and (adc.bandwidth or by_cell):
        behind_wires = noise_through_wires(layer, band, g, devices, read.rows)
    raised = np.zeros((len(g), g.shape[1], g.shape[3]))
    cells = np.empty((0, width)) if forms is None else forms
    if by_cell:
        variance = np.square(np.where(devices, white_sigma(g, device), 0.0) / device.unit)
        if behind_wires:
            variance = behind_wires.variance / device.unit**2
            raised = behind_wires.floor / device.unit**2
        cells = _flat(variance if converted == len(g) else variance.sum(0, keepdims=True), np.float64)
    thermal = np.zeros_like(raised)
    if adc.bandwidth:
        siemens = behind_wires.admittance if behind_wires else g.sum(2) + undriven_conductance(layer, band)
        thermal = 4 * BOLTZMANN * adc.temperature * adc.bandwidth * siemens / ampere**2
    lines = thermal + raised
    lines = (lines if converted == len(g) else lines.sum(0)).ravel()
    floor = lines * accumulated_phases(hardware, layer.calibration.signed) + converter_noise(layer, number)
    if not len(cells) and not floor.any():
        return None
    references = len(band.tiles) if hardware.encoding.reference_columns else 0
    place = np.concatenate([band.cols, layer.n + np.arange(references)])
    stride = layer.n + REFERENCE_PLACES
    places = np.arange(width // len(place))[:, None] * stride + place
    key = stream_key("read", chip.seed, chip.chip, layer.name, read.first_row)
    return ReadNoise(cells, floor.astype(np.float32), key, places.ravel().astype(np.uint32))


def converter_noise(layer: MappedLayer, number: int) -> NDArray[np.float64]:
    """Variance of the noise of the converters of a band's columns [(v_read unit)^2]."""
    hardware, band = layer.hardware, layer.bands[number]
    adc, encoding = hardware.adc, hardware.encoding
    assert layer.calibration is not None
    ampere = hardware.dac.v_read * hardware.device.unit
    references = len(band.tiles) if encoding.reference_columns else 0
    columns = len(band.cols) + references
    phases = accumulated_phases(hardware, layer.calibration.signed) if adc.bits == "ideal" else 1.0
    found = np.full(encoding.converted_planes * encoding.slices * columns, (adc.noise_current / ampere) ** 2)
    found *= phases
    if references and encoding.subtract == "analog":
        found.reshape(-1, columns)[:, len(band.cols) :] = 0.0
    return found + noise_in_steps(layer, number)


def noise_in_steps(layer: MappedLayer, number: int) -> NDArray[np.float64]:
    """The part of `converter_noise` that goes with the square of the ADC steps, `adc.noise_lsb`."""
    hardware, band = layer.hardware, layer.bands[number]
    assert layer.calibration is not None
    steps = layer.calibration.adc_steps
    references = len(band.tiles) if hardware.encoding.reference_columns else 0
    columns = len(band.cols) + references
    if steps is None or not hardware.adc.noise_lsb:
        return np.zeros(hardware.encoding.converted_planes * hardware.encoding.slices * columns)
    ampere = hardware.dac.v_read * hardware.device.unit
    found: NDArray[np.float64] = np.square(hardware.adc.noise_lsb * steps[number] / ampere)
    if references and hardware.encoding.subtract == "analog":
        found.reshape(-1, columns)[:, len(band.cols) :] = 0.0
    return found


def undriven_conductance(layer: MappedLayer, band: Band) -> NDArray[np.float64]:
    """Conductance [S] of the cells on a column's bit line whose word lines are not driven."""
    hardware = layer.hardware
    if hardware.encoding.unformed:
        return np.zeros(1)
    driven = np.array([len(tile.rows) for tile in band.tiles])
    tile = band.tile_of_column(hardware.encoding.reference_columns > 0)
    return hardware.device.g_min * (hardware.crossbar.rows - driven[tile]).astype(np.float64)
