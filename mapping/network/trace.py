"""What runs in a forward pass: the vectors of each mapped layer, and what stays digital."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mapping.network.gemm import Layer
from mapping.network.modules import in_eval_mode
from xbar.hardware.errors import XbarError

aten = torch.ops.aten
FLOPS = {
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
}

LAYOUT = frozenset(
    "t view _unsafe_view reshape detach alias transpose permute unsqueeze squeeze clone expand slice select "
    "split split_with_sizes chunk unbind as_strided lift_fresh empty zeros ones full arange _to_copy "
    "new_zeros new_ones new_full new_empty cat stack copy_ embedding".split()
)
"""Operators that move or make numbers and compute nothing."""


@dataclass(frozen=True)
class Calls:
    """All calls of a layer in one forward pass, an image.

    Parameters
    ----------
    vectors
        Input vectors.
    values
        Output values.
    """

    vectors: int
    values: int


class _Digital(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what runs outside the mapped layers: input elements, or multiply-accumulates of products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements: Counter[str] = Counter()
        self.macs: Counter[str] = Counter()
        self.in_layer = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if self.in_layer or name in LAYOUT:
            return result
        if func.overloadpacket in FLOPS:
            self.macs[name] += FLOPS[func.overloadpacket](*args, **(kwargs or {}), out_val=result) // 2
        elif args and isinstance(args[0], torch.Tensor):
            self.elements[name] += args[0].numel()
        return result


@torch.no_grad()
def trace(
    model: nn.Module, layers: Mapping[str, Layer], example: torch.Tensor
) -> tuple[dict[str, Calls], dict[str, int], dict[str, int]]:
    """Run the example in eval mode; the model is left as it was.

    Returns
    -------
    Calls by layer in the order of execution; then, an image, the input elements of digital operators by name,
    and the multiply-accumulates of digital products by name.

    Raises
    ------
    XbarError
        For an example that the network does not take, or a layer that is not reached or mixes images.
    """
    if not isinstance(example, torch.Tensor):
        raise XbarError(f"example_input: a {type(example).__name__}; must be a torch.Tensor, one batch")
    if example.dim() < 2 or not len(example):
        raise XbarError(f"example_input: shape {tuple(example.shape)}; needs a batch of at least one input")
    vectors: Counter[str] = Counter()
    values: Counter[str] = Counter()
    digital = _Digital()

    def enter(name: str) -> Callable[..., None]:
        def hook(module: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if len(args) + len(kwargs) > 1:
                raise XbarError(f"{name}: is called with more than its input; that is not supported")
            digital.in_layer = True

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(module: Layer, args: tuple[Any, ...], kwargs: dict[str, Any], output: torch.Tensor) -> None:
            digital.in_layer = False
            vectors[name] += _vectors(module, next(iter((*args, *kwargs.values()))), output)
            values[name] += output.numel()

        return hook

    handles = [m.register_forward_pre_hook(enter(name), with_kwargs=True) for name, m in layers.items()]
    handles += [m.register_forward_hook(leave(name), with_kwargs=True) for name, m in layers.items()]
    try:
        with in_eval_mode(model), digital:
            model(example)
    except XbarError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise XbarError(
            f"example_input of shape {tuple(example.shape)}: the network refuses it: {reason}"
        ) from None
    finally:
        for handle in handles:
            handle.remove()
    _check_reached(layers, vectors, len(example))
    images = len(example)
    calls = {name: Calls(count // images, values[name] // images) for name, count in vectors.items()}
    per_image = [
        {name: -(-count // images) for name, count in counter.items()}
        for counter in (digital.elements, digital.macs)
    ]
    return calls, per_image[0], per_image[1]


def _vectors(module: Layer, x: torch.Tensor, output: torch.Tensor) -> int:
    if isinstance(module, nn.Linear):
        return x.numel() // module.in_features
    return x.numel() // module.in_channels if module.transposed else output.numel() // module.out_channels


def _check_reached(layers: Mapping[str, Layer], vectors: Mapping[str, int], images: int) -> None:
    for name in layers:
        if name not in vectors:
            raise XbarError(
                f"{name}: is not reached by the forward pass of the example input, or only its weight is; "
                "leave it digital, or, for the layers of attention, LSTM and GRU, map mapping.crossbar_form "
                "of the network"
            )
        if vectors[name] % images:
            raise XbarError(
                f"{name}: runs on {vectors[name]} vectors for a batch of {images}; "
                "a layer that mixes the inputs of a batch is not supported"
            )
