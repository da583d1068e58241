"""`ProgrammedNetwork`: one chip, a `MappedNetwork` with one draw of noise, at one time after programming."""

from __future__ import annotations

import dataclasses
import itertools
import numbers
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mapping.chips.wires import through_wires
from mapping.tiles.by_value import ByValue
from mapping.tiles.mapped import Band, MappedLayer, MappedNetwork, window
from xbar.conductances.encoding import cell_states, codebook, decode
from xbar.conductances.programming import CellLaws, cell_laws, program_cells
from xbar.conductances.rng import stream_key, uniforms
from xbar.hardware.checks import check_kind
from xbar.hardware.design import Hardware
from xbar.hardware.device import Device
from xbar.hardware.errors import XbarError
from xbar.hardware.iv import IV
from xbar.hardware.noise import ProgrammingNoise, WhiteNoise

CellArrays = NDArray[np.float32 | np.float64]


@dataclass(frozen=True, eq=False)
class ProgrammedBand(ByValue):
    """The cells of one band of a layer; with the noise of the device, or as they were measured.

    Parameters
    ----------
    mapped
        The tiles of the band.
    conductances
        [S], float32 or float64, shape (planes, slices, rows, columns), 0 where there is no driven cell.
        Columns are the packed ones and, for an encoding that has them, the reference columns of the tiles in
        order.
    devices
        Where there is a driven cell that its lines reach, bool, the same shape: one of 0 S is a cell, too.
    """

    mapped: Band
    conductances: CellArrays
    devices: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for array in (self.conductances, self.devices):
            array.flags.writeable = False  # `ProgrammedLayer.transfer` follows from them, once


@dataclass(frozen=True, eq=False)
class ProgrammedLayer(ByValue):
    """One layer of a chip.

    Parameters
    ----------
    mapped
        The mapped layer that was programmed.
    bands
        Cells of all bands in order.
    compensation
        Factor of each digital output column, shape (n,); None: none.
    """

    mapped: MappedLayer = field(repr=False)
    bands: tuple[ProgrammedBand, ...] = field(repr=False)
    compensation: NDArray[np.float64] | None = field(default=None, repr=False)

    @cached_property
    def transfer(self) -> tuple[NDArray[np.float64], ...]:
        """Transfer matrices, which take the place of conductances where wires have resistance.

        I = V @ W: float64 [S], one for each band in the shape of its conductances. They are computed from
        these when they are first asked for. Without wires there are none.
        """
        if not self.mapped.hardware.crossbar.wired:
            return ()
        return tuple(through_wires(self.mapped, band.mapped, band.conductances) for band in self.bands)

    def compensated(self, factors: NDArray[np.float64] | None) -> ProgrammedLayer:
        """The same layer with other digital factors; its transfer matrices need not be computed again."""
        layer = dataclasses.replace(self, compensation=factors)
        layer.__dict__["transfer"] = self.transfer
        return layer


@dataclass(frozen=True, eq=False)
class ProgrammedNetwork(ByValue):
    """One chip at one time after programming.

    Parameters
    ----------
    mapped
        The mapping that was programmed.
    seed, chip
        Keys of the noise.
    time
        Seconds after the write [s].
    layers
        Mapped layers with their cells, by module name.

    Raises
    ------
    XbarError
        For layers that are not those of `mapped`.
    """

    mapped: MappedNetwork = field(repr=False)
    seed: int
    chip: int
    time: float
    layers: Mapping[str, ProgrammedLayer] = field(repr=False)

    def __post_init__(self) -> None:
        of = {name: layer.mapped for name, layer in self.layers.items()}
        if of.keys() != self.mapped.layers.keys() or any(
            of[name] is not layer for name, layer in self.mapped.layers.items()
        ):
            raise XbarError("ProgrammedNetwork: its layers must be those of its mapping")

    @property
    def conductances(self) -> dict[str, tuple[CellArrays, ...]]:
        """Conductances of all cells [S], by layer name and band: what `mapping.with_conductances` takes."""
        return {name: tuple(band.conductances for band in layer.bands) for name, layer in self.layers.items()}

    @property
    def dtype(self) -> type:
        """``np.float32`` where any conductances are of it, else ``np.float64``."""
        held = {band.conductances.dtype for layer in self.layers.values() for band in layer.bands}
        return np.float32 if np.dtype(np.float32) in held else np.float64

    def compensated(self, factors: Mapping[str, NDArray[np.float64]]) -> ProgrammedNetwork:
        """The same chip with other digital factors, by layer name; a layer that is not named has none."""
        layers = {name: layer.compensated(factors.get(name)) for name, layer in self.layers.items()}
        return dataclasses.replace(self, layers=layers)


def without_random_effects(mapped: MappedNetwork) -> MappedNetwork:
    """The same mapping on cells that take exactly their targets, with converters that are all alike.

    What is the same for every chip stays: wires, the cells' I-V, quantisation, tables of non-linearity.
    """
    return mapped.with_hardware(_exact)


def _exact(hardware: Hardware) -> Hardware:
    """The hardware without anything that differs between chips, or between two reads of one."""
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


def has_random_effects(mapped: MappedNetwork) -> bool:
    """Whether two chips of the mapping may differ, or two reads of one chip."""
    return any(acts_at_random(layer.hardware) for layer in mapped.layers.values())


def acts_at_random(hardware: Hardware) -> bool:
    """Whether two chips of a design may differ, or two reads of one chip."""
    return hardware != _exact(hardware)


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
        Type of the conductances, ``np.float32`` or ``np.float64``; the draws are the same. `analog_network`
        then multiplies in this type.

    Raises
    ------
    XbarError
        For a mapping without weights, another dtype, keys that are not whole numbers, or a time for which the
        device has no data.
    """
    check_kind("mapped", mapped, MappedNetwork)
    check_keys(seed, chip)
    check_dtype(dtype)
    used = [layer.hardware.device for layer in mapped.layers.values()]
    at = max(device.first_time for device in used) if time is None else time
    for device in used:
        device.check_time(at)
    layers = {
        name: ProgrammedLayer(layer, _program_bands(layer, seed, chip, at, dtype))
        for name, layer in mapped.layers.items()
    }
    return ProgrammedNetwork(mapped, seed, chip, at, layers)


def check_keys(seed: int, chip: int) -> None:
    """Refuse keys of noise that are not whole numbers from 0 on."""
    for key, value in (("seed", seed), ("chip", chip)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
            raise XbarError(f"{key} = {value!r}: must be a whole number, at least 0")


def check_dtype(dtype: type) -> None:
    """Refuse types that a multiply does not work in."""
    if dtype not in (np.float32, np.float64):
        raise XbarError(f"dtype = {dtype!r}: must be np.float32 or np.float64")


def _program_bands(
    layer: MappedLayer, seed: int, chip: int, time: float, dtype: type
) -> tuple[ProgrammedBand, ...]:
    device = layer.hardware.device
    laws = cell_laws(device.conductances(), device, time, dtype)
    runs = _runs(layer.bands)
    return tuple(band for run in runs for band in _program_run(layer, run, seed, chip, laws))


CELLS_AT_ONCE = 1 << 20
"""Cells of bands that are programmed together."""


def _runs(bands: Sequence[Band]) -> Iterator[tuple[Band, ...]]:
    """Bands one after the other whose columns are the same, and so the keys of their noise, as many as have
    `CELLS_AT_ONCE`: a call for all of them takes little longer than one for each of them."""
    for _, alike in itertools.groupby(bands, operator.attrgetter("layout")):
        run: list[Band] = []
        rows = 0
        for band in alike:
            rows += len(band.rows)
            if run and rows * len(band.cols) > CELLS_AT_ONCE:
                yield tuple(run)
                run, rows = [], len(band.rows)
            run.append(band)
        yield tuple(run)


def _program_run(
    layer: MappedLayer, run: Sequence[Band], seed: int, chip: int, laws: CellLaws
) -> Iterator[ProgrammedBand]:
    crossbar, encoding = layer.hardware.crossbar, layer.hardware.encoding
    cells, keys = cells_to_write(layer, *run)
    rows = np.concatenate([band.rows for band in run])
    g: CellArrays = np.empty(cells.shape, laws.write.values.dtype)
    for plane, slice_ in np.ndindex(cells.shape[:2]):
        names = (seed, chip, layer.name, plane, slice_)
        g[plane, slice_] = program_cells(cells[plane, slice_], laws, rows, keys, names)[0]
    ends = np.cumsum([len(band.rows) for band in run])[:-1]
    present = cells >= 0
    for band, own, devices in zip(run, *(np.split(all_, ends, axis=2) for all_ in (g, present)), strict=True):
        of_band, there = np.ascontiguousarray(own), np.ascontiguousarray(devices)
        if crossbar.p_open_wl + crossbar.p_open_bl > 0:
            tile = band.tile_of_column(encoding.reference_columns > 0)
            there &= ~on_open_lines(layer, band, band.rows, tile, keys, seed, chip)
            of_band[~there] = 0
        yield ProgrammedBand(band, of_band, there)


def cells_to_write(layer: MappedLayer, *bands: Band) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """State that each cell of a band is written to, -1 where there is none, and its columns' keys; or of
    bands with the same columns, one below the other.

    Returns
    -------
    Shapes (planes, slices, rows, columns) and (columns,); the columns of `ProgrammedBand.conductances`.
    """
    encoding, device, first = layer.hardware.encoding, layer.hardware.device, bands[0]
    rows = np.concatenate([band.rows for band in bands])
    cells = cell_states(layer.states(rows, first.cols), encoding, device)
    whole, keys = all(band.is_whole for band in bands), band_keys(layer, first)
    if encoding.reference_columns:
        zero = codebook(encoding, device).reference[None, :, None, None]
        references = np.broadcast_to(zero, (1, encoding.slices, len(rows), len(first.tiles)))
        cells = np.concatenate([cells, references], axis=3)
        keys = np.concatenate([keys, layer.n + np.arange(len(first.tiles))])
    if whole:
        return cells, keys
    driven = np.concatenate([band.built() for band in bands])
    if encoding.reference_columns:
        driven = np.concatenate([driven, driven[:, first.tile_starts]], axis=1)
    return np.where(driven, cells, np.int32(-1)), keys


def column_keys(layer: MappedLayer, band: Band, number: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keys of the noise of a tile's columns, by their places on it.

    That is the output n that stands there unless columns are moved; on a spare place, a number beyond those
    of outputs and of the tiles' reference columns, n + number.
    """
    own = band.tiles[number].cols
    spare = layer.n + number + len(band.tiles) * (1 + places - len(own))
    return np.where(places < len(own), own[np.minimum(places, len(own) - 1)], spare)


def band_keys(layer: MappedLayer, band: Band) -> NDArray[np.int64]:
    """`column_keys` of a band's columns, one tile after the other."""
    if all(tile.places is None for tile in band.tiles):
        return band.cols
    return np.concatenate(
        [column_keys(layer, band, number, tile.at) for number, tile in enumerate(band.tiles)]
    )


def on_open_lines(
    layer: MappedLayer,
    band: Band,
    rows: NDArray[np.int64],
    tile: NDArray[np.int64],
    keys: NDArray[np.int64],
    seed: int,
    chip: int,
) -> NDArray[np.bool_]:
    """Cells on open lines: a word line of one tile and plane, a bit line of one band, plane and slice.

    Parameters
    ----------
    rows
        Word lines of the band.
    tile, keys
        Number of the tile of each column, and its `column_keys`.

    Returns
    -------
    Shape (planes, slices, rows, columns).
    """
    crossbar, encoding = layer.hardware.crossbar, layer.hardware.encoding
    found = np.zeros((encoding.planes, encoding.slices, len(rows), len(keys)), bool)
    if crossbar.p_open_wl + crossbar.p_open_bl == 0:
        return found
    for plane, slice_ in np.ndindex(found.shape[:2]):
        key = stream_key("open word line", seed, chip, layer.name, plane)
        open_wl = uniforms(key, rows, np.arange(len(band.tiles))) < crossbar.p_open_wl
        key = stream_key("open bit line", seed, chip, layer.name, plane, slice_)
        open_bl = uniforms(key, [band.first_row], keys) < crossbar.p_open_bl
        found[plane, slice_] = open_wl[:, tile] | open_bl
    return found


def decoded_weights(chip: ProgrammedNetwork, name: str) -> NDArray[np.float64]:
    """Weights that the programmed cells of the layer `name` hold, in the units of its weights, shape (k, n).

    A weight is 0 where there is no driven cell.
    """
    return decoded_layer(chip.layers[name])[0]


def decoded_layer(layer: ProgrammedLayer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights that the cells of a layer hold, shape (k, n), and those of its bias, (bias_rows, n).

    Both are 0 where there is no driven cell.
    """
    mapped, hardware = layer.mapped, layer.mapped.hardware
    assert mapped.scale is not None
    first_of_bias = mapped.groups * mapped.k
    w, bias = np.zeros((mapped.k, mapped.n)), np.zeros((mapped.bias_rows, mapped.n))
    bands = iter(layer.bands)
    for run in _runs(mapped.bands):
        g = np.concatenate([next(bands).conductances for _ in run], axis=2)
        band_rows, first = np.concatenate([band.rows for band in run]), run[0]
        cells, references = g[..., : len(first.cols)], g[0, ..., len(first.cols) :]
        reference = references[..., first.tile_of_column(False)] if references.shape[-1] else None
        held = mapped.scale[first.cols] * decode(cells, hardware.encoding, hardware.device, reference)
        if mapped.groups == 1 and not mapped.bias_rows:
            w[window(band_rows, first.cols)] = held
            continue
        own = mapped.holds(band_rows, first.cols)
        rows, cols = np.nonzero(own)
        w[band_rows[rows] % mapped.k, first.cols[cols]] = held[own]
        of_bias = np.flatnonzero(band_rows >= first_of_bias)
        bias[np.ix_(band_rows[of_bias] - first_of_bias, first.cols)] = held[of_bias]
    return w, bias
