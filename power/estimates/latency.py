"""Time of one image that has a chip to itself: how it streams through the steps of a network.

A step begins a position when the positions that this waits for are done and one of its copies is free, and
takes a fixed time for it. Positions begin in raster order, and are handed on in it. No step waits for room:
buffers hold what is still needed. With ready times r_p, a time v of a position and c copies, position p is
done at

    F_p = max over q <= p, q = p mod c, of r_q + ((p - q) / c + 1) v

which is the longest of all chains of waiting and working that end there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapping.tiles.dataflow import FlowStep
from power.architecture.chip import LayerSchedule
from power.counts.workload import Workload
from power.estimates.rows import DIGITAL, CostTable
from power.estimates.servers import Server
from xbar.machine.kernels import njit

Times = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class PathPart:
    """A stretch of the longest chain of waiting and working of an image.

    Parameters
    ----------
    step
        Layer, or digital operator.
    first, last
        The positions that it works on, one after the other on one copy.
    time_s
        Time that they take [s].
    """

    step: str
    first: int
    last: int
    time_s: float


@dataclass(frozen=True, eq=False)
class Graph:
    """Positions of all steps in one row, each with those that it waits for, as the kernel takes them.

    Parameters
    ----------
    steps
        In the order in which the network runs them.
    first
        Place of the first position of each step, shape (steps + 1,). Place 0 is what the image itself gives.
    waits
        Number of the first wait of each step, shape (steps + 1,).
    sources
        For each wait, place after place of its step, the place that is waited for; one wait after the other.
    """

    steps: tuple[FlowStep, ...]
    first: Places
    waits: Places
    sources: Places


def graph_of(steps: Sequence[FlowStep]) -> Graph:
    """The steps of a traced network, with all their positions in one row."""
    first = np.cumsum([1, *(step.positions for step in steps)])
    found = [
        np.where(wait.last >= 0, first[wait.step] + wait.last, 0) for step in steps for wait in step.waits
    ]
    return Graph(
        steps=tuple(steps),
        first=first,
        waits=np.cumsum([0, *(len(step.waits) for step in steps)]),
        sources=np.concatenate(found) if found else np.empty(0, np.int64),
    )


def streamed(
    graph: Graph, vector_s: Sequence[float], copies: Sequence[int]
) -> tuple[float, tuple[PathPart, ...]]:
    """Time from the image to the last position of all steps [s], and the longest chain that leads there.

    The times of the parts add up to it. Steps that take no time have no part.

    Parameters
    ----------
    vector_s, copies
        Time of one position of each step [s], and how many copies of it share its positions.
    """
    if not graph.steps:
        return 0.0, ()
    size, room = graph.first[-1], max(step.positions for step in graph.steps)
    handed_on, last, begun = np.zeros(size), np.empty(size, np.int32), np.empty(size, np.int32)
    each = np.array(vector_s, np.float64), np.array(copies, np.int64)
    _stream(graph.first, graph.waits, graph.sources, *each, np.empty((2, room)), handed_on, last, begun)
    first = graph.first.tolist()
    ends = handed_on[graph.first[1:] - 1]
    number = int(ends.argmax())
    seconds, position = float(ends[number]), graph.steps[number].positions - 1
    parts: list[PathPart] = []
    while True:
        step, time, count, start = graph.steps[number], vector_s[number], copies[number], first[number]
        position = int(last[start + position])
        begin = int(begun[start + position])
        if worked := ((position - begin) // count + 1) * time:
            parts.append(PathPart(step.name, begin, position, worked))
        earlier = [wait for wait in step.waits if wait.last[begin] >= 0]
        if not earlier:
            return seconds, tuple(reversed(parts))
        slowest = max(earlier, key=lambda wait: handed_on[first[wait.step] + wait.last[begin]])
        number, position = slowest.step, int(slowest.last[begin])


@njit(cache=True, nogil=True)
def _stream(
    first: Places,
    waits: Places,
    sources: Places,
    vector_s: Times,
    copies: Places,
    room: Times,
    handed_on: Times,
    last: NDArray[np.int32],
    begun: NDArray[np.int32],
) -> None:
    """When each position is handed on, after all before it; which of these is done last; and, for each
    position, the one with which the work began that keeps its copy busy until it is done.

    `room` has two rows for the positions of any step; place 0 of `handed_on` is 0.
    """
    begins, finished = room
    wanted = 0
    for step in range(len(vector_s)):
        start, count, time = first[step], copies[step], vector_s[step]
        positions = first[step + 1] - start
        # r_p: the last of what p waits for
        begins[:positions] = 0
        for _ in range(waits[step], waits[step + 1]):
            for p in range(positions):
                ready = handed_on[sources[wanted + p]]
                begins[p] = ready if ready > begins[p] else begins[p]
            wanted += positions
        # F_p = (max over q of r_q - q v) + (p + 1) v, on each copy over the positions that it takes
        for copy in range(min(count, positions)):
            latest, since = begins[copy], copy
            for turn, p in enumerate(range(copy, positions, count)):
                work = turn * time
                if begins[p] - work > latest:
                    latest, since = begins[p] - work, p
                finished[p], begun[start + p] = latest + work + time, since
        latest, since = -1.0, 0
        for p in range(positions):
            if finished[p] > latest:
                latest, since = finished[p], p
            handed_on[start + p], last[start + p] = latest, since


@dataclass(frozen=True)
class Latency:
    """Time of one image that has the chip to itself.

    Parameters
    ----------
    schedule
        ``streaming``; or ``layer-serial``, where the architecture says so or the network was not traced.
    path
        With ``streaming`` the longest chain of waiting and working, or the server of the chip that is busy
        for longer; the times of its parts add up to `seconds`.
    untraced
        Why a chip that streams has the latency of layer after layer, which is longer; empty where it has not.
    """

    seconds: float
    schedule: LayerSchedule
    path: tuple[PathPart, ...]
    untraced: tuple[str, ...] = ()


def latency_of(
    work: Workload,
    schedule: LayerSchedule,
    table: CostTable,
    times: Mapping[str, float],
    busiest: Server,
    operator_s: Mapping[int, float],
) -> Latency:
    """Latency of a network that was counted on an architecture with such a schedule.

    Each position of a layer takes its share of the time of the layer's busiest server, and each of a digital
    operator its share of `operator_s`. No image is done before the busiest server of the chip has served it.
    Layer after layer, an image takes the sum of the times of all layers and operators. Operators of which no
    graph is known then take the time in which the units of the whole chip, which share their work, do it.

    Parameters
    ----------
    table
        Rows of all layers.
    times
        Time of the arrays of each layer for one image [s].
    busiest
        The busiest server of the chip.
    operator_s
        Time of each digital operator for one image [s], by the number of its step; of those that are not
        there it is not known, and counts as none.
    """
    longest = _longest_s(table, times, sum(operator_s.values()))
    untraced: tuple[str, ...] = ()
    mapped = work.mapped
    if schedule == "streaming":
        untraced = ("the mapping has no graph",) if mapped.dataflow is None else mapped.dataflow.gaps
    if schedule == "layer-serial" or untraced or mapped.dataflow is None:
        return Latency(sum(longest.values()), "layer-serial", (), untraced)
    steps = mapped.dataflow.steps
    vector_s, copies = [0.0] * len(steps), [1] * len(steps)
    for number, step in enumerate(steps):
        if step.is_layer:
            layer = mapped.layers[step.name]
            copies[number] = layer.hardware.periphery.copies
            vector_s[number] = longest[step.name] / math.ceil(layer.positions / copies[number])
        else:
            vector_s[number] = operator_s.get(number, 0.0) / step.positions
    graph = work.once("graph", lambda: graph_of(steps))
    seconds, path = streamed(graph, vector_s, copies)
    if busiest.busy_s > seconds:
        return Latency(busiest.busy_s, schedule, (PathPart(str(busiest), 0, 0, busiest.busy_s),))
    return Latency(seconds, schedule, path)


def _longest_s(table: CostTable, times: Mapping[str, float], operators_s: float) -> dict[str, float]:
    """Time that each layer of the table takes for an image, which is that of its busiest server [s].

    `operators_s` is what digital operators take one after the other. It is at least the time of their rows,
    in which the units of the whole chip share the work: an operator has those of the nodes before it alone.
    """
    longest = dict(times)
    for (layer, _, _), busy_s in zip(table.names, table.busy_s.tolist(), strict=True):
        if busy_s > longest.get(layer, 0.0):
            longest[layer] = busy_s
    if operators_s > longest.get(DIGITAL, 0.0):
        longest[DIGITAL] = operators_s
    return longest
