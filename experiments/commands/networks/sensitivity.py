"""`xbar sensitivity`: what a network loses when one layer alone is pruned, as text, CSV and figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.commands.arguments import check_figure, check_file


@dataclass(frozen=True)
class SensitivityCommand:
    """Measure what a trained network loses when one layer alone is pruned, on the validation part."""

    what: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="WHAT")]
    """A study, or a network (built-in name, path/net.py:function, path/program.pt2)."""
    weights: Path | None = None
    """Trained weights: safetensors (stages/train-*.safetensors of a run), or what torch.save wrote."""
    data: Path | None = None
    """Folder with the files of the data set, such as MNIST's IDX files or CIFAR-10's binary ones."""
    data_set: str = ""
    """Data set of a network, by name (`xbar list`). A study has its own."""
    metric: str = ""
    """Metric: a name (`xbar list`) or path/mine.py:name; by default accuracy."""
    hardware: str = ""
    """Design of a network: a name (`xbar list`) or a TOML file; by default admm-32x32."""
    kind: Literal["tile-columns", "tile-rows", "tiles", "irregular", "filters", "channels", "shapes"] = (
        "tile-columns"
    )
    """What is pruned: parts of tiles, single weights, or filters, input channels, word lines of a layer."""
    rates: str = "2,4,8"
    """Rates to prune to, with commas between them: at rate r a layer keeps 1/r of its weights."""
    images: int | None = None
    """Measure on this many images of the validation part, the first ones; by default on all."""
    batch_norm: Literal["fold", "digital"] = "digital"
    """Prune with batch norm digital, as a study does, or folded into the layer that it follows."""
    trust: bool = False
    """Read a .pt2 file even if its code has to run. Only for files of people whom you trust."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the study or its hardware, as often as needed: --set hardware.crossbar.rows=64"""
    csv: Path | None = None
    """Write the rows into this file."""
    figure: Path | None = None
    """Draw the losses into this file, .svg, .png or .pdf."""

    def __call__(self) -> None:
        from experiments.commands.networks.sensitivity_table import (
            measured,
            parsed_rates,
            text,
            trained,
            write_csv,
        )
        from experiments.figures.plots import save_as
        from experiments.figures.sensitivity_plots import sensitivity_figure

        check_figure(self.figure)
        check_file("--csv", self.csv)
        rates = parsed_rates(self.rates)
        network = trained(
            *(self.what, self.data, self.data_set, self.weights, self.hardware, self.set),
            *(self.batch_norm, self.metric),
        )
        rows = measured(network, self.kind, rates, self.images)
        if self.csv is not None:
            write_csv(rows, self.csv, network.label)
        if self.figure is not None:
            save_as(sensitivity_figure(rows, network.label), self.figure)
        images = self.images or len(network.data.val_y)
        print(text(self.what, self.kind, rows, images, network.label))
