"""Component libraries: what a block costs a unit of area and an event of energy, with source and node.

A library is a TOML file of published totals; the numbers a unit and an event are derived from them here. With
``base`` it takes from another library the components that it has not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from power.components.checks import check_positive, find_library
from power.components.scaling import area_factor, energy_factor
from xbar.hardware.checks import check_range
from xbar.hardware.errors import XbarError
from xbar.hardware.files import build, read_toml

P = TypeVar("P", bound="Part")

_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A published block: `count` units of it stand in one group, tile, router or chip (`per`).

    Parameters
    ----------
    source
        DOI and table.
    node_nm
        Technology node [nm].
    kind
        ``digital`` logic can be scaled between nodes; ``analog`` blocks, ``memory``, ``wire`` and ``link``
        stay at theirs.
    unit
        What is counted: the thing that has the area.
    """

    __pydantic_config__: ClassVar = _STRICT
    source: str
    node_nm: float
    kind: Literal["digital", "analog", "memory", "wire", "link"]
    per: Literal["group", "tile", "router", "chip"]
    unit: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Area(Part):
    """A block with an area: `area_mm2` is the total of its `count` units, as is `leakage_mw` where known."""

    area_mm2: float
    leakage_mw: float | None = None

    @property
    def unit_area_mm2(self) -> float:
        """Area of one unit [mm^2]."""
        return self.area_mm2 / self.count


@dataclass(frozen=True, kw_only=True)
class Lump(Part):
    """A block with a power: `power_mw` is the total of `count` units that each see `rate_per_s` events."""

    power_mw: float
    rate_per_s: float
    event: str

    @property
    def energy_j(self) -> float:
        """Energy of one event [J]."""
        return self.power_mw * 1e-3 / (self.count * self.rate_per_s)


@dataclass(frozen=True, kw_only=True)
class Component(Area, Lump):
    """A block with both."""


OPTIONAL = ("row_driver", "column_driver", "mux", "rescale", "factor_register")
"""Blocks that are charged where a library has them."""

DEPTH_EXPONENT = 0.78
"""Energy of a memory access over its depth (CACTI); area goes with the depth itself."""


@dataclass(frozen=True, kw_only=True)
class Memory(Component):
    """A memory of `capacity_kb` in each unit."""

    capacity_kb: float


@dataclass(frozen=True, kw_only=True)
class Components:
    """Every block that an estimate charges; None: the library has no price for it."""

    __pydantic_config__: ClassVar = _STRICT
    cell: Area
    dac: Component
    sample_hold: Component
    shift_add: Component
    input_register: Component
    output_register: Component
    tile_output_register: Component
    edram: Memory
    bus: Component
    sigmoid: Component
    max_pool: Component
    tile_shift_add: Component
    router: Component
    row_driver: Component | None = None
    column_driver: Component | None = None
    mux: Component | None = None
    rescale: Component | None = None
    factor_register: Component | None = None
    adc: Component | None = None
    array_read: Lump | None = None
    hyper_transport: Component | None = None

    def __post_init__(self) -> None:
        for name, part in self.by_name().items():
            for key in ("count", "node_nm", "area_mm2", "power_mw", "rate_per_s", "capacity_kb"):
                check_positive(f"components.{name}.{key}", getattr(part, key, 1))
            leakage = getattr(part, "leakage_mw", None)
            if leakage is not None:
                check_range(f"components.{name}.leakage_mw", leakage, 0, 1e6, "mW")

    def by_name(self) -> dict[str, Part]:
        """The blocks that are there."""
        pairs = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {name: part for name, part in pairs if part is not None}

    def charged(self) -> frozenset[str]:
        """What an estimate charges, arrays and converters included."""
        both = {n for n, part in self.by_name().items() if isinstance(part, Component)}
        return frozenset(both - {"hyper_transport"} | {"array", "adc"})

    def unpriced(self) -> tuple[str, ...]:
        """Blocks that a library may price, and this one does not."""
        return tuple(name for name in OPTIONAL if getattr(self, name) is None)


@dataclass(frozen=True)
class PeripheryLibrary:
    """What surrounds the arrays (`periphery.library`)."""

    __pydantic_config__: ClassVar = _STRICT
    name: str
    source: str
    components: Components


def load_periphery(name: str) -> PeripheryLibrary:
    """Periphery library by name, or from a user's file where `name` ends in .toml.

    Raises
    ------
    XbarError
        For an unknown name, a missing file, a missing, unknown or impossible key, or a base that leads back
        to the library.
    """
    return build(PeripheryLibrary, _with_base(name), Path(name).name)


def library_files(name: str) -> list[Path]:
    """Files of a component library: its own, and those of its bases; errors as those of `load_periphery`."""
    return [path for path, _ in _chain(name)]


def _with_base(name: str) -> dict[str, Any]:
    """What a file says, with the components of its base that it has not."""
    found: dict[str, Any] = {}
    for _, data in reversed(_chain(name)):
        found = {**found, **data, "components": {**found.get("components", {}), **data.get("components", {})}}
    return found


def _chain(name: str) -> list[tuple[Path, dict[str, Any]]]:
    """A library's file and that of each base behind it, with what they say but for the base's name."""
    names: list[str] = []
    found: list[tuple[Path, dict[str, Any]]] = []
    while True:
        if name in names:
            loop = " -> ".join((*names, name))
            raise XbarError(f"periphery.library: {loop}: a base that leads back to itself")
        path = find_library("periphery.library", name, {"components"})
        data = read_toml(path)
        if not isinstance(data.get("components", {}), dict):
            raise XbarError(f"{Path(name).name}: components = {data['components']!r:.60}: must be a table")
        found.append((path, data))
        if "base" not in data:
            return found
        base = data.pop("base")
        if not isinstance(base, str):
            raise XbarError(f"{Path(name).name}: base = {base!r}: must be the name of a library, or a path")
        names.append(name)
        name = base


def of_capacity(memory: Memory, capacity_kb: float) -> Memory:
    """A memory of another size: energy with depth^.78, area with depth (CACTI)."""
    depth = capacity_kb / memory.capacity_kb
    return dataclasses.replace(
        memory,
        capacity_kb=capacity_kb,
        area_mm2=memory.area_mm2 * depth,
        power_mw=memory.power_mw * depth**DEPTH_EXPONENT,
    )


def at_node(part: P, node_nm: float) -> P:
    """A digital block at another node, by `power.components.scaling`; any other block as it is.

    Leakage stays that of the block's own node: the published factors are those of switching energy.

    Raises
    ------
    XbarError
        For a node outside the scaling tables.
    """
    if part.kind != "digital" or part.node_nm == node_nm:
        return part
    if isinstance(part, Area):
        part = dataclasses.replace(part, area_mm2=part.area_mm2 * area_factor(part.node_nm, node_nm))
    if isinstance(part, Lump):
        part = dataclasses.replace(part, power_mw=part.power_mw * energy_factor(part.node_nm, node_nm))
    return dataclasses.replace(part, node_nm=node_nm)
