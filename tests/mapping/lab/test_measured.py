"""Measured conductances on a chip: every cell in its place, wires anew, files there and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import UNIT, Case, design, device, with_cells
from torch import nn

from mapping import (
    MappedNetwork,
    ProgrammedNetwork,
    analog_network,
    decoded_weights,
    export_conductances,
    program_network,
    with_conductances,
)
from mapping.chips.wires import through_wires
from xbar import ProgrammingNoise, XbarError

WIRES = {"crossbar__r_wl": 40.0, "crossbar__r_bl": 30.0, "crossbar__r_sense": 100.0}


def case(**changes: Any) -> tuple[nn.Module, MappedNetwork, torch.Tensor]:
    """Two layers, two bands, pruned, columns in packed places, on noisy cells."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(13, 6), nn.ReLU(), nn.Linear(6, 3))
    mask = torch.rand(13, 6) < 0.7
    noisy = device(4, programming=ProgrammingNoise("gaussian", sigma=0.1))
    hardware = design(8, 9, device=noisy).replace(**changes)
    mapped, network = Case(model, torch.rand(20, 13), {"0": mask}).on(hardware)
    return network, mapped, torch.rand(20, 13)


@pytest.mark.parametrize("format", ["npz", "csv"])
@pytest.mark.parametrize("kind", ["differential", "offset"])
def test_an_export_comes_back_exactly(tmp_path: Path, format: str, kind: str) -> None:
    """Targets of thirds of a unit, which float32 has not: to the last bit of float64."""
    cell = device(4, programming=ProgrammingNoise("gaussian", sigma=0.1))
    cell = dataclasses.replace(cell, g_min=UNIT / 3, g_max=7 * UNIT / 3)
    _, mapped, _ = case(encoding__kind=kind, device=cell, crossbar__spare_cols=1)
    export_conductances(mapped, tmp_path / "targets", format=format)
    chip = with_conductances(mapped, tmp_path / "targets")
    exact = program_network(mapped.with_hardware(lambda h: h.replace(device__programming=ProgrammingNoise())))
    for name in mapped.layers:
        for found, expected, built in zip(
            chip.conductances[name], exact.conductances[name], chip.layers[name].bands, strict=True
        ):
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, expected, rtol=1e-7)
            assert set(np.unique(found)) <= {0.0, *cell.conductances()}, "targets, to the last bit"
            assert np.array_equal(found > 0, built.devices)


def test_what_was_drawn_is_measured(tmp_path: Path) -> None:
    """A chip's own cells, written where its targets stood, give that chip, file by file."""
    model, mapped, x = case(**WIRES)
    drawn = program_network(mapped, seed=3)
    again = with_conductances(mapped, drawn.conductances)
    assert again == dataclasses.replace(drawn, seed=0)
    assert torch.equal(analog_network(model, again)(x), analog_network(model, drawn)(x))
    assert again.conductances["0"][0].dtype == np.float32


@pytest.mark.parametrize("of_chip", [False, True])
def test_wires_follow(of_chip: bool) -> None:
    """`replace(chip, conductances=...)` kept the old transfer matrices without a word."""
    model, mapped, x = case(**WIRES)
    drawn, other = program_network(mapped, seed=3), program_network(mapped, seed=4)
    before = analog_network(model, drawn)(x)
    chip = with_conductances(drawn if of_chip else mapped, other.conductances)
    for name, layer in mapped.layers.items():
        for band, g, seen in zip(
            layer.bands, chip.conductances[name], chip.layers[name].transfer, strict=True
        ):
            np.testing.assert_array_equal(seen, through_wires(layer, band, g))
    y = analog_network(model, chip)(x)
    assert torch.equal(y, analog_network(model, other)(x))
    assert not torch.allclose(y, before, rtol=1e-3)
    swapped = with_cells(drawn, other.conductances)
    assert torch.equal(analog_network(model, swapped)(x), y), "and there is no silent way around it"
    with pytest.raises(ValueError, match="read-only"):
        drawn.conductances["0"][0][:] = 0


def test_a_chip_keeps_its_keys_and_loses_its_compensation() -> None:
    _, mapped, _ = case()
    chip = program_network(mapped, seed=3, chip=2).compensated({"0": np.ones(6)})
    measured = with_conductances(chip, {"0": chip.conductances["0"]}, missing="target")
    assert (measured.seed, measured.chip, measured.time) == (3, 2, chip.time)
    assert measured.layers["0"].compensation is None
    states = mapped.layers["2"].state * mapped.layers["2"].scale
    np.testing.assert_allclose(decoded_weights(measured, "2"), states, rtol=1e-6)


@pytest.mark.parametrize("format", ["npz", "csv"])
def test_cells_without_a_number_are_refused_or_have_their_target(tmp_path: Path, format: str) -> None:
    _, mapped, _ = case()
    export_conductances(mapped, tmp_path, format=format)
    file = sorted(tmp_path.glob(f"0-0-band0-tile0-plane0.{format}"))[0]
    if format == "npz":
        arrays = dict(np.load(file))
        used = arrays["column"] >= 0
        arrays["conductance"][0, np.flatnonzero(used)[0]] = np.nan
        arrays["conductance"][-1, ~used] = np.nan  # of spare cells: not read
        np.savez(file, **arrays)
    else:
        lines = file.read_text().splitlines()
        first = lines[2].split(",")
        lines[2] = ",".join([first[0], "", *first[2:]])
        file.write_text("\n".join(lines) + "\n")
    with pytest.raises(
        XbarError, match=r"0: band 0: 1 of \d+ cells are not measured \(NaN\); missing = 'tar"
    ):
        with_conductances(mapped, tmp_path)
    exact = mapped.with_hardware(lambda h: h.replace(device__programming=ProgrammingNoise()))
    targets = program_network(exact).conductances["0"][0]
    np.testing.assert_allclose(with_conductances(mapped, tmp_path, "target").conductances["0"][0], targets)
    file.unlink()
    with pytest.raises(XbarError, match="cells are not measured"):
        with_conductances(mapped, tmp_path)
    np.testing.assert_allclose(with_conductances(mapped, tmp_path, "target").conductances["0"][0], targets)


def measured_as(chip: ProgrammedNetwork, change: Any) -> dict[str, list[np.ndarray]]:
    found = {name: [g.copy() for g in parts] for name, parts in chip.conductances.items()}
    change(found)
    return found


WRONG = {
    "in uS": (
        lambda m: m["0"][0].__imul__(1e6),
        r"measured: 0: band 0: .* S in plane 0, .*; must be at least 0 and at most 1 \(a short",
    ),
    "in mS": (
        lambda m: m["0"][0].__imul__(1e3),
        r"measured: 0: band 0: half of its cells have more than [\d.e+]+ times their targets; conductances",
    ),
    "negative": (
        lambda m: m["2"][0].__setitem__((1, 0, 2, 1), -1e-9),
        r"2: band 0: -1e-09 S in plane 1, sli",
    ),
    "infinite": (lambda m: m["2"][0].__setitem__((0, 0, 0, 0), np.inf), r"inf S in plane 0, slice 0, word"),
    "bands": (lambda m: m["0"].pop(), r"0: 1 bands; the layer has 2"),
    "shape": (lambda m: m["2"].__setitem__(0, m["2"][0][..., :1]), r"2: band 0: shape .*; must be \(2, 1, 6"),
    "layer": (lambda m: m.__setitem__("fc", []), r"measured: layer: unknown name 'fc'"),
    "text": (lambda m: m["2"].__setitem__(0, np.array(["a"])), r"2: band 0: must be real numbers, not <U1"),
    "no cell": (lambda m: m["0"][0].__setitem__(m["0"][0] == 0, 1e-6), r"where the mapping has no cell"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_have_been_measured_is_refused(change: Any, message: str) -> None:
    _, mapped, _ = case(encoding__unformed=True)
    chip = program_network(mapped)
    assert (chip.conductances["0"][0] == 0).any()
    with pytest.raises(XbarError, match=message):
        with_conductances(mapped, measured_as(chip, change))


def test_milli_siemens_and_shorts_of_cells_of_many_ohm() -> None:
    """1000 g_max was the limit: mS passed on every device, and a short of 500 ohm was refused on 10 Mohm."""
    _, mapped, _ = case(device=dataclasses.replace(device(4), g_min=1e-9, g_max=1e-6))
    chip = program_network(mapped)
    with pytest.raises(XbarError, match=r"2: band 0: half of its cells have more than 1e\+03 times"):
        with_conductances(mapped, measured_as(chip, lambda m: m["2"][0].__imul__(1e3)))
    shorts = measured_as(chip, lambda m: m["2"][0].__setitem__((0, 0, 2, 1), 1 / 500))
    assert with_conductances(mapped, shorts).conductances["2"][0][0, 0, 2, 1] == np.float32(1 / 500)


def test_files_of_another_mapping_are_refused(tmp_path: Path) -> None:
    _, mapped, _ = case()
    _, other, _ = case(encoding__kind="offset")
    export_conductances(mapped, tmp_path)
    with pytest.raises(XbarError, match=r"index\.json: layer '0': scale, hardware differ from the mapping's"):
        with_conductances(other, tmp_path)
    files = [entry["file"] for entry in json.loads((tmp_path / "index.json").read_text())["tiles"]]
    (tmp_path / files[0]).write_bytes((tmp_path / files[-1]).read_bytes())
    with pytest.raises(
        XbarError, match=r"(row|column) differs from the mapping's; the file is of another til"
    ):
        with_conductances(mapped, tmp_path)
    (tmp_path / files[0]).write_bytes(b"cut off")
    with pytest.raises(XbarError, match="cannot be read"):
        with_conductances(mapped, tmp_path)
    with pytest.raises(XbarError, match=r"none/index\.json: cannot be read \(No such file"):
        with_conductances(mapped, tmp_path / "none")
    (tmp_path / "index.json").write_text("[]")
    with pytest.raises(XbarError, match="is not an index of export_conductances"):
        with_conductances(mapped, tmp_path)
    (tmp_path / "index.json").write_text("[" * 100_000)  # it ended in a RecursionError
    with pytest.raises(XbarError, match="is not an index of export_conductances"):
        with_conductances(mapped, tmp_path)


def test_a_mistyped_choice_is_refused() -> None:
    _, mapped, _ = case()
    with pytest.raises(XbarError, match="missing: unknown name 'targets'; did you mean 'target'"):
        with_conductances(mapped, {}, missing="targets")  # type: ignore[arg-type]
    with pytest.raises(XbarError, match="of: a str; must be a MappedNetwork or a ProgrammedNetwork"):
        with_conductances("a chip", {})  # type: ignore[arg-type]
