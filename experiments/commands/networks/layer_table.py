"""A network on crossbars before anything runs, as data, in words, and as files of other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.inputs.examples import Input
from experiments.inputs.networks import build_network, built_in_networks, example_input, network_file
from experiments.inputs.weights import form_with_weights
from experiments.results.result import DigitalOperator, Operations, UnknownOperator
from experiments.results.summary import coverage, operations_of
from experiments.results.text_table import text_table
from mapping.lowering.form import BatchNormChoice, crossbar_form
from mapping.network.gemm import mappable_layers, shown_name
from mapping.network.inputs import Inputs, tensors_of
from mapping.network.layer_shapes import (
    LayerShape,
    cimloop_problem,
    neurosim_network,
)
from mapping.network.modules import check_numbers
from mapping.tiles.mapped import MappedNetwork
from mapping.tiles.mapper import Choice, map_network
from mapping.tiles.trace import unreached
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError, naming
from xbar.hardware.files import to_dict, write_atomically


def layers_of(
    name: str,
    hardware: Hardware,
    width: float = 1.0,
    inputs: Sequence[Input] = (),
    weights: Path | None = None,
    batch_norm: BatchNormChoice = "fold",
) -> dict[str, Any]:
    """Layers, digital operators and totals of a network on a hardware, as plain data.

    An operation is a multiply-accumulate of a product, or an input element of any other operator, an image.

    Parameters
    ----------
    name, width
        As in `build_network`.
    inputs
        As in `example_input`.
    weights
        File of the network's weights; None: those that it has, and a built-in one has none.
    batch_norm
        As in `mapping.crossbar_form`.

    Raises
    ------
    XbarError
        For a network, weights or hardware that cannot be had, or do not fit.
    """
    form, example = form_of(name, width, inputs, weights, batch_norm)
    digital = left_digital(form, example)
    mapped = map_network(form, hardware, example, layers=digital, states=False)
    return _data(name, mapped, form, example) | {"not_reached": list(digital)}


def left_digital(form: nn.Module, example: Inputs) -> dict[str, Choice]:
    """Choices that leave digital the layers which eval mode does not reach, such as auxiliary heads."""
    return dict.fromkeys(unreached(form, mappable_layers(form), example), Choice(digital=True))


def form_of(
    name: str,
    width: float = 1.0,
    inputs: Sequence[Input] = (),
    weights: Path | None = None,
    batch_norm: BatchNormChoice = "fold",
    example: Inputs | None = None,
) -> tuple[nn.Module, Inputs]:
    """A network in the form that goes onto crossbars, only to be read, and an input; a built-in one has no
    values unless a file gives them.

    Parameters and errors are those of `layers_of`; `example`, a batch of one input, goes before `inputs`.
    """
    without_values = network_file(name) is None and weights is None
    with torch.device("meta" if without_values else "cpu"):
        network = build_network(name, width)
    example = example_input(name, network, inputs) if example is None else example
    if weights is not None:
        network = form_with_weights(network, example, weights)
    with naming(f"network {name}"):
        check_numbers(network)
    return crossbar_form(network, example, batch_norm=batch_norm, shares=True), example


def _data(name: str, mapped: MappedNetwork, form: nn.Module, example: Inputs) -> dict[str, Any]:
    found = to_dict(operations_of(mapped))
    operations = found["operations"]
    modules = mappable_layers(form)
    sizes = [list(x.shape[1:]) for x in tensors_of(example)]
    layers = []
    for layer in mapped.layers.values():
        crossbar = mapped.hardware.crossbar
        cells = len(layer.tiles) * crossbar.rows * crossbar.cols
        macs = layer.positions * layer.weights_total
        layers.append(
            {
                "layer": layer.name,
                "type": layer.kind,
                "weight": list(modules[layer.name].weight.shape),
                "k": layer.k,
                "n": layer.n,
                "groups": layer.groups,
                "positions": layer.positions,
                "tiles_per_plane": len(layer.tiles),
                "utilisation": layer.weights_total * mapped.hardware.encoding.slices / cells
                if cells
                else 0.0,
                "operations": macs,
                "share": macs / operations,
            }
        )
    return {
        "network": name,
        "input": sizes[0] if isinstance(example, torch.Tensor) else sizes,
        "hardware": mapped.hardware.name,
        "tile": [mapped.hardware.crossbar.rows, mapped.hardware.crossbar.cols],
        "layers": layers,
        **{key: found[key] for key in ("macs_share", "unknown", "digital")},
        "weights": mapped.weights_total,
        "tiles_per_plane": mapped.tiles_per_plane,
        "utilisation": mapped.utilisation,
        "operations": operations,
        "share": found["operations_share"],
    }


def _operations(data: dict[str, Any]) -> Operations:
    return Operations(
        operations=data["operations"],
        macs_share=data["macs_share"],
        digital=tuple(DigitalOperator(**row) for row in data["digital"]),
        unknown=tuple(UnknownOperator(**row) for row in data["unknown"]),
    )


def text(data: dict[str, Any]) -> str:
    """The data of `layers_of` as tables."""
    layers = [("layer", "type", "weight", "matrix K x N", "positions", "tiles", "used", "operations")]
    layers += [
        (
            shown_name(row["layer"]),
            row["type"],
            _sizes(row["weight"]),
            _matrix(row),
            f"{row['positions']:,}",
            f"{row['tiles_per_plane']:,}",
            f"{100 * row['utilisation']:.1f} %",
            _percent(row["share"]),
        )
        for row in data["layers"]
    ]
    digital = [("digital operator", "an image", "", "operations")]
    digital += [
        (row["operator"], f"{row['operations']:,}", row["unit"], _percent(row["share"]))
        for row in data["digital"]
    ]
    tile = _sizes(data["tile"])
    given = data["input"]
    several = given and isinstance(given[0], list)
    inputs = ", ".join(_sizes(one) or "1" for one in (given if several else [given]))
    idle = ", ".join(data["not_reached"])
    return "\n".join(
        [
            f"{data['network']}, input {inputs}, on {data['hardware']} (tiles of {tile})",
            coverage(_operations(data)),
            *([f"not reached in eval mode, and left digital: {idle}"] if idle else []),
            "",
            text_table(layers, "llllrrrr"),
            "",
            text_table(digital, "lrlr"),
            "",
            f"{len(data['layers'])} layers with {data['weights']:,} weights on {data['tiles_per_plane']:,} "
            f"tiles in each plane, {100 * data['utilisation']:.1f} % of their cells used",
            f"{data['operations']:,} operations an image, {_percent(data['share'])} of them on crossbars",
        ]
    )


def networks_table() -> str:
    """Built-in networks, the size of an input, and the number of parameters."""
    rows = []
    for name, entry in sorted(built_in_networks().items()):
        with torch.device("meta"):
            network = entry.construct()
        parameters = f"{sum(p.numel() for p in network.parameters()):,}"
        rows.append((f"  {name}", _sizes(entry.input_shape), parameters))
    return text_table(rows, "lrr")


def _matrix(row: dict[str, Any]) -> str:
    """The GEMM matrix, or those of the groups."""
    groups = row["groups"]
    return (f"{groups} of " if groups > 1 else "") + _sizes([row["k"], row["n"] // groups])


def _sizes(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if share >= 5e-5 else "< 0.01 %"


def write_shapes(
    shapes: Sequence[LayerShape], network: str, neurosim: Path | None, cimloop: Path | None
) -> None:
    """Write layers for NeuroSim and for CiMLoop, where a file or a folder is given.

    Raises
    ------
    XbarError
        For a file or folder that is there already, and a layer that a file cannot describe.
    """
    for path in (neurosim, cimloop):
        if path is not None and path.exists():
            raise XbarError(f"{path}: exists already; choose another")
    if neurosim is not None:
        write_atomically(neurosim, neurosim_network(shapes).encode())
    if cimloop is not None:
        cimloop.mkdir(parents=True)
        for number, shape in enumerate(shapes):
            name = Path(network.partition(":")[0]).stem
            text = cimloop_problem(shape, name)
            write_atomically(cimloop / f"{number:0{len(str(len(shapes) - 1))}}.yaml", text.encode())
