"""A network as a graph of functional operators, and how each kind of operator passes elements on.

`torch.export` gives the graph; an operator that changes its input in place, or a view that is written to,
becomes one that returns. What an operator does to single elements is said by its kind, and by nothing else:
an operator of no known kind may make each element of its outputs from all elements of its inputs.
"""

from __future__ import annotations

import enum
import operator
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves

from mapping.lowering.batch_norm import TOLERANCE
from mapping.network.gemm import Layer, from_gemm, mappable_layers, to_gemm
from mapping.network.inputs import Inputs, arguments
from mapping.network.modules import in_eval_mode, run_example
from xbar.hardware.errors import XbarError, unknown_name

aten = torch.ops.aten


class Kind(enum.Enum):
    """Kinds of operators by what they do to elements."""

    LAYER = "a linear or convolution layer of the network"
    NORM = "a batch norm in eval mode"
    MOVE = "moves elements, and may add constants"
    POINTWISE = "makes an element of the elements in its place"
    REDUCE = "adds up along axes"
    AVERAGE = "adds up windows of a channel, with weights that are not negative"
    MAXIMUM = "takes the largest of windows of a channel"
    OTHER = "anything"


LAYERS = "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"
MOVES = (
    "view _unsafe_view reshape flatten unflatten permute transpose t unsqueeze squeeze slice select split "
    "split_with_sizes chunk unbind cat stack expand repeat flip roll pad constant_pad_nd pixel_shuffle "
    "pixel_unshuffle channel_shuffle select_scatter slice_scatter"
)
KINDS = {
    getattr(aten, name): kind
    for kind, names in {
        Kind.LAYER: LAYERS,
        Kind.NORM: "batch_norm _native_batch_norm_legit_no_training",
        Kind.MOVE: MOVES,
        Kind.POINTWISE: "alias detach lift_fresh_copy contiguous to _to_copy dropout feature_dropout",
        Kind.REDUCE: "mean sum",
        Kind.AVERAGE: "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
        "_adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool3d upsample_nearest1d "
        "upsample_nearest2d upsample_nearest3d upsample_bilinear2d",
        Kind.MAXIMUM: "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices "
        "adaptive_max_pool2d adaptive_max_pool3d",
    }.items()
    for name in names.split()
} | {operator.getitem: Kind.MOVE}


@dataclass(frozen=True)
class ChannelGraph:
    """The operators of a network on one example.

    Parameters
    ----------
    nodes
        Nodes in the order in which they run.
    kinds
        Kinds of the nodes that call an operator.
    values
        Value that each node gives for the example; ``output`` has none.
    names
        Name in the network, of the nodes that are its parameters and buffers.
    layers
        The layers that only nodes of kind ``LAYER`` use, by name.
    """

    nodes: list[fx.Node]
    kinds: dict[fx.Node, Kind]
    values: dict[fx.Node, Any]
    names: dict[fx.Node, str]
    layers: dict[str, Layer]

    def owner(self, node: fx.Node) -> str:
        """Name of the layer, or batch norm, that a node of this kind runs."""
        which = 1 if self.kinds[node] is Kind.LAYER else 3
        weight = node.args[which]
        return self.names[weight].rpartition(".")[0] if isinstance(weight, fx.Node) else ""


def channel_graph(model: nn.Module, example_input: Inputs) -> ChannelGraph:
    """Graph of a network in eval mode, which is left as it was.

    Raises
    ------
    XbarError
        For a network without layers, an example that it does not take, or what `torch.export` cannot follow.
    """
    run_example(model, example_input)  # refuses an example in words of its own
    args, kwargs = arguments(example_input)
    with in_eval_mode(model), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(model, args, kwargs, strict=False)
            if not all(_is_known(node) for node in program.graph.nodes):
                program = program.run_decompositions({})
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise XbarError(
                f"{type(model).__name__}: torch.export cannot follow its forward: {reason}; what depends on "
                "the values of the input has to be written without if and while"
            ) from error
        module, signature = program.graph_module, program.graph_signature
        given: dict[str, str] = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        lifted = {**given, **signature.inputs_to_lifted_tensor_constants}
        held = {**program.constants, **program.state_dict}
        places = [node for node in module.graph.nodes if node.op == "placeholder"]
        given_inputs = iter(tree_leaves((args, kwargs)))
        inputs = [held[lifted[node.name]] if node.name in lifted else next(given_inputs) for node in places]
        run = fx.Interpreter(module, garbage_collect_values=False)
        run.run(*inputs, enable_io_processing=False)
    names = {node: lifted[node.name] for node in places if node.name in lifted}
    nodes = list(module.graph.nodes)
    kinds = {node: _kind(node, names) for node in nodes if node.op == "call_function"}
    plain = _plain_layers(model, names, kinds)
    for node, kind in kinds.items():
        if kind is Kind.LAYER and names[node.args[1]].rpartition(".")[0] not in plain:
            kinds[node] = Kind.OTHER
    return ChannelGraph(nodes, kinds, run.env, names, plain)


def _is_known(node: fx.Node) -> bool:
    """Whether a node is no operator, or one that returns what it makes and is not made of others."""
    if node.op != "call_function" or node.target is operator.getitem:
        return node.op != "get_attr"
    schema, packet = getattr(node.target, "_schema", None), getattr(node.target, "overloadpacket", None)
    is_kind = packet in KINDS or torch.Tag.pointwise in getattr(node.target, "tags", ())
    return is_kind and schema is not None and not schema.is_mutable


def _kind(node: fx.Node, names: Mapping[fx.Node, str]) -> Kind:
    target = node.target
    kind = KINDS.get(getattr(target, "overloadpacket", target), Kind.OTHER)
    if kind is Kind.LAYER:
        return kind if node.args[1] in names else Kind.OTHER
    if kind is Kind.NORM:
        constant = all(value is None or value in names for value in node.args[1:5])
        running = node.args[3] is not None and node.args[5] is not True
        return kind if constant and running else Kind.OTHER
    if kind is Kind.POINTWISE and "dropout" in str(target):
        return Kind.OTHER if node.args[2] else kind
    tags = getattr(target, "tags", ())
    pointwise = torch.Tag.pointwise in tags and torch.Tag.nondeterministic_seeded not in tags
    return Kind.POINTWISE if pointwise else kind


def _plain_layers(
    model: nn.Module, names: Mapping[fx.Node, str], kinds: Mapping[fx.Node, Kind]
) -> dict[str, Layer]:
    """Layers whose weight and bias are theirs alone, and serve as nothing else."""
    layers = mappable_layers(model)
    holders = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    of_weight = {f"{name}.weight": name for name in layers}
    of_bias = {f"{name}.bias": name for name in layers}
    used, bad = set(), set()
    for node, name in names.items():
        for which, owner in ((1, of_weight.get(name)), (2, of_bias.get(name))):
            if owner is None:
                continue
            used.add(owner)
            for user in node.users:
                own = kinds.get(user) is Kind.LAYER and [a is node for a in user.args].index(True) == which
                if not own or names[user.args[1]] != f"{owner}.weight":  # type: ignore[index]
                    bad.add(owner)
    for name, layer in layers.items():
        if any(holders[id(parameter)] > 1 for parameter in layer.parameters()):
            bad.add(name)
    return {name: layer for name, layer in layers.items() if name in used - bad}


def moved(node: fx.Node, marks: Mapping[fx.Node, Any]) -> Any:
    """Tensor that an operator of kind ``MOVE`` makes of others of its inputs' shapes; what it adds is 0."""
    args, kwargs = fx.map_arg((node.args, node.kwargs), marks.__getitem__)
    packet: Any = getattr(node.target, "overloadpacket", node.target)
    if packet in (aten.constant_pad_nd, aten.pad):
        args, kwargs = args[: 2 if packet is aten.constant_pad_nd else 3], {}
    if packet in (aten.view, aten._unsafe_view):
        packet = aten.reshape  # the other tensors may lie otherwise in memory
    return packet(*args, **kwargs)


def window_axes(node: fx.Node) -> int:
    """Number of last axes that the windows of a pool, or an interpolation, lie in."""
    found = re.search(r"(\d)d", str(node.target))
    assert found is not None
    return int(found[1])


def channel_axis(layer: Layer) -> int:
    """Axis of a layer's channels in its input and its output, counted from the last."""
    return -1 if isinstance(layer, nn.Linear) else -1 - len(layer.kernel_size)


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Set the weights outside masks (K, N) to zero, in place.

    Raises
    ------
    XbarError
        For weights without values, and a mask of no layer, or of another type or shape than the layer has.
    """
    layers = mappable_layers(model)
    for name, layer in layers.items():
        if layer.weight.is_meta:
            raise XbarError(f"{name}: its weights have no values (device meta); load them first")
    for name, mask in masks.items():
        if name not in layers:
            raise unknown_name("masks", name, layers)
        matrix = to_gemm(layers[name])
        if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool or mask.shape != matrix.shape:
            raise XbarError(
                f"masks/{name}: must be a bool tensor of shape {tuple(matrix.shape)}, the (K, N) of the layer"
            )
        layers[name].weight.copy_(from_gemm(matrix * mask, layers[name]))


def check_same(before: nn.Module, after: nn.Module, example_input: Inputs, cause: str) -> None:
    """Refuse a network that gives something else than another one for the example, in eval mode.

    Allowed is `mapping.lowering.batch_norm.TOLERANCE`, relative to the largest output.
    """
    pairs = zip(*(tree_leaves(run_example(model, example_input)) for model in (before, after)), strict=True)
    for was, now in pairs:
        if not isinstance(was, torch.Tensor) or not was.numel() or not was.is_floating_point():
            continue
        allowed = TOLERANCE.get(was.dtype, 0.05) * float(was.abs().max())
        difference = float((now - was).abs().max()) if now.shape == was.shape else float("inf")
        if not difference <= allowed:
            raise XbarError(
                f"{cause}: the network differs by {difference:.2g} on the example, where {allowed:.2g} is "
                "rounding; nothing was changed"
            )
