"""What each component of one design costs: an event, a unit, and where the numbers come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from power.components.converters import load_adc
from power.components.library import (
    DEPTH_EXPONENT,
    Area,
    Component,
    Memory,
    Part,
    PeripheryLibrary,
    at_node,
    load_periphery,
    of_capacity,
)
from power.components.scaling import SOURCE as SCALING_SOURCE, area_factor, energy_factor
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class Price:
    """What one component costs.

    Parameters
    ----------
    energy_pj
        Of one event [pJ]; 0 for the array, whose reads are priced by its device, voltage and inputs.
    area_um2
        Of one unit [um^2].
    leakage_uw
        Of one unit [uW]; None: not known.
    node_nm
        Technology node of the numbers [nm].
    derivation
        How they follow from the printed ones.
    sources
        DOI or number of each publication, and table.
    """

    energy_pj: float
    area_um2: float
    leakage_uw: float | None
    event: str
    unit: str
    node_nm: float
    derivation: str
    sources: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**dataclasses.asdict(self), "sources": list(self.sources)}


def prices_of(hardware: Hardware) -> dict[str, Price]:
    """Price of everything that an estimate charges on a design, by component.

    Raises
    ------
    XbarError
        For an unknown library, and for an option of the hardware that the libraries cannot price.
    """
    periphery = load_periphery(hardware.periphery.library)
    _refuse_unpriced(hardware)
    _check_nodes(hardware, periphery)
    charged = periphery.components.charged() - {"array", "adc"}
    parts = {name: part for name, part in periphery.components.by_name().items() if name in charged}
    prices = {name: _price(part, hardware.periphery.node_nm) for name, part in parts.items()}
    if hardware.periphery.buffer_kb != "library":
        prices["edram"] = _buffer(periphery.components.edram, hardware.periphery.buffer_kb)
    prices["array"] = _array(hardware, periphery.components.cell)
    converter = load_adc(hardware.adc.library).of(
        hardware.adc.bits, hardware.adc.rate, hardware.periphery.node_nm
    )
    prices["adc"] = Price(
        converter.energy_pj,
        converter.area_um2,
        None,
        "conversion",
        "converter",
        converter.node_nm,
        f"{hardware.adc.library}: {converter.bits} bits at {converter.node_nm:g} nm",
        (converter.source,),
    )
    prices["index"] = prices["output_register"]
    return prices


def _array(hardware: Hardware, cell: Area) -> Price:
    """Of all cells of an array; their size is the library's, or so many F^2."""
    size, source, node_nm = _area(cell), cell.source, cell.node_nm
    area_um2 = cell.unit_area_mm2 * 1e6
    if hardware.crossbar.cell_f2 != "library":
        node_nm = hardware.periphery.node_nm
        size, source = f"{hardware.crossbar.cell_f2:g} F^2, F = {node_nm:g} nm", "crossbar.cell_f2"
        area_um2 = hardware.crossbar.cell_f2 * (node_nm * 1e-3) ** 2
    crossbar = hardware.crossbar
    return Price(
        energy_pj=0.0,
        area_um2=crossbar.rows * crossbar.cols * area_um2,
        leakage_uw=None,
        event="read of one plane",
        unit="array",
        node_nm=node_nm,
        derivation=f"{crossbar.rows} x {crossbar.cols} cells of {size}; a read: "
        f"{hardware.periphery.t_read * 1e9:g} ns ({hardware.dac.v_read:g} V)^2 G, with G of all driven cells",
        sources=(source, hardware.device.source),
    )


def _buffer(edram: Memory, capacity_kb: float) -> Price:
    """Of an eDRAM of another size."""
    depth = capacity_kb / edram.capacity_kb
    price = _price(of_capacity(edram, capacity_kb), edram.node_nm)
    derivation = (
        f"{edram.power_mw:g} mW / ({edram.count} x {edram.rate_per_s:g} /s); {_area(edram)} a {edram.unit}; "
        f"{edram.capacity_kb:g} to {capacity_kb:g} KB: energy x {depth**DEPTH_EXPONENT:.4g} (depth^"
        f"{DEPTH_EXPONENT:g}), area x {depth:.4g}"
    )
    return dataclasses.replace(
        price, derivation=derivation, sources=(edram.source, "energy and area over depth: CACTI")
    )


def _price(part: Part, node_nm: float) -> Price:
    assert isinstance(part, Component)
    here = at_node(part, node_nm)
    derivation = (
        f"{part.power_mw:g} mW / ({part.count} x {part.rate_per_s:g} /s); {_area(part)} a {part.unit}"
    )
    sources: tuple[str, ...] = (part.source,)
    if here.node_nm != part.node_nm:
        derivation += (
            f"; {part.node_nm:g} to {node_nm:g} nm: energy x {energy_factor(part.node_nm, node_nm):.4g}, "
            f"area x {area_factor(part.node_nm, node_nm):.4g}"
        )
        sources += (SCALING_SOURCE,)
    area = here.unit_area_mm2 * 1e6
    leakage = None if part.leakage_mw is None else part.leakage_mw * 1e3 / part.count
    if leakage is not None:
        derivation += f"; leakage {part.leakage_mw:g} mW / {part.count} at {part.node_nm:g} nm"
    return Price(
        here.energy_j * 1e12, area, leakage, part.event, part.unit, here.node_nm, derivation, sources
    )


def _area(part: Area) -> str:
    return f"{part.area_mm2:g} mm2 / {part.count}"


def _refuse_unpriced(hardware: Hardware) -> None:
    without = "(accuracy without an estimate: docs/howto.md)"
    if hardware.dac.bits == "ideal":
        raise XbarError(
            f"dac.bits = 'ideal': has no cost entry; allowed: a number of one-bit phases {without}"
        )
    if hardware.dac.phase_bits != 1:
        raise XbarError(
            f"dac.phase_bits = {hardware.dac.phase_bits}: has no cost entry; the libraries price drivers of "
            f"one bit; allowed: 1 {without}"
        )


def _check_nodes(hardware: Hardware, periphery: PeripheryLibrary) -> None:
    """Refuse blocks of another node, unless the digital ones are scaled and the others may stay at theirs."""
    if hardware.periphery.scaling != "none":
        return
    nodes = {f"{periphery.name}: {name}": p.node_nm for name, p in periphery.components.by_name().items()}
    library = load_adc(hardware.adc.library)
    nodes[library.name] = getattr(library, "node_nm", hardware.periphery.node_nm)
    if hardware.crossbar.cell_f2 != "library":
        del nodes[f"{periphery.name}: cell"]
    for name, node in nodes.items():
        if node != hardware.periphery.node_nm:
            raise XbarError(
                f"periphery.node_nm = {hardware.periphery.node_nm:g}: the component library ({name}) is at "
                f"{node:g} nm; allowed: {node:g}, or periphery.scaling = 'stillmaker-baas', which scales "
                "digital blocks and leaves the others at their node"
            )


def not_scaled(used: Mapping[str, Mapping[str, Price]], node_nm: float) -> tuple[str, ...]:
    """Components whose numbers are of another node than the design's, with it."""
    others = {
        f"{name} ({price.node_nm:g} nm)"
        for prices in used.values()
        for name, price in prices.items()
        if price.node_nm != node_nm
    }
    return tuple(sorted(others))
