"""Sums of numbers that were multiplied by weights one by one: products of matrices that no operator shows.

``(x * w).sum(-1)`` is the product of a matrix with a vector, and so are a loop that adds up ``x[i] * w[i]``,
a running sum, a mean over a window, and the way back from a spectrum, in which a product is a convolution.
A product by itself, such as a gain a channel, is none: it becomes one where numbers are added up that were
multiplied by different weights. So each product carries, for each of its elements, the number of the weight
that it was multiplied by; operators that move elements move these numbers as well.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from mapping.network.operators import ADDS, MOVES, is_sum, reduced_axes

aten = torch.ops.aten

SCALES = (aten.mul, aten.mul_, aten.div, aten.div_, aten.neg)


@dataclass(eq=False)
class Origin:
    """The multiplications of one operator.

    Parameters
    ----------
    name
        Name of the operator.
    macs
        Multiply-accumulates that its products are, once they are summed.
    is_counted
        Whether they count as such already.
    elements, operations
        What they count as else, which the sum takes back.
    """

    name: str
    macs: int
    is_counted: bool
    elements: int
    operations: Counter[str]


@dataclass(frozen=True)
class _Weighted:
    """Elements that were multiplied by weights: where, and by the weight of which number each; 0: by none."""

    origins: tuple[Origin, ...]
    numbers: Tensor


class WeightedSums:
    """Which tensors hold products with weights, and which sums make them products of matrices.

    Parameters
    ----------
    is_constant
        Whether a tensor does not follow from the network's input.
    """

    def __init__(self, is_constant: Callable[[Tensor], bool]) -> None:
        self._is_constant = is_constant
        self._held: MutableMapping[Tensor, _Weighted] = WeakTensorKeyDictionary()
        self._first: dict[int, int] = {}
        self._next = itertools.count(1)

    def met(self, origin: Origin, weights: list[Tensor], result: Tensor) -> None:
        """Take in the result of a multiplication by weights."""
        numbers = torch.zeros((), dtype=torch.int64)
        for weight in weights:
            numbers = numbers + self._numbers(weight)
        self._held[result] = _Weighted((origin,), numbers.expand(result.shape))

    def summed(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> list[Origin] | None:
        """The multiplications that an operator sums over different weights and that do not count yet; they do
        from now on. None: it sums no products. Operators that move or scale products carry them on."""
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        held = [self._held[x] for x in given if x in self._held]
        if not held:
            return None
        packet, name = func.overloadpacket, func.overloadpacket.__name__
        if name in MOVES:
            self._move(func, args, kwargs, result)
        elif packet in SCALES and len(given) == 1:
            self._held[result] = held[0]
        elif packet in ADDS:
            return self._added(given, held, result)
        elif axes := reduced_axes(func, args, kwargs):
            done = is_sum(func) and all(origin.is_counted for origin in held[0].origins)
            return _counted(held[:1]) if done or _vary(held[0].numbers, axes) else None
        return None

    def _added(self, given: list[Tensor], held: list[_Weighted], result: Tensor) -> list[Origin] | None:
        """Multiplications that an addition sums: those of both sides, where their weights differ."""
        others = [x for x in given if x not in self._held]
        if others and not all(map(self._is_constant, others)):
            self._held.pop(result, None)
            return None
        origins = tuple(dict.fromkeys(origin for each in held for origin in each.origins))
        sides = [each.numbers for each in held]
        self._held[result] = _Weighted(origins, sides[0].expand(result.shape))
        differ = len(sides) > 1 and bool((sides[0] != sides[1]).any())
        return _counted(held) if differ else None

    def _move(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Move the numbers of weights as an operator moves elements."""
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        origins = tuple(dict.fromkeys(o for x in given if x in self._held for o in self._held[x].origins))

        def numbers(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if value in self._held:
                return self._held[value].numbers
            moves = value.is_floating_point() or value.is_complex()  # others are places
            return torch.zeros(value.shape, dtype=torch.int64) if moves else value.cpu()

        if func.overloadpacket.__name__ == "_to_copy":
            moved = numbers(args[0])
        else:
            moved = func(*tree_map(numbers, args), **tree_map(numbers, kwargs))
        for one, other in zip(tree_leaves(result), tree_leaves(moved), strict=True):
            if isinstance(one, Tensor):
                self._held[one] = _Weighted(origins, other)

    def _numbers(self, weight: Tensor) -> Tensor:
        """A number for each element, other than 0: the same for elements that lie in the same place."""
        if weight.layout is not torch.strided:
            return torch.arange(1, weight.numel() + 1).view(weight.shape)
        places = weight.untyped_storage().nbytes() // max(1, weight.element_size())
        first = self._first.setdefault(weight.untyped_storage()._cdata, next(self._next) << 32)
        every = torch.arange(first, first + places)
        return every.as_strided(weight.size(), weight.stride(), weight.storage_offset())


def _counted(held: list[_Weighted]) -> list[Origin]:
    """The multiplications that are not counted yet; they are from now on."""
    found = [o for o in dict.fromkeys(o for each in held for o in each.origins) if not o.is_counted]
    for origin in found:
        origin.is_counted = True
    return found


def _vary(numbers: Tensor, axes: frozenset[int]) -> bool:
    """Whether numbers differ along one of some axes, counted from the last, which is -1."""
    inside = [axis for axis in axes if -axis <= numbers.dim() and numbers.shape[axis] > 1]
    return any(bool((numbers != numbers.narrow(axis, 0, 1)).any()) for axis in inside)
