"""Component libraries: what a block costs a unit of area and an event of energy, with source and node.

A library is a TOML file of published totals; the numbers a unit and an event are derived from them here.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import ClassVar, Literal

from xbar.errors import XbarError, unknown_name
from xbar.files import build, read_toml

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
    unit
        What is counted: the thing that has the area.
    """

    __pydantic_config__: ClassVar = _STRICT
    source: str
    node_nm: float
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
                _check_positive(f"components.{name}.{key}", getattr(part, key, 1))

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


@dataclass(frozen=True)
class Converter:
    """One ADC: energy of a conversion [pJ], area [um^2]."""

    __pydantic_config__: ClassVar = _STRICT
    bits: int
    energy_pj: float
    area_um2: float
    source: str

    def __post_init__(self) -> None:
        for key in ("bits", "energy_pj", "area_um2"):
            _check_positive(f"converter.{key}", getattr(self, key))


@dataclass(frozen=True)
class AdcLibrary:
    """Converters by their bits (`adc.library`)."""

    __pydantic_config__: ClassVar = _STRICT
    name: str
    source: str
    node_nm: float
    converter: tuple[Converter, ...]

    def __post_init__(self) -> None:
        _check_positive("node_nm", self.node_nm)
        bits = [c.bits for c in self.converter]
        if len(set(bits)) < len(bits):
            raise XbarError(f"converter.bits = {bits}: each number of bits may be given once")

    def of_bits(self, bits: int | Literal["ideal"]) -> Converter:
        """The converter of so many bits.

        Raises
        ------
        XbarError
            Where the library has none.
        """
        for converter in self.converter:
            if converter.bits == bits:
                return converter
        allowed = ", ".join(str(c.bits) for c in sorted(self.converter, key=lambda c: c.bits))
        raise XbarError(
            f"adc.bits = {bits!r}: the component library {self.name!r} has no such converter; "
            f"allowed: {allowed}"
        )


def load_periphery(name: str) -> PeripheryLibrary:
    """Periphery library by name, or from a user's file where `name` ends in .toml.

    Raises
    ------
    XbarError
        For an unknown name, a missing file, or a missing, unknown or impossible key.
    """
    path = _find("periphery.library", name, "components")
    return build(PeripheryLibrary, read_toml(path), path.name)


def load_adc(name: str) -> AdcLibrary:
    """ADC library by name, or from a user's file where `name` ends in .toml.

    Raises
    ------
    XbarError
        For an unknown name, a missing file, or a missing, unknown or impossible key.
    """
    path = _find("adc.library", name, "converter")
    return build(AdcLibrary, read_toml(path), path.name)


def _find(key: str, name: str, holds: str) -> Path:
    """Path of the library `name`: a file that has the table `holds`."""
    if name.endswith(".toml"):
        return Path(name)
    folder = Path(str(resources.files("power") / "components"))
    paths = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    if name not in paths or holds not in read_toml(paths[name]):
        allowed = [stem for stem, path in paths.items() if holds in read_toml(path)]
        raise unknown_name(f"{key} (or a path that ends in .toml)", name, allowed)
    return paths[name]


def _check_positive(key: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise XbarError(f"{key} = {value}: must be a positive number")
