"""Accuracy with stuck cells, with and without columns that are moved around them: `fault-aware.json`.

    python results/fault_aware.py measure NETWORK [DATA]
    python results/fault_aware.py rows

The first trains what it needs in runs/fault-aware, measures the points that the file has not, and adds them
to it. The second prints the table of docs/physics.md.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import points

from experiments.inputs.batches import Batches
from experiments.plans.context import EVALUATION_BATCH
from experiments.stages.measure import networks
from experiments.stages.run import prepare
from experiments.studies.study import load_study
from mapping import MappedNetwork, calibrate, chip_accuracy, decoded_weights, program_network
from mapping.lab.faults import around_faults
from mapping.monte_carlo.sampling import half_width
from power.estimates.table import estimate
from xbar.conductances.encoding import decode_states

FILE = Path(__file__).with_name("fault-aware.json")
RUNS = Path(__file__).parents[1] / "runs" / "fault-aware"
NETWORKS = {
    "lenet5-mnist": ("lenet5-mnist", ()),
    "digits": ("digits", ()),
    "digits-dense": ("digits", ("compress.rate=1", "compress.layers=[]", "name=digits-dense")),
}
"""Study and changes of it: two packed networks, and one without masks, which fills most of its tiles."""
CHIPS, IMAGES = 10, 2000
SHARES = (0.005, 0.01, 0.02, 0.05, 0.1)
AT_G_MAX = {"half at each": 0.5, "all at g_max": 1.0, "all at g_min": 0.0}
LAYOUTS = {"default order": (0, False), "moved": (0, True), "4 spare": (4, True), "8 spare": (8, True)}
"""Spare bit lines of a tile of 32 (measured for half at each), and whether columns are moved."""


def error(mapped: MappedNetwork, chip: int) -> float:
    """Squared error of all weights on a chip over their square."""
    programmed = program_network(mapped, chip=chip)
    lost = total = 0.0
    for name, layer in mapped.layers.items():
        hardware = layer.hardware
        w = decode_states(layer.state, layer.scale, hardware.encoding, hardware.device)
        lost += float(np.square(decoded_weights(programmed, name) - w).sum())
        total += float(np.square(w).sum())
    return lost / total


def free_bit_lines(mapped: MappedNetwork) -> float:
    """Share of the tiles' bit lines on which no column stands (one slice a weight)."""
    tiles = [tile for layer in mapped.layers.values() for tile in layer.tiles]
    return 1 - sum(len(tile.cols) for tile in tiles) / (len(tiles) * mapped.hardware.crossbar.cols)


def one_chip(mapped: MappedNetwork, layout: str, share: float, high: float, chip: int) -> MappedNetwork:
    """The mapping on faulty cells as one chip of a layout has it."""
    faulty = mapped.with_hardware(
        lambda hardware: hardware.replace(
            device__p_stuck_g_max=share * high, device__p_stuck_g_min=share * (1 - high)
        )
    )
    return around_faults(faulty, chip=chip) if LAYOUTS[layout][1] else faulty


def cost(mapped: MappedNetwork, activity: dict[str, Any]) -> dict[str, float]:
    """Area and energy of a chip, the index of moved columns included."""
    found = estimate(mapped, activity)
    return {"area_mm2": found.area_mm2, "energy_nj_per_image": found.energy_nj_per_image}


def measure(name: str, data: Path | None) -> None:
    """Add the points of one network to the file, one after the other."""
    base, changes = NETWORKS[name]
    study = load_study(base, ["threads=1", *changes])
    plan = prepare(study, data, RUNS / name)
    quantised = networks(plan, study).quantised
    network, context = quantised.network, plan.context
    x, y = context.data.test_x[:IMAGES], context.data.test_y[:IMAGES]
    test = Batches(x, y, EVALUATION_BATCH)
    found = points.kept(FILE)
    entry = found.setdefault(name, {"images": len(y), "layouts": {}, "points": []})
    done = {(point["stuck"], point["share"], point["layout"]) for point in entry["points"]}
    mappings = {}
    for layout, (spare, _) in LAYOUTS.items():
        hardware = study.hardware.replace(crossbar__spare_cols=spare)
        mapped = quantised.mapped(plan.placement.on(hardware), plan.network.example)
        mapped, activity = calibrate(mapped, network, context.calibration_batches())
        mappings[layout] = mapped
        entry["layouts"][layout] = {
            "tiles_per_plane": mapped.tiles_per_plane,
            "free_bit_lines": free_bit_lines(mapped),
            "exact": chip_accuracy(mapped, network, test),
            **cost(one_chip(mapped, layout, 0.05, 0.5, 0), activity),
        }
    for (stuck, high), share, layout in itertools.product(AT_G_MAX.items(), SHARES, LAYOUTS):
        if (stuck, share, layout) in done or (high != 0.5 and LAYOUTS[layout][0]):
            continue
        chips = [one_chip(mappings[layout], layout, share, high, chip) for chip in range(CHIPS)]
        point = {
            "stuck": stuck,
            "share": share,
            "layout": layout,
            "accuracies": [chip_accuracy(one, network, test, chip=c) for c, one in enumerate(chips)],
            "weight_error": mean(error(one, c) for c, one in enumerate(chips)),
        }
        entry["points"].append(point)
        points.keep(FILE, found)
        print(f"{name}, {stuck}, {100 * share:g} %, {layout}: {mean(point['accuracies']):.2f} %", flush=True)
    points.keep(FILE, found)


def rows() -> list[str]:
    """Markdown rows, half of the stuck cells at each end: mean accuracy by layout, half its 95 % interval."""
    table = []
    for name, entry in points.kept(FILE).items():
        half = [point for point in entry["points"] if point["stuck"] == "half at each"]
        for share in SHARES:
            chips = {point["layout"]: point["accuracies"] for point in half if point["share"] == share}
            cells = [f"{mean(chips[layout]):.2f} ± {half_width(chips[layout]):.2f}" for layout in LAYOUTS]
            table.append(f"| {name} | {100 * share:g} % | {' | '.join(cells)} |")
    return table


if __name__ == "__main__":
    points.main(measure, rows)
