"""A smaller dense network: filters and channels that are of no use are cut out of the tensors.

Every output channel of a layer gets a number, and the numbers run through the network's graph in place of the
elements. Channels that meet in one element (the sum of a residual block) are coupled: they go together, or
stay. What feeds an operator of no known kind, or one that cuts an axis of channels at fixed places, stays.

Source: the coupling is that of dependency graphs, Fang et al., CVPR 2023, arXiv:2301.12900.
"""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from mapping.network.gemm import Layer, groups_of, mappable_layers, to_gemm
from mapping.network.inputs import Inputs, arguments, twice
from mapping.network.modules import copy_of, in_eval_mode, run_example
from mapping.smaller_networks.channel_graph import (
    ChannelGraph,
    Kind,
    channel_axis,
    channel_graph,
    check_same,
    moved,
    window_axes,
)
from mapping.smaller_networks.unused_paths import remove_unused_paths
from mapping.training.checkpoints import load_checkpoint, save_checkpoint
from xbar.hardware.errors import XbarError
from xbar.hardware.files import write_atomically

FIXED = 0
"""Number that marks what is no channel of a layer, or has to stay."""

CUTS = frozenset(
    "slice select split split_with_sizes chunk unbind roll flip repeat pixel_shuffle pixel_unshuffle "
    "channel_shuffle select_scatter slice_scatter".split()
)
"""Operators with fixed places or an order, which mean other channels once some are gone."""


@dataclass(frozen=True)
class SmallerNetwork:
    """A network without the channels that are of no use.

    Parameters
    ----------
    model
        A network of the same class, with smaller layers and batch norms under the same names.
    masks
        Weights that are not zero, by layer, (K, N) bool of the smaller sizes.
    before, after
        (K, N) of each layer.
    """

    model: nn.Module
    masks: dict[str, torch.Tensor]
    before: dict[str, tuple[int, int]]
    after: dict[str, tuple[int, int]]


def smaller_network(
    model: nn.Module, example_input: Inputs, masks: Mapping[str, torch.Tensor] | None = None
) -> SmallerNetwork:
    """Cut out the filters and channels that `mapping.remove_unused_paths` finds to be of no use.

    The outputs in eval mode stay the same. Each layer keeps a channel; grouped convolutions keep all of
    theirs, and those of what feeds them, and so does a layer that does not run. The forward runs unchanged,
    so that it must not hold sizes as numbers.

    Parameters
    ----------
    example_input
        One batch of the network's input.
    masks
        True where a weight is kept, by layer, (K, N) bool; weights outside are taken as zero.

    Raises
    ------
    XbarError
        As `mapping.remove_unused_paths`, and for a forward that the smaller layers do not fit.
    """
    used = remove_unused_paths(model, example_input, masks)
    smaller = copy_of(used.model)
    modules = dict(smaller.named_modules())
    channels = _Channels(channel_graph(smaller, example_input), modules)
    gone = channels.of_no_use(used.unread)
    for name, numbers in (*channels.outputs.items(), *channels.norms.items()):
        _keep_outputs(modules[name], ~torch.isin(channels.rooted(numbers), gone))
    for name, numbers in channels.inputs.items():
        _keep_inputs(modules[name], ~torch.isin(channels.rooted(numbers), gone))
    try:
        run_example(smaller, example_input)
    except XbarError as error:
        raise XbarError(
            f"{type(model).__name__}: its forward does not fit smaller layers: {error}; it must not hold "
            "sizes as numbers: write x.flatten(1) in place of x.view(-1, 800)"
        ) from None
    check_same(used.model, smaller, example_input, "removal of channels")
    return SmallerNetwork(
        smaller,
        {name: to_gemm(layer) != 0 for name, layer in mappable_layers(smaller).items()},
        _sizes(model),
        _sizes(smaller),
    )


def save_network(model: nn.Module, path: Path | str) -> None:
    """Write the state dict of a network as safetensors."""
    save_checkpoint(Path(path), model.state_dict(), {"format": "xbar network"})


def load_network(model: nn.Module, path: Path | str) -> nn.Module:
    """Copy of a network with the sizes and values of a file that `save_network` wrote.

    Parameters
    ----------
    model
        The network that was made smaller, or one of its modules and names with any sizes and values.

    Raises
    ------
    XbarError
        For a missing or broken file, or one of another network.
    """
    tensors, _ = load_checkpoint(Path(path), "write it again with mapping.save_network")
    loaded = copy_of(model)
    for name, module in loaded.named_modules():
        if isinstance(module, Layer | _BatchNorm):
            for kind in ("weight", "bias", "running_mean", "running_var"):
                if (found := tensors.get(f"{name}.{kind}".lstrip("."))) is not None:
                    setattr(module, kind, found if kind.startswith("running") else nn.Parameter(found))
            _set_sizes(module)
    try:
        loaded.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise XbarError(f"{path}: holds another network than this {type(model).__name__}: {reason}") from None
    return loaded


def save_onnx(model: nn.Module, example_input: Inputs, path: Path | str) -> None:
    """Write a network in eval mode as ONNX, for any batch.

    Raises
    ------
    XbarError
        Where the packages of the extra ``export`` are missing, or torch cannot export the network.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise XbarError(f"ONNX needs {' and '.join(missing)}: pip install 'xbar-codesign[export]'")
    run_example(model, example_input)  # refuses an example in words of its own
    args, kwargs = arguments(twice(example_input))  # torch.export takes a batch of one for a constant
    with in_eval_mode(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            given = inspect.signature(model.forward).bind(*args, **kwargs).arguments
            shapes = tree_map(_any_batch, given)
            program = torch.onnx.export(
                model, args, kwargs=kwargs, dynamo=True, verbose=False, dynamic_shapes=shapes
            )
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise XbarError(f"{type(model).__name__}: torch.onnx cannot export it: {reason}") from error
    assert program is not None
    write_atomically(Path(path), program.model_proto.SerializeToString())


def _any_batch(value: Any) -> Any:
    return {0: torch.export.Dim.DYNAMIC} if isinstance(value, torch.Tensor) else None


class _Channels:
    """Numbers of channels, carried through the graph as float64 tensors, which every operator takes.

    Parameters
    ----------
    graph
        Graph of the network.
    modules
        Its modules by name.
    """

    def __init__(self, graph: ChannelGraph, modules: Mapping[str, nn.Module]) -> None:
        self.graph, self.modules = graph, modules
        self.outputs: dict[str, torch.Tensor] = {}
        self.inputs: dict[str, torch.Tensor] = {}
        self.norms: dict[str, torch.Tensor] = {}
        self._above = [FIXED]
        self._numbers: dict[fx.Node, Any] = {}
        for node in graph.nodes:
            if node.op == "call_function":
                self._numbers[node] = self._given_by(node)
            elif node.op != "output":
                self._numbers[node] = _unnumbered(graph.values[node])
        self._roots = torch.tensor([self._root(i) for i in range(len(self._above))], dtype=torch.float64)

    def rooted(self, numbers: torch.Tensor) -> torch.Tensor:
        """One number for coupled channels."""
        return self._roots.index_select(0, numbers.long())

    def of_no_use(self, unread: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Roots of which every channel is unread, without those that some layer has alone."""
        used = torch.ones(len(self._above), dtype=torch.bool)
        for name, numbers in self.outputs.items():
            used[numbers.long()] = ~unread[name]
        used[FIXED] = True
        roots = self._roots
        gone: torch.Tensor = roots[~torch.isin(roots, roots[used])]
        for numbers in self.outputs.values():
            own = self.rooted(numbers)
            if torch.isin(own, gone).all():
                gone = gone[gone != own[0]]
        return gone

    def _given_by(self, node: fx.Node) -> Any:
        """Numbers of an operator's results."""
        kind, value = self.graph.kinds[node], self.graph.values[node]
        if kind is Kind.LAYER:
            return self._layer(node)
        if kind is Kind.NORM:
            return self._norm(node)
        if kind is Kind.MOVE:
            return self._moved(node)
        if kind is Kind.POINTWISE:
            return self._joined(node)
        if kind in (Kind.AVERAGE, Kind.MAXIMUM):
            return _spread(self._along(node, range(-window_axes(node), 0)), value)
        if kind is Kind.REDUCE:
            axes = node.args[1] if len(node.args) > 1 and node.args[1] else range(self._of(node).dim())
            return self._along(node, axes).reshape(value.shape)  # type: ignore[arg-type]
        self._fix(node)
        return _unnumbered(value)

    def _layer(self, node: fx.Node) -> torch.Tensor:
        name = self.graph.owner(node)
        layer, value = self.graph.layers[name], self.graph.values[node]
        axis = channel_axis(layer)
        seen = self._by_channel(node, axis, groups_of(layer) > 1)
        self._couple(seen, self.inputs.setdefault(name, seen))
        if name not in self.outputs:
            count = value.shape[axis]
            first = FIXED if groups_of(layer) > 1 else len(self._above)
            if first:
                self._above += range(first, first + count)
            self.outputs[name] = (torch.arange(count) + first if first else torch.zeros(count)).double()
        return self.outputs[name].reshape(-1, *[1] * (-1 - axis)).expand(value.shape)

    def _norm(self, node: fx.Node) -> Any:
        name = self.graph.owner(node)
        known = isinstance(self.modules[name], _BatchNorm)
        seen = self._by_channel(node, 1, not known)
        if known:
            self._couple(seen, self.norms.setdefault(name, seen))
        return _spread(self._of(node), self.graph.values[node])

    def _moved(self, node: fx.Node) -> Any:
        packet: Any = getattr(node.target, "overloadpacket", node.target)
        name = packet.__name__
        if name in CUTS or (name in ("pad", "constant_pad_nd") and min(node.args[1]) < 0):  # type: ignore[arg-type]
            self._cut(node)
        elif name in ("view", "_unsafe_view", "reshape", "unflatten"):
            self._along(node, _split_axes(self._of(node).shape, self.graph.values[node].shape))
        return moved(node, self._numbers)

    def _cut(self, node: fx.Node) -> None:
        """Couple what an operator cuts at fixed places; a slice of everything is none."""
        schema = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
        if "dim" not in schema or "scatter" in str(node.target):
            return self._fix(node)
        place = schema.index("dim")
        axis: Any = node.args[place] if place < len(node.args) else node.kwargs.get("dim", 0)
        value = self.graph.values[node]
        if not (isinstance(value, torch.Tensor) and value.shape == self._of(node).shape):
            self._along(node, [axis])
        return None

    def _joined(self, node: fx.Node) -> Any:
        """Couple the channels that meet in an element."""
        value, joined = self.graph.values[node], None
        for source in node.all_input_nodes:
            if source in self.graph.names and self.graph.values[source].numel() == 1:
                continue
            numbers = self._numbers[source].expand(value.shape)
            joined = numbers if joined is None else joined
            self._couple(joined, numbers)
        return _unnumbered(value) if joined is None else joined

    def _along(self, node: fx.Node, axes: Sequence[int]) -> torch.Tensor:
        """Numbers of a node's first input, 1 long along the axes; fixed where they change along one."""
        numbers = self._of(node)
        if not axes:
            return numbers
        highest, lowest = (f(numbers, tuple(axes), keepdim=True) for f in (torch.amax, torch.amin))
        if not torch.equal(highest, lowest):
            self._fix(node)
        return highest

    def _by_channel(self, node: fx.Node, axis: int, fixed: bool) -> torch.Tensor:
        """Numbers along the axis of a node's first input; fixed, too, where they change along others."""
        by_channel = self._of(node).movedim(axis, 0).flatten(1)
        if fixed or not torch.equal(by_channel, by_channel[:, :1].expand_as(by_channel)):
            self._fix(node)
        return by_channel[:, 0]

    def _of(self, node: fx.Node) -> torch.Tensor:
        numbers: torch.Tensor = self._numbers[node.args[0]]  # type: ignore[index]
        return numbers

    def _fix(self, node: fx.Node) -> None:
        """The channels in all inputs of a node stay."""
        for source in node.all_input_nodes:
            for numbers in tree_leaves(self._numbers[source]):
                if isinstance(numbers, torch.Tensor):
                    self._couple(numbers, torch.full_like(numbers, FIXED))

    def _couple(self, a: torch.Tensor, b: torch.Tensor) -> None:
        pairs = torch.unique((a * len(self._above) + b)[a != b]).long().tolist()
        for pair in pairs:
            low, high = sorted(self._root(i) for i in divmod(pair, len(self._above)))
            self._above[high] = low

    def _root(self, number: int) -> int:
        while self._above[number] != number:
            self._above[number] = self._above[self._above[number]]
            number = self._above[number]
        return number


def _unnumbered(value: Any) -> Any:
    return tree_map_only(torch.Tensor, lambda t: torch.full(t.shape, FIXED, dtype=torch.float64), value)


def _spread(numbers: torch.Tensor, value: Any) -> Any:
    """Numbers for the tensors of a result that have their axes."""
    return tree_map_only(
        torch.Tensor, lambda t: numbers.expand(t.shape) if t.numel() else torch.zeros(t.shape), value
    )


def _split_axes(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Axes of a shape of which another one of as many elements has no whole."""
    cuts = set(itertools.accumulate(reversed(after), initial=1, func=lambda a, b: a * b))
    strides = [math.prod(before[i + 1 :]) for i in range(len(before))]
    return [
        axis
        for axis, (stride, count) in enumerate(zip(strides, before, strict=True))
        if any(stride < cut < stride * count for cut in cuts)
    ]


def _keep_outputs(module: Any, keep: torch.Tensor) -> None:
    """Leave out output channels of a layer, or channels of a batch norm."""
    axes = {"weight": 1 if isinstance(module, _ConvTransposeNd) else 0}
    axes |= dict.fromkeys(("bias", "running_mean", "running_var"), 0)
    for name, axis in axes.items():
        _shorten(module, name, axis, keep)
    _set_sizes(module)


def _keep_inputs(module: Any, keep: torch.Tensor) -> None:
    """Leave out input channels of a layer."""
    _shorten(module, "weight", 0 if isinstance(module, _ConvTransposeNd) else 1, keep)
    _set_sizes(module)


@torch.no_grad()
def _shorten(module: nn.Module, name: str, axis: int, keep: torch.Tensor) -> None:
    held = getattr(module, name, None)
    if held is None or keep.all():
        return
    kept = held.index_select(axis, keep.nonzero().flatten())
    setattr(module, name, nn.Parameter(kept, held.requires_grad) if isinstance(held, nn.Parameter) else kept)


def _set_sizes(module: Any) -> None:
    """Sizes that a module tells, from its tensors."""
    if isinstance(module, _BatchNorm):
        module.num_features = len(module.running_mean)  # type: ignore[arg-type]
        return
    sizes = module.weight.shape[:2]
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = sizes
    elif isinstance(module, _ConvTransposeNd):
        module.in_channels, module.out_channels = sizes[0], sizes[1] * module.groups
    else:
        module.out_channels, module.in_channels = sizes[0], sizes[1] * module.groups


def _sizes(model: nn.Module) -> dict[str, tuple[int, int]]:
    matrices = {name: to_gemm(layer) for name, layer in mappable_layers(model).items()}
    return {name: (matrix.shape[0], matrix.shape[1]) for name, matrix in matrices.items()}
