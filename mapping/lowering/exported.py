"""A `torch.export` program as a module whose products are layers again.

An exported graph applies operators to tensors. Here each convolution, each product with a constant, each
recurrent operator and each batch norm becomes the `torch.nn` module of its kind, under the name that its
weight had; dropouts become modules too, so that the modes train and eval are back. Every other operator stays
as it is.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import fx, nn

from mapping.lowering.exported_operators import MAKERS, ModuleCall
from xbar.hardware.errors import XbarError

aten = torch.ops.aten
PLACE = "_layer_"
"""Modules wait under names that begin so until the graph says which names are free."""


def from_exported(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The program as a plain module, in eval mode, that can be mapped, trained and saved like any other.

    Parameters keep their names. A matrix that the program computes from its weights alone becomes the weight
    of a layer that is named after them.

    Raises
    ------
    XbarError
        For a program that was exported for one batch size.
    """
    source: Any = program.module(check_guards=False)  # guards are text of the file, which is run
    graph: fx.Graph = source.graph
    made_before: dict[str, str] = {}
    stems: dict[str, str] = {}
    constants: dict[fx.Node, Any] = {}
    for node in list(graph.nodes):
        if node.op == "placeholder":
            _check_batch(node)
        elif node.op == "call_module" or _is_bookkeeping(node):
            graph.erase_node(node)
        elif made := _module_of(node, constants):
            of_constants = _text([node.target, *node.args, *node.kwargs.values()], constants)
            identity = f"{made.module.extra_repr()} {of_constants}"
            if identity not in made_before:
                place = made_before[identity] = f"{PLACE}{len(stems)}"
                stems[place] = _stem(node, constants)
                source.add_submodule(place, made.module)
            _replace(node, made_before[identity], made)
        elif (value := _constant(node, source, constants)) is not None:
            constants[node] = value
    graph.eliminate_dead_code()
    _give_names(source, graph, stems)
    if _is_plain(program):
        graph.output_node().args = graph.output_node().args[0]  # type: ignore[assignment]
        graph.set_codegen(fx.graph.CodeGen())
    return fx.GraphModule(source, graph, "Exported").eval()


def _is_plain(program: torch.export.ExportedProgram) -> bool:
    """Whether tensors go in, by position, and one comes out; other calls keep their trees of arguments."""
    args, kwargs = program.call_spec.in_spec.children()
    plain = all(child.is_leaf() for child in args.children()) and not kwargs.children()
    return plain and program.call_spec.out_spec.is_leaf()


def _check_batch(node: fx.Node) -> None:
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor) and value.dim() and isinstance(value.shape[0], int):
        raise XbarError(
            f"input {node.target!r}: exported for a batch of exactly {value.shape[0]}; export it with "
            f"dynamic_shapes={{{node.target!r}: {{0: torch.export.Dim.DYNAMIC}}}} and an example batch of 2"
        )


def _is_bookkeeping(node: fx.Node) -> bool:
    """Checks of types, and the count of batches that a batch norm in train mode keeps."""
    packet = getattr(node.target, "overloadpacket", None)
    counts = packet is aten.add_ and str(getattr(node.args[0], "target", "")).endswith("num_batches_tracked")
    return counts or packet is aten._assert_tensor_metadata


def _module_of(node: fx.Node, constants: Mapping[fx.Node, Any]) -> ModuleCall | None:
    make = MAKERS.get(getattr(node.target, "overloadpacket", None))
    if make is None:
        return None
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    given = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    given |= dict(zip((argument.name for argument in schema), node.args, strict=False)) | node.kwargs
    state = {"hx": given["hx"]} if "hx" in given else {}  # it is an input, whatever it follows from
    return make({**fx.map_arg(given, lambda other: constants.get(other, other)), **state})


def _constant(node: fx.Node, source: nn.Module, constants: Mapping[fx.Node, Any]) -> Any:
    """Value of a node that follows from the program's own tensors alone; None for any other node. The
    constants before it are known."""
    if node.op == "get_attr":
        return operator.attrgetter(str(node.target))(source)
    inputs, target = node.all_input_nodes, node.target
    if not inputs or not _is_function(target) or any(other not in constants for other in inputs):
        return None
    args, kwargs = fx.map_arg((node.args, node.kwargs), constants.__getitem__)
    with torch.no_grad():
        return target(*args, **kwargs)  # type: ignore[operator]


def _is_function(target: Any) -> bool:
    """Whether an operator only computes, and gives the same each time."""
    if not isinstance(target, torch._ops.OpOverload):
        return target is operator.getitem
    return not target._schema.is_mutable and torch.Tag.nondeterministic_seeded not in target.tags


def _replace(node: fx.Node, name: str, made: ModuleCall) -> None:
    """Call the module `name` in place of the node."""
    with node.graph.inserting_before(node):
        call = node.graph.call_module(name, made.args)
        call.meta = node.meta
        for user in list(node.users):
            if user.target is operator.getitem:
                output = call
                for index in made.outputs[user.args[1]] if made.outputs else ():  # type: ignore[index]
                    output = node.graph.call_function(operator.getitem, (output, index))
                output.meta = user.meta
                user.replace_all_uses_with(output)
                node.graph.erase_node(user)
    node.replace_all_uses_with(call)
    node.graph.erase_node(node)


def _text(value: Any, constants: Mapping[fx.Node, Any]) -> str:
    """A text of a call's arguments, which is the same for the same constants."""
    if isinstance(value, fx.Node):
        if value not in constants:
            return "input"
        if not (value.args or value.kwargs):
            return str(value.target)
        named = [part for name, given in value.kwargs.items() for part in (f"{name}=", given)]
        return str(value.target) + _text([*value.args, *named], constants)
    if isinstance(value, list | tuple):
        return f"({' '.join(_text(part, constants) for part in value)})"
    return str(value)


def _roots(node: fx.Node) -> list[str]:
    """Names of the tensors that a constant is made of."""
    inputs = (root for other in node.all_input_nodes for root in _roots(other))
    return [str(node.target)] if node.op == "get_attr" else list(inputs)


def _stem(node: fx.Node, constants: Mapping[fx.Node, Any]) -> str:
    """Name of the module that held the weight of a product, or of the operator where none did."""
    roots = [root for other in node.all_input_nodes if other in constants for root in _roots(other)]
    roots.sort(key=lambda root: not root.endswith("weight"))
    leaf = r"([._](weight|bias|running_mean)(_(ih|hh)(_l0)?)?|\.parametrizations\..*)$"
    stem = re.sub(leaf, "", f".{roots[0]}").lstrip(".") if roots else ""
    return stem or node.name


def _give_names(source: Any, graph: fx.Graph, stems: Mapping[str, str]) -> None:
    """Move the modules from their places to the names that their weights had, with a number where such a name
    is needed for something else."""
    calls = graph.find_nodes(op="call_module")
    used = {str(node.target) for node in graph.find_nodes(op="get_attr")}
    for place, stem in stems.items():
        module = source.get_submodule(place)
        source.delete_submodule(place)
        names = itertools.chain([stem], (f"{stem}_{i}" for i in itertools.count(1)))
        name = next(name for name in names if _is_free(source, name, module, used))
        source.add_submodule(name, module)
        for call in calls:
            if call.target == place:
                call.target = name


def _is_free(source: nn.Module, name: str, module: nn.Module, used: Collection[str]) -> bool:
    """Whether a module can take a name: what the graph still reads there, the module has too."""
    try:
        held = operator.attrgetter(name)(source)
    except AttributeError:
        return True
    if type(held) is not nn.Module or list(held.children()):
        return False
    tensors = dict(itertools.chain(held.named_parameters(), held.named_buffers()))
    return all(
        getattr(module, leaf, None) is tensor for leaf, tensor in tensors.items() if f"{name}.{leaf}" in used
    )
