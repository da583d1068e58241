"""Chips whose cells have the conductances that an instrument measured, in place of drawn ones."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapping.chips.chip import ProgrammedBand, ProgrammedLayer, ProgrammedNetwork, cells_to_write
from mapping.chips.wires import whole_tiles
from mapping.lab.target_files import Targets, index_of, tile_targets
from mapping.tiles.mapped import Band, MappedLayer, MappedNetwork
from xbar.hardware.errors import XbarError, unknown_name

Missing = Literal["refuse", "target"]
Measured = Mapping[str, Sequence[ArrayLike]]
SHORT = 1.0
"""Largest conductance of a cell, shorted or not [S]: an ohm, less than its lines and contacts have."""
BEYOND = 30.0
"""Cells may typically have this many times their target: less than the step of 1000 to the next unit."""


def with_conductances(
    of: MappedNetwork | ProgrammedNetwork, measured: Measured | Path | str, missing: Missing = "refuse"
) -> ProgrammedNetwork:
    """A chip whose cells have measured conductances; its wires and its read noise follow from them.

    Parameters
    ----------
    of
        What was programmed: a mapping (the chip then has seed and number 0 and the earliest time that the
        device's data describe), or a chip, whose keys and time it keeps. Factors of a compensation are left
        out: they belong to the cells that they were fitted on.
    measured
        By layer name, for each band in order, conductances [S] in the shape of
        `ProgrammedNetwork.conductances`; NaN where a cell was not measured. A layer that is not named was not
        measured. Or the folder of an `export_conductances`, with measured numbers in place of the targets, in
        npz or CSV files (an empty field of a CSV file is NaN). Numbers keep their precision, float32 or
        float64.
    missing
        Cells that were not measured are refused (``refuse``) or have their target (``target``).

    Cells that no weight uses, which files have too, count as at g_min wherever they act, that is behind wires
    and on read noise: their numbers are not read.

    Raises
    ------
    XbarError
        For layers, bands, shapes or files that do not fit the mapping; for conductances that are negative,
        above 1 S, in another unit (half of a band's cells at more than 30 times their targets), or missing;
        for a conductance where the mapping has no cell.
    """
    if missing not in get_args(Missing):
        raise unknown_name("missing", str(missing), get_args(Missing))
    mapped = of.mapped if isinstance(of, ProgrammedNetwork) else of
    if not isinstance(mapped, MappedNetwork):
        raise XbarError(f"of: a {type(of).__name__}; must be a MappedNetwork or a ProgrammedNetwork")
    where = str(measured) if isinstance(measured, Path | str) else "measured"
    given = read_conductances(mapped, Path(where)) if isinstance(measured, Path | str) else measured
    for name in given:
        if name not in mapped.layers:
            raise unknown_name(f"{where}: layer", str(name), mapped.layers)
    single = all(np.asarray(g).dtype == np.float32 for bands in given.values() for g in bands)
    unknown = (np.float32 if single else np.float64)(np.nan)
    layers = {}
    for name, layer in mapped.layers.items():
        bands = given.get(name, [unknown] * len(layer.bands))
        if len(bands) != len(layer.bands):
            raise XbarError(f"{where}: {name}: {len(bands)} bands; the layer has {len(layer.bands)}")
        cells = [
            _cells(layer, band, g, missing, f"{where}: {name}: band {number}")
            for number, (band, g) in enumerate(zip(layer.bands, bands, strict=True))
        ]
        if isinstance(of, ProgrammedNetwork):
            cells = [_on_chip(*pair) for pair in zip(cells, of.layers[name].bands, strict=True)]
        layers[name] = ProgrammedLayer(layer, tuple(cells))
    if isinstance(of, ProgrammedNetwork):
        return ProgrammedNetwork(mapped, of.seed, of.chip, of.time, layers)
    time = max(layer.hardware.device.first_time for layer in mapped.layers.values())
    return ProgrammedNetwork(mapped, 0, 0, time, layers)


def _on_chip(measured: ProgrammedBand, before: ProgrammedBand) -> ProgrammedBand:
    """Measured cells of a chip: one behind a line that is open on it is no device as long as it conducts
    nothing."""
    devices = measured.devices & (before.devices | (measured.conductances != 0))
    return dataclasses.replace(measured, devices=devices)


def _cells(
    layer: MappedLayer, band: Band, measured: ArrayLike, missing: Missing, where: str
) -> ProgrammedBand:
    """The cells of a band, with their targets for those that were not measured."""
    states, _ = cells_to_write(layer, band)
    given = np.asarray(measured)
    if given.dtype.kind not in "iuf":
        raise XbarError(f"{where}: must be real numbers, not {given.dtype}")
    g: NDArray[Any] = np.array(given, np.float32 if given.dtype == np.float32 else np.float64)
    if g.ndim == 0:
        g = np.full(states.shape, g)
    if g.shape != states.shape:
        raise XbarError(
            f"{where}: shape {g.shape}; must be {states.shape}: planes, slices, word lines, columns"
        )
    present, device = states >= 0, layer.hardware.device
    window = f"in S: the window of {device.name!r} is {device.g_min:g} to {device.g_max:g} S"
    nowhere = ~present & ~np.isnan(g) & (g != 0)
    if nowhere.any():
        raise XbarError(f"{where}: {_cell(g, nowhere)}, where the mapping has no cell; must be 0 or NaN")
    known = present & ~np.isnan(g)
    wrong = known & ~((g >= 0) & (g <= SHORT))
    if wrong.any():
        raise XbarError(
            f"{where}: {_cell(g, wrong)}; must be at least 0 and at most {SHORT:g} (a short of an ohm), "
            f"{window}"
        )
    targets = np.where(present, device.conductances()[states], 0.0)
    conducting = known & (targets > 0)
    times = float(np.median(g[conducting] / targets[conducting])) if conducting.any() else 1.0
    if times > BEYOND:
        raise XbarError(
            f"{where}: half of its cells have more than {times:.3g} times their targets; conductances are "
            f"{window}"
        )
    unknown = present & np.isnan(g)
    if unknown.any() and missing == "refuse":
        raise XbarError(
            f"{where}: {int(unknown.sum())} of {int(present.sum())} cells are not measured (NaN); "
            "missing = 'target' gives them their targets"
        )
    g[unknown] = targets[unknown]
    g[~present] = 0
    return ProgrammedBand(band, g, present)


def _cell(g: NDArray[Any], which: NDArray[np.bool_]) -> str:
    """The first of some cells in words."""
    plane, slice_, row, column = (int(at[0]) for at in np.nonzero(which))
    value = g[plane, slice_, row, column]
    return f"{value:g} S in plane {plane}, slice {slice_}, word line {row}, column {column}"


def read_conductances(mapped: MappedNetwork, folder: Path) -> dict[str, list[NDArray[np.float64]]]:
    """Conductances of the files of an `export_conductances`, as `with_conductances` takes them.

    Raises
    ------
    XbarError
        For a folder without an index of this mapping, and for files that cannot be read or do not fit it.
    """
    files = _listed(mapped, folder)
    found = {}
    for name, layer in mapped.layers.items():
        bands = []
        for number, band in enumerate(layer.bands):
            shape = cells_to_write(layer, band)[0].shape
            tiles = whole_tiles(layer, band, np.zeros(shape))
            values = np.full(tiles.g.shape, np.nan)
            for tile, plane in np.ndindex(values.shape[:2]):
                file = files.get((name, number, tile, plane))
                if file is not None:
                    values[tile, plane] = _read(file, tile_targets(layer, band, tile))
            bands.append(tiles.of_band(values, shape))
        found[name] = bands
    return found


def _listed(mapped: MappedNetwork, folder: Path) -> dict[tuple[Any, ...], Path]:
    """Files by layer, band, tile and plane. A file that is listed and not there was not measured."""
    path = folder / "index.json"
    expected = json.loads(json.dumps(index_of(mapped, [])))
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        parts = {key: index[key] for key in ("format", "version", "unit")}
        layers, listed = dict(index["layers"]), [dict(entry) for entry in index["tiles"]]
        places = [(e["layer"], e["band"], e["tile"], e["plane"], folder / e["file"]) for e in listed]
    except OSError as error:
        raise XbarError(f"{path}: cannot be read ({error.strerror}); export_conductances writes it") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise XbarError(f"{path}: is not an index of export_conductances ({error!r})") from None
    for key, value in parts.items():
        if value != expected[key]:
            raise XbarError(f"{path}: {key} = {value!r}; must be {expected[key]!r}")
    for name, layer in expected["layers"].items():
        if layers.get(name) != layer:
            keys = [key for key in layer if layers.get(name, {}).get(key) != layer[key]]
            raise XbarError(f"{path}: layer {name!r}: {', '.join(keys)} differ from the mapping's")
    return {(*place,): file for *place, file in places if file.exists()}


def _read(file: Path, targets: Targets) -> NDArray[np.float64]:
    """Conductances of one tile and plane, whose lines must be those of the mapping."""
    reader = READERS.get(file.suffix)
    if reader is None:
        raise XbarError(f"{file}: must be one of {', '.join(READERS)}")
    try:
        conductance, *lines = reader(file.read_bytes())
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise XbarError(f"{file}: cannot be read ({error})") from None
    for what, found, wanted in zip(
        ("row", "column", "slice"), lines, (targets.rows, targets.columns, targets.slices), strict=True
    ):
        if not np.array_equal(found, wanted):
            raise XbarError(f"{file}: {what} differs from the mapping's; the file is of another tile")
    if conductance.shape != targets.conductances.shape[1:]:
        raise XbarError(
            f"{file}: conductance of shape {conductance.shape}; must be {targets.conductances.shape[1:]}"
        )
    return np.asarray(conductance, np.float64)


def _npz(content: bytes) -> tuple[NDArray[Any], ...]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return tuple(file[key] for key in ("conductance", "row", "column", "slice"))


def _csv(content: bytes) -> tuple[NDArray[Any], ...]:
    lines = [line.split(",") for line in content.decode().splitlines() if line.strip()]
    head = {line[0].strip(): np.array(line[1:], np.int64) for line in lines[:2]}
    rows = np.array([line[0] for line in lines[2:]], np.int64)
    cells = [[float(field) if field.strip() else np.nan for field in line[1:]] for line in lines[2:]]
    return np.array(cells), rows, head["column"], head["slice"]


READERS: dict[str, Callable[[bytes], tuple[NDArray[Any], ...]]] = {".npz": _npz, ".csv": _csv}
