"""Shapes of a network's layers, as other estimators of in-memory computing read them.

NeuroSim reads a line a layer (`NetWork_VGG8.csv` and others, https://github.com/neurosim/DNN_NeuroSim_V1.4);
CiMLoop and Timeloop read a problem a layer (`workspace/models/workloads`, https://github.com/mit-emze/cimloop).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mapping.network.gemm import Layer, geometry_of, groups_of, mappable_layers, to_gemm
from mapping.network.inputs import Inputs, length_of
from mapping.network.modules import run_example
from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class LayerShape:
    """One call of a layer as a convolution in two dimensions; what has fewer dimensions has sizes of 1.

    Parameters
    ----------
    name
        Name of the layer; a further call of it has its number, as ``fc#1``.
    size, out
        Height and width of the input, padding not counted, and of the output.
    channels, filters
        Channels and filters of one group.
    groups, kernel, stride, dilation
        As of the convolution.
    pooled
        Whether pooling follows, before the next layer runs.
    """

    name: str
    size: tuple[int, int]
    out: tuple[int, int]
    channels: int
    filters: int
    groups: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pooled: bool


def layer_shapes(model: nn.Module, example_input: Inputs) -> tuple[LayerShape, ...]:
    """Shapes of all layers with a weight matrix, in the order in which they run; once for each call.

    A linear layer is a 1 x 1 convolution over its vectors; a transposed convolution is one over its inputs,
    with a column for each output that an input falls on.

    Parameters
    ----------
    example_input
        One image, with a batch of 1.

    Raises
    ------
    XbarError
        For layers of more than two dimensions, and a batch of more than one that a layer sees.
    """
    layers = mappable_layers(model)
    calls: list[list[Any]] = []

    def record(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given = next(iter((*args, *kwargs.values())))
            calls.append([name, tuple(given.shape), tuple(output.shape), False])

        return hook

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if "pool" in str(func) and calls:
                calls[-1][3] = True
            return func(*args, **(kwargs or {}))

    handles = [layers[name].register_forward_hook(record(name), with_kwargs=True) for name in layers]
    try:
        with Watch():  # type: ignore[no-untyped-call]
            run_example(model, example_input)
    finally:
        for handle in handles:
            handle.remove()
    seen: dict[str, int] = {}
    shapes = []
    for name, given, output, pooled in calls:
        number = seen[name] = seen.get(name, -1) + 1
        label = f"{name}#{number}" if number else name
        shapes.append(_shape(label, layers[name], given, output, pooled, length_of(example_input)))
    return tuple(shapes)


def _batch(name: str, batch: int) -> XbarError:
    return XbarError(f"{name}: sees a batch of {batch}; give an example of one image, with a batch of 1")


def _shape(
    name: str, layer: Layer, given: Sequence[int], output: Sequence[int], pooled: bool, batch: int
) -> LayerShape:
    geometry, groups = geometry_of(layer), groups_of(layer)
    k, n = to_gemm(layer).shape
    if geometry is None:
        time_first = len(given) > 2 and given[1] == 1
        if len(given) > 1 and given[0] == batch > 1 and not time_first:
            raise _batch(name, batch)
        vectors = math.prod(given[:-1])
        return LayerShape(name, (vectors, 1), (vectors, 1), k, n, 1, (1, 1), (1, 1), (1, 1), pooled)
    dimensions = len(geometry.kernel)
    if dimensions > 2:
        raise XbarError(f"{name}: is a convolution in {dimensions} dimensions; at most two can be written")
    if len(given) == dimensions + 2 and given[0] != 1:
        raise _batch(name, given[0])
    size, out = _two(given[-dimensions:]), _two(output[-dimensions:])
    if geometry.transposed:
        return LayerShape(name, size, size, k, n // groups, groups, (1, 1), (1, 1), (1, 1), pooled)
    kernel, stride, dilation = map(_two, (geometry.kernel, geometry.stride, geometry.dilation))
    channels = k // math.prod(geometry.kernel)
    return LayerShape(name, size, out, channels, n // groups, groups, kernel, stride, dilation, pooled)


def _two(values: Sequence[int]) -> tuple[int, int]:
    return int(values[0]), int(values[1]) if len(values) > 1 else 1


def neurosim_network(shapes: Sequence[LayerShape]) -> str:
    """Lines of NeuroSim's network file.

    A line has length, width and channels of the input, length and width of the kernel, its depth (filters),
    whether pooling follows, and the stride. NeuroSim counts (length - kernel + 1) / stride positions in each
    direction: its own files give the input without its padding, and so does this one.

    Raises
    ------
    XbarError
        For groups, a dilation, or strides that differ, which a line cannot say.
    """
    lines = []
    for shape in shapes:
        if shape.groups > 1:
            raise XbarError(f"{shape.name}: has {shape.groups} groups; NeuroSim's network file has none")
        if shape.dilation != (1, 1):
            raise XbarError(f"{shape.name}: has a dilation; NeuroSim's network file has none")
        vertical, across = shape.stride
        if vertical != across and shape.kernel[1] > 1:
            raise XbarError(f"{shape.name}: has strides {shape.stride}; NeuroSim's network file has one")
        numbers = (*shape.size, shape.channels, *shape.kernel, shape.filters, int(shape.pooled), vertical)
        lines.append(",".join(map(str, numbers)))
    return "\n".join(lines) + "\n"


def cimloop_problem(shape: LayerShape, network: str) -> str:
    """A workload of CiMLoop for one image: what `problem_base.yaml` leaves at 1 is left out.

    C and M are channels of a group, R and S the kernel, P and Q the output, each first the height. The names
    of strides and dilations follow that file's projections: of the height they are `Wstride`, `Wdilation`.
    Bits, batch and histograms of values are not part of it.
    """
    instance = {
        "C": shape.channels,
        "M": shape.filters,
        "P": shape.out[0],
        "Q": shape.out[1],
        "R": shape.kernel[0],
        "S": shape.kernel[1],
        "G": shape.groups,
        "Wstride": shape.stride[0],
        "Hstride": shape.stride[1],
        "Wdilation": shape.dilation[0],
        "Hdilation": shape.dilation[1],
    }
    written = ", ".join(f"{key}: {value}" for key, value in instance.items() if value != 1) or "C: 1"
    return (
        "{{include_text('../problem_base.yaml')}}\n"
        "problem:\n"
        "  <<<: *problem_base\n"
        f"  instance: {{{written}}}\n\n"
        f"  name: {shape.name}\n"
        f"  dnn_name: {network}\n"
        f"  notes: {'Linear' if shape.kernel == (1, 1) and shape.size[1] == 1 else 'Conv'}\n"
    )


__all__ = ["LayerShape", "cimloop_problem", "layer_shapes", "neurosim_network"]
