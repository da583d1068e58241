"""How much a network loses where one layer alone, or one group of coupled layers, is projected onto a set.

Layers whose outputs are added together, as at the end of a residual block, lose the same filters or none is
removed: they are one group, and the energy of a filter is the sum over its members. The set then lies on
the members' matrices one above the other, a column a filter.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn

from mapping.constraints.constraint import Constraint, check_rate
from mapping.constraints.sparsity import BlockSparse
from mapping.network.gemm import Layer, finite_gemm, from_gemm, mappable_layers, to_gemm
from mapping.network.inputs import Inputs
from mapping.network.modules import copy_of
from mapping.smaller_networks.channel_graph import ChannelGraph, Kind, channel_axis, channel_graph
from mapping.training.loop import Progress
from xbar.hardware.errors import XbarError, unknown_name

Family = Callable[[float], Constraint]
"""Constraint by the share of weights that it keeps."""

PASSING = (Kind.NORM, Kind.POINTWISE, Kind.AVERAGE, Kind.MAXIMUM)
"""Kinds of operators that leave channels in their places."""

TOGETHER = " + "
"""What stands between the names of layers that are pruned together, in the name of their group."""


@dataclass(frozen=True)
class LayerLoss:
    """The metric of a network in which one layer, or group of layers, is projected onto a set.

    Parameters
    ----------
    layer
        Name of the layer or group.
    rate
        Rate that was asked for: the constraint's `keep` is 1/rate.
    kept, total
        Weights that stayed, and all weights, of the layer or group.
    value, unpruned
        What `measure` gave of the network with this layer projected, and with none.
    higher_is_better
        Direction of `value`.
    """

    layer: str
    rate: float
    kept: int
    total: int
    value: float
    unpruned: float
    higher_is_better: bool = True

    @property
    def loss(self) -> float:
        """The loss against the unpruned network: positive where the metric is worse."""
        return self.unpruned - self.value if self.higher_is_better else self.value - self.unpruned


def sensitivity(
    model: nn.Module,
    measure: Callable[[nn.Module], float],
    families: Mapping[str, Family | tuple[int, int]],
    rates: Sequence[float],
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    higher_is_better: bool = True,
    progress: Progress | None = None,
) -> list[LayerLoss]:
    """Project each layer alone at each rate, and measure the network.

    Works on a copy, which is set back before each row: `model` is not touched, whatever `measure` does.

    Parameters
    ----------
    measure
        A function of a network that gives its accuracy [percent], or any other metric. It gets the copy.
    families
        By name of a layer, or of a group: the constraint by its keep, or the shape of the blocks (rows, cols)
        of a `BlockSparse`. Of a layer on its GEMM matrix (K, N); of a group on `stacked`.
    rates
        Each keeps 1/rate of the weights of the layer or group, at least 1.
    groups
        Names of the layers of each group.
    higher_is_better
        Direction of `measure`, such as ``metric.higher_is_better``; false for an error or a loss.
    progress
        ``progress(iterable, description, total)`` wraps the rows.

    Returns
    -------
    list
        A row a layer and rate, in the order of `families`, then of `rates`.

    Raises
    ------
    XbarError
        For an unknown layer, weights without values, a group whose layers differ in their number of filters,
        a rate below 1, or a measured value that is not a finite number.
    """
    groups = groups or {}
    for rate in rates:
        check_rate(rate)
    members = {name: tuple(groups.get(name, (name,))) for name in families}
    layers_with_values(model, [layer for names in members.values() for layer in names])
    trial, state = copy_of(model), model.state_dict()
    layers = mappable_layers(trial)
    for name, layer in layers.items():
        finite_gemm(layer, name)
    for names in members.values():
        stacked([layers[name] for name in names])
    unpruned = _measured(measure, trial, "the unpruned network")
    rows: list[LayerLoss] = []
    points: Iterable[tuple[str, float]] = [(name, rate) for name in families for rate in rates]
    if progress is not None:
        points = progress(points, "sensitivity", len(families) * len(rates))
    for name, rate in points:
        trial.load_state_dict(state)
        own = [layers[member] for member in members[name]]
        kept = _project(own, _constraint(families[name], 1 / rate))
        value = _measured(measure, trial, f"{name} at rate {rate:g}")
        total = sum(w.weight.numel() for w in own)
        rows.append(LayerLoss(name, rate, kept, total, value, unpruned, higher_is_better))
    return rows


def stacked(layers: Sequence[Layer]) -> torch.Tensor:
    """GEMM matrix (K, N) of one layer; of several, what they are made of, (rows, filters).

    Raises
    ------
    XbarError
        Where several layers differ in their number of filters.
    """
    if len(layers) == 1:
        return to_gemm(layers[0])
    filters = [_filters(layer) for layer in layers]
    if len(set(filters)) > 1:
        raise XbarError(f"group of layers with {filters} filters: must have one number of filters")
    return torch.cat([_by_filter(to_gemm(layer), filters[0]) for layer in layers])


def filters_together(layers: Sequence[Layer]) -> Family:
    """The family that keeps whole filters of a group of layers, by their energy in all of them."""
    rows = len(stacked(layers))
    return lambda keep: BlockSparse(rows, 1, keep)


def coupled_layers(model: nn.Module, example_input: Inputs) -> list[tuple[str, ...]]:
    """Groups of layers whose outputs meet channel by channel in one sum or other pointwise operation.

    Batch norms, activations and pooling pass channels on; where they are moved or reshaped they are lost.

    Parameters
    ----------
    example_input
        One batch of the network's input.

    Returns
    -------
    list
        Names of each group of two layers or more, in the order in which the layers run.

    Raises
    ------
    XbarError
        As `mapping.smaller_networks.channel_graph.channel_graph`.
    """
    graph = channel_graph(model, example_input)
    group_of: dict[str, list[str]] = {}
    carried: dict[fx.Node, str] = {}  # by node, one layer of the group whose channels its value has
    for node, kind in graph.kinds.items():
        if kind is Kind.LAYER:
            carried[node] = graph.owner(node)
            group_of.setdefault(carried[node], [carried[node]])
        elif kind in PASSING or node.target is operator.getitem:
            met = [carried[source] for source in _sources(node, kind, graph) if source in carried]
            if met:
                carried[node] = met[0]
            for other in met[1:]:
                if _channels(graph.layers[other]) == _channels(graph.layers[met[0]]):
                    _join(group_of, met[0], other)
    found = {id(group): group for group in group_of.values() if len(group) > 1}
    order = list(group_of)
    return [tuple(sorted(group, key=order.index)) for group in found.values()]


def layers_with_values(model: nn.Module, names: Iterable[str]) -> dict[str, Layer]:
    """Layers of a network by their names.

    Raises
    ------
    XbarError
        For a name of no layer, or weights without values (device meta).
    """
    layers = mappable_layers(model)
    for name in names:
        if name not in layers:
            raise unknown_name("layer", name, layers)
        if layers[name].weight.is_meta:
            raise XbarError(f"{name}: its weights have no values (device meta); load them first")
    return {name: layers[name] for name in names}


def _measured(measure: Callable[[nn.Module], float], model: nn.Module, what: str) -> float:
    value = float(measure(model))
    if not math.isfinite(value):
        raise XbarError(f"measure gave {value} of {what}: must be a finite number")
    return value


def _constraint(family: Family | tuple[int, int], keep: float) -> Constraint:
    return BlockSparse(*family, keep) if isinstance(family, tuple) else family(keep)


@torch.no_grad()
def _project(layers: Sequence[Layer], constraint: Constraint) -> int:
    """Project the weights of a layer or group in place; how many stay."""
    z, mask = constraint.project(stacked(layers))
    if len(layers) == 1:
        layers[0].weight.copy_(from_gemm(z, layers[0]))
        return int(mask.sum())
    rows = [layer.weight.numel() // _filters(layer) for layer in layers]
    for layer, part in zip(layers, torch.split(z, rows), strict=True):
        k, n = to_gemm(layer).shape
        matrix = part.reshape(k, -1, _filters(layer)).transpose(1, 2).reshape(k, n)
        layer.weight.copy_(from_gemm(matrix, layer))
    return int(mask.sum())


def _by_filter(matrix: torch.Tensor, filters: int) -> torch.Tensor:
    """(K, N) with all columns of a filter one above the other; only transposed convolutions have several."""
    return matrix.reshape(len(matrix), filters, -1).transpose(1, 2).reshape(-1, filters)


def _filters(layer: Layer) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _channels(layer: Layer) -> tuple[int, int]:
    """Axis and number of a layer's output channels."""
    return channel_axis(layer), _filters(layer)


def _sources(node: fx.Node, kind: Kind, graph: ChannelGraph) -> list[fx.Node]:
    """Inputs whose channels stand in the places of the output's."""
    if kind is not Kind.POINTWISE:
        return node.all_input_nodes[:1]
    shape = graph.values[node].shape
    return [n for n in node.all_input_nodes if getattr(graph.values[n], "shape", None) == shape]


def _join(group_of: dict[str, list[str]], a: str, b: str) -> None:
    """Make one group of those of two layers."""
    if group_of[a] is not group_of[b]:
        group_of[a] += group_of[b]
        group_of.update(dict.fromkeys(group_of[b], group_of[a]))
