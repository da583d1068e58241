"""What a run says of itself in numbers: statistics over chips, rates, tiles, versions, and a short text."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
import torch
from scipy import stats

from mapping.monte_carlo.sampling import half_width
from mapping.smaller_networks.storage import storage
from mapping.tiles.mapped import MappedNetwork


def over_chips_summary(name: str, record: Mapping[str, Any], threshold: float) -> dict[str, Any]:
    """Statistics of the chips that a stage recorded, and whether the stop rule ended them."""
    return {**chip_statistics(name, record["accuracies"], threshold), "settled": record["settled"]}


def chip_statistics(name: str, accuracies: list[float], threshold: float) -> dict[str, Any]:
    """Mean, spread, 95 % interval of the mean over chips (Student's t, within 0 to 100), quantiles, share at
    a threshold."""
    values = np.asarray(accuracies)
    n = len(values)
    std = float(values.std(ddof=1)) if n > 1 else 0.0
    half = half_width(values)
    mean = float(values.mean())
    return {
        "name": name,
        "n": n,
        "mean": mean,
        "std": std,
        "ci95_low": None if n == 1 else max(mean - half, 0.0),
        "ci95_high": None if n == 1 else min(mean + half, 100.0),
        "median": float(np.median(values)),
        "p05": float(np.quantile(values, 0.05)),
        "threshold": threshold,
        "share_above": float((values >= threshold).mean()),
        "per_chip": accuracies,
    }


def finite_test_set_ci95(percent: float, images: int) -> float:
    """Half width of the 95 % Wilson interval of an accuracy on so many images [percentage points]."""
    interval = stats.binomtest(round(percent / 100 * images), images).proportion_ci(method="wilson")
    return 50 * float(interval.high - interval.low)


def compression_summary(mapped: MappedNetwork) -> dict[str, Any]:
    """Rates over the network and by layer."""
    return {
        "rate": mapped.weights_total / mapped.weights_kept,
        "weights_total": mapped.weights_total,
        "weights_kept": mapped.weights_kept,
        "counted": "all weights of mapped layers; biases and indices not counted",
        "storage": storage(mapped).to_dict(),
        "layers": {
            name: {
                "weights_total": layer.weights_total,
                "weights_kept": layer.weights_kept,
                "rate": layer.weights_total / max(layer.weights_kept, 1),
            }
            for name, layer in mapped.layers.items()
        },
    }


def mapping_summary(whole: MappedNetwork, unpacked: MappedNetwork, mapped: MappedNetwork) -> dict[str, Any]:
    """Tiles a plane before pruning, after it without packing, and packed; whole network and by layer."""
    crossbar = mapped.hardware.crossbar
    layers = {}
    for name, layer in mapped.layers.items():
        tiles, hardware = len(layer.tiles), mapped.hardware_of(name)
        cells = tiles * hardware.crossbar.rows * hardware.crossbar.cols
        layers[name] = {
            "k": layer.k,
            "n": layer.n,
            "positions": layer.positions,
            "tiles_before": len(whole.layers[name].tiles),
            "tiles_unpacked": len(unpacked.layers[name].tiles),
            "tiles_after": tiles,
            "utilisation": layer.weights_kept * hardware.encoding.slices / cells if tiles else 0.0,
        }
    return {
        "tile_rows": crossbar.rows,
        "tile_cols": crossbar.cols,
        "tiles_per_plane_before": whole.tiles_per_plane,
        "tiles_per_plane_unpacked": unpacked.tiles_per_plane,
        "tiles_per_plane_after": mapped.tiles_per_plane,
        "utilisation": mapped.utilisation,
        "layers": layers,
        **operations_summary(mapped),
    }


def operations_summary(mapped: MappedNetwork) -> dict[str, Any]:
    """Operations an image, the share of those on crossbars, and what stays digital, the most first.

    An operation is a multiply-accumulate of a product, or an input element of any other operator. Operators
    that take a weight and whose work is not known are listed apart.
    """
    kinds = {"multiply-accumulates": mapped.digital_macs, "elements": mapped.digital_elements}
    digital: list[dict[str, Any]] = [
        {"operator": operator, "unit": unit, "operations": count}
        for unit, counts in kinds.items()
        for operator, count in counts.items()
    ]
    total = mapped.macs + sum(row["operations"] for row in digital)
    return {
        "operations": total,
        "operations_share": mapped.macs / total,
        "macs_share": mapped.macs_share,
        "unknown": [
            {"operator": operator, "calls": calls} for operator, calls in mapped.digital_unknown.items()
        ],
        "digital": sorted(
            ({**row, "share": row["operations"] / total} for row in digital),
            key=lambda row: -row["operations"],
        ),
    }


def coverage(mapping: Mapping[str, Any]) -> str:
    """What of a network is on crossbars, from its `operations_summary`; "" for a result that has none."""
    if not mapping.get("operations") or "digital" not in mapping:
        return ""
    digital = {"multiply-accumulates": 0, "elements": 0}
    for row in mapping["digital"]:
        digital[row["unit"]] += row["operations"]
    macs = mapping["operations"] - digital["elements"]
    share = (macs - digital["multiply-accumulates"]) / macs
    text = f"{percent_of_macs(share)} of {macs:,} multiply-accumulates an image are on crossbars"
    if unknown := {row["operator"]: row["calls"] for row in mapping.get("unknown", ())}:
        text += f", and more are not counted: {not_counted(unknown)}"
    return text


def percent_of_macs(share: float) -> str:
    """A share in percent, one that is not all never rounded up to 100 %."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.99):.2f} %"


def not_counted(unknown: Mapping[str, int]) -> str:
    """Calls of operators by name whose work is not known, and what to do."""
    calls = ", ".join(f"{name} ({count} call{'s' * (count > 1)})" for name, count in unknown.items())
    return f"{calls}: take weights, and what they do with them is not known"


def versions() -> dict[str, str]:
    """What the result was computed with."""
    names = ("xbar-codesign", "torch", "numpy", "numba", "scipy")
    return {
        **{name: metadata.version(name) for name in names},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": str(torch.get_num_threads()),
    }


def text_summary(result: Mapping[str, Any]) -> str:
    """A dozen lines for the terminal."""
    a, c, m, e = (result[key] for key in ("accuracy", "compression", "mapping", "estimate"))
    before, after, reduction = e["before"], e["after"], e["reduction_percent"]
    lines = [
        "",
        f"accuracy     float {a['float']:.2f} %, compressed {a['compressed']:.2f} %, "
        f"quantised {a['quantised']:.2f} %, ideal chip {a['ideal_chip']:.2f} %  "
        f"(test set of {a['test_images']}: +-{a['test_set_ci95']:.2f})",
        f"on tiles     {coverage(m)}",
    ]
    for case in a["chips_cases"]:
        spread = (
            "" if case["n"] == 1 else f", 95 % interval {case['ci95_low']:.2f} to {case['ci95_high']:.2f}"
        )
        lines.append(f"  {case['name']:<18} {case['mean']:.2f} % over {case['n']} chips{spread}")
    for curve in a["under_noise"]:
        points = ", ".join(f"{point['name']} {point['mean']:.2f}" for point in curve["points"])
        lines.append(f"  {curve['name']}: {points} %")
    for row in a["by_layer"]:
        only, others = row["only"]["mean"], row["others"]["mean"]
        lines.append(f"  {row['case']}, {row['layer']} only {only:.2f} %, all but it {others:.2f} %")
    lines += [f"  outside its domain: {line}" for line in a.get("outside_domain", ())]
    lines += [
        f"compression  {c['rate']:.2f}x ({c['weights_kept']} of {c['weights_total']} weights)",
        f"tiles        {m['tiles_per_plane_before']} a plane before pruning, "
        f"{m['tiles_per_plane_unpacked']} after, {m['tiles_per_plane_after']} packed "
        f"({m['tile_rows']} x {m['tile_cols']}, {m['utilisation']:.0%} used)",
    ]
    for label, key, unit, cut in (
        ("area", "area_mm2", "mm2", "area"),
        ("power", "power_mw", "mW", "power"),
        ("energy", "energy_nj_per_image", "nJ an image", "energy"),
    ):
        lines.append(
            f"{label:<12} {before[key]:.4g} -> {after[key]:.4g} {unit} ({reduction[cut]:.2f} % less than "
            f"uncompressed in {before['slices']} slices)"
        )
    return "\n".join(lines)
