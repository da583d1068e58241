"""The record of a forward pass: the vectors of each mapped layer, and what stays digital."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mapping.lowering.own_forward import or_export
from mapping.network.elementary import elementary_operations
from mapping.network.gemm import Layer
from mapping.network.inputs import Inputs, call, check_inputs, device_of, sent, tensors_of
from mapping.network.modules import in_eval_mode, refused, run_example
from mapping.network.operators import (
    LAYOUT,
    is_no_product,
    multiply_accumulates,
    spreads,
)
from mapping.network.weighted import WeightedSums, Work
from mapping.tiles.dataflow import Dataflow, DataflowTrace
from mapping.tiles.images import first_image, images_of
from xbar.hardware.errors import XbarError


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


@dataclass(frozen=True)
class Digital:
    """The work that runs outside the mapped layers.

    Parameters
    ----------
    elements
        Input elements an image of operators that are no products, by name.
    macs
        Multiply-accumulates an image of products, by the operator's name.
    unknown
        Calls of operators that take a weight and may be products, by name; their work is not counted.
    operations
        Elementary operations an image (`mapping.network.elementary.OPERATIONS`) by operator, those of its
        products left out.
    """

    elements: dict[str, int]
    macs: dict[str, int]
    unknown: dict[str, int]
    operations: dict[str, dict[str, int]]


class _Constants:
    """Which tensors follow from the network's weights alone, or from nothing.

    A tensor is known by its storage, which its views share; those that are known stay alive, so that no other
    one takes their place.
    """

    def __init__(self, model: nn.Module) -> None:
        self._known: dict[int, tuple[torch.Tensor, bool]] = {}
        held = (value for module in model.modules() for value in vars(module).values())
        for tensor in (*model.parameters(), *model.buffers(), *held):
            if isinstance(tensor, torch.Tensor):
                self._known[_place(tensor)] = (tensor, True)

    def meet(self, tensors: list[torch.Tensor]) -> None:
        """Take in tensors that no operator made of the network's input: those of several real numbers are
        weights, wherever the network holds them, in a list, outside of it, or as arrays of numpy."""
        for x in tensors:
            self._known[_place(x)] = x, x.is_floating_point() and x.numel() > 1

    def takes_weight(self, inputs: list[torch.Tensor]) -> bool:
        """Whether one of them is a weight, or follows from weights alone."""
        return any(self._known.get(_place(x), (x, False))[1] for x in inputs)

    def are(self, inputs: list[torch.Tensor]) -> bool:
        """Whether none of them follows from the network's input."""
        return all(_place(x) in self._known for x in inputs)

    def note(self, inputs: list[torch.Tensor], results: list[torch.Tensor]) -> None:
        """Take in what an operator made of its inputs."""
        constant, of_weight = self.are(inputs), self.takes_weight(inputs)
        for result in results:
            if constant:
                self._known[_place(result)] = (result, of_weight)
            else:
                self._known.pop(_place(result), None)


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what runs outside the mapped layers, in all."""

    def __init__(self, model: nn.Module, example: Inputs) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements: Counter[str] = Counter()
        self.macs: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.operations: dict[str, Counter[str]] = {}
        self.constants = _Constants(model)
        self.dataflow = DataflowTrace(tensors_of(example), lambda x: self.constants.are([x]))
        self.in_layer = False
        self.weighted = WeightedSums(
            lambda x: self.constants.takes_weight([x]), lambda x: self.constants.are([x])
        )

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self.in_layer:
            self._count(func, args, kwargs, result)
        return result

    def _count(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        name, inputs = func.overloadpacket.__name__, _tensors((args, kwargs))
        if name == "lift_fresh":  # of numbers of Python or numpy, which no operator made
            self.constants.meet(inputs)
        unseen = [x for x in inputs if not (self.constants.are([x]) or self.dataflow.made(x))]
        with torch.device("cpu"):
            self.dataflow.operator(func, args, inputs, result)
        self.constants.meet(unseen)
        if name == "embedding" or not self.constants.are(inputs):
            work = self._summed(func, args, kwargs, result)
            self.dataflow.worked(self._worked(func, args, kwargs, result) if work is None else work)
        elif not all(self.constants.takes_weight([x]) for x in inputs):
            self._multiplied(func, args, kwargs, result)  # such as a first state of zeros, with a weight
        self.constants.note(inputs, _tensors(result))

    def _worked(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> dict[str, int]:
        """Count an operator; what it worked, by kind."""
        name, inputs, elements = func.overloadpacket.__name__, _tensors((args, kwargs)), 0
        takes_weight = self.constants.takes_weight(inputs)
        macs = self._multiplied(func, args, kwargs, result)
        if is_spread := macs is None and takes_weight and spreads(func, args, result):
            macs = result.numel()
            self.macs[name] += macs
        found = None if is_spread else elementary_operations(func, args, kwargs, result)
        is_unknown = takes_weight or (found is None and self.weighted.may_add(func, inputs))
        if macs is None and is_unknown and not is_no_product(func):
            self.unknown[name] += 1
        elif macs is None and name not in LAYOUT and args and isinstance(args[0], torch.Tensor):
            elements = max(x.numel() for x in inputs)
            self.elements[name] += elements
        operations = Counter(found or {})
        if operations:
            self.operations.setdefault(name, Counter()).update(operations)
        made = None
        if self.weighted.makes(func, args):
            made = Work(name, result.numel(), elements, operations, is_spread)
            terms = self.weighted.summed(func, args, kwargs)
            if terms is not None:
                macs, operations = sum(map(self._settled, (*terms, made))), Counter()
        self.weighted.note(func, args, kwargs, result, made)
        return dict(operations) if macs is None else {"digital_macs": macs, **operations}

    def _multiplied(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> int | None:
        """Count a product; its multiply-accumulates. None: the operator is not known to be one."""
        macs = multiply_accumulates(func, args, kwargs, result)
        if macs is not None:
            self.macs[func.overloadpacket.__name__] += macs
        return macs

    def _summed(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> dict[str, int] | None:
        """Count an operator that adds products with weights, which makes them a product of matrices; what it
        worked, by kind. None: it adds none."""
        works = self.weighted.summed(func, args, kwargs)
        if works is None or self.weighted.makes(func, args):
            return None
        work = Counter({"digital_macs": sum(map(self._settled, dict.fromkeys(works)))})
        if func.overloadpacket.__name__ == "mean":
            work["multiplications"] = result.numel()
            self.operations.setdefault("mean", Counter())["multiplications"] += result.numel()
        self.weighted.note(func, args, kwargs, result, None)
        return {kind: count for kind, count in work.items() if count}

    def _settled(self, work: Work) -> int:
        """Count products as multiply-accumulates, in place of what they counted as; how many are new."""
        if work.is_counted:
            return 0
        work.is_counted = True
        self.macs[work.name] += work.macs
        self.elements = self.elements - Counter({work.name: work.elements})
        if work.operations:
            self.operations[work.name] -= work.operations
        return work.macs

    def digital(self, images: int) -> Digital:
        """The counts, an image."""
        elements, macs = (
            {name: -(-count // images) for name, count in counter.items()}
            for counter in (self.elements, self.macs)
        )
        operations = {
            name: {kind: -(-count // images) for kind, count in counts.items()}
            for name, counts in self.operations.items()
            if counts
        }
        return Digital(elements, macs, dict(self.unknown), operations)


class _Functions(TorchFunctionMode):
    """Tells the dataflow of torch's functions, of which some read values where no operator runs."""

    def __init__(self, dataflow: DataflowTrace) -> None:
        super().__init__()
        self.dataflow = dataflow

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.dataflow.function(getattr(func, "__name__", ""), (*args, *kwargs.values()))
        return func(*args, **kwargs)


@torch.no_grad()
def trace(
    model: nn.Module, layers: Mapping[str, Layer], example: Inputs
) -> tuple[dict[str, Calls], Digital, Dataflow]:
    """Run the example in eval mode; the model is left as it was.

    Returns
    -------
    Calls by layer in the order of execution, what stays digital, and what one image streams through.

    Raises
    ------
    XbarError
        For an example that the network does not take, or a layer that is not reached or mixes images.
    """
    check_inputs(example)
    images = images_of(model, example)
    vectors: Counter[str] = Counter()
    values: Counter[str] = Counter()

    def count(name: str, module: Layer, x: torch.Tensor, output: torch.Tensor) -> None:
        vectors[name] += _vectors(module, x, output)
        values[name] += output.numel()

    counter = _watched(model, layers, example, count)
    _check_reached(model, layers, vectors, example, images)
    calls = {name: Calls(count // images, values[name] // images) for name, count in vectors.items()}
    return calls, counter.digital(images), _dataflow(model, layers, example, images, counter)


def _watched(
    model: nn.Module,
    layers: Mapping[str, Layer],
    example: Inputs,
    called: Callable[[str, Layer, torch.Tensor, torch.Tensor], None],
) -> _Counter:
    """Run the example in eval mode, and count; `called` is told of each call of a layer."""
    given = sent(example, device_of(model))
    counter = _Counter(model, given)

    def enter(name: str) -> Callable[..., None]:
        def hook(module: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if len(args) + len(kwargs) > 1:
                raise XbarError(
                    f"{name}: is called with more than one argument; a layer on crossbars takes one"
                )
            counter.in_layer = True

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(module: Layer, args: tuple[Any, ...], kwargs: dict[str, Any], output: torch.Tensor) -> None:
            x = next(iter((*args, *kwargs.values())))
            called(name, module, x, output)
            with torch.device("cpu"):  # its own tensors, whatever device is the user's default
                counter.dataflow.layer(name, module, x, output)
            counter.in_layer = False

        return hook

    handles = [m.register_forward_pre_hook(enter(name), with_kwargs=True) for name, m in layers.items()]
    handles += [  # before the user's hooks, which compute something of their own
        m.register_forward_hook(leave(name), with_kwargs=True, prepend=True) for name, m in layers.items()
    ]
    try:
        with in_eval_mode(model), _Functions(counter.dataflow), counter:
            counter.dataflow.returned(call(model, given))
    except XbarError:
        raise
    except Exception as error:  # what a user's own forward raises may be of any kind
        raise refused(example, error) from error
    finally:
        for handle in handles:
            handle.remove()
    return counter


def _dataflow(
    model: nn.Module, layers: Mapping[str, Layer], example: Inputs, images: int, counter: _Counter
) -> Dataflow:
    """The dataflow of the first image of a batch."""
    if images == 1:
        return counter.dataflow.dataflow()
    try:
        one = _watched(model, layers, first_image(model, example), lambda *_: None)
    except XbarError as error:
        return Dataflow((), (f"the network does not take one image alone: {error}",))
    return one.dataflow.dataflow()


def unreached(model: nn.Module, layers: Mapping[str, Layer], example: Inputs) -> list[str]:
    """Layers that the example does not come through in eval mode, such as auxiliary heads.

    None are named where it comes through no layer at all.

    Raises
    ------
    XbarError
        For an example that the network does not take.
    """
    reached: set[str] = set()

    def reach(name: str) -> Callable[..., None]:
        return lambda *_: reached.add(name)

    handles = [layer.register_forward_pre_hook(reach(name)) for name, layer in layers.items()]
    try:
        run_example(model, example)
    finally:
        for handle in handles:
            handle.remove()
    return [name for name in layers if name not in reached] if reached else []


def _vectors(module: Layer, x: torch.Tensor, output: torch.Tensor) -> int:
    if isinstance(module, nn.Linear):
        return x.numel() // module.in_features
    return x.numel() // module.in_channels if module.transposed else output.numel() // module.out_channels


def _check_reached(
    model: nn.Module, layers: Mapping[str, Layer], vectors: Mapping[str, int], example: Inputs, images: int
) -> None:
    for name in layers:
        if name not in vectors:
            raise XbarError(
                f"{name}: is not reached by the forward pass of the example input, or only its weight is; "
                "leave it digital, or, for the layers of attention, LSTM and GRU, map mapping.crossbar_form "
                f"of the network{or_export(model, '', example)}"
            )
        if vectors[name] % images:
            raise XbarError(
                f"{name}: runs on {vectors[name]} vectors for a batch of {images}; "
                "a layer that mixes the inputs of a batch is not supported"
            )
