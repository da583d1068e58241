"""Target conductances as files, one a tile and plane, for the instrument that programs real arrays."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapping.chips.wires import bit_lines
from mapping.tiles.mapped import Band, MappedLayer, MappedNetwork
from xbar.conductances.encoding import reference_conductances, slice_weights, target_conductances
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError, unknown_name
from xbar.hardware.files import write_atomically

VERSION = 2
SPARE, REFERENCE = -1, -2
"""Indices of lines that carry no weights."""


@dataclass(frozen=True)
class Targets:
    """The conductances to write to the array of one tile.

    Parameters
    ----------
    conductances
        Target of every cell in its physical place [S], shape (planes, rows, cols) of the crossbar: g_min
        where no weight is; 0 where there shall be no device (`encoding.unformed`).
    rows
        Input of the layer on each word line, or `SPARE`. That is the GEMM row k; g K + k for group g; numbers
        from groups K on are those of a bias.
    columns
        GEMM column n on each bit line, `SPARE`, or `REFERENCE`.
    slices
        Slice that each bit line holds, 0 the most significant, or `SPARE`.
    """

    conductances: NDArray[np.float64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    slices: NDArray[np.int64]


def tile_targets(layer: MappedLayer, band: Band, number: int) -> Targets:
    """Targets of tile `number` of a band.

    Raises
    ------
    XbarError
        For a mapping without weights.
    """
    tile, hardware = band.tiles[number], layer.hardware
    crossbar, encoding = hardware.crossbar, hardware.encoding
    cells = target_conductances(layer.states(tile.rows, tile.cols), encoding, hardware.device)
    columns = tile.cols
    if encoding.reference_columns:
        zero = reference_conductances(encoding, hardware.device)[None, :, None, None]
        cells = np.concatenate([cells, np.broadcast_to(zero, (*cells.shape[:3], 1))], axis=3)
        columns = np.append(columns, REFERENCE)
    word_lines, lines = tile.rows - band.first_row, bit_lines(layer, tile)
    g = np.full(
        (encoding.planes, crossbar.rows, crossbar.cols), 0.0 if encoding.unformed else hardware.device.g_min
    )
    g[:, word_lines[:, None, None], lines.T[None]] = cells.transpose(0, 2, 3, 1)
    found = Targets(g, *(np.full(size, SPARE) for size in (crossbar.rows, crossbar.cols, crossbar.cols)))
    found.rows[word_lines] = tile.rows
    found.columns[lines] = columns
    found.slices[lines] = np.arange(encoding.slices)[:, None]
    return found


def export_conductances(mapped: MappedNetwork, folder: Path | str, format: str = "npz") -> None:
    """Write the targets of every tile and plane, and last `index.json`, which names the files.

    The index also has what the weights follow from: of each layer its scales q (one for each GEMM column),
    K, N, groups, states [S], encoding, and the place value of each slice.

    Parameters
    ----------
    folder
        A new or empty one.
    format
        ``npz``: arrays ``conductance`` [S], ``row``, ``column``, ``slice`` as in `Targets`. ``csv``: a line
        of columns, a line of slices, then for each word line its row and its conductances.

    Raises
    ------
    XbarError
        For a mapping without weights, an unknown format, or a folder that is not empty.
    """
    if not isinstance(mapped, MappedNetwork):
        raise XbarError(
            f"mapped: a {type(mapped).__name__}; must be a MappedNetwork (of a chip: its `mapped`)"
        )
    if format not in WRITERS:
        raise unknown_name("format", format, WRITERS)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise XbarError(f"{folder}: is not an empty folder; the conductances need one of their own")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for entry in tiles_and_planes(mapped):
        file = f"{entry.stem}.{format}"
        layer = mapped.layers[entry.layer]
        targets = tile_targets(layer, layer.bands[entry.band], entry.tile)
        write_atomically(folder / file, WRITERS[format](targets, entry.plane))
        files.append({**entry.place, "file": file})
    write_atomically(folder / "index.json", json.dumps(index_of(mapped, files), indent=1).encode())


class TilePlane(NamedTuple):
    """One physical array of a mapping: a plane of a tile. `stem` is the name of its file, without its end."""

    layer: str
    band: int
    tile: int
    plane: int
    stem: str

    @property
    def place(self) -> dict[str, Any]:
        """The place of the plane, as an index lists it."""
        return {"layer": self.layer, "band": self.band, "tile": self.tile, "plane": self.plane}


def tiles_and_planes(mapped: MappedNetwork) -> Iterator[TilePlane]:
    """All arrays of a mapping, in the order of layers, bands, tiles and planes."""
    for place, (name, layer) in enumerate(mapped.layers.items()):
        title = re.sub(r"[^\w.-]", "_", name)
        for number, band in enumerate(layer.bands):
            for tile, plane in np.ndindex(len(band.tiles), layer.hardware.encoding.planes):
                stem = f"{place}-{title}-band{number}-tile{tile}-plane{plane}"
                yield TilePlane(name, number, tile, plane, stem)


def index_of(mapped: MappedNetwork, files: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of `index.json`: figures of the layers, and the files."""
    layers = {
        name: {
            "k": layer.k,
            "n": layer.n,
            "groups": layer.groups,
            "bias_rows": layer.bias_rows,
            "scale": None if layer.scale is None else layer.scale.tolist(),
            "hardware": _keys(layer.hardware),
        }
        for name, layer in mapped.layers.items()
    }
    return {
        "format": "xbar conductances",
        "version": VERSION,
        "unit": "S",
        "spare": SPARE,
        "reference": REFERENCE,
        "layers": layers,
        "tiles": files,
    }


def _keys(hardware: Hardware) -> dict[str, Any]:
    device = hardware.device
    return {
        "name": hardware.name,
        "device": device.name,
        "g_min": device.g_min,
        "g_max": device.g_max,
        "states": device.conductances().tolist(),
        "encoding": dataclasses.asdict(hardware.encoding),
        "place_values": slice_weights(hardware.encoding, device).tolist(),
    }


def _npz(targets: Targets, plane: int) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(
        file,
        conductance=targets.conductances[plane],
        row=targets.rows,
        column=targets.columns,
        slice=targets.slices,
    )
    return file.getvalue()


def _csv(targets: Targets, plane: int) -> bytes:
    body = zip(targets.rows.tolist(), targets.conductances[plane].tolist(), strict=True)
    lines = [
        ["column", *targets.columns.tolist()],
        ["slice", *targets.slices.tolist()],
        *([row, *cells] for row, cells in body),
    ]
    return "".join(",".join(map(str, line)) + "\n" for line in lines).encode()


WRITERS: dict[str, Callable[[Targets, int], bytes]] = {"npz": _npz, "csv": _csv}
