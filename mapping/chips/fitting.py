"""Whether a network is the one that was mapped: its modules, and of each mapped layer weights and bias.

A chip of a network whose batch norms are folded does not fit the network that still has them: they would act
twice. Weights fit where they go to the state numbers of the mapping, so that they may lie on their levels or
be those that the levels were found for.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from mapping.network.gemm import Layer, geometry_of, groups_of, kind_of, mappable_layers, to_gemm
from mapping.network.modules import check_own_forward, types_of_modules
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from xbar.conductances.encoding import encode
from xbar.hardware.errors import XbarError

SAMPLE = 1 << 16
"""Weights of a layer that are compared: rows of its matrix, evenly spread over it."""

HOW = "give the network that was mapped (where crossbar_form made it, its result), or map this one"


def fitting_layers(model: nn.Module, mapped: MappedNetwork, *, weights: bool = True) -> dict[str, Layer]:
    """The mapped layers of a model, by name, where it is the network that was mapped.

    Parameters
    ----------
    weights
        Whether those of mapped layers must be the mapped ones, too, with their biases.

    Raises
    ------
    XbarError
        For a layer or module that is missing, or another one than was mapped, and for a layer whose forward
        was replaced.
    """
    modules = mappable_layers(model)
    for name, layer in mapped.layers.items():
        if name not in modules:
            raise XbarError(f"{name}: mapped, but {type(model).__name__} has no such layer")
        _check_shape(name, modules[name], layer)
        check_own_forward(name, modules[name])
    _check_modules(types_of_modules(model), mapped.modules)
    if weights:
        for name, layer in mapped.layers.items():
            _check_parameters(name, modules[name], layer)
    return {name: modules[name] for name in mapped.layers}


def _check_shape(name: str, module: Layer, layer: MappedLayer) -> None:
    shape = tuple(to_gemm(module).shape)
    if shape != (layer.k, layer.n):
        raise XbarError(f"{name}: its GEMM matrix is {shape}, that of the mapping {(layer.k, layer.n)}")
    here = kind_of(module), groups_of(module), geometry_of(module)
    there = layer.kind, layer.groups, layer.geometry
    if here != there:
        raise XbarError(f"{name}: is a {_words(*here)}; mapped was a {_words(*there)}")


def _words(kind: str, groups: int, geometry: object) -> str:
    return f"{kind} of {groups} group{'s' * (groups > 1)}" + ("" if geometry is None else f", {geometry}")


def _check_modules(here: Mapping[str, str], there: Mapping[str, str]) -> None:
    for name in dict.fromkeys((*there, *here)):
        if here.get(name) != there.get(name):
            is_here = f"is of type {here[name]}" if name in here else "is not in this network"
            was = f"was of type {there[name]}" if name in there else "was not there"
            raise XbarError(f"{name}: {is_here}; when the network was mapped, it {was}: {HOW}")


def _check_parameters(name: str, module: Layer, layer: MappedLayer) -> None:
    if module.weight.is_meta or layer.state is None or layer.scale is None:
        return
    bias = None if module.bias is None else module.bias.detach().float().cpu().numpy()
    if (bias is None) != (layer.bias is None) or not np.array_equal(bias, layer.bias):  # type: ignore[arg-type]
        raise XbarError(f"{name}: its bias is not the one that was mapped; {HOW}")
    w = to_gemm(module)
    rows = torch.linspace(0, layer.k - 1, min(layer.k, max(SAMPLE // layer.n, 1))).long()
    some = w[rows.to(w.device)].float().cpu().numpy()
    mask = np.ones(some.shape, np.bool_) if layer.mask is None else layer.mask[rows.numpy()]
    zeros = np.zeros(some.shape, np.bool_) if layer.zeros is None else layer.zeros[rows.numpy()]
    zeros = zeros | (mask & (np.asarray(layer.scale) == 0))  # a column of zeros has no scale
    if (some[zeros] != 0).any():
        raise XbarError(f"{name}: its weights are not those that were mapped; {HOW}")
    state = encode(some, layer.scale, mask, layer.hardware.encoding, layer.hardware.device)
    if not np.array_equal(state, layer.state[rows.numpy()]):
        raise XbarError(f"{name}: its weights are not those that were mapped; {HOW}")
