"""Digital work of a network: how many operations it is, and which of them no component is charged for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mapping.network.elementary import OPERATIONS, RULES
from power.architecture.vocabulary import EVENTS, NETWORK_EVENTS, NO_EVENTS
from power.counts.tally import Tally
from power.counts.workload import Workload
from power.estimates.allocation import Allocation
from power.estimates.bill import Bill
from power.floorplan.edges import homes_of

MACS = "digital_macs"
"""Event of a multiply-accumulate, which is two operations."""

ACTIVATIONS, OUTPUTS = "activations", "outputs"
"""Where components are charged for outputs of layers, each carries one activation."""


@dataclass(frozen=True)
class DigitalWork:
    """Operations that stay digital in a forward pass.

    Parameters
    ----------
    operations
        Operations an image, two a multiply-accumulate.
    unpriced
        Those that no component of the chip is charged for, by operator, the most first.
    kinds
        Kinds of operation that are not priced, by operator.
    uncounted
        Operators whose operations are not known.
    """

    operations: int
    unpriced: Mapping[str, int]
    kinds: Mapping[str, tuple[str, ...]]
    uncounted: tuple[str, ...]


def digital_work(counted: Workload, bill: Bill) -> DigitalWork:
    """Digital work of a network on a chip with the components of a bill.

    A kind of operation is priced where a component is charged for it, and none that would be is missing.
    Activations are also priced by the outputs of layers, as many as there are of these; of more, each
    operator has its share that is not.
    """
    mapped = counted.mapped
    charged = frozenset().union(
        *(item.names for item in bill.charged if "energy" not in item.price.not_known)
    )
    components = bill.architecture.components
    charged -= frozenset().union(*(components[name].names for name in bill.missing))
    work = {name: {MACS: 2 * macs} for name, macs in mapped.digital_macs.items()}
    for name, counts in mapped.digital_operations.items():
        work[name] = {**work.get(name, {}), **counts}
    missing = {
        name: {kind: count for kind, count in counts.items() if kind not in charged}
        for name, counts in work.items()
    }
    if OUTPUTS in charged:
        carried = sum(int(events["outputs"]) for events in counted.events.values())
        missing = _without_carried(missing, carried)
    unpriced = {name: sum(counts.values()) for name, counts in missing.items() if counts}
    order = sorted(unpriced, key=lambda name: -unpriced[name])
    return DigitalWork(
        operations=sum(sum(counts.values()) for counts in work.values()),
        unpriced={name: unpriced[name] for name in order},
        kinds={name: tuple(sorted(missing[name])) for name in order},
        uncounted=tuple(sorted(name for name in mapped.digital_elements if not _is_known(name))),
    )


def operator_times(counted: Workload, bill: Bill, chip_has: Allocation) -> dict[int, float]:
    """Time that one image takes each digital operator of the traced graph [s], by the number of its step.

    An operator works in the nodes of the layer before it (`power.floorplan.edges`), and takes the time of the
    component there that it keeps busiest; what stands above a node, or in nodes that layers share, serves it
    alone meanwhile. Operations for which a component, or its rate, is missing take none.
    """
    flow = counted.mapped.dataflow
    steps = () if flow is None else flow.steps
    working = [number for number, step in enumerate(steps) if step.operations]
    if not working:
        return {}
    happens = counted.once(
        "operators", lambda: Tally([{**NO_EVENTS, **steps[n].operations} for n in working])
    )
    homes = counted.once("homes", lambda: homes_of(steps))
    of_layer, in_all = chip_has.places_at(bill.node)
    slots = np.array([of_layer.get(homes[number], 0.0) or in_all for number in working])
    longest = np.zeros(len(working))
    for item in bill.charged:
        if item.of_network and item.rate_per_s is not None:
            own = item.arrays is not None and item.arrays <= bill.owned
            serving = item.units(slots if own else np.full(len(slots), in_all), in_all)
            events = happens.of(f"{item.name}.events", item.events, bill.variables)
            np.maximum(longest, events / (serving * item.rate_per_s), out=longest)
    return dict(zip(working, longest.tolist(), strict=True))


def _without_carried(missing: Mapping[str, Mapping[str, int]], carried: int) -> dict[str, dict[str, int]]:
    """The same with so many activations fewer in all, by each operator's share of them."""
    in_all = sum(counts.get(ACTIVATIONS, 0) for counts in missing.values())
    rest, before, found = max(in_all - carried, 0), 0, {}
    for name, counts in missing.items():
        after = before + counts.get(ACTIVATIONS, 0)
        left = after * rest // max(in_all, 1) - before * rest // max(in_all, 1)
        found[name] = {kind: count for kind, count in counts.items() if kind != ACTIVATIONS}
        if left:
            found[name][ACTIVATIONS] = left
        before = after
    return found


def is_of_digital_work(bill: Bill, name: str) -> bool:
    """Whether a component is charged for digital work alone."""
    read = bill.architecture.components[name].names & (EVENTS.keys() | NETWORK_EVENTS.keys())
    return bool(read) and read <= {MACS, *OPERATIONS}


def _is_known(operator: str) -> bool:
    return operator in RULES or operator.removesuffix("_") in RULES
