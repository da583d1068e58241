"""The table of reproductions from the kept runs: `python results/table.py`.

All rows stand on docs/reproductions.md. Those of the README are the few that decide, and
`python results/table.py readme` prints them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean

from experiments.results.result import Result

HERE = Path(__file__).parent
CIFAR = "CIFAR-10 (JPEG copy)"

DECISIVE = (
    "lenet5-mnist: rate",
    "lenet5-mnist: accuracy, ideal chip",
    "lenet5-mnist: mean of 20 chips, 20 %",
    "lenet5-mnist: power",
    "lenet5-mnist: area",
    "LeNet-5 on MNIST, progressive ADMM, irregular, 246x",
    "LeNet-5 on MNIST, global sparse momentum SGD",
    "LeNet-5 on MNIST, pruned 163x",
    "LeNet-5 on MNIST, progressive ADMM, tile columns",
    f"VGG-16 at quarter width on {CIFAR}, ADMM, tile columns",
    "VGG-16 for CIFAR-10 at 29.81x, full width, masks of untrained weights, no data: power",
    "VGG-16 for CIFAR-10 at 29.81x, full width, masks of untrained weights, no data: area",
)
"""Beginnings of the README's rows: each has a published figure beside it, but for the one with noise."""


def kept_runs(pattern: str) -> list[Result]:
    """Results of all seeds of one study."""
    return [
        Result.from_dict(json.loads(path.read_text(encoding="utf-8")), path.name)
        for path in sorted(HERE.glob(pattern))
    ]


def figures(runs: list[Result], figure: Callable[[Result], float]) -> str:
    """A figure of each run: its mean over the seeds, and the seeds' own where there are several."""
    values = [figure(run) for run in runs]
    each = f" ({', '.join(f'{v:.2f}' for v in values)})" if len(values) > 1 else ""
    return f"{mean(values):.2f}{each}"


def with_data_named(label: str) -> str:
    """A study's name or description that says which copy of CIFAR-10 it was trained on."""
    if "CIFAR-10" in label:
        return label.replace("CIFAR-10", CIFAR)
    return f"{label} on {CIFAR}" if "cifar10" in label else label


def readme_rows() -> list[str]:
    """The rows whose labels begin with one of `DECISIVE`, in the order of the page.

    Raises
    ------
    ValueError
        Where a beginning fits no row, or more than one.
    """
    chosen = [[row for row in rows() if row.startswith(f"| {label}")] for label in DECISIVE]
    for label, found in zip(DECISIVE, chosen, strict=True):
        if len(found) != 1:
            raise ValueError(f"{label}: {len(found)} rows begin so; must be one")
    return [row for found in chosen for row in found]


def rows() -> list[str]:
    """Markdown rows: what, published, ours, command."""
    table = []
    for pattern, command, accuracy, rate in (
        ("lenet5-mnist-seed*.json", "xbar run lenet5-mnist", "99.15 %", "17.69"),
        ("lenet5-mnist-37x-seed*.json", "xbar run lenet5-mnist-37x", "", "37.06"),
        ("lenet5-fashion-seed*.json", "xbar run lenet5-fashion", "", ""),
        ("vgg16-cifar10-seed*.json", "xbar run vgg16-cifar10", "", ""),
        ("resnet18-cifar10-seed*.json", "xbar run resnet18-cifar10", "", ""),
    ):
        runs = kept_runs(pattern)
        if not runs:
            continue
        cuts = {"power": "96.96 %", "area": "93.97 %"} if rate == "17.69" else {}
        lines = [
            ("baseline", "", f"{figures(runs, lambda run: run.accuracy.float)} %"),
            (
                "rate over all weights",
                rate and f"{rate}x",
                f"{figures(runs, lambda run: run.compression.rate)}x",
            ),
            ("accuracy, quantised", accuracy, f"{figures(runs, lambda run: run.accuracy.quantised)} %"),
            ("accuracy, ideal chip", accuracy, f"{figures(runs, lambda run: run.accuracy.ideal_chip)} %"),
        ]
        for index, case in enumerate(runs[0].accuracy.chips_cases):
            ours = figures(runs, lambda run, index=index: run.accuracy.chips_cases[index].mean)
            lines.append((f"mean of {case.n} chips, {case.name}", "", f"{ours} %"))
        for cut in ("power", "area"):
            ours = figures(runs, lambda run, cut=cut: getattr(run.estimate.reduction_percent, cut))
            lines.append((f"{cut} reduction", cuts.get(cut, ""), f"{ours} %"))
        minutes = ", ".join(f"{run.seconds['total'] / 60:.0f}" for run in runs)
        lines.append(("minutes on 2 cores, by seed", "", minutes))
        name = with_data_named(runs[0].name)
        table += [f"| {name}: {what} | {theirs} | {ours} | `{command}` |" for what, theirs, ours in lines]
    table += [row for run in kept_runs("accuracy-under-noise.json") for row in under_noise(run)]
    return table + methods() + reductions()


METHODS = {
    "lenet5-admm-71x": "71.2x at 99.2 %",
    "lenet5-progressive-167x": "167x at 99.1 %",
    "lenet5-progressive-246x": "246x at 99.1 %",
    "lenet5-gsm-125x": "125x, no loss, no retraining",
    "lenet5-binary": "99.21 %",
    "lenet5-cluster-1910x": "1,910x of storage without indices at 99.0 %",
    "lenet5-budget-2000x": "2,120x of storage without indices at 99.0 %",
    "lenet5-crossbar-105x": "105.5x at a loss below 1 point",
    "vgg16-cifar10-crossbar-10x": "at full width 29.81x at a loss of 0.5 point",
    "vgg16-cifar10-structured-4x": "AlexNet's convolutions 15x at a loss of 2 points",
    "resnet20-cifar10-gsm-8x": "ResNet-56 and DenseNet-40 8x to 10x, no loss, no retraining",
    "vit-digits-4x": "",
}
"""Published figures of the compression methods, by study."""


def methods() -> list[str]:
    """A row for each study of a compression method."""
    table = []
    for study, published in METHODS.items():
        for run in kept_runs(f"{study}-seed*.json"):
            accuracy, stored = run.accuracy, run.compression.storage
            ours = (
                f"{run.compression.rate:.1f}x: {accuracy.compressed:.2f} % of {accuracy.float:.2f} %, "
                f"on levels {accuracy.quantised:.2f} %, ideal chip {accuracy.ideal_chip:.2f} %, "
                f"{accuracy.chips.n} chips {accuracy.chips.mean:.2f} %; storage "
                f"{stored.rate_without_indices:,.0f}x, with {stored.index_bits}-bit indices "
                f"{stored.rate_with_indices:,.0f}x; {run.seconds['total'] / 60:.0f} minutes"
            )
            label = with_data_named(run.study.description)
            table.append(f"| {label}, seed {run.seed} | {published} | {ours} | `xbar run {study}` |")
    return table


def reductions() -> list[str]:
    """A row for each published reduction of a network that is not trained here."""
    published = {"VGG-16": ("29.81x", 98.38, 98.28), "ResNet-18": ("20.88x", 96.95, 97.46)}
    table = []
    path = HERE / "reductions.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"networks": {}}
    if found["networks"]:
        for name, (rate, *printed) in published.items():
            before, after = (
                found["networks"][name]["steps"][s] for s in ("9 bits, not pruned", "pruned and packed")
            )
            label = f"{name} for CIFAR-10 at {rate}, full width, masks of untrained weights, no data"
            command = "`python results/reductions.py`"
            for what, key, theirs in zip(("power", "area"), ("energy_nj", "area_mm2"), printed, strict=True):
                ours = 100 * (1 - after[key] / before[key])
                table.append(f"| {label}: {what} reduction | {theirs} % | {ours:.2f} % | {command} |")
    return table


def under_noise(run: Result) -> list[str]:
    """A row for each curve: the means over chips at its values."""
    table = []
    for number, curve in enumerate(run.accuracy.under_noise):
        labels, means = (
            ", ".join(values)
            for values in zip(*((p.name, f"{p.mean:.2f}") for p in curve.points), strict=True)
        )
        command = "" if number else f"`xbar run {run.name}`"
        table.append(f"| {curve.name}: {labels} | | {means} % | {command} |")
    return table


if __name__ == "__main__":
    print("\n".join(readme_rows() if sys.argv[1:] == ["readme"] else rows()))
