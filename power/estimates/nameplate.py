"""Nameplate of a design: area and power of whole nodes where every unit of every component is always busy.

It is the estimate's own pricing of a load that no network has: counts, prices and rates are those of the
design's architecture. The component tables of accelerator papers, and the peak figures that they quote, are
nameplates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mapping.tiles.mapped import Band, MappedLayer, Tile
from power.architecture.chip import CHIP, LAYER
from power.counts.array import read_energy_j, row_conductance
from power.estimates.loads import Load, table_of
from power.estimates.prices import bill_of
from power.estimates.rows import Row, ratio
from power.estimates.table import peak_operations_per_s
from xbar.hardware.checks import check_kind, check_whole
from xbar.hardware.design import Hardware


@dataclass(frozen=True)
class Nameplate:
    """A chip of so many nodes, which ISAAC calls tiles.

    Parameters
    ----------
    rows
        A row a component; an image of theirs is one second.
    operations_per_s
        Two a multiply-accumulate, where every cell holds a weight and is always busy [1/s].
    not_modelled
        What a network is charged for and these rows hold no energy of, components without a rate or counted
        by the layer; and components whose area no source gives.
    """

    rows: tuple[Row, ...]
    tiles: int
    operations_per_s: float
    not_modelled: tuple[str, ...] = ()

    def power_mw(self, levels: Iterable[str] | None = None) -> float:
        """Power of all components, or of those that stand at these levels [mW]."""
        return sum(rated_mw(row) for row in self._at(levels))

    def area_mm2(self, levels: Iterable[str] | None = None) -> float:
        """Area of all components, or of those that stand at these levels [mm^2]."""
        return sum(row.area_mm2 for row in self._at(levels))

    def of(self, component: str) -> Row:
        """The row of a component."""
        return next(row for row in self.rows if row.component == component)

    def _at(self, levels: Iterable[str] | None) -> list[Row]:
        wanted = None if levels is None else set(levels)
        return [row for row in self.rows if wanted is None or row.level in wanted]

    @property
    def gops_per_w(self) -> float:
        """Operations for their energy, infinite where they take none [1e9/J]."""
        return ratio(self.operations_per_s * 1e-9, self.power_mw() * 1e-3)

    @property
    def gops_per_mm2(self) -> float:
        """Operations a second on the area, infinite where that is 0 [1e9/s/mm^2]."""
        return ratio(self.operations_per_s * 1e-9, self.area_mm2())


def rated_mw(row: Row) -> float:
    """Power of a row of a nameplate, leakage included where it is known [mW]."""
    return row.energy_nj * 1e-6 / row.image_s


def nameplate(hardware: Hardware, tiles: int = 1, links: bool = False) -> Nameplate:
    """Area and power of whole nodes, with their share of what they share.

    Every component works at the rate that its architecture gives it. Arrays take the lump of the library for
    a read, or, where the architecture prices them by the device, the most that their cells can: every cell
    of every array at the weight that conducts most, every input at `v_read`.

    Parameters
    ----------
    tiles
        Nodes of the architecture; without such a level, arrays.
    links
        With what stands once on the chip: its links, where the architecture and the library have them.

    Raises
    ------
    XbarError
        For hardware that cannot be priced, or no node.
    """
    check_kind("hardware", hardware, Hardware)
    check_whole("tiles", tiles, 1, 1 << 30)
    bill = bill_of(hardware)
    arrays = tiles * bill.node
    of_one = np.array([arrays], np.float64)
    read_pj = np.array([full_read_pj(hardware)])
    load = Load(("",), of_one, arrays, of_one, arrays, None, bill.variables, read_pj)
    items = [
        item
        for item in bill.items
        if item.level != LAYER and (links or not (item.is_link or item.level == CHIP))
    ]
    operations = arrays / hardware.encoding.planes * peak_operations_per_s(hardware)
    charged = [item for item in bill.items if item.is_charged(bill.variables)]
    without = (
        *(f"energy of {item.name}: has no rate" for item in items if item in charged and not item.rate_per_s),
        *(f"{item.name}: counted by the layer" for item in charged if item.level == LAYER),
        *(f"area of {item.name}: not in the libraries" for item in items if "area" in item.price.not_known),
    )
    return Nameplate(table_of(load, items, 1.0).rows, tiles, operations, without)


def full_read_pj(hardware: Hardware) -> float:
    """Most energy that a read of one plane of an array takes by its device [pJ]."""
    rows, columns = hardware.rows_at_once, hardware.weights_per_tile_row
    tile = Tile(np.arange(rows), np.arange(columns))
    layer = MappedLayer("full", "linear", rows, columns, 1, (Band(0, rows, (tile,)),), hardware)
    conductance = row_conductance(layer, hardware, "worst")
    driven_s = float(np.dot(np.ones(rows), conductance))
    joule = read_energy_j(driven_s, hardware.dac.v_read, hardware.periphery.t_read)
    return joule * 1e12 / hardware.encoding.planes
