"""How many arrays a chip has, and in how many nodes they have their place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from power.counts.workload import Workload
from power.estimates.bill import Bill


@dataclass(frozen=True)
class Allocation:
    """Arrays of a chip, and how many have their place in the nodes that are bought.

    Parameters
    ----------
    of_layer, arrays
        Those that hold weights, by layer and in all.
    slots
        By layer: places in the nodes that are its own, or its arrays where layers share nodes.
    whole, bought
        Places in the fewest whole nodes that all arrays fit, and in those that are bought.
    """

    of_layer: Mapping[str, int]
    arrays: int
    slots: Mapping[str, float]
    whole: float
    bought: float

    @property
    def unused(self) -> float:
        """Array places that are bought and belong to no layer."""
        return self.bought - sum(self.slots.values())

    def nodes(self, bill: Bill) -> dict[str, int]:
        """Nodes that each layer has of its own; none where layers share them."""
        return {name: round(of / bill.node) for name, of in self.slots.items()} if bill.owned > 1 else {}

    def white_space_mm2(self, bill: Bill) -> float:
        """Area of the places in whole nodes, shared by layers, that hold no array [mm^2]."""
        return (self.whole - self.arrays) * sum(
            item.units(1.0, self.arrays) * item.price.area_um2 * 1e-6
            for item in bill.charged
            if item.arrays is not None
        )


def allocated(work: Workload, bill: Bill) -> Allocation:
    """The arrays of a mapped network, and the nodes that are bought for them."""
    each: dict[int, int] = {}
    arrays = {}
    for name, layer in work.mapped.layers.items():
        own = layer.hardware
        if id(own) not in each:
            each[id(own)] = own.encoding.planes * own.periphery.copies
        arrays[name] = each[id(own)] * work.layers[name].tiles
    slots = {name: bill.slots(count) for name, count in arrays.items()}
    in_all = sum(arrays.values())
    whole = math.ceil(in_all / bill.node) * bill.node
    return Allocation(arrays, in_all, slots, whole, max(sum(slots.values()), whole))
