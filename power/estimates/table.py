"""The estimate of a mapped network: a row for each layer and component, from the loads of the layers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from mapping.chips.chip import ProgrammedNetwork
from mapping.tiles.mapped import MappedNetwork
from power.architecture.chip import ARRAY, LAYER, NODE
from power.components.price import Price
from power.counts.array import Case, read_energy_j
from power.counts.events import (
    fastest_vector_s,
    layer_events,
    layer_time_s,
    network_events,
)
from power.counts.workload import Workload, workload
from power.estimates.allocation import Allocation, allocated
from power.estimates.bill import Bill, Item, not_scaled
from power.estimates.digital import DigitalWork, digital_work, is_of_digital_work
from power.estimates.latency import latency_of
from power.estimates.prices import bill_of
from power.estimates.rows import (
    DIGITAL,
    NO_LAYER,
    NO_NETWORK,
    UNUSED,
    Load,
    Row,
    layer_load,
    rows_of,
)
from power.estimates.servers import Server, servers_of, with_gates
from power.estimates.totals import Estimate, checked_rate
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
    return priced(workload(mapped, activity, case=case, chip=chip), image_rate)


def priced(work: Workload, image_rate: float | None = None) -> Estimate:
    """Estimate of what was counted, on the hardware of its mapping; parameters and errors as in `estimate`.

    Of many architectures for one mapping, ``priced(work.on(mapped.with_hardware(...)))`` is that of each.
    """
    mapped = work.mapped
    hardware = mapped.hardware
    bill, bills = _bills(mapped)
    distinct = list({id(each): each for each in bills.values()}.values())
    bought, digital = allocated(work, bill), digital_work(mapped, bill)
    times = {
        name: layer_time_s(layer, layer.hardware, work.layers[name].widest)
        for name, layer in mapped.layers.items()
    }
    table = _layer_rows(work, bills, bought) + _other_rows(mapped, bill, bought)
    table = with_gates(table, times, _gates(bills, bill))
    servers = servers_of(table, times)
    schedule = bill.architecture.schedule
    latency = latency_of(mapped, schedule, table, times, servers[0])
    if schedule == "layer-serial":
        servers = (Server(SERIAL, None, latency.seconds), *servers)
    peak = 1 / servers[0].busy_s
    rate = checked_rate(peak if image_rate is None else image_rate, peak, servers[0])
    counts = {name: math.ceil(bought.arrays / size) for name, size in bill.levels.items()}
    names = dict.fromkeys(item.name for each in distinct for item in each.charged)
    prices = {name: _item_prices(name, distinct) for name in names}
    return Estimate(
        table=tuple(row.at(1 / rate) for row in table),
        area_whole_tiles_mm2=sum(row.area_mm2 for row in table) + bought.white_space_mm2(bill),
        image_rate_per_s=rate,
        peak_image_rate_per_s=peak,
        servers=servers,
        latency_us_per_image=latency.seconds * 1e6,
        schedule=latency.schedule,
        critical_path=latency.path,
        arrays=bought.arrays,
        groups=counts.get("core", bought.arrays),
        tiles=counts.get(NODE, bought.arrays),
        nodes=bought.nodes(bill),
        levels={name: count for name, count in counts.items() if name != ARRAY},
        operations=2
        * sum(one.positions * work.layers[name].weights_kept for name, one in mapped.layers.items()),
        dense_operations=2 * mapped.macs,
        digital_macs=dict(mapped.digital_macs),
        digital_unknown=dict(mapped.digital_unknown),
        digital_operations=digital.operations,
        digital_unpriced=dict(digital.unpriced),
        peak_operations_per_s=_peak_of_arrays(work),
        weight_bits=_mean_bits(work),
        slices=hardware.encoding.slices,
        conductances=work.conductances,
        inputs=work.inputs,
        adc=_adcs(mapped, bills),
        architecture=bill.architecture.name,
        prices=prices,
        counting={name: _item(name, distinct).counting() for name in names},
        not_scaled=not_scaled(distinct, hardware.periphery.node_nm),
        not_modelled=_not_modelled(
            table, prices, bill, _uncharged(work, bill), digital, mapped.digital_unknown, latency.untraced
        ),
    )


def _bills(mapped: MappedNetwork) -> tuple[Bill, dict[str, Bill]]:
    """What the blocks of the chip cost, and those of each layer; one bill for one hardware."""
    used = {name: layer.hardware for name, layer in mapped.layers.items()}
    made = {id(own): bill_of(own) for own in {id(own): own for own in used.values()}.values()}
    bill = made.get(id(mapped.hardware)) or bill_of(mapped.hardware)
    return bill, {name: made[id(own)] for name, own in used.items()}


def _layer_rows(work: Workload, bills: Mapping[str, Bill], chip_has: Allocation) -> list[Row]:
    """Rows of what layers do, their arrays read at the conductances that are there."""
    table: list[Row] = []
    for name, layer in work.mapped.layers.items():
        own, counts = layer.hardware, work.layers[name]
        load = layer_load(layer, own, bills[name], chip_has.arrays, chip_has.bought, counts)
        vector_j = read_energy_j(work.driven_s[name], own.dac.v_read, own.periphery.t_read)
        reads = load.happening("array_reads") / layer.positions
        load = dataclasses.replace(load, read_pj=vector_j * 1e12 / reads if reads else 0.0)
        table += rows_of(load, bills[name].charged, 1.0)
    return table


def _gates(bills: Mapping[str, Bill], bill: Bill) -> dict[str, dict[str, tuple[str, ...]]]:
    """Gates of each layer of the table."""
    return {name: one.architecture.gates for name, one in {**bills, DIGITAL: bill, UNUSED: bill}.items()}


def _other_rows(mapped: MappedNetwork, bill: Bill, chip_has: Allocation) -> list[Row]:
    """Rows of what stands between layers, and of what is bought and no layer's."""
    arrays, bought = chip_has.arrays, chip_has.bought
    happens = {**bill.variables, **NO_LAYER, **network_events(mapped)}
    between = Load(DIGITAL, 0, arrays, 0, bought, happens, bill.variables, 0.0)
    table = rows_of(between, [item for item in bill.charged if item.of_network], 1.0)
    if chip_has.unused > 0:
        nothing = {**bill.variables, **NO_LAYER, **NO_NETWORK}
        unused = Load(UNUSED, 0, arrays, chip_has.unused, bought, nothing, bill.variables, 0.0)
        table += rows_of(unused, [item for item in bill.charged if item.level != LAYER], 1.0)
    return table


def _item(name: str, bills: Iterable[Bill]) -> Item:
    """The first component of a name."""
    return next(item for bill in bills for item in bill.items if item.name == name)


def _item_prices(name: str, bills: Iterable[Bill]) -> tuple[Price, ...]:
    """Prices of a component, each once."""
    found = (item.price for bill in bills for item in bill.items if item.name == name)
    return tuple(dict.fromkeys(found))


def _adcs(mapped: MappedNetwork, bills: Mapping[str, Bill]) -> str:
    """Libraries that price the converters of the layers, and their bits."""

    def of(hardware: Hardware, bill: Bill) -> str:
        known = hardware.adc.library if bill.architecture.prices_converters else "no price of their own"
        return f"{known}, {hardware.adc.bits} bits"

    return "; ".join(dict.fromkeys(of(one.hardware, bills[name]) for name, one in mapped.layers.items()))


def _mean_bits(work: Workload) -> float:
    """Bits of a weight that stays, the mean where layers have hardware of their own."""
    mapped = work.mapped
    of_network = mapped.hardware.weight_bits
    more = {name: layer.hardware.weight_bits - of_network for name, layer in mapped.layers.items()}
    kept = {name: counts.weights_kept for name, counts in work.layers.items()}
    return of_network + sum(more[name] * kept[name] for name in kept) / max(sum(kept.values()), 1)


def _not_in(bill: Bill) -> tuple[str, ...]:
    """Parts of a chip that these components are not."""
    names = [item.name for item in bill.charged]
    control = [what for word, what in CONTROL.items() if not any(word in name for name in names)]
    stored = any("stored_bytes" in item.names for item in bill.charged)
    return (*NOT_MODELLED, *control, *([BUFFERS] if stored else []))


def _uncharged(work: Workload, bill: Bill) -> tuple[str, ...]:
    """Work of these layers beside their arrays that no component of a chip is charged for."""
    if not bill.uncharged:
        return ()
    layers = work.mapped.layers
    events = [layer_events(layer, layer.hardware, work.layers[name]) for name, layer in layers.items()]
    return tuple(name for name in bill.uncharged if any(each[name] for each in events))


def _not_modelled(
    table: Iterable[Row],
    priced: Mapping[str, tuple[Price, ...]],
    bill: Bill,
    uncharged: Iterable[str],
    digital: DigitalWork,
    unknown: Iterable[str],
    untraced: Iterable[str],
) -> tuple[str, ...]:
    """Parts and operations of a chip that no number of an estimate holds."""
    used = {"energy": {row.component for row in table if row.events}}
    used["area"] = {row.component for row in table if row.allocated_units}
    zeros = {
        what: [
            name for name in priced if name in of and any(what in price.not_known for price in priced[name])
        ]
        for what, of in used.items()
    }
    known = {name: all(p.leakage_uw is not None for p in prices) for name, prices in priced.items()}
    silent = ", ".join(name for name in known if not known[name])
    missing = ", ".join(name for name in bill.missing if not is_of_digital_work(bill, name))
    return (
        f"leakage of {silent if any(known.values()) else 'any block'}: not in the libraries",
        *(f"{what} of {', '.join(names)}: not in the libraries" for what, names in zeros.items() if names),
        *([f"{missing}: not in the library"] if missing else []),
        *(f"{name}: no component of {bill.architecture.name} is charged for them" for name in uncharged),
        *(f"streaming: {why}; the latency is that of layer after layer" for why in untraced),
        *_not_in(bill),
        *(
            f"digital work: {name}, {count:,} operations an image ({', '.join(digital.kinds[name])})"
            for name, count in digital.unpriced.items()
        ),
        *(f"digital operator that takes weights, of unknown work: {name}" for name in sorted(unknown)),
        *(f"digital operation, not counted: {name}" for name in digital.uncounted),
    )


def peak_operations_per_s(hardware: Hardware) -> float:
    """Operations of one tile (in all planes) that is full and always busy [1/s]."""
    return 2 * hardware.crossbar.rows * hardware.weights_per_tile_row / fastest_vector_s(hardware)


def _peak_of_arrays(work: Workload) -> float:
    """Operations of all copies of all tiles [1/s]."""
    return sum(
        work.layers[name].tiles * layer.hardware.periphery.copies * peak_operations_per_s(layer.hardware)
        for name, layer in work.mapped.layers.items()
    )
