"""Accuracy of chips after retraining with their noise, and without: `noise-aware.json`.

    python results/noise_aware.py measure NETWORK [DATA]
    python results/noise_aware.py rows

The first compresses the network once in runs/noise-aware, retrains it for each seed without noise and with
each noise, in the same epochs at the same rate, and measures both on fresh chips; what the file has is not
measured again. The second prints the table of docs/physics.md.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from statistics import mean

import points

from experiments.inputs.batches import Batches
from experiments.plans.context import EVALUATION_BATCH
from experiments.stages.compress import compress
from experiments.stages.quantise import quantise
from experiments.stages.run import prepare
from experiments.stages.train import train
from experiments.studies.study import load_study
from mapping import calibrate, chip_accuracy
from mapping.monte_carlo.sampling import half_width
from xbar import ProgrammingNoise

FILE = Path(__file__).with_name("noise-aware.json")
RUNS = Path(__file__).parents[1] / "runs" / "noise-aware"
NETWORKS = {
    "digits": ("quantise.retrain_epochs=30", "quantise.retrain_lr=5e-3"),
    "lenet5-mnist-37x": ("quantise.retrain_epochs=3", "quantise.retrain_lr=1e-3"),
}
"""Studies, and the retraining on levels that both sides have; it starts from the compressed network."""
NOISES = {
    "10 % log-normal": ProgrammingNoise("lognormal", 0.1),
    "20 % log-normal": ProgrammingNoise("lognormal", 0.2),
    "30 % log-normal": ProgrammingNoise("lognormal", 0.3),
    "5 % of the range": ProgrammingNoise("gaussian", 0.05, relative_to="range"),
}
SEEDS, CHIPS, IMAGES = (0, 1, 2), 10, 2000


def measure(name: str, data: Path | None) -> None:
    """Add the points of one network to the file, one after the other."""
    changes = ["threads=1", "quantise.epochs=0", *NETWORKS[name]]
    study = load_study(name, changes, seed=0)
    plan = prepare(study, data, RUNS / name)
    context, network = plan.context, plan.network
    trained = train(context, network, study.train)
    compressed = compress(context, network, plan.rules, study.compress, trained)
    x, y = context.data.test_x[:IMAGES], context.data.test_y[:IMAGES]
    test = Batches(x, y, EVALUATION_BATCH)
    found = points.kept(FILE)
    entry = found.setdefault(name, {"images": len(y), "changes": changes, "points": []})
    done = {(point["noise"], point["retrained"], point["seed"]) for point in entry["points"]}
    for seed, (noise, programming) in itertools.product(SEEDS, NOISES.items()):
        for retrained, used in (("without", ProgrammingNoise()), ("with", programming)):
            if (noise, retrained, seed) in done:
                continue
            with_noise = dataclasses.replace(study.quantise, noise=used)
            seeded = dataclasses.replace(context, seed=seed)
            quantised = quantise(seeded, network, plan.placement, with_noise, plan.last, compressed)
            hardware = study.hardware.replace(device__programming=programming)
            mapped = quantised.mapped(plan.placement.on(hardware), network.example)
            mapped, _ = calibrate(mapped, quantised.network, context.calibration_batches())
            chips = [
                chip_accuracy(mapped, quantised.network, test, seed=1 + seed, chip=chip)
                for chip in range(CHIPS)
            ]
            entry["points"].append(
                {"noise": noise, "retrained": retrained, "seed": seed, "accuracies": chips}
            )
            points.keep(FILE, found)
            print(f"{name}, seed {seed}, {noise}, {retrained}: {mean(chips):.2f} %", flush=True)


def rows() -> list[str]:
    """Markdown rows: network, noise, mean over all chips after retraining without and with it, and the gain
    with that of each seed that has both; chips of both sides have the same keys of noise."""
    table = []
    for name, entry in points.kept(FILE).items():
        chips = {(p["noise"], p["retrained"], p["seed"]): p["accuracies"] for p in entry["points"]}
        for noise in NOISES:
            seeds = [s for s in SEEDS if (noise, "without", s) in chips and (noise, "with", s) in chips]
            sides = [[chips[noise, kind, seed] for seed in seeds] for kind in ("without", "with")]
            pooled = [list(itertools.chain(*side)) for side in sides]
            gains = [mean(after) - mean(before) for before, after in zip(*sides, strict=True)]
            cells = [f"{mean(side):.2f} ± {half_width(side):.2f}" for side in pooled]
            each = ", ".join(f"{gain:+.2f}" for gain in gains)
            table.append(f"| {name} | {noise} | {' | '.join(cells)} | {mean(gains):+.2f} ({each}) |")
    return table


if __name__ == "__main__":
    points.main(measure, rows)
