"""How many arrays a chip has, and in how many nodes they have their place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from power.counts.events import arrays_of
from power.counts.workload import Workload
from power.estimates.bill import Bill


@dataclass(frozen=True)
class Allocation:
    """Arrays of a chip, and how many have their place in the nodes that are bought.

    Parameters
    ----------
    arrays
        Those that hold weights.
    slots
        By layer: places in the nodes that are its own, or its arrays where layers share nodes.
    whole, bought
        Places in the fewest whole nodes that all arrays fit, and in those that are bought.
    """

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
            item.units(1, self.arrays, bill.variables) * item.price.area_um2 * 1e-6
            for item in bill.charged
            if item.arrays is not None
        )


def allocated(work: Workload, bill: Bill) -> Allocation:
    """The arrays of a mapped network, and the nodes that are bought for them."""
    arrays = {
        name: arrays_of(layer, layer.hardware, work.layers[name].tiles)
        for name, layer in work.mapped.layers.items()
    }
    slots = {name: bill.slots(count) for name, count in arrays.items()}
    in_all = sum(arrays.values())
    whole = math.ceil(in_all / bill.node) * bill.node
    return Allocation(in_all, slots, whole, max(sum(slots.values()), whole))
