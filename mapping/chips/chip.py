"""`ProgrammedNetwork`: one chip, a `MappedNetwork` with one draw of noise, at one time after programming."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mapping.chips.wires import through_wires
from mapping.tiles.by_value import ByValue
from mapping.tiles.mapped import Band, MappedLayer, MappedNetwork
from xbar.conductances.encoding import cell_states, codebook, decode
from xbar.conductances.programming import program_states
from xbar.conductances.rng import stream_key, uniforms
from xbar.hardware.design import Hardware
from xbar.hardware.device import Device, ProgrammingNoise, WhiteNoise
from xbar.hardware.errors import XbarError
from xbar.hardware.iv import IV

CellArrays = NDArray[np.float32 | np.float64]


@dataclass(frozen=True, eq=False)
class ProgrammedNetwork(ByValue):
    """One chip at one time after programming.

    Parameters
    ----------
    seed, chip
        Keys of the noise.
    time
        Seconds after the write [s].
    conductances
        By layer name, for each band in order: [S], float32 or float64, shape (planes, slices, rows, columns),
        0 where there is no driven cell. Columns are the packed ones and, for an encoding that has them, the
        reference columns of the tiles in order.
    devices
        Where there is a driven cell that its lines reach, bool, the same shapes: one of 0 S is a cell, too.
    compensation
        Factor of each digital output column, by layer name, shape (n,); a layer not named has none.
    """

    mapped: MappedNetwork = field(repr=False)
    seed: int
    chip: int
    time: float
    conductances: Mapping[str, tuple[CellArrays, ...]] = field(repr=False)
    devices: Mapping[str, tuple[NDArray[np.bool_], ...]] = field(repr=False)
    compensation: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for part in (*self.conductances.values(), *self.devices.values()):
            for array in part:
                array.flags.writeable = False  # `transfer` follows from them, once

    @property
    def dtype(self) -> type:
        """``np.float32`` where any conductances are of it, else ``np.float64``."""
        held = {g.dtype for name in self.mapped.layers for g in self.conductances[name]}
        return np.float32 if np.dtype(np.float32) in held else np.float64

    @cached_property
    def transfer(self) -> Mapping[str, tuple[NDArray[np.float64], ...]]:
        """Where wires have resistance, what each output sees of each driver in place of conductances.

        I = V @ W: float64 [S], the shapes of the conductances, of which it is computed when it is first asked
        for; for a layer without wires, nothing.
        """
        found = {}
        for name, layer in self.mapped.layers.items():
            hardware = self.mapped.hardware_of(name)
            if hardware.crossbar.wired:
                pairs = zip(layer.bands, self.conductances[name], strict=True)
                found[name] = tuple(through_wires(band, g, hardware) for band, g in pairs)
        return found

    def compensated(self, factors: Mapping[str, NDArray[np.float64]]) -> ProgrammedNetwork:
        """The same chip with other digital factors; its transfer matrices need not be computed again."""
        chip = dataclasses.replace(self, compensation=factors)
        chip.__dict__["transfer"] = self.transfer
        return chip


def without_random_effects(mapped: MappedNetwork) -> MappedNetwork:
    """The same mapping on cells that take exactly their targets, with converters that are all alike.

    What is the same for every chip stays: wires, the cells' I-V, quantisation, tables of non-linearity.
    """

    def exact(hardware: Hardware) -> Hardware:
        device = dataclasses.replace(
            hardware.device,
            programming=ProgrammingNoise(),
            relaxation=None,
            drift=None,
            low_frequency=None,
            read_noise=WhiteNoise(),
            p_stuck_g_max=0.0,
            p_stuck_g_min=0.0,
        )
        crossbar = dataclasses.replace(hardware.crossbar, p_open_wl=0.0, p_open_bl=0.0)
        adc = dataclasses.replace(
            hardware.adc, gain_sigma=0.0, offset_sigma=0.0, noise_lsb=0.0, noise_current=0.0, bandwidth=0.0
        )
        return dataclasses.replace(hardware, device=device, crossbar=crossbar, adc=adc)

    return mapped.with_hardware(exact)


def without_device_effects(mapped: MappedNetwork) -> MappedNetwork:
    """The same mapping on ohmic cells that take exactly their targets, on wires without resistance.

    Converter ranges stay those of the mapping; calibrate again where they were fitted behind wires or to
    another I-V.
    """

    def ohmic(hardware: Hardware) -> Hardware:
        device = dataclasses.replace(hardware.device, iv=IV())
        crossbar = dataclasses.replace(hardware.crossbar, r_wl=0.0, r_bl=0.0, r_driver=0.0, r_sense=0.0)
        return dataclasses.replace(hardware, device=device, crossbar=crossbar)

    return without_random_effects(mapped).with_hardware(ohmic)


def with_device(mapped: MappedNetwork, device: Device) -> MappedNetwork:
    """The same mapping on another device with the same states.

    Raises
    ------
    XbarError
        Where the states differ: the state numbers would stand for other weights.
    """

    def on_device(hardware: Hardware) -> Hardware:
        if not np.array_equal(device.conductances(), hardware.device.conductances()):
            raise XbarError(
                f"device {device.name!r}: its states differ from those of {hardware.device.name!r} "
                "that the network was mapped to; map it again"
            )
        return dataclasses.replace(hardware, device=device)

    return mapped.with_hardware(on_device)


def program_network(
    mapped: MappedNetwork,
    *,
    seed: int = 0,
    chip: int = 0,
    time: float | None = None,
    dtype: type = np.float32,
) -> ProgrammedNetwork:
    """Program one chip: every driven cell gets its target with all effects of device and wires.

    Parameters
    ----------
    seed, chip
        Keys of the noise; the same keys give the same cells for any packing and order of layers. Broken
        lines, converters, reference columns and spare ones belong to places on tiles, and so to the packing.
    time
        Seconds after the write [s]; None: the earliest that the device's data describe.
    dtype
        Of the conductances, ``np.float32`` or ``np.float64``, with the same draws; `analog_network` then
        multiplies in it.

    Raises
    ------
    XbarError
        For a mapping without weights, another dtype, keys that are not whole numbers, or a time for which the
        device has no data.
    """
    for key, value in (("seed", seed), ("chip", chip)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
            raise XbarError(f"{key} = {value!r}: must be a whole number, at least 0")
    if dtype not in (np.float32, np.float64):
        raise XbarError(f"dtype = {dtype!r}: must be np.float32 or np.float64")
    used = [mapped.hardware_of(name).device for name in mapped.layers]
    at = max(device.first_time for device in used) if time is None else time
    for device in used:
        device.check_time(at)
    conductances, devices = {}, {}
    for name, layer in mapped.layers.items():
        hardware = mapped.hardware_of(name)
        programmed = [_program_band(layer, band, hardware, seed, chip, at, dtype) for band in layer.bands]
        conductances[name] = tuple(g for g, _ in programmed)
        devices[name] = tuple(present for _, present in programmed)
    return ProgrammedNetwork(mapped, seed, chip, at, conductances, devices)


def _program_band(
    layer: MappedLayer,
    band: Band,
    hardware: Hardware,
    seed: int,
    chip: int,
    time: float,
    dtype: type,
) -> tuple[CellArrays, NDArray[np.bool_]]:
    """Conductances of a band's cells, and where there are any."""
    cells, keys = cells_to_write(layer, band, hardware)
    g: CellArrays = np.empty(cells.shape, dtype)
    for plane, slice_ in np.ndindex(cells.shape[:2]):
        names = (seed, chip, layer.name, plane, slice_)
        values = hardware.device.conductances()
        g[plane, slice_] = program_states(
            cells[plane, slice_], values, hardware.device, band.rows, keys, names, time, dtype
        ).g
    tile = band.tile_of_column(hardware.encoding.reference_columns > 0)
    present = (cells >= 0) & ~on_open_lines(layer.name, band, band.rows, tile, keys, hardware, seed, chip)
    return np.where(present, g, dtype(0)), present


def cells_to_write(
    layer: MappedLayer, band: Band, hardware: Hardware
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """State that each cell of a band is written to, -1 where there is none, and its columns' keys.

    Returns
    -------
    Shapes (planes, slices, rows, columns) and (columns,); the columns of `ProgrammedNetwork.conductances`.
    """
    encoding, device = hardware.encoding, hardware.device
    cells = cell_states(layer.states(band.rows, band.cols), encoding, device)
    driven, keys = band.built(), band_keys(layer, band)
    if encoding.reference_columns:
        zero = codebook(encoding, device).reference[None, :, None, None]
        references = np.broadcast_to(zero, (1, encoding.slices, len(band.rows), len(band.tiles)))
        cells = np.concatenate([cells, references], axis=3)
        driven = np.concatenate([driven, driven[:, band.tile_starts]], axis=1)
        keys = np.concatenate([keys, layer.n + np.arange(len(band.tiles))])
    return np.where(driven, cells, np.int32(-1)), keys


def column_keys(layer: MappedLayer, band: Band, number: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the noise of physical columns of a tile is keyed by, for their places on it.

    That is the output n that stands there unless columns are moved; on a spare place, a number beyond those
    of outputs and of the tiles' reference columns, n + number.
    """
    own = band.tiles[number].cols
    spare = layer.n + number + len(band.tiles) * (1 + places - len(own))
    return np.where(places < len(own), own[np.minimum(places, len(own) - 1)], spare)


def band_keys(layer: MappedLayer, band: Band) -> NDArray[np.int64]:
    """`column_keys` of a band's columns, one tile after the other."""
    keys = [column_keys(layer, band, number, tile.at) for number, tile in enumerate(band.tiles)]
    return np.concatenate(keys) if keys else np.empty(0, np.int64)


def on_open_lines(
    name: str,
    band: Band,
    rows: NDArray[np.int64],
    tile: NDArray[np.int64],
    keys: NDArray[np.int64],
    hardware: Hardware,
    seed: int,
    chip: int,
) -> NDArray[np.bool_]:
    """Cells on open lines: a word line of one tile and plane, a bit line of one band, plane and slice.

    Parameters
    ----------
    rows
        Word lines of the band.
    tile, keys
        Of each column, the number of its tile and its `column_keys`.

    Returns
    -------
    Shape (planes, slices, rows, columns).
    """
    crossbar, encoding = hardware.crossbar, hardware.encoding
    found = np.zeros((encoding.planes, encoding.slices, len(rows), len(keys)), bool)
    if crossbar.p_open_wl + crossbar.p_open_bl == 0:
        return found
    for plane, slice_ in np.ndindex(found.shape[:2]):
        key = stream_key("open word line", seed, chip, name, plane)
        open_wl = uniforms(key, rows, np.arange(len(band.tiles))) < crossbar.p_open_wl
        key = stream_key("open bit line", seed, chip, name, plane, slice_)
        open_bl = uniforms(key, [band.first_row], keys) < crossbar.p_open_bl
        found[plane, slice_] = open_wl[:, tile] | open_bl
    return found


def decoded_weights(chip: ProgrammedNetwork, name: str) -> NDArray[np.float64]:
    """Weights that a layer's programmed cells hold, shape (k, n); 0 where there is no driven cell."""
    layer, hardware = chip.mapped.layers[name], chip.mapped.hardware_of(name)
    assert layer.scale is not None
    w = np.zeros((layer.k, layer.n))
    for band, g in zip(layer.bands, chip.conductances[name], strict=True):
        cells, references = g[..., : len(band.cols)], g[0, ..., len(band.cols) :]
        reference = references[..., band.tile_of_column(False)] if references.shape[-1] else None
        held = layer.scale[band.cols] * decode(cells, hardware.encoding, hardware.device, reference)
        own = layer.holds(band.rows, band.cols)
        rows, cols = np.nonzero(own)
        w[band.rows[rows] % layer.k, band.cols[cols]] = held[own]
    return w
