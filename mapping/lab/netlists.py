"""The tiles of a chip as SPICE netlists, with the voltages of one phase on their word lines."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from mapping.chips.calibration import layer_inputs
from mapping.chips.chip import ProgrammedNetwork
from mapping.chips.codes import layer_codes, vector_parts
from mapping.chips.wires import whole_tiles
from mapping.lab.target_files import REFERENCE, SPARE, Targets, tile_targets, tiles_and_planes
from mapping.network.inputs import Inputs
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from xbar.hardware.checks import as_floats, check_kind, check_whole
from xbar.hardware.errors import XbarError, unknown_name
from xbar.hardware.files import write_atomically
from xbar.hardware.iv import CellCurrent
from xbar.multiply.converters import phase_volts
from xbar.wires.circuit import Wires
from xbar.wires.netlist import spice_netlist

Volts = NDArray[np.float64]


def input_volts(mapped: MappedNetwork, model: nn.Module, x: Inputs, name: str) -> Volts:
    """Voltages of a layer's inputs for a batch, phase by phase [V], shape (phases, vectors, inputs).

    The layer sees what `model` gives it, which runs in torch without crossbars. The vectors of a convolution
    are the positions of the first image, then those of the next.

    Parameters
    ----------
    mapped
        Calibrated.
    model
        The network that was mapped.

    Raises
    ------
    XbarError
        For an unknown layer, a mapping that is not calibrated, and a model that is not the network that was
        mapped.
    """
    layer = _layer(mapped, name)
    if layer.calibration is None:
        raise XbarError(f"{name}: not calibrated; call mapping.calibrate(mapped, model, batches) first")
    parts = []
    for values in layer_inputs(mapped, model, [(x, torch.empty(0))])[name]:
        codes = layer_codes(values.cpu().numpy(), layer)[0]
        parts += [vectors for _, vectors in vector_parts(codes, layer, codes.size)]
    return phase_volts(layer.hardware, layer.calibration.signed, np.concatenate(parts))


def tile_netlist(
    chip: ProgrammedNetwork,
    name: str,
    band: int = 0,
    tile: int = 0,
    plane: int = 0,
    *,
    volts: ArrayLike | None = None,
    wires: Wires | None = None,
    iv: CellCurrent | None = None,
) -> str:
    """Netlist of one array of a chip, all its cells in their physical places (`xbar.spice_netlist`).

    Spare cells are at g_min and undriven word lines at 0 V, as in the simulation; there is no device where a
    masked weight is unformed, a bit line is gated, or a line is broken. Comments name the column and slice
    of each bit line. The netlist has no noise of reads and no converter.

    Parameters
    ----------
    name
        Name of the layer.
    band, tile, plane
        Numbers of the array among those of the layer, from 0.
    volts
        Voltages of the layer's inputs in one phase [V], shape (inputs,), such as one vector of `input_volts`;
        None: `dac.v_read` on all of them.
    wires, iv
        In place of those of the hardware, which has no other cells than ohmic ones behind wires.

    Raises
    ------
    XbarError
        For a layer or array that is not there, and voltages of another shape.
    """
    check_kind("chip", chip, ProgrammedNetwork)
    mapped = _layer(chip.mapped, name)
    bands = chip.layers[name].bands
    _check_number(f"{name}: band", band, len(bands))
    cells = bands[band]
    _check_number(f"{name}: band {band}: tile", tile, len(cells.mapped.tiles))
    _check_number(f"{name}: plane", plane, mapped.hardware.encoding.planes)
    crossbar, v_read = mapped.hardware.crossbar, mapped.hardware.dac.v_read
    given = as_floats("volts", np.full(mapped.inputs, v_read) if volts is None else volts)
    if given.shape != (mapped.inputs,):
        raise XbarError(f"volts: shape {given.shape}; {name} has inputs ({mapped.inputs},), in V")
    rows = cells.mapped.tiles[tile].rows
    on_lines = np.zeros(crossbar.rows)
    on_lines[rows - cells.mapped.first_row] = given[rows]
    g = whole_tiles(mapped, cells.mapped, cells.conductances).g[tile, plane]
    ohms = wires or Wires(crossbar.r_wl, crossbar.r_bl, crossbar.r_driver, crossbar.r_sense)
    title = f"layer {name!r}: band {band}, tile {tile}, plane {plane}"
    of = f"chip {chip.chip} (seed {chip.seed}), {chip.time:g} s after the write; {mapped.hardware.name!r}"
    return spice_netlist(
        g,
        on_lines,
        **dataclasses.asdict(ohms),
        iv=iv or mapped.hardware.device.iv,
        v_read=v_read,
        title=title,
        notes=[of, *_bit_lines(tile_targets(mapped, cells.mapped, tile))],
    )


def export_netlists(
    chip: ProgrammedNetwork, folder: Path | str, name: str, *, volts: ArrayLike | None = None
) -> list[Path]:
    """Write a file `*.cir` for each tile and plane of a layer; their paths.

    Parameters
    ----------
    folder
        A new or empty one.
    name, volts
        As of `tile_netlist`.

    Raises
    ------
    XbarError
        For what `tile_netlist` refuses, and a folder that is not empty.
    """
    check_kind("chip", chip, ProgrammedNetwork)
    _layer(chip.mapped, name)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise XbarError(f"{folder}: is not an empty folder; the netlists need one of their own")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for array in tiles_and_planes(chip.mapped):
        if array.layer == name:
            text = tile_netlist(chip, name, array.band, array.tile, array.plane, volts=volts)
            files.append(folder / f"{array.stem}.cir")
            write_atomically(files[-1], text.encode())
    return files


def _layer(mapped: MappedNetwork, name: str) -> MappedLayer:
    if name not in mapped.layers:
        raise unknown_name("layer", name, mapped.layers)
    return mapped.layers[name]


def _check_number(what: str, number: int, count: int) -> None:
    check_whole(what, number, -(2**63), 2**63 - 1)
    if not 0 <= number < count:
        raise XbarError(f"{what} {number}: there are {count} of them, numbered from 0")


def _bit_lines(targets: Targets) -> list[str]:
    """A comment for each bit line that is read."""
    return [
        f"bit line {line}: {'reference' if column == REFERENCE else f'column {column}'}, slice {part}"
        for line, (column, part) in enumerate(zip(targets.columns, targets.slices, strict=True))
        if column != SPARE
    ]


__all__ = ["export_netlists", "input_volts", "tile_netlist"]
