"""Layers on hardware of their own: a chip of several kinds of nodes is the sum of what each kind is alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from power_cases import hardware, network, unpacked
from torch import nn

from experiments.commands.networks.estimate_text import text
from mapping import map_network
from power.estimates.table import UNUSED, estimate
from xbar import load_hardware
from xbar.hardware.design import Hardware

BASE = load_hardware("admm-32x32")
OTHERS = {
    "larger nodes": BASE.replace(periphery__arrays_per_group=16),
    "larger arrays": BASE.replace(crossbar__rows=64, crossbar__cols=64, adc__columns=64),
    "one plane": BASE.replace(
        encoding__kind="offset", encoding__slices=2, crossbar__cols=34, adc__columns=34
    ),
    "forms": load_hardware("forms"),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("width", [96, 640])
def test_a_chip_is_the_sum_of_its_layers_on_nodes_of_their_own(other: str, width: int) -> None:
    """100 arrays of the first hardware's nodes were two nodes, where a node of the layer's own has 192."""
    own = OTHERS[other]
    layers = unpacked(BASE, 320, 64, name="a"), unpacked(own, 320, width, name="b")
    alone = estimate(network(BASE, layers[0])), estimate(network(own, layers[1]))
    both = estimate(network(BASE, *layers, own_hardware={"b": own}))
    for name in ("area_mm2", "area_allocated_mm2", "area_whole_tiles_mm2", "dynamic_nj_per_image", "tiles"):
        each = sum(getattr(one, name) for one in alone)
        assert getattr(both, name) == pytest.approx(each, rel=1e-12), name
    assert both.nodes == {**alone[0].nodes, **alone[1].nodes}
    assert both.arrays == sum(one.arrays for one in alone)
    assert both.peak_image_rate_per_s == pytest.approx(min(one.peak_image_rate_per_s for one in alone))


def test_work_between_layers_is_shared_by_the_nodes_that_are_there() -> None:
    """One pool a node: 100 arrays of a kind of 192 a node are one node, and 40 of 96 are one."""
    own = OTHERS["larger nodes"]
    layers = unpacked(BASE, 320, 64, name="a"), unpacked(own, 320, 160, name="b")
    pooled = {"max_pool2d": {"pooled": 12_000_000}}
    both = estimate(network(BASE, *layers, own_hardware={"b": own}, digital_operations=pooled))
    assert both.nodes == {"a": 1, "b": 1}
    assert both.busy["max_pool", None] == pytest.approx(12e6 / (2 * 1.2e9))


def test_arrays_of_one_size_share_nodes_whatever_their_converters_are() -> None:
    own = BASE.replace(adc__bits=8)
    layers = unpacked(BASE, 320, 64, name="a"), unpacked(own, 320, 64, name="b")
    both = estimate(network(BASE, *layers, own_hardware={"b": own}))
    assert (both.arrays, both.tiles) == (80, 1)
    assert both.nodes == {"a": 1, "b": 1}


def test_shared_nodes_are_of_one_kind(tmp_path: Path) -> None:
    path = tmp_path / "shared.toml"
    path.write_text('name = "shared"\nsource = "a test"\nbase = "isaac-periphery"\nnodes = "shared"\n')
    base = hardware(periphery__architecture=str(path))
    large = base.replace(crossbar__rows=8, crossbar__cols=8)
    sizes = {"a": (base, 20), "b": (large, 24), "c": (base, 4), "d": (large, 8)}
    layers = [unpacked(own, k, 4, name=name) for name, (own, k) in sizes.items()]
    both = estimate(network(base, *layers, own_hardware={"b": large, "d": large}))
    alone = [
        estimate(network(own, *(layer for layer in layers if sizes[layer.name][0] is own)))
        for own in (base, large)
    ]
    assert both.arrays == 12 + 8
    for name in ("area_mm2", "area_allocated_mm2", "area_whole_tiles_mm2"):
        assert getattr(both, name) == pytest.approx(sum(getattr(one, name) for one in alone)), name
    assert both.by_layer[UNUSED]["allocated_mm2"] == pytest.approx(alone[0].by_layer[UNUSED]["allocated_mm2"])


@torch.no_grad()
def test_a_buffer_of_a_layer_s_own_that_is_too_small_is_named() -> None:
    """It was held against the 64 KB of the network's hardware."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1)).eval()
    design, small = hardware(), hardware(periphery__buffer_kb=0.125)
    mapped = map_network(net, design, torch.rand(1, 2, 64, 64)).on_hardware(design, {"2": small})
    found = estimate(mapped)
    assert found.buffer_kb == {"0": 64, "2": 0.125}
    assert list(found.overfull) == ["2"]
    said = "buffers too small: 1 of 2 layers keep more than the buffer of a node holds, most of all 2"
    assert said in text("net", {"design": found}).replace("\n", " ")
    stalls = "stalls: 1 of 2 layers keep more than the buffer of a node holds"
    assert stalls in found.to_dict()["not_modelled"]
    assert not any(line.startswith("room of buffers") for line in found.not_modelled)


def test_that_the_room_of_buffers_is_not_known_is_said(tmp_path: Path) -> None:
    """A memory that four nodes share was no node's, and a mapping made by hand has no graph."""
    path = tmp_path / "cluster.toml"
    path.write_text(
        'name = "own"\nsource = "a test"\nbase = "isaac-periphery"\n[components.edram]\nlevel = "cluster"\n'
    )
    design = hardware()
    by_hand = estimate(network(design, unpacked(design, 9, 4)))
    assert "room of buffers: the network's graph is not known" in by_hand.not_modelled
    above = hardware(periphery__architecture=str(path))
    found = estimate(map_network(nn.Sequential(nn.Linear(9, 4)), above, torch.rand(1, 9)))
    assert any(line.startswith("room of buffers: no memory of a node") for line in found.not_modelled)
    cores = load_hardware("hermes")
    assert not any("room" in line for line in estimate(network(cores, unpacked(cores, 9, 4))).not_modelled)


def one_sign(own: Hardware) -> int:
    layers = unpacked(BASE, 320, 64, name="a"), unpacked(own, 320, 64, name="b")
    found = estimate(network(BASE, *layers, own_hardware={"b": own})).fragments
    return 0 if found is None else found.unknown


def test_a_layer_s_own_arrays_of_one_sign_are_named() -> None:
    assert [one_sign(BASE), one_sign(OTHERS["forms"])] == [0, 1]
