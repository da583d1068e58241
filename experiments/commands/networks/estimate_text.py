"""Estimates in words and tables, and as CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.results.csv_text import csv_text
from experiments.results.summary import not_counted, percent_of_macs
from experiments.results.text_table import number, text_table
from mapping.network.gemm import shown_name
from mapping.tiles.mapped import MappedNetwork
from power.components.price import Price
from power.counts.resolution import lossless_bits_of_network
from power.estimates.prices import LEAKING_SHARES
from power.estimates.programming import Programming
from power.estimates.rows import Row
from power.estimates.totals import Estimate
from xbar.hardware.errors import XbarError, unknown_name
from xbar.hardware.files import write_atomically

TOTALS = (
    ("area", "area_mm2", "mm2"),
    ("area in whole tiles", "area_whole_tiles_mm2", "mm2"),
    ("area allocated", "area_allocated_mm2", "mm2"),
    ("energy an image", "energy_nj_per_image", "nJ"),
    ("  dynamic", "dynamic_nj_per_image", "nJ"),
    ("  idle, where leakage is known", "idle_nj_per_image", "nJ"),
    ("leakage, where it is known", "leakage_mw", "mW"),
    ("image rate", "image_rate_per_s", "1/s"),
    ("power at it", "power_mw", "mW"),
    ("highest image rate", "peak_image_rate_per_s", "1/s"),
    ("power at it", "peak_power_mw", "mW"),
    ("latency", "latency_us_per_image", "us"),
    ("operations an image, kept weights", "operations", ""),
    ("operations an image, all weights", "dense_operations", ""),
    ("throughput, kept weights", "tops", "TOPS"),
    ("efficiency, kept weights", "tops_per_w", "TOPS/W"),
    ("density, kept weights", "tops_per_mm2", "TOPS/mm2"),
    ("arrays", "arrays", ""),
)


LEAKING = (
    *("energy_nj_per_image", "idle_nj_per_image", "leakage_mw", "power_mw", "peak_power_mw"),
    "tops_per_w",
)
"""Totals that hold leakage where it is known; two are not comparable where it is known of one alone."""

IDLE = ("dynamic_nj_per_image", "idle_nj_per_image", "leakage_mw")
"""These totals are shown only where a library gives the leakage of some block."""

CSV_COLUMNS = (
    *("design", "layer", "component", "level", "events", "event_energy_pj"),
    *("dynamic_nj", "idle_nj", "energy_nj"),
    *("units", "allocated_units", "unit_area_um2", "area_mm2", "allocated_mm2"),
)


def lossless_text(sides: Mapping[str, MappedNetwork]) -> str:
    """For each design, the fewest ADC bits that lose nothing, and the layer that needs the most."""
    lines = []
    for name, mapped in sides.items():
        given = dict.fromkeys(str(layer.hardware.adc.bits) for layer in mapped.layers.values())
        has = f"; {name} has {', '.join(given)}"
        try:
            bits = lossless_bits_of_network(mapped)
        except XbarError as error:
            lines.append(f"ADC bits that lose nothing: not known, {error}{has}")
            continue
        fewest, most = min(bits, key=bits.__getitem__), max(bits, key=bits.__getitem__)
        found = f"{bits[fewest]}"
        if bits[most] > bits[fewest]:
            found += f" ({fewest}) to {bits[most]} ({most}); --lossless-adc takes each layer's own"
        lines.append(f"ADC bits that lose nothing: {found}{has}")
    return "\n".join(lines)


def programming_text(cost: Programming) -> str:
    """Time and energy of writing a chip, by layer."""
    table: list[tuple[str, ...]] = [
        ("layer", "cells", "pulses", "reads", "nJ pulses", "nJ reads", "us an array", "us all arrays")
    ]
    table += [
        (
            row.layer,
            *map(number, (row.cells, row.pulses, row.reads, row.pulse_energy_nj, row.read_energy_nj)),
            *map(number, (row.array_time_us, row.total_time_us)),
        )
        for row in cost.layers
    ]
    return (
        f"programming one chip: {number(cost.energy_uj)} uJ; {number(cost.array_time_us)} us with all arrays "
        f"at once, {number(cost.total_time_us)} us one array after the other (pulse: {cost.source})\n"
        + text_table(table, "lrrrrrrr")
    )


def text(
    what: str,
    results: Mapping[str, Estimate],
    layers: bool = False,
    notes: Sequence[str] = (),
) -> str:
    """Totals and the table by component of designs side by side, with the reductions; then the notes."""
    parts = [
        _title(what, results),
        "",
        text_table(_totals(results), "l" + "r" * len(results) + "l" + "r" * (len(results) - 1)),
        *_leakage_note(results),
        "",
    ]
    for name, result in results.items():
        if len(results) > 1:
            parts += [name]
        parts += [text_table(_sums(result.by_component, result, "component"), "lrrrr"), ""]
        if layers:
            parts += [text_table(_sums(result.by_layer, result, "layer"), "lrrrr"), ""]
    said = [say(results) for say in (busy_text, latency_text, traffic_text)]
    for note in (*said, *notes, idle_text(results)):
        parts += [note, ""] if note else []
    parts += _listed("at another node, not scaled", {n: r.not_scaled for n, r in results.items()})
    parts += _listed("not modelled", {n: r.not_modelled for n, r in results.items()})
    return "\n".join(parts)


def _listed(what: str, lists: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each thing that designs have in common, then for each that one of them has for itself."""
    first, *others = lists.values()
    common = [each for each in first if all(each in other for other in others)]
    own = {f"{what} on {name}": [e for e in each if e not in common] for name, each in lists.items()}
    return [
        line
        for head, found in {what: common, **own}.items()
        if found
        for line in (f"{head}:", *(f"  {each}" for each in found))
    ]


def unpriced_text(result: Estimate) -> str:
    """The share of an image's operations that stays digital without a price; "" where there is none."""
    if not result.digital_unpriced:
        return ""
    each = result.unpriced_share / sum(result.digital_unpriced.values())
    parts = [
        f"{name.strip('_')} {percent_text(each * count)}" for name, count in result.digital_unpriced.items()
    ]
    share = percent_text(result.unpriced_share)
    return f"not modelled: {share} of the operations of an image, which stay digital: {', '.join(parts)}"


def room_text(of: str, result: Estimate) -> list[str]:
    """Sentences on things that a chip has no room for: nodes beyond those of one chip, buffers that would
    keep more than they hold, and weights of both signs. The list is empty where all fits. `of` says whose it
    is."""
    lines = []
    if result.chips > 1:
        nodes = sum(result.nodes.values()) or result.tiles
        lines.append(
            f"does not fit one chip{of}: {nodes:,} nodes are {result.chips} chips of {result.chip_nodes}; "
            "what goes between chips is not modelled"
        )
    if result.overfull:
        worst = max(result.overfull, key=result.overfull.__getitem__)
        lines.append(
            f"buffers too small{of}: {len(result.overfull)} of {len(result.kept_kb)} layers keep more than "
            f"the buffer of a node holds, most of all {shown_name(worst)}: {number(result.overfull[worst])} "
            f"KB, where it has {result.buffer_kb[worst]:g}"
        )
    return [*lines, *_signs_text(of, result)]


def _signs_text(of: str, result: Estimate) -> list[str]:
    """Say what an array that holds one sign a fragment has no room for, or that it is not known."""
    fragments = result.fragments
    if fragments is None or not (fragments.mixed or fragments.unknown):
        return []
    said = f"one array for both signs{of}: "
    if fragments.mixed:
        said += (
            f"{fragments.mixed:,} of {fragments.total:,} fragments of a column hold weights of both, which "
            "take two arrays; the rule 'one-sign' trains networks of which none does"
        )
    else:
        said += "that the weights of a fragment of a column have one sign is assumed, as none is known"
    return [said]


def traffic_text(results: Mapping[str, Estimate]) -> str:
    """Say what goes over the mesh of each design that has one, and in and out of the chip."""
    lines = []
    for name, result in results.items():
        of = f" of {name}" if len(results) > 1 else ""
        plan = result.floorplan
        if plan is not None:
            mesh = f"{plan.mesh.columns} x {plan.mesh.rows}"
            lines.append(
                f"traffic{of} on a mesh of {plan.mesh.routers} routers ({mesh}): "
                f"{number(plan.hop_bytes)} B x hops an image, {number(plan.routed_bytes)} B x routers, "
                f"{number(plan.busiest_router_bytes)} B through the busiest one"
            )
        if result.image_bytes:
            lines.append(
                f"off chip{of}, not modelled: {number(result.image_bytes)} B of an image in, "
                f"{number(result.result_bytes)} B out"
            )
    return "\n".join(lines)


def _title(what: str, results: Mapping[str, Estimate]) -> str:
    first = next(iter(results.values()))
    share = percent_of_macs(first.macs_share)
    lines = [
        what,
        f"{share} of the multiply-accumulates of an image are on crossbars, and in these numbers",
    ]
    if first.digital_unknown:
        lines.append(f"not counted: {not_counted(first.digital_unknown)}")
    for each in dict.fromkeys(map(unpriced_text, results.values())):
        lines += [each] if each else []
    for name, result in results.items():
        lines += room_text(f" of {name}" if len(results) > 1 else "", result)
        lines.append(
            f"on {name}: {result.weight_bits:g}-bit weights in {result.slices} slice"
            f"{'s' if result.slices > 1 else ''}, converters: {result.adc}; conductances: "
            f"{result.conductances}, inputs: {result.inputs}"
        )
    return "\n".join(lines)


def _totals(results: Mapping[str, Estimate]) -> list[tuple[str, ...]]:
    """Label, a value a design, unit, and how much less each further design has than the first."""
    estimates, others = list(results.values()), list(results)[1:]
    less = ["less"] if len(others) == 1 else [f"less, {name}" for name in others]
    rows = [("", *results, "", *less)] if others else []
    at_peak = all(result.image_rate_per_s == result.peak_image_rate_per_s for result in estimates)
    for label, key, unit in TOTALS:
        if at_peak and key in ("image_rate_per_s", "power_mw"):
            continue
        values = [float(getattr(result, key)) for result in estimates]
        if key in IDLE and not any(result.leakage_mw for result in estimates):
            continue
        known = bool(values[0]) and math.isfinite(values[0])
        starred = [key in LEAKING and other in _unlike(results) for other in list(results)[1:]]
        cuts = [
            f"{100 * (1 - value / values[0]):.1f} %{' *' if star else ''}" if known else ""
            for value, star in zip(values[1:], starred, strict=True)
        ]
        rows.append((label, *map(number, values), unit, *cuts))
    return rows


def _unlike(results: Mapping[str, Estimate]) -> list[str]:
    """Designs whose leakage is known while that of the first is not, or the other way round."""
    (_, first), *others = results.items()
    return [name for name, result in others if bool(result.leakage_mw) != bool(first.leakage_mw)]


def _leakage_note(results: Mapping[str, Estimate]) -> list[str]:
    """The note on totals that hold leakage on one side alone; empty where there are none."""
    if not _unlike(results):
        return []
    known = ", ".join(name for name, result in results.items() if result.leakage_mw)
    without = ", ".join(name for name, result in results.items() if not result.leakage_mw)
    return [f"* not like for like: leakage is in the figures of {known}, and not known of {without}"]


def _sums(
    sums: Mapping[str, Mapping[str, float]], result: Estimate, what: str
) -> list[tuple[str, str, str, str, str]]:
    """Area and energy of each part with its share, the largest energy first."""
    rows = [(what, "area [mm2]", "share", "energy [nJ]", "share")]
    for name, cost in sorted(sums.items(), key=lambda pair: -pair[1]["energy_nj"]):
        area, energy = cost["area_mm2"], cost["energy_nj"]
        shares = share(area, result.area_mm2), share(energy, result.energy_nj_per_image)
        rows.append(
            (shown_name(name), number(area), percent_text(shares[0]), number(energy), percent_text(shares[1]))
        )
    total = number(result.area_mm2), "", number(result.energy_nj_per_image), ""
    return [*rows, ("sum", *total)]


def share(part: float, whole: float) -> float:
    """The share that a part is of a whole; 0 where the whole is 0."""
    return part / whole if whole else 0.0


def percent_text(part: float) -> str:
    """A share as a text in percent."""
    return f"{100 * part:.1f} %"


def explain(title: str, result: Estimate, component: str) -> str:
    """Formula, price, derivation and source of a component, and its numbers in every layer.

    Raises
    ------
    XbarError
        For a component that the estimate has not.
    """
    if component not in result.prices:
        raise unknown_name("--explain", component, result.prices)
    counting = result.counting[component]
    lines = [
        f"{component} on {title}",
        "energy an image = dynamic (events x energy of one) + idle (units bought x leakage x time); "
        "area = units x area of one",
        f"events: {counting['events']}",
        f"units:  {counting['units']}",
    ]
    rows = [row for row in result.table if row.component == component]
    for price in result.prices[component]:
        own = {row.event_energy_pj for row in rows} <= {other.energy_pj for other in result.prices[component]}
        energy = f"{number(price.energy_pj)} pJ" if own else "by layer below"
        lines += [
            f"price:  {energy} a {price.event}, {number(price.area_um2)} um2 a {price.unit}, "
            f"{price.node_nm:g} nm",
            f"        {price.derivation}",
            f"leakage: {_leakage(price)}",
            *(f"source: {source}" for source in price.sources),
        ]
    table: list[tuple[str, ...]] = [
        ("layer", "events", "pJ each", "nJ dynamic", "nJ idle", "nJ", "units", "bought", "um2 each", "mm2")
    ]
    table += [(row.layer, *map(number, _factors(row)[:-1])) for row in rows]
    area, spent = sum(row.area_mm2 for row in rows), sum(row.energy_nj for row in rows)
    parts = sum(row.dynamic_nj for row in rows), sum(row.idle_nj for row in rows)
    table += [("sum", "", "", *map(number, (*parts, spent)), "", "", "", number(area))]
    return "\n".join([*lines, "", text_table(table, "lrrrrrrrrr")])


def _leakage(price: Price) -> str:
    return "not modelled" if price.leakage_uw is None else f"{number(price.leakage_uw)} uW a {price.unit}"


def busy_text(results: Mapping[str, Estimate], shown: int = 4) -> str:
    """Say for each design which server is busiest, and how busy arrays and shared blocks then are."""
    lines = []
    for name, result in results.items():
        at_peak = result.at(result.peak_image_rate_per_s)
        in_step = {row.component for row in result.table if row.level == "array"} - {"array"}
        busy = {part: share for part, share in at_peak.utilisation.items() if part not in in_step}
        of = f" of {name}" if len(results) > 1 else ""
        busiest = ", ".join(f"{part} {percent_text(share)}" for part, share in list(busy.items())[:shown])
        lines.append(f"the highest image rate{of} is that of {result.bottleneck}; busy at it: {busiest}")
    return "\n".join(lines)


def latency_text(results: Mapping[str, Estimate], shown: int = 4) -> str:
    """Text of what the latency of each design is of, and of the layers that most of it is spent in."""
    lines = []
    for name, result in results.items():
        of = f" of {name}" if len(results) > 1 else ""
        if result.schedule == "layer-serial":
            lines.append(f"the latency{of} is that of one layer after the other")
            continue
        times: dict[str, float] = {}
        for part in result.critical_path:
            times[part.step] = times.get(part.step, 0.0) + part.time_s
        most = sorted(times, key=lambda step: -times[step])[:shown]
        shares = (f"{step} {percent_text(share(times[step], sum(times.values())))}" for step in most)
        at_once = result.peak_image_rate_per_s * result.latency_us_per_image / 1e6
        overlap = f"; at the highest image rate {at_once:.1f} images are under way at once, in a pipeline"
        lines.append(
            f"the latency{of} is that of layers that stream; its longest path: {', '.join(shares)}"
            + (overlap if at_once >= 1.05 else "")
        )
    return "\n".join(lines)


def idle_text(results: Mapping[str, Estimate]) -> str:
    """Say what blocks would leak for which no source gives it, as a scenario; empty if there are none."""
    lines = []
    for name, result in results.items():
        leaks, idle = result.assumed_leakage_mw, result.assumed_idle_nj_per_image
        if leaks:
            of = f" of {name}" if len(results) > 1 else ""
            shares = f"{LEAKING_SHARES['converter']:g} and other blocks {LEAKING_SHARES['other']:g}"
            lines.append(
                f"idle power{of} that no source gives, an assumption, in no figure above: "
                f"{number(leaks)} mW, {number(idle)} nJ an image, if converters leak {shares} of their rated "
                "power; from nothing to twice that"
            )
    return "\n".join(lines)


def _factors(row: Row) -> tuple[float, ...]:
    energies = row.event_energy_pj, row.dynamic_nj, row.idle_nj, row.energy_nj
    units = row.units, row.allocated_units, row.unit_area_um2
    return row.events, *energies, *units, row.area_mm2, row.allocated_mm2


def write_csv(results: Mapping[str, Estimate], path: Path) -> None:
    """Write every row of every estimate as CSV, one a line, with the units in the header."""
    rows = [
        [name, row.layer, row.component, row.level, *_factors(row)]
        for name, result in results.items()
        for row in result.table
    ]
    write_atomically(path, csv_text([CSV_COLUMNS, *rows]).encode())
