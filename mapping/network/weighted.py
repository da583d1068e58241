"""Products of data with a weight, element by element: do sums make them products of matrices?

A product x w alone is the work of an element. Once products of different weights are added together, along an
axis, in a loop, or in place, they are the terms of a product of matrices. Until then an operator does one of
four things with such products: it moves or scales them, it adds them to one another, it treats each element
by itself, which ends them, or it is not known and may add them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from mapping.network.operators import LAYOUT

SCALES = frozenset("mul div neg _conj conj_physical".split())
"""Operators whose results are linear in each element, and that mix none."""

MOVES = frozenset(name.removesuffix("_") for name in LAYOUT) | frozenset(
    "repeat repeat_interleave flip roll constant_pad_nd index index_select gather index_put slice_scatter "
    "select_scatter scatter where masked_fill im2col view_as_real view_as_complex real imag _reshape_alias "
    "_unsafe_index movedim unfold masked_select".split()
)
"""Operators that move elements."""

SUMS = frozenset("sum nansum mean cumsum".split())
"""Operators that add elements along the axes of their argument `dim`."""

WINDOWS = ("avg_pool", "_adaptive_avg_pool", "upsample_")
"""Beginnings of the names of operators that add elements along all axes but the first two."""

TERMS = {"add": (0, 1), "sub": (0, 1), "rsub": (0, 1), "addcmul": (0,), "addcdiv": (0,), "index_add": (0, 3)}
"""Places of the arguments that an operator adds to one another, beside the product that it makes itself."""

FACTORS = {"mul": (0, 1), "div": (0, 1), "addcmul": (1, 2), "addcdiv": (1, 2)}
"""Places of the arguments that an operator multiplies or divides, element by element."""


@dataclass(eq=False)
class Work:
    """The work of one call that multiplied data with a weight.

    Parameters
    ----------
    name
        Name of the operator.
    macs
        Its products.
    elements, operations
        What they count as until they are terms of a sum.
    is_counted
        Whether they count as multiply-accumulates already.
    """

    name: str
    macs: int
    elements: int
    operations: Counter[str]
    is_counted: bool


@dataclass(frozen=True, eq=False)
class Products:
    """A tensor of products of data and weights, or of sums of such products alone.

    Parameters
    ----------
    numbers
        Number of the weight that each element takes, of the tensor's shape; weights differ where numbers do.
    works
        What made them.
    """

    numbers: torch.Tensor
    works: tuple[Work, ...]

    def varies(self, axes: Sequence[int] | None = None) -> bool:
        """Whether the weights differ along one of the axes, by default along any."""
        chosen = range(self.numbers.dim()) if axes is None else [axis % self.numbers.dim() for axis in axes]
        return any(
            bool((self.numbers.narrow(axis, 0, size - 1) != self.numbers.narrow(axis, 1, size - 1)).any())
            for axis in chosen
            if (size := self.numbers.shape[axis]) > 1 and self.numbers.stride(axis) != 0
        )


class WeightedSums:
    """The tensors of a forward pass that are such products, and what operators make of them.

    Parameters
    ----------
    is_weight, is_constant
        Whether a tensor follows from weights alone; whether it does not follow from the network's input.
    """

    def __init__(
        self, is_weight: Callable[[torch.Tensor], bool], is_constant: Callable[[torch.Tensor], bool]
    ) -> None:
        self._is_weight, self._is_constant = is_weight, is_constant
        self._held: MutableMapping[torch.Tensor, Products] = WeakTensorKeyDictionary()
        self._written: dict[int, tuple[torch.Tensor, tuple[Work, ...]]] = {}
        self._first: dict[int, int] = {}
        self._next = 0

    def summed(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Work] | None:
        """The work whose products an operator adds to one another; None: it adds none.

        Those of one operator are all its `works`, counted or not.
        """
        name = base_name(func)
        if name in SUMS or name.startswith(WINDOWS):
            held = self._of(args[0])
            if held is None:
                return None
            mixed = held.varies(_axes(name, args, kwargs)) or all(work.is_counted for work in held.works)
            return list(held.works) if mixed else None
        terms = self._terms(name, args)
        if len(terms) < (1 if self.makes(func, args) else 2):
            return None
        return [work for term in terms for work in term.works]

    def makes(self, func: Any, args: tuple[Any, ...]) -> bool:
        """Whether an operator multiplies data with a weight, element by element."""
        factors = [args[place] for place in FACTORS.get(base_name(func), ()) if place < len(args)]
        tensors = [x for x in factors if isinstance(x, torch.Tensor)]
        return (
            len(tensors) == 2
            and any(map(self._is_weight, tensors))
            and not all(map(self._is_constant, tensors))
        )

    def may_add(self, func: Any, inputs: Sequence[torch.Tensor]) -> bool:
        """Whether an operator that is not known takes products of different weights."""
        return any((held := self._of(x)) is not None and held.varies() for x in inputs)

    def note(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, made: Work | None
    ) -> None:
        """Take in what an operator gave; `made` is the work of its own products."""
        name = base_name(func)
        results = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        found = self._found(name, func, args, kwargs, result, made)
        for x in results:
            self._held.pop(x, None)
        for x, products in zip(results, found, strict=False):
            if products is not None:
                self._held[x] = products
        if results and func.overloadpacket.__name__.endswith("_"):
            self._write(results[0], found[0] if found else None)

    def _found(
        self,
        name: str,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        made: Work | None,
    ) -> list[Products | None]:
        """The products that each result of an operator is made of."""
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        held = [products for x in inputs if (products := self._of(x)) is not None]
        works = tuple(dict.fromkeys(work for products in held for work in products.works))
        if made is not None or (name in TERMS and held):
            added = [args[place] for place in TERMS.get(name, ()) if place < len(args)]
            if any(map(self._is_data, added)):
                return [None]
            own = [x for x in inputs if made is not None and self._is_weight(x)]
            numbers = [*(products.numbers for products in held), *map(self._numbers, own)]
            # A factor on products takes their place: it is what the sum multiplies by.
            works = (*(works if name in TERMS else ()), *(() if made is None else (made,)))
            return [Products(_joined(numbers, result.shape), works)]
        if not held:
            return []
        if name in SCALES:
            return [Products(_joined([products.numbers for products in held], result.shape), works)]
        if name in MOVES:
            return [Products(numbers, works) for numbers in self._moved(func, args, kwargs, result)]
        if name in SUMS and not held[0].varies(_axes(name, args, kwargs)):
            return [self._kept(held[0], name, args, kwargs, result)]
        return []

    def _kept(
        self, held: Products, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: torch.Tensor
    ) -> Products:
        """Products after a sum along axes of one weight each."""
        axes = _axes(name, args, kwargs)
        numbers = held.numbers if name == "cumsum" else held.numbers.amax(axes, keepdim=True)
        return Products(numbers.reshape(result.shape), held.works)

    def _moved(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Iterator[torch.Tensor]:
        """The numbers of elements that move; where that cannot be followed, another one for each."""
        results = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]

        def numbers(x: Any) -> Any:
            if not isinstance(x, torch.Tensor) or not (x.is_floating_point() or x.is_complex()):
                return x
            held = self._of(x)
            return torch.full(x.shape, -1) if held is None else held.numbers.contiguous()  # as views need

        if base_name(func) == "_to_copy":
            found = [numbers(args[0])]
        else:
            keys = {key: value for key, value in kwargs.items() if key not in ("device", "dtype")}
            given = tree_map(numbers, args)
            if func.overloadpacket.__name__.endswith("_"):
                given = (given[0].clone(), *given[1:])
            try:
                found = [x for x in tree_leaves(func(*given, **keys)) if isinstance(x, torch.Tensor)]
            except (RuntimeError, TypeError, ValueError, NotImplementedError):
                found = []
        for i, x in enumerate(results):
            fits = i < len(found) and found[i].shape == x.shape
            yield found[i] if fits else torch.arange(x.numel()).view(x.shape)

    def _terms(self, name: str, args: tuple[Any, ...]) -> list[Products]:
        """The products that an operator adds; none where data without a weight is among the terms."""
        terms = [args[place] for place in TERMS.get(name, ()) if place < len(args)]
        if any(self._is_data(x) for x in terms):
            return []
        return [held for x in terms if (held := self._of(x)) is not None]

    def _is_data(self, x: Any) -> bool:
        """Whether a term follows from the input, and is no sum of products with weights alone."""
        return isinstance(x, torch.Tensor) and self._of(x) is None and not self._is_constant(x)

    def _of(self, x: Any) -> Products | None:
        """The products that a tensor, or the storage that it is a view of, is known to be made of."""
        if not isinstance(x, torch.Tensor):
            return None
        if x in self._held:
            return self._held[x]
        written = self._written.get(_place(x))
        return None if written is None else Products(torch.arange(x.numel()).view(x.shape), written[1])

    def _write(self, x: torch.Tensor, products: Products | None) -> None:
        """Take in what is written in place, which all views of the storage see."""
        if products is None:
            self._written.pop(_place(x), None)
        else:
            self._written[_place(x)] = x, products.works

    def _numbers(self, w: torch.Tensor) -> torch.Tensor:
        """Numbers of the elements of a weight: those of its storage, which its views share."""
        if w.layout is not torch.strided:
            return torch.arange(w.numel()).view(w.shape)
        size = w.untyped_storage().nbytes() // w.element_size()
        if _place(w) not in self._first:
            self._first[_place(w)] = self._next
            self._next += size
        first = self._first[_place(w)]
        return torch.arange(first, first + size).as_strided(w.shape, w.stride(), w.storage_offset())


def base_name(func: Any) -> str:
    """Name of an operator, without the underscore of those that work in place."""
    name: str = func.overloadpacket.__name__
    return name.removesuffix("_") if not name.startswith("_") or name.endswith("_") else name


def _place(x: torch.Tensor) -> int:
    return x.untyped_storage()._cdata if x.layout is torch.strided else id(x)


def _joined(numbers: Sequence[torch.Tensor], shape: torch.Size) -> torch.Tensor:
    """Numbers that differ where one of several does, in a shape that all are broadcast to."""
    first, *others = (each.broadcast_to(shape) for each in numbers)
    for other in others:
        first = first * 1_000_003 + other
    return first


def _axes(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
    """Axes of the first argument that an operator adds elements along, counted from the last, which is -1."""
    dims = args[0].dim()
    if name.startswith(WINDOWS):
        return list(range(min(2 - dims, -1), 0))
    given = args[1] if len(args) > 1 else kwargs.get("dim")
    axes = range(-dims, 0) if given is None or given == [] else [given] if isinstance(given, int) else given
    return [axis if axis < 0 else axis - dims for axis in axes]
