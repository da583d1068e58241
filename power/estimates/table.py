"""Area, energy, power and latency of a mapped network, as a table whose plain sums are the totals."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mapping.chips.chip import ProgrammedNetwork
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from power.architecture.chip import ARRAY, LAYER, NODE
from power.components.price import Price
from power.counts.events import (
    fastest_vector_s,
    has_sign,
    layer_time_s,
    network_events,
)
from power.estimates.allocation import Allocation, allocated
from power.estimates.array import Case, read_energy_j, row_conductance
from power.estimates.prices import Bill, Item, bill_of, not_scaled
from power.estimates.rows import (
    DIGITAL,
    NO_LAYER,
    NO_NETWORK,
    UNUSED,
    Load,
    Row,
    layer_load,
    ratio,
    rows_of,
    sums,
)
from power.estimates.servers import Server, latency_s, servers_of, with_gates
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError, unknown_name

ACTIVATIONS = frozenset({"relu", "leaky_relu", "hardtanh", "elu", "gelu", "silu", "sigmoid", "tanh"})
"""Operators that the activation unit does: charged once an output element of every layer."""

NOT_MODELLED = (
    "chip I/O: it belongs to the links, not to the network",
    "programming: time and energy of writing the cells are those of power.estimates.programming",
    "wires of the arrays: read energy is t V^2 G, an upper bound for ohmic cells",
    "cells that are not ohmic: read energy is t V^2 G with G at V = 0 or at v_read, as the device says",
    "analog accumulation of phases: the capacitors that hold the sum",
    "control, instruction fetch and clock distribution",
    "buffers between layers beyond one eDRAM write and read of each value",
)


@dataclass(frozen=True)
class Estimate:
    """Cost of a mapped network; every total is the plain sum of rows of `table`.

    Parameters
    ----------
    table
        One row a layer and component.
    image_rate_per_s, peak_image_rate_per_s
        Rate that `power_mw` is for, and the rate at which the busiest server is always busy [1/s].
    servers
        The arrays of each layer and what serves them, the busiest first: it sets the peak rate.
    latency_us_per_image
        Sum of the layers' times, each that of its busiest server [us].
    arrays, groups, tiles, levels
        Physical arrays that hold weights, and the whole groups and tiles of the periphery that hold them; of
        an architecture without levels ``core`` and ``node``, the arrays. Whole units of every level by name.
        All as if layers shared them.
    nodes
        Nodes that each layer has of its own, by name; empty where layers share them.
    area_whole_tiles_mm2
        Area where groups and tiles of the periphery can only be bought whole [mm^2].
    operations, dense_operations
        Operations an image, two a multiply-accumulate: of kept weights, and of all weights as if none were
        masked.
    digital_macs, digital_unknown
        Multiply-accumulates an image of products left digital, and calls of operators that take a weight and
        may be products, by operator name; neither has a row in `table`.
    peak_operations_per_s
        Where every cell of every array that is there holds a weight and is always busy [1/s].
    conductances
        ``programmed`` (those of a chip), ``target`` (from the weights), or, without weights, ``worst`` (every
        kept weight at its largest) or ``mean``.
    inputs
        ``measured`` (from `activity`), ``worst`` (every phase at `v_read`) or ``mean`` (every second one).
    adc
        Converter model and its bits.
    prices
        By component, those that its rows were made with: one, unless layers have hardware of their own.
    counting
        By component, how its units and events are counted, in words.
    not_scaled
        Components whose numbers are of another node than `periphery.node_nm`.
    """

    table: tuple[Row, ...]
    image_rate_per_s: float
    peak_image_rate_per_s: float
    servers: tuple[Server, ...]
    latency_us_per_image: float
    arrays: int
    groups: int
    tiles: int
    levels: Mapping[str, int]
    nodes: Mapping[str, int]
    area_whole_tiles_mm2: float
    operations: int
    dense_operations: int
    digital_macs: Mapping[str, int]
    digital_unknown: Mapping[str, int]
    peak_operations_per_s: float
    weight_bits: float
    slices: int
    conductances: Literal["programmed", "target", "worst", "mean"]
    inputs: Literal["measured", "worst", "mean"]
    adc: str
    architecture: str
    prices: Mapping[str, tuple[Price, ...]]
    counting: Mapping[str, Mapping[str, str]]
    not_scaled: tuple[str, ...]
    not_modelled: tuple[str, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source that a number comes from, each once."""
        cited = [source for priced in self.prices.values() for price in priced for source in price.sources]
        return tuple(dict.fromkeys(cited))

    @property
    def area_mm2(self) -> float:
        """Occupied area: whole arrays with their converters, and their share of groups and tiles [mm^2]."""
        return sum(row.area_mm2 for row in self.table)

    @property
    def area_allocated_mm2(self) -> float:
        """Area that is bought, with the arrays of whole nodes that stay empty [mm^2].

        Each layer has nodes of its own, unless the architecture lets layers share them.
        """
        return sum(row.allocated_mm2 for row in self.table)

    @property
    def energy_nj_per_image(self) -> float:
        """Energy of one image, dynamic and idle, the latter where it is known [nJ]."""
        return sum(row.energy_nj for row in self.table)

    @property
    def dynamic_nj_per_image(self) -> float:
        """Energy that the events of one image take [nJ]."""
        return sum(row.dynamic_nj for row in self.table)

    @property
    def idle_nj_per_image(self) -> float:
        """Energy that leaks in the time of one image, of all blocks that it is known of [nJ]."""
        return sum(row.idle_nj for row in self.table)

    @property
    def leakage_mw(self) -> float:
        """Of all blocks that it is known of, where none is gated [mW]."""
        return sum(row.leakage_mw or 0.0 for row in self.table)

    @property
    def assumed_leakage_mw(self) -> float:
        """Of blocks that it is not known of, by the scenario of `LEAKING_SHARES`; in no other figure [mW]."""
        return sum(row.assumed_leakage_mw for row in self.table)

    @property
    def assumed_idle_nj_per_image(self) -> float:
        """Energy that `assumed_leakage_mw` takes in the time of one image, gated blocks off [nJ]."""
        return sum(row.assumed_leakage_mw * row.on_s * 1e6 for row in self.table)

    def power_mw_at(self, image_rate: float) -> float:
        """Power at an image rate [1/s]: what events take, and what leaks [mW].

        At rate 0 that is what leaks in blocks that are never gated.

        Raises
        ------
        XbarError
            For a rate that is no number from 0 on, or above the peak.
        """
        if image_rate == 0:
            return sum(row.leakage_mw or 0.0 for row in self.table if row.awake_s is None)
        rate = checked_rate(image_rate, self.peak_image_rate_per_s, self.servers[0])
        return sum(row.at(1 / rate).energy_nj for row in self.table) * rate * 1e-6

    @property
    def power_mw(self) -> float:
        """Energy an image times `image_rate_per_s` [mW]."""
        return self.energy_nj_per_image * self.image_rate_per_s * 1e-6

    @property
    def peak_power_mw(self) -> float:
        """Power at `peak_image_rate_per_s` [mW]."""
        return self.power_mw_at(self.peak_image_rate_per_s)

    @property
    def bottleneck(self) -> str:
        """What sets the peak image rate: a component, and the layer that it serves."""
        return str(self.servers[0])

    @property
    def utilisation(self) -> dict[str, float]:
        """Share of the time that the busiest server of each component is busy, at `image_rate_per_s`."""
        found: dict[str, float] = {}
        for server in self.servers:
            found.setdefault(server.component, min(server.busy_s * self.image_rate_per_s, 1.0))
        return found

    def at(self, image_rate: float) -> Estimate:
        """The same at another image rate [1/s].

        Raises
        ------
        XbarError
            For a rate that is no positive number, or above the peak.
        """
        rate = checked_rate(image_rate, self.peak_image_rate_per_s, self.servers[0])
        table = tuple(row.at(1 / rate) for row in self.table)
        return dataclasses.replace(self, table=table, image_rate_per_s=rate)

    @property
    def macs_share(self) -> float:
        """Share of all known multiply-accumulates of an image that is on crossbars, and in this estimate."""
        return self.dense_operations / (self.dense_operations + 2 * sum(self.digital_macs.values()))

    @property
    def tops(self) -> float:
        """Operations of kept weights at the peak image rate [1e12/s]."""
        return self.operations * self.peak_image_rate_per_s * 1e-12

    @property
    def tops_per_w(self) -> float:
        """Operations of kept weights for their energy, infinite where they take none [1e12/J]."""
        return ratio(self.operations, self.energy_nj_per_image) * 1e-3

    @property
    def tops_per_mm2(self) -> float:
        """`tops` on `area_mm2`, infinite where that is 0 [1e12/s/mm^2]."""
        return ratio(self.tops, self.area_mm2)

    @property
    def by_component(self) -> dict[str, dict[str, float]]:
        """Sums of area and energy, dynamic and idle, of each component."""
        return sums((row.component, row) for row in self.table)

    @property
    def by_level(self) -> dict[str, dict[str, float]]:
        """Those sums of each level of the chip."""
        return sums((row.level, row) for row in self.table)

    @property
    def by_layer(self) -> dict[str, dict[str, float]]:
        """Those sums of each layer; pooling is a layer of its own."""
        return sums((row.layer, row) for row in self.table)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: totals, what they were made from, and the sums by component and layer.

        A ratio that is infinite, as JSON cannot say it, is None.
        """
        derived = [
            "area_mm2",
            "area_allocated_mm2",
            "energy_nj_per_image",
            "power_mw",
            "peak_power_mw",
            "leakage_mw",
        ]
        derived += ["dynamic_nj_per_image", "idle_nj_per_image"]
        derived += ["assumed_leakage_mw", "assumed_idle_nj_per_image"]
        derived += ["macs_share", "tops"]
        ratios = {name: getattr(self, name) for name in ("tops_per_w", "tops_per_mm2")}
        derived += ["bottleneck", "utilisation"]
        stored = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "servers"}
        lists = {name: list(getattr(self, name)) for name in ("not_scaled", "not_modelled", "sources")}
        prices = {name: [price.to_dict() for price in priced] for name, priced in self.prices.items()}
        return {
            **{name: getattr(self, name) for name in derived},
            **{name: value if math.isfinite(value) else None for name, value in ratios.items()},
            **stored,
            **lists,
            "by_component": self.by_component,
            "by_layer": self.by_layer,
            "by_level": self.by_level,
            "prices": prices,
            "table": [row.to_dict() for row in self.table],
        }


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
    if case not in get_args(Case):
        raise unknown_name("case", str(case), get_args(Case))
    if not mapped.tiles_per_plane:
        raise XbarError("mapped network: no layer has a tile; an estimate needs at least one")
    if chip is not None and chip.mapped != mapped:
        raise XbarError("chip: was programmed from another mapping; program this one")
    hardware = mapped.hardware
    used = {name: layer.hardware for name, layer in mapped.layers.items()}
    bills = {name: bill_of(own) for name, own in used.items()}
    bill = bill_of(hardware)
    bought = allocated(mapped, bill)
    active = _activity(mapped, activity, case)
    times = {name: layer_time_s(layer, used[name]) for name, layer in mapped.layers.items()}
    table = _layer_rows(mapped, bills, bought, active, case, chip) + _other_rows(mapped, bill, bought)
    table = with_gates(table, times, _gates(bills, bill))
    servers = servers_of(table, times)
    peak = 1 / servers[0].busy_s
    rate = checked_rate(peak if image_rate is None else image_rate, peak, servers[0])
    counts = {name: math.ceil(bought.arrays / size) for name, size in bill.levels.items()}
    known = all(layer.has_states for layer in mapped.layers.values())
    names = dict.fromkeys(item.name for each in bills.values() for item in each.charged)
    priced = {name: _item_prices(name, bills.values()) for name in names}
    return Estimate(
        table=tuple(row.at(1 / rate) for row in table),
        area_whole_tiles_mm2=sum(row.area_mm2 for row in table) + bought.white_space_mm2(bill),
        image_rate_per_s=rate,
        peak_image_rate_per_s=peak,
        servers=servers,
        latency_us_per_image=latency_s(table, times) * 1e6,
        arrays=bought.arrays,
        groups=counts.get("core", bought.arrays),
        tiles=counts.get(NODE, bought.arrays),
        nodes=bought.nodes(bill),
        levels={name: count for name, count in counts.items() if name != ARRAY},
        operations=2 * sum(layer.positions * layer.weights_kept for layer in mapped.layers.values()),
        dense_operations=2 * mapped.macs,
        digital_macs=dict(mapped.digital_macs),
        digital_unknown=dict(mapped.digital_unknown),
        peak_operations_per_s=sum(map(_peak_operations_per_s, mapped.layers.values())),
        weight_bits=_mean_bits(mapped),
        slices=hardware.encoding.slices,
        conductances="programmed" if chip is not None else "target" if known else case,
        inputs=case if activity is None else "measured",
        adc="; ".join(dict.fromkeys(f"{own.adc.library}, {own.adc.bits} bits" for own in used.values())),
        architecture=bill.architecture.name,
        prices=priced,
        counting={name: _item(name, bills.values()).counting() for name in names},
        not_scaled=not_scaled(bills.values(), hardware.periphery.node_nm),
        not_modelled=_not_modelled(mapped, table, priced, bill.missing),
    )


def _layer_rows(
    mapped: MappedNetwork,
    bills: Mapping[str, Bill],
    chip_has: Allocation,
    active: Mapping[str, NDArray[np.floating]],
    case: Case,
    chip: ProgrammedNetwork | None,
) -> list[Row]:
    """Rows of what layers do, their arrays read at the conductances that are there."""
    table: list[Row] = []
    for name, layer in mapped.layers.items():
        own = layer.hardware
        load = layer_load(layer, own, bills[name], chip_has.arrays, chip_has.bought)
        conductance = row_conductance(layer, own, case, chip)
        vector_j = read_energy_j(active[name], conductance, own.dac.v_read, own.periphery.t_read)
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


def checked_rate(image_rate: float, peak: float, busiest: Server) -> float:
    """An image rate that a chip can have [1/s].

    Raises
    ------
    XbarError
        For what is no positive number, or above the peak.
    """
    is_number = isinstance(image_rate, numbers.Real) and not isinstance(image_rate, bool)
    if not (is_number and math.isfinite(image_rate) and image_rate > 0):
        raise XbarError(f"image_rate = {image_rate!r:.60}: must be a positive number of images a second")
    if image_rate > peak * (1 + 1e-9):
        raise XbarError(
            f"image_rate = {image_rate:g}: above the {peak:.6g} images a second at which the busiest server, "
            f"{busiest}, is always busy"
        )
    return min(float(image_rate), peak)


def at_one_rate(*estimates: Estimate) -> tuple[Estimate, ...]:
    """Estimates at one image rate, the lowest of their peaks."""
    rate = min(each.peak_image_rate_per_s for each in estimates)
    return tuple(each.at(rate) for each in estimates)


def _item(name: str, bills: Iterable[Bill]) -> Item:
    """The first component of a name."""
    return next(item for bill in bills for item in bill.items if item.name == name)


def _item_prices(name: str, bills: Iterable[Bill]) -> tuple[Price, ...]:
    """Prices of a component, each once."""
    found = (item.price for bill in bills for item in bill.items if item.name == name)
    return tuple(dict.fromkeys(found))


def _mean_bits(mapped: MappedNetwork) -> float:
    """Bits of a weight that stays, the mean where layers have hardware of their own."""
    of_network = mapped.hardware.weight_bits
    more = {name: layer.hardware.weight_bits - of_network for name, layer in mapped.layers.items()}
    kept = {name: layer.weights_kept for name, layer in mapped.layers.items()}
    return of_network + sum(more[name] * kept[name] for name in kept) / max(sum(kept.values()), 1)


def _not_modelled(
    mapped: MappedNetwork,
    table: Iterable[Row],
    priced: Mapping[str, tuple[Price, ...]],
    without: Iterable[str],
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
    missing = ", ".join(without)
    return (
        f"leakage of {silent if any(known.values()) else 'any block'}: not in the libraries",
        *(f"{what} of {', '.join(names)}: not in the libraries" for what, names in zeros.items() if names),
        *([f"{missing}: not in the library"] if missing else []),
        *NOT_MODELLED,
        *(
            f"digital product: {name}, {macs:,} multiply-accumulates an image"
            for name, macs in sorted(mapped.digital_macs.items())
        ),
        *(
            f"digital operator that takes weights, of unknown work: {name}"
            for name in sorted(mapped.digital_unknown)
        ),
        *(f"digital operation: {name}" for name in _unpriced(mapped)),
    )


def peak_operations_per_s(hardware: Hardware) -> float:
    """Operations of one tile (in all planes) that is full and always busy [1/s]."""
    return 2 * hardware.crossbar.rows * hardware.weights_per_tile_row / fastest_vector_s(hardware)


def _peak_operations_per_s(layer: MappedLayer) -> float:
    """Those of all copies of all tiles of a layer [1/s]."""
    own = layer.hardware
    return len(layer.tiles) * own.periphery.copies * peak_operations_per_s(own)


def _unpriced(mapped: MappedNetwork) -> list[str]:
    """Digital operators, other than products, that no component is charged for."""
    return sorted(
        name for name in mapped.digital_elements if "pool" not in name and name.rstrip("_") not in ACTIVATIONS
    )


def reduction_percent(before: Estimate, after: Estimate) -> dict[str, float]:
    """How much less `after` costs than `before` [%]: `area`, `power`, `energy` and its `dynamic` part.

    Both are taken at the lower of their image rates: what is idle takes more energy an image, the longer an
    image lasts. What costs nothing before and after has a reduction of 0.
    """
    rate = min(before.image_rate_per_s, after.image_rate_per_s)
    before, after = before.at(rate), after.at(rate)
    pairs = {
        "area": (before.area_mm2, after.area_mm2),
        "power": (before.power_mw, after.power_mw),
        "energy": (before.energy_nj_per_image, after.energy_nj_per_image),
        "dynamic": (before.dynamic_nj_per_image, after.dynamic_nj_per_image),
    }
    return {name: _reduction(old, new) for name, (old, new) in pairs.items()}


def _reduction(before: float, after: float) -> float:
    if before == 0:
        return 0.0 if after == 0 else -math.inf
    return 100 * (1 - after / before)


def _activity(
    mapped: MappedNetwork, activity: Mapping[str, NDArray[np.floating]] | None, case: Case
) -> dict[str, NDArray[np.floating]]:
    """Checked activity of every layer, shape (inputs,); where none is given, the number of phases, or half of
    it for the mean."""
    phases = {name: layer.hardware.dac.phases_of(has_sign(layer)) for name, layer in mapped.layers.items()}
    if activity is None:
        share = 1.0 if case == "worst" else 0.5
        return {name: np.full(layer.inputs, share * phases[name]) for name, layer in mapped.layers.items()}
    for name in activity:
        if name not in mapped.layers:
            raise unknown_name("activity", name, mapped.layers)
    for name, layer in mapped.layers.items():
        if name not in activity:
            raise XbarError(f"activity: layer {name!r} is missing; give every mapped layer, or none at all")
        values = np.asarray(activity[name])
        if values.shape != (layer.inputs,):
            raise XbarError(f"activity[{name!r}]: has shape {values.shape}; allowed: ({layer.inputs},)")
        if not ((values >= 0) & (values <= phases[name])).all():
            raise XbarError(
                f"activity[{name!r}]: must lie between 0 and {phases[name]}, the number of phases"
            )
    return dict(activity)
