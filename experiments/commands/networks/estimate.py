"""`xbar estimate`: what the networks and designs that it is given cost, as text, JSON, CSV or a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.commands.arguments import check_figure, check_file
from experiments.commands.networks.estimate_text import (
    explain,
    lossless_text,
    programming_text,
    text,
    write_csv,
)
from experiments.commands.networks.mappings import is_drawn, mapped
from experiments.inputs.examples import parsed_inputs
from experiments.run_folder.finished import finished_run, first_chip, run_activity
from mapping.lowering.form import BatchNormChoice
from power.counts.duplication import duplicate
from power.counts.resolution import with_lossless_bits
from power.estimates.programming import programming
from power.estimates.servers import layer_interval
from power.estimates.table import estimate
from power.estimates.totals import Estimate, at_one_rate
from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class EstimateCommand:
    """Estimate area, energy, power and latency of a network on crossbars, line by line. Nothing is run."""

    what: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="WHAT")]
    """A network (built-in name, path/net.py:function, path/program.pt2), a study, or the folder of a run."""
    hardware: str = ""
    """Name of a design (`xbar list`), or a TOML file; by default admm-32x32, or that of the study or run."""
    against: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Another design, or a TOML file, to compare with, as often as needed: --against isaac"""
    arrays: int | None = None
    """Copy the slowest layers, as long as all layers together fill at most this many arrays."""
    lossless_adc: bool = False
    """Give each layer the fewest ADC bits that lose nothing."""
    programming: bool = False
    """Print time and energy of writing a chip, too, for the folder of a run."""
    width: float = 1.0
    """Factor on the channels of a built-in network."""
    batch_norm: BatchNormChoice | None = None
    """Fold batch norm into the layer that it follows, or leave it digital.
    By default a study or a run says which, and other networks have it folded."""
    input: str = ""
    """Size of one input without the batch, such as 3x224x224; built-in networks and most programs have one.
    Write int64:128 for token ids, commas between several inputs, and names as in input_ids=int64:128."""
    weights: Path | None = None
    """Weights of the network: safetensors, or what torch.save(network.state_dict(), ...) wrote."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the hardware, as often as needed: --set hardware.adc.bits=8"""
    case: Literal["worst", "mean"] | None = None
    """Case that is assumed for inputs and weights that are not known; by default the worst.
    Where the function of a network draws other weights each time, it is the mean."""
    image_rate: float | None = None
    """Images a second at which energy and power are given; by default the most that all designs can do."""
    layers: bool = False
    """Print a table by layer, too."""
    explain: str = ""
    """Print formula, numbers and source of one component, layer by layer."""
    trust: bool = False
    """Read a .pt2 file even if its code has to run. Only for files of people whom you trust."""
    json: bool = False
    """Print JSON."""
    csv: Path | None = None
    """Write every row of the estimate into this file."""
    figure: Path | None = None
    """Draw area and energy by layer and component into this file, .svg, .png or .pdf."""
    floorplan: Path | None = None
    """Draw the layers on the mesh of an architecture that has one, and their traffic, into this file."""

    def __call__(self) -> None:
        inputs = parsed_inputs(self.input)
        check_figure(self.figure)
        check_figure(self.floorplan, "--floorplan")
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
        elif self.weights is not None and self.case is None:
            notes.append(
                "inputs: the worst case, every phase at v_read, as with any weights that are known; --case "
                "mean takes half of them, and the folder of a run has those that were measured"
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
        self._write(results)
        costs = {}
        if self.programming:
            study, _ = finished_run(Path(self.what))
            costs = {name: programming(first_chip(study, one)) for name, one in sides.items()}
        if self.json:
            plain = {name: result.to_dict() for name, result in results.items()}
            for name, result in results.items():
                plain[name]["placement"] = result.placement()
            for name, cost in costs.items():
                plain[name]["programming"] = cost.to_dict()
            print(json.dumps(plain, indent=1))
        elif self.explain:
            print("\n\n".join(explain(n, r, self.explain) for n, r in results.items()))
        else:
            notes += [programming_text(cost) for cost in costs.values()]
            print(text(self.what, results, self.layers, notes))

    def _write(self, results: Mapping[str, Estimate]) -> None:
        """Write the files that were asked for."""
        if self.csv is not None:
            write_csv(results, self.csv)
        if self.figure is not None:
            from experiments.figures.estimate_plots import estimate_figure
            from experiments.figures.plots import save_as

            save_as(estimate_figure(results), self.figure)
        if self.floorplan is not None:
            from experiments.figures.floorplan_plot import floorplan_figure
            from experiments.figures.plots import save_as

            plans = {name: result.floorplan for name, result in results.items()}
            save_as(floorplan_figure(plans), self.floorplan)
