"""Power and area reductions of VGG-16 and ResNet-18 beside the published ones: `reductions.json`.

    python results/reductions.py

Computes everything (no training, no data set), keeps it, and prints the tables of docs/reductions.md.

Area and energy depend only on which weights are masked. Yuan et al. (arXiv:1908.11691) give the rate of each
network but not of its layers, and networks of full width are not trained here. So the masks are those of
untrained weights: the tile-column projection of He-initialised random ones, at the published rate, with the
layers' shares of our studies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import points
import torch

from experiments.commands.networks.layer_table import form_of
from experiments.studies.study import Study, load_study
from mapping import MappedNetwork, map_network, shares_for_rate
from mapping.constraints.constraint import by_pattern
from mapping.constraints.rule_kinds import EntireTiles, Share, TileColumns
from mapping.constraints.rules import constraint_of
from mapping.network.gemm import mappable_layers, to_gemm
from power.estimates.table import estimate
from power.estimates.totals import Estimate, reduction_percent

FILE = Path(__file__).with_name("reductions.json")
PUBLISHED = {
    "LeNet-5": {"rate": 17.69, "power": 96.96, "area": 93.97},
    "VGG-16": {"rate": 29.81, "power": 98.38, "area": 98.28},
    "ResNet-18": {"rate": 20.88, "power": 96.95, "area": 97.46},
}
"""arXiv:1908.11691, 5 bits: compression rate, reductions [%]."""
STUDIES = {"VGG-16": "vgg16-cifar10", "ResNet-18": "resnet18-cifar10"}
TRAINED = ("lenet5-mnist", "lenet5-mnist-37x", "vgg16-cifar10")
"""Studies with a kept run, whose masks come from training."""
PARTS = {
    "cells": ("array",),
    "converters": ("adc", "sample_hold", "shift_add"),
    "drivers": ("dac",),
    "registers": ("input_register", "output_register", "tile_output_register"),
    "eDRAM": ("edram",),
    "bus and router": ("bus", "router"),
    "index of packing": ("index",),
    "sums, activations, pools": ("tile_shift_add", "sigmoid", "max_pool"),
}
OURS = "tile columns, shares of our study"
ASKED = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
"""Shares of the rate that whole tiles are asked for."""
SCALED = {"periphery__node_nm": 45.0, "periphery__scaling": "stillmaker-baas"}
REGRESSION = {"adc__library": "adc-regression"}
PRICES: dict[str, dict[str, Any]] = {
    "32 nm, ISAAC's converter": {},
    "45 nm, ISAAC's converter": SCALED,
    "32 nm, adc-regression": REGRESSION,
    "45 nm, adc-regression": SCALED | REGRESSION,
}


def largest_layers(sizes: Mapping[str, int], rate: float) -> dict[str, Share]:
    """Equal shares for the fewest layers that can lose enough, the largest; the others keep all weights."""
    ascending = sorted(sizes, key=lambda name: sizes[name])
    whole = 0
    while sum(sizes[name] for name in ascending[: whole + 1]) < sum(sizes.values()) / rate:
        whole += 1
    return {name: TileColumns(1.0) for name in ascending[whole:]}


class Case:
    """The network of a study, without weights, on the study's hardware."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.form, self.example = form_of(study.network, study.width)
        self.layers = mappable_layers(self.form)
        self.sizes = {name: layer.weight.numel() for name, layer in self.layers.items()}
        table = {rule.layer: rule.rule for rule in study.compress.layers}
        self.rules = by_pattern(table, list(self.sizes), "compress.layers")
        self.before = self.map(slices=study.compare.slices)

    def map(self, slices: int = 1, **arguments: Any) -> MappedNetwork:
        """On cells of so many slices; other arguments are those of `map_network`."""
        hardware = self.study.hardware.replace(encoding__slices=slices)
        return map_network(self.form, hardware, self.example, **arguments)

    def masks(self, rules: Mapping[str, Share], rate: float, seed: int = 0) -> dict[str, torch.Tensor]:
        """Masks by layer of random weights (He et al. 2015, arXiv:1502.01852), projected at a rate."""
        keep = shares_for_rate(rate, self.sizes, {name: rule.share for name, rule in rules.items()})
        generator = torch.Generator().manual_seed(seed)
        masks = {}
        for name, layer in self.layers.items():
            k, n = to_gemm(layer).shape
            w = torch.randn(k, n, generator=generator) * math.sqrt(2 / k)
            if name in rules:
                _, masks[name] = constraint_of(
                    (rules[name],), keep[name], layer, self.study.hardware
                ).project(w)
        return masks

    def pruned(self, rules: Mapping[str, Share], seed: int = 0) -> MappedNetwork:
        """Masked at the study's rate, and packed."""
        return self.map(masks=self.masks(rules, self.study.compress.rate, seed))

    def in_whole_tiles(self, rules: Mapping[str, Share]) -> MappedNetwork:
        """With whole tiles masked, by rules for every layer.

        A layer keeps a whole number of tiles, at least one and else rounded down: of several rates the one is
        asked for that gives nearly the study's.
        """
        tiles = {name: EntireTiles(rule.share) for name, rule in rules.items()}
        wanted = sum(self.sizes.values()) / self.study.compress.rate
        found = (self.masks(tiles, share * self.study.compress.rate) for share in ASKED)
        return self.map(
            masks=min(found, key=lambda masks: abs(sum(int(m.sum()) for m in masks.values()) - wanted))
        )


def mean_case(mapped: MappedNetwork, **changes: Any) -> Estimate:
    """Estimate with every second input bit set and weights at the mean of their levels."""
    return estimate(mapped.with_hardware(lambda hardware: hardware.replace(**changes)), case="mean")


def totals(mapped: MappedNetwork, found: Estimate) -> dict[str, float]:
    """Cells that hold a weight, a plane, their share of those built, bands with a tile, arrays, costs."""
    bands = [band for layer in mapped.layers.values() for band in layer.bands]
    return {
        "cells": mapped.weights_kept * found.slices,
        "used": mapped.utilisation,
        "bands": sum(bool(band.tiles) for band in bands),
        "arrays": found.arrays,
        "area_mm2": found.area_mm2,
        "energy_nj": found.energy_nj_per_image,
    }


def by_part(before: Estimate, found: Estimate) -> dict[str, dict[str, float]]:
    """Area and energy of the groups of components, in percent of all that there is before."""
    costs = found.by_component
    all_before = {"area_mm2": before.area_mm2, "energy_nj": before.energy_nj_per_image}
    return {
        part: {key: 100 * sum(costs[name][key] for name in names) / all_before[key] for key in all_before}
        for part, names in PARTS.items()
    }


def by_positions(mapped: MappedNetwork, found: Estimate) -> dict[str, dict[str, float]]:
    """Weights and energy of the layers with equally many positions an image."""
    sums: dict[str, dict[str, float]] = {}
    for name, layer in mapped.layers.items():
        at = sums.setdefault(str(layer.positions), {"weights": 0, "energy_nj": 0.0})
        at["weights"] += layer.weights_kept
        at["energy_nj"] += found.by_layer[name]["energy_nj"]
    return sums


def against(before: Estimate, mapped: MappedNetwork, found: Estimate) -> dict[str, float]:
    """Rate, and how much less a mapping costs [%]."""
    return {
        "rate": mapped.weights_total / mapped.weights_kept,
        "arrays": 100 * (1 - found.arrays / before.arrays),
        **reduction_percent(before, found),
    }


def at_prices(before: MappedNetwork, after: MappedNetwork, changes: Mapping[str, Any]) -> dict[str, float]:
    """Reductions [%] with changed components, the converter's price, and its share of area and energy.

    Idle power is left out: only one of the converters says what it leaks.
    """
    old, new = mean_case(before, **changes), mean_case(after, **changes)
    (adc,) = old.prices["adc"]
    converters, cut = old.by_component["adc"], reduction_percent(old, new)
    return {
        "adc_pj": adc.energy_pj,
        "adc_um2": adc.area_um2,
        "adc_share_of_area": 100 * converters["area_mm2"] / old.area_mm2,
        "adc_share_of_energy": 100 * converters["dynamic_nj"] / old.dynamic_nj_per_image,
        **cut,
        "power": cut["dynamic"],
        "energy": cut["dynamic"],
    }


def reductions_of(name: str) -> dict[str, Any]:
    """All that the tables say of one network at the published rate."""
    case = Case(load_study(STUDIES[name], ["width=1", f"compress.rate={PUBLISHED[name]['rate']}"]))
    masks = case.masks(case.rules, case.study.compress.rate)
    steps = {
        "9 bits, not pruned": case.before,
        "5 bits (one slice)": case.map(),
        "pruned, not packed": case.map(masks=masks, packing=False),
        "pruned and packed": case.map(masks=masks),
    }
    after = steps["pruned and packed"]
    costs = {step: mean_case(mapped) for step, mapped in steps.items()}
    old, new = costs["9 bits, not pruned"], costs["pruned and packed"]
    uniform = {layer: TileColumns(1.0) for layer in case.sizes}
    others = {
        "the same, another seed": case.pruned(case.rules, seed=1),
        "tile columns, one rate for all layers": case.pruned(uniform),
        "tile columns, the largest layers only": case.pruned(
            largest_layers(case.sizes, case.study.compress.rate)
        ),
        "whole tiles, shares of our study": case.in_whole_tiles(case.rules),
        "whole tiles, one rate for all layers": case.in_whole_tiles(uniform),
    }
    return {
        "weights": after.weights_total,
        "steps": {step: totals(mapped, costs[step]) for step, mapped in steps.items()},
        "parts": {
            state: by_part(old, found)
            for state, found in {
                "before": old,
                "tile columns": new,
                "whole tiles": mean_case(others["whole tiles, shares of our study"]),
            }.items()
        },
        "positions": {"before": by_positions(case.before, old), "after": by_positions(after, new)},
        "shares": {OURS: against(old, after, new)}
        | {shares: against(old, mapped, mean_case(mapped)) for shares, mapped in others.items()},
        "prices": {prices: at_prices(case.before, after, changes) for prices, changes in PRICES.items()},
    }


def trained_and_untrained(name: str) -> dict[str, Any]:
    """What a kept run's masks give, and those of untrained weights at its rate and shares."""
    run = json.loads(FILE.with_name(f"{name}-seed0.json").read_text(encoding="utf-8"))
    case = Case(load_study(name))
    mapped = case.pruned(case.rules)
    costs = run["estimate"]
    arrays = 100 * (1 - costs["after"]["arrays"] / costs["before"]["arrays"])
    trained = {"rate": run["compression"]["rate"], "arrays": arrays, **costs["reduction_percent"]}
    untrained = against(mean_case(case.before), mapped, mean_case(mapped))
    return {"masks of training": trained, "masks of untrained weights": untrained}


def compute() -> dict[str, Any]:
    """What the file keeps."""
    return {
        "networks": {name: reductions_of(name) for name in STUDIES},
        "trained": {name: trained_and_untrained(name) for name in TRAINED},
    }


def percent(*values: float) -> str:
    return " | ".join(f"{value:.2f} %" for value in values)


def published_rows(found: Mapping[str, Any]) -> list[str]:
    """Rate, published reductions, ours, and what cells alone would give; LeNet-5 as trained."""
    ours = {"LeNet-5": found["trained"]["lenet5-mnist"]["masks of training"]}
    ours |= {name: entry["shares"][OURS] for name, entry in found["networks"].items()}
    rows = []
    for name, row in PUBLISHED.items():
        r, own = row["rate"], ours[name]
        law = percent(100 * (1 - 1 / r), 100 * (1 - 1 / (2 * r)))
        rows.append(
            f"| {name} | {r:.2f}x | {percent(row['power'], own['power'], row['area'], own['area'])} "
            f"| {percent(own['arrays'])} | {law} |"
        )
    return rows


def step_rows(found: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, entry in found["networks"].items():
        first = entry["steps"]["9 bits, not pruned"]
        for step, row in entry["steps"].items():
            less = percent(*(100 * (1 - row[key] / first[key]) for key in ("area_mm2", "energy_nj")))
            rows.append(
                f"| {name} | {step} | {row['cells']:,} | {100 * row['used']:.1f} % | {row['bands']} "
                f"| {row['arrays']:,} | {row['area_mm2']:.2f} | {1e-3 * row['energy_nj']:,.1f} | {less} |"
            )
    return rows


def part_rows(found: Mapping[str, Any]) -> list[str]:
    """Area, then energy: before, and what is left with tile columns and with whole tiles."""
    rows = []
    for name, entry in found["networks"].items():
        for part in (*PARTS, "sum"):
            left = [
                sum(row[key] for row in parts.values()) if part == "sum" else parts[part][key]
                for key in ("area_mm2", "energy_nj")
                for parts in entry["parts"].values()
            ]
            rows.append(f"| {name} | {part} | {percent(*left)} |")
    return rows


def position_rows(found: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, entry in found["networks"].items():
        before, after = entry["positions"]["before"], entry["positions"]["after"]
        for positions, old in before.items():
            new = after[positions]
            share = percent(100 * old["weights"] / entry["weights"])
            rate = f"{old['weights'] / new['weights']:.1f}x"
            energies = f"{1e-3 * old['energy_nj']:,.1f} | {1e-3 * new['energy_nj']:,.1f}"
            less = percent(100 * (1 - new["energy_nj"] / old["energy_nj"]))
            rows.append(f"| {name} | {positions} | {share} | {rate} | {energies} | {less} |")
    return rows


def reduction_cells(row: Mapping[str, float]) -> str:
    return f"{row['rate']:.2f}x | {percent(row['arrays'], row['area'], row['power'])}"


def share_rows(found: Mapping[str, Any]) -> list[str]:
    return [
        f"| {name} | {shares} | {reduction_cells(row)} |"
        for name, entry in found["networks"].items()
        for shares, row in entry["shares"].items()
    ]


def trained_rows(found: Mapping[str, Any]) -> list[str]:
    return [
        f"| {name} | {masks} | {reduction_cells(row)} |"
        for name, entry in found["trained"].items()
        for masks, row in entry.items()
    ]


def price_rows(found: Mapping[str, Any]) -> list[str]:
    return [
        f"| {name} | {prices} | {row['adc_um2']:,.0f} | {row['adc_pj']:.2f} "
        f"| {percent(row['adc_share_of_area'], row['adc_share_of_energy'], row['area'], row['power'])} |"
        for name, entry in found["networks"].items()
        for prices, row in entry["prices"].items()
    ]


def tables(found: Mapping[str, Any]) -> dict[str, list[str]]:
    """Markdown rows of each table of the page."""
    return {
        "published": published_rows(found),
        "steps": step_rows(found),
        "parts": part_rows(found),
        "positions": position_rows(found),
        "shares": share_rows(found),
        "trained": trained_rows(found),
        "prices": price_rows(found),
    }


if __name__ == "__main__":
    points.keep(FILE, compute())
    for table, rows in tables(points.kept(FILE)).items():
        print(f"{table}:", *rows, "", sep="\n")
