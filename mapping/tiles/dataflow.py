"""Which position of a layer waits for which position of another: the graph that an image streams through.

A layer works through its positions in raster order. While the network runs on one image, every tensor
carries, for each step that it was made from, the last position of that step which each element waits for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from mapping.network.gemm import Layer, geometry_of
from mapping.network.operators import takes_statistics
from mapping.tiles.by_value import ByValue
from mapping.tiles.windows import adaptive, convolved, largest, pooled, reach, spread
from xbar.hardware.errors import one_line

Waits = dict[int, torch.Tensor]
"""By number of a step, its last position that each element of a tensor waits for, int64, broadcast to the
tensor's shape; -1: none."""

PASSED = frozenset(
    "view _unsafe_view reshape t transpose permute unsqueeze squeeze slice select split split_with_sizes "
    "unsafe_split chunk unbind cat stack repeat flip roll expand pixel_shuffle pixel_unshuffle "
    "channel_shuffle upsample_nearest1d upsample_nearest2d upsample_nearest3d constant_pad_nd".split()
)
"""Operators that move elements: what they do to elements, they do to what these wait for."""

KEPT = frozenset(
    "detach alias clone _to_copy lift_fresh contiguous native_batch_norm _native_batch_norm_legit "
    "_native_batch_norm_legit_no_training cudnn_batch_norm _batch_norm_no_update _prelu_kernel "
    "hardswish hardsigmoid".split()
)
"""Operators of which each element is made from the elements in its place, that torch does not tag so."""

DECIDING = frozenset("_local_scalar_dense item nonzero masked_select equal is_nonzero".split())
"""Operators that hand values of tensors over to Python, where nothing follows them."""

HANDED_OUT = frozenset("numpy tolist __array__ tensor as_tensor new_tensor".split())
"""Functions that read values of tensors where no operator runs."""

NORMED = {"native_layer_norm": 1, "_fused_rms_norm": 1}
"""Operators that look at the last axes: the place of their shape among the arguments."""

ALONG = {"_softmax": 1, "_log_softmax": 1, "_safe_softmax": 1, "mean": 1, "sum": 1, "amax": 1, "amin": 1}
"""Operators that look along axes: the place of these among the arguments."""

POOLS = frozenset(
    "max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices mkldnn_max_pool2d avg_pool2d "
    "avg_pool3d".split()
)
ADAPTIVE_POOLS = frozenset(
    "_adaptive_avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d "
    "adaptive_max_pool3d".split()
)


@dataclass(frozen=True, eq=False)
class Wait(ByValue):
    """The positions of an earlier step that a step waits for.

    Parameters
    ----------
    step
        Number of an earlier step.
    last
        For each position, the last position of that step which has to be done, shape (positions,); -1: none.
    """

    step: int
    last: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FlowStep(ByValue):
    """One call of a layer, or of a digital operator that looks at more than the elements in its place.

    Parameters
    ----------
    name
        Name of the layer, or of the operator.
    is_layer
        Whether it is a layer that is mapped.
    positions
        Vectors of one image, which run in raster order; of an operator, places of its output.
    elements
        Elements that it takes in: all of a layer's input, each once.
    waits
        Waits for earlier steps. The image itself is waited for by none, as all of it is there at the start.
    results
        Elements that it gives.
    window
        Places of its input, in raster order, from the first to the last that one position of a layer looks
        at: what a buffer keeps while the layer streams. 1 of an operator.
    operations
        Elementary operations of an operator by kind (`mapping.network.elementary.OPERATIONS`), those of its
        products as ``digital_macs``; of a layer none.
    """

    name: str
    is_layer: bool
    positions: int
    elements: int
    waits: tuple[Wait, ...]
    results: int = 0
    window: int = 1
    operations: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Dataflow(ByValue):
    """The steps of one image in the order in which the network runs them.

    Parameters
    ----------
    gaps
        Where it is not known what depends on what; the steps are then not all that there is to wait for.
    given, returned
        Elements of the image, and of what the network returns.
    """

    steps: tuple[FlowStep, ...]
    gaps: tuple[str, ...] = ()
    given: int = 0
    returned: int = 0


class DataflowTrace:
    """Takes in the operators and layers of a forward pass, one after the other.

    Parameters
    ----------
    given
        Tensors that the network is called with.
    is_constant
        Whether a tensor does not follow from those.
    """

    def __init__(self, given: Iterable[torch.Tensor], is_constant: Callable[[torch.Tensor], bool]) -> None:
        self.steps: list[FlowStep] = []
        self.gaps: dict[str, None] = {}
        self._is_constant = is_constant
        self._last_call: dict[str, int] = {}
        self._waits: MutableMapping[torch.Tensor, Waits] = WeakTensorKeyDictionary()
        self._given = self._returned = self._before = 0
        for tensor in given:
            self._waits[tensor] = {}
            self._given += tensor.numel()

    def dataflow(self) -> Dataflow:
        """The graph of all that was taken in."""
        return Dataflow(tuple(self.steps), tuple(self.gaps), self._given, self._returned)

    def returned(self, result: Any) -> None:
        """Take in what the network returns."""
        self._returned = sum(x.numel() for x in tree_leaves(result) if _is_tensor(x))

    def layer(self, name: str, module: Layer, x: torch.Tensor, output: torch.Tensor) -> None:
        """Take in a call of a mapped layer."""
        geometry = geometry_of(module)
        own, window = self._of(x, name), 1
        if geometry is None or isinstance(module, nn.Linear):
            last = {step: of.expand(x.shape).amax(-1).flatten() for step, of in own.items()}
            positions = x.shape[:-1].numel()
            made = torch.arange(positions).reshape(*output.shape[:-1], 1)
        else:
            space = len(geometry.kernel)
            # channels, and the one image, are no places
            flat = {step: _collapsed(of, x.shape, space) for step, of in own.items()}
            if geometry.transposed:
                last = {step: of.flatten() for step, of in flat.items()}
                positions = x.shape[-space:].numel()
                made = spread(geometry, x.shape[-space:], output.shape[-space:])
            else:
                places = convolved(geometry, x.shape[-space:], output.shape[-space:])
                window = reach(places, x.shape[-space:])
                last = {step: largest(of, places).flatten() for step, of in flat.items()}
                positions = output.shape[-space:].numel()
                made = torch.arange(positions).reshape(output.shape[-space:])
            made = made.reshape(*(1,) * (output.dim() - space), *output.shape[-space:])
        before = self._last_call.get(name)
        if before is not None:  # one set of arrays: a call begins when the one before is done
            last[before] = torch.full((positions,), self.steps[before].positions - 1)
        sizes = x.numel(), output.numel()
        self._last_call[name] = self._step(name, True, positions, sizes, last, window)
        self._waits[output] = {self._last_call[name]: made}

    def function(self, name: str, values: Iterable[Any]) -> None:
        """Take in a call of one of torch's functions; a tensor that is made of one tensor is seen as an
        operator."""
        makes = name.endswith("tensor")
        values = [x for x in values if not makes or not _is_tensor(x)]
        if name in HANDED_OUT and any(self._waits.get(x) for x in tree_leaves(values) if _is_tensor(x)):
            self.gaps.setdefault(f"{name} gives values of tensors to Python")

    def operator(self, func: Any, args: Sequence[Any], inputs: Sequence[torch.Tensor], result: Any) -> None:
        """Take in an operator outside the mapped layers: its arguments, the tensors among them, its results.

        Parameters
        ----------
        args
            By position, those that are named after them.
        """
        name, self._before = func.overloadpacket.__name__, len(self.steps)
        own = [self._of(x, name) for x in inputs]
        if name in DECIDING and any(own):
            self.gaps.setdefault(f"{name} gives values of tensors to Python")
        results = [x for x in (result if isinstance(result, tuple | list) else [result]) if _is_tensor(x)]
        found: list[Waits] = [{} for _ in results]
        shaped = name.endswith("_like") or name.startswith("new_")  # of the shape alone
        if results and any(own) and not shaped:
            try:
                found = self._passed_on(func, name, args, inputs, own, results)
            except Exception as error:  # an operator of a form that nobody has seen; the figures say so
                self.gaps.setdefault(f"{name}: {one_line(error)}")
        for x, waits in zip(results, found, strict=True):
            self._waits[x] = waits
        if func._schema.is_mutable:
            self._write_through(results, found)

    def worked(self, operations: Mapping[str, int]) -> None:
        """Take in what the last operator worked, where it made a step; others work while values pass."""
        if len(self.steps) > self._before and operations:
            self.steps[-1] = dataclasses.replace(self.steps[-1], operations=dict(operations))

    def made(self, x: torch.Tensor) -> bool:
        """Whether a tensor, or what shares its memory, was given or made by an operator or layer."""
        if x in self._waits:
            return True
        if x.layout is not torch.strided:
            return False
        place = x.untyped_storage()._cdata
        seen = (other for other in self._waits if other.layout is torch.strided)
        return any(other.untyped_storage()._cdata == place for other in seen)

    def _of(self, x: torch.Tensor, reader: str) -> Waits:
        waits = self._waits.get(x)
        if waits is None:
            if not self._is_constant(x):
                self.gaps.setdefault(f"{reader} takes a tensor that no operator made")
            return {}
        return waits

    def _step(
        self,
        name: str,
        is_layer: bool,
        positions: int,
        elements: tuple[int, int],
        last: Mapping[int, torch.Tensor],
        window: int = 1,
    ) -> int:
        """Number of a new step that takes in and gives so many elements."""
        waits = tuple(Wait(step, of.to(torch.int64).numpy().copy()) for step, of in last.items())
        self.steps.append(FlowStep(name, is_layer, positions, elements[0], waits, elements[1], window))
        return len(self.steps) - 1

    def _passed_on(
        self,
        func: Any,
        name: str,
        args: Sequence[Any],
        inputs: Sequence[torch.Tensor],
        own: Sequence[Waits],
        results: Sequence[torch.Tensor],
    ) -> list[Waits]:
        """Waits of each result. An operator of no known kind waits for the whole of all its inputs."""
        given = max(x.numel() for x in results)
        elements = max(given, *(x.numel() for x in inputs)), given
        if name == "cat" and (merged := _side_by_side(args, own)) is not None:
            return [self._joined(name, merged, elements)]
        if name in PASSED:
            return [self._joined(name, waits, elements) for waits in _moved(func, args, inputs, own, results)]
        if name == "copy_":
            return [_to_dims(own[-1], results[0].dim())]
        if name == "embedding":
            return [{step: of.unsqueeze(-1) for step, of in own[-1].items()}]
        if _is_pointwise(func, args):
            merged = self._joined(name, _merged(own), elements)
            return [_to_dims(merged, x.dim()) for x in results]
        looked = _looked_along(name, args, inputs[0], own, results)
        elements = max(x.numel() for x in inputs), given
        if looked is None:
            last = _merged(_whole(waits, 1) for waits in own)
            step = self._step(name, False, 1, elements, last)
            return [{step: torch.zeros((1,) * x.dim(), dtype=torch.int64)} for x in results]
        made = self._places(name, looked, elements)
        return [made if x.dim() == results[0].dim() else _to_dims(_whole(made, 0), x.dim()) for x in results]

    def _joined(self, name: str, waits: Waits, elements: tuple[int, int]) -> Waits:
        """One step for what waits for several: each of its places, in raster order."""
        return self._places(name, waits, elements) if len(waits) > 1 else waits

    def _places(self, name: str, waits: Waits, elements: tuple[int, int]) -> Waits:
        """A step of a digital operator with a position for each place that `waits` tells apart."""
        shape = np.broadcast_shapes(*(tuple(of.shape) for of in waits.values()))
        last = {step: of.expand(shape).flatten() for step, of in waits.items()}
        step = self._step(name, False, math.prod(shape), elements, last)
        return {step: torch.arange(math.prod(shape)).reshape(shape)}

    def _write_through(self, results: Sequence[torch.Tensor], found: Sequence[Waits]) -> None:
        """Let other views of what was written wait for all of it."""
        for x, waits in zip(results, found, strict=True):
            place = x.untyped_storage()._cdata
            for other in list(self._waits.keys()):
                if all(other is not each for each in results) and other.untyped_storage()._cdata == place:
                    self._waits[other] = _whole(
                        _merged([_whole(self._waits[other], 0), _whole(waits, 0)]), other.dim()
                    )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _whole(waits: Waits, dims: int) -> Waits:
    """All of a tensor."""
    return {step: of.amax().reshape((1,) * dims) for step, of in waits.items()}


def _to_dims(waits: Waits, dims: int) -> Waits:
    """The same for a tensor of so many axes, before which those of others are left out."""
    return {step: of.reshape(*(1,) * (dims - of.dim()), *of.shape) for step, of in waits.items()}


def _merged(each: Iterable[Waits]) -> Waits:
    """The waits of an element that is made from the elements in its place: the latest of theirs."""
    found: Waits = {}
    for waits in each:
        for step, of in waits.items():
            found[step] = torch.maximum(found[step], of) if step in found else of
    return found


def _moved(
    func: Any,
    args: Sequence[Any],
    inputs: Sequence[torch.Tensor],
    own: Sequence[Waits],
    results: Sequence[torch.Tensor],
) -> list[Waits]:
    """Waits after an operator that moves elements: each keeps its own, and those it adds wait for nothing."""
    packet: Any = func.overloadpacket
    name = packet.__name__
    found: list[Waits] = [{} for _ in results]
    waiting: dict[int, dict[int, torch.Tensor]] = {}
    for x, waits in zip(inputs, own, strict=True):
        for step, of in waits.items():
            waiting.setdefault(step, {})[id(x)] = of.expand(x.shape)
    nothing = {id(x): torch.full((1,) * x.dim(), -1).expand(x.shape) for x in inputs}
    for step, marked in waiting.items():
        given = _with_marks(args, nothing | marked)
        if name in ("view", "_unsafe_view"):
            moved: Any = given[0].reshape(given[1])
        elif name == "constant_pad_nd":
            moved = packet(given[0], given[1], -1)
        elif name.startswith("upsample_nearest"):
            moved = packet(given[0].to(torch.float64), *given[1:]).to(torch.int64)
        else:
            moved = packet(*given)
        for i, part in enumerate(moved if isinstance(moved, tuple | list) else [moved]):
            found[i][step] = _compact(part)
    return found


def _side_by_side(args: Sequence[Any], own: Sequence[Waits]) -> Waits | None:
    """Waits of parts that are put side by side along an axis on which each waits for one thing, such as
    channels: every place then waits for all of the parts. None where they are not such parts."""
    axis = args[1] if len(args) > 1 else 0
    each = [of for waits in own for of in waits.values()]
    return _merged(own) if all(of.dim() and of.shape[axis] == 1 for of in each) else None


def _compact(of: torch.Tensor) -> torch.Tensor:
    """The same with one place for all along axes on which nothing differs."""
    for axis, stride in enumerate(of.stride()):
        if stride == 0:
            of = of.narrow(axis, 0, 1)
    for axis in range(of.dim() - 1, -1, -1):
        first = of.narrow(axis, 0, 1)
        # the second place differs along most axes on which any does
        if of.shape[axis] > 1 and torch.equal(first, of.narrow(axis, 1, 1)) and bool((of == first).all()):
            of = first
    return of


def _is_pointwise(func: Any, args: Sequence[Any]) -> bool:
    if takes_statistics(func, args):
        return False
    name = func.overloadpacket.__name__
    plain = getattr(getattr(torch.ops.aten, name.rstrip("_"), None), "default", func)
    return name.rstrip("_") in KEPT or torch.Tag.pointwise in (*func.tags, *plain.tags)


def _with_marks(value: Any, marks: Mapping[int, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return marks[id(value)]
    if isinstance(value, tuple | list):
        return [_with_marks(part, marks) for part in value]
    return value


def _looked_along(
    name: str, args: Sequence[Any], x: torch.Tensor, own: Sequence[Waits], results: Sequence[torch.Tensor]
) -> Waits | None:
    """Waits of the output of an operator that looks along axes or at windows; None for any other."""
    if name in NORMED and not any(own[1:]):
        axes = list(range(-len(args[NORMED[name]]), 0))
        return {step: _compact(of.expand(x.shape).amax(axes, keepdim=True)) for step, of in own[0].items()}
    if name in ALONG and len(args) > 1 and args[1] not in (None, []) and not isinstance(args[1], torch.dtype):
        given = args[ALONG[name]]
        axes = [given] if isinstance(given, int) else list(given)
        keeps = results[0].dim() == x.dim()
        return {step: _compact(of.expand(x.shape).amax(axes, keepdim=keeps)) for step, of in own[0].items()}
    if name in POOLS or name in ADAPTIVE_POOLS:
        space = int(name[name.index("pool") + 4])
        sizes = x.shape[-space:], results[0].shape[-space:]
        places = adaptive(*sizes) if name in ADAPTIVE_POOLS else pooled(name, args, *sizes)
        shape = (1,) * (x.dim() - space)
        return {
            step: largest(_collapsed(of, x.shape, space), places).reshape(*shape, *sizes[1])
            for step, of in own[0].items()
        }
    return None


def _collapsed(of: torch.Tensor, shape: torch.Size, space: int) -> torch.Tensor:
    """The largest over all axes but the last ones, shape (space...)."""
    return of.expand(*of.shape[:-space], *shape[-space:]).reshape(-1, *shape[-space:]).amax(0)
