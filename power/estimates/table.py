"""The estimate of a mapped network: a row for each layer and component, from the loads of the layers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapping.chips.chip import ProgrammedNetwork
from mapping.tiles.mapped import MappedNetwork
from power.architecture.chip import ARRAY, LAYER, NODE
from power.architecture.vocabulary import NO_EVENTS
from power.components.price import Price
from power.counts.array import Case, read_energy_j
from power.counts.events import fastest_vector_s, has_sign, slowest_vector_s
from power.counts.fragments import Fragments, fragments_of
from power.counts.tally import Tally
from power.counts.workload import NOTHING, Workload, workload
from power.estimates.allocation import Allocation, allocated
from power.estimates.bill import Bill, Item, not_scaled
from power.estimates.digital import DigitalWork, digital_work, is_of_digital_work, operator_times
from power.estimates.latency import latency_of
from power.estimates.loads import Load, table_of
from power.estimates.prices import bill_of
from power.estimates.rows import DIGITAL, TRAFFIC, UNUSED, CostTable, joined, total
from power.estimates.servers import busiest_of, busy_of, with_gates
from power.estimates.totals import Estimate, checked_rate
from power.floorplan.allotment import Allotted, allotted
from power.floorplan.buffers import kept_kb, unknown_room
from power.floorplan.floorplan import Floorplan, floorplan
from xbar.hardware.checks import check_kind
from xbar.hardware.design import Hardware

SERIAL = "schedule of one layer after the other"
"""Name of the server that a layer-serial chip is: it has one image at a time."""

NOT_MODELLED = (
    "chip I/O: it belongs to the links, not to the network",
    "programming: time and energy of writing the cells are those of power.estimates.programming",
    "wires of the arrays: read energy is t V^2 G, an upper bound for ohmic cells",
    "cells that are not ohmic: read energy is t V^2 G with G at V = 0 or at v_read, as the device says",
    "analog accumulation of phases: the capacitors that hold the sum",
    "clock distribution",
)
"""What no architecture has."""

CONTROL = {"control": "control", "instruction": "instruction fetch"}
"""What an architecture has where a component's name holds the word."""

BUFFERS = "buffers between layers beyond one write and read of each value"
"""What an architecture that is charged for a layer's stored bytes has not."""

NO_HOPS = "traffic between nodes by hops: no component is charged for it"
"""What an architecture without a mesh has not."""


def estimate(
    mapped: MappedNetwork,
    activity: Mapping[str, NDArray[np.floating]] | None = None,
    image_rate: float | None = None,
    *,
    case: Case = "worst",
    chip: ProgrammedNetwork | None = None,
) -> Estimate:
    """Area, energy, power and latency of a mapped network.

    Parameters
    ----------
    mapped
        The network on its tiles.
    activity
        For every layer, shape (inputs,): sum over the phases of the mean of (V / v_read)^2 on each word line
        (for one-bit phases, the mean number of set bits of an input code). None: not known.
    image_rate
        Images a second that `power_mw` is for, at most the peak rate of this mapping [1/s]; None: that.
    case
        What inputs and weights are where they are not known: the ``worst``, every phase of every input at
        `v_read` and every weight at its largest, or the ``mean``, every second phase and the mean over
        levels.
    chip
        A chip of this mapping: its arrays are read at their programmed conductances, at its time.

    Raises
    ------
    XbarError
        Where the hardware has an option without a cost entry, nothing lies on a tile, the activity or the
        chip does not fit the layers, the case is unknown, or the image rate is not a positive number, or more
        than the chip can do.
    """
    check_kind("mapped", mapped, MappedNetwork)
    if chip is not None:
        check_kind("chip", chip, ProgrammedNetwork)
    return priced(workload(mapped, activity, case=case, chip=chip), image_rate)


def priced(work: Workload, image_rate: float | None = None) -> Estimate:
    """Estimate of what was counted, on the hardware of its mapping; parameters and errors as in `estimate`.

    One mapping is priced on many architectures by ``priced(work.on(mapped.with_hardware(...)))`` for each.
    """
    mapped, hardware = work.mapped, work.mapped.hardware
    groups = _groups(mapped)
    bill = next((each.bill for each in groups if each.hardware is hardware), None) or bill_of(hardware)
    distinct = list({id(each.bill): each.bill for each in groups}.values())
    bought, digital = allocated(work, _bills(groups)), digital_work(work, bill)
    times = _times(work, groups)
    plan, (image_bytes, result_bytes) = _floorplan(work, bill, bought), _off_chip_bytes(mapped, bill)
    tables = [_layer_table(work, groups, bought), *_other_tables(work, bill, bought, plan)]
    table = with_gates(joined(tables), times, _gates(groups, bill))
    busy = busy_of(table, times)
    schedule, busiest = bill.architecture.schedule, busiest_of(busy)
    latency = latency_of(work, schedule, table, times, busiest, operator_times(work, bill, bought))
    if schedule == "layer-serial":
        busy = {(SERIAL, None): latency.seconds, **busy}
        busiest = busiest_of(busy)
    peak = 1 / busiest.busy_s
    rate = checked_rate(peak if image_rate is None else image_rate, peak, busiest)
    counts = {name: bought.units_of(name) for name in bill.levels}
    names = dict.fromkeys(item.name for each in distinct for item in each.charged)
    prices = {name: _item_prices(name, distinct) for name in names}
    return Estimate(
        table=table.at(1 / rate),
        area_whole_tiles_mm2=total(table.area_mm2) + bought.white_space_mm2(),
        image_rate_per_s=rate,
        peak_image_rate_per_s=peak,
        busy=busy,
        latency_us_per_image=latency.seconds * 1e6,
        schedule=latency.schedule,
        critical_path=latency.path,
        arrays=bought.arrays,
        groups=counts.get("core", bought.arrays),
        tiles=counts.get(NODE, bought.arrays),
        nodes=bought.nodes,
        chip_nodes=bill.architecture.chip_nodes,
        fragments=_fragments(work, groups),
        floorplan=plan,
        buffer_kb={name: own.buffer_kb for name, own in _bills(groups).items()},
        kept_kb=_kept_kb(work, bill, bought),
        image_bytes=image_bytes,
        result_bytes=result_bytes,
        levels={name: count for name, count in counts.items() if name != ARRAY},
        operations=2 * work.kept_macs,
        dense_operations=2 * mapped.macs,
        digital_macs=dict(mapped.digital_macs),
        digital_unknown=dict(mapped.digital_unknown),
        digital_operations=digital.operations,
        digital_unpriced=dict(digital.unpriced),
        peak_operations_per_s=_peak_of_arrays(work, groups),
        weight_bits=_mean_bits(work, groups),
        slices=hardware.encoding.slices,
        conductances=work.conductances,
        inputs=work.inputs,
        adc=_adcs(groups),
        architecture=bill.architecture.name,
        prices=prices,
        counting={name: _item(name, distinct).counting() for name in names},
        not_scaled=not_scaled(distinct, hardware.periphery.node_nm),
        not_modelled=_not_modelled(work, table, prices, bill, plan, digital, latency.untraced),
    )


@dataclass(frozen=True)
class _Group:
    """Layers on the same hardware, in the order of the network, with the bill of it."""

    hardware: Hardware
    bill: Bill
    layers: tuple[str, ...]


def _groups(mapped: MappedNetwork) -> list[_Group]:
    """Layers by their hardware."""
    names: dict[int, list[str]] = {}
    for name, layer in mapped.layers.items():
        names.setdefault(id(layer.hardware), []).append(name)
    used = [mapped.layers[of[0]].hardware for of in names.values()]
    return [_Group(own, bill_of(own), tuple(of)) for own, of in zip(used, names.values(), strict=True)]


def _bills(groups: Iterable[_Group]) -> dict[str, Bill]:
    """The bill of each layer."""
    return {name: group.bill for group in groups for name in group.layers}


def _times(work: Workload, groups: Iterable[_Group]) -> dict[str, float]:
    """Time of the arrays of each layer for one image [s]; 0 of one without a tile."""
    found = {}
    for group in groups:
        vectors: dict[tuple[tuple[tuple[int, int], ...], bool], float] = {}
        for name in group.layers:
            layer, busiest = work.mapped.layers[name], work.layers[name].busiest
            kind = busiest, has_sign(layer)
            if kind not in vectors:
                vectors[kind] = slowest_vector_s(layer, group.hardware, busiest)
            found[name] = math.ceil(layer.positions / group.hardware.periphery.copies) * vectors[kind]
    return {name: found[name] for name in work.mapped.layers}


def _layer_table(work: Workload, groups: Sequence[_Group], chip_has: Allocation) -> CostTable:
    """Rows of what layers do, their arrays read at the conductances that are there."""
    table = joined([table_of(_load(work, each, chip_has), each.bill.charged, 1.0) for each in groups])
    if len(groups) == 1:
        return table
    order = {name: number for number, name in enumerate(work.mapped.layers)}
    places = np.array([order[layer] for layer, _, _ in table.names])
    return table.ordered(np.argsort(places, kind="stable"))


def _load(work: Workload, group: _Group, chip_has: Allocation) -> Load:
    """The load of layers on the same hardware."""
    own, bill = group.hardware, group.bill
    vectors = np.array([work.mapped.layers[name].positions for name in group.layers])
    driven_s = [work.driven_s[name] for name in group.layers]
    vector_j = [read_energy_j(one, own.dac.v_read, own.periphery.t_read) for one in driven_s]
    happens, arrays = work.tally(group.layers), np.array([chip_has.of_layer[n] for n in group.layers], float)
    reads = happens.of("array_reads", "array_reads", {}) / vectors
    return Load(
        layers=group.layers,
        arrays=arrays,
        arrays_in_all=chip_has.arrays,
        slots=bill.slots_of(arrays),
        slots_in_all=chip_has.bought,
        happens=happens,
        numbers=bill.variables,
        read_pj=np.divide(np.array(vector_j) * 1e12, reads, out=np.zeros(len(reads)), where=reads > 0),
        copies=own.periphery.copies,
        owned=bill.owned,
    )


def _gates(groups: Iterable[_Group], bill: Bill) -> dict[str, dict[str, tuple[str, ...]]]:
    """Gates of each layer of the table."""
    of_layers = {name: group.bill.architecture.gates for group in groups for name in group.layers}
    return {**of_layers, **dict.fromkeys((DIGITAL, TRAFFIC, UNUSED), bill.architecture.gates)}


def _other_tables(
    work: Workload, bill: Bill, chip_has: Allocation, plan: Floorplan | None
) -> list[CostTable]:
    """Rows of what stands between layers, of what is bought and no layer's, and of traffic."""
    none, between = np.zeros(1), [item for item in bill.charged if item.of_network]
    in_all, bought, numbers = chip_has.arrays, chip_has.bought, bill.variables
    found = []
    if between:
        _, places = chip_has.places_at(bill.node)
        load = Load((DIGITAL,), none, in_all, none, places, work.between, numbers, none, between=True)
        found.append(table_of(load, between, 1.0))
    for kind in chip_has.kinds:
        if kind.unused > 0:
            empty, own = np.array([kind.unused]), kind.bill.variables
            load = Load((UNUSED,), none, in_all, empty, bought, NOTHING, own, none)
            items = [item for item in kind.bill.charged if item.level != LAYER]
            found.append(table_of(load, items, 1.0))
    return [*found, *_traffic_table(plan, bill, chip_has)]


def _places(work: Workload, bill: Bill, chip_has: Allocation) -> dict[str, Allotted]:
    """Nodes of each layer."""
    kinds = [(kind.layers, round(kind.bill.node)) for kind in chip_has.kinds]
    return allotted(work, chip_has.of_layer, kinds, bill.architecture.nodes == "own")


def _kept_kb(work: Workload, bill: Bill, chip_has: Allocation) -> dict[str, float]:
    """Fill of the fullest buffer of each layer [KB]; empty where no buffer has a known capacity."""
    if all(kind.bill.buffer_kb is None for kind in chip_has.kinds):
        return {}
    key = _placed_by(bill, chip_has)
    return work.once(("buffers", *key), lambda: kept_kb(work, _places(work, bill, chip_has)))


def _placed_by(bill: Bill, chip_has: Allocation) -> tuple[Hashable, ...]:
    """All that the places of a counted network depend on."""
    sizes = tuple((kind.layers, kind.bill.node) for kind in chip_has.kinds)
    return tuple(chip_has.of_layer.values()), sizes, bill.architecture.nodes


def _floorplan(work: Workload, bill: Bill, chip_has: Allocation) -> Floorplan | None:
    """Layers on the mesh of an architecture that has one."""
    nodes = bill.nodes_of_router
    if not nodes:
        return None
    routers = math.ceil(sum(kind.nodes for kind in chip_has.kinds) / nodes)
    key = *_placed_by(bill, chip_has), nodes
    return work.once(
        ("floorplan", *key), lambda: floorplan(work, _places(work, bill, chip_has), routers, nodes)
    )


def _fragments(work: Workload, groups: Iterable[_Group]) -> Fragments | None:
    """Fragments of columns of the layers whose arrays have room for one sign in each."""
    names = tuple(name for name, bill in _bills(groups).items() if bill.architecture.one_sign)
    if not names:
        return None
    layers = [work.mapped.layers[name] for name in names]
    return work.once(("fragments", names), lambda: fragments_of(layers))


def _off_chip_bytes(mapped: MappedNetwork, bill: Bill) -> tuple[float, float]:
    """Bytes of an image, and of what the network returns for it; 0 where they are not known."""
    flow, bytes_each = mapped.dataflow, bill.variables["input_bits"] / 8
    return (0.0, 0.0) if flow is None else (flow.given * bytes_each, flow.returned * bytes_each)


def _traffic_table(plan: Floorplan | None, bill: Bill, chip_has: Allocation) -> list[CostTable]:
    """Rows of what goes over the mesh, which its busiest router and link serve."""
    items = [item for item in bill.charged if item.of_traffic]
    if plan is None or not items:
        return []
    none = np.zeros(1)
    load = Load(
        layers=(TRAFFIC,),
        arrays=none,
        arrays_in_all=chip_has.arrays,
        slots=none,
        slots_in_all=chip_has.bought,
        happens=Tally([{**NO_EVENTS, "routed_bytes": plan.routed_bytes, "hop_bytes": plan.hop_bytes}]),
        numbers=bill.variables,
        read_pj=none,
        between=True,
        busiest=Tally(
            [
                {
                    **NO_EVENTS,
                    "routed_bytes": plan.busiest_router_bytes,
                    "hop_bytes": plan.busiest_link_bytes,
                }
            ]
        ),
        busiest_arrays=bill.levels[bill.architecture.mesh],
    )
    return [table_of(load, items, 1.0)]


def _item(name: str, bills: Iterable[Bill]) -> Item:
    """The first component of a name."""
    return next(item for bill in bills for item in bill.items if item.name == name)


def _item_prices(name: str, bills: Iterable[Bill]) -> tuple[Price, ...]:
    """Prices of a component, each once."""
    found = (item.price for bill in bills for item in bill.items if item.name == name)
    return tuple(dict.fromkeys(found))


def _adcs(groups: Iterable[_Group]) -> str:
    """Libraries that price the converters of the layers, and their bits."""

    def of(group: _Group) -> str:
        has_price = group.bill.architecture.prices_converters
        known = group.hardware.adc.library if has_price else "no price of their own"
        return f"{known}, {group.hardware.adc.bits} bits"

    return "; ".join(dict.fromkeys(map(of, groups)))


def _mean_bits(work: Workload, groups: Iterable[_Group]) -> float:
    """Bits of a weight that stays, the mean where layers have hardware of their own."""
    of_network = work.mapped.hardware.weight_bits
    kept = {name: counts.weights_kept for name, counts in work.layers.items()}
    more = 0.0
    for group in groups:
        own = group.hardware.weight_bits - of_network
        more += sum(own * kept[name] for name in group.layers)
    return of_network + more / max(sum(kept.values()), 1)


def _not_in(bill: Bill, plan: Floorplan | None) -> tuple[str, ...]:
    """Parts of a chip that these components are not."""
    names = [item.name for item in bill.charged]
    control = [what for word, what in CONTROL.items() if not any(word in name for name in names)]
    stored = any("stored_bytes" in item.names for item in bill.charged)
    parts = [BUFFERS] if stored else []
    if not any(item.of_traffic for item in bill.charged):
        parts.append(NO_HOPS)
    elif plan is None:
        parts.append("traffic between nodes: the mapping has no graph")
    else:
        parts.append("traffic between nodes: the time of a value on its way, and from and to the image")
    return (*NOT_MODELLED, *control, *parts)


def _uncharged(work: Workload, bill: Bill) -> tuple[str, ...]:
    """Work of these layers beside their arrays that no component of a chip is charged for."""
    return tuple(name for name in bill.uncharged if any(each[name] for each in work.events.values()))


def _not_modelled(
    work: Workload,
    table: CostTable,
    priced: Mapping[str, tuple[Price, ...]],
    bill: Bill,
    plan: Floorplan | None,
    digital: DigitalWork,
    untraced: Iterable[str],
) -> tuple[str, ...]:
    """Parts and operations of a chip that no number of an estimate holds."""
    zeros = {
        what: [name for name in priced if any(what in price.not_known for price in priced[name])]
        for what in ("energy", "area")
    }
    for what, column in (("energy", table.events), ("area", table.allocated_units)):
        if zeros[what]:
            used = {table.names[place][1] for place in np.flatnonzero(column).tolist()}
            zeros[what] = [name for name in zeros[what] if name in used]
    known = {name: all(p.leakage_uw is not None for p in prices) for name, prices in priced.items()}
    silent = ", ".join(name for name in known if not known[name])
    missing = ", ".join(name for name in bill.missing if not is_of_digital_work(bill, name))
    return (
        f"leakage of {silent if any(known.values()) else 'any block'}: not in the libraries",
        *(f"{what} of {', '.join(names)}: not in the libraries" for what, names in zeros.items() if names),
        *([f"{missing}: not in the library"] if missing else []),
        *(
            f"{name}: no component of {bill.architecture.name} is charged for them"
            for name in _uncharged(work, bill)
        ),
        *(f"streaming: {why}; the latency is that of layer after layer" for why in untraced),
        *_not_in(bill, plan),
        *unknown_room(work, bill.fetches, bill.buffer_kb),
        *(
            f"digital work: {name}, {count:,} operations an image ({', '.join(digital.kinds[name])})"
            for name, count in digital.unpriced.items()
        ),
        *(
            f"digital operator that takes weights, of unknown work: {name}"
            for name in sorted(work.mapped.digital_unknown)
        ),
        *(f"digital operation, not counted: {name}" for name in digital.uncounted),
    )


def peak_operations_per_s(hardware: Hardware) -> float:
    """Operations of one tile (in all planes) that is full and always busy [1/s]."""
    return 2 * hardware.crossbar.rows * hardware.weights_per_tile_row / fastest_vector_s(hardware)


def _peak_of_arrays(work: Workload, groups: Iterable[_Group]) -> float:
    """Operations of all copies of all tiles [1/s]."""
    return sum(
        sum(work.layers[name].tiles for name in group.layers)
        * group.hardware.periphery.copies
        * peak_operations_per_s(group.hardware)
        for group in groups
    )
