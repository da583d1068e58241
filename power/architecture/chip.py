"""An architecture: the levels of a chip from a TOML file, and the components that stand at each.

A file says for each component how many of it a level has, what it is charged for, what it costs and how fast
it is. With ``base`` it changes another architecture: a key that it gives takes the place of the base's.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from power.architecture.expressions import Expression, addends_of, check_expression, names_of
from power.architecture.vocabulary import (
    BUFFER,
    EVENTS,
    LAYER_VARIABLES,
    NETWORK_EVENTS,
    NO_EVENTS,
    OFF_CHIP,
    TRAFFIC_EVENTS,
    VARIABLES,
)
from power.components.files import TomlFile, check_cost, check_positive, file_and_bases, said, table_of
from xbar.hardware.checks import STRICT, check_range
from xbar.hardware.errors import XbarError, naming, unknown_name
from xbar.hardware.files import build

ARRAY, NODE, CHIP, LAYER = "array", "node", "chip", "layer"
"""Levels with a meaning: what a mapping counts, what layers own, the whole; what is counted by the layer."""

LayerSchedule = Literal["streaming", "layer-serial"]
"""Whether a layer begins when its first window is complete, or when the layer before it is done and so is the
image before."""

CONVERTER, DEVICE = "converter", "device"
"""Prices that are in no component library: that of `adc.library`, and the read of an array's own cells."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of a chip.

    Parameters
    ----------
    holds
        How many units of the level before it one of this has; the first level holds nothing, and a chip as
        many as there are.
    gated
        Whether its power, and that of the levels below it, is off while nothing that stands in it has
        anything to do.
    """

    __pydantic_config__: ClassVar = STRICT
    name: str
    holds: Expression = 1
    gated: bool = False


@dataclass(frozen=True, kw_only=True)
class Given:
    """A price that an architecture gives itself: of one event, and of one unit. Zero is a price."""

    __pydantic_config__: ClassVar = STRICT
    energy_pj: float
    area_um2: float
    source: str
    node_nm: float
    kind: Literal["digital", "analog", "memory", "wire", "link"]
    event: str
    unit: str
    leakage_uw: float | None = None
    rate_per_s: float | None = None

    def __post_init__(self) -> None:
        for key in ("energy_pj", "area_um2", "leakage_uw"):
            check_cost(key, getattr(self, key) or 0.0)
        check_positive("node_nm", self.node_nm)
        check_positive("rate_per_s", 1.0 if self.rate_per_s is None else self.rate_per_s)


@dataclass(frozen=True, kw_only=True)
class FromLibrary:
    """A block of a library that is not the design's; its path is looked up beside the architecture."""

    __pydantic_config__: ClassVar = STRICT
    library: str
    part: str


@dataclass(frozen=True, kw_only=True)
class CellPrice:
    """The cells of an array: blocks of the design's library for their area and for a read.

    Parameters
    ----------
    read
        A block with the energy of a read of one plane of an array, whatever it holds; ``device``: t V^2 G of
        the cells that are there, of the device that is simulated.
    """

    __pydantic_config__: ClassVar = STRICT
    cells: str
    read: str


@dataclass(frozen=True, kw_only=True)
class Component:
    """One component of a level.

    Parameters
    ----------
    count
        Units in one of its level; of the level ``layer``, in each copy of a layer.
    events
        Expression over the events of an image that the component is charged for.
    price
        A block of `periphery.library`, by its name; ``converter``: that of `adc.library`; or a table.
    rate
        Events a second that one unit serves [1/s]; ``library``: what its price says; ``unlimited``.
    capacity_kb
        Capacity of one unit of a memory [KB]; None: that of its price.
    optional
        Left out where the library has no such block.
    """

    level: str
    count: Expression
    events: Expression
    price: str | Given | FromLibrary | CellPrice
    rate: Expression = "library"
    capacity_kb: Expression | None = None
    optional: bool = False

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """Names that its expressions read."""
        texts = [self.count, self.events, self.capacity_kb or 0]
        texts += [] if self.rate in ("library", "unlimited") else [self.rate]
        return frozenset().union(*(names_of("", text) for text in texts))


@dataclass(frozen=True)
class Architecture:
    """The levels of a chip, and the components that stand at each.

    Parameters
    ----------
    levels
        Levels from the smallest up.
    components
        Components by name, in the order of the file.
    phase_bits
        Most bits of a phase that the price of its drivers holds for.
    nodes
        Whether each layer has nodes of its ``own``, or they are ``shared``.
    schedule
        How the layers of one image follow each other.
    mesh
        Level of which each has a router, and stands on a mesh of them; empty: there is none.
    chip_nodes
        Nodes of one chip; 0: as many as there are.
    one_sign
        Whether the two planes of a pair are one array, so that the weights which a column holds in one read
        must have one sign.
    folder
        That of its file: paths of libraries are looked up there.
    """

    name: str
    source: str
    levels: tuple[Level, ...]
    components: Mapping[str, Component]
    phase_bits: int
    nodes: Literal["own", "shared"]
    schedule: LayerSchedule
    mesh: str
    chip_nodes: int
    one_sign: bool
    folder: Path

    @property
    def prices_converters(self) -> bool:
        """Whether some component has the price of `adc.library`."""
        return any(component.price == CONVERTER for component in self.components.values())

    @property
    def gates(self) -> dict[str, tuple[str, ...]]:
        """For each level, all levels up to the first gated one at or above it, which go on and off together.

        A level without a gate at or above it is not there: it is always on.
        """
        names = tuple(level.name for level in self.levels)
        found: dict[str, tuple[str, ...]] = {}
        for number, level in enumerate(self.levels):
            if level.gated:
                with_it = names[: number + 1]
                found |= {name: with_it for name in with_it if name not in found}
        return found

    def level_names(self) -> frozenset[str]:
        """Names that its levels' expressions read."""
        return frozenset().union(*(names_of("", level.holds) for level in self.levels))


def load_architecture(name: str | Path) -> Architecture:
    """Architecture by name, or from a user's file where `name` ends in .toml.

    Raises
    ------
    XbarError
        For an unknown name, a missing file, or a missing, unknown or impossible key.
    """
    return architecture_of(architecture_toml(str(name)))


def architecture_toml(name: str) -> tuple[TomlFile, ...]:
    """Files of an architecture: its own, and those of its bases; errors as those of `load_architecture`."""
    return file_and_bases("periphery.architecture", name, {"components"}, "power.architecture")


def architecture_files(name: str) -> list[Path]:
    """Paths of all files that an architecture is made of, libraries that it names by a path included."""
    files = architecture_toml(name)
    own = architecture_of(files)
    named = [c.price.library for c in own.components.values() if isinstance(c.price, FromLibrary)]
    beside = [own.folder / library for library in named if library.endswith(".toml")]
    return [file.path for file in files] + [path for path in beside if path.is_file()]


@dataclass(frozen=True, kw_only=True)
class _File:
    """The keys of a file; those that it has not are its base's."""

    __pydantic_config__: ClassVar = STRICT
    name: str
    source: str
    base: str = ""
    levels: tuple[Level, ...] = ()
    phase_bits: int = 0
    nodes: Literal["own", "shared", ""] = ""
    schedule: Literal["streaming", "layer-serial", ""] = ""
    mesh: str = ""
    chip_nodes: int = 0
    one_sign: bool | None = None
    remove: tuple[str, ...] = ()
    components: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Plain:
    """The keys of a component, its price apart."""

    __pydantic_config__: ClassVar = STRICT
    level: str
    count: Expression
    events: Expression
    rate: Expression = "library"
    capacity_kb: Expression | None = None
    optional: bool = False


@functools.lru_cache(maxsize=64)
def architecture_of(files: tuple[TomlFile, ...]) -> Architecture:
    """The architecture that a file and its bases make, built once for their bytes; errors as
    `load_architecture`."""
    levels: tuple[Level, ...] = ()
    phase_bits = 1
    nodes: Literal["own", "shared"] = "own"
    schedule: LayerSchedule = "streaming"
    mesh, chip_nodes, one_sign = "", 0, False
    tables: dict[str, dict[str, Any]] = {}
    where: dict[str, str] = {}
    for file in reversed(files):
        head = build(_File, {"components": {}, **said(file)}, file.path.name)
        levels, phase_bits = head.levels or levels, head.phase_bits or phase_bits
        nodes = head.nodes or nodes
        schedule = head.schedule or schedule
        mesh, chip_nodes = head.mesh or mesh, head.chip_nodes or chip_nodes
        one_sign = one_sign if head.one_sign is None else head.one_sign
        for name in head.remove:
            if name not in tables:
                raise unknown_name(f"{file.path.name}: remove", name, tables)
            del tables[name]
        for name, table in table_of(file, "components").items():
            where[name] = f"{file.path.name}: components.{name}"
            if not isinstance(table, dict):
                raise XbarError(f"{where[name]} = {table!r:.60}: must be a table")
            tables[name] = {**tables.get(name, {}), **table}
    own = files[0].path
    with naming(own.name):
        check_range("phase_bits", phase_bits, 1, 16)
        _check_levels(levels, nodes)
        _check_mesh(levels, mesh, chip_nodes)
    places = {level.name for level in levels} | {LAYER}
    components = {
        name: _component(name, table, where[name], places, bool(mesh)) for name, table in tables.items()
    }
    if not components:
        raise XbarError(f"{own.name}: components: missing; a chip has at least one")
    return Architecture(
        name=head.name,
        source=head.source,
        levels=levels,
        components=MappingProxyType(components),
        phase_bits=phase_bits,
        nodes=nodes,
        schedule=schedule,
        mesh=mesh,
        chip_nodes=chip_nodes,
        one_sign=one_sign,
        folder=own.parent.resolve(),
    )


def _check_levels(levels: tuple[Level, ...], nodes: Literal["own", "shared"]) -> None:
    """Refuse levels without arrays, twice the same, a chip that is not the last one, a node below an array,
    or a gate where layers share."""
    names = [level.name for level in levels]
    if ARRAY not in names:
        raise XbarError(f"levels = {names}: must have one of the name {ARRAY!r}, which a mapping counts")
    if len(set(names)) < len(names) or LAYER in names:
        raise XbarError(f"levels = {names}: each name may be there once, and {LAYER!r} is no level of a chip")
    if CHIP in names[:-1]:
        raise XbarError(f"levels = {names}: {CHIP!r} must be the last")
    if NODE in names and names.index(NODE) < names.index(ARRAY):
        raise XbarError(f"levels = {names}: {NODE!r} must be above {ARRAY!r}, whole numbers of which it has")
    for number, level in enumerate(levels):
        if level.holds != 1 and (number == 0 or level.name == CHIP):
            raise XbarError(
                f"levels.{level.name}.holds = {level.holds!r}: has no effect on the first level or a chip"
            )
        check_expression(f"levels.{level.name}.holds", level.holds, VARIABLES)
    own = names.index(NODE if NODE in names and nodes == "own" else ARRAY)
    for level in levels[own + 1 :]:
        if level.gated:
            raise XbarError(
                f"levels.{level.name}.gated = true: layers share this level; allowed: "
                f"{', '.join(names[: own + 1])}"
            )


def _check_mesh(levels: tuple[Level, ...], mesh: str, chip_nodes: int) -> None:
    """Refuse a mesh of what holds no whole nodes, and nodes of a chip where there are none."""
    names = [level.name for level in levels]
    has_nodes = names[names.index(NODE) :] if NODE in names else []
    allowed = [name for name in has_nodes if name != CHIP]
    if mesh and mesh not in allowed:
        raise unknown_name("mesh (a level of whole nodes)", mesh, allowed)
    check_range("chip_nodes", chip_nodes, 0, 1 << 30)
    if chip_nodes and not has_nodes:
        raise XbarError(f"chip_nodes = {chip_nodes}: has no effect without a level of the name {NODE!r}")


def _component(
    name: str, table: Mapping[str, Any], where: str, places: set[str], has_mesh: bool
) -> Component:
    """A component from what its file and the bases of it say."""
    plain = build(_Plain, {key: value for key, value in table.items() if key != "price"}, where)
    if plain.level not in places:
        raise unknown_name(f"{where}.level", plain.level, places)
    if name == CONVERTER and "price" not in table:
        raise XbarError(
            f"{where}.price: missing; a component takes the block of its name, but {CONVERTER!r} is "
            "the price of adc.library: say it, or give another"
        )
    price = _price(table.get("price", name), f"{where}.price")
    counted = {*VARIABLES, *(LAYER_VARIABLES if plain.level == LAYER else ())}
    check_expression(f"{where}.count", plain.count, counted)
    check_expression(f"{where}.events", plain.events, {*NO_EVENTS, *VARIABLES})
    if (traffic := names_of("", plain.events) & TRAFFIC_EVENTS.keys()) and not has_mesh:
        raise XbarError(
            f"{where}.events = {plain.events!r:.100}: {min(traffic)} needs a mesh, whose routers nodes stand "
            "at; allowed: mesh = 'node', or a level above it"
        )
    _check_events(f"{where}.events", plain)
    if plain.rate not in ("library", "unlimited"):
        check_expression(f"{where}.rate", plain.rate, VARIABLES)
    if plain.capacity_kb is not None:
        check_expression(f"{where}.capacity_kb", plain.capacity_kb, {*VARIABLES, BUFFER})
        if not isinstance(price, str | FromLibrary):
            raise XbarError(f"{where}.capacity_kb: has no effect on a price that is given here")
    if plain.optional and not isinstance(price, str):
        raise XbarError(f"{where}.optional = true: has no effect on a price that is a table")
    return Component(
        level=plain.level,
        count=plain.count,
        events=plain.events,
        price=price,
        rate=plain.rate,
        capacity_kb=plain.capacity_kb,
        optional=plain.optional,
    )


def _check_events(key: str, component: _Plain) -> None:
    """Refuse events that are neither a layer's, nor the network's, nor a sum of both."""
    said = f"{key} = {component.events!r:.100}"
    of_network = sorted(names_of(key, component.events) & (NETWORK_EVENTS.keys() | TRAFFIC_EVENTS.keys()))
    if component.level == LAYER and of_network:
        raise XbarError(f"{said}: a layer has no {of_network[0]!r}, which happens between layers")
    kinds = {"the network": NETWORK_EVENTS, "a layer": EVENTS, "the mesh": TRAFFIC_EVENTS}
    for names in addends_of(key, component.events):
        mixed = [(min(names & of.keys()), kind) for kind, of in kinds.items() if names & of.keys()]
        if len(mixed) > 1:
            (one, first), (other, second) = mixed[:2]
            raise XbarError(
                f"{said}: mixes {one}, which is of {first}, with {other}, which is of {second}; "
                "allowed: sums of the two"
            )
    others = names_of(key, component.events) & (NO_EVENTS.keys() - {OFF_CHIP})
    if OFF_CHIP in names_of(key, component.events) and others:
        raise XbarError(f"{said}: {OFF_CHIP} stands alone, as no network knows it; without {min(others)}")


def _price(price: Any, where: str) -> str | Given | FromLibrary | CellPrice:
    """A price by name, or from its table."""
    if isinstance(price, str):
        return price
    if not isinstance(price, dict):
        raise XbarError(f"{where} = {price!r:.60}: must be the name of a block, or a table")
    if "read" in price or "cells" in price:
        return build(CellPrice, price, where)
    if "library" in price or "part" in price:
        return build(FromLibrary, price, where)
    return build(Given, price, where)
