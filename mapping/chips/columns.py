"""The blocks of a chip's columns that `xbar.multiply.mvm` multiplies by.

A block has the columns of one band in the order (plane, slice, column); where planes are subtracted in
analog, their difference is one column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapping.chips.chip import ProgrammedLayer, ProgrammedNetwork
from mapping.chips.wires import bit_lines, forms_through_wires, noise_through_wires
from mapping.tiles.mapped import Band, MappedLayer
from xbar.conductances.encoding import slice_weights
from xbar.conductances.noise import BOLTZMANN, white_sigma
from xbar.conductances.rng import normals, stream_key
from xbar.hardware.errors import XbarError
from xbar.multiply.blocks import Block, ReadNoise
from xbar.multiply.converters import Converter, accumulated_phases, code_range

REFERENCE_PLACES = 1 << 20
"""Places of the read noise that a plane and slice has beyond its N outputs, for reference columns."""


def blocks(
    chip: ProgrammedNetwork, name: str, *, converters: bool = True, dtype: type = np.float32
) -> tuple[Block, ...]:
    """Blocks of a layer, for its bands that have tiles, in units of v_read and `device.unit`.

    Parameters
    ----------
    converters
        False: ideal ones, and no noise, as a calibration needs them.
    dtype
        Of the products: ``np.float32`` or ``np.float64``.

    Raises
    ------
    XbarError
        For a layer that is not calibrated.
    """
    layer = chip.layers[name]
    if converters and layer.mapped.calibration is None:
        raise XbarError(f"{name}: not calibrated; call mapping.calibrate(mapped, model, batches) first")
    return tuple(
        _block(chip, layer, number, converters, dtype)
        for number, band in enumerate(layer.mapped.bands)
        if band.tiles
    )


def _block(
    chip: ProgrammedNetwork, layer: ProgrammedLayer, number: int, converters: bool, dtype: type
) -> Block:
    hardware, band = layer.mapped.hardware, layer.mapped.bands[number]
    encoding = hardware.encoding
    g = layer.bands[number].conductances.astype(np.float64)
    shape = layer.bands[number].devices.shape
    if g.shape != shape or not (np.isfinite(g).all() and g.min(initial=0.0) >= 0):
        raise XbarError(
            f"{layer.mapped.name}: conductances of band {number}: shape {g.shape}, must be {shape}, finite "
            "and at least 0; mapping.with_conductances takes measured ones"
        )
    seen = layer.transfer[number] if layer.transfer else g
    sign = np.array([1.0, -1.0][: encoding.planes])
    place = slice_weights(encoding, hardware.device)
    if encoding.planes > encoding.converted_planes:
        columns, gains = (seen[0] - seen[1])[None], place[None]
    else:
        columns, gains = seen, sign[:, None] * place
    tiles = len(band.tiles) if encoding.reference_columns else 0
    coefficient = np.repeat(gains[..., None], columns.shape[-1], axis=-1)
    coefficient[..., len(band.cols) :] = 0.0
    out = np.concatenate([band.cols, np.zeros(tiles, np.int64)])
    groups = columns.shape[0] * columns.shape[1]
    return Block(
        band.rows,
        _flat(columns / hardware.device.unit, dtype),
        np.tile(out, groups),
        coefficient.ravel().astype(np.float32),
        _converter(chip, layer.mapped, number) if converters else None,
        _read_noise(chip, layer, number, g, dtype) if converters else None,
        _references(band, groups) if tiles else None,
        encoding.subtract == "analog",
    )


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
        which = _converters_of(layer, band)
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


def _converters_of(layer: MappedLayer, band: Band) -> NDArray[np.int64]:
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


def _read_noise(
    chip: ProgrammedNetwork, programmed: ProgrammedLayer, number: int, g: NDArray[np.float64], dtype: type
) -> ReadNoise | None:
    """White noise of the cells, thermal noise of the bit lines, and noise of the converters.

    Behind wires, a cell's noise reaches its output by the factors of `xbar.wires.noise`: one of the square of
    its word line's voltage, and a constant, which adds to the column's own noise; or, by choice, by the forms
    of `xbar.wires.noise_forms`.
    """
    layer, hardware = programmed.mapped, programmed.mapped.hardware
    adc, device, band = hardware.adc, hardware.device, layer.bands[number]
    assert layer.calibration is not None
    converted = hardware.encoding.converted_planes
    references = len(band.tiles) if hardware.encoding.reference_columns else 0
    ampere = hardware.dac.v_read * device.unit
    width = converted * g.shape[1] * g.shape[3]
    devices = programmed.bands[number].devices
    wired, by_form = hardware.crossbar.wired, hardware.crossbar.noise_by_form
    behind_wires = None
    if wired and (adc.bandwidth or (device.read_noise.acts and not by_form)):
        behind_wires = noise_through_wires(layer, band, g, devices)
    cells, raised = np.empty((0, width), dtype), np.zeros((len(g), g.shape[1], g.shape[3]))
    if device.read_noise.acts and by_form:
        forms = forms_through_wires(layer, band, g, devices) / device.unit**2
        forms = forms if converted == len(g) else forms.sum(0)
        cells = np.ascontiguousarray(forms.reshape(width, *forms.shape[-2:]), dtype)
    elif device.read_noise.acts:
        variance = np.square(np.where(devices, white_sigma(g, device), 0.0) / device.unit)
        if behind_wires:
            variance = behind_wires.variance / device.unit**2
            raised = behind_wires.floor / device.unit**2
        cells = _flat(variance if converted == len(g) else variance.sum(0, keepdims=True), dtype)
    phases = accumulated_phases(hardware, layer.calibration.signed)
    thermal = np.zeros_like(raised)
    if adc.bandwidth:
        siemens = behind_wires.admittance if behind_wires else g.sum(2) + _undriven(layer, band)
        thermal = 4 * BOLTZMANN * adc.temperature * adc.bandwidth * siemens / ampere**2
    lines = thermal + raised
    lines = (lines if converted == len(g) else lines.sum(0)).ravel()
    converter = np.full(width, (adc.noise_current / ampere) ** 2) * (phases if adc.bits == "ideal" else 1.0)
    if adc.noise_lsb and layer.calibration.adc_steps is not None:
        converter += np.square(adc.noise_lsb * layer.calibration.adc_steps[number] / ampere)
    if references and hardware.encoding.subtract == "analog":
        converter.reshape(-1, g.shape[3])[:, len(band.cols) :] = 0.0
    floor = lines * phases + converter
    if not len(cells) and not floor.any():
        return None
    place = np.concatenate([band.cols, layer.n + np.arange(references)])
    stride = layer.n + REFERENCE_PLACES
    places = np.arange(width // len(place))[:, None] * stride + place
    key = stream_key("read", chip.seed, chip.chip, layer.name, band.first_row)
    return ReadNoise(cells, floor.astype(np.float32), key, places.ravel().astype(np.uint32))


def _undriven(layer: MappedLayer, band: Band) -> NDArray[np.float64]:
    """Conductance [S] of the cells on a column's bit line whose word lines are not driven."""
    hardware = layer.hardware
    if hardware.encoding.unformed:
        return np.zeros(1)
    driven = np.array([len(tile.rows) for tile in band.tiles])
    tile = band.tile_of_column(hardware.encoding.reference_columns > 0)
    return hardware.device.g_min * (hardware.crossbar.rows - driven[tile]).astype(np.float64)
