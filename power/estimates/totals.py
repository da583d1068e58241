"""`Estimate`: what a mapped network costs, as a table whose plain sums are the totals."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from power.architecture.chip import LayerSchedule
from power.components.price import Price
from power.counts.fragments import Fragments
from power.estimates.latency import PathPart
from power.estimates.rows import CostTable, ratio, sums, total
from power.estimates.servers import Busy, Server, busiest_of, servers_of
from power.floorplan.floorplan import Floorplan
from xbar.hardware.errors import XbarError

KEPT_APART = (
    *("busy", "table"),
    *("floorplan", "buffer_kb", "kept_kb", "chip_nodes", "fragments", "image_bytes", "result_bytes"),
)
"""Fields of an estimate that are in its plain data in another form, or in `Estimate.placement`."""


@dataclass(frozen=True)
class Estimate:
    """Cost of a mapped network; every total is the plain sum of rows of `table`.

    Parameters
    ----------
    table
        One row a layer and component, a sequence of `power.estimates.rows.Row`.
    image_rate_per_s, peak_image_rate_per_s
        Rate that `power_mw` is for, and the rate at which the busiest server is always busy [1/s].
    busy
        How long the arrays of each layer and what serves them are busy for an image (`servers`).
    latency_us_per_image
        Time of one image that has the chip to itself [us].
    schedule, critical_path
        Whether that is of layers that stream or of one after the other, and what it is made of where they
        stream (`power.estimates.latency.Latency`).
    arrays, groups, tiles, levels
        Physical arrays that hold weights, and the whole groups and tiles of the periphery that hold them; of
        an architecture without levels ``core`` and ``node``, the arrays. Whole units of every level by name.
        All as if layers shared them.
    nodes
        Nodes that each layer has of its own, by name; empty where layers share them.
    chip_nodes
        Nodes of one chip; 0: as many as there are.
    fragments
        Fragments of columns, and those of both signs, where an array has room for one sign in each
        (`one_sign` in the architecture); None elsewhere.
    floorplan
        Layers on the mesh of the architecture; None where it has none, or the network's graph is not known.
    buffer_kb, kept_kb
        By layer: capacity of the buffer of one of its nodes, None where it is not known, and what the fullest
        of them keeps, empty where no capacity, or the network's graph, is known [KB].
    image_bytes, result_bytes
        Bytes of an image and of what the network returns for it, which go on and off the chip; 0 where they
        are not known. Nothing is charged for them.
    area_whole_tiles_mm2
        Area where groups and tiles of the periphery can only be bought whole [mm^2].
    operations, dense_operations
        Operations an image, two a multiply-accumulate: of kept weights, and of all weights as if none were
        masked.
    digital_macs, digital_unknown
        Multiply-accumulates an image of products left digital, and calls of operators that take a weight and
        may be products, by operator name; the latter have no row in `table`.
    digital_operations, digital_unpriced
        Operations an image that stay digital, two a multiply-accumulate, and those of them that no component
        is charged for, by operator name, the most first.
    peak_operations_per_s
        Where every cell of every array that is there holds a weight and is always busy [1/s].
    conductances
        ``programmed`` (those of a chip), ``target`` (from the weights), or, without weights, ``worst`` (every
        kept weight at its largest) or ``mean``.
    inputs
        ``measured`` (from `activity`), ``worst`` (every phase at `v_read`) or ``mean`` (every second one).
    adc
        Converter model and its bits; ``no price of their own`` where another component's price holds them.
    prices
        By component, those that its rows were made with: one, unless layers have hardware of their own.
    counting
        By component, how its units and events are counted, in words.
    not_scaled
        Components whose numbers are of another node than `periphery.node_nm`.
    """

    table: CostTable
    image_rate_per_s: float
    peak_image_rate_per_s: float
    busy: Busy
    latency_us_per_image: float
    schedule: LayerSchedule
    critical_path: tuple[PathPart, ...]
    arrays: int
    groups: int
    tiles: int
    levels: Mapping[str, int]
    nodes: Mapping[str, int]
    chip_nodes: int
    fragments: Fragments | None
    floorplan: Floorplan | None
    buffer_kb: Mapping[str, float | None]
    kept_kb: Mapping[str, float]
    image_bytes: float
    result_bytes: float
    area_whole_tiles_mm2: float
    operations: int
    dense_operations: int
    digital_macs: Mapping[str, int]
    digital_unknown: Mapping[str, int]
    digital_operations: int
    digital_unpriced: Mapping[str, int]
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
        return total(self.table.area_mm2)

    @property
    def area_allocated_mm2(self) -> float:
        """Area that is bought, with the arrays of whole nodes that stay empty [mm^2].

        Each layer has nodes of its own, unless the architecture lets layers share them.
        """
        return total(self.table.allocated_mm2)

    @property
    def energy_nj_per_image(self) -> float:
        """Energy of one image, dynamic and idle, the latter where it is known [nJ]."""
        return total(self.table.energy_nj)

    @property
    def dynamic_nj_per_image(self) -> float:
        """Energy that the events of one image take [nJ]."""
        return total(self.table.dynamic_nj)

    @property
    def idle_nj_per_image(self) -> float:
        """Energy that leaks in the time of one image, from all blocks for which a source gives it [nJ]."""
        return total(self.table.idle_nj)

    @property
    def leakage_mw(self) -> float:
        """Leakage of all blocks for which a source gives it, none of them gated [mW]."""
        return total(self.table.known_leakage_mw)

    @property
    def assumed_leakage_mw(self) -> float:
        """Leakage that `LEAKING_SHARES` assumes of blocks without a source; in no other figure [mW]."""
        return total(self.table.assumed_leakage_mw)

    @property
    def assumed_idle_nj_per_image(self) -> float:
        """Energy that `assumed_leakage_mw` takes in the time of one image, gated blocks off [nJ]."""
        return total(self.table.assumed_leakage_mw * self.table.on_s * 1e6)

    def power_mw_at(self, image_rate: float) -> float:
        """Power at an image rate [1/s]: what events take, and what leaks [mW].

        At rate 0 that is what leaks in blocks that are never gated.

        Raises
        ------
        XbarError
            For a rate that is no number from 0 on, or above the peak.
        """
        if image_rate == 0:
            return total(self.table.known_leakage_mw[np.isnan(self.table.awake_s)])
        rate = checked_rate(image_rate, self.peak_image_rate_per_s, self.busiest)
        return total(self.table.at(1 / rate).energy_nj) * rate * 1e-6

    @property
    def power_mw(self) -> float:
        """Energy an image times `image_rate_per_s` [mW]."""
        return self.energy_nj_per_image * self.image_rate_per_s * 1e-6

    @property
    def peak_power_mw(self) -> float:
        """Power at `peak_image_rate_per_s` [mW]."""
        return self.power_mw_at(self.peak_image_rate_per_s)

    @property
    def overfull(self) -> dict[str, float]:
        """The most that a buffer keeps of each layer for which it has no room [KB]."""
        room = {name: math.inf if of is None else of for name, of in self.buffer_kb.items()}
        return {name: kept for name, kept in self.kept_kb.items() if kept > room[name]}

    @property
    def chips(self) -> int:
        """Chips that hold all nodes; 1 where an architecture does not say how many nodes a chip has."""
        nodes = sum(self.nodes.values()) or self.tiles
        return math.ceil(nodes / self.chip_nodes) if self.chip_nodes else 1

    @property
    def without_room(self) -> tuple[str, ...]:
        """Sentences on things that a chip has no room for, whose cost no number here holds: buffers and nodes
        that are too few, and fragments of both signs on arrays of one."""
        found = []
        if self.overfull:
            found.append(
                f"stalls: {len(self.overfull)} of {len(self.kept_kb)} layers keep more than the buffer of a "
                "node holds"
            )
        if self.chips > 1:
            found.append(f"traffic between chips: the nodes are those of {self.chips}")
        if self.fragments is not None and self.fragments.mixed:
            found.append(
                f"arrays of the other sign: {self.fragments.mixed} of {self.fragments.total} fragments hold "
                "weights of both"
            )
        return tuple(found)

    @cached_property
    def servers(self) -> tuple[Server, ...]:
        """The arrays of each layer and what serves them, the busiest first."""
        return servers_of(self.busy)

    @cached_property
    def busiest(self) -> Server:
        """The server that sets the peak image rate."""
        return busiest_of(self.busy)

    @property
    def bottleneck(self) -> str:
        """The server that sets the peak image rate: a component, and the layer that it serves."""
        return str(self.busiest)

    @property
    def utilisation(self) -> dict[str, float]:
        """Share of the time that the busiest server of each component is busy, at `image_rate_per_s`."""
        found: dict[str, float] = {}
        for server in self.servers:
            found.setdefault(server.component, min(server.busy_s * self.image_rate_per_s, 1.0))
        return found

    def at(self, image_rate: float) -> Estimate:
        """The same estimate at another image rate [1/s].

        Raises
        ------
        XbarError
            For a rate that is no positive number, or above the peak.
        """
        rate = checked_rate(image_rate, self.peak_image_rate_per_s, self.busiest)
        return dataclasses.replace(self, table=self.table.at(1 / rate), image_rate_per_s=rate)

    @property
    def macs_share(self) -> float:
        """Share of all known multiply-accumulates of an image that is on crossbars, and in this estimate."""
        return self.dense_operations / (self.dense_operations + 2 * sum(self.digital_macs.values()))

    @property
    def unpriced_share(self) -> float:
        """Share of all operations of an image, masked ones included, that stay digital without a price."""
        return sum(self.digital_unpriced.values()) / (self.dense_operations + self.digital_operations)

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
        """Sums of area and energy, dynamic and idle, of each level of the chip."""
        return sums((row.level, row) for row in self.table)

    @property
    def by_layer(self) -> dict[str, dict[str, float]]:
        """Sums of area and energy, dynamic and idle, of each layer; digital work is one of its own."""
        return sums((row.layer, row) for row in self.table)

    def placement(self) -> dict[str, Any]:
        """Plain data of where layers stand: chips, buffers, traffic between nodes and off the chip."""
        return {
            "chips": self.chips,
            "buffers": {"capacity_kb": dict(self.buffer_kb), "kept_kb": dict(self.kept_kb)},
            "traffic": None if self.floorplan is None else self.floorplan.to_dict(),
            "off_chip": {"image_bytes": self.image_bytes, "result_bytes": self.result_bytes},
        }

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
        derived += ["macs_share", "unpriced_share", "tops"]
        ratios = {name: getattr(self, name) for name in ("tops_per_w", "tops_per_mm2")}
        path = [dataclasses.asdict(part) for part in self.critical_path]
        derived += ["bottleneck", "utilisation"]
        names = [field.name for field in dataclasses.fields(self) if field.name not in KEPT_APART]
        stored = {name: getattr(self, name) for name in names}
        lists = {name: list(getattr(self, name)) for name in ("not_scaled", "not_modelled", "sources")}
        lists["not_modelled"] += self.without_room
        prices = {name: [price.to_dict() for price in priced] for name, priced in self.prices.items()}
        return {
            **{name: getattr(self, name) for name in derived},
            **{name: value if math.isfinite(value) else None for name, value in ratios.items()},
            **stored,
            **lists,
            "critical_path": path,
            "by_component": self.by_component,
            "by_layer": self.by_layer,
            "by_level": self.by_level,
            "prices": prices,
            "table": [row.to_dict() for row in self.table],
        }


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
    """The same estimates at one image rate, the lowest of their peaks, so that powers compare."""
    rate = min(each.peak_image_rate_per_s for each in estimates)
    return tuple(each.at(rate) for each in estimates)


def reduction_percent(before: Estimate, after: Estimate) -> dict[str, float]:
    """Share by which `after` costs less than `before` [%]: `area`, `power`, `energy` and its `dynamic` part.

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
