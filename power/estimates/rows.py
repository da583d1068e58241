"""Rows of an estimate: what each component costs in each layer, and the table of all of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

DIGITAL, TRAFFIC, UNUSED = "(digital)", "(traffic)", "(unused)"
"""Layers of the table that are none: digital work between layers, what their nodes send each other, and
arrays of shared nodes that stay empty."""


@dataclass(frozen=True)
class Row:
    """The cost of one component in one layer.

    Parameters
    ----------
    layer
        Module name, ``(digital)`` for all digital work between layers, ``(traffic)`` for what goes over a
        mesh of routers, or ``(unused)``.
    component
        Its name in the architecture.
    level
        Level of the chip where it stands, or ``layer`` for what is counted by the layer.
    units, allocated_units, unit_area_um2
        Units that its arrays bring, those that are bought for it (with the arrays of its nodes that stay
        empty), and the area of one [um^2].
    events, event_energy_pj
        Events an image, and the energy of one [pJ]; of an array, the mean over its reads.
    leakage_mw
        Leakage of all units that are bought [mW]; None: not known.
    assumed_leakage_mw
        What all units would leak by the scenario of `power.estimates.prices.LEAKING_SHARES`, where no source
        says it [mW]; 0 where one does.
    image_s
        Time that an image takes at the estimate's image rate [s].
    awake_s
        Time of an image in which the units of a gated level are on [s]; None: they are never gated.
    busy_s, shared
        Time that the events of an image take the units that serve them at their rate [s], 0 where they have
        none; whether those serve all layers of the chip.
    dynamic_nj, idle_nj, energy_nj
        Energy of the events of an image; what leaks in the time of one, 0 where it is not known; both [nJ].
    area_mm2, allocated_mm2
        Area that is occupied, and that is bought [mm^2].
    """

    layer: str
    component: str
    level: str
    units: float
    allocated_units: float
    unit_area_um2: float
    events: float
    event_energy_pj: float
    leakage_mw: float | None
    assumed_leakage_mw: float
    image_s: float
    awake_s: float | None
    busy_s: float
    shared: bool
    dynamic_nj: float
    idle_nj: float
    energy_nj: float
    area_mm2: float
    allocated_mm2: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, eq=False)
class CostTable(Sequence[Row]):
    """Rows of an estimate, kept as columns: it is a sequence of `Row`, and sums need none of them.

    Parameters
    ----------
    names
        Layer, component and level of each row.
    units, allocated_units, unit_area_um2, events, event_energy_pj, leakage_mw, assumed_leakage_mw, awake_s
        As in `Row`, shape (rows,); NaN where a row has None.
    busy_s, shared
        As in `Row`, shape (rows,).
    image_s
        Time that an image takes [s].
    """

    names: tuple[tuple[str, str, str], ...]
    units: NDArray[np.float64]
    allocated_units: NDArray[np.float64]
    unit_area_um2: NDArray[np.float64]
    events: NDArray[np.float64]
    event_energy_pj: NDArray[np.float64]
    leakage_mw: NDArray[np.float64]
    assumed_leakage_mw: NDArray[np.float64]
    awake_s: NDArray[np.float64]
    busy_s: NDArray[np.float64]
    shared: NDArray[np.bool_]
    image_s: float

    def at(self, image_s: float) -> CostTable:
        """The same where an image takes another time [s]."""
        return dataclasses.replace(self, image_s=image_s)

    def ordered(self, places: NDArray[np.int64]) -> CostTable:
        """Rows of these numbers, in their order."""
        names = tuple(self.names[place] for place in places.tolist())
        columns = {name: getattr(self, name)[places] for name in COLUMNS}
        return CostTable(names=names, image_s=self.image_s, **columns)

    @property
    def on_s(self) -> NDArray[np.float64]:
        """Time of an image in which the units of each row leak [s]."""
        return np.fmin(self.awake_s, self.image_s)

    @property
    def dynamic_nj(self) -> NDArray[np.float64]:
        """Energy of the events of an image [nJ]."""
        return self.events * self.event_energy_pj * 1e-3

    @property
    def known_leakage_mw(self) -> NDArray[np.float64]:
        """Leakage of all units that are bought, 0 where it is not known [mW]."""
        return np.nan_to_num(self.leakage_mw, nan=0.0)

    @property
    def idle_nj(self) -> NDArray[np.float64]:
        """Energy that leaks in the time of an image; 0 where it is not known [nJ]."""
        return self.known_leakage_mw * self.on_s * 1e6

    @property
    def energy_nj(self) -> NDArray[np.float64]:
        """Energy an image, dynamic and idle [nJ]."""
        return self.dynamic_nj + self.idle_nj

    @property
    def area_mm2(self) -> NDArray[np.float64]:
        """Area that is occupied [mm^2]."""
        return self.units * self.unit_area_um2 * 1e-6

    @property
    def allocated_mm2(self) -> NDArray[np.float64]:
        """Area that is bought [mm^2]."""
        return self.allocated_units * self.unit_area_um2 * 1e-6

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """All rows."""
        columns = {name: getattr(self, name).tolist() for name in (*COLUMNS, *PRODUCTS)}
        for name in ("leakage_mw", "awake_s"):
            columns[name] = [None if math.isnan(value) else value for value in columns[name]]
        columns["image_s"] = [self.image_s] * len(self)
        layers, components, levels = zip(*self.names, strict=True) if self.names else ((), (), ())
        columns |= {"layer": layers, "component": components, "level": levels}
        values = zip(*(columns[one.name] for one in dataclasses.fields(Row)), strict=True)
        return tuple(Row(*each) for each in values)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        return self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return self.rows == other.rows if isinstance(other, CostTable) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


COLUMNS = tuple(one.name for one in dataclasses.fields(CostTable) if one.name not in ("names", "image_s"))
"""Columns that a table holds, in their order."""

PRODUCTS = ("dynamic_nj", "idle_nj", "energy_nj", "area_mm2", "allocated_mm2")
"""Columns that follow from those, and are summed by component, layer and level."""


def joined(tables: Sequence[CostTable]) -> CostTable:
    """One table with the rows of several, one after the other."""
    names = tuple(itertools.chain.from_iterable(table.names for table in tables))
    columns = {name: np.concatenate([getattr(table, name) for table in tables]) for name in COLUMNS}
    return CostTable(names=names, image_s=tables[0].image_s, **columns)


def total(column: NDArray[np.float64]) -> float:
    """Plain sum of a column, row after row."""
    return float(sum(column.tolist()))


def ratio(work: float, cost: float) -> float:
    """Work for its cost: infinite where it is free, 0 where nothing is done."""
    return work / cost if cost else math.inf if work else 0.0


def sums(pairs: Iterable[tuple[str, Row]]) -> dict[str, dict[str, float]]:
    """Plain sums of area and energy by key, in order of appearance."""
    found: dict[str, dict[str, float]] = {}
    for key, row in pairs:
        part = found.setdefault(key, dict.fromkeys(SUMMED, 0.0))
        for name in SUMMED:
            part[name] += getattr(row, name)
    return found


SUMMED = ("area_mm2", "allocated_mm2", "energy_nj", "dynamic_nj", "idle_nj")
"""Products of a row that are summed by component, layer and level."""
