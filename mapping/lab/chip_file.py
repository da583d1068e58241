"""A chip, or a mapping, as a file: safetensors whose header holds the rest as JSON; no code runs on loading.

A file has what the crossbars of a network are and hold. What stays digital (other modules, the network's
code) is the user's own state dict and class.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mapping.chips.chip import CellArrays, ProgrammedBand, ProgrammedLayer, ProgrammedNetwork
from mapping.tiles.dataflow import Dataflow
from mapping.tiles.mapped import Band, MappedLayer, MappedNetwork
from mapping.tiles.plain_data import Arrays, put_together, taken_apart
from xbar.conductances.encoding import levels
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError
from xbar.machine.sealed_files import check_sealed, write_sealed

VERSION = 5
"""Version of the format, raised when a file of the one before would be read wrongly, or not at all."""

KINDS = ("chip", "mapping")


@dataclass(frozen=True)
class _MappingFile:
    """A `MappedNetwork` as its file has it.

    The hardware of most layers is written once, that of the others by layer name; `layers` are the fields of
    `MappedLayer` without it.
    """

    hardware: Hardware
    layers: Mapping[str, dict[str, Any]]
    own_hardware: Mapping[str, Hardware]
    digital_elements: Mapping[str, int]
    digital_macs: Mapping[str, int]
    digital_unknown: Mapping[str, int]
    digital_operations: Mapping[str, Mapping[str, int]]
    modules: Mapping[str, str]
    dataflow: Dataflow | None

    @staticmethod
    def of(mapped: MappedNetwork) -> _MappingFile:
        names = [field.name for field in dataclasses.fields(MappedLayer) if field.name != "hardware"]
        return _MappingFile(
            mapped.hardware,
            {key: {name: getattr(layer, name) for name in names} for key, layer in mapped.layers.items()},
            mapped.own_hardware,
            mapped.digital_elements,
            mapped.digital_macs,
            mapped.digital_unknown,
            mapped.digital_operations,
            mapped.modules,
            mapped.dataflow,
        )

    def mapped(self, kind: str, path: Path, arrays: Arrays) -> MappedNetwork:
        """The mapping, whose layers fit together and the hardware."""
        for name in self.own_hardware:
            if name not in self.layers:
                raise XbarError(f"{path}: own_hardware/{name}: there is no such layer")
        shared = {hardware: hardware for hardware in (*self.own_hardware.values(), self.hardware)}
        layers = {}
        for name, data in self.layers.items():
            hardware = shared[self.own_hardware.get(name, self.hardware)]
            where = f"{path}: {kind}/layers/{name}"
            layers[name] = layer = put_together(MappedLayer, data, where, arrays, hardware=hardware)
            if layer.name != name:
                raise XbarError(f"{path}: layer {name}: is called {layer.name!r}")
            _check_layer(layer, f"{path}: layer {name}")
        _check_dataflow(self.dataflow, layers, f"{path}: dataflow")
        return MappedNetwork(
            self.hardware,
            layers,
            self.digital_elements,
            self.digital_macs,
            self.digital_unknown,
            self.digital_operations,
            self.modules,
            self.dataflow,
        )


@dataclass(frozen=True)
class _ChipFile:
    """A `ProgrammedNetwork` as its file has it: cells and factors by layer name, cells for each band."""

    mapped: _MappingFile
    seed: int
    chip: int
    time: float
    conductances: Mapping[str, tuple[CellArrays, ...]]
    devices: Mapping[str, tuple[NDArray[np.bool_], ...]]
    compensation: Mapping[str, NDArray[np.float64]]

    @staticmethod
    def of(chip: ProgrammedNetwork) -> _ChipFile:
        return _ChipFile(
            _MappingFile.of(chip.mapped),
            chip.seed,
            chip.chip,
            chip.time,
            chip.conductances,
            {name: tuple(band.devices for band in layer.bands) for name, layer in chip.layers.items()},
            {
                name: layer.compensation
                for name, layer in chip.layers.items()
                if layer.compensation is not None
            },
        )

    def programmed(self, path: Path, arrays: Arrays) -> ProgrammedNetwork:
        """The chip, whose cells fit its mapping."""
        mapped = self.mapped.mapped("chip/mapped", path, arrays)
        self._check_cells(mapped, str(path))
        layers = {}
        for name, layer in mapped.layers.items():
            cells = zip(layer.bands, self.conductances[name], self.devices[name], strict=True)
            bands = tuple(ProgrammedBand(*band) for band in cells)
            layers[name] = ProgrammedLayer(layer, bands, self.compensation.get(name))
        return ProgrammedNetwork(mapped, self.seed, self.chip, self.time, layers)

    def _check_cells(self, mapped: MappedNetwork, where: str) -> None:
        """Refuse cells that do not fit the mapping."""
        tables = {"conductances": self.conductances, "devices": self.devices}
        for name, layer in mapped.layers.items():
            encoding = layer.hardware.encoding
            lead = (encoding.planes, encoding.slices)
            shapes = [(*lead, len(band.rows), _columns(layer, band)) for band in layer.bands]
            for what, table in tables.items():
                if name not in table:
                    raise XbarError(f"{where}: {what}/{name}: missing")
                _check_shapes(table[name], shapes, f"{where}: {what}/{name}")
            _check_shape(self.compensation.get(name), (layer.n,), f"{where}: compensation/{name}")
        for what, entries in (*tables.items(), ("compensation", self.compensation)):
            for name in entries:
                if name not in mapped.layers:
                    raise XbarError(f"{where}: {what}/{name}: there is no such layer")


def save_chip(chip: ProgrammedNetwork, path: Path | str) -> None:
    """Write a chip with its mapping: the header's ``json`` names the arrays.

    The network on a chip that is loaded again gives the same outputs to the last bit.
    """
    _save("chip", _ChipFile.of(chip), Path(path))


def load_chip(path: Path | str) -> ProgrammedNetwork:
    """A chip that `save_chip` wrote.

    Raises
    ------
    XbarError
        For a missing or broken file, one of another kind or version, or entries that do not fit together.
    """
    file: _ChipFile
    file, arrays = _load("chip", _ChipFile, Path(path))
    return file.programmed(Path(path), arrays)


def save_mapping(mapped: MappedNetwork, path: Path | str) -> None:
    """Write a mapping, with or without weights and calibration."""
    _save("mapping", _MappingFile.of(mapped), Path(path))


def load_mapping(path: Path | str) -> MappedNetwork:
    """A mapping that `save_mapping` wrote; errors as those of `load_chip`."""
    file: _MappingFile
    file, arrays = _load("mapping", _MappingFile, Path(path))
    return file.mapped("mapping", Path(path), arrays)


def _save(kind: str, value: _ChipFile | _MappingFile, path: Path) -> None:
    arrays: Arrays = {}
    content = taken_apart(value, kind, arrays)
    header = {"format": f"xbar {kind}", "version": VERSION, kind: content}
    write_sealed(path, save, arrays, {"json": json.dumps(header)})


def _load(kind: str, hint: type, path: Path) -> tuple[Any, Arrays]:
    check_sealed(
        path, f"write it again with mapping.save_{kind}, or `xbar run --resume` where a run wrote it"
    )
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {}).get("json", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise XbarError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise XbarError(f"{path}: not a safetensors file, or a broken one ({error})") from None
    header = header if isinstance(header, dict) else {}
    found, version = header.get("format"), header.get("version")
    if found != f"xbar {kind}":
        other = next((one for one in KINDS if found == f"xbar {one}"), None)
        hint_for = f"a {other}; load it with mapping.load_{other}" if other else f"no {kind} of xbar"
        raise XbarError(f"{path}: holds {hint_for}")
    if version != VERSION:
        raise XbarError(f"{path}: format version {version}; this xbar reads version {VERSION}")
    return put_together(hint, header.get(kind), f"{path}: {kind}", arrays), arrays


def _check_layer(layer: MappedLayer, where: str) -> None:
    """Refuse arrays that do not fit each other or the hardware."""
    k, n, geometry, encoding = layer.k, layer.n, layer.geometry, layer.hardware.encoding
    if min(k, n, layer.groups, layer.bias_rows + 1) < 1 or n % layer.groups:
        raise XbarError(f"{where}: k = {k}, n = {n}, groups = {layer.groups}, bias_rows = {layer.bias_rows}")
    spread = math.prod(geometry.kernel) if geometry is not None and geometry.transposed else 1
    _check_shape(layer.mask, (k, n), f"{where}: mask")
    _check_shape(layer.zeros, (k, n), f"{where}: zeros")
    _check_shape(layer.state, (k, n), f"{where}: state")
    _check_shape(layer.bias_state, (layer.bias_rows, n), f"{where}: bias_state")
    _check_shape(layer.bias, (n // spread,), f"{where}: bias")
    largest = len(levels(encoding, layer.hardware.device))
    for part in (layer.state, layer.bias_state):
        if part is not None and part.size and max(-int(part.min()), int(part.max())) > largest:
            raise XbarError(f"{where}: state: numbers beyond the {largest} levels of the hardware")
    _check_shape(layer.scale, (n,), f"{where}: scale")
    if layer.state is not None and layer.scale is None:
        raise XbarError(f"{where}: scale: missing; weights need one")
    for number, band in enumerate(layer.bands):
        _check_band(layer, band, f"{where}: band {number}")
    steps = None if layer.calibration is None else layer.calibration.adc_steps
    if steps is not None:
        converted = encoding.converted_planes * encoding.slices
        sizes = [(converted * _columns(layer, band),) for band in layer.bands]
        _check_shapes(steps, sizes, f"{where}: adc_steps")


def _check_dataflow(dataflow: Dataflow | None, layers: Mapping[str, MappedLayer], where: str) -> None:
    """Refuse steps of layers that are not there, and waits for what comes later or is no position."""
    steps = () if dataflow is None else dataflow.steps
    for number, step in enumerate(steps):
        if step.positions < 1 or (step.is_layer and step.name not in layers):
            raise XbarError(f"{where}: step {number} ({step.name}): does not fit the layers")
        for wait in step.waits:
            fits = 0 <= wait.step < number and wait.last.shape == (step.positions,)
            if not fits or wait.last.min() < -1 or wait.last.max() >= steps[wait.step].positions:
                raise XbarError(f"{where}: step {number} ({step.name}): waits for what is not before it")


def _check_band(layer: MappedLayer, band: Band, where: str) -> None:
    hardware, last = layer.hardware, band.first_row + band.height
    if not 0 < band.height <= hardware.crossbar.rows or not 0 <= band.first_row <= last <= layer.inputs:
        raise XbarError(f"{where}: inputs {band.first_row} to {last - 1} do not fit the layer or the tile")
    for number, tile in enumerate(band.tiles):
        at, places = tile.at, hardware.column_places
        fits = {
            "rows": _ascending(tile.rows, band.first_row, last),
            "cols": _ascending(tile.cols, 0, layer.n),
            "places": len(at) == len(tile.cols) and _ascending(np.sort(at), 0, places),
        }
        for what, fit in fits.items():
            if not fit:
                raise XbarError(f"{where}: tile {number}: {what} do not fit the layer or the tile")


def _columns(layer: MappedLayer, band: Band) -> int:
    """Columns of a band in a plane and slice, with the tiles' references."""
    return len(band.cols) + (len(band.tiles) if layer.hardware.encoding.reference_columns else 0)


def _check_shapes(parts: tuple[NDArray[Any], ...], shapes: Sequence[tuple[int, ...]], where: str) -> None:
    if len(parts) != len(shapes):
        raise XbarError(f"{where}: of {len(parts)} bands; the layer has {len(shapes)}")
    for number, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
        _check_shape(part, shape, f"{where}/{number}")


def _check_shape(array: NDArray[Any] | None, shape: tuple[int, ...], where: str) -> None:
    if array is not None and array.shape != shape:
        raise XbarError(f"{where}: of shape {array.shape}; must be {shape}")


def _ascending(index: NDArray[np.int64], low: int, high: int) -> bool:
    """Whether there is an index, and all are different, ascending, from low to high - 1."""
    if index.ndim != 1 or not len(index):
        return False
    return bool((np.diff(index) > 0).all() and low <= index[0] and index[-1] < high)
