"""The one pricing: a load on the components of a chip as rows of units and events, each times a price."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mapping.tiles.mapped import MappedLayer
from power.architecture.chip import LAYER
from power.architecture.vocabulary import EVENTS, NETWORK_EVENTS, OFF_CHIP
from power.counts.events import LayerCounts, arrays_of, layer_events
from power.estimates.bill import Bill, Item
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError

DIGITAL, UNUSED = "(digital)", "(unused)"
"""Layers of the table that are none: what lies between layers, and arrays of shared nodes that stay empty."""


@dataclass(frozen=True)
class Row:
    """The cost of one component in one layer.

    Parameters
    ----------
    layer
        Module name, ``(digital)`` for all digital work between layers, or ``(unused)``.
    component
        Its name in the architecture.
    level
        Level of the chip where it stands, or ``layer`` for what is counted by the layer.
    units, allocated_units, unit_area_um2
        Units that its arrays bring, those that are bought for it (with the arrays of its nodes that stay
        empty), and the area of one [um^2].
    events, event_energy_pj
        Events an image, and the energy of one [pJ]; of an array, the mean over its reads.
    leakage_mw
        Of all units that are bought [mW]; None: not known.
    assumed_leakage_mw
        What all units would leak by the scenario of `power.estimates.prices.LEAKING_SHARES`, where no source
        says it [mW]; 0 where one does.
    image_s
        Time that an image takes at the estimate's image rate [s].
    awake_s
        Time of an image in which the units of a gated level are on [s]; None: they are never gated.
    busy_s, shared
        Time that the events of an image take the units that serve them at their rate [s], 0 where they have
        none; whether those serve all layers of the chip.
    """

    layer: str
    component: str
    level: str
    units: float
    allocated_units: float
    unit_area_um2: float
    events: float
    event_energy_pj: float
    leakage_mw: float | None
    assumed_leakage_mw: float
    image_s: float
    awake_s: float | None = None
    busy_s: float = 0.0
    shared: bool = False

    @property
    def on_s(self) -> float:
        """Time of an image in which its units leak [s]."""
        return self.image_s if self.awake_s is None else min(self.awake_s, self.image_s)

    @property
    def dynamic_nj(self) -> float:
        """Energy of the events of an image [nJ]."""
        return self.events * self.event_energy_pj * 1e-3

    @property
    def idle_nj(self) -> float:
        """Energy that leaks in the time of an image [nJ]; 0 where it is not known."""
        return (self.leakage_mw or 0.0) * self.on_s * 1e6

    @property
    def energy_nj(self) -> float:
        """Energy an image, dynamic and idle, the latter where it is known [nJ]."""
        return self.dynamic_nj + self.idle_nj

    @property
    def area_mm2(self) -> float:
        """Area that is occupied [mm^2]."""
        return self.units * self.unit_area_um2 * 1e-6

    @property
    def allocated_mm2(self) -> float:
        """Area that is bought [mm^2]."""
        return self.allocated_units * self.unit_area_um2 * 1e-6

    def at(self, image_s: float) -> Row:
        """The same row where an image takes another time [s]."""
        return Row(**{**vars(self), "image_s": image_s})

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what it is made of, and its products."""
        products = ("dynamic_nj", "idle_nj", "energy_nj", "area_mm2", "allocated_mm2")
        return {**dataclasses.asdict(self), **{name: getattr(self, name) for name in products}}


@dataclass(frozen=True)
class Load:
    """The load on the components of a chip: by a layer, by what lies between layers, or a synthetic one.

    Parameters
    ----------
    arrays, arrays_in_all
        Arrays that hold it, and those that hold anything on the chip.
    slots, slots_in_all
        Arrays that are bought for it, and those of the chip.
    events
        What happens for one image by name, with the numbers of its design; None: every unit is always busy at
        its rated speed.
    numbers
        The numbers of its design, and of its layer.
    read_pj
        Energy of the read of one plane of an array that the device itself prices [pJ].
    copies
        Of the layer.
    owned
        Arrays in what a layer has of its own; what stands at a larger level serves all layers.
    """

    layer: str
    arrays: float
    arrays_in_all: float
    slots: float
    slots_in_all: float
    events: Mapping[str, float] | None
    numbers: Mapping[str, float]
    read_pj: float
    copies: int = 1
    owned: float = 1.0

    def happening(self, event: str) -> float:
        """How often an event happens for one image."""
        assert self.events is not None
        return self.events[event]


NO_LAYER = dict.fromkeys((*EVENTS, OFF_CHIP), 0.0)
"""Events of layers, of which there are none between layers."""

NO_NETWORK = dict.fromkeys((*NETWORK_EVENTS, OFF_CHIP), 0.0)
"""Events between layers, of which there are none in a layer."""


def layer_load(
    layer: MappedLayer,
    hardware: Hardware,
    bill: Bill,
    arrays_in_all: float,
    slots_in_all: float,
    counts: LayerCounts,
) -> Load:
    """The load of one layer on a chip with this many arrays, and this many bought; reads have no energy of a
    device yet."""
    arrays, events = arrays_of(layer, hardware, counts.tiles), layer_events(layer, hardware, counts)
    numbers = {**bill.variables, "layer_index_bytes": events["index_bytes"] / layer.positions}
    return Load(
        layer=layer.name,
        arrays=arrays,
        arrays_in_all=arrays_in_all,
        slots=bill.slots(arrays),
        slots_in_all=slots_in_all,
        events={**numbers, **NO_NETWORK, **events},
        numbers=numbers,
        read_pj=0.0,
        copies=hardware.periphery.copies,
        owned=bill.owned,
    )


def rows_of(load: Load, items: Iterable[Item], image_s: float) -> list[Row]:
    """A row for each component: its units and events, each times its price.

    Parameters
    ----------
    image_s
        Time that an image takes [s].
    """
    return [_row(load, item, image_s) for item in items]


def _row(load: Load, item: Item, image_s: float) -> Row:
    price = item.price
    units = bought = 0.0
    if load.arrays or item.level != LAYER:
        units = item.units(load.arrays, load.arrays_in_all, load.numbers, load.copies)
        bought = item.units(load.slots, load.slots_in_all, load.numbers, load.copies)
    rated = bought * (item.rate_per_s or 0.0)
    events = rated * image_s if load.events is None else item.times(load.events)
    shared = not load.slots or (item.level != LAYER and (item.arrays is None or item.arrays > load.owned))
    known = price.leakage_uw is not None
    return Row(
        layer=load.layer,
        component=item.name,
        level=item.level,
        units=units,
        allocated_units=bought,
        unit_area_um2=price.area_um2,
        events=events,
        event_energy_pj=load.read_pj if item.by_device else price.energy_pj,
        leakage_mw=bought * price.leakage_uw * 1e-3 if price.leakage_uw is not None else None,
        assumed_leakage_mw=0.0 if known else item.leaking_share * rated * price.energy_pj * 1e-9,
        image_s=image_s,
        busy_s=_busy_s(load, item, events, units, bought, shared),
        shared=shared,
    )


def _busy_s(load: Load, item: Item, events: float, units: float, bought: float, shared: bool) -> float:
    """Time that events take the units that serve them [s].

    What stands at the level of an array or below serves the arrays that hold the layer; above that, all that
    is bought for it serves, or all of the chip. A layer without arrays gives constants, and takes no time.
    """
    constant = not load.slots and load.layer != DIGITAL
    if not events or item.rate_per_s is None or constant:
        return 0.0
    if shared:
        serving = item.units(load.slots_in_all, load.slots_in_all, load.numbers)
    else:
        serving = units if item.arrays is None or item.arrays <= 1 else bought
    if not serving:
        raise XbarError(
            f"{item.name}: count = {item.formula!r}: gives no unit that serves layer {load.layer!r}, which "
            f"has {events:g} of its events an image; allowed: a number above 0, or rate = 'unlimited'"
        )
    return events / (serving * item.rate_per_s)


def ratio(work: float, cost: float) -> float:
    """Work for its cost: infinite where it is free, 0 where nothing is done."""
    return work / cost if cost else math.inf if work else 0.0


def sums(pairs: Iterable[tuple[str, Row]]) -> dict[str, dict[str, float]]:
    """Plain sums of area and energy by key, in order of appearance."""
    found: dict[str, dict[str, float]] = {}
    for key, row in pairs:
        part = found.setdefault(key, dict.fromkeys(SUMMED, 0.0))
        for name in SUMMED:
            part[name] += getattr(row, name)
    return found


SUMMED = ("area_mm2", "allocated_mm2", "energy_nj", "dynamic_nj", "idle_nj")
"""Properties of a row that are summed by component, layer and level."""
