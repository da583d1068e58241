"""From a network to a `MappedNetwork`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mapping.gemm import Layer, geometry_of, mappable_layers, to_gemm
from mapping.network import MappedLayer, MappedNetwork
from mapping.packing import grid, pack
from mapping.scale import fit_scale
from xbar.encoding import encode, levels
from xbar.errors import XbarError, unknown_name
from xbar.hardware import Hardware


def map_network(
    model: nn.Module,
    hardware: Hardware,
    example_input: torch.Tensor,
    *,
    masks: Mapping[str, torch.Tensor] | None = None,
    scales: Mapping[str, float] | None = None,
    packing: bool = True,
) -> MappedNetwork:
    """Map every linear and convolution layer of a network onto tiles.

    Parameters
    ----------
    model
        Its weights are put on the levels of the hardware's encoding.
    example_input
        One batch of the network's input; gives the positions an image of each layer.
    masks
        (K, N) bool by layer name, true where a weight stays; layers not named keep all weights.
    scales
        Weight of one `device.unit` by layer name; where not given it is fitted (least squared error).
    packing
        Pack surviving columns and drop dead word lines (`mapping.packing.pack`), or leave every weight at its
        place in the grid (`mapping.packing.grid`).

    Raises
    ------
    XbarError
        For a layer that is not supported, a mask or scale for a layer that does not exist or of another
        shape, or an example input that the network does not take.
    """
    if not isinstance(hardware, Hardware):
        raise XbarError(
            f"hardware: a {type(hardware).__name__}; must be a Hardware, such as load_hardware('ideal') gives"
        )
    layers = mappable_layers(model)
    masks, scales = masks or {}, scales or {}
    for name in (*masks, *scales):
        if name not in layers:
            raise unknown_name("layer with a mask or scale", name, layers)
    positions, digital = _trace(model, layers, example_input)
    mapped = {}
    for name in positions:
        mapped[name] = _map_layer(
            name, layers[name], hardware, masks.get(name), scales.get(name), positions[name], packing
        )
    return MappedNetwork(hardware, mapped, digital)


def _map_layer(
    name: str,
    module: Layer,
    hardware: Hardware,
    mask: torch.Tensor | None,
    scale: float | None,
    positions: int,
    packing: bool,
) -> MappedLayer:
    w = to_gemm(module.weight).double().numpy()
    k, n = w.shape
    if not np.isfinite(w).all():
        raise XbarError(f"{name}: has weights that are not finite numbers")
    kept = None
    if mask is not None:
        if tuple(mask.shape) != (k, n):
            raise XbarError(f"mask of {name}: shape {tuple(mask.shape)}, the GEMM matrix is {(k, n)}")
        if mask.dtype != torch.bool:
            raise XbarError(f"mask of {name}: {mask.dtype}; must be torch.bool, true where a weight stays")
        kept = mask.numpy().copy()
    rows, cols = hardware.crossbar.rows, hardware.weights_per_tile_row
    bands = grid(k, n, rows, cols, kept) if kept is None or not packing else pack(kept, rows, cols)
    everywhere = np.ones((k, n), bool) if kept is None else kept
    if scale is not None and not (np.isfinite(scale) and scale > 0):
        raise XbarError(f"scale of {name} = {scale}: must be a positive number")
    if scale is None:
        scale = fit_scale(np.abs(w[everywhere]), levels(hardware.encoding, hardware.device))
    return MappedLayer(
        name=name,
        kind="linear" if isinstance(module, nn.Linear) else "conv2d",
        k=k,
        n=n,
        positions=positions,
        bands=bands,
        geometry=geometry_of(module),
        mask=kept,
        state=encode(w, scale, everywhere, hardware.encoding, hardware.device),
        scale=scale,
        bias=None if module.bias is None else module.bias.detach().numpy().astype(np.float32),
    )


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the input elements of every operator that runs outside the mapped layers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements: Counter[str] = Counter()
        self.in_layer = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not self.in_layer and args and isinstance(args[0], torch.Tensor):
            self.elements[func.overloadpacket.__name__] += args[0].numel()
        return func(*args, **(kwargs or {}))


_LAYOUT = {"t", "view", "detach", "_unsafe_view", "transpose", "permute", "unsqueeze", "squeeze", "clone"}


@torch.no_grad()
def _trace(
    model: nn.Module, layers: Mapping[str, Layer], example: torch.Tensor
) -> tuple[dict[str, int], dict[str, int]]:
    """Positions an image by layer in the order of execution, and elements an image of digital operators."""
    if example.dim() < 2 or not len(example):
        raise XbarError(f"example_input: shape {tuple(example.shape)}; needs a batch of at least one input")
    positions: dict[str, int] = {}
    operators = _Operators()

    def enter(module: Layer, inputs: tuple[torch.Tensor, ...]) -> None:
        operators.in_layer = True

    def leave(name: str) -> Callable[..., None]:
        def hook(module: Layer, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            operators.in_layer = False
            if name in positions:
                raise XbarError(f"{name}: runs more than once in a forward pass; that is not supported")
            vectors = output.numel() // len(module.weight)
            if vectors % len(example):
                raise XbarError(
                    f"{name}: runs on {vectors} vectors for a batch of {len(example)}; "
                    "a layer that mixes the inputs of a batch is not supported"
                )
            positions[name] = vectors // len(example)

        return hook

    handles = [module.register_forward_pre_hook(enter) for module in layers.values()]
    handles += [module.register_forward_hook(leave(name)) for name, module in layers.items()]
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with operators:
            model(example)
    except XbarError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise XbarError(
            f"example_input of shape {tuple(example.shape)}: the network refuses it: {reason}"
        ) from None
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode
    missing = [name for name in layers if name not in positions]
    if missing:
        raise XbarError(
            f"{missing[0]}: is not reached by the forward pass of the example input, or only its weight is "
            "(as in nn.MultiheadAttention); that is not supported"
        )
    digital = {op: count // len(example) for op, count in operators.elements.items() if op not in _LAYOUT}
    return positions, digital


def without_weights(mapped: MappedNetwork) -> MappedNetwork:
    """The same mapping with geometry and masks only."""
    layers = {
        name: dataclasses.replace(layer, state=None, scale=None, bias=None, calibration=None)
        for name, layer in mapped.layers.items()
    }
    return dataclasses.replace(mapped, layers=layers)
