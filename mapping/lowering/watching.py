"""Operations that a module applies to its input, one after the other."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments by position and by name."""


@dataclass(frozen=True)
class WatchedCall:
    """One operation of a chain.

    Parameters
    ----------
    name
        Name of the module that does the work.
    function
        The function that was called.
    constants
        Its arguments beyond the first, by name for products and batch norms.
    """

    name: str
    function: Callable[..., Any]
    constants: Call


PRODUCTS: dict[Any, tuple[str, ...]] = {
    F.linear: ("input", "weight", "bias"),
    **dict.fromkeys(
        (F.conv1d, F.conv2d, F.conv3d),
        ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    ),
    **dict.fromkeys(
        (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
        ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    ),
}
"""Parameters of each function, in order; torch's builtin functions have no signature."""

DECIDES = frozenset("item tolist numpy __bool__ __float__ __int__ __index__ equal allclose".split())
"""Operations that take values out of a tensor; a forward that uses one may decide by the values."""


class Watch(TorchFunctionMode):
    """Follows one tensor through the forward of a module.

    Attributes
    ----------
    steps
        The operations on it, in order.
    obstacle
        The first that took more than what the one before it gave, and constants; "" where none did.
    decides
        Whether the forward looked at values, and may do something else for others.
    output
        What the module gave.
    """

    def __init__(self, module: nn.Module, x: torch.Tensor) -> None:
        super().__init__()
        self.steps: list[WatchedCall] = []
        self.obstacle = ""
        self.decides = False
        self._at = x
        self._seen = [x]  # holds them, so that no other tensor takes an id
        self._inside = 0
        handles = []
        for name, child in module.named_modules():
            if child is not module:
                handles.append(child.register_forward_pre_hook(self._enter, with_kwargs=True))
                handles.append(child.register_forward_hook(self._leave(name), with_kwargs=True))
        try:
            with self:
                self.output = module.forward(x)
        finally:
            for handle in handles:
                handle.remove()
        if not self.obstacle and self.output is not self._at:
            self.obstacle = "its output is not what its last operation gave"

    def _followed(self, values: Any) -> list[torch.Tensor]:
        return [v for v in tree_leaves(values) if any(v is seen for seen in self._seen)]

    def _enter(self, child: nn.Module, args: Any, kwargs: Any) -> None:
        self._inside += 1

    def _leave(self, name: str) -> Callable[..., None]:
        def hook(child: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self._inside -= 1
            if not self._inside and self._followed((args, kwargs)):
                self._go(name.replace(".", "_"), child, args, kwargs, output)

        return hook

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        version = self._at._version
        result = func(*args, **kwargs)
        if self._inside or not self._followed((args, kwargs)):
            return result
        name = getattr(func, "__name__", str(func))
        unchanged = result is self._at and self._at._version == version
        if not any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(result)):
            if name in DECIDES:
                self.decides = True
                self.obstacle = self.obstacle or f"{name}: it may decide by the values of its input"
        elif name == "__get__":
            self._refuse(name, result)
        elif not unchanged:
            self._go(name.strip("_"), func, args, kwargs, result)
        return result

    def _go(
        self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """One operation further, where it takes the tensor that is followed, and constants otherwise."""
        if function in PRODUCTS or function in (F.batch_norm, torch.batch_norm):
            names = PRODUCTS.get(function) or tuple(inspect.signature(F.batch_norm).parameters)
            given = dict(zip(names, args, strict=False)) | kwargs
            args, kwargs = (given.pop("input"),), given
            name = "product" if function in PRODUCTS else "norm"
            others: list[Any] = [v for v in given.values() if any(v is seen for seen in self._seen)]
        else:
            others = [v for v in tree_leaves((args[1:], kwargs)) if isinstance(v, torch.Tensor)]
        if not args or args[0] is not self._at or others or not isinstance(result, torch.Tensor):
            self._refuse(name, result)
            return
        self.steps.append(WatchedCall(name, function, (args[1:], kwargs)))
        self._at = result
        self._seen.append(result)

    def _refuse(self, name: str, result: Any) -> None:
        self.obstacle = self.obstacle or f"{name}: takes more than what the operation before it gave"
        self._seen += [v for v in tree_leaves(result) if isinstance(v, torch.Tensor)]
