"""The bill of one design as data: its components, each with its count, its price, its events and its rate."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from power.architecture.chip import LAYER, NODE, Architecture
from power.architecture.expressions import Expression, names_of, value_of
from power.architecture.vocabulary import EVENTS, NETWORK_EVENTS, NO_EVENTS, OFF_CHIP, TRAFFIC_EVENTS
from power.components.price import Price
from xbar.hardware.errors import XbarError

T = TypeVar("T", float, NDArray[np.float64])


@dataclass(frozen=True)
class Item:
    """A component of a design.

    Parameters
    ----------
    level
        Level of the architecture where the component stands.
    count
        Units in one of its level; an expression for what is counted by the layer.
    arrays
        Arrays in one of its level; None: all of the chip, or a layer.
    events
        Events that the component is charged for.
    rate_per_s
        Events a second that one unit serves [1/s]; None: without limit, or not known.
    by_device
        Whether the energy of its event is that of the cells, in place of the price's.
    leaking_share
        Share of its rated power that leaks in the scenario of `LEAKING_SHARES`.
    formula
        Its count, in words.
    """

    name: str
    level: str
    count: Expression
    arrays: float | None
    events: Expression
    price: Price
    rate_per_s: float | None
    by_device: bool
    leaking_share: float
    formula: str

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """Names of events and variables that `events` reads."""
        return names_of(f"{self.name}.events", self.events)

    @property
    def of_network(self) -> bool:
        """Whether the component is charged for what happens between layers."""
        return bool(self.names & NETWORK_EVENTS.keys())

    @property
    def of_traffic(self) -> bool:
        """Whether the component is charged for what nodes send each other."""
        return bool(self.names & TRAFFIC_EVENTS.keys())

    @property
    def is_link(self) -> bool:
        """Whether the component is charged for traffic that no mapping knows."""
        return OFF_CHIP in self.names

    def units(self, arrays: T, arrays_in_all: float) -> T:
        """Units that come with this many arrays of a chip, of what is not counted by the layer; what arrays
        share counts in parts."""
        assert isinstance(self.count, float)
        return self.count * arrays / (self.arrays or arrays_in_all or 1)

    def times(self, events: Mapping[str, float]) -> float:
        """Number of its events, from the events of an image and the numbers of a design."""
        return value_of(f"{self.name}.events", self.events, events)

    def is_charged(self, variables: Mapping[str, float]) -> bool:
        """Whether the component is charged for any load; one without events has only an area."""
        try:
            return self.times({**variables, **dict.fromkeys(NO_EVENTS, 1.0)}) > 0
        except XbarError:
            return True

    def counting(self) -> dict[str, str]:
        """Text of how the component's units and events are counted."""
        words = {**EVENTS, **NETWORK_EVENTS, **TRAFFIC_EVENTS}
        said = [f"{name}: {words[name]}" for name in sorted(self.names & words.keys())]
        level = "copy of a layer" if self.level == LAYER else self.level
        article = "an" if level[0] in "aeiou" else "a"
        return {"events": "; ".join([str(self.events), *said]), "units": f"{self.formula} {article} {level}"}


BESIDE_ARRAYS = (
    *("sum_updates", "partial_sums", "rescaled", "outputs"),
    *("fetched_bytes", "stored_bytes", "index_bytes"),
)
"""Events of what a layer does beside its arrays and their converters."""


@dataclass(frozen=True)
class Bill:
    """All components of a design.

    Parameters
    ----------
    levels
        Arrays in one unit of each level but a chip.
    missing
        Optional components that the library has no block for.
    """

    architecture: Architecture
    items: tuple[Item, ...]
    levels: Mapping[str, float]
    variables: Mapping[str, float]
    missing: tuple[str, ...]

    @functools.cached_property
    def charged(self) -> tuple[Item, ...]:
        """Components that a network is charged for, links left out."""
        return tuple(item for item in self.items if not item.is_link)

    @functools.cached_property
    def uncharged(self) -> tuple[str, ...]:
        """Work of layers beside their arrays that no component of the architecture is charged for."""
        read = {name for component in self.architecture.components.values() for name in component.names}
        return tuple(name for name in BESIDE_ARRAYS if name not in read)

    @property
    def node(self) -> float:
        """Arrays of a node, which is bought whole; 1 for an architecture without nodes."""
        return self.levels.get(NODE, 1.0)

    @functools.cached_property
    def buffer_kb(self) -> float | None:
        """Capacity of the memory of a node that inputs are fetched from [KB]; None: there is none, or it is
        not known."""
        for item in self.charged:
            known = item.price.capacity_kb
            if item.level == NODE and known is not None and "fetched_bytes" in item.names:
                assert isinstance(item.count, float)
                return item.count * known
        return None

    @property
    def fetches(self) -> bool:
        """Whether any component is charged for inputs that are fetched."""
        return any("fetched_bytes" in item.names for item in self.charged)

    @property
    def nodes_of_router(self) -> int:
        """Nodes at one router of the mesh; 0 without one."""
        mesh = self.architecture.mesh
        return round(self.levels[mesh] / self.node) if mesh else 0

    @functools.cached_property
    def owned(self) -> float:
        """Arrays in what a layer has of its own: a node, or an array where layers share nodes."""
        return self.node if self.architecture.nodes == "own" else 1.0

    def slots(self, arrays: int) -> float:
        """Arrays that are bought for a layer that needs this many."""
        return math.ceil(arrays / self.owned) * self.owned

    def slots_of(self, arrays: NDArray[np.float64]) -> NDArray[np.float64]:
        """Arrays that are bought for each of some layers."""
        return np.ceil(arrays / self.owned) * self.owned


def not_scaled(used: Iterable[Bill], node_nm: float) -> tuple[str, ...]:
    """Components whose numbers are of another node than the design's, with it."""
    others = {
        f"{item.name} ({item.price.node_nm:g} nm)"
        for bill in used
        for item in bill.items
        if item.price.node_nm != node_nm and not item.is_link
    }
    return tuple(sorted(others))
