"""Inputs of a network: a tensor, several inputs by their position, or by their names."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

from xbar.hardware.errors import XbarError

Inputs = torch.Tensor | Sequence[Any] | Mapping[str, Any]
"""One batch: a tensor, a tuple or list of the arguments of a forward, or a dict of them by name. An argument
may itself be a tuple, list or dict of tensors, a number, or None."""


def is_inputs(given: Any) -> bool:
    """Whether a network can be called with it: a tensor, or a tuple, list or dict with a tensor inside."""
    return isinstance(given, torch.Tensor | tuple | list | Mapping) and bool(tensors_of(given))


def arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of a forward by position and by name."""
    if isinstance(inputs, torch.Tensor):
        return (inputs,), {}
    return ((), dict(inputs)) if isinstance(inputs, Mapping) else (tuple(inputs), {})


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Call a network on a batch."""
    args, kwargs = arguments(inputs)
    return model(*args, **kwargs)


def tensors_of(inputs: Any) -> list[torch.Tensor]:
    """All tensors of a batch, in the order of the arguments."""
    return [each for each in tree_leaves(_plain(inputs)) if isinstance(each, torch.Tensor)]


def length_of(inputs: Any) -> int:
    """Length of the first axis of a batch: of its first tensor that has one."""
    return next((len(each) for each in tensors_of(inputs) if each.dim()), 1)


def each_tensor(function: Callable[[torch.Tensor], torch.Tensor], inputs: Inputs) -> Inputs:
    """The batch with a function of each of its tensors in its place."""
    made: Inputs = tree_map_only(torch.Tensor, function, _plain(inputs))
    return made


def device_of(model: nn.Module) -> torch.device:
    """Device of a network's first weight; the processor for a network without weights."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def on_host(model: nn.Module) -> nn.Module:
    """A network on the processor: itself, or a copy of one that is elsewhere."""
    return model if device_of(model).type == "cpu" else copy.deepcopy(model).cpu()


def sent(inputs: Inputs, device: torch.device) -> Inputs:
    """The batch on a device."""
    return each_tensor(lambda x: x.to(device, non_blocking=True), inputs)


def _plain(inputs: Any) -> Any:
    """A dict in place of a mapping of another class, such as a tokeniser gives."""
    return dict(inputs) if isinstance(inputs, Mapping) else inputs


def shapes_of(inputs: Inputs) -> str:
    """``shape (1, 3, 32, 32)``, or the shapes of several tensors."""
    shapes = [str(tuple(x.shape)) for x in tensors_of(inputs)]
    return f"shape{'s' * (len(shapes) > 1)} {', '.join(shapes)}"


def check_inputs(inputs: Any) -> None:
    """Refuse what no network is called with.

    Raises
    ------
    XbarError
        For another type, or one without a tensor inside.
    """
    if not is_inputs(inputs):
        without = " without a tensor" if isinstance(inputs, tuple | list | Mapping) else ""
        raise XbarError(
            f"example_input: a {type(inputs).__name__}{without}; must be a torch.Tensor, one batch, or a "
            "tuple, list or dict of tensors, as the network is called with them"
        )


def twice(inputs: Inputs) -> Inputs:
    """The batch and then the same again, along the first axis of each tensor."""
    return each_tensor(lambda x: torch.cat([x, x]) if x.dim() else x, inputs)
