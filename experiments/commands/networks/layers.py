"""`xbar layers`: what of a network goes onto crossbars, before anything runs, as data and in words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.commands.arguments import DEFAULT_DESIGN


@dataclass(frozen=True)
class LayersCommand:
    """Print what goes onto crossbars of a network: matrices, tiles, operations by layer. Nothing is run."""

    network: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NET")]
    """A built-in name (`xbar list`), path/net.py:function, or path/program.pt2."""
    hardware: str = DEFAULT_DESIGN
    """Name of a design (`xbar list`), or a TOML file."""
    width: float = 1.0
    """Factor on the channels of a built-in network."""
    input: str = ""
    """Size of one input without the batch, such as 3x224x224; built-in networks and most programs have one.
    Write int64:128 for token ids, commas between several inputs, and names as in input_ids=int64:128."""
    batch_norm: Literal["fold", "digital"] = "fold"
    """Fold batch norm into the layer that it follows, or leave it digital."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the hardware, as often as needed: --set hardware.crossbar.rows=128"""
    weights: Path | None = None
    """Weights of the network: safetensors, or what torch.save(network.state_dict(), ...) wrote."""
    trust: bool = False
    """Read a .pt2 file even if its code has to run. Only for files of people whom you trust."""
    json: bool = False
    """Print JSON."""
    neurosim: Annotated[Path | None, tyro.conf.arg(metavar="FILE.csv")] = None
    """Write the layers as NeuroSim's network file, too."""
    cimloop: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Write the layers as workloads of CiMLoop into a new folder, too."""

    def __call__(self) -> None:
        from experiments.commands.networks.layer_table import form_of, layers_of, text, write_shapes
        from experiments.inputs.examples import parsed_inputs
        from experiments.studies.designs import load_design
        from mapping.network.layer_shapes import layer_shapes

        inputs = parsed_inputs(self.input)
        if self.neurosim is not None or self.cimloop is not None:
            form, example = form_of(self.network, self.width, inputs, self.weights, self.batch_norm)
            write_shapes(layer_shapes(form, example), self.network, self.neurosim, self.cimloop)
        hardware = load_design(self.hardware, self.set)
        layers = layers_of(self.network, hardware, self.width, inputs, self.weights, self.batch_norm)
        print(json.dumps(layers, indent=1) if self.json else text(layers))
