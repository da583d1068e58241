"""A `torch.export` program as a module whose products are layers again.

An exported graph applies operators to tensors. Here each convolution, each product with a constant matrix and
each batch norm becomes the `torch.nn` module of its kind, under the name that its weight had; dropouts become
modules too, so that the modes train and eval are back. Every other operator stays as it is.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn

from mapping.network.modules import linear, parameter
from xbar.hardware.errors import XbarError

Made = tuple[fx.Node, nn.Module] | None
"""The input of an operator and the module that does the same; None where there is no such module."""

aten = torch.ops.aten
NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


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
            x, module = made
            others = [value for value in (*node.args, *node.kwargs.values()) if value is not x]
            identity = _text([node.target, *others])
            if identity not in names:
                names[identity] = _free_name(source, node, x)
                source.add_submodule(names[identity], module)
            _replace(node, names[identity], x)
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


def _module_of(node: fx.Node, constants: Mapping[fx.Node, Any]) -> Made:
    make = MAKERS.get(getattr(node.target, "overloadpacket", None))
    if make is None:
        return None
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    given = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    given |= dict(zip((argument.name for argument in schema), node.args, strict=False)) | node.kwargs
    return make(
        {
            name: constants.get(value, value) if isinstance(value, fx.Node) else value
            for name, value in given.items()
        }
    )


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


def _convolution(a: dict[str, Any]) -> Made:
    x, weight, bias, groups = a["input"], a["weight"], a["bias"], a["groups"]
    if not (isinstance(x, fx.Node) and isinstance(weight, torch.Tensor) and _is_constant(bias)):
        return None
    transposed = a.get("transposed", "output_padding" in a)
    dimensions = weight.dim() - 2
    inputs, outputs = (len(weight), weight.shape[1] * groups)[:: 1 if transposed else -1]
    names = ["stride", "padding", "dilation", *(["output_padding"] if transposed else [])]
    sizes = {name: a[name] if isinstance(a[name], str) else _each(a[name], dimensions) for name in names}
    kind = getattr(nn, f"Conv{'Transpose' if transposed else ''}{dimensions}d")
    layer = kind(
        inputs, outputs, tuple(weight.shape[2:]), groups=groups, bias=bias is not None, device="meta", **sizes
    )
    layer.weight = parameter(weight)
    layer.bias = None if bias is None else parameter(bias)
    return x, layer


def _each(sizes: list[int], dimensions: int) -> tuple[int, ...]:
    return tuple(sizes) * (dimensions if len(sizes) == 1 else 1)


def _product(x: Any, weight: Any, bias: Any = None) -> Made:
    """Of an input with a weight (outputs, inputs)."""
    is_matrix = isinstance(weight, torch.Tensor) and weight.dim() == 2 and weight.is_floating_point()
    if not (isinstance(x, fx.Node) and is_matrix and _is_constant(bias)):
        return None
    return (x, linear(weight, bias)) if bias is None or bias.shape == weight.shape[:1] else None


def _matrix_product(a: dict[str, Any]) -> Made:
    x, matrix = a.values()
    return _product(x, _transposed(matrix))


def _sum_with_product(a: dict[str, Any]) -> Made:
    return _product(a["mat1"], _transposed(a["mat2"]), a["self"]) if a["beta"] == a["alpha"] == 1 else None


def _transposed(value: Any) -> Any:
    is_matrix = isinstance(value, torch.Tensor) and value.dim() == 2
    return value.detach().t().contiguous() if is_matrix else None


def _batch_norm(a: dict[str, Any]) -> Made:
    x, mean, weight = a["input"], a["running_mean"], a["weight"]
    if not (isinstance(x, fx.Node) and isinstance(mean, torch.Tensor)):
        return None
    norm = NORMS[x.meta["val"].dim()](len(mean), a["eps"], a["momentum"], affine=weight is not None)
    norm.running_mean, norm.running_var = mean, a["running_var"]
    if weight is not None:
        norm.weight, norm.bias = parameter(weight), parameter(a["bias"])
    return x, norm


def _dropout(a: dict[str, Any]) -> Made:
    return (a["input"], nn.Dropout(a["p"])) if isinstance(a["input"], fx.Node) else None


def _is_constant(value: Any) -> bool:
    return value is None or isinstance(value, torch.Tensor)


MAKERS: dict[Any, Callable[[dict[str, Any]], Made]] = {
    aten.linear: lambda a: _product(a["input"], a["weight"], a["bias"]),
    aten.addmm: _sum_with_product,
    aten.batch_norm: _batch_norm,
    aten._native_batch_norm_legit_no_training: _batch_norm,
    aten.dropout: _dropout,
    **dict.fromkeys((aten.matmul, aten.mm), _matrix_product),
    **dict.fromkeys(
        (
            aten.conv1d,
            aten.conv2d,
            aten.conv3d,
            aten.conv_transpose1d,
            aten.conv_transpose2d,
            aten.conv_transpose3d,
            aten.convolution,
        ),
        _convolution,
    ),
}


def _replace(node: fx.Node, name: str, x: fx.Node) -> None:
    """Call the module `name` on `x` in place of the node, whose outputs beyond the first nobody uses."""
    with node.graph.inserting_before(node):
        call = node.graph.call_module(name, (x,))
    call.meta = node.meta
    for user in list(node.users):
        if user.target is operator.getitem:
            user.replace_all_uses_with(call)
            node.graph.erase_node(user)
    node.replace_all_uses_with(call)
    node.graph.erase_node(node)


def _text(value: Any) -> str:
    """What a constant is made of, in words that are the same for the same constant."""
    if isinstance(value, fx.Node):
        return str(value.target) + (_text(value.args) if value.args else "")
    return f"({' '.join(map(_text, value))})" if isinstance(value, list | tuple) else str(value)


def _roots(node: fx.Node) -> list[str]:
    """Names of the tensors that a constant is made of."""
    inputs = (root for other in node.all_input_nodes for root in _roots(other))
    return [str(node.target)] if node.op == "get_attr" else list(inputs)


def _free_name(source: nn.Module, node: fx.Node, x: fx.Node) -> str:
    """Name of the module that held the weight, with a number where that one is needed for something else."""
    roots = [root for other in node.all_input_nodes if other is not x for root in _roots(other)]
    roots.sort(key=lambda root: not root.endswith("weight"))
    leaf = r"([._](weight|bias|running_mean)|\.parametrizations\..*)$"
    stem = re.sub(leaf, "", f".{roots[0]}").lstrip(".") if roots else ""
    stem = stem or node.name
    names = itertools.chain([stem], (f"{stem}_{i}" for i in itertools.count(1)))
    return next(name for name in names if _is_free(source, name))


def _is_free(source: nn.Module, name: str) -> bool:
    try:
        held = operator.attrgetter(name)(source)
    except AttributeError:
        return True
    return type(held) is nn.Module and not list(held.children())
