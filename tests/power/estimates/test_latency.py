"""Latency of streaming layers, against a simulation of every event, position by position."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from power_cases import hardware, network, unpacked
from torch import nn

from mapping import Choice, map_network
from mapping.tiles.dataflow import FlowStep, Wait
from power.estimates.latency import graph_of, streamed
from power.estimates.table import estimate
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError


@dataclasses.dataclass
class Stage:
    """A layer or pool of a chain, as the simulation knows it: what each position needs, of which stages."""

    needs: list[list[tuple[int, int]]]
    time: int
    copies: int = 1


class Chip:
    """A network that is built in torch and, apart from it, as stages with their windows written out."""

    def __init__(self, size: tuple[int, int], channels: int) -> None:
        self.stages: list[Stage] = []
        self.modules: list[nn.Module] = []
        self.image, self.size, self.channels = size, size, channels
        self.at: list[list[tuple[int, int]]] = [[] for _ in range(size[0] * size[1])]
        """For each place of the tensor at hand, the stages and positions that it is made from."""

    def windows(self, k: int, s: int, p: int, d: int) -> list[list[tuple[int, int]]]:
        """What each output of a window needs, place by place; the size becomes that of the output."""
        height, width = self.size
        rows, cols = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n in self.size)
        needs = []
        for y, x in itertools.product(range(rows), range(cols)):
            found = []
            for dy, dx in itertools.product(range(k), range(k)):
                iy, ix = y * s - p + dy * d, x * s - p + dx * d
                if 0 <= iy < height and 0 <= ix < width:
                    found += self.at[iy * width + ix]
            needs.append(found)
        self.size = rows, cols
        return needs

    def stage(self, needs: list[list[tuple[int, int]]], time: int, copies: int = 1) -> None:
        self.stages.append(Stage(needs, time, copies))
        self.at = [[(len(self.stages) - 1, position)] for position in range(len(needs))]

    def simulated(self) -> int:
        """Time at which everything is done: events in order of time, each the end of one position."""
        done = [[False] * len(stage.needs) for stage in self.stages]
        handed_on = [0] * len(self.stages)
        begun = [0] * len(self.stages)
        free = [stage.copies for stage in self.stages]
        events: list[tuple[int, int, int]] = []
        now = 0
        while True:
            progress = True
            while progress:  # a position that takes no time ends at once
                progress = False
                for number, stage in enumerate(self.stages):
                    while begun[number] < len(stage.needs) and free[number]:
                        position = begun[number]
                        if any(handed_on[other] <= at for other, at in stage.needs[position]):
                            break
                        begun[number] += 1
                        free[number] -= 1
                        heapq.heappush(events, (now + stage.time, number, position))
                while events and events[0][0] == now:
                    _, number, position = heapq.heappop(events)
                    done[number][position], free[number] = True, free[number] + 1
                    while handed_on[number] < len(done[number]) and done[number][handed_on[number]]:
                        handed_on[number] += 1
                    progress = True
            if not events:
                assert all(map(all, done))
                return now
            now = events[0][0]


class Net(nn.Module):
    """Modules one after the other."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.parts:
            x = part(x)
        return x


class Residual(nn.Module):
    """A convolution beside the way around it, added or side by side."""

    def __init__(self, layer: nn.Module, join: str) -> None:
        super().__init__()
        self.layer, self.join = layer, join

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x).relu_()
        return y + x if self.join == "add" else torch.cat([x, y], 1)


def conv(draw: Callable, chip: Chip, k: int, s: int, p: int, d: int, groups: int = 1) -> nn.Module:
    chip.stage(chip.windows(k, s, p, d), draw(st.integers(0, 9)), draw(st.integers(1, 3)))
    return nn.Conv2d(chip.channels, chip.channels, k, s, p, d, groups)


@st.composite
def chips(draw: st.DrawFn) -> Chip:
    """Up to five blocks: convolutions, pools, residual and parallel branches, a linear layer at the end."""
    chip = Chip((draw(st.integers(3, 8)), draw(st.integers(3, 8))), 2)
    chip.modules.append(conv(draw, chip, 1, 1, 0, 1))
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["conv", "pool", "average", "add", "cat"]))
        smallest = min(chip.size)
        if kind == "conv":
            k, s, d = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
            p = draw(st.integers(0, 2))
            if smallest + 2 * p > d * (k - 1):
                groups = draw(st.sampled_from([1, chip.channels]))
                chip.modules += [conv(draw, chip, k, s, p, d, groups), nn.ReLU(inplace=True)]
        elif kind in ("pool", "average"):
            k = draw(st.integers(1, 3))
            s, p = draw(st.integers(1, 3)), draw(st.integers(0, k // 2))
            if smallest + 2 * p >= k:
                chip.stage(chip.windows(k, s, p, 1), 1)
                chip.modules.append((nn.MaxPool2d if kind == "pool" else nn.AvgPool2d)(k, s, p))
        else:
            before, channels = chip.at, chip.channels
            layer = conv(draw, chip, 3, 1, 1, 1)
            chip.at = [[*a, *b] for a, b in zip(before, chip.at, strict=True)]
            chip.channels += channels if kind == "cat" else 0
            chip.modules.append(Residual(layer, kind))
    if draw(st.booleans()):
        everything = sorted({need for place in chip.at for need in place})
        inputs = chip.channels * chip.size[0] * chip.size[1]
        chip.stage([everything], draw(st.integers(0, 9)))
        chip.modules += [nn.Flatten(), nn.Linear(inputs, 2)]
    return chip


@settings(deadline=None, max_examples=60)
@given(chips())
def test_streaming_is_what_a_simulation_of_all_events_gives(chip: Chip) -> None:
    mapped = map_network(Net(chip.modules).eval(), hardware(), torch.rand(1, 2, *chip.image))
    assert mapped.dataflow is not None
    assert mapped.dataflow.gaps == ()
    stages = iter(chip.stages)
    times, copies = [], []
    for step in mapped.dataflow.steps:
        joins = not step.is_layer and "pool" not in step.name
        stage = Stage([], 0) if joins else next(stages)
        assert joins or step.positions == len(stage.needs)
        times.append(float(stage.time))
        copies.append(stage.copies)
    assert next(stages, None) is None
    seconds, path = streamed(graph_of(mapped.dataflow.steps), times, copies)
    assert seconds == chip.simulated()
    assert sum(part.time_s for part in path) == seconds


def chain(*steps: tuple[int, list[int] | None]) -> tuple[FlowStep, ...]:
    """Steps of so many positions, each of which waits for the one before; None: for the image alone."""
    return tuple(
        FlowStep(f"s{i}", True, positions, 0, () if last is None else (Wait(i - 1, np.array(last)),))
        for i, (positions, last) in enumerate(steps)
    )


def test_by_hand() -> None:
    """Four positions at 2 s, of which windows of two are read at 3 s: the first begins at 4 s, and the third
    waits for the second."""
    steps = chain((4, None), (3, [1, 2, 3]))
    seconds, path = streamed(graph_of(steps), [2.0, 3.0], [1, 1])
    assert seconds == 13  # 4 + 3 x 3
    assert [(part.step, part.first, part.last, part.time_s) for part in path] == [
        ("s0", 0, 1, 4.0),
        ("s1", 0, 2, 9.0),
    ]
    fast, path = streamed(graph_of(steps), [2.0, 1.0], [1, 1])
    assert fast == 9  # the last window waits for all four
    assert [(part.step, part.first, part.last) for part in path] == [("s0", 0, 3), ("s1", 2, 2)]
    graph = graph_of(steps)
    assert streamed(graph, [2.0, 3.0], [1, 2])[0] == 11  # the third, at 8 s, finds the first copy idle
    assert streamed(graph_of(steps), [2.0, 3.0], [4, 3])[0] == 5


@st.composite
def flows(draw: st.DrawFn) -> tuple[tuple[FlowStep, ...], list[float], list[int]]:
    """Steps that wait for any positions of any earlier ones, with times that no sum of is exact."""
    steps: list[FlowStep] = []
    for number in range(draw(st.integers(1, 6))):
        positions = draw(st.integers(1, 9))
        others = draw(st.lists(st.sampled_from(range(number)), unique=True)) if number else []
        waits = [
            draw(
                st.lists(st.integers(-1, steps[other].positions - 1), min_size=positions, max_size=positions)
            )
            for other in others
        ]
        made = (Wait(other, np.array(last)) for other, last in zip(others, waits, strict=True))
        steps.append(FlowStep(f"s{number}", True, positions, 0, tuple(made)))
    times = st.sampled_from([0.0, 0.1, 0.7, 1 / 3, 1e-9])
    return (
        tuple(steps),
        draw(st.lists(times, min_size=len(steps), max_size=len(steps))),
        draw(st.lists(st.integers(1, 4), min_size=len(steps), max_size=len(steps))),
    )


@settings(deadline=None, max_examples=200)
@given(flows())
def test_every_bit_is_that_of_the_equation_in_numpy(flow) -> None:
    """Times of all positions, each in the order of operations of (max over q of r_q - q v) + p v + v."""
    steps, times, copies = flow
    handed_on: list[np.ndarray] = []
    for step, time, count in zip(steps, times, copies, strict=True):
        begins = np.zeros(step.positions)
        for wait in step.waits:
            ready = np.where(wait.last >= 0, handed_on[wait.step][wait.last], 0)
            begins = np.maximum(begins, ready)
        finished = np.empty(step.positions)
        for copy in range(min(count, step.positions)):
            own = begins[copy::count]
            work = np.arange(len(own)) * time
            finished[copy::count] = np.maximum.accumulate(own - work) + work + time
        handed_on.append(np.maximum.accumulate(finished))
    seconds, path = streamed(graph_of(steps), times, copies)
    assert seconds == max(each[-1] for each in handed_on)
    assert math.isclose(sum(part.time_s for part in path), seconds, rel_tol=1e-12)


def design_with(folder: Path, more: str = "", **changes: object) -> Hardware:
    """The design on an architecture of its own."""
    path = folder / "own.toml"
    path.write_text(f'name = "own"\nsource = "a test"\nbase = "isaac-periphery"\n{more}\n[components]\n')
    return hardware(periphery__architecture=str(path), **changes)


@torch.no_grad()
def test_two_convolutions_by_hand() -> None:
    """At .8 us a position: the second layer's first window is there after two rows and three places of seven
    by five, and its last position ends one position after the first layer's last."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 3))
    mapped = map_network(net, hardware(), torch.rand(1, 1, 7, 5))
    found = estimate(mapped)
    assert found.schedule == "streaming"
    assert found.latency_us_per_image == pytest.approx(0.8 * (35 + 1))
    assert sum(part.time_s for part in found.critical_path) == pytest.approx(36 * 0.8e-6)
    serial = estimate(dataclasses.replace(mapped, dataflow=None))
    assert serial.latency_us_per_image == pytest.approx(0.8 * (35 + 15))
    assert serial.schedule == "layer-serial"
    assert serial.critical_path == ()
    assert (
        "streaming: the mapping has no graph; the latency is that of layer after layer" in serial.not_modelled
    )
    assert serial.peak_image_rate_per_s == found.peak_image_rate_per_s


@torch.no_grad()
def test_a_layer_serial_chip_has_one_image_at_a_time(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 3))
    design = design_with(tmp_path, 'schedule = "layer-serial"')
    found = estimate(map_network(net, design, torch.rand(1, 1, 7, 5)))
    assert found.schedule == "layer-serial"
    assert found.latency_us_per_image == pytest.approx(0.8 * (35 + 15))
    assert found.peak_image_rate_per_s == pytest.approx(1e6 / found.latency_us_per_image)
    assert found.bottleneck == "schedule of one layer after the other of the chip"
    assert not any("streaming" in text for text in found.not_modelled)
    with pytest.raises(
        XbarError, match=r"^image_rate = 25001: above the 25000 images a second .* schedule of"
    ):
        found.at(25001)


def test_a_schedule_that_is_none_is_refused(tmp_path: Path) -> None:
    design = design_with(tmp_path, 'schedule = "pipelined"')
    with pytest.raises(XbarError, match=r"^own\.toml: schedule = .*streaming.*layer-serial"):
        estimate(network(design, unpacked(design, 4, 4)))


@torch.no_grad()
def test_the_longer_branch_counts() -> None:
    """Beside three layers of one position a row, a shortcut of one layer costs nothing."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.short = (nn.Conv2d(2, 2, 1) for _ in range(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(self.b(self.a(x))) + self.short(x)

    found = estimate(map_network(Branches(), hardware(), torch.rand(1, 2, 4, 4)))
    assert found.latency_us_per_image == pytest.approx(0.8 * (16 + 2))
    assert "short" not in {part.step for part in found.critical_path}


@torch.no_grad()
def test_attention_waits_for_all_tokens() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            return self.b(torch.softmax(y @ y.mT, -1) @ y)

    found = estimate(map_network(Block(), hardware(), torch.rand(1, 9, 4)))
    assert found.latency_us_per_image == pytest.approx(0.8 * (9 + 9))
    tokens = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4))
    assert estimate(
        map_network(tokens, hardware(), torch.rand(1, 9, 4))
    ).latency_us_per_image == pytest.approx(0.8 * (9 + 1))


@torch.no_grad()
def test_a_server_of_the_chip_bounds_the_latency(tmp_path: Path) -> None:
    """A bus that all layers share is busy for longer than any chain of layers."""
    path = tmp_path / "slow.toml"
    path.write_text(
        'name = "slow"\nsource = "a test"\nbase = "isaac-periphery"\n'
        '[components.bus]\nlevel = "chip"\ncount = 1\nrate = 1e6\n'
    )
    design = hardware(periphery__architecture=str(path))
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 3))
    found = estimate(map_network(net, design, torch.rand(1, 1, 7, 5)))
    assert found.bottleneck == "bus of the chip"
    assert found.latency_us_per_image == pytest.approx(1e6 / found.peak_image_rate_per_s)
    (part,) = found.critical_path
    assert (part.step, part.time_s) == ("bus of the chip", pytest.approx(found.latency_us_per_image * 1e-6))


@settings(deadline=None, max_examples=30)
@given(chip=chips(), copies=st.integers(1, 3))
def test_latency_lies_between_the_busiest_server_and_layer_after_layer(
    chip: Chip, copies: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = {"*": Choice(hardware=hardware(periphery__copies=copies))}
    mapped = map_network(Net(chip.modules).eval(), hardware(), torch.rand(1, 2, *chip.image), layers=own)
    path = design_with(tmp_path_factory.getbasetemp(), 'schedule = "layer-serial"').periphery.architecture

    def one_by_one(own: Hardware) -> Hardware:
        return dataclasses.replace(own, periphery=dataclasses.replace(own.periphery, architecture=path))

    found, serial = estimate(mapped), estimate(mapped.with_hardware(one_by_one))
    assert (found.schedule, serial.schedule) == ("streaming", "layer-serial")
    assert found.latency_us_per_image >= 1e6 / found.peak_image_rate_per_s * (1 - 1e-12)
    assert found.latency_us_per_image <= serial.latency_us_per_image * (1 + 1e-12)
    assert sum(part.time_s for part in found.critical_path) * 1e6 == pytest.approx(found.latency_us_per_image)


def test_nothing_to_do_takes_no_time() -> None:
    assert streamed(graph_of(()), [], []) == (0.0, ())
    assert streamed(graph_of(chain((3, None))), [0.0], [1]) == (0.0, ())


def with_pool(folder: Path, rate: str, level: str = "node", more: str = "") -> Hardware:
    """A design whose pools do so many inputs a second."""
    path = folder / "pool.toml"
    path.write_text(
        f'name = "a"\nsource = "a test"\nbase = "isaac-periphery"\n{more}\n'
        f'[components.max_pool]\nlevel = "{level}"\nrate = {rate}\n',
        encoding="utf-8",
    )
    return hardware(periphery__architecture=str(path))


@torch.no_grad()
def test_a_digital_operator_takes_its_time_position_by_position(tmp_path: Path) -> None:
    """Sixteen positions of .8 us; windows of a pool are there after the 6th, 8th, 14th and 16th of them, and
    take 4 us each: 4.8, 8.8, 12.8 and 16.8 us are when it begins them."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(2)).eval()
    mapped = map_network(net, with_pool(tmp_path, "1e6"), torch.rand(1, 1, 4, 4))
    assert mapped.dataflow is not None
    assert [dict(step.operations) for step in mapped.dataflow.steps] == [{}, {"pooled": 16}]
    found = estimate(mapped)
    assert found.latency_us_per_image == pytest.approx(4.8 + 4 * 4.0)
    assert [part.step for part in found.critical_path] == ["0", "max_pool2d_with_indices"]
    fast = estimate(map_network(net, with_pool(tmp_path, '"unlimited"'), torch.rand(1, 1, 4, 4)))
    assert fast.latency_us_per_image == pytest.approx(16 * 0.8)


@torch.no_grad()
def test_layer_after_layer_a_digital_operator_has_its_turn(tmp_path: Path) -> None:
    """The pool waits for all sixteen positions, and has the two units of the layer before it alone: the third
    node of the chip, which is the last layer's, stands still meanwhile."""
    net = nn.Sequential(nn.Conv2d(16, 8, 1), nn.MaxPool2d(4), nn.Conv2d(8, 1, 1)).eval()
    design = with_pool(tmp_path, "1e5", more='schedule = "layer-serial"')
    found = estimate(map_network(net, design, torch.rand(1, 16, 4, 4)))
    assert (found.nodes["0"], found.nodes["2"]) == (2, 1)
    assert found.latency_us_per_image == pytest.approx(17 * 0.8 + 8 * 16 / 2e5 * 1e6)


@torch.no_grad()
def test_an_operator_has_the_units_of_the_nodes_before_it(tmp_path: Path) -> None:
    """Layers of 16 and 2 arrays: two nodes and one; a pool behind the first has two units, and one of a level
    above nodes has what the chip has."""
    nets = {
        "two nodes": nn.Sequential(nn.Conv2d(16, 8, 1), nn.MaxPool2d(4), nn.Conv2d(8, 1, 1)),
        "one node": nn.Sequential(nn.Conv2d(16, 8, 1), nn.Conv2d(8, 8, 1), nn.MaxPool2d(4)),
    }
    x = torch.rand(1, 16, 4, 4)
    for name, net in nets.items():
        found = estimate(map_network(net.eval(), with_pool(tmp_path, "1e5"), x))
        nodes = found.nodes["0" if name == "two nodes" else "1"]
        assert nodes == (2 if name == "two nodes" else 1)
        (part,) = [each for each in found.critical_path if "pool" in each.step]
        assert part.time_s == pytest.approx(8 * 16 / (nodes * 1e5))
    of_chip = estimate(map_network(nets["one node"], with_pool(tmp_path, "1e5", "chip"), x))
    (part,) = [each for each in of_chip.critical_path if "pool" in each.step]
    assert part.time_s == pytest.approx(8 * 16 / 1e5)


@torch.no_grad()
def test_operations_of_steps_are_those_of_the_network() -> None:
    """Each operator that makes a step has its own part of what is counted by name, and all of them all."""
    mapped = map_network(
        nn.Sequential(nn.Conv2d(2, 2, 1), Residual(nn.Conv2d(2, 2, 1), "add"), nn.MaxPool2d(2)).eval(),
        hardware(),
        torch.rand(1, 2, 6, 6),
    )
    assert mapped.dataflow is not None
    found: dict[str, int] = {}
    for step in mapped.dataflow.steps:
        for kind, count in step.operations.items():
            found[kind] = found.get(kind, 0) + count
    counted: dict[str, int] = {}
    for counts in mapped.digital_operations.values():
        for kind, count in counts.items():
            counted[kind] = counted.get(kind, 0) + count
    del counted["activations"]  # a ReLU works while values pass
    assert found == counted


def test_additions_of_a_tall_layer_are_shared_by_the_adders_of_its_nodes() -> None:
    """Counted node by node: each adds the sums of its own tiles, and those that come from the node before."""
    design = hardware()
    layer = unpacked(design, 4 * 23, 4, positions=7)  # 23 bands of a tile in two planes: 46 arrays, 6 nodes
    found = estimate(network(design, layer))
    nodes = math.ceil(2 * 23 / 8)
    of_tile = [2 * tile * nodes // (2 * 23) for tile in range(23)]
    additions = [0] * nodes
    for node in range(nodes):
        sums = 4 * of_tile.count(node)
        additions[node] = 7 * (sums + (4 if node else 0) - 4)
    (row,) = [row for row in found.table if row.component == "tile_shift_add"]
    assert row.events == sum(additions) == 7 * 4 * 22
    assert row.allocated_units == nodes == found.nodes["layer"]
    assert row.busy_s == pytest.approx(sum(additions) / nodes / 1.2e9)
    assert max(additions) - sum(additions) / nodes < 7 * 4, "more than the sums of one band above the mean"
