"""Layers and batch norms with a forward of their own, understood by what they compute.

Libraries subclass torch's layers: a batch norm that holds an activation, a convolution that pads its input
as TensorFlow does, one that standardises its weight. Such a module is watched while it works. Where it is a
chain, each of whose operations takes what the one before gave and constants otherwise, it becomes torch's own
modules, one an operation; where it is not, it stays what it is.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.export import Dim
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves, tree_map_only

from mapping.lowering.chain import form_of, same, torch_kind
from mapping.lowering.exported import from_exported
from mapping.lowering.watching import Call
from mapping.network.gemm import Layer
from mapping.network.inputs import Inputs, twice
from mapping.network.modules import in_eval_mode, replaced, run_example
from xbar.hardware.errors import XbarError

METHODS = ("forward", "_conv_forward", "__call__")
"""Methods that a subclass may replace to compute something else."""


def has_own_forward(module: nn.Module) -> TypeGuard[Layer | _BatchNorm]:
    """Whether a module is a layer or batch norm by its type, and may do something else than torch's."""
    if not isinstance(module, Layer | _BatchNorm):
        return False
    kind = torch_kind(module)
    own = kind is None or any(getattr(type(module), m, None) is not getattr(kind, m, None) for m in METHODS)
    return own or "forward" in vars(module)


def make_plain(model: nn.Module, example_input: Inputs) -> nn.Module:
    """The network with torch's modules in place of layers that are chains; it is changed in place.

    A chain of one product becomes that layer. A longer one becomes an `nn.Sequential` of, for example,
    `pad` and `product`, and of the modules that it held, under their names. Computed weights are frozen at
    their value in eval mode. A layer that is no chain, or that the example does not reach, stays.

    Raises
    ------
    XbarError
        For an example that the network does not take.
    """
    for name, form in plain_forms(model, example_input, Layer).items():  # type: ignore[arg-type]
        if isinstance(form, nn.Module):
            model = replaced(model, model.get_submodule(name), form)
    return model


def plain_forms(
    model: nn.Module, example_input: Inputs, kinds: type[nn.Module] | tuple[type[nn.Module], ...]
) -> dict[str, nn.Module | str]:
    """Torch's modules that do what each module of these kinds with a forward of its own does, by its name, or
    why there are none. The network stays as it is; modules that the example does not reach are left out.

    Raises
    ------
    XbarError
        For an example that the network does not take.
    """
    own = {n: m for n, m in model.named_modules() if isinstance(m, kinds) and has_own_forward(m)}
    calls = _first_calls(model, own, example_input) if own else {}
    return {name: form_of(own[name], call) for name, call in calls.items()}


def check_forwards(model: nn.Module, names: Iterable[str], example_input: Inputs) -> None:
    """Refuse layers that do something else than torch's layer with their parameters.

    Raises
    ------
    XbarError
        For such a layer, with what to do.
    """
    own = {name: model.get_submodule(name) for name in names}
    own = {name: module for name, module in own.items() if has_own_forward(module)}
    calls = _first_calls(model, own, example_input) if own else {}
    for name, module in own.items():
        says = f"{name}: {type(module).__name__} has a forward of its own"
        if name not in calls:
            raise XbarError(f"{says} and is not reached by the example input; leave it digital")
        form = form_of(module, calls[name])
        if isinstance(form, nn.Module):
            if _is_as_torch(module, form):
                continue
            raise XbarError(
                f"{says}; map mapping.crossbar_form of the network, where torch's layers do the same"
            )
        raise XbarError(
            f"{says}, which tiles would not follow ({form}); use a plain layer and do the rest in a module "
            f"around it, or leave it digital{or_export(model, name, example_input)}"
        )


def or_export(model: nn.Module, name: str, example_input: Inputs) -> str:
    """The end of a refusal: that an exported program would do, where it is so for a module of the network, or
    for the network, ``""``; else nothing."""
    if not _works_exported(model, name, example_input):
        return ""
    return ", or map a torch.export program (.pt2) of the network, where its products are layers"


def _works_exported(model: nn.Module, name: str, example_input: Inputs) -> bool:
    module = model.get_submodule(name)
    try:
        args, kwargs = _first_calls(model, {name: module}, twice(example_input))[name]
        given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        sizes = {key: _any_size(value) for key, value in given.items()}
        with torch.no_grad(), in_eval_mode(module), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            form = from_exported(torch.export.export(module, args, kwargs, dynamic_shapes=sizes))
            ours, theirs = tree_leaves(form(*args, **kwargs)), tree_leaves(module(*args, **kwargs))
    except Exception:  # whatever an export meets in a user's code
        return False
    equal = all(same(a, b) for a, b in zip(ours, theirs, strict=True) if isinstance(b, torch.Tensor))
    return equal and any(isinstance(part, Layer) for part in form.modules())


def _any_size(value: Any) -> Any:
    return dict.fromkeys(range(value.dim()), Dim.AUTO) if isinstance(value, torch.Tensor) else None


def _first_calls(
    model: nn.Module, modules: Mapping[str, nn.Module], example_input: Inputs
) -> dict[str, Call]:
    """Copies of the arguments that each module is first called with."""
    calls: dict[str, Call] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls.setdefault(name, tree_map_only(torch.Tensor, torch.clone, (args, kwargs)))

        return hook

    handles = [m.register_forward_pre_hook(note(n), with_kwargs=True) for n, m in modules.items()]
    try:
        run_example(model, example_input)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _is_as_torch(module: nn.Module, form: nn.Module) -> bool:
    """Whether a form is the module's own layer, with its weight and its sizes."""
    if not (isinstance(module, Layer) and isinstance(form, Layer)):
        return False
    sizes = ("stride", "padding", "dilation", "groups", "padding_mode", "output_padding")
    equal = all(getattr(form, key, None) == getattr(module, key, None) for key in sizes)
    return equal and form.weight is module.weight and form.bias is module.bias
