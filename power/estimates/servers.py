"""A chip as a set of servers: how long each is busy for one image, and which of them sets the image rate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mapping.network.gemm import shown_name
from mapping.tiles.mapped import MappedLayer
from power.counts.duplication import Interval, array_interval, with_copies
from power.counts.events import arrays_of, layer_counts
from power.estimates.prices import bill_of
from power.estimates.rows import Row, layer_load, rows_of
from xbar.hardware.design import Hardware

CONTROL = "array"
"""Name of the arrays' own time: the reads of all phases, with the conversions that a phase waits for."""


@dataclass(frozen=True)
class Server:
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


def servers_of(table: Iterable[Row], times: Mapping[str, float]) -> tuple[Server, ...]:
    """Servers of a chip, the busiest first.

    Parameters
    ----------
    table
        Rows of all layers; those whose units serve all layers are one server. Work between layers is shared
        out evenly over all units of a component, and keeps those that a layer has of its own busy, too.
    times
        Time of the arrays of each layer for one image [s].
    """
    busy: dict[tuple[str, str | None], float] = {(CONTROL, name): time for name, time in times.items()}
    for row in table:
        key = row.component, None if row.shared else row.layer
        if row.shared:
            busy[key] = busy.get(key, 0.0) + row.busy_s
        else:
            busy[key] = max(busy.get(key, 0.0), row.busy_s)
    for component, layer in busy:
        if layer is not None and busy[component, layer]:
            busy[component, layer] += busy.get((component, None), 0.0)
    found = [Server(component, layer, time) for (component, layer), time in busy.items() if time]
    return tuple(sorted(found, key=lambda server: -server.busy_s))


def with_gates(
    table: Iterable[Row], times: Mapping[str, float], gates: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> list[Row]:
    """Rows that know how long an image keeps the units of a gated level awake (`Row.awake_s`).

    That is the time of the busiest of the layer's arrays, of what serves it at the levels of the same gate,
    and of what stands there and serves all layers, which is the pool.

    Parameters
    ----------
    table
        Rows of all layers.
    times
        Time of the arrays of each layer for one image [s].
    gates
        Of each layer of the table, `Architecture.gates`.
    """
    rows = list(table)
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

    def awake_s(row: Row) -> float | None:
        levels = gates[row.layer].get(row.level)
        if levels is None:
            return None
        busy = (max(own.get((row.layer, level), 0.0), of_all.get(level, 0.0)) for level in levels)
        return max(times.get(row.layer, 0.0), *busy)

    return [dataclasses.replace(row, awake_s=awake_s(row)) for row in rows] if any(gates.values()) else rows


def layer_interval(layer: MappedLayer, hardware: Hardware) -> Interval:
    """Time of the busiest server that a layer has of its own, for one image [s], by its copies.

    What arrays bring grows with the copies, what nodes bring with the whole nodes that they fill; servers of
    the whole chip are left out.
    """
    one = with_copies(hardware, 1)
    bill, counts = bill_of(one), layer_counts(layer, one)
    arrays = arrays_of(layer, one, counts.tiles)
    load = layer_load(layer, one, bill, arrays, bill.slots(arrays), counts)
    by_array = by_node = 0.0
    for item, row in zip(bill.charged, rows_of(load, bill.charged, 1.0), strict=True):
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
