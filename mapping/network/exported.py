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
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from mapping.network.exported_operators import MAKERS, Call
from xbar.hardware.errors import XbarError

aten = torch.ops.aten


def from_exported(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The program as a plain module, in eval mode, that can be mapped, trained and saved like any other.

    Parameters keep their names. A matrix that the program computes from its weights alone becomes the weight
    of a layer that is named after them.

    Raises
    ------
    XbarError
        For a program that was exported for one batch size.
    """
    source: Any = program.module()
    graph: fx.Graph = source.graph
    names: dict[str, str] = {}
    constants: dict[fx.Node, Any] = {}
    for node in list(graph.nodes):
        if node.op == "placeholder":
            _check_batch(node)
        elif node.op == "call_module" or _is_bookkeeping(node):
            graph.erase_node(node)
        elif made := _module_of(node, constants):
            of_constants = _text([node.target, *node.args, *node.kwargs.values()], constants)
            identity = f"{made.module.extra_repr()} {of_constants}"
            if identity not in names:
                names[identity] = _free_name(source, node, made.module, constants)
                source.add_submodule(names[identity], made.module)
            _replace(node, names[identity], made)
        elif (value := _constant(node, source, constants)) is not None:
            constants[node] = value
    graph.eliminate_dead_code()
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


def _module_of(node: fx.Node, constants: Mapping[fx.Node, Any]) -> Call | None:
    make = MAKERS.get(getattr(node.target, "overloadpacket", None))
    if make is None:
        return None
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    given = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    given |= dict(zip((argument.name for argument in schema), node.args, strict=False)) | node.kwargs
    state = {"hx": given["hx"]} if "hx" in given else {}  # it is an input, whatever it follows from
    return make({**fx.map_arg(given, lambda other: constants.get(other, other)), **state})


def _constant(node: fx.Node, source: nn.Module, constants: Mapping[fx.Node, Any]) -> Any:
    """What a node gives that follows from the program's own tensors alone, those before it being known; None
    for any other."""
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


def _replace(node: fx.Node, name: str, made: Call) -> None:
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
    """What a call is made of, in words that are the same for the same constants."""
    if isinstance(value, fx.Node):
        if value not in constants:
            return "input"
        return str(value.target) + (_text(value.args, constants) if value.args else "")
    if isinstance(value, list | tuple):
        return f"({' '.join(_text(part, constants) for part in value)})"
    return str(value)


def _roots(node: fx.Node) -> list[str]:
    """Names of the tensors that a constant is made of."""
    inputs = (root for other in node.all_input_nodes for root in _roots(other))
    return [str(node.target)] if node.op == "get_attr" else list(inputs)


def _free_name(source: nn.Module, node: fx.Node, made: nn.Module, constants: Mapping[fx.Node, Any]) -> str:
    """Name of the module that held the weight, with a number where that one is needed for something else."""
    roots = [root for other in node.all_input_nodes if other in constants for root in _roots(other)]
    roots.sort(key=lambda root: not root.endswith("weight"))
    leaf = r"([._](weight|bias|running_mean)(_(ih|hh)(_l0)?)?|\.parametrizations\..*)$"
    stem = re.sub(leaf, "", f".{roots[0]}").lstrip(".") if roots else ""
    stem = stem or node.name
    names = itertools.chain([stem], (f"{stem}_{i}" for i in itertools.count(1)))
    return next(name for name in names if _is_free(source, name, node, made, constants))


def _is_free(
    source: nn.Module, name: str, node: fx.Node, made: nn.Module, constants: Mapping[fx.Node, Any]
) -> bool:
    """Whether a module can have a name: what the graph takes from there, it has, or nothing else needs it."""
    try:
        held = operator.attrgetter(name)(source)
    except AttributeError:
        return True
    if type(held) is not nn.Module or list(held.children()):
        return False
    taken = [n for n in node.graph.nodes if n.op == "get_attr" and n.target.startswith(f"{name}.")]
    return all(
        _serves_only(other, node, constants)
        or _same(getattr(made, other.target.removeprefix(f"{name}."), None), constants.get(other))
        for other in taken
    )


def _serves_only(constant: fx.Node, node: fx.Node, constants: Mapping[fx.Node, Any]) -> bool:
    users = (user for user in constant.users if user is not node)
    return all(user in constants and _serves_only(user, node, constants) for user in users)


def _same(a: Any, b: Any) -> bool:
    tensors = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
    return tensors and a.shape == b.shape and bool(torch.equal(a, b))
