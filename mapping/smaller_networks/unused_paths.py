"""Unused paths: weights that a pruned network can lose without changing what it gives.

A weight is of use where its input can differ from zero, and its output is read, at the same place of the same
image. Two sweeps over the network's graph decide it, element by element:

- forward: which elements vary with the input. The others are constants, of the value that they have for any
  example; the zeros that pad a convolution are such. An input row that sees one constant everywhere goes into
  the bias, ``b' = b + c w``; at a border that is no longer so, its weights stay.
- backward: which elements are read, that is, reach an output through weights that are left.

In both, a weight is an edge or none, so that marks are carried by the operators themselves, run on 0 and 1,
and by their adjoints. The sweeps repeat until they find nothing more; all but odd cases take one of each.

Source: Ma et al., ASP-DAC 2020, arXiv:1908.10017 (unused-path removal). Its purification, which changes
outputs, is `mapping.smaller_networks.purification`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.utils._pytree import tree_leaves, tree_map_only

from mapping.network.gemm import Layer, from_gemm, groups_of, mappable_layers, to_gemm
from mapping.network.inputs import Inputs
from mapping.network.modules import copy_of
from mapping.smaller_networks.channel_graph import (
    ChannelGraph,
    Kind,
    apply_masks,
    channel_axis,
    channel_graph,
    check_same,
    moved,
    window_axes,
)

aten = torch.ops.aten

Marks = Any
"""Float64 tensors, not 0 where an element is marked, in the place of an operator's results."""


@dataclass(frozen=True)
class UsedPaths:
    """A network without its unused paths.

    Parameters
    ----------
    model
        Copy of the network: weights of no use are zero, and so are the biases of channels that are not read.
    masks
        True where a weight is left, by layer, (K, N) bool; never where the weight is zero.
    before, after
        Weights of each layer that are not zero.
    unread
        Output channels of a layer that nothing reads, (C_out,) bool; only of layers that were analysed.
    """

    model: nn.Module
    masks: dict[str, torch.Tensor]
    before: dict[str, int]
    after: dict[str, int]
    unread: dict[str, torch.Tensor]

    def __str__(self) -> str:
        rows = [(name, count, self.after[name]) for name, count in self.before.items()]
        rows.append(("all layers", sum(self.before.values()), sum(self.after.values())))
        width = max(len(name) for name, _, _ in rows)
        return "\n".join(f"{name:{width}}  {before:>11,} -> {after:>11,}" for name, before, after in rows)


def remove_unused_paths(
    model: nn.Module, example_input: Inputs, masks: Mapping[str, torch.Tensor] | None = None
) -> UsedPaths:
    """Copy of a pruned network without the weights that change nothing of its outputs in eval mode.

    The network is best in `mapping.crossbar_form`; a batch norm that is left is known as a gain and a shift.
    A weight that is held twice, or used outside its layer, is kept; that of a layer that does not run is not.
    What holds, holds for inputs of the example's shape and any batch: the size of an image decides what lies
    at its border.

    Parameters
    ----------
    example_input
        One batch of the network's input.
    masks
        True where a weight is kept, by layer, (K, N) bool; weights outside, and those that are zero, count as
        removed already.

    Raises
    ------
    XbarError
        For a network without layers, an example that it does not take, masks that do not fit, a forward that
        `torch.export` cannot follow, and where the result gives other outputs than the network for the
        example.

    Notes
    -----
    Unused-path removal of Ma et al., ASP-DAC 2020, arXiv:1908.10017, with constants folded.
    """
    given = copy_of(model)
    apply_masks(given, masks or {})
    used = copy_of(given)
    before = after = _weights(given)
    while True:
        paths, last, after = _swept(used, example_input), after, _weights(used)
        if after == last:
            break
    check_same(given, used, example_input, "removal of unused paths")
    return UsedPaths(
        used,
        {name: to_gemm(layer) != 0 for name, layer in mappable_layers(used).items()},
        before,
        after,
        {name: ~read for name, read in paths.read_channels.items()},
    )


def _swept(model: nn.Module, example_input: Inputs) -> _Paths:
    paths = _Paths(channel_graph(model, example_input))
    paths.sweep_forward()
    paths.fold_constants()
    paths.sweep_backward()
    paths.drop()
    return paths


def _weights(model: nn.Module) -> dict[str, int]:
    """Weights of each layer that are not zero."""
    return {name: int((layer.weight != 0).sum()) for name, layer in mappable_layers(model).items()}


class _Paths:
    """The two sweeps; weights and biases are those of the graph's layers, which are altered in place."""

    def __init__(self, graph: ChannelGraph) -> None:
        self.graph = graph
        self.varies: dict[fx.Node, Marks] = {}
        self.connections = {name: (x.weight.detach() != 0).double() for name, x in graph.layers.items()}
        self.alive = {
            name: torch.zeros_like(edges, dtype=torch.bool) for name, edges in self.connections.items()
        }
        self.read_channels = {name: self._no_channels(layer) for name, layer in graph.layers.items()}

    @torch.no_grad()
    def sweep_forward(self) -> None:
        """Mark the elements that vary with the input."""
        for node in self.graph.nodes:
            value = self.graph.values.get(node)
            if node.op == "placeholder":
                self.varies[node] = _full(value, float(node not in self.graph.names))
            elif node.op == "call_function":
                tags = getattr(node.target, "tags", ())
                if self.graph.kinds[node] is Kind.OTHER and torch.Tag.nondeterministic_seeded in tags:
                    self.varies[node] = _full(value, 1.0)
                else:
                    self.varies[node] = _marked(self._passed(node, self.varies, self.connections))

    @torch.no_grad()
    def fold_constants(self) -> None:
        """Move what rows of one constant add into the biases, and cut the rows."""
        constants: dict[str, torch.Tensor] = {}
        for node, kind in self.graph.kinds.items():
            name = self.graph.owner(node) if kind is Kind.LAYER else ""
            if name:
                seen = self._constant_rows(node, self.graph.layers[name])
                before = constants.get(name, seen)
                constants[name] = torch.where(before == seen, seen, torch.nan)
        for name, rows in constants.items():
            layer = self.graph.layers[name]
            matrix = to_gemm(layer)
            by_group = rows.reshape(groups_of(layer), len(matrix)).t()
            seen = by_group.repeat_interleave(matrix.shape[1] // by_group.shape[1], 1)
            folded = (matrix != 0) & ~seen.isnan()
            if not folded.any():
                continue
            shift = torch.where(folded, matrix * seen, 0.0).sum(0)
            if shift.any():
                held = layer.weight if layer.bias is None else layer.bias
                total = shift if layer.bias is None else layer.bias + shift
                layer.bias = nn.Parameter(total.to(held.dtype), held.requires_grad)
            layer.weight.copy_(from_gemm(matrix.masked_fill(folded, 0.0), layer))
            self.connections[name] = (layer.weight != 0).double()

    def sweep_backward(self) -> None:
        """Mark the weights and channels that reach an output."""
        read: dict[fx.Node, list[torch.Tensor]] = {}
        for node in reversed(self.graph.nodes):
            if node.op == "output":
                for source in node.all_input_nodes:
                    read[source] = tree_leaves(_full(self.graph.values[source], 1.0))
            elif node.op == "call_function" and node in read:
                for source, marks in self._adjoint(node, read[node]).items():
                    total = zip(read.get(source, marks), marks, strict=True)
                    read[source] = [_marked(a + b) for a, b in total]

    @torch.no_grad()
    def drop(self) -> None:
        """Set weights of no use, and biases that are not read, to zero."""
        for name, layer in self.graph.layers.items():
            layer.weight.mul_(self.alive[name])
            if layer.bias is not None:
                layer.bias.mul_(self.read_channels[name])

    def _adjoint(self, node: fx.Node, read: list[torch.Tensor]) -> dict[fx.Node, list[torch.Tensor]]:
        """Mark what is read of an operator's inputs, and note which weights a layer uses."""
        layer = self.graph.owner(node) if self.graph.kinds[node] is Kind.LAYER else ""
        sources = [source for source in node.all_input_nodes if tree_leaves(self.graph.values[source])]
        make = self._live if layer else lambda source: _full(self.graph.values[source], 1.0)
        leaves = {source: _leaf(make(source)) for source in sources}
        edges = {layer: _leaf(self.connections[layer])} if layer else {}
        with torch.enable_grad():
            results = tree_leaves(self._passed(node, leaves, edges))
        pairs = [(y, marks) for y, marks in zip(results, read, strict=True) if y.requires_grad]
        wanted = [*tree_leaves(list(leaves.values())), *edges.values()]
        if not pairs or not wanted:
            return {}
        ys, marks = zip(*pairs, strict=True)
        grads = list(torch.autograd.grad(ys, wanted, marks, allow_unused=True))
        found = [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, grads, strict=True)]
        if layer:
            self.alive[layer] |= found.pop() > 0
            axis = channel_axis(self.graph.layers[layer])
            self.read_channels[layer] |= read[0].movedim(axis, 0).flatten(1).any(1)
        taken = iter(found)
        return {source: [next(taken) for _ in tree_leaves(leaf)] for source, leaf in leaves.items()}

    def _passed(
        self, node: fx.Node, marks: Mapping[fx.Node, Marks], edges: Mapping[str, torch.Tensor]
    ) -> Marks:
        """How many marked elements each result is made of, or a positive multiple of it."""
        kind, value = self.graph.kinds[node], self.graph.values[node]
        rest: Any = node.args[1:]
        target: Any = node.target
        if kind is Kind.LAYER:
            return target(marks[_first(node)], edges[self.graph.owner(node)], None, *node.args[3:])
        if kind is Kind.NORM:
            return _spread(marks[_first(node)] * self._gains(node), value)
        if kind is Kind.MOVE:
            return moved(node, marks)
        if kind in (Kind.REDUCE, Kind.AVERAGE):
            return target(marks[_first(node)], *rest)
        if kind is Kind.MAXIMUM:
            axes = tuple(range(-window_axes(node), 0))
            return _spread(marks[_first(node)].amax(axes, keepdim=True), value)
        sources = [source for source in node.all_input_nodes if source in marks]
        if (
            kind is Kind.POINTWISE
            and getattr(target, "overloadpacket", None) is aten.mul
            and len(sources) == 2
        ):
            a, b = sources
            live = self._live(a)
            return marks[a] * torch.maximum(self._live(b), 1 - live) + marks[b] * live
        counts = [m for source in sources for m in tree_leaves(marks[source])]
        if kind is Kind.OTHER:
            counts = [m.sum() for m in counts]
        total = torch.zeros(()).double()
        for count in counts:
            total = total + count
        return _spread(total, value)

    def _live(self, node: fx.Node) -> torch.Tensor:
        """Elements that are not always zero."""
        live: torch.Tensor = _marked(self.varies[node] + (self.graph.values[node] != 0))
        return live

    def _gains(self, node: fx.Node) -> torch.Tensor:
        """Edges of a batch norm, of the shape of its input's channels."""
        gain = node.args[1]
        if not isinstance(gain, fx.Node):
            return torch.ones(()).double()
        edges: torch.Tensor = (self.graph.values[gain] != 0).double()
        return edges.reshape(-1, *[1] * (self.graph.values[_first(node)].dim() - 2))

    def _constant_rows(self, node: fx.Node, layer: Layer) -> torch.Tensor:
        """Value that a row of the input vectors has in all of them, (C_in * positions of the kernel,) in
        the order (channel, position); NaN where it differs, or the row's channel varies, and for values other
        than 0 that a transposed convolution spreads."""
        axis, source = channel_axis(layer), _first(node)
        x, varies = self.graph.values[source], self.varies[source]
        transposed = isinstance(layer, _ConvTransposeNd)
        kernel = layer.weight.shape[2:] if not transposed else torch.Size()
        rows = torch.full((x.shape[axis], kernel.numel()), torch.nan, dtype=torch.float64)
        still = ~varies.movedim(axis, 0).flatten(1).any(1)
        if not still.any():
            return rows.flatten()
        rounding = 8 * torch.finfo(x.dtype).eps
        x = x.index_select(axis, still.nonzero().flatten()).double()
        seen = self._seen(node, x, kernel) if kernel else x.movedim(axis, 0).flatten(1)[:, None]
        lowest, highest = seen.aminmax(dim=2)
        size = torch.maximum(highest.abs(), lowest.abs())
        same = size == 0 if transposed else highest - lowest <= rounding * size
        rows[still] = torch.where(same, (lowest + highest) / 2, torch.nan)
        return rows.flatten()

    @staticmethod
    def _seen(node: fx.Node, x: torch.Tensor, kernel: torch.Size) -> torch.Tensor:
        """Inputs of a convolution by channel and place of its kernel, shape (channels, places, n)."""
        positions, image = kernel.numel(), x.shape[-len(kernel) :]
        picks = torch.eye(positions, dtype=torch.float64).reshape(-1, 1, *kernel)
        target: Any = node.target
        seen: torch.Tensor = target(x.reshape(-1, 1, *image), picks, None, *node.args[3:6])
        channels = x.shape[-1 - len(kernel)]
        return seen.reshape(-1, channels, positions, seen[0, 0].numel()).permute(1, 2, 0, 3).flatten(2)

    @staticmethod
    def _no_channels(layer: Layer) -> torch.Tensor:
        count = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        return torch.zeros(count, dtype=torch.bool)


def _first(node: fx.Node) -> fx.Node:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def _each(change: Callable[[torch.Tensor], torch.Tensor], marks: Marks) -> Marks:
    return tree_map_only(torch.Tensor, change, marks)


def _full(value: Any, mark: float) -> Marks:
    """Marks of one kind for the tensors of a result."""
    return _each(lambda t: torch.full(t.shape, mark, dtype=torch.float64), value)


def _spread(count: torch.Tensor, value: Any) -> Marks:
    """A count for the tensors of a result that have its axes; empty ones are nobody's."""
    return _each(lambda t: count.expand(t.shape) if t.numel() else torch.zeros(t.shape).double(), value)


def _marked(marks: Marks) -> Marks:
    return _each(lambda t: (t.detach() > 0).double(), marks)


def _leaf(marks: Marks) -> Marks:
    return _each(lambda t: t.detach().clone().requires_grad_(), marks)
