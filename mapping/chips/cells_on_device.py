"""The cells of a layer on a device of torch: programmed there, chip after chip.

What a layer's tiles look like goes to the device once: where each cell stands, and the tables of its laws.
From then on the states of the weights become conductances, columns for the multiply and decoded weights
there. Nothing is copied to the host, and nothing grows with the number of chips.

The equations are those of `mapping.chips.chip` and `mapping.chips.columns`, and so are the words of all
draws: a seed gives the same chip, with conductances that are equal to rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapping.chips.chip import ProgrammedNetwork, band_keys
from mapping.chips.columns import (
    blocks,
    converter_noise,
    converters_of_columns,
    noise_in_steps,
    undriven_conductance,
)
from mapping.tiles.mapped import Band, MappedLayer
from mapping.tiles.reads import Read, reads_of_band
from xbar.conductances.draws import as_signed, normal_draws, row_keys, uniform_words, word_of
from xbar.conductances.encoding import codebook, slice_weights
from xbar.conductances.generator import mixed_places
from xbar.conductances.noise_laws import BOLTZMANN
from xbar.conductances.on_device import CellPlaces, CellTables, program_on_device
from xbar.conductances.programming import cell_laws
from xbar.conductances.rng import stream_key
from xbar.hardware.noise_kinds import read_form
from xbar.multiply.converters import accumulated_phases
from xbar.multiply.on_device import StackedColumns, stacked


def on_processor_alone(layer: MappedLayer, time: float) -> str | None:
    """Why the cells of a layer can only be programmed on the processor; None: they can on any device."""
    hardware = layer.hardware
    laws = cell_laws(hardware.device.conductances(), hardware.device, time)
    if hardware.crossbar.wired:
        return "its wires have resistance"
    if laws.left:
        return f"the {laws.left[0].replace('_', '-')} law of its device is given for arrays alone"
    if hardware.device.read_noise.acts and read_form(hardware.device) is None:
        return "the read noise law of its device is given for arrays alone"
    if hardware.adc.bandwidth and any(len(reads_of_band(b, hardware)) > 1 for b in layer.bands if b.tiles):
        return "thermal noise in reads of some of its word lines"
    return None


class _Part(NamedTuple):
    """A block of the multiply: a read of a band, and the band's columns that it has."""

    number: int
    band: Band
    read: Read
    columns: NDArray[np.int64]
    """Among the band's own columns and, after them, the references of its tiles."""


def _parts(layer: MappedLayer) -> Iterator[_Part]:
    references = layer.hardware.encoding.reference_columns > 0
    for number, band in enumerate(layer.bands):
        for read in reads_of_band(band, layer.hardware) if band.tiles else ():
            chosen = np.flatnonzero(np.isin(band.tile_of_column(references), read.tiles))
            if len(chosen):
                yield _Part(number, band, read, chosen)


class CellTensors(NamedTuple):
    """Conductances [S] of the cells of a layer, shape (planes, slices, B, R, C), and where there are any."""

    g: Tensor
    present: Tensor


class LayerCells:
    """Where the cells of a layer are, on one device, in B blocks of R word lines and C columns.

    Parameters
    ----------
    layer
        One for which there is no `on_processor_alone`.
    time
        Seconds after the write [s].
    """

    def __init__(self, layer: MappedLayer, time: float, device: torch.device) -> None:
        self.layer = layer
        self.device = device
        self.parts = tuple(_parts(layer))
        hardware = layer.hardware
        self.tables = CellTables.of(cell_laws(hardware.device.conductances(), hardware.device, time), device)
        self.book = codebook(hardware.encoding, hardware.device)
        self._states = torch.from_numpy(self._states_of_numbers()).to(device)
        weights = (layer.k + layer.bias_rows) * layer.n
        # A weight's number is 1 and more, 0 a cell that holds none; then: no cell, and a reference.
        self._none, self._reference = weights + 1, weights + 2
        lines, columns = self.size
        self._at = self.filled([self._cells_of(part) for part in self.parts], (lines, columns), self._none)
        rows = self.filled([part.band.rows[part.read.rows] for part in self.parts], (lines,), 0)
        self.keys = [self._keys_of(part)[part.columns] for part in self.parts]
        self.places = CellPlaces(rows, self._mixed(self.keys))
        ends = len(self.book.levels), 2 * len(self.book.levels) + 1, 2 * len(self.book.levels) + 2
        self._ends = torch.tensor(ends, dtype=torch.int32).to(device)
        self._subtracted = self._references() if hardware.encoding.reference_columns else None
        self._place = torch.from_numpy(slice_weights(hardware.encoding, hardware.device)).float().to(device)
        if hardware.crossbar.p_open_wl + hardware.crossbar.p_open_bl > 0:
            tiles = [self._tiles_of(part) for part in self.parts]
            first = [np.array([part.band.first_row]) for part in self.parts]
            self._word_lines = CellPlaces(rows, self._mixed(tiles))
            self._bit_lines = CellPlaces(self.filled(first, (1,), 0), self.places.columns)

    @property
    def size(self) -> tuple[int, int]:
        """R and C: word lines and columns of the largest block."""
        lines = max((len(part.read.rows) for part in self.parts), default=0)
        return lines, max((len(part.columns) for part in self.parts), default=0)

    def filled(self, parts: Sequence[NDArray[Any]], shape: tuple[int, ...], fill: float) -> Tensor:
        """Arrays one above the other, filled up to the shape, on the device."""
        made = np.full((len(parts), *shape), fill, parts[0].dtype if parts else np.int64)
        for whole, part in zip(made, parts, strict=True):
            whole[tuple(map(slice, part.shape))] = part
        return torch.from_numpy(made).to(self.device)

    def _mixed(self, places: Sequence[NDArray[np.int64]]) -> Tensor:
        """Places of columns as draws take them, shape (B, C)."""
        return self.filled([mixed_places(each).view(np.int32) for each in places], self.size[1:], 0)

    def _states_of_numbers(self) -> NDArray[np.int64]:
        """State of the cells of each state number from the least on, and then of no cell and of a reference,
        shape (planes, slices, numbers); -1: none."""
        encoding, book = self.layer.hardware.encoding, self.book
        digits = book.digits.astype(np.int64)
        if encoding.unformed:
            digits[len(book.levels)] = -1
        ends = np.full((2, *digits.shape[1:]), -1)
        if len(book.reference):
            ends[1, 0] = book.reference
        return np.ascontiguousarray(np.concatenate([digits, ends]).transpose(1, 2, 0))

    def _cells_of(self, part: _Part) -> NDArray[np.int32]:
        """Numbers that the cells of a block hold: that of a weight, 0, or one of the two after them."""
        layer, band = self.layer, part.band
        numbers = np.arange(1, self._none, dtype=np.int32).reshape(layer.k + layer.bias_rows, layer.n)
        rows, driven = band.rows[part.read.rows], band.built()[part.read.rows]
        held = layer.on_cells(numbers[: layer.k], numbers[layer.k :], rows, band.cols)
        if layer.hardware.encoding.reference_columns:
            references = np.full((len(rows), len(band.tiles)), self._reference, np.int32)
            held = np.concatenate([held, references], axis=1)
            driven = np.concatenate([driven, driven[:, band.tile_starts]], axis=1)
        return np.where(driven, held, np.int32(self._none))[:, part.columns]

    def _keys_of(self, part: _Part) -> NDArray[np.int64]:
        """Keys of the noise of a band's columns and references."""
        layer, band = self.layer, part.band
        keys = band_keys(layer, band)
        if layer.hardware.encoding.reference_columns:
            keys = np.concatenate([keys, layer.n + np.arange(len(band.tiles))])
        return keys

    def _tiles_of(self, part: _Part) -> NDArray[np.int64]:
        references = self.layer.hardware.encoding.reference_columns > 0
        return part.band.tile_of_column(references)[part.columns]

    def _references(self) -> Tensor:
        """Place of the reference column of each column's tile, shape (B, C)."""
        found = []
        for part in self.parts:
            tiles, own = self._tiles_of(part), int((part.columns < len(part.band.cols)).sum())
            found.append(own + np.searchsorted(tiles[own:], tiles))
        return self.filled(found, self.size[1:], 0)

    def programmed(self, state: Tensor, seed: int, chip: int) -> CellTensors:
        """The cells of one chip.

        Parameters
        ----------
        state
            State numbers of the weights and, below them, of the bias, int32, shape (k + bias_rows, n).
        seed, chip
            Keys of the noise.
        """
        zero, ends = self._ends[:1], self._ends[1:]
        numbers = torch.cat([zero, state.flatten() + zero, ends])[self._at]
        index = self._states[:, :, numbers]
        g = program_on_device(index, self.tables, self.places, (seed, chip, self.layer.name))
        present = index >= 0
        crossbar = self.layer.hardware.crossbar
        if crossbar.p_open_wl + crossbar.p_open_bl > 0:
            present = present & ~self._open(seed, chip, index.shape[:2])
            g = torch.where(present, g, 0.0)
        return CellTensors(g, present)

    def _open(self, seed: int, chip: int, shape: Sequence[int]) -> Tensor:
        """Cells on open lines; see `mapping.chips.chip.on_open_lines`."""
        name, crossbar = self.layer.name, self.layer.hardware.crossbar
        planes = [stream_key("open word line", seed, chip, name, p) for p in range(shape[0])]
        slices = [
            stream_key("open bit line", seed, chip, name, p, s) for p, s in np.ndindex(shape[0], shape[1])
        ]
        found = []
        for keys, (rows, columns), share in (
            (as_signed(planes)[:, None], self._word_lines, crossbar.p_open_wl),
            (as_signed(slices).view(*shape), self._bit_lines, crossbar.p_open_bl),
        ):
            of_rows = row_keys(keys.to(self.device)[..., None, None], rows)[..., None]
            found.append(uniform_words(of_rows, columns[:, None]) < word_of(share))
        return found[0] | found[1]

    def decoded(self, g: Tensor, scale: Tensor) -> Tensor:
        """Weights that cells hold, and below them those of the bias, shape (k + bias_rows, n); 0 where there
        is no driven cell. `scale` of the columns, shape (n,)."""
        layer, hardware = self.layer, self.layer.hardware
        if self._subtracted is None:
            zero = g[1]
        else:
            zero = g[0].gather(-1, self._subtracted[:, None].expand(g.shape[1:]))
        held = ((g[0] - zero) * self._place[:, None, None, None]).sum(0) / hardware.device.unit
        w = held.new_zeros(self._reference + 1)
        w[self._at] = held  # numbers other than those of weights take what they get
        return w[1 : self._none].view(layer.k + layer.bias_rows, layer.n) * scale


class LayerColumns:
    """Columns of a layer's tiles for the multiply, of one chip after the other, on a device.

    Parameters
    ----------
    cells
        Cells of the layer.
    chip
        Any chip of the mapping, whose layer is calibrated.
    """

    def __init__(self, cells: LayerCells, chip: ProgrammedNetwork) -> None:
        self.cells = cells
        layer, device = cells.layer, cells.device
        hardware = layer.hardware
        adc, encoding = hardware.adc, hardware.encoding
        self._planes = encoding.converted_planes
        groups = self._planes * encoding.slices
        of_chip = blocks(chip, layer.name)
        self.columns = stacked(of_chip, layer.inputs, layer.n, groups).to(device)
        self._form = read_form(hardware.device) if self.columns.variance is not None else None
        if adc.bandwidth:
            unread = [np.broadcast_to(self._undriven(part), len(part.columns)) for part in cells.parts]
            noise = [self._converter_noise(part).reshape(groups, -1) for part in cells.parts]
            width = cells.size[1]
            self._unread = cells.filled(unread, (width,), 0).float()
            self._floor = cells.filled(noise, (groups, width), 0).float().flatten(1)
        if adc.noise_lsb and self.columns.gain is not None:
            noise = [self._noise_in_steps(part).reshape(groups, -1) for part in cells.parts]
            self._in_steps = cells.filled(noise, (groups, cells.size[1]), 0).float().flatten(1)
        if self.columns.gain is not None and (adc.gain_sigma or adc.offset_sigma):
            which = [self._converters(part).reshape(groups, -1) for part in cells.parts]
            mixed = [mixed_places(each).view(np.int32) for each in which]
            rows = [2 * part.band.first_row + np.arange(2) for part in cells.parts]
            columns = cells.filled(mixed, (groups, cells.size[1]), 0).flatten(1)
            self._converter_places = CellPlaces(cells.filled(rows, (2,), 0), columns)

    def _undriven(self, part: _Part) -> NDArray[np.float64]:
        found = undriven_conductance(self.cells.layer, part.band)
        return found[part.columns] if len(found) > 1 else found

    def _converter_noise(self, part: _Part) -> NDArray[np.float64]:
        found = converter_noise(self.cells.layer, part.number)
        return self._of_read(found, part)

    def _noise_in_steps(self, part: _Part) -> NDArray[np.float64]:
        return self._of_read(noise_in_steps(self.cells.layer, part.number), part)

    def _converters(self, part: _Part) -> NDArray[np.int64]:
        return self._of_read(converters_of_columns(self.cells.layer, part.band), part)

    def _of_read(self, values: NDArray[Any], part: _Part) -> NDArray[Any]:
        """Values of a band's columns, plane after plane and slice after slice, of those that a read has."""
        slices = self.cells.layer.hardware.encoding.slices
        return values.reshape(self._planes * slices, -1)[:, part.columns]

    def _flat(self, values: Tensor) -> Tensor:
        """(planes, slices, B, R, C) as (B, R, planes slices C)."""
        return values.permute(2, 3, 0, 1, 4).flatten(2).contiguous()

    def _together(self, values: Tensor) -> Tensor:
        """Sums over planes, where these are one column."""
        return values if self._planes == len(values) else values.sum(0, keepdim=True)

    def of_chip(self, cells: CellTensors, seed: int, chip: int) -> StackedColumns:
        """The columns of one chip of these cells."""
        layer, unit = self.cells.layer, self.cells.layer.hardware.device.unit
        seen = cells.g if self._planes == len(cells.g) else (cells.g[0] - cells.g[1])[None]
        changed: dict[str, Any] = {"weights": self._flat(seen / unit)}
        if self._form is not None:
            constant, slope = self._form
            sigma = torch.where(cells.present, (constant + slope * cells.g) / unit, 0.0)
            changed["variance"] = self._flat(self._together(sigma.square()))
        if self.columns.keys is not None:
            parts = self.cells.parts
            keys = [stream_key("read", seed, chip, layer.name, part.read.first_row) for part in parts]
            changed["keys"] = as_signed(keys).to(self.cells.device)
            if layer.hardware.adc.bandwidth:
                changed["floor"] = self._thermal(cells.g) + self._floor
        return dataclasses.replace(self.columns, **changed, **self._errors(seed, chip))

    def on_ranges(self, columns: StackedColumns, factor: Tensor) -> StackedColumns:
        """Columns of a chip whose ADC ranges are `factor`, shape (), times those of the calibration."""
        if columns.gain is None:
            return columns
        assert columns.step is not None
        changed: dict[str, Any] = {"gain": columns.gain / factor, "step": columns.step * factor}
        if self.cells.layer.hardware.adc.noise_lsb:
            assert columns.floor is not None
            changed["floor"] = columns.floor + (factor.square() - 1) * self._in_steps
        return dataclasses.replace(columns, **changed)

    def _thermal(self, g: Tensor) -> Tensor:
        """Variance of the thermal noise of each column, shape (B, planes slices C)."""
        layer, hardware = self.cells.layer, self.cells.layer.hardware
        assert layer.calibration is not None
        ampere = hardware.dac.v_read * hardware.device.unit
        factor = 4 * BOLTZMANN * hardware.adc.temperature * hardware.adc.bandwidth / ampere**2
        factor *= accumulated_phases(hardware, layer.calibration.signed)
        siemens = self._together(g.sum(3) + self._unread)
        return siemens.permute(2, 0, 1, 3).flatten(1) * factor

    def _errors(self, seed: int, chip: int) -> dict[str, Any]:
        """Gain and offset of the converters of a chip, where these have random errors."""
        columns, adc = self.columns, self.cells.layer.hardware.adc
        if columns.gain is None or not (adc.gain_sigma or adc.offset_sigma):
            return {}
        assert columns.step is not None
        key = as_signed([stream_key("converters", seed, chip, self.cells.layer.name)]).to(self.cells.device)
        rows, places = self._converter_places
        draws = normal_draws(row_keys(key, rows)[..., None], places[:, None])  # (B, 2, columns)
        gain = torch.where(columns.step > 0, (1 + adc.gain_sigma * draws[:, 0]) / columns.step, 0.0)
        return {"gain": gain, "offset": adc.offset_sigma * draws[:, 1]}
