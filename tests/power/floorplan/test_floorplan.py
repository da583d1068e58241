"""Layers in nodes on a mesh: traffic against a count value by value, buffers against windows written out."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from power_cases import hardware, network, unpacked
from torch import nn
from torch.nn import functional as F

from mapping import map_network
from mapping.tiles.dataflow import Dataflow, FlowStep, Wait
from mapping.tiles.mapped import MappedNetwork
from power.architecture.chip import load_architecture
from power.counts.workload import workload
from power.estimates.table import estimate, priced
from power.floorplan.allotment import allotted
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError

MESH = """
name = "meshed"
source = "a test"
base = "isaac-periphery"
mesh = "cluster"
nodes = "{nodes}"
[components.router]
events = "{events}"
rate = {rate}
"""


def meshed(folder: Path, nodes="own", events="routed_bytes", rate='"library"', **changes) -> Hardware:
    """Small arrays, two of them a node and two nodes a router, with traffic by hops."""
    path = folder / f"{nodes}.toml"
    path.write_text(MESH.format(nodes=nodes, events=events, rate=rate), encoding="utf-8")
    given = {
        "periphery__arrays_per_group": 2,
        "periphery__groups_per_tile": 1,
        "periphery__tiles_per_router": 2,
    }
    return hardware(**given, periphery__architecture=str(path), **changes)


class Branches(nn.Module):
    """Convolutions with a residual branch, a concatenation, a pool, and a linear layer at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(2, 6, 3, padding=1),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.Conv2d(6, 3, 1),
        )
        self.s = nn.Conv2d(6, 2, 1, stride=2)
        self.end = nn.Linear(11 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = F.relu(self.a(x))
        joined = first + self.b(first)
        both = torch.cat([joined, self.c(joined)], 1)
        return self.end(torch.cat([F.max_pool2d(both, 2), self.s(joined)], 1).flatten(1))


def counted(mapped: MappedNetwork, edges: list[tuple[str, str, float, bool]], own: bool) -> dict:
    """Bytes between any two nodes, tile by tile and channel by channel; `edges` are written out by hand."""
    size, first, arrays, nodes = 2, 0, 0, {}
    for name, layer in mapped.layers.items():
        copies, planes = layer.hardware.periphery.copies, layer.hardware.encoding.planes
        in_all = copies * planes * len(layer.tiles)
        count = math.ceil(in_all / size)
        nodes[name] = {}
        for copy, tile in itertools.product(range(copies), range(len(layer.tiles))):
            array = (copy * len(layer.tiles) + tile) * planes
            nodes[name][copy, tile] = first + array * count // in_all if own else (arrays + array) // size
        first, arrays = first + count, arrays + in_all
    sent: dict[tuple[int, int], float] = collections.Counter()
    for source, target, values, is_input in edges:
        layer, gives = mapped.layers[target], sorted(set(nodes[source].values()))
        takes = sorted(set(nodes[target].values()))
        window = 1 if layer.geometry is None else math.prod(layer.geometry.kernel)
        channels = layer.inputs // window
        bands = [band for band in layer.bands for _ in band.tiles]
        for take in takes:
            looked = {
                row // window
                for (_, tile), node in nodes[target].items()
                if node == take
                for row in bands[tile].rows.tolist()
            }
            share = len(looked) / channels if is_input else 1 / len(takes)
            if is_input and target in "cs":  # windows of one place, of which each copy has its own
                share /= layer.hardware.periphery.copies
            if is_input and target == "s":
                share /= 4  # every second row and column
            for give in gives:
                sent[give, take] += values * share / len(gives)  # a byte a value
    for name, layer in mapped.layers.items():
        copies = layer.hardware.periphery.copies
        for copy, column in itertools.product(range(copies), range(layer.n)):
            held = sorted({nodes[name][copy, t] for t, tile in enumerate(layer.tiles) if column in tile.cols})
            for one, other in itertools.pairwise(held):
                sent[one, other] += 2 * layer.positions / copies
    return {pair: size for pair, size in sent.items() if pair[0] != pair[1]}


EDGES = [
    ("a", "b", 6 * 16, True),
    ("a", "b", 6 * 16, False),  # the sum is made at b, which runs last
    ("b", "c", 6 * 16, True),
    ("b", "end", 6 * 4, True),  # after the pool
    ("c", "end", 3 * 4, True),
    ("b", "s", 6 * 16, True),
    ("s", "end", 2 * 4, True),
]


@torch.no_grad()
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("copies", [1, 2])
def test_traffic_is_what_a_count_value_by_value_gives(own: bool, copies: int, tmp_path: Path) -> None:
    design = meshed(tmp_path, "own" if own else "shared", periphery__copies=copies)
    mapped = map_network(Branches().eval(), design, torch.rand(1, 2, 4, 4))
    plan = estimate(mapped).floorplan
    assert plan is not None
    sent = counted(mapped, EDGES, own)
    hops = routed = 0.0
    for (give, take), size in sent.items():
        steps = int(plan.mesh.hops(np.array([give // 2]), np.array([take // 2]))[0])
        hops, routed = hops + size * steps, routed + size * (steps + 1)
    assert plan.hop_bytes == pytest.approx(hops)
    assert plan.routed_bytes == pytest.approx(routed)
    assert sum(each.hop_bytes for each in plan.traffic) == pytest.approx(hops)
    assert routed > hops > 0


def line(design: Hardware, *widths: int) -> MappedNetwork:
    """A chain of linear layers, each of which waits for the one before."""
    names = [f"l{number}" for number in range(len(widths) - 1)]
    layers = [
        unpacked(design, k, n, name=name) for name, k, n in zip(names, widths, widths[1:], strict=False)
    ]
    none = np.zeros(1, np.int64)
    steps = tuple(
        FlowStep(layer.name, True, 1, layer.k, () if not i else (Wait(i - 1, none),), layer.n)
        for i, layer in enumerate(layers)
    )
    return network(design, *layers, dataflow=Dataflow(steps, (), widths[0], widths[-1]))


def test_a_chain_of_one_router_each_goes_one_hop(tmp_path: Path) -> None:
    """Layers of two tiles in two planes are 4 arrays, 2 nodes, a router."""
    design = meshed(tmp_path)
    mapped = line(design, 4, 8, 4, 8, 4, 8)
    plan = estimate(mapped).floorplan
    assert plan is not None
    assert plan.mesh.routers == 5
    between = [each for each in plan.traffic if each.source != each.target]
    assert [each.hop_bytes for each in between] == [each.bytes for each in between]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=6), st.sampled_from(["own", "shared"]))
def test_totals_are_sums_and_names_do_not_matter(tmp_path_factory, widths, nodes) -> None:
    design = meshed(tmp_path_factory.mktemp("mesh"), nodes)
    mapped = line(design, *widths)
    found = estimate(mapped)
    plan = found.floorplan
    assert plan is not None
    assert plan.routed_bytes >= plan.hop_bytes >= 0
    assert plan.busiest_link_bytes <= plan.busiest_router_bytes <= plan.routed_bytes + 1e-9
    assert found.area_allocated_mm2 == pytest.approx(sum(row.allocated_mm2 for row in found.table))
    (row,) = [row for row in found.table if row.layer == "(traffic)"]
    assert row.events == plan.routed_bytes
    assert row.area_mm2 == 0
    assert row.busy_s == pytest.approx(plan.busiest_router_bytes / 3.84e10)
    flow = mapped.dataflow
    assert flow is not None
    renamed = network(
        design,
        *(dataclasses.replace(layer, name=f"x{name}") for name, layer in mapped.layers.items()),
        dataflow=dataclasses.replace(
            flow, steps=tuple(dataclasses.replace(step, name=f"x{step.name}") for step in flow.steps)
        ),
    )
    other = estimate(renamed)
    assert other.energy_nj_per_image == pytest.approx(found.energy_nj_per_image)
    assert other.peak_image_rate_per_s == found.peak_image_rate_per_s
    assert other.floorplan is not None
    assert other.floorplan.routed_bytes == plan.routed_bytes


def test_the_busiest_router_sets_the_image_rate(tmp_path: Path) -> None:
    slow = estimate(line(meshed(tmp_path, rate="1e6"), 8, 8, 8))
    assert slow.floorplan is not None
    assert slow.bottleneck == "router of the chip"
    assert slow.peak_image_rate_per_s == pytest.approx(1e6 / slow.floorplan.busiest_router_bytes)
    links = estimate(line(meshed(tmp_path, events="hop_bytes", rate="1e6"), 8, 8, 8))
    assert links.floorplan is not None
    assert links.peak_image_rate_per_s == pytest.approx(1e6 / links.floorplan.busiest_link_bytes)
    (row,) = [row for row in links.table if row.layer == "(traffic)"]
    assert row.events == links.floorplan.hop_bytes > 0


def test_nodes_of_a_layer_share_its_arrays_evenly_and_no_node_has_too_many(tmp_path: Path) -> None:
    design = meshed(tmp_path)
    for k, n in itertools.product((4, 9, 17, 30), (3, 4, 11)):
        mapped = network(design, unpacked(design, k, n))
        counts = workload(mapped)
        arrays = {"layer": 2 * len(mapped.layers["layer"].tiles)}
        for node in (2, 6, 8):
            placed = allotted(counts, arrays, [(("layer",), node)], True)["layer"]
            held = np.bincount(placed.places[0]) * 2
            assert len(placed.nodes) == math.ceil(arrays["layer"] / node)
            assert held.max() - held.min() <= 2
            assert held.max() <= node


@torch.no_grad()
def test_a_workload_keeps_no_floorplan_of_another_architecture(tmp_path: Path) -> None:
    design = meshed(tmp_path)
    mapped = map_network(Branches().eval(), design, torch.rand(1, 2, 4, 4))
    counted_once = workload(mapped)
    for changes in ({"periphery__tiles_per_router": 1}, {"periphery__arrays_per_group": 4}, {}):
        other = mapped.with_hardware(lambda own: own.replace(**changes))  # noqa: B023
        one, fresh = priced(counted_once.on(other)), estimate(other)
        assert one.placement() == fresh.placement()
        assert one.to_dict() == fresh.to_dict()


@torch.no_grad()
@pytest.mark.parametrize(
    ("layer", "places"),
    [
        (nn.Conv2d(2, 3, 3, padding=1), 2 * 7 + 3),  # two rows of the 5 x 7 input, and three places
        (nn.Conv2d(2, 3, 3, dilation=2), 4 * 7 + 5),
        (nn.Conv2d(2, 3, (1, 5), padding=(0, 2), stride=2), 5),
        (nn.Conv2d(2, 3, 1), 1),
        (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), 5 * 7),
    ],
)
def test_a_buffer_keeps_the_rows_of_a_window(layer: nn.Module, places: int) -> None:
    mapped = map_network(nn.Sequential(layer).eval(), hardware(rows=64), torch.rand(1, 2, 5, 7))
    found = estimate(mapped)
    assert found.buffer_kb == {"0": 64}
    assert found.kept_kb["0"] == pytest.approx(2 * places / 1024)
    assert found.overfull == {}
    assert found.image_bytes == 2 * 5 * 7
    assert found.result_bytes == math.prod(layer(torch.rand(1, 2, 5, 7)).shape)


@torch.no_grad()
def test_what_has_no_room_is_said() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(3 * 64 * 64, 2)).eval()
    design = hardware(periphery__buffer_kb=0.125)
    found = estimate(map_network(net, design, torch.rand(1, 2, 64, 64)))
    assert found.kept_kb["0"] == 2 * (2 * 64 + 3) / 1024
    assert list(found.overfull) == ["0"], (
        "a node of eight arrays looks at 16 inputs of the linear layer at most"
    )
    assert found.chips == 1, "isaac-periphery says of no chip how large it is"
    whole = hardware(periphery__architecture="isaac")
    assert estimate(map_network(net, whole, torch.rand(1, 2, 64, 64))).chips == math.ceil(
        sum(found.nodes.values()) / load_architecture("isaac").chip_nodes
    )


def test_a_mesh_without_a_graph_and_an_architecture_without_a_mesh_say_so(tmp_path: Path) -> None:
    design = meshed(tmp_path)
    found = estimate(network(design, unpacked(design, 9, 4)))
    assert found.floorplan is None
    assert "traffic between nodes: the mapping has no graph" in found.not_modelled
    assert not any(row.layer == "(traffic)" for row in found.table)
    plain = estimate(line(hardware(), 8, 8))
    assert any(line.startswith("traffic between nodes by hops") for line in plain.not_modelled)
    assert plain.floorplan is None


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('[components.router]\nevents = "routed_bytes"', "routed_bytes needs a mesh"),
        ('mesh = "array"', "unknown name 'array'; allowed: cluster, node"),
        ('mesh = "chip"', "unknown name 'chip'; allowed: cluster, node"),
        ("chip_nodes = -1", "chip_nodes = -1"),
        (
            'mesh = "node"\n[components.router]\nevents = "routed_bytes * outputs"',
            "mixes outputs, which is of a layer, with routed_bytes, which is of the mesh",
        ),
        (
            'mesh = "node"\n[components.index]\nevents = "hop_bytes"',
            "a layer has no 'hop_bytes', which happens between layers",
        ),
    ],
)
def test_what_no_mesh_can_be_is_refused(lines: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f'name = "a"\nsource = "a test"\nbase = "isaac-periphery"\n{lines}\n', encoding="utf-8")
    with pytest.raises(XbarError, match=said):
        load_architecture(path)
