"""Nameplate of a design: area and power of whole tiles where every block works at its rated speed.

Counts are those of the hardware, prices those of its libraries: what the component tables of accelerator
papers print, and the peak figures that they quote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from power.components.library import Lump, load_periphery
from power.counts.events import units_per_array
from power.estimates.prices import prices_of
from power.estimates.table import peak_operations_per_s
from xbar.hardware.checks import check_range
from xbar.hardware.design import Hardware


@dataclass(frozen=True)
class RatedBlock:
    """All units of one component.

    ``per``: what its library counts it in, a group, a tile, a router or a chip.
    """

    component: str
    per: str
    units: float
    power_mw: float
    area_mm2: float


@dataclass(frozen=True)
class Nameplate:
    """A chip of so many tiles.

    Parameters
    ----------
    operations_per_s
        Two a multiply-accumulate, where every cell holds a weight and is always busy [1/s].
    """

    blocks: tuple[RatedBlock, ...]
    tiles: int
    operations_per_s: float

    def power_mw(self, per: Iterable[str] = ("group", "tile", "router", "chip")) -> float:
        """Of the blocks that are counted in these [mW]."""
        return sum(block.power_mw for block in self.blocks if block.per in set(per))

    def area_mm2(self, per: Iterable[str] = ("group", "tile", "router", "chip")) -> float:
        """Of the blocks that are counted in these [mm^2]."""
        return sum(block.area_mm2 for block in self.blocks if block.per in set(per))

    @property
    def gops_per_w(self) -> float:
        """Operations for their energy [1e9/J]."""
        return self.operations_per_s * 1e-9 / (self.power_mw() * 1e-3)

    @property
    def gops_per_mm2(self) -> float:
        """Operations a second on the area [1e9/s/mm^2]."""
        return self.operations_per_s * 1e-9 / self.area_mm2()


def nameplate(hardware: Hardware, tiles: int = 1, links: bool = False) -> Nameplate:
    """Area and power of whole tiles, with a share of their routers.

    Every block works at the rate that its library prints, converters at `adc.rate`; arrays take the library's
    lump for a read, where it has one, as their own energy needs weights and inputs.

    Parameters
    ----------
    tiles
        Of `periphery.groups_per_tile` groups of `arrays_per_group` arrays.
    links
        With the chip's links, where the library has them.

    Raises
    ------
    XbarError
        For hardware that cannot be priced, or no tile.
    """
    check_range("tiles", tiles, 1, 1 << 30)
    prices, parts = prices_of(hardware), load_periphery(hardware.periphery.library).components
    printed = parts.by_name()
    arrays = tiles * hardware.periphery.groups_per_tile * hardware.periphery.arrays_per_group
    blocks = []
    for name, each in units_per_array(hardware, parts).items():
        units, price, part = arrays * each, prices[name], printed.get(name)
        rate = part.rate_per_s if isinstance(part, Lump) else 0.0
        if name == "adc":
            rate = hardware.adc.rate
        power_mw = units * price.energy_pj * 1e-12 * rate * 1e3
        if name == "array" and parts.array_read is not None:
            power_mw = units * parts.array_read.energy_j * parts.array_read.rate_per_s * 1e3
        per = "group" if part is None else part.per
        blocks.append(RatedBlock(name, per, units, power_mw, units * price.area_um2 * 1e-6))
    if links and parts.hyper_transport is not None:
        link = parts.hyper_transport
        blocks.append(RatedBlock("hyper_transport", link.per, link.count, link.power_mw, link.area_mm2))
    operations = arrays / hardware.encoding.planes * peak_operations_per_s(hardware)
    return Nameplate(tuple(blocks), tiles, operations)
