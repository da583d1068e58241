"""The one pricing: a load on the components of a chip as units and events, each times a price."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from power.architecture.chip import LAYER
from power.counts.tally import Tally
from power.estimates.bill import Item
from power.estimates.rows import CostTable
from xbar.hardware.errors import XbarError

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Load:
    """Events that layers of the same hardware, work between layers, or a synthetic load bring to a chip.

    Parameters
    ----------
    layers
        Names of the layers.
    arrays, arrays_in_all
        Arrays that hold each of them, shape (layers,), and those that hold anything on the chip.
    slots, slots_in_all
        Arrays that are bought for each, shape (layers,), and those of the chip.
    happens
        What happens for one image; None: every unit is always busy at its rated speed.
    numbers
        The numbers of their design.
    read_pj
        Energy of the read of one plane of an array that the device itself prices [pJ], shape (layers,).
    copies
        Copies of each layer.
    owned
        Arrays in what a layer has of its own; what stands at a larger level serves all layers.
    between
        Whether it is no layer's, but lies between them.
    busiest, busiest_arrays
        What happens at the busiest router of a mesh and its link, where only they serve, and the arrays that
        stand there; None: all units serve alike.
    """

    layers: tuple[str, ...]
    arrays: Numbers
    arrays_in_all: float
    slots: Numbers
    slots_in_all: float
    happens: Tally | None
    numbers: Mapping[str, float]
    read_pj: Numbers
    copies: int = 1
    owned: float = 1.0
    between: bool = False
    busiest: Tally | None = None
    busiest_arrays: float = 1.0

    def units(self, items: Sequence[Item], arrays: Numbers, in_all: float) -> Numbers:
        """Units of components that come with so many arrays of a chip, shape (layers, items); what arrays
        share counts in parts. What is counted by the layer comes with each that has an array."""
        counts = np.array([0.0 if item.level == LAYER else item.count for item in items], np.float64)
        shared_by = np.array([item.arrays or in_all or 1.0 for item in items])
        found: Numbers = counts * arrays[:, None] / shared_by
        for place, item in enumerate(items):
            if item.level == LAYER:
                assert self.happens is not None
                of_layer = self.happens.of(f"{item.name}.count", item.count, self.numbers)
                found[:, place] = self.copies * of_layer * (self.arrays > 0)
        return found


def table_of(load: Load, items: Iterable[Item], image_s: float) -> CostTable:
    """A row for each component of each layer: its units and events, each times its price.

    Parameters
    ----------
    image_s
        Time that an image takes [s].

    Raises
    ------
    XbarError
        For events that no unit serves.
    """
    items = tuple(items)
    columns: dict[str, Any] = {
        name: column.reshape(-1) for name, column in _columns(load, items, image_s).items()
    }
    return CostTable(
        names=_names(load.layers, tuple((item.name, item.level) for item in items)),
        awake_s=np.full(len(load.layers) * len(items), math.nan),
        image_s=image_s,
        **columns,
    )


@functools.lru_cache(maxsize=64)
def _names(
    layers: tuple[str, ...], components: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str, str], ...]:
    """Names of the rows of a table, which many architectures share."""
    return tuple((layer, *component) for layer in layers for component in components)


def _columns(load: Load, items: Sequence[Item], image_s: float) -> dict[str, NDArray[np.generic]]:
    """Columns of the table, each of shape (layers, items)."""
    shape = len(load.layers), len(items)
    prices, rates = [item.price for item in items], np.array([item.rate_per_s or 0.0 for item in items])
    units = load.units(items, load.arrays, load.arrays_in_all)
    bought = load.units(items, load.slots, load.slots_in_all)
    rated = bought * rates
    events = rated * image_s if load.happens is None else _events(load, load.happens, items)
    shared = (load.slots == 0)[:, None] | np.array([_is_of_chip(load, item) for item in items])
    energy_pj = np.array([price.energy_pj for price in prices])
    of_event = np.broadcast_to(energy_pj, shape).copy()
    by_device = [place for place, item in enumerate(items) if item.by_device]
    of_event[:, by_device] = load.read_pj[:, None]
    leaks_uw = np.array([math.nan if one.leakage_uw is None else one.leakage_uw for one in prices])
    assumed = np.array([item.leaking_share if item.price.leakage_uw is None else 0.0 for item in items])
    return {
        "units": units,
        "allocated_units": bought,
        "unit_area_um2": np.broadcast_to(np.array([price.area_um2 for price in prices], np.float64), shape),
        "events": events,
        "event_energy_pj": of_event,
        "leakage_mw": bought * leaks_uw * 1e-3,
        "assumed_leakage_mw": assumed * rated * energy_pj * 1e-9,
        "busy_s": _busy_s(load, items, events, units, bought, shared),
        "shared": shared,
    }


def _events(load: Load, happens: Tally, items: Sequence[Item]) -> Numbers:
    """Events of each component in each layer for one image, shape (layers, items)."""
    found = [happens.of(f"{item.name}.events", item.events, load.numbers) for item in items]
    return np.stack(found, axis=1)


def _is_of_chip(load: Load, item: Item) -> bool:
    """Whether a component stands above what a layer has of its own."""
    return item.level != LAYER and (item.arrays is None or item.arrays > load.owned)


def _busy_s(
    load: Load,
    items: Sequence[Item],
    events: Numbers,
    units: Numbers,
    bought: Numbers,
    shared: NDArray[np.bool_],
) -> Numbers:
    """Time that events take the units that serve them [s], shape (layers, items).

    What stands at the level of an array or below serves the arrays that hold the layer; above that, all that
    is bought for it serves, or all of the chip. A layer without arrays gives constants, and takes no time.
    """
    limited = np.array([item.rate_per_s is not None for item in items])
    works = (events > 0) & ((load.slots > 0) | load.between)[:, None] & limited
    if load.busiest is not None:
        events = _events(load, load.busiest, items)
        at_one = np.array([load.busiest_arrays])
        serving = np.broadcast_to(load.units(items, at_one, load.slots_in_all), works.shape)
    else:
        of_array = np.array([item.arrays is None or item.arrays <= 1 for item in items])
        serving = np.where(of_array, units, bought)
        if (shared & works).any():
            in_all = load.units(items, np.full(len(events), load.slots_in_all), load.slots_in_all)
            serving = np.where(shared, in_all, serving)
    idle = works & (serving == 0)
    if idle.any():
        layer, place = np.argwhere(idle.T)[0][::-1]
        item = items[place]
        raise XbarError(
            f"{item.name}: count = {item.formula!r}: gives no unit that serves layer {load.layers[layer]!r}, "
            f"which has {events[layer, place]:g} of its events an image; allowed: a number above 0, or "
            "rate = 'unlimited'"
        )
    rates = np.array([item.rate_per_s or 1.0 for item in items])
    times: Numbers = np.divide(events, serving * rates, out=np.zeros(events.shape), where=works)
    return times
