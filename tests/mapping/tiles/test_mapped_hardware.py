"""A layer owns its hardware: layers on the same one share an object, and none is changed without them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from networks import design
from torch import nn

from mapping import Choice, MappedNetwork, calibrate, map_network
from mapping.lab.chip_file import load_mapping, save_mapping


def three() -> tuple[nn.Sequential, torch.Tensor, MappedNetwork]:
    """Layers 0 and 2 on equal hardware that is not the chip's, layer 4 on the chip's, from four objects."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    x = torch.rand(3, 6)
    choices = {"0": Choice(design(4, 4)), "2": Choice(design(4, 4)), "4": Choice(design(16, 16))}
    return model, x, map_network(model, design(16, 16), x, layers=choices)


def assert_shared(mapped: MappedNetwork) -> None:
    on = {name: layer.hardware for name, layer in mapped.layers.items()}
    assert on["0"] is on["2"]
    assert on["4"] is mapped.hardware
    assert list(mapped.own_hardware) == ["0", "2"]


def test_layers_on_the_same_hardware_share_one_object(tmp_path) -> None:
    model, x, mapped = three()
    assert_shared(mapped)
    assert_shared(mapped.with_hardware(lambda hardware: hardware.replace(adc__bits=7)))
    assert_shared(mapped.on_hardware(design(16, 16), {name: design(4, 4) for name in ("0", "2")}))
    calibrated, _ = calibrate(mapped, model, [(x, x)])
    save_mapping(calibrated, tmp_path / "mapping.safetensors")
    assert_shared(load_mapping(tmp_path / "mapping.safetensors"))


def test_every_layer_is_changed_from_its_own() -> None:
    changed = three()[2].with_hardware(
        lambda hardware: hardware.replace(crossbar__rows=2 * hardware.crossbar.rows)
    )
    assert [layer.hardware.crossbar.rows for layer in changed.layers.values()] == [8, 8, 32]
    assert changed.hardware.crossbar.rows == 32


def test_the_hardware_of_the_chip_is_not_replaced_without_that_of_its_layers() -> None:
    """A mapping whose `hardware` alone was replaced would compute on the old one, without a word."""
    with pytest.raises(TypeError, match="hardware"):
        dataclasses.replace(three()[2], hardware=design(8, 8))
