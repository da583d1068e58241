"""The price of a component: a frozen object with area, energy, leakage, rate and where they come from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from power.components.library import DEPTH_EXPONENT, Part, at_node, of_capacity
from power.components.scaling import SOURCE as SCALING_SOURCE, area_factor, energy_factor


@dataclass(frozen=True)
class Price:
    """The price of one component: area, energy, leakage and rate, with their sources.

    Parameters
    ----------
    energy_pj
        Energy of one event [pJ]; 0 for cells whose reads are priced by their device, voltage and inputs.
    area_um2
        Area of one unit [um^2].
    leakage_uw
        Leakage of one unit [uW]; None: not known.
    node_nm
        Technology node of the numbers [nm].
    derivation
        How they follow from the printed ones.
    sources
        DOI or number of each publication, and table.
    rate_per_s
        Events a second that one unit can serve, by its source [1/s]; None: not known.
    capacity_kb
        Capacity of one unit of a memory [KB]; None: it is none, or its source does not say.
    not_known
        ``energy`` and ``area``, where the source gives none and a 0 stands for it.
    """

    energy_pj: float
    area_um2: float
    leakage_uw: float | None
    event: str
    unit: str
    node_nm: float
    derivation: str
    sources: tuple[str, ...]
    rate_per_s: float | None = None
    not_known: tuple[str, ...] = ()
    capacity_kb: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain = dataclasses.asdict(self)
        del plain["capacity_kb"]
        return {**plain, "sources": list(self.sources), "not_known": list(self.not_known)}


def price_of(part: Part, node_nm: float, capacity_kb: float | None = None) -> Price:
    """Price of a block of a library at a node, of a memory also of another capacity.

    Parameters
    ----------
    node_nm
        Node that digital blocks are scaled to [nm].
    capacity_kb
        Capacity of one unit of a memory [KB]; None: the library's.

    Raises
    ------
    XbarError
        For a node outside the scaling tables.
    """
    here = at_node(part, node_nm)
    derivation = _printed(part)
    sources: tuple[str, ...] = (part.source,)
    if here.node_nm != part.node_nm:
        derivation += (
            f"; {part.node_nm:g} to {node_nm:g} nm: energy x {energy_factor(part.node_nm, node_nm):.4g}, "
            f"area x {area_factor(part.node_nm, node_nm):.4g}"
        )
        sources += (SCALING_SOURCE,)
    if capacity_kb is not None and part.capacity_kb is not None and capacity_kb != part.capacity_kb:
        depth = capacity_kb / part.capacity_kb
        here = of_capacity(here, capacity_kb)
        derivation += (
            f"; {part.capacity_kb:g} to {capacity_kb:g} KB: energy x {depth**DEPTH_EXPONENT:.4g} (depth^"
            f"{DEPTH_EXPONENT:g}), area and leakage x {depth:.4g}"
        )
        sources += ("energy and area over depth: CACTI",)
    leakage = None if here.leakage_mw is None else here.leakage_mw * 1e3 / part.count
    if leakage is not None:
        derivation += f"; leakage {part.leakage_mw:g} mW / {part.count} at {part.node_nm:g} nm"
    return Price(
        energy_pj=here.energy_j * 1e12,
        area_um2=here.unit_area_mm2 * 1e6,
        leakage_uw=leakage,
        event=part.event or "event, without energy",
        unit=part.unit,
        node_nm=here.node_nm,
        derivation=derivation,
        sources=sources,
        rate_per_s=part.rate_per_s,
        not_known=not_known(energy=part.power_mw, area=part.area_mm2),
        capacity_kb=here.capacity_kb,
    )


def not_known(**given: float | None) -> tuple[str, ...]:
    """Names of what is None: a number that no source gives, which is not 0."""
    return tuple(name for name, value in given.items() if value is None)


def area_words(part: Part) -> str:
    """Area of a unit, as printed over its count."""
    return "area not known," if part.area_mm2 is None else f"{part.area_mm2:g} mm2 / {part.count}"


def _printed(part: Part) -> str:
    if part.power_mw is None:
        return f"{area_words(part)} a {part.unit}"
    return f"{part.power_mw:g} mW / ({part.count} x {part.rate_per_s:g} /s); {area_words(part)} a {part.unit}"
