"""Handling of any network: a copy, a run in eval mode, a module that takes the place of another."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from mapping.network.inputs import Inputs, call, check_inputs, device_of, sent, shapes_of
from xbar.hardware.errors import XbarError, one_line


def copy_of(model: nn.Module, shares: bool = False) -> nn.Module:
    """Deep copy; tensors that a module has computed and kept (a plain attribute) are copied by value.

    Parameters
    ----------
    shares
        Whether parameters are those of the network itself, but for those of modules that compute theirs
        before each call (hooks, parametrizations).

    Raises
    ------
    XbarError
        Where a module holds something that cannot be copied.
    """
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    plain = (module for module in model.modules() if not computes_parameters(module))
    shared = {id(p): p for module in plain for p in module.parameters(recurse=False)} if shares else {}
    try:
        return copy.deepcopy(model, {**computed, **shared})
    except Exception as error:
        raise XbarError(f"{type(model).__name__}: cannot be copied: {one_line(error)}") from error


def computes_parameters(module: nn.Module) -> bool:
    """Whether a module has parametrizations, or hooks that may set its parameters before each call."""
    return bool(module._forward_pre_hooks) or parametrize.is_parametrized(module)


STATISTICS = ("running_mean", "running_var")
"""Buffers that must be finite. Others may be infinite, as masks of attention are, or not be written yet."""


def check_numbers(model: nn.Module) -> None:
    """Refuse a network with a parameter, or a statistic of batch norm, that is NaN or infinite.

    Raises
    ------
    XbarError
        With the name of the first such tensor.
    """
    buffers = (pair for pair in model.named_buffers() if pair[0].split(".")[-1] in STATISTICS)
    for name, tensor in (*model.named_parameters(), *buffers):
        if words := no_numbers(tensor):
            raise XbarError(f"{name!r} holds {words}")


def no_numbers(tensor: torch.Tensor) -> str:
    """``NaN`` or ``an infinite number`` where a tensor holds it; "" where all of it is finite.

    The least and the largest element say so, which takes no memory beside a large tensor.
    """
    real = tensor.is_floating_point() or tensor.is_complex()
    if tensor.is_meta or not real or nn.parameter.is_lazy(tensor) or not tensor.numel():
        return ""
    flat = tensor.detach()
    ends = torch.stack(torch.aminmax(torch.view_as_real(flat) if flat.is_complex() else flat))
    if ends.isnan().any():
        return "NaN"
    return "an infinite number" if ends.isinf().any() else ""


@contextlib.contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode; afterwards each in its own again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@torch.no_grad()
def run_example(model: nn.Module, example_input: Inputs) -> Any:
    """Run the model in eval mode from one state of torch's generator; both are left as they were.

    Raises
    ------
    XbarError
        For an example that the network does not take.
    """
    check_inputs(example_input)
    with in_eval_mode(model), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            return call(model, sent(example_input, device_of(model)))
        except XbarError:
            raise
        except Exception as error:
            raise refused(example_input, error) from error


def refused(example_input: Inputs, error: Exception) -> XbarError:
    """The error to raise where a network does not take an example."""
    return XbarError(
        f"example_input of {shapes_of(example_input)}: the network refuses it: {one_line(error)}"
    )


def replaced(model: nn.Module, module: nn.Module, form: nn.Module) -> nn.Module:
    """The network with `form` wherever it holds a module; `form` itself where the module is the network.

    The network is changed in place. A module is found among the submodules of others and in their plain
    attributes, also in lists, tuples and dicts there. The form takes over its mode and its hooks.
    """
    form.train(module.training)
    form.__dict__.update({key: value for key, value in vars(module).items() if "_hooks" in key})
    for parent in list(model.modules()):
        for name, value in list(vars(parent).items()):
            parent.__dict__[name] = _with_form(value, module, form)
    return form if model is module else model


def _with_form(value: Any, module: nn.Module, form: nn.Module) -> Any:
    """Value of a module's attribute, with a form in place of another module. A list or dict stays the object
    that it is."""
    if value is module:
        return form
    if type(value) is tuple:
        return tuple(_with_form(part, module, form) for part in value)
    if isinstance(value, list | dict):
        for place, held in list(value.items() if isinstance(value, dict) else enumerate(value)):
            value[place] = _with_form(held, module, form)
    return value


def linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    """Linear layer of a weight (outputs, inputs) and a bias (outputs,); parameters stay what they are."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = parameter(weight)
    if bias is not None:
        layer.bias = parameter(bias)
    return layer


def convolution(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    transposed: bool = False,
    *,
    groups: int = 1,
    **sizes: Any,
) -> nn.Module:
    """Convolution of a weight (outputs, inputs / groups, ...), or a transposed one of a weight (inputs,
    outputs / groups, ...); parameters stay what they are.

    Parameters
    ----------
    sizes
        ``stride``, ``padding``, ``dilation``, ``output_padding``, as torch's functions take them: an entry a
        dimension, or one for all.
    """
    dimensions = weight.dim() - 2
    inputs, outputs = (len(weight), weight.shape[1] * groups)[:: 1 if transposed else -1]
    each = {name: size if isinstance(size, str) else _each(size, dimensions) for name, size in sizes.items()}
    kind = getattr(nn, f"Conv{'Transpose' if transposed else ''}{dimensions}d")
    layer: Any = kind(
        inputs, outputs, tuple(weight.shape[2:]), groups=groups, bias=bias is not None, device="meta", **each
    )
    layer.weight = parameter(weight)
    layer.bias = None if bias is None else parameter(bias)
    made: nn.Module = layer
    return made


def _each(sizes: int | Sequence[int], dimensions: int) -> tuple[int, ...]:
    sizes = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    return sizes * (dimensions if len(sizes) == 1 else 1)


def parameter(tensor: torch.Tensor) -> nn.Parameter:
    """The tensor where it is a parameter, else a parameter of its values."""
    if isinstance(tensor, nn.Parameter):
        return tensor
    return nn.Parameter(tensor.detach().clone(), tensor.requires_grad)


def types_of_modules(model: nn.Module) -> dict[str, str]:
    """Type of every module inside a network, by name."""
    return {
        name: "GraphModule" if isinstance(module, fx.GraphModule) else type(module).__name__
        for name, module in model.named_modules()
        if name
    }


def check_own_forward(name: str, module: nn.Module) -> None:
    """Refuse a layer whose forward was replaced.

    Raises
    ------
    XbarError
        Where the module holds a forward of its own, as some tools of low-rank adaptation leave it.
    """
    if "forward" in vars(module):
        raise XbarError(
            f"{name}: its forward was replaced on the module itself, which tiles would not follow; merge "
            "what it does into the weight, do it in a module around the layer, or leave the layer digital"
        )
