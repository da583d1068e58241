"""Component libraries: what a block costs a unit of area and an event of energy, with source and node.

A library is a TOML file of published totals; the numbers a unit and an event are derived from them here. With
``base`` it takes from another library the components that it has not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from power.checks import check_positive, find_library
from power.scaling import area_factor, energy_factor
from xbar.errors import XbarError
from xbar.files import build, read_toml

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
    """A block with an area: `area_mm2` is the total of its `count` units."""

    area_mm2: float

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


@dataclass(frozen=True, kw_only=True)
class Components:
    """Every block that an estimate charges, and those that it only tells of (None: not in the library)."""

    __pydantic_config__: ClassVar = _STRICT
    cell: Area
    dac: Component
    sample_hold: Component
    shift_add: Component
    input_register: Component
    output_register: Component
    tile_output_register: Component
    edram: Component
    bus: Component
    sigmoid: Component
    max_pool: Component
    tile_shift_add: Component
    router: Component
    adc: Component | None = None
    array_read: Lump | None = None
    hyper_transport: Component | None = None

    def __post_init__(self) -> None:
        for name, part in self.by_name().items():
            for key in ("count", "node_nm", "area_mm2", "power_mw", "rate_per_s"):
                check_positive(f"components.{name}.{key}", getattr(part, key, 1))

    def by_name(self) -> dict[str, Part]:
        """The blocks that are there."""
        pairs = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {name: part for name, part in pairs if part is not None}


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
    return build(PeripheryLibrary, _with_base(name, ()), Path(name).name)


def _with_base(name: str, above: tuple[str, ...]) -> dict[str, Any]:
    """What a file says, with the components of its base that it has not."""
    if name in above:
        raise XbarError(f"periphery.library: {' -> '.join((*above, name))}: a base that leads back to itself")
    data = read_toml(find_library("periphery.library", name, {"components"}))
    if "base" not in data:
        return data
    if not isinstance(of := data.pop("base"), str):
        raise XbarError(f"{Path(name).name}: base = {of!r}: must be the name of a library, or a path")
    base = _with_base(of, (*above, name))
    return {**base, **data, "components": {**base.get("components", {}), **data.get("components", {})}}


def at_node(part: P, node_nm: float) -> P:
    """A digital block at another node, by `power.scaling`; any other block as it is.

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
