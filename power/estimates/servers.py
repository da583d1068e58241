"""A chip as a set of servers: how long each is busy for one image, and which of them sets the image rate."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mapping.network.gemm import shown_name
from mapping.tiles.mapped import MappedLayer
from power.counts.duplication import Interval, array_interval, with_copies
from power.counts.events import arrays_of, layer_counts
from power.counts.tally import Tally
from power.counts.workload import happening
from power.estimates.loads import Load, table_of
from power.estimates.prices import bill_of
from power.estimates.rows import CostTable, Row
from xbar.hardware.design import Hardware

CONTROL = "array"
"""Name of the arrays' own time: the reads of all phases, with the conversions that a phase waits for."""


class Server(NamedTuple):
    """Units that serve one layer, or all of them.

    Parameters
    ----------
    layer
        Its name, which is empty in a network that is one module; None: all layers.
    busy_s
        Time that the events of one image take them [s].
    """

    component: str
    layer: str | None
    busy_s: float

    def __str__(self) -> str:
        served = "the chip" if self.layer is None else shown_name(self.layer)
        return f"{self.component} of {served}"


Busy = Mapping[tuple[str, str | None], float]
"""Time that the events of one image take each server [s], by component and the layer that it serves."""


def busy_of(table: CostTable, times: Mapping[str, float]) -> Busy:
    """Time that each server of a chip is busy for one image [s], by the key of the `Server`.

    Parameters
    ----------
    table
        Rows of all layers; those whose units serve all layers are one server. Work between layers is shared
        out evenly over all units of a component, and keeps those that a layer has of its own busy, too.
    times
        Time of the arrays of each layer for one image [s].
    """
    busy: dict[tuple[str, str | None], float] = {(CONTROL, name): time for name, time in times.items()}
    works = np.flatnonzero(table.busy_s)
    columns = works.tolist(), table.busy_s[works].tolist(), table.shared[works].tolist()
    for place, busy_s, of_chip in zip(*columns, strict=True):
        layer, component, _ = table.names[place]
        key = component, None if of_chip else layer
        if key not in busy:
            busy[key] = busy_s
        else:
            busy[key] = busy[key] + busy_s if of_chip else max(busy[key], busy_s)
    pools = {component: time for (component, served), time in busy.items() if served is None}
    for key, time in busy.items() if pools else ():
        if key[0] in pools and key[1] is not None and time:
            busy[key] = time + pools[key[0]]
    return busy


def busiest_of(busy: Busy) -> Server:
    """The server that sets the image rate; of several the first."""
    key = max(busy, key=busy.__getitem__)
    return Server(*key, busy[key])


def servers_of(busy: Busy) -> tuple[Server, ...]:
    """Servers that are busy at all, the busiest first."""
    found = [Server(*key, time) for key, time in busy.items() if time]
    return tuple(sorted(found, key=operator.attrgetter("busy_s"), reverse=True))


def with_gates(
    table: CostTable, times: Mapping[str, float], gates: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> CostTable:
    """The table that knows how long an image keeps the units of a gated level awake (`Row.awake_s`).

    That is the time of the busiest of the layer's arrays, of what serves it at the levels of the same gate,
    and of what stands there and serves all layers, which is the pool.

    Parameters
    ----------
    table
        Rows of all layers.
    times
        Time of the arrays of each layer for one image [s].
    gates
        `Architecture.gates` of each layer of the table.
    """
    if not any(gates.values()):
        return table
    rows = table.rows
    own: dict[tuple[str, str], float] = {}
    shared: dict[tuple[str, str], float] = {}
    for row in rows:
        if row.shared:
            shared[row.level, row.component] = shared.get((row.level, row.component), 0.0) + row.busy_s
    for row in rows:
        if not row.shared and row.busy_s:
            key = row.layer, row.level
            between = shared.get((row.level, row.component), 0.0)
            own[key] = max(own.get(key, 0.0), row.busy_s + between)
    of_all: dict[str, float] = {}
    for (level, _), time in shared.items():
        of_all[level] = max(of_all.get(level, 0.0), time)

    def awake_s(row: Row) -> float:
        levels = gates[row.layer].get(row.level)
        if levels is None:
            return math.nan
        busy = (max(own.get((row.layer, level), 0.0), of_all.get(level, 0.0)) for level in levels)
        return max(times.get(row.layer, 0.0), *busy)

    return dataclasses.replace(table, awake_s=np.array([awake_s(row) for row in rows]))


def layer_interval(layer: MappedLayer, hardware: Hardware) -> Interval:
    """Time of the busiest server that a layer has of its own, for one image [s], by its copies.

    What arrays bring grows with the copies, what nodes bring with the whole nodes that they fill; servers of
    the whole chip are left out.
    """
    one = with_copies(hardware, 1)
    bill, counts = bill_of(one), layer_counts(layer, one)
    arrays = arrays_of(layer, one, counts.tiles)
    slots = bill.slots(arrays)
    load = Load(
        layers=(layer.name,),
        arrays=np.array([arrays], np.float64),
        arrays_in_all=arrays,
        slots=np.array([slots]),
        slots_in_all=slots,
        happens=Tally([happening(layer, one, counts)]),
        numbers=bill.variables,
        read_pj=np.zeros(1),
        owned=bill.owned,
    )
    by_array = by_node = 0.0
    for item, row in zip(bill.charged, table_of(load, bill.charged, 1.0), strict=True):
        if row.shared:
            continue
        if item.arrays is None or item.arrays <= 1:
            by_array = max(by_array, row.busy_s)
        else:
            by_node = max(by_node, row.busy_s * math.ceil(arrays / bill.owned))
    read = array_interval(layer, one)
    return lambda copies: max(
        read(copies), by_array / copies, by_node / math.ceil(copies * arrays / bill.owned)
    )
