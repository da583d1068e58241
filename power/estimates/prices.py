"""How the bill of one design is made: every component of its architecture is given its price."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

from power.architecture.chip import (
    ARRAY,
    CHIP,
    CONVERTER,
    DEVICE,
    LAYER,
    Architecture,
    CellPrice,
    Component,
    FromLibrary,
    Given,
    architecture_of,
    architecture_toml,
)
from power.architecture.expressions import Expression, value_of
from power.architecture.vocabulary import BUFFER, NO_EVENTS, variables_of
from power.components.converters import AdcLibrary, adc_of, adc_toml
from power.components.files import TomlFile, file_and_bases
from power.components.library import Part, PeripheryLibrary, library_of, library_toml
from power.components.price import Price, area_words, not_known, price_of
from power.counts.events import fastest_vector_s, refuse_unpriced
from power.estimates.bill import Bill, Item
from xbar.hardware.converters import Adc
from xbar.hardware.design import Hardware, Periphery
from xbar.hardware.errors import XbarError, naming, unknown_name

LEAST_RATE, MOST_RATE = 1e-3, 1e15
"""Rates that a unit may have [1/s]; far outside them times of an image overflow."""

LEAKING_SHARES = {"converter": 0.2, "other": 0.1}
"""Shares of the rated power that leak in a scenario, which no source gives for these blocks. A converter's is
the rule of the ADC plug-in of Accelergy (hwcomponents-adc); PUMA (doi:10.1145/3297858.3304049) books about a
tenth of its power as leakage."""

PERIPHERY_ONLY = ("arrays_per_group", "groups_per_tile", "tiles_per_router", BUFFER)
"""Keys of `[periphery]` that are read by the expressions of an architecture alone."""


def bill_of(hardware: Hardware) -> Bill:
    """Every component of a design with its price, made once for a design and the bytes of its files.

    Raises
    ------
    XbarError
        For an unknown library or architecture, a component without a price, and an option of the hardware
        that cannot be priced or has no effect.
    """
    refuse_unpriced(hardware)
    periphery = hardware.periphery
    return _bill(
        hardware.replace(periphery__copies=1) if periphery.copies > 1 else hardware,
        architecture_toml(periphery.architecture),
        library_toml(periphery.library),
        adc_toml(hardware.adc.library),
    )


def prices_of(hardware: Hardware) -> dict[str, Price]:
    """Price of everything that an estimate charges on a design, by component; errors as `bill_of`."""
    return {item.name: item.price for item in bill_of(hardware).charged}


@functools.lru_cache(maxsize=1024)
def _bill(
    hardware: Hardware, chip: tuple[TomlFile, ...], library: tuple[TomlFile, ...], adc: TomlFile
) -> Bill:
    architecture, periphery, converters = architecture_of(chip), library_of(library), adc_of(adc)
    if hardware.dac.phase_bits > architecture.phase_bits:
        raise XbarError(
            f"dac.phase_bits = {hardware.dac.phase_bits}: has no cost entry; the drivers of the architecture "
            f"{architecture.name!r} are priced for at most {architecture.phase_bits} (its phase_bits) "
            "(accuracy without an estimate: docs/howto.md)"
        )
    variables = variables_of(hardware, fastest_vector_s(hardware))
    levels = _levels(architecture, variables)
    _refuse_idle_keys(hardware, architecture)
    items, missing, used = [], [], set()
    for name, component in architecture.components.items():
        if isinstance(component.price, str) and component.price != CONVERTER:
            used.add(component.price)
            if component.optional and component.price not in periphery.components:
                missing.append(name)
                continue
        elif isinstance(component.price, CellPrice):
            used |= {component.price.cells, component.price.read}
        where = f"{architecture.name}: components.{name}"
        price = _price(where, component, architecture, hardware, periphery, converters, variables)
        with naming(where):
            items.append(_item(name, component, price, levels, variables))
    for name in sorted(periphery.new - used):
        raise unknown_name(f"{periphery.name}: components", name, used)
    return Bill(architecture, tuple(items), levels, variables, tuple(missing))


def _levels(architecture: Architecture, variables: Mapping[str, float]) -> dict[str, float]:
    """Arrays in one unit of each level but a chip."""
    names = [level.name for level in architecture.levels]
    size, sizes = 1.0, {}
    for level in architecture.levels:
        if level.name == CHIP:
            continue
        holds = value_of(f"{architecture.name}: levels.{level.name}.holds", level.holds, variables)
        if holds < 1 or holds % 1:
            raise XbarError(
                f"{architecture.name}: levels.{level.name}.holds = {level.holds!r}: gives {holds:g}; must "
                "give a whole number from 1 on"
            )
        size *= holds
        sizes[level.name] = size
    array = sizes[names[names.index(ARRAY)]]
    return {name: size / array for name, size in sizes.items()}


def _item(
    name: str,
    component: Component,
    price: Price,
    levels: Mapping[str, float],
    variables: Mapping[str, float],
) -> Item:
    count: Expression = component.count
    if component.level != LAYER:
        count = value_of("count", component.count, variables)
    rate: float | None
    if component.rate == "library":
        rate = price.rate_per_s
    elif component.rate == "unlimited":
        rate = None
    else:
        rate = value_of("rate", component.rate, variables)
        if rate == 0:
            raise XbarError(f"rate = {component.rate!r}: gives 0, at which nothing is ever served")
        if not LEAST_RATE <= rate <= MOST_RATE:
            raise XbarError(
                f"rate = {component.rate!r}: gives {rate:g}; must lie between {LEAST_RATE:g} and "
                f"{MOST_RATE:g} [1/s]"
            )
    item = Item(
        name=name,
        level=component.level,
        count=count,
        arrays=levels.get(component.level),
        events=component.events,
        price=price,
        rate_per_s=rate,
        by_device=isinstance(component.price, CellPrice) and component.price.read == DEVICE,
        leaking_share=_leaking_share(component),
        formula=str(component.count),
    )
    if constant := value_of("events", component.events, {**variables, **NO_EVENTS}):
        raise XbarError(
            f"events = {component.events!r}: gives {constant:g} where nothing happens; must give 0"
        )
    if count == 0 and rate is not None and item.is_charged(variables):
        raise XbarError(
            f"count = {component.count!r}: gives no unit that serves its events; allowed: events = 0, or "
            "rate = 'unlimited'"
        )
    return item


def _leaking_share(component: Component) -> float:
    """Cells that are not read carry no voltage, and leak nothing."""
    if isinstance(component.price, CellPrice):
        return 0.0
    return LEAKING_SHARES["converter" if component.price == CONVERTER else "other"]


def _price(
    where: str,
    component: Component,
    architecture: Architecture,
    hardware: Hardware,
    periphery: PeripheryLibrary,
    converters: AdcLibrary,
    variables: Mapping[str, float],
) -> Price:
    node_nm = hardware.periphery.node_nm
    if component.price == CONVERTER:
        found = converters.of(hardware.adc.bits, hardware.adc.rate, node_nm)
        _check_node(hardware, converters.name, found.node_nm)
        return Price(
            energy_pj=found.energy_pj,
            area_um2=found.area_um2,
            leakage_uw=found.leakage_uw,
            event="conversion",
            unit="converter",
            node_nm=found.node_nm,
            derivation=f"{hardware.adc.library}: {found.bits} bits at {found.node_nm:g} nm{found.rule}",
            sources=(found.source,),
        )
    if isinstance(component.price, Given):
        return _given(component.price, hardware, where)
    if isinstance(component.price, CellPrice):
        return _cells(where, component.price, hardware, periphery)
    if isinstance(component.price, FromLibrary):
        files = _beside(where, component.price.library, architecture.folder)
        periphery, name = library_of(files), component.price.part
    else:
        name = component.price
    part = _part(where, periphery, name)
    _check_node(hardware, f"{periphery.name}: {name}", part.node_nm)
    capacity = None
    if component.capacity_kb is not None:
        if part.capacity_kb is None:
            raise XbarError(
                f"{where}.capacity_kb = {component.capacity_kb!r}: has no effect; {name!r} is no memory"
            )
        given = hardware.periphery.buffer_kb
        known = {**variables, BUFFER: part.capacity_kb if given == "library" else given}
        capacity = value_of(f"{where}.capacity_kb", component.capacity_kb, known)
    return price_of(part, node_nm, capacity)


def _part(where: str, periphery: PeripheryLibrary, name: str) -> Part:
    if name not in periphery.components:
        raise unknown_name(
            f"{where}.price: the component library {periphery.name!r}", name, periphery.components
        )
    return periphery.components[name]


def _beside(where: str, library: str, folder: Path) -> tuple[TomlFile, ...]:
    path = folder / library
    found = str(path) if library.endswith(".toml") and path.is_file() else library
    return file_and_bases(f"{where}.price.library", found, {"components"})


def _given(given: Given, hardware: Hardware, where: str) -> Price:
    """A price of the architecture's own, as a block of one unit."""
    _check_node(hardware, where, given.node_nm)
    rate = given.rate_per_s or 1.0
    part = Part(
        source=given.source,
        node_nm=given.node_nm,
        kind=given.kind,
        per=given.unit,
        unit=given.unit,
        count=1,
        area_mm2=given.area_um2 * 1e-6,
        power_mw=given.energy_pj * rate * 1e-9,
        rate_per_s=rate,
        event=given.event,
        leakage_mw=None if given.leakage_uw is None else given.leakage_uw * 1e-3,
    )
    scaled = price_of(part, hardware.periphery.node_nm)
    return dataclasses.replace(scaled, rate_per_s=given.rate_per_s)


def _cells(where: str, price: CellPrice, hardware: Hardware, periphery: PeripheryLibrary) -> Price:
    """Price of all cells of an array. Their size is the library's, or `crossbar.cell_f2` in F^2; the energy
    of a read is a lump, or that of the device's cells."""
    cell, crossbar = _part(where, periphery, price.cells), hardware.crossbar
    size, source, node_nm = area_words(cell), cell.source, cell.node_nm
    unknown = set(not_known(area=cell.area_mm2))
    area_um2 = cell.unit_area_mm2 * 1e6
    if crossbar.cell_f2 != "library":
        node_nm = hardware.periphery.node_nm
        size, source = f"{crossbar.cell_f2:g} F^2, F = {node_nm:g} nm", "crossbar.cell_f2"
        area_um2 = crossbar.cell_f2 * (node_nm * 1e-3) ** 2
        unknown.clear()
    else:
        _check_node(hardware, f"{periphery.name}: {price.cells}", node_nm)
    cells = f"{crossbar.rows} x {crossbar.cols} cells of {size}; a read: "
    energy_pj, sources = 0.0, (source, hardware.device.source)
    if price.read == DEVICE:
        volts, seconds = hardware.dac.v_read, hardware.periphery.t_read
        read = f"{seconds * 1e9:g} ns ({volts:g} V)^2 G, with G of all driven cells"
    else:
        lump = _part(where, periphery, price.read)
        share = hardware.rows_at_once / crossbar.rows
        energy_pj, sources = lump.energy_j * 1e12 * share, (source, lump.source)
        unknown.update(not_known(energy=lump.power_mw))
        read = f"{price.read}, {lump.power_mw or 0:g} mW / ({lump.count} x {lump.rate_per_s or 0:g} /s)"
        if share < 1:
            read += f", of which {hardware.rows_at_once} of {crossbar.rows} word lines take their share"
    return Price(
        energy_pj=energy_pj,
        area_um2=crossbar.rows * crossbar.cols * area_um2,
        leakage_uw=None,
        event="read of one plane",
        unit="array",
        node_nm=node_nm,
        derivation=cells + read,
        sources=sources,
        not_known=tuple(sorted(unknown)),
    )


def _refuse_idle_keys(hardware: Hardware, architecture: Architecture) -> None:
    """Refuse keys of the hardware that only an architecture reads, and this one does not."""
    read = architecture.level_names().union(*(c.names for c in architecture.components.values()))
    for key in PERIPHERY_ONLY:
        value = getattr(hardware.periphery, key)
        if key not in read and value != getattr(Periphery(), key):
            raise XbarError(
                f"periphery.{key} = {value!r}: has no effect with periphery.architecture = "
                f"{hardware.periphery.architecture!r}, which does not read it"
            )
    if hardware.adc.library != Adc.library and not architecture.prices_converters:
        raise XbarError(
            f"adc.library = {hardware.adc.library!r}: has no effect with periphery.architecture = "
            f"{hardware.periphery.architecture!r}, which has no component with its price"
        )
    has_cells = any(isinstance(component.price, CellPrice) for component in architecture.components.values())
    if hardware.crossbar.cell_f2 != "library" and not has_cells:
        raise XbarError(
            f"crossbar.cell_f2 = {hardware.crossbar.cell_f2:g}: has no effect with periphery.architecture = "
            f"{hardware.periphery.architecture!r}, which has no component of cells"
        )


def _check_node(hardware: Hardware, name: str, node_nm: float) -> None:
    """Refuse blocks of another node, unless the digital ones are scaled and the others may stay at theirs."""
    if hardware.periphery.scaling == "none" and node_nm != hardware.periphery.node_nm:
        raise XbarError(
            f"periphery.node_nm = {hardware.periphery.node_nm:g}: the component library ({name}) is at "
            f"{node_nm:g} nm; allowed: {node_nm:g}, or periphery.scaling = 'stillmaker-baas', which scales "
            "digital blocks and leaves the others at their node"
        )
