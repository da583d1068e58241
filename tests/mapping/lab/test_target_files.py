"""What is exported for a programmer gives the weights again, and every cell that is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from networks import Case, cases, decoded, design, designs, device
from numpy.typing import NDArray
from torch import nn

from mapping import Choice, MappedNetwork, calibrate, map_network, program_network
from mapping.lab.faults import around_faults
from mapping.lab.target_files import export_conductances, tile_targets
from mapping.tiles.mapper import without_weights
from xbar import Hardware, XbarError


def read(folder: Path, entry: dict[str, Any]) -> tuple[NDArray[np.float64], ...]:
    """Conductances, rows, columns and slices of one file."""
    path = folder / entry["file"]
    if path.suffix == ".npz":
        with np.load(path) as file:
            return tuple(file[name] for name in ("conductance", "row", "column", "slice"))
    with open(path) as file:
        columns, slices = (np.array(next(file).strip().split(",")[1:], int) for _ in range(2))
        table = np.loadtxt(file, delimiter=",", ndmin=2)
    return table[:, 1:], table[:, 0].astype(int), columns, slices


def weights_of(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Weights (inputs, N) from index.json and the files it names, by the equation of docs/physics.md."""
    index = json.loads((folder / "index.json").read_text())
    found = {
        name: np.zeros((layer["groups"] * layer["k"] + layer["bias_rows"], layer["n"]))
        for name, layer in index["layers"].items()
    }
    for entry in index["tiles"]:
        layer = index["layers"][entry["layer"]]
        states, encoding = layer["hardware"]["states"], layer["hardware"]["encoding"]
        unit = (states[-1] - states[0]) / (len(states) - 1)
        g, rows, columns, slices = read(folder, entry)
        driven = rows != index["spare"]
        for line in np.flatnonzero(columns >= 0):
            place = float(len(states)) ** (encoding["slices"] - 1 - slices[line])
            if encoding["kind"] == "twos-complement" and slices[line] == 0:
                place = -place
            held = g[driven, line]
            if encoding["kind"] == "signed-digits":
                place = float(2 * len(states) - 1) ** (encoding["slices"] - 1 - slices[line])
            assert layer["hardware"]["place_values"][slices[line]] == place
            if encoding["kind"] in ("offset", "twos-complement"):
                (zero,) = np.flatnonzero((columns == index["reference"]) & (slices == slices[line]))
                held = held - g[driven, zero]
            sign = -1 if entry["plane"] else 1
            w = layer["scale"][columns[line]] * sign * place * held / unit
            found[entry["layer"]][rows[driven], columns[line]] += w
    return found


@pytest.mark.parametrize("format", ["npz", "csv"])
@settings(max_examples=12)
@given(case=cases(), hardware=designs())
def test_the_files_give_the_weights(tmp_path_factory, format: str, case: Case, hardware: Hardware) -> None:
    mapped = map_network(case.model, hardware, case.x, masks=case.masks)
    folder = tmp_path_factory.mktemp("tiles")
    export_conductances(mapped, folder, format)
    for name, w in weights_of(folder).items():
        layer = mapped.layers[name]
        largest = layer.scale.max() * hardware.device.n_states**hardware.encoding.slices
        window = hardware.device.g_max / (hardware.device.g_max - hardware.device.g_min)
        np.testing.assert_allclose(w, decoded(mapped, name), rtol=0, atol=1e-12 * window * largest)


def grouped() -> MappedNetwork:
    """Groups, and a layer with hardware of its own, a bias on word lines and moved columns."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(24, 7)).eval()
    model[2].bias.data *= 0.1
    x = torch.rand(3, 4, 4, 4)
    hardware = design(20, 8, device=device(p_stuck_g_max=0.1), crossbar__spare_cols=2)
    choices = {"2": Choice(hardware.replace(encoding__slices=2), bias_rows=1)}
    mapped, _ = calibrate(map_network(model, hardware, x, layers=choices), model, [(x, x)])
    return around_faults(mapped)


def test_groups_bias_rows_and_moved_columns(tmp_path: Path) -> None:
    mapped = grouped()
    assert any(tile.places is not None for layer in mapped.layers.values() for tile in layer.tiles)
    export_conductances(mapped, tmp_path)
    found = weights_of(tmp_path)
    w = np.zeros((36, 6))
    w[:18, :3], w[18:, 3:] = np.split(decoded(mapped, "0"), 2, axis=1)
    np.testing.assert_allclose(found["0"], w, atol=1e-12)
    layer = mapped.layers["2"]
    np.testing.assert_allclose(found["2"][:24], decoded(mapped, "2"), atol=1e-12)
    np.testing.assert_allclose(found["2"][24:], layer.scale * layer.bias_state, atol=1e-12)


def test_a_chip_without_noise_holds_the_targets() -> None:
    """Through wires, that is with every cell of the array in its place."""
    mapped = grouped().with_hardware(lambda h: h.replace(device__p_stuck_g_max=0.0))
    chip = program_network(mapped)
    for name, layer in mapped.layers.items():
        hardware = mapped.layers[name].hardware
        for band, g in zip(layer.bands, chip.conductances[name], strict=True):
            first = 0
            for number, tile in enumerate(band.tiles):
                targets = tile_targets(layer, band, number)
                own = g[:, :, np.searchsorted(band.rows, tile.rows), first : first + len(tile.cols)]
                first += len(tile.cols)
                for slice_ in range(hardware.encoding.slices):
                    lines = [
                        int(np.flatnonzero((targets.columns == n) & (targets.slices == slice_))[0])
                        for n in tile.cols
                    ]
                    rows = np.flatnonzero(targets.rows >= 0)
                    assert np.array_equal(targets.rows[rows], tile.rows)
                    part = targets.conductances[:, rows][:, :, lines]
                    np.testing.assert_array_equal(part.astype(np.float32), own[:, slice_])


@pytest.mark.parametrize("unformed", [False, True])
def test_cells_without_a_weight_are_as_built(tmp_path: Path, unformed: bool) -> None:
    mask = torch.zeros(3, 2, dtype=torch.bool)
    mask[1, 1] = True
    hardware = design(4, 5, encoding__unformed=unformed)
    model = nn.Sequential(nn.Linear(3, 2))
    mapped = map_network(model, hardware, torch.rand(1, 3), masks={"0": mask}, packing=False)
    layer = mapped.layers["0"]
    targets = tile_targets(layer, layer.bands[0], 0)
    assert targets.rows.tolist() == [0, 1, 2, -1]
    assert targets.columns.tolist() == [0, 1, -1, -1, -1]
    weight = targets.conductances[:, 1, 1].copy()
    assert weight.max() > hardware.device.g_min
    targets.conductances[:, 1, 1] = idle = 0.0 if unformed else hardware.device.g_min
    assert (targets.conductances == idle).all()


def test_every_tile_and_plane_has_a_file(tmp_path: Path) -> None:
    mapped = grouped()
    export_conductances(mapped, tmp_path / "new", "csv")
    index = json.loads((tmp_path / "new" / "index.json").read_text())
    names = [entry["file"] for entry in index["tiles"]]
    assert len(set(names)) == 2 * mapped.tiles_per_plane
    assert {path.name for path in (tmp_path / "new").iterdir()} == {*names, "index.json"}


def test_mistakes_are_refused(tmp_path: Path) -> None:
    mapped = grouped()
    with pytest.raises(XbarError, match="format: unknown name 'cvs'; did you mean 'csv'"):
        export_conductances(mapped, tmp_path, "cvs")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(XbarError, match="is not an empty folder"):
        export_conductances(mapped, tmp_path)
    with pytest.raises(XbarError, match="has no weights"):
        export_conductances(without_weights(mapped), tmp_path / "new")
