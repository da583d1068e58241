"""A chip is a file: what is loaded is what was saved, to the last bit, and nothing else is loaded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import Case, cases, design, designs, device
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from mapping import (
    Choice,
    ProgrammedNetwork,
    analog_network,
    calibrate,
    map_network,
    program_network,
)
from mapping.lab.chip_file import load_chip, load_mapping, save_chip, save_mapping
from mapping.lab.compensation import compensate, read_known_inputs
from mapping.lab.faults import around_faults
from mapping.tiles.mapper import without_weights
from xbar import XbarError
from xbar.hardware.aging import Drift, LogClamp
from xbar.hardware.converters import Adc
from xbar.hardware.noise import ProgrammingNoise, WhiteNoise

NOISY = device(
    programming=ProgrammingNoise("lognormal", sigma=0.1),
    drift=Drift(1.0, LogClamp(0.05), LogClamp(0.01)),
    read_noise=WhiteNoise(0.05),
    p_stuck_g_max=0.05,
)


def everything() -> tuple[nn.Module, Tensor, ProgrammedNetwork]:
    """Groups, a transposed convolution, a bias on word lines, hardware of its own, wires, converters with
    errors, read noise, masks, moved columns, spare columns, drift and its compensation."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 3, 2, stride=2),
        nn.BatchNorm2d(3),
        nn.Flatten(),
        nn.Linear(192, 7),
    ).eval()
    model[5].bias.data *= 0.1
    x = torch.rand(5, 4, 4, 4)
    adc = Adc(7, columns=2, per="tile", gain_sigma=0.05, offset_sigma=0.3, noise_lsb=0.2)
    hardware = design(8, 10, device=NOISY, dac__bits=5, adc=adc, crossbar__r_wl=20.0, crossbar__r_bl=20.0)
    hardware = hardware.replace(crossbar__spare_cols=2, crossbar__p_open_bl=0.02)
    own = hardware.replace(encoding__kind="offset", encoding__subtract="digital", crossbar__r_wl=0.0)
    own = own.replace(crossbar__r_bl=0.0)
    choices = {"5": Choice(own, bias_rows=2)}
    masks = {"0": torch.rand(18, 6) < 0.6}
    mapped = map_network(model, hardware, x, layers=choices, masks=masks)
    mapped, _ = calibrate(mapped, model, [(x, x)])
    chip = program_network(around_faults(mapped, seed=3, chip=4), seed=3, chip=4, time=1e5)
    return model, x, compensate(chip, read_known_inputs(chip.mapped, model, [(x, x)]))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Tensor, ProgrammedNetwork, Path]:
    path = tmp_path_factory.mktemp("chips") / "chip.safetensors"
    model, x, chip = everything()
    save_chip(chip, path)
    return model, x, chip, path


def test_a_loaded_chip_is_the_saved_one(saved) -> None:
    _, _, chip, path = saved
    loaded = load_chip(path)
    assert loaded == chip
    assert list(loaded.mapped.layers) == list(chip.mapped.layers) == ["0", "2", "5"]
    assert any(tile.places is not None for tile in loaded.mapped.layers["5"].tiles)


def test_outputs_are_the_same_to_the_last_bit(saved) -> None:
    model, x, chip, path = saved
    outputs = [analog_network(model, one)(x) for one in (chip, load_chip(path))]
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], analog_network(model, dataclasses.replace(chip, seed=9))(x))


@settings(max_examples=12)
@given(case=cases(), hardware=designs(dac__bits=4, adc=Adc(6)), packing=st.booleans())
def test_every_mapping_survives(tmp_path_factory, case: Case, hardware, packing: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    mapped, _ = case.on(hardware.replace(adc__per="column"), packing)
    for one in (mapped, without_weights(mapped)):
        save_mapping(one, path)
        assert load_mapping(path) == one


def test_the_same_chip_is_the_same_file(saved, tmp_path: Path) -> None:
    path = saved[3]
    save_chip(load_chip(path), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_other_programs_can_read_it(saved) -> None:
    """With safetensors and JSON alone: the conductances and the place of a weight."""
    _, _, chip, path = saved
    arrays = load_file(path)
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["json"])
    assert (header["format"], header["version"]) == ("xbar chip", 5)
    layer = header["chip"]["mapped"]["layers"]["0"]
    assert (layer["k"], layer["groups"], layer["kind"]) == (18, 2, "conv2d")
    reference = header["chip"]["conductances"]["0"][1]["array"]
    assert np.array_equal(arrays[reference], chip.conductances["0"][1])
    tile = layer["bands"][0]["tiles"][0]
    assert np.array_equal(arrays[tile["cols"]["array"]], chip.mapped.layers["0"].bands[0].tiles[0].cols)


def test_mappings_are_compared_by_value() -> None:
    case = Case(nn.Sequential(nn.Linear(9, 5)), torch.rand(3, 9), {})
    mapped, other = (case.on(design(4, 6, dac__bits=4, adc__bits=6))[0] for _ in range(2))
    assert mapped == other
    layer = mapped.layers["0"]
    for change in (
        {"mask": np.ones((9, 5), bool)},
        {"scale": 2.0},
        {"state": layer.state.astype(np.int32)},
        {"state": -layer.state},
        {"bands": layer.bands[1:]},
    ):
        changed = {"0": dataclasses.replace(layer, **change)}
        assert mapped != dataclasses.replace(mapped, layers=changed)
    assert mapped != dataclasses.replace(mapped, layers={"1": layer})
    assert layer != "a layer"


Change = Callable[[dict[str, Any], dict[str, np.ndarray]], Any]


def layer_of(header: dict[str, Any]) -> dict[str, Any]:
    return header["chip"]["mapped"]["layers"]["0"]


def resized(name: str, shape: tuple[int, ...]) -> Change:
    return lambda _, arrays: arrays.update({name: np.zeros(shape, arrays[name].dtype)})


L = "chip/mapped/layers/0"
BROKEN: dict[str, tuple[Change, str]] = {
    "newer": (lambda h, _: h.update(version=6), "format version 6; this xbar reads version 5"),
    "older": (lambda h, _: h.update(version=4), "format version 4; this xbar reads version 5"),
    "no version": (lambda h, _: h.pop("version"), "format version None; this xbar reads version 5"),
    "foreign": (lambda h, _: h.update(format="else"), "holds no chip of xbar"),
    "mapping": (lambda h, _: h.update(format="xbar mapping"), "holds a mapping; load it with"),
    "missing key": (lambda h, _: layer_of(h).pop("scale"), "chip/mapped/layers/0/scale: missing"),
    "unknown key": (lambda h, _: h["chip"].update(sed=1), "unknown name 'sed'; did you mean 'seed'"),
    "missing array": (lambda _, a: a.pop(f"{L}/state"), "the array 'chip/mapped/layers/0/state' is missing"),
    "no array": (lambda h, _: layer_of(h).update(state=[1]), r"state = \[1\]: must be a table"),
    "dtype": (lambda _, a: a.update({f"{L}/state": a[f"{L}/state"].astype("i8")}), "int64; must be int16"),
    "text": (lambda h, _: layer_of(h).update(k="18"), "/k = 18: must be a whole number"),
    "truth": (lambda h, _: layer_of(h).update(k=True), "/k = True: must be a whole number"),
    "list": (lambda h, _: layer_of(h).update(bands=3), "/bands = 3: must be a list"),
    "pair": (lambda h, _: layer_of(h)["geometry"].update(padding=[[1]]), "padding/0: 1 entries; must be 2"),
    "hardware": (
        lambda h, _: h["chip"]["mapped"]["hardware"]["adc"].update(bits=99),
        r"mapped/hardware: adc.bits = 99: must lie between",
    ),
    "groups": (lambda h, _: layer_of(h).update(groups=4), "n = 6, groups = 4"),
    "shape": (resized(f"{L}/state", (18, 5)), r"layer 0: state: of shape \(18, 5\); must be \(18, 6\)"),
    "levels": (lambda _, a: a[f"{L}/state"].fill(9), "layer 0: state: numbers beyond the 3 levels"),
    "no scale": (lambda h, _: layer_of(h).update(scale=None), "layer 0: scale: missing"),
    "cols": (lambda _, a: a[f"{L}/bands/0/tiles/0/cols"].fill(0), "band 0: tile 0: cols do not fit"),
    "rows": (lambda _, a: a[f"{L}/bands/0/tiles/0/rows"].fill(50), "band 0: tile 0: rows do not fit"),
    "height": (lambda h, _: layer_of(h)["bands"][0].update(height=9), "band 0: inputs 0 to 8 do not fit"),
    "steps": (
        resized(f"{L}/calibration/adc_steps/0", (1,)),
        r"layer 0: adc_steps/0: of shape \(1,\)",
    ),
    "cells": (resized("chip/conductances/0/0", (2, 1, 1, 1)), r"conductances/0/0: of shape \(2, 1, 1, 1\)"),
    "bands": (lambda h, _: h["chip"]["devices"]["0"].pop(), "devices/0: of"),
    "no cells": (lambda h, _: h["chip"]["conductances"].pop("0"), "conductances/0: missing"),
    "name": (lambda h, _: layer_of(h).update(name="1"), "layer 0: is called '1'"),
    "other layer": (
        lambda h, _: h["chip"]["compensation"].update(x=h["chip"]["compensation"]["0"]),
        "compensation/x: there is no such layer",
    ),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_named(saved, tmp_path: Path, change: Change, message: str) -> None:
    path = saved[3]
    arrays = load_file(path)
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["json"])
    change(header, arrays)
    save_file(arrays, tmp_path / "broken.safetensors", {"json": json.dumps(header)})
    with pytest.raises(XbarError, match=message) as raised:
        load_chip(tmp_path / "broken.safetensors")
    assert str(raised.value).startswith(f"{tmp_path}/broken.safetensors: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"text", b"cut off"])
def test_what_is_no_chip_is_refused(saved, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "chip.safetensors"
    path.write_bytes(saved[3].read_bytes()[:-10] if content == b"cut off" else content)
    said = "damaged, its content" if content == b"cut off" else "not a safetensors file, or a broken one"
    with pytest.raises(XbarError, match=rf"chip\.safetensors: {said}"):
        load_chip(path)


def test_another_safetensors_file_is_refused(saved, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    for metadata in (None, {"json": "[]"}, {"json": "{}"}):
        save_file({"w": np.zeros(3)}, path, metadata)
        with pytest.raises(XbarError, match="holds no chip of xbar"):
            load_chip(path)
    save_file({"w": np.zeros(3)}, path, {"json": "{"})
    with pytest.raises(XbarError, match="broken"):
        load_chip(path)
    with pytest.raises(XbarError, match=r"holds a chip; load it with mapping\.load_chip"):
        load_mapping(saved[3])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(XbarError, match=r"none\.safetensors: no such file"):
        load_chip(tmp_path / "none.safetensors")
