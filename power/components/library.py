"""Component libraries: published blocks, each with its totals, what they are the totals of, source and node.

A library is a TOML file with a table for each block, of any name: an `Architecture` says which of them a chip
has. With ``base`` it takes from another library the blocks that it has not.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from power.components.files import TomlFile, check_cost, check_positive, file_and_bases, said, table_of
from power.components.scaling import area_factor, energy_factor
from xbar.hardware.checks import STRICT
from xbar.hardware.errors import XbarError
from xbar.hardware.files import build

DEPTH_EXPONENT = 0.78
"""Energy of a memory access over its depth (CACTI); area goes with the depth itself."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A published block: the totals of `count` units. Zero is a price; what is not given is not known.

    Parameters
    ----------
    source
        DOI and table.
    node_nm
        Technology node [nm].
    kind
        ``digital`` logic can be scaled between nodes; ``analog`` blocks, ``memory``, ``wire`` and ``link``
        stay at theirs.
    per
        Word for the thing that has the totals: a group, a tile, a chip.
    unit
        Word for the thing that is counted, which has the area.
    area_mm2
        Area of all units [mm^2]; None: not known.
    power_mw
        Power of all units, each of which sees `rate_per_s` events [mW]; None: not known.
    rate_per_s
        Events a second of one unit, at that power [1/s].
    event
        Word for the event that takes that energy.
    leakage_mw
        Leakage of all units, beside `power_mw` and not in it [mW].
    capacity_kb
        Capacity of one unit of a memory [KB].
    """

    __pydantic_config__: ClassVar = STRICT
    source: str
    node_nm: float
    kind: Literal["digital", "analog", "memory", "wire", "link"]
    per: str
    unit: str
    count: int
    area_mm2: float | None = None
    power_mw: float | None = None
    rate_per_s: float | None = None
    event: str = ""
    leakage_mw: float | None = None
    capacity_kb: float | None = None

    def __post_init__(self) -> None:
        for key in ("area_mm2", "power_mw", "leakage_mw"):
            check_cost(key, getattr(self, key) or 0.0)
        for key in ("count", "node_nm", "rate_per_s", "capacity_kb"):
            given = getattr(self, key)
            check_positive(key, 1 if given is None else given)
        if self.power_mw is not None and (self.rate_per_s is None or not self.event):
            raise XbarError(
                f"power_mw = {self.power_mw}: needs rate_per_s, the events a second of one unit at this "
                "power, and event, what they are"
            )
        if self.power_mw is None and (self.rate_per_s is not None or self.event):
            raise XbarError("rate_per_s, event: have no effect without power_mw")
        if self.capacity_kb is not None and self.kind != "memory":
            raise XbarError(
                f"capacity_kb = {self.capacity_kb}: has no effect with kind = {self.kind!r}; only with "
                "'memory'"
            )

    @property
    def unit_area_mm2(self) -> float:
        """Area of one unit [mm^2]; 0 where none is given."""
        return (self.area_mm2 or 0.0) / self.count

    @property
    def energy_j(self) -> float:
        """Energy of one event [J]; 0 where none is given."""
        return 0.0 if self.power_mw is None else self.power_mw * 1e-3 / (self.count * (self.rate_per_s or 1))


@dataclass(frozen=True)
class PeripheryLibrary:
    """Blocks by name (`periphery.library`)."""

    name: str
    source: str
    components: Mapping[str, Part]
    new: frozenset[str]
    """Blocks that a library with a base names, and no base of it does."""


def load_periphery(name: str | Path) -> PeripheryLibrary:
    """Periphery library by name, or from a user's file where `name` ends in .toml.

    Raises
    ------
    XbarError
        For an unknown name, a missing file, a missing, unknown or impossible key, or a base that leads back
        to the library.
    """
    return library_of(library_toml(str(name)))


def library_toml(name: str) -> tuple[TomlFile, ...]:
    """Files of a component library: its own, and those of its bases; errors as those of `load_periphery`."""
    return file_and_bases("periphery.library", name, {"components"})


def library_files(name: str) -> list[Path]:
    """Paths of `library_toml`."""
    return [file.path for file in library_toml(name)]


@dataclass(frozen=True)
class _Head:
    """The keys of a library beside its blocks."""

    __pydantic_config__: ClassVar = STRICT
    name: str
    source: str
    base: str = ""
    components: dict[str, Any] = field(default_factory=dict)


RESERVED = {"converter": "the price of adc.library", "device": "a read of the device's own cells"}
"""Prices of an architecture that no block of a library can have the name of."""


@functools.lru_cache(maxsize=64)
def library_of(files: tuple[TomlFile, ...]) -> PeripheryLibrary:
    """The library that a file and its bases make, built once for their bytes; errors as `load_periphery`."""
    own = files[0]
    parts: dict[str, Part] = {}
    for file in reversed(files):
        for name, block in table_of(file, "components").items():
            where = f"{file.path.name}: components.{name}"
            if not isinstance(block, dict):
                raise XbarError(f"{where} = {block!r:.60}: must be a table")
            if name in RESERVED:
                raise XbarError(
                    f"{where}: stands for {RESERVED[name]} in an architecture; needs another name"
                )
            parts[name] = build(Part, block, where)
    head = build(_Head, said(own), own.path.name)
    inherited = {name for file in files[1:] for name in table_of(file, "components")}
    extra = set(table_of(own, "components")) - inherited if len(files) > 1 else set()
    return PeripheryLibrary(head.name, head.source, MappingProxyType(parts), frozenset(extra))


def of_capacity(memory: Part, capacity_kb: float) -> Part:
    """A memory of another size: energy with depth^.78, area with depth (CACTI), and leakage with it."""
    assert memory.capacity_kb is not None
    depth = capacity_kb / memory.capacity_kb
    return dataclasses.replace(
        memory,
        capacity_kb=capacity_kb,
        area_mm2=None if memory.area_mm2 is None else memory.area_mm2 * depth,
        power_mw=None if memory.power_mw is None else memory.power_mw * depth**DEPTH_EXPONENT,
        leakage_mw=None if memory.leakage_mw is None else memory.leakage_mw * depth,
    )


def at_node(part: Part, node_nm: float) -> Part:
    """A digital block at another node, by `power.components.scaling`; any other block as it is.

    Leakage stays that of the block's own node: the published factors are those of switching energy.

    Raises
    ------
    XbarError
        For a node outside the scaling tables.
    """
    if part.kind != "digital" or part.node_nm == node_nm:
        return part
    area, energy = area_factor(part.node_nm, node_nm), energy_factor(part.node_nm, node_nm)
    return dataclasses.replace(
        part,
        node_nm=node_nm,
        area_mm2=None if part.area_mm2 is None else part.area_mm2 * area,
        power_mw=None if part.power_mw is None else part.power_mw * energy,
    )
