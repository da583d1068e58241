"""A device that is not there: tensors with values that lie elsewhere, on a machine without an accelerator.

Within `far_device`, ``tensor.to(FAR)`` gives a tensor whose ``device`` is not the processor's, and which
computes as ever. As on a real accelerator, an operation on tensors of both devices is an error. Unlike there,
every copy of a tensor back to the host is one, too, so that a test finds each hidden ``.cpu()`` and
``.numpy()``; a few numbers (`FEW`, such as ``float(t)`` or the sums of a metric) may be read.

The device calls itself ``meta``, the only one that torch's autograd accepts in any build. Code that asks for
``is_meta`` sees a tensor without values, and ``torch.tensor(..., device=FAR)`` makes one; ``.to(FAR)`` does
not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

FAR = torch.device("meta")
FEW = 16


_most = FEW
"""Numbers that a tensor may have that is copied back to the host at the moment."""


class HostCopyError(RuntimeError):
    """A tensor was copied from the device to the host."""


class FarTensor(torch.Tensor):
    """A tensor that says that it lies on `FAR`; its values are in `near`."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> FarTensor:
        found: FarTensor = torch.Tensor._make_wrapper_subclass(
            cls, near.shape, near.stride(), near.storage_offset(), dtype=near.dtype, device=FAR
        )
        found.near = near
        return found

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(function, args, kwargs or {})


class _FarMode(TorchDispatchMode):
    """Puts what is made on `FAR` there."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(function, args, kwargs or {})


@contextmanager
def far_device(copies: bool = False, most: int = FEW) -> Iterator[torch.device]:
    """The device `FAR`, within; `copies`: whether any tensor may be copied back to the host, `most`: numbers
    of one that may."""
    global _most
    before, _most = _most, sys.maxsize if copies else most
    try:
        with _FarMode():
            yield FAR
    finally:
        _most = before


def near(tensor: torch.Tensor) -> torch.Tensor:
    """The values of a tensor, wherever it lies: for a test that compares them."""
    return tensor.detach().near if isinstance(tensor.detach(), FarTensor) else tensor.detach()  # type: ignore


def _computed(function: Any, args: Any, kwargs: Any) -> Any:
    """What an operator of torch gives, on the device that it belongs to."""
    name = function._schema.name
    given = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    far = [t for t in given if isinstance(t, FarTensor)]
    asked = kwargs.get("device")
    there = bool(far) if asked is None else torch.device(asked).type == FAR.type
    if name == "aten::copy_":
        there = isinstance(args[0], FarTensor)
        if far and not there and args[1].numel() > _most:
            raise HostCopyError("copy_ of a tensor of the device into one of the host")
    elif name == "aten::_to_copy":
        if far and not there and args[0].numel() > _most:
            raise HostCopyError("a tensor of the device was copied to the host")
    elif far and any(t.dim() and not isinstance(t, FarTensor) for t in given):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    found = function(*tree_map(_near, args), **tree_map(_near, kwargs))
    if function._schema.is_mutable and args and isinstance(args[0], FarTensor):
        return args[0]  # in place
    return tree_map(_far, found) if there else found


def _near(value: Any) -> Any:
    return value.near if isinstance(value, FarTensor) else value


def _far(value: Any) -> Any:
    return FarTensor(value) if isinstance(value, torch.Tensor) and not isinstance(value, FarTensor) else value
