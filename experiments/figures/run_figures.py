"""The figures of a run, from what its folder holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.noise_plots import noise_figures
from experiments.figures.plots import (
    accuracy_over_chips,
    admm_residuals,
    breakdown,
    conductance_histogram,
    masks_on_tiles,
    save,
)
from experiments.run_folder.finished import FinishedRun
from mapping.chips.chip import ProgrammedNetwork
from xbar.conductances.encoding import cell_states


def draw(run: FinishedRun, folder: Path) -> dict[str, str]:
    """Write all figures of a run into `folder`; their SVG text by name.

    Masks and conductances need the run's mapping; without it they are left out.
    """
    accuracy = run.result.accuracy
    parts = {name: side.by_component for name, side in run.result.estimate.sides.items()}
    figures = {
        "accuracy": accuracy_over_chips(accuracy.chips_cases, accuracy.ideal_chip, accuracy.metric),
        **noise_figures(run.result),
        "area": breakdown(parts, "area_mm2"),
        "energy": breakdown(parts, "energy_nj"),
    }
    rows = [
        {"phase": entry["stage"].removesuffix(" last"), **entry} for entry in run.log if "primal" in entry
    ]
    if rows:
        figures["residuals"] = admm_residuals(rows)
    if chip := run.chip():
        figures["masks"] = masks_on_tiles(chip.mapped)
        figures["conductances"] = _conductances(chip)
    for name, figure in figures.items():
        save(figure, folder, name)
    return {name: (folder / f"{name}.svg").read_text(encoding="utf-8") for name in figures}


def _conductances(chip: ProgrammedNetwork) -> Figure:
    """Histogram of all cells that hold a weight, or that are there for a masked one."""
    mapped = chip.mapped
    targets, programmed = [], []
    for name, layer in mapped.layers.items():
        encoding, device = layer.hardware.encoding, layer.hardware.device
        for band, g in zip(layer.bands, chip.conductances[name], strict=True):
            states = cell_states(layer.states(band.rows, band.cols), encoding, device)
            of_weights = g[..., : len(band.cols)]
            on = np.broadcast_to(band.built(), of_weights.shape) & (states >= 0)
            targets.append(device.conductances()[states[on]])
            programmed.append(of_weights[on])
    states_of_devices = np.unique(
        np.concatenate([layer.hardware.device.conductances() for layer in mapped.layers.values()])
    )
    return conductance_histogram(np.concatenate(targets), np.concatenate(programmed), states_of_devices)
