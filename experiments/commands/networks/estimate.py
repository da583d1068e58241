"""`xbar estimate`: what the networks and designs that it is given cost, as text, JSON, CSV or a figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro


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
    batch_norm: Literal["fold", "digital"] | None = None
    """Fold batch norm into the layer that it follows, or leave it digital.
    By default a study or a run says which, and other networks have it folded."""
    input: str = ""
    """Size of one input without the batch, such as 3x224x224; built-in networks and most programs have one.
    Write int64:128 for token ids, commas between several inputs, and names as in input_ids=int64:128."""
    weights: Path | None = None
    """Weights of the network: safetensors, or what torch.save(network.state_dict(), ...) wrote.
    By default those that a study names in train.weights."""
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
        from experiments.commands.networks.estimating import write_estimate

        write_estimate(self)
