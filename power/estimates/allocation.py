"""How many arrays a chip has, and in how many nodes they have their place."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from power.counts.workload import Workload
from power.estimates.bill import Bill


@dataclass(frozen=True)
class NodeKind:
    """Nodes of one kind: their arrays have one size, and they are of one architecture.

    Parameters
    ----------
    bill
        That of the first of its layers.
    layers
        Those whose arrays stand in them.
    arrays, slots
        Arrays that hold weights, and places that are bought for the layers.
    """

    bill: Bill
    layers: tuple[str, ...]
    arrays: int
    slots: float

    @functools.cached_property
    def whole(self) -> float:
        """Places in the fewest whole nodes that all arrays fit."""
        return math.ceil(self.arrays / self.bill.node) * self.bill.node

    @property
    def unused(self) -> float:
        """Places that are bought and belong to no layer."""
        return max(self.whole - self.slots, 0.0)

    @property
    def nodes(self) -> int:
        """Whole nodes that are bought."""
        return math.ceil((self.slots + self.unused) / self.bill.node)


@dataclass(frozen=True)
class Allocation:
    """Arrays of a chip, and how many have their place in the nodes that are bought.

    Parameters
    ----------
    of_layer
        Arrays that hold weights, by layer.
    slots
        By layer: places in the nodes that are its own, or its arrays where layers share nodes.
    kinds
        Nodes by their kind.
    """

    of_layer: Mapping[str, int]
    slots: Mapping[str, float]
    kinds: tuple[NodeKind, ...]

    @functools.cached_property
    def arrays(self) -> int:
        """Arrays that hold weights."""
        return sum(self.of_layer.values())

    @functools.cached_property
    def bought(self) -> float:
        """Places in the nodes that are bought."""
        return sum(kind.slots + kind.unused for kind in self.kinds)

    @property
    def nodes(self) -> dict[str, int]:
        """Nodes that each layer has of its own; none where layers share them."""
        sizes = {name: kind.bill.node for kind in self.kinds if kind.bill.owned > 1 for name in kind.layers}
        return {name: round(of / sizes[name]) for name, of in self.slots.items() if name in sizes}

    def places_at(self, node: float) -> tuple[dict[str, float], float]:
        """Places that are bought, by layer and in all, as if each of these nodes had so many arrays: a block
        of a node is there once in each, however large it is."""
        of_layer = {
            name: self.slots[name] * node / kind.bill.node for kind in self.kinds for name in kind.layers
        }
        in_all = sum((kind.slots + kind.unused) * node / kind.bill.node for kind in self.kinds)
        return of_layer, in_all

    def units_of(self, level: str) -> int:
        """Whole units of a level that hold all arrays, as if layers of a kind shared them; of a kind that has
        no such level, its arrays."""
        return sum(math.ceil(kind.arrays / kind.bill.levels.get(level, 1.0)) for kind in self.kinds)

    def white_space_mm2(self) -> float:
        """Area of the places in whole nodes, shared by layers, that hold no array [mm^2]."""
        return sum(
            (kind.whole - kind.arrays) * item.units(1.0, self.arrays) * item.price.area_um2 * 1e-6
            for kind in self.kinds
            for item in kind.bill.charged
            if item.arrays is not None
        )


def allocated(work: Workload, bills: Mapping[str, Bill]) -> Allocation:
    """The arrays of a mapped network, and the nodes that are bought for them; `bills` by layer."""
    each: dict[int, int] = {}
    arrays, of_kind = {}, dict[tuple[object, ...], list[str]]()
    for name, layer in work.mapped.layers.items():
        own, bill = layer.hardware, bills[name]
        if id(own) not in each:
            each[id(own)] = own.encoding.planes * own.periphery.copies
        arrays[name] = each[id(own)] * work.layers[name].tiles
        kind = own.crossbar.rows, own.crossbar.cols, bill.node, id(bill.architecture)
        of_kind.setdefault(kind, []).append(name)
    slots = {name: bills[name].slots(count) for name, count in arrays.items()}
    kinds = [
        NodeKind(
            bill=bills[names[0]],
            layers=tuple(names),
            arrays=sum(arrays[name] for name in names),
            slots=sum(slots[name] for name in names),
        )
        for names in of_kind.values()
    ]
    return Allocation(arrays, slots, tuple(kinds))
