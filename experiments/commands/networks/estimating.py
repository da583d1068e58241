"""The estimates that `xbar estimate` is asked for, as text, JSON, CSV and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from experiments.commands.arguments import check_figure, check_file
from experiments.commands.networks.estimate import EstimateCommand
from experiments.commands.networks.estimate_text import (
    explain,
    lossless_text,
    programming_text,
    text,
    write_csv,
)
from experiments.commands.networks.mappings import is_drawn, mapped, weights_of
from experiments.inputs.examples import parsed_inputs
from experiments.run_folder.finished import finished_run, first_chip, run_activity
from power.counts.duplication import duplicate
from power.counts.resolution import with_lossless_bits
from power.estimates.programming import programming
from power.estimates.servers import layer_interval
from power.estimates.table import estimate
from power.estimates.totals import Estimate, at_one_rate
from xbar.hardware.errors import XbarError


def write_estimate(asked: EstimateCommand) -> None:
    """Print the estimate that the arguments ask for, and write its files.

    Raises
    ------
    XbarError
        For options that exclude each other, and for what cannot be had, does not fit, or has no price.
    """
    inputs = parsed_inputs(asked.input)
    check_figure(asked.figure)
    check_figure(asked.floorplan, "--floorplan")
    check_file("--csv", asked.csv)
    if asked.json and asked.explain:
        raise XbarError("--json, --explain: choose one; the JSON has the prices and their sources")
    is_run = Path(asked.what).is_dir()
    if asked.programming and not is_run:
        raise XbarError("--programming: needs weights, and so the folder of a finished run")
    weights = asked.weights or weights_of(asked.what, asked.set)
    drawn = not is_run and weights is None and is_drawn(asked.what, asked.set)
    sides = mapped(
        *(asked.what, asked.hardware, asked.against, asked.width, inputs, asked.set),
        *(asked.batch_norm, asked.weights, drawn),
    )
    notes = [lossless_text(sides)]
    case = asked.case or ("mean" if drawn else "worst")
    if drawn:
        notes.append(
            f"weights: the network's function draws others each time, so that the {case} case is taken; "
            "--weights FILE gives those that you mean"
        )
    elif weights is not None and asked.case is None:
        notes.append(
            "inputs: the worst case, every phase at v_read, as with any weights that are known; --case "
            "mean takes half of them, and the folder of a run has those that were measured"
        )
    if asked.lossless_adc:
        sides = {name: with_lossless_bits(one) for name, one in sides.items()}
    if asked.arrays is not None:
        sides = {name: duplicate(one, asked.arrays, layer_interval) for name, one in sides.items()}
    activity = run_activity(Path(asked.what)) if is_run else None
    try:
        results = {name: estimate(one, activity, asked.image_rate, case=case) for name, one in sides.items()}
        if asked.image_rate is None:
            results = dict(zip(results, at_one_rate(*results.values()), strict=True))
    except XbarError as error:
        raise XbarError(f"--lossless-adc: {error}" if asked.lossless_adc else str(error)) from None
    _write(asked, results)
    costs = {}
    if asked.programming:
        study, _ = finished_run(Path(asked.what))
        costs = {name: programming(first_chip(study, one)) for name, one in sides.items()}
    if asked.json:
        plain = {name: result.to_dict() for name, result in results.items()}
        for name, result in results.items():
            plain[name]["placement"] = result.placement()
        for name, cost in costs.items():
            plain[name]["programming"] = cost.to_dict()
        print(json.dumps(plain, indent=1))
    elif asked.explain:
        print("\n\n".join(explain(n, r, asked.explain) for n, r in results.items()))
    else:
        notes += [programming_text(cost) for cost in costs.values()]
        print(text(asked.what, results, asked.layers, notes))


def _write(asked: EstimateCommand, results: Mapping[str, Estimate]) -> None:
    """Write the files that were asked for."""
    if asked.csv is not None:
        write_csv(results, asked.csv)
    if asked.figure is not None:
        from experiments.figures.estimate_plots import estimate_figure
        from experiments.figures.plots import save_as

        save_as(estimate_figure(results), asked.figure)
    if asked.floorplan is not None:
        from experiments.figures.floorplan_plot import floorplan_figure
        from experiments.figures.plots import save_as

        plans = {name: result.floorplan for name, result in results.items()}
        save_as(floorplan_figure(plans), asked.floorplan)
