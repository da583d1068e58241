"""The one pricing: a load on the components of a chip as units and events, each times a price."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
    """What layers of the same hardware, what lies between layers, or a synthetic load asks of a chip.

    Parameters
    ----------
    layers
        Their names.
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
        Of each layer.
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

    def units(self, item: Item, arrays: Numbers, in_all: float) -> Numbers:
        """Units of a component that come with so many arrays of a chip, shape (layers,); what arrays share
        counts in parts. What is counted by the layer comes with each that has an array."""
        if item.level == LAYER:
            assert self.happens is not None
            of_layer = self.happens.of(f"{item.name}.count", item.count, self.numbers)
            return self.copies * of_layer * (self.arrays > 0)
        return np.asarray(item.units(arrays, in_all), np.float64)


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
    items = list(items)
    parts = [_columns(load, item, image_s) for item in items]
    columns = {name: np.stack([part[name] for part in parts], axis=1).reshape(-1) for name in parts[0]}
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


def _columns(load: Load, item: Item, image_s: float) -> dict[str, NDArray[np.generic]]:
    """Columns of one component, each of shape (layers,)."""
    price, count = item.price, len(load.layers)
    units = load.units(item, load.arrays, load.arrays_in_all)
    bought = load.units(item, load.slots, load.slots_in_all)
    rated = bought * (item.rate_per_s or 0.0)
    if load.happens is None:
        events = rated * image_s
    else:
        events = load.happens.of(f"{item.name}.events", item.events, load.numbers)
    of_chip = item.level != LAYER and (item.arrays is None or item.arrays > load.owned)
    shared = (load.slots == 0) | of_chip
    leaks = math.nan if price.leakage_uw is None else price.leakage_uw
    assumed = item.leaking_share if price.leakage_uw is None else 0.0
    return {
        "units": units,
        "allocated_units": bought,
        "unit_area_um2": np.full(count, price.area_um2),
        "events": events,
        "event_energy_pj": load.read_pj if item.by_device else np.full(count, price.energy_pj),
        "leakage_mw": bought * leaks * 1e-3,
        "assumed_leakage_mw": assumed * rated * price.energy_pj * 1e-9,
        "busy_s": _busy_s(load, item, events, units, bought, shared),
        "shared": shared,
    }


def _busy_s(
    load: Load, item: Item, events: Numbers, units: Numbers, bought: Numbers, shared: NDArray[np.bool_]
) -> Numbers:
    """Time that events take the units that serve them [s].

    What stands at the level of an array or below serves the arrays that hold the layer; above that, all that
    is bought for it serves, or all of the chip. A layer without arrays gives constants, and takes no time.
    """
    works = (events > 0) & ((load.slots > 0) | load.between)
    if item.rate_per_s is None or not works.any():
        return np.zeros(len(events))
    if load.busiest is not None:
        at_busiest = load.busiest.of(f"{item.name}.events", item.events, load.numbers)
        return at_busiest / (item.units(load.busiest_arrays, load.slots_in_all) * item.rate_per_s)
    own = units if item.arrays is None or item.arrays <= 1 else bought
    serving = own
    if (shared & works).any():
        serving = np.where(shared, item.units(load.slots_in_all, load.slots_in_all), own)
    idle = works & (serving == 0)
    if idle.any():
        first = int(idle.argmax())
        raise XbarError(
            f"{item.name}: count = {item.formula!r}: gives no unit that serves layer {load.layers[first]!r}, "
            f"which has {events[first]:g} of its events an image; allowed: a number above 0, or rate = "
            "'unlimited'"
        )
    return np.divide(events, serving * item.rate_per_s, out=np.zeros(len(events)), where=works)
