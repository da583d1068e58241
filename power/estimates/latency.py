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
from mapping.tiles.mapped import MappedNetwork
from power.architecture.chip import LayerSchedule
from power.estimates.rows import DIGITAL, CostTable
from power.estimates.servers import Server


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


def streamed(
    steps: Sequence[FlowStep], vector_s: Sequence[float], copies: Sequence[int]
) -> tuple[float, tuple[PathPart, ...]]:
    """Time from the image to the last position of all steps [s], and the longest chain that leads there.

    The times of the parts add up to it. Steps that take no time have no part.

    Parameters
    ----------
    vector_s, copies
        Time of one position of each step [s], and how many copies of it share its positions.
    """
    if not steps:
        return 0.0, ()
    # one block for all: the system takes and gives many small ones more slowly than they are filled
    ends = np.cumsum([step.positions + 1 for step in steps])
    block = np.zeros((2, ends[-1]))
    room = np.empty((2, max(step.positions for step in steps)))
    room[1] = np.arange(room.shape[1])
    ready = np.split(block[0], ends[:-1])
    handed_on = np.split(block[1], ends[:-1])  # the last of each is position -1, which nothing waits for
    finished: list[NDArray[np.float64]] = []
    for number, (step, time, count) in enumerate(zip(steps, vector_s, copies, strict=True)):
        begins, given, own_room = ready[number][:-1], handed_on[number][:-1], room[:, : step.positions]
        for wait in step.waits:
            np.take(handed_on[wait.step], wait.last, out=own_room[0], mode="wrap")
            np.maximum(begins, own_room[0], out=begins)
        if count == 1:
            finished.append(_finished_on_one(begins, time, given, own_room))
        else:
            finished.append(_finished(begins, time, count))
            np.maximum.accumulate(finished[-1], out=given)
    last = max(range(len(steps)), key=lambda number: handed_on[number][-2])
    seconds = float(handed_on[last][-2])
    parts: list[PathPart] = []
    number, position = last, steps[last].positions - 1
    while True:
        step, time, count = steps[number], vector_s[number], copies[number]
        position = int(finished[number][: position + 1].argmax())  # an earlier one may be done last
        own = ready[number][position % count : position + 1 : count]
        work = np.multiply(room[1, : len(own)], time, out=room[0, : len(own)])
        begin = position % count + count * int(np.subtract(own, work, out=work).argmax())
        if worked := ((position - begin) // count + 1) * time:
            parts.append(PathPart(step.name, begin, position, worked))
        earlier = [wait for wait in step.waits if wait.last[begin] >= 0]
        if not earlier:
            return seconds, tuple(reversed(parts))
        slowest = max(earlier, key=lambda wait: handed_on[wait.step][wait.last[begin]])
        number, position = slowest.step, int(slowest.last[begin])


def _finished_on_one(
    begins: NDArray[np.float64], time: float, done: NDArray[np.float64], room: NDArray[np.float64]
) -> NDArray[np.float64]:
    """When each position is done on one copy, in their order, written to `done` [s]; `room` has the numbers
    of the positions in its second row."""
    work = np.multiply(room[1], time, out=room[0])
    np.subtract(begins, work, out=done)
    np.maximum.accumulate(done, out=done)
    done += work
    done += time
    return done


def _finished(begins: NDArray[np.float64], time: float, copies: int) -> NDArray[np.float64]:
    """When each position is done [s], of which every one in `copies` goes to the same copy."""
    rounds = math.ceil(len(begins) / copies)
    waiting = np.pad(begins, (0, rounds * copies - len(begins)))
    work = np.arange(rounds)[:, None] * time
    done = np.maximum.accumulate(waiting.reshape(rounds, copies) - work, axis=0) + work + time
    in_turn: NDArray[np.float64] = done.reshape(-1)[: len(begins)]
    return in_turn


@dataclass(frozen=True)
class Latency:
    """Time of one image that has the chip to itself.

    Parameters
    ----------
    schedule
        ``streaming``; or ``layer-serial``, where the architecture says so or the network was not traced.
    path
        Of a streaming one the longest chain of waiting and working, or the server of the chip that is busy
        for longer; the times of its parts add up to `seconds`.
    untraced
        Why a chip that streams has the latency of layer after layer, which is longer; empty where it has not.
    """

    seconds: float
    schedule: LayerSchedule
    path: tuple[PathPart, ...]
    untraced: tuple[str, ...] = ()


def latency_of(
    mapped: MappedNetwork,
    schedule: LayerSchedule,
    table: CostTable,
    times: Mapping[str, float],
    busiest: Server,
    operator_s: Mapping[int, float],
) -> Latency:
    """Latency of a mapped network on an architecture with such a schedule.

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
    seconds, path = streamed(steps, vector_s, copies)
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
