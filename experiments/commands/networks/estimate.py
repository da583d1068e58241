"""`xbar estimate`: mappings of what it names, and their estimates as text and CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from experiments.commands.arguments import DEFAULT_DESIGN, check_figure, check_file
from experiments.commands.networks.layers import form_of, left_digital
from experiments.inputs.examples import Input, parsed_inputs
from experiments.inputs.networks import draws_weights
from experiments.results.csv_text import csv_text
from experiments.results.summary import not_counted, percent_of_macs
from experiments.results.text_table import number, text_table
from experiments.run_folder.finished import finished_run, first_chip, run_activity
from experiments.run_folder.ids import COST_ONLY, simulated
from experiments.studies.designs import changed_design, load_design
from experiments.studies.study import load_study, study_names
from mapping.lowering.form import BatchNormChoice
from mapping.tiles.mapped import MappedNetwork
from mapping.tiles.mapper import map_network, without_weights
from power.components.price import Price
from power.counts.duplication import duplicate
from power.counts.resolution import lossless_bits_of_network, with_lossless_bits
from power.estimates.nameplate import Nameplate, rated_mw
from power.estimates.prices import LEAKING_SHARES
from power.estimates.programming import Programming, programming
from power.estimates.rows import Row
from power.estimates.servers import layer_interval
from power.estimates.table import estimate
from power.estimates.totals import Estimate, at_one_rate
from xbar.hardware.design import Hardware
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


IDLE = ("dynamic_nj_per_image", "idle_nj_per_image", "leakage_mw")
"""Totals that are shown where a library knows the leakage of anything."""

CSV_COLUMNS = (
    *("design", "layer", "component", "level", "events", "event_energy_pj"),
    *("dynamic_nj", "idle_nj", "energy_nj"),
    *("units", "unit_area_um2", "area_mm2"),
)


def mapped(
    what: str,
    hardware: str = "",
    against: Sequence[str] = (),
    width: float = 1.0,
    inputs: Sequence[Input] = (),
    changes: Sequence[str] = (),
    batch_norm: BatchNormChoice | None = None,
    weights: Path | None = None,
    drawn: bool = False,
) -> dict[str, MappedNetwork]:
    """Mapping of what is named, by the name of its design, and of each in `against`.

    Parameters
    ----------
    what
        A network, as in `experiments.inputs.networks.build_network`; a study, which is mapped unpruned; or
        the folder of a finished run.
    hardware, against
        Designs, or TOML files; no `hardware`: that of the study or run, else admm-32x32.
    inputs
        As in `experiments.inputs.networks.example_input`.
    changes
        ``hardware.key=value``, of both designs; of a run, what its mapping and accuracy do not depend on.
    batch_norm
        As in `mapping.crossbar_form`; None: that of the study, else ``fold``.
    weights
        File of the network's weights; None: those that it has, and a built-in one has none.
    drawn
        Whether the network's own weights are others each time (`is_drawn`), and so are not known.

    Raises
    ------
    XbarError
        For a network, study, run or design that cannot be had, or a change that would make a run another one.
    """
    if Path(what).is_dir():
        if hardware or against or width != 1 or inputs or batch_norm or weights:
            raise XbarError(
                f"{what}: a finished run is on its own hardware; --hardware, --against, --width, --input, "
                "--batch-norm and --weights are for networks and studies"
            )
        finished = finished_run(Path(what))[1].with_hardware(lambda own: _priced_anew(own, changes))
        return {finished.hardware.name: finished}
    network, design = what, hardware or DEFAULT_DESIGN
    if _is_study(what):
        if width != 1:
            raise XbarError(f"--width {width:g}: {what} is a study, which has its own")
        study = load_study(what, changes)
        network, width, batch_norm = study.network, study.width, batch_norm or study.batch_norm
        first = load_design(hardware, changes) if hardware else study.hardware
    else:
        first = load_design(design, changes)
    form, example = form_of(network, width, inputs, weights, batch_norm or "fold")
    digital = left_digital(form, example)
    designs = {first.name: first}
    for name in against:
        other = load_design(name, changes)
        label = other.name if other.name not in designs else f"{other.name} ({name})"
        if label in designs:
            raise XbarError(f"--against {name}: is there already")
        designs[label] = other
    with torch.no_grad():
        found = {name: map_network(form, each, example, layers=digital) for name, each in designs.items()}
    return {name: without_weights(one) for name, one in found.items()} if drawn else found


def is_drawn(what: str, changes: Sequence[str] = ()) -> bool:
    """Whether the network that is named, or that of a study, comes from a function that draws its weights
    anew each time."""
    return draws_weights(load_study(what, changes).network if _is_study(what) else what)


def _is_study(what: str) -> bool:
    return what.endswith(".toml") or what in study_names()


def _priced_anew(hardware: Hardware, changes: Sequence[str]) -> Hardware:
    """Hardware of a finished run with changes of what it costs."""
    changed = changed_design(hardware, changes)
    if simulated(changed) != simulated(hardware):
        allowed = [f"{table}.{key}" if table else key for table, keys in COST_ONLY.items() for key in keys]
        raise XbarError(
            f"--set {' '.join(changes)}: a finished run keeps what it was mapped and measured on; allowed: "
            f"keys of hardware that only its costs depend on ({', '.join(allowed)})"
        )
    return changed


def lossless_text(sides: Mapping[str, MappedNetwork]) -> str:
    """ADC bits that lose nothing, by design: of all layers, and of which the most."""
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


def nameplate_text(name: str, plate: Nameplate) -> str:
    """Components of a nameplate, and the totals."""
    rows = [("component", "in each", "units", "power [mW]", "area [mm2]")]
    rows += [
        (row.component, row.level, number(row.units), number(rated_mw(row)), number(row.area_mm2))
        for row in plate.rows
    ]
    rows += [("sum", "", "", number(plate.power_mw()), number(plate.area_mm2()))]
    peak = (
        f"peak {number(plate.operations_per_s * 1e-9)} GOPS (two a multiply-accumulate), "
        f"{number(plate.gops_per_w)} GOPS/W, {number(plate.gops_per_mm2)} GOPS/mm2"
    )
    nodes = f"{plate.tiles} node{'s' * (plate.tiles > 1)}"
    without = f"\nnot modelled: {'; '.join(plate.not_modelled)}" if plate.not_modelled else ""
    return f"{name}, {nodes}\n{text_table(rows, 'llrrr')}\n{peak}{without}"


def text(
    what: str,
    results: Mapping[str, Estimate],
    layers: bool = False,
    notes: Sequence[str] = (),
) -> str:
    """Totals and the table by component of designs side by side, with the reductions; then the notes."""
    estimates = list(results.values())
    parts = [
        _title(what, results),
        "",
        text_table(_totals(results), "l" + "r" * len(results) + "l" + "r" * (len(results) - 1)),
        "",
    ]
    for name, result in results.items():
        if len(results) > 1:
            parts += [name]
        parts += [text_table(_sums(result.by_component, result, "component"), "lrrrr"), ""]
        if layers:
            parts += [text_table(_sums(result.by_layer, result, "layer"), "lrrrr"), ""]
    parts += [
        note for each in (busy_text(results), *notes, idle_text(results)) if each for note in (each, "")
    ]
    if estimates[0].not_scaled:
        parts += [f"at another node, not scaled: {', '.join(estimates[0].not_scaled)}"]
    parts += ["not modelled: " + "; ".join(estimates[0].not_modelled)]
    return "\n".join(parts)


def _title(what: str, results: Mapping[str, Estimate]) -> str:
    first = next(iter(results.values()))
    share = percent_of_macs(first.macs_share)
    lines = [
        what,
        f"{share} of the multiply-accumulates of an image are on crossbars, and in these numbers",
    ]
    if first.digital_unknown:
        lines.append(f"not counted: {not_counted(first.digital_unknown)}")
    for name, result in results.items():
        lines.append(
            f"on {name}: {result.weight_bits:g}-bit weights in {result.slices} slice"
            f"{'s' if result.slices > 1 else ''}, converters {result.adc}; conductances: "
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
        cuts = [f"{100 * (1 - value / values[0]):.1f} %" if known else "" for value in values[1:]]
        rows.append((label, *map(number, values), unit, *cuts))
    return rows


def _sums(
    sums: Mapping[str, Mapping[str, float]], result: Estimate, what: str
) -> list[tuple[str, str, str, str, str]]:
    """Area and energy of each part with its share, the largest energy first."""
    rows = [(what, "area [mm2]", "share", "energy [nJ]", "share")]
    for name, cost in sorted(sums.items(), key=lambda pair: -pair[1]["energy_nj"]):
        area, energy = cost["area_mm2"], cost["energy_nj"]
        shares = share(area, result.area_mm2), share(energy, result.energy_nj_per_image)
        rows.append((name, number(area), percent_text(shares[0]), number(energy), percent_text(shares[1])))
    total = number(result.area_mm2), "", number(result.energy_nj_per_image), ""
    return [*rows, ("sum", *total)]


def share(part: float, whole: float) -> float:
    """The share that a part is of a whole; 0 where the whole is 0."""
    return part / whole if whole else 0.0


def percent_text(part: float) -> str:
    """A share as percent."""
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
        "energy an image = dynamic (events x energy of one) + idle (units x leakage x time); "
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
        ("layer", "events", "pJ each", "nJ dynamic", "nJ idle", "nJ", "units", "um2 each", "mm2")
    ]
    table += [(row.layer, *map(number, _factors(row))) for row in rows]
    area, spent = sum(row.area_mm2 for row in rows), sum(row.energy_nj for row in rows)
    parts = sum(row.dynamic_nj for row in rows), sum(row.idle_nj for row in rows)
    table += [("sum", "", "", *map(number, (*parts, spent)), "", "", number(area))]
    return "\n".join([*lines, "", text_table(table, "lrrrrrrrr")])


def _leakage(price: Price) -> str:
    return "not modelled" if price.leakage_uw is None else f"{number(price.leakage_uw)} uW a {price.unit}"


def busy_text(results: Mapping[str, Estimate], shown: int = 4) -> str:
    """Text of the busiest server by design, and of how busy arrays and shared blocks are then."""
    lines = []
    for name, result in results.items():
        at_peak = result.at(result.peak_image_rate_per_s)
        in_step = {row.component for row in result.table if row.level == "array"} - {"array"}
        busy = {part: share for part, share in at_peak.utilisation.items() if part not in in_step}
        of = f" of {name}" if len(results) > 1 else ""
        busiest = ", ".join(f"{part} {percent_text(share)}" for part, share in list(busy.items())[:shown])
        lines.append(f"the highest image rate{of} is that of {result.bottleneck}; busy at it: {busiest}")
    return "\n".join(lines)


def idle_text(results: Mapping[str, Estimate]) -> str:
    """Text of the leakage, as a scenario, of blocks of which no source gives it; empty without such."""
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
    return row.events, *energies, row.units, row.unit_area_um2, row.area_mm2


def write_csv(results: Mapping[str, Estimate], path: Path) -> None:
    """Every row of every estimate, one a line, with the units in the header."""
    rows = [
        [name, row.layer, row.component, row.level, *_factors(row)]
        for name, result in results.items()
        for row in result.table
    ]
    write_atomically(path, csv_text([CSV_COLUMNS, *rows]).encode())


@dataclass(frozen=True)
class EstimateCommand:
    """Area, energy, power and latency of a network on crossbars, line by line. Nothing is run."""

    what: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="WHAT")]
    """A network (built-in name, path/net.py:function, path/program.pt2), a study, or the folder of a run."""
    hardware: str = ""
    """A design, or a TOML file; by default admm-32x32, or that of the study or run."""
    against: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Another design, or a TOML file, to compare with, as often as needed: --against isaac"""
    arrays: int | None = None
    """Copy the slowest layers, so that all layers fill at most so many arrays."""
    lossless_adc: bool = False
    """Give each layer the fewest ADC bits that lose nothing."""
    programming: bool = False
    """Print time and energy of writing a chip, too, for the folder of a run."""
    width: float = 1.0
    """Factor on the channels of a built-in network."""
    batch_norm: BatchNormChoice | None = None
    """Batch norm: into the layer that it follows, or left digital; by default the study's choice, or fold."""
    input: str = ""
    """Size of one input, without the batch, as 3x224x224; built-in networks and most programs have one.
    int64:128 for token ids; several with commas between, with names as input_ids=int64:128."""
    weights: Path | None = None
    """Weights of the network: safetensors, or what torch.save(network.state_dict(), ...) wrote."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the hardware, as often as needed: --set hardware.adc.bits=8"""
    case: Literal["worst", "mean"] | None = None
    """What inputs and weights that are not known are taken for; by default the worst or, where a function
    draws other weights each time, the mean."""
    image_rate: float | None = None
    """Images a second that energy and power are for; by default the most that all the designs can do."""
    layers: bool = False
    """Print a table by layer, too."""
    explain: str = ""
    """Print formula, numbers and source of one component, layer by layer."""
    trust: bool = False
    """Read a .pt2 file that needs code to be run for it. Only for files of people whom you trust."""
    json: bool = False
    """Print JSON."""
    csv: Path | None = None
    """Write every row of the estimate into this file."""
    figure: Path | None = None
    """Draw area and energy by layer and component into this file, .svg, .png or .pdf."""

    def __call__(self) -> None:
        inputs = parsed_inputs(self.input)
        check_figure(self.figure)
        check_file("--csv", self.csv)
        if self.json and self.explain:
            raise XbarError("--json, --explain: choose one; the JSON has the prices and their sources")
        is_run = Path(self.what).is_dir()
        if self.programming and not is_run:
            raise XbarError("--programming: needs weights, and so the folder of a finished run")
        drawn = not is_run and self.weights is None and is_drawn(self.what, self.set)
        sides = mapped(
            *(self.what, self.hardware, self.against, self.width, inputs, self.set),
            *(self.batch_norm, self.weights, drawn),
        )
        notes = [lossless_text(sides)]
        case = self.case or ("mean" if drawn else "worst")
        if drawn:
            notes.append(
                f"weights: the network's function draws others each time, so that the {case} case is taken; "
                "--weights FILE gives those that you mean"
            )
        if self.lossless_adc:
            sides = {name: with_lossless_bits(one) for name, one in sides.items()}
        if self.arrays is not None:
            sides = {name: duplicate(one, self.arrays, layer_interval) for name, one in sides.items()}
        activity = run_activity(Path(self.what)) if is_run else None
        try:
            results = {
                name: estimate(one, activity, self.image_rate, case=case) for name, one in sides.items()
            }
            if self.image_rate is None:
                results = dict(zip(results, at_one_rate(*results.values()), strict=True))
        except XbarError as error:
            raise XbarError(f"--lossless-adc: {error}" if self.lossless_adc else str(error)) from None
        if self.csv is not None:
            write_csv(results, self.csv)
        if self.figure is not None:
            from experiments.figures.estimate_plots import estimate_figure
            from experiments.figures.plots import save_as

            save_as(estimate_figure(results), self.figure)
        costs = {}
        if self.programming:
            study, _ = finished_run(Path(self.what))
            costs = {name: programming(first_chip(study, one)) for name, one in sides.items()}
        if self.json:
            plain = {name: result.to_dict() for name, result in results.items()}
            for name, cost in costs.items():
                plain[name]["programming"] = cost.to_dict()
            print(json.dumps(plain, indent=1))
        elif self.explain:
            print("\n\n".join(explain(n, r, self.explain) for n, r in results.items()))
        else:
            notes += [programming_text(cost) for cost in costs.values()]
            print(text(self.what, results, self.layers, notes))
