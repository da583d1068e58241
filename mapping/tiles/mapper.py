"""From a network to a `MappedNetwork`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mapping.constraints.constraint import by_pattern
from mapping.constraints.scale import fit_scales
from mapping.lowering.own_forward import check_forwards, or_export
from mapping.network.gemm import Layer, geometry_of, groups_of, kind_of, mappable_layers, to_gemm, types_of
from mapping.network.inputs import Inputs
from mapping.network.modules import check_own_forward, types_of_modules
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from mapping.tiles.packing import laid_out
from mapping.tiles.trace import Calls, trace
from mapping.tiles.zeros import in_blocks, without_zeros
from xbar.conductances.encoding import encode, held_on_levels, levels
from xbar.hardware.checks import check_kind, check_range, check_types
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError, unknown_name


@dataclasses.dataclass(frozen=True)
class Choice:
    """The hardware and the place of the bias of a layer that are not those of the network.

    Parameters
    ----------
    hardware
        Hardware of the layer; None: the network's. Only `periphery` must be the same for all.
    digital
        True: the layer stays digital.
    bias_rows
        Word lines that carry the bias, each driven as the largest input; 0: the bias is digital.

    Raises
    ------
    XbarError
        For a field of another type, and for hardware or word lines of a layer that stays digital.
    """

    hardware: Hardware | None = None
    digital: bool = False
    bias_rows: int = 0

    def __post_init__(self) -> None:
        check_types(self, "choice of a layer: ")
        check_range("bias_rows", self.bias_rows, 0, 1024)
        if self.digital and (self.hardware is not None or self.bias_rows):
            idle = "bias_rows" if self.bias_rows else "hardware"
            raise XbarError(f"choice of a layer: {idle}: has no effect with digital = True")


def map_network(
    model: nn.Module,
    hardware: Hardware,
    example_input: Inputs,
    *,
    layers: Mapping[str, Choice] | None = None,
    masks: Mapping[str, torch.Tensor] | None = None,
    scales: Mapping[str, float | Sequence[float] | NDArray[np.floating]] | None = None,
    packing: bool = True,
    states: bool = True,
) -> MappedNetwork:
    """Map every linear and convolution layer of a network onto tiles.

    A layer that runs several times in a forward pass has one set of tiles. Layers that share a weight have a
    set each.

    Parameters
    ----------
    model
        Its weights are put on the levels of the hardware's encoding; weights on torch's ``meta`` device
        give a mapping without weights.
    example_input
        One batch of the network's input: a tensor, or a tuple or dict of what it is called with. It gives the
        positions an image of each layer (`mapping.tiles.images.images_of`).
    layers
        Choices by layer name, pattern (``*``, ``?``) or type (``Conv2d``); a name goes before a pattern or
        type, and of these the first that fits counts.
    masks
        (K, N) bool by layer name, true where a weight stays; layers not named keep all weights. A weight that
        is exactly 0 is masked in any case, unless the encoding has a level for it (`encoding.zeros`).
    scales
        Weight of one `device.unit` by layer name, one for the layer or one for each column (N,); where not
        given it is fitted (least squared error), as `encoding.scale` says.
    packing
        Pack surviving columns and drop dead word lines (`packing.pack`), or leave every weight at its
        place in the grid (`packing.grid`).
    states
        Put the weights on levels; without, only where they stand is known, and which of them are 0, as
        `without_weights` of the mapping tells it. Memory is then taken for tiles and masks alone.

    Raises
    ------
    XbarError
        For a layer that is not supported, a choice, mask or scale for a layer that does not exist, a mask of
        another shape, or an example input that the network does not take.
    """
    check_kind("model", model, nn.Module)
    check_kind("hardware", hardware, Hardware)
    if not isinstance(hardware, Hardware):
        raise XbarError(
            f"hardware: a {type(hardware).__name__}; must be a Hardware, such as load_hardware('ideal') gives"
        )
    modules = _mappable(model, example_input)
    chosen = _choices(layers or {}, modules, hardware)
    on_tiles = {name: module for name, module in modules.items() if not chosen[name].digital}
    if not on_tiles:
        raise XbarError("layers: every layer is left digital; at least one must go onto crossbars")
    for name, module in on_tiles.items():
        check_own_forward(name, module)
    check_forwards(model, on_tiles, example_input)
    masks, scales = masks or {}, scales or {}
    for name in (*masks, *scales):
        if name not in on_tiles:
            raise unknown_name("layer with a mask or scale", name, on_tiles)
    calls, digital, dataflow = trace(model, on_tiles, example_input)
    mapped = {
        name: _map_layer(
            name, on_tiles[name], chosen[name], masks.get(name), scales.get(name), calls[name], packing
        )
        for name in calls
    }
    if states:
        mapped = {name: _with_states(layer, on_tiles[name]) for name, layer in mapped.items()}
    return MappedNetwork(
        hardware,
        mapped,
        digital_elements=digital.elements,
        digital_macs=digital.macs,
        digital_unknown=digital.unknown,
        digital_operations=digital.operations,
        modules=types_of_modules(model),
        dataflow=dataflow,
    )


def _mappable(model: nn.Module, example_input: Inputs) -> dict[str, Layer]:
    try:
        return mappable_layers(model)
    except XbarError as error:
        raise XbarError(f"{error}{or_export(model, '', example_input)}") from None


def _choices(
    layers: Mapping[str, Choice], modules: Mapping[str, Layer], hardware: Hardware
) -> dict[str, Choice]:
    """The choice of each layer; hardware on crossbars is never None, and one object for all that have the
    same."""
    given = by_pattern(layers, list(modules), "choice of a layer", types_of(modules))
    for name, choice in given.items():
        if not isinstance(choice, Choice):
            raise XbarError(
                f"choice of layer {name}: a {type(choice).__name__}; must be a mapping.Choice, such as "
                "Choice(hardware=...) or Choice(digital=True)"
            )
    shared = {hardware: hardware}
    chosen = {}
    for name in modules:
        choice = given.get(name, Choice())
        if choice.digital:
            chosen[name] = choice
            continue
        own = hardware if choice.hardware is None else choice.hardware
        if dataclasses.replace(own.periphery, copies=hardware.periphery.copies) != hardware.periphery:
            raise XbarError(
                f"hardware of {name}: its periphery differs; one chip has one periphery, only its copies may "
                "differ"
            )
        chosen[name] = dataclasses.replace(choice, hardware=shared.setdefault(own, own))
    return chosen


def _map_layer(
    name: str,
    module: Layer,
    choice: Choice,
    mask: torch.Tensor | None,
    scale: float | Sequence[float] | NDArray[np.floating] | None,
    calls: Calls,
    packing: bool,
) -> MappedLayer:
    w = to_gemm(module)
    k, n = w.shape
    kind, groups, bias, hardware = kind_of(module), groups_of(module), module.bias, choice.hardware
    assert hardware is not None
    bias_rows = 0 if bias is None else choice.bias_rows
    if bias_rows and (groups > 1 or kind.startswith("conv_transpose")):
        raise XbarError(
            f"{name}: a bias on word lines needs a layer of one group that is not transposed; "
            "leave it digital"
        )
    values = None if w.is_meta else w.float().cpu().numpy()
    if values is not None and not all(np.isfinite(block).all() for block in in_blocks(values)):
        raise XbarError(f"{name}: has weights that are not finite numbers")
    given = None if mask is None else _checked_mask(mask, name, (k, n))
    kept, zeros = given, None
    if values is not None and hardware.encoding.masks_zeros:
        kept, zeros = without_zeros(given, values)
    held = None if bias is None or bias.is_meta else bias.detach().float().cpu().numpy().copy()
    if held is not None and not np.isfinite(held).all():
        raise XbarError(f"{name}: has biases that are not finite numbers")
    layer = MappedLayer(
        name=name,
        kind=kind,
        k=k,
        n=n,
        positions=calls.vectors,
        bands=(),
        hardware=hardware,
        geometry=geometry_of(module),
        outputs=None if calls.values == calls.vectors * n else calls.values,
        groups=groups,
        bias_rows=bias_rows,
        mask=kept,
        zeros=zeros,
        scale=None if scale is None else _checked_scale(scale, name, n),
        bias=held,
    )
    return laid_out(layer, packed=packing and layer.mask is not None)


def _checked_mask(mask: torch.Tensor, name: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    if tuple(mask.shape) != shape:
        raise XbarError(f"mask of {name}: shape {tuple(mask.shape)}, the GEMM matrix is {shape}")
    if mask.dtype != torch.bool:
        raise XbarError(f"mask of {name}: {mask.dtype}; must be torch.bool, true where a weight stays")
    kept: NDArray[np.bool_] = mask.cpu().numpy().copy()
    return kept


def _checked_scale(
    scale: float | Sequence[float] | NDArray[np.floating], name: str, n: int
) -> NDArray[np.float64]:
    """The scale of each column."""
    try:
        given = np.asarray(scale, np.float64)
    except (TypeError, ValueError):
        raise XbarError(
            f"scale of {name} = {scale!r}: must be a number, or {n}, one for each column"
        ) from None
    if given.shape not in ((), (n,)):
        raise XbarError(
            f"scale of {name}: shape {given.shape}; must be a number, or {n}, one for each column"
        )
    wrong = given[~(np.isfinite(given) & (given >= 0))]
    if wrong.size:
        raise XbarError(f"scale of {name} = {wrong[0]}: must be a positive number (0 for a column of zeros)")
    return np.broadcast_to(given, n).copy()


def _with_states(layer: MappedLayer, module: Layer) -> MappedLayer:
    """The layer with its state numbers and scale; as it is where the module has no values."""
    if module.weight.is_meta:
        return layer
    w = to_gemm(module).float().cpu().numpy()
    scale, encoding, device = layer.scale, layer.hardware.encoding, layer.hardware.device
    held = layer.mask if encoding.masks_zeros else held_on_levels(w, layer.mask, encoding)
    if held is not None and held.all():
        held = None  # memory of a byte a weight
    if scale is None:
        scale = fit_scales(w, held, levels(encoding, device), encoding.scale)
    elif ((w != 0 if held is None else held & (w != 0)) & (scale == 0)).any():
        raise XbarError(f"scale of {layer.name} = 0.0: must be a positive number where there are weights")
    state = encode(w, scale, layer.mask, encoding, device)
    return dataclasses.replace(layer, state=state, scale=scale)


def without_weights(mapped: MappedNetwork) -> MappedNetwork:
    """The same mapping with geometry and masks only."""
    layers = {
        name: dataclasses.replace(layer, state=None, bias_state=None, scale=None, bias=None, calibration=None)
        for name, layer in mapped.layers.items()
    }
    return dataclasses.replace(mapped, layers=layers)


def unpruned(mapped: MappedNetwork) -> MappedNetwork:
    """The mapping as if no weight were masked, each at its place in the grid, with geometry only."""
    layers = {}
    for name, layer in without_weights(mapped).layers.items():
        layers[name] = laid_out(dataclasses.replace(layer, mask=None, zeros=None), packed=False)
    return dataclasses.replace(mapped, layers=layers)
