"""Weights that several layers share: one to every method, whatever the number of layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from mapping.network.gemm import Layer, as_gemm, from_gemm, groups_of, kind_of, layer_of
from xbar.hardware.errors import XbarError

T = TypeVar("T")


def by_weight(model: nn.Module, names: Iterable[str]) -> dict[str, list[str]]:
    """The layers of each weight, among those named: the first one, and all in order."""
    first: dict[int, str] = {}
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(first.setdefault(id(layer_of(model, name).weight), name), []).append(name)
    return found


def one_a_weight(model: nn.Module, what: str, given: Mapping[str, T]) -> dict[str, T]:
    """The entry that is given for each weight, by the first of its layers; `what` begins the message.

    Raises
    ------
    XbarError
        Where layers of one weight are given what differs, or are layers whose GEMM matrices of it differ.
    """
    found = {}
    for first, layers in by_weight(model, given).items():
        found[first] = given[first]
        for other in layers[1:]:
            if _view(layer_of(model, first)) != _view(layer_of(model, other)) or not _equal(
                given[first], given[other]
            ):
                raise differ(what, first, other)
    return found


def for_all_layers(
    model: nn.Module, names: Iterable[str], masks: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Masks (K, N) of all these layers, where `masks` has those of the first layer of each weight."""
    found = {}
    for first, layers in by_weight(model, names).items():
        found[first] = masks[first]
        whole = from_gemm(masks[first].float(), layer_of(model, first)) > 0
        for name in layers[1:]:
            found[name] = as_gemm(whole, layer_of(model, name))
    return found


def differ(what: str, first: str, other: str) -> XbarError:
    """Error for two layers of one weight that ask for different things of it."""
    return XbarError(
        f"{what}: layers {first!r} and {other!r} share one weight, and theirs differ; give both the same, or "
        "name one of them"
    )


def _view(layer: Layer) -> tuple[str, int]:
    """Kind and groups of a layer, on which the GEMM matrix of its weight depends."""
    return kind_of(layer), groups_of(layer)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if dataclasses.is_dataclass(a) and type(a) is type(b):
        return all(_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return bool(a == b)
