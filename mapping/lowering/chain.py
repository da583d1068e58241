"""Torch's own modules that do what a module does, where this is a chain of operations.

It is watched on inputs of different sizes: what differs between them is no constant. A padding that follows
the size repeats itself after as many sizes as the stride.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten

from mapping.lowering.exported_operators import NORMS
from mapping.lowering.watching import PRODUCTS, Call, Watch, WatchedCall
from mapping.network.gemm import Layer
from mapping.network.modules import convolution, in_eval_mode, linear, parameter

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Difference from what a module gave that counts as rounding, relative to its largest output; 0.01 for
shorter types."""

PLAIN = (*get_args(Layer), nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""Torch's own classes."""


def torch_kind(module: nn.Module) -> type[nn.Module] | None:
    """The class of torch's own that a module is of, or None."""
    return next((kind for kind in type(module).__mro__ if kind in PLAIN), None)


def form_of(module: nn.Module, call: Call) -> nn.Module | str:
    """Torch's modules that do what a module does, or why there are none."""
    values = [*call[0], *call[1].values()]
    if len(values) != 1 or not isinstance(values[0], torch.Tensor):
        return "it is called with more than its input"
    if not values[0].is_floating_point():
        return f"its input is {values[0].dtype}"
    inputs = values[0], *_other_inputs(module, values[0])
    with torch.no_grad(), torch.random.fork_rng(devices=[]), in_eval_mode(module):
        torch.manual_seed(0)
        try:
            watches = [Watch(module, x.clone()) for x in inputs]
        except Exception as error:  # whatever a user's code meets
            return f"it refuses an input of another size: {str(error).partition(chr(10))[0]}"
        obstacle = next((watch.obstacle for watch in watches if watch.obstacle), "")
        form = obstacle or _chain(module, _with_padding([watch.steps for watch in watches]), inputs)
        others = zip(inputs[1:], watches[1:], strict=True)
        if isinstance(form, nn.Module) and not all(same(form(x.clone()), seen.output) for x, seen in others):
            form = "its operations one after the other give something else"
        if isinstance(form, nn.Module) or any(watch.decides for watch in watches):
            return form
        return _by_value(module, inputs[:2]) or form


def _other_inputs(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Random values in shapes of one image more, and one place or more added in each dimension of space: as
    many as a stride can tell apart."""
    kernel, stride = getattr(module, "kernel_size", ()), getattr(module, "stride", ())
    space = len(kernel) if isinstance(module, Layer) else max(x.dim() - 2, 0)
    found = []
    for more in range(1, max(2, *stride) if isinstance(module, Layer) and stride else 2):
        shape = [size + more * (i >= x.dim() - space) for i, size in enumerate(x.shape)]
        shape[0] += x.dim() == 2 + space
        found.append(torch.randn(shape, dtype=x.dtype, device=x.device))
    return found


def _with_padding(watched: Sequence[Sequence[WatchedCall]]) -> list[list[WatchedCall]]:
    """The steps of all runs; those that add nothing around an image, where others do, add zero places."""
    names = [[step.name for step in steps] for steps in watched]
    longest = max(names, key=len)
    found = [list(steps) for steps in watched]
    for steps in found:
        i = next((i for i, step in enumerate(steps) if step.name == "product"), 0)
        padded = [*(step.name for step in steps[:i]), "pad", *(step.name for step in steps[i:])]
        if padded == longest:
            steps.insert(i, WatchedCall("pad", F.pad, (([0, 0],), {})))
    return found


def _chain(
    module: nn.Module, watched: Sequence[Sequence[WatchedCall]], inputs: Sequence[torch.Tensor]
) -> nn.Module | str:
    """Modules that do the steps of all runs, each on an input of another size."""
    first = watched[0]
    names = [[step.name for step in steps] for steps in watched]
    if not first or any(each != names[0] for each in names):
        return "it does not do the same for every input"
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    at = list(inputs)
    for i, runs in enumerate(zip(*watched, strict=True)):
        made = _module_of(module, runs, first[i + 1 :], at)
        if isinstance(made, str):
            return made
        modules[_free(runs[0].name, modules)] = made
        made.eval()  # a batch norm in train mode would move the statistics of the user's
        at = [made(x.clone()) for x in at]
    if len(modules) == 1 and runs[0].name in ("product", "norm"):
        return made
    return nn.Sequential(modules)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    names = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(1)))
    return next(name for name in names if name not in taken and not hasattr(nn.Sequential, name))


def _module_of(
    module: nn.Module,
    runs: Sequence[WatchedCall],
    rest: Sequence[WatchedCall],
    inputs: Sequence[torch.Tensor],
) -> nn.Module | str:
    """The module that does a step, seen on inputs of different sizes."""
    step = runs[0]
    constant = all(
        step.function == other.function and _constant(step.constants, other.constants) for other in runs
    )
    if isinstance(step.function, nn.Module):
        return step.function if constant else f"{step.name}: is not the same for every input"
    if not constant:
        return _same_padding(runs, rest, inputs) or f"{step.name}: differs from input to input"
    args, named = step.constants
    if step.name == "product":
        return _product(step.function, **named)
    if step.name == "norm":
        return _norm(module, inputs[0], **named)
    return Function(step.function, args, named)


def _constant(a: Any, b: Any) -> bool:
    """Whether two trees of arguments are equal, tensors by value."""
    (ours, shape), (theirs, other) = tree_flatten(a), tree_flatten(b)
    return shape == other and all(_equal(x, y) for x, y in zip(ours, theirs, strict=True))


def _equal(a: Any, b: Any) -> bool:
    if not (isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)):
        return type(a) is type(b) and bool(a == b)
    return a is b or (a.is_meta and a.shape == b.shape) or (a.shape == b.shape and torch.equal(a, b))


def _product(
    function: Any, weight: torch.Tensor, bias: torch.Tensor | None = None, **sizes: Any
) -> nn.Module:
    if function is F.linear:
        return linear(weight, bias)
    return convolution(weight, bias, "output_padding" in PRODUCTS[function], **sizes)


def _norm(
    module: nn.Module,
    x: torch.Tensor,
    running_mean: torch.Tensor | None = None,
    running_var: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    eps: float = 1e-5,
    **_: Any,
) -> nn.Module | str:
    """The batch norm that a module, which holds its momentum and its count of batches, calls."""
    if training or running_mean is None or running_var is None:
        return "its batch norm has no running statistics"
    norm = NORMS[x.dim()](
        len(running_mean), eps, getattr(module, "momentum", 0.1), affine=weight is not None, device="meta"
    )
    norm.running_mean, norm.running_var = running_mean, running_var
    norm.num_batches_tracked = getattr(module, "num_batches_tracked", None)
    if weight is not None:
        norm.weight = parameter(weight)
        norm.bias = parameter(torch.zeros_like(weight) if bias is None else bias)
    return norm


class Function(nn.Module):
    """A function of the input and of constants, such as ``clamp`` or ``pad``."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        super().__init__()
        self.function, self.args, self.named = function, args, dict(named)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The function's value."""
        y: torch.Tensor = self.function(x, *self.args, **self.named)
        return y

    def extra_repr(self) -> str:
        """Name and constants."""
        named = (f"{key}={value}" for key, value in self.named.items())
        return ", ".join([self.function.__name__, *map(str, self.args), *named])


class SamePadding(nn.Module):
    """Zeros around an image, so that a convolution gives ceil(size / stride) places, the odd one after: the
    padding that TensorFlow calls SAME."""

    def __init__(self, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> None:
        super().__init__()
        self.windows = tuple(zip(kernel, stride, dilation, strict=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The image with its zeros."""
        return F.pad(x, self.amounts(x.shape))

    def amounts(self, shape: Sequence[int]) -> list[int]:
        """Amounts as `torch.nn.functional.pad` takes them: before and after, the last dimension first."""
        return list(itertools.chain(*self._by_dimension(shape)))

    def _by_dimension(self, shape: Sequence[int]) -> Iterator[tuple[int, int]]:
        for size, (kernel, stride, dilation) in zip(reversed(shape), reversed(self.windows), strict=False):
            total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
            yield total // 2, total - total // 2

    def extra_repr(self) -> str:
        """Kernel, stride and dilation of the convolution, by dimension."""
        return ", ".join(map(str, self.windows))


def _same_padding(
    runs: Sequence[WatchedCall], rest: Sequence[WatchedCall], inputs: Sequence[torch.Tensor]
) -> nn.Module | None:
    """`SamePadding` for the convolution that follows, where that is what was added to all inputs."""
    following = next((other for other in rest if other.name == "product"), None)
    if any(step.function is not F.pad for step in runs) or following is None:
        return None
    if following.function not in PRODUCTS:
        return None
    layer = _product(following.function, **following.constants[1])
    if isinstance(layer, nn.Linear):
        return None
    padding = SamePadding(layer.kernel_size, layer.stride, layer.dilation)  # type: ignore[arg-type]
    for x, seen in zip(inputs, runs, strict=True):
        if not same(padding(x), F.pad(x, *seen.constants[0], **seen.constants[1])):
            return None
    return padding


def _by_value(module: nn.Module, inputs: Sequence[torch.Tensor]) -> nn.Module | None:
    """Torch's module with the parameters of a subclass, where both give the same at every size of the inputs'
    values: products written as sums and matrices, say."""
    kind = torch_kind(module)
    if kind is None or inputs[0].is_meta:
        return None
    for x, scale in itertools.product(inputs, (1e-3, 1.0, 1e3)):
        try:
            ours = kind.forward(module, x * scale)
        except Exception:  # a subclass may lack what the plain forward reads; it is then no plain layer
            return None
        if not same(ours, module.forward(x * scale)):
            return None
    form = kind.__new__(kind)
    form.__dict__.update({key: value for key, value in vars(module).items() if key != "forward"})
    return form


def same(a: Any, b: Any) -> bool:
    """Equal to rounding; of ``meta`` tensors, which hold no values, the shape."""
    if not (isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)) or a.shape != b.shape:
        return False
    if a.is_meta or not a.numel():
        return True
    allowed = TOLERANCE.get(a.dtype, 0.01) * float(b.abs().max())
    return float((a - b).abs().max()) <= allowed
