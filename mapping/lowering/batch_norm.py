"""Batch norm folded into the layer before it, which then gives what the two gave in eval mode.

    w' = w gamma / sqrt(var + eps)
    b' = (b - mean) gamma / sqrt(var + eps) + beta

Each column of a layer's GEMM matrix is scaled by one number, so that masks stay as they are. Which layer a
batch norm follows is found by running an example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from mapping.lowering.own_forward import has_own_forward, plain_forms
from mapping.network.gemm import Layer, from_gemm, mappable_layers, to_gemm
from mapping.network.inputs import Inputs
from mapping.network.modules import check_numbers, copy_of, in_eval_mode, replaced, run_example
from xbar.hardware.errors import XbarError

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Difference that folding may make, relative to the largest output; 0.05 for shorter types."""


LEAVE = 'leave batch norm digital (batch_norm="digital", or --batch-norm digital)'


@dataclass(frozen=True)
class Folds:
    """The batch norms of a network: which can be folded into which layer, and which cannot, with reasons.

    Parameters
    ----------
    layers
        Name of the layer that takes the batch norm in, by the name of the batch norm.
    digital
        Why it stays digital, by the name of the batch norm.
    """

    layers: dict[str, str]
    digital: dict[str, str]


def batch_norm_folds(model: nn.Module, example_input: Inputs) -> Folds:
    """Find where each batch norm of a network can be folded; nothing is changed.

    It can where it has running statistics, runs once, and normalises the output channels of a layer that runs
    once and whose output goes to it alone. Batch norm before a layer, or after a sum, stays digital, and so
    does a subclass that does more than a batch norm and what follows it.

    Raises
    ------
    XbarError
        For a network without layers, or an example that it does not take.
    """
    return _trace(model, example_input).folds()


def fold_batch_norm(model: nn.Module, example_input: Inputs) -> nn.Module:
    """Copy of a network in which each batch norm that `batch_norm_folds` finds is folded.

    The batch norm becomes an `nn.Identity`, wherever the network holds it. One that holds an activation
    becomes an `nn.Sequential` of an identity `norm` and what it held. All other names stay; a layer without a
    bias gets one. The copy can be trained further.

    Raises
    ------
    XbarError
        As `batch_norm_folds`, for parameters and statistics that are not finite numbers, and where the copy
        does not give the network's outputs for the example, in eval mode.
    """
    check_numbers(model)
    return fold_in_place(copy_of(model), example_input)


def fold_in_place(model: nn.Module, example_input: Inputs) -> nn.Module:
    """`fold_batch_norm` on the network itself."""
    if not _batch_norms(model):
        return model
    before = _trace(model, example_input)
    folds = before.folds().layers
    for norm, layer in folds.items():
        module = before.norms[norm]
        folded = _folded(before.layers[layer], before.forms.get(norm, module))
        model = replaced(model, module, folded)
        _check_difference(f"{layer} with {norm}", before.normalised[norm], _run(folded, before, layer), 1)
    try:
        result = run_example(model, example_input)
    except XbarError as error:
        raise XbarError(f"{', '.join(folds)}: cannot be folded: {error}; {LEAVE}") from None
    for was, now in zip(tree_leaves(before.result), tree_leaves(result), strict=True):
        if isinstance(was, torch.Tensor):
            _check_difference(f"the network with {', '.join(folds)}", was, now, len(folds))
    return model


@torch.no_grad()
def _run(module: nn.Module, before: _Trace, layer: str) -> torch.Tensor:
    """Output of a layer and of what is left of its batch norm, for the layer's input in the example."""
    with in_eval_mode(module):
        y: torch.Tensor = module.forward(before.layers[layer].forward(before.taken[layer]))
        return y


def _check_difference(what: str, was: torch.Tensor, now: torch.Tensor, folds: int) -> None:
    """Refuse more than what rounding may do in so many folds, one after the other."""
    if was.is_floating_point() and not was.is_meta and was.isnan().any():
        raise XbarError(f"{what}: gives NaN on the example before batch norm is folded; it must give numbers")
    difference = _difference(was, now) / max(folds, 1)
    if not difference <= 1:
        raise XbarError(
            f"{what} folded in: differs on the example by {difference:.2g} times what rounding explains; "
            f"{LEAVE}"
        )


def _first_norm(form: Any) -> _BatchNorm | None:
    """The batch norm that a form begins with; None where it is no batch norm and what follows it."""
    first = form[0] if isinstance(form, nn.Sequential) else form
    return first if isinstance(first, _BatchNorm) else None


def _folded(layer: Layer, form: Any) -> nn.Module:
    """Fold the batch norm of a form into a layer, and give what is left of the form."""
    norm = _first_norm(form)
    assert norm is not None
    _fold(layer, norm)
    if norm is form:
        return nn.Identity()
    form[0] = nn.Identity()
    return form  # type: ignore[no-any-return]


def _batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    return {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Which operators, layers and batch norms take each layer's weight and output, in one run.

    ``forms``: torch's modules that do what a batch norm with a forward of its own does, or why there are
    none.
    """

    def __init__(self, model: nn.Module, forms: Mapping[str, nn.Module | str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers = mappable_layers(model)
        self.norms = _batch_norms(model)
        self.forms = forms
        self.calls: Counter[str] = Counter()
        self.users_of_weight: dict[str, set[str]] = {}
        self.users_of_output: dict[str, set[str]] = {}
        self.dims: dict[str, int] = {}
        self._users = WeakIdKeyDictionary()
        for name, layer in self.layers.items():
            if layer.weight not in self._users:
                self._users[layer.weight] = set()
            self.users_of_weight[name] = self._users[layer.weight]
        self.taken: dict[str, torch.Tensor] = {}
        self.normalised: dict[str, torch.Tensor] = {}
        self.result: Any = None
        self._running: list[str] = []

    def enter(self, name: str) -> Callable[..., None]:
        """Pre-hook of a layer or batch norm; those of the user have run."""

        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.calls[name] += 1
            self._running.append(name)
            if name in self.layers:
                self.taken[name] = next(iter((*args, *kwargs.values()))).clone()

        return hook

    def leave(self, name: str) -> Callable[..., None]:
        """Hook of a layer or batch norm; those of the user are yet to run."""

        def hook(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            self._running.pop()
            if name in self.layers:
                self.dims[name] = output.dim()
                self.users_of_output[name] = self._users[output] = set()
            else:
                self.normalised[name] = output.clone()

        return hook

    def used(self, values: Any, user: str) -> None:
        """Note who takes the tensors among `values`."""
        for value in tree_leaves(values):
            if isinstance(value, torch.Tensor) and value in self._users:
                self._users[value].add(user)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.used((args, kwargs), self._running[-1] if self._running else func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))

    def folds(self) -> Folds:
        """The finding of the run about each batch norm."""
        layers, digital = {}, {}
        for norm, module in self.norms.items():
            followed = [name for name, users in self.users_of_output.items() if norm in users]
            reason = self._obstacle(norm, module, followed)
            if reason:
                digital[norm] = reason
            else:
                layers[norm] = followed[0]
        return Folds(layers, digital)

    def _obstacle(self, norm: str, module: _BatchNorm, layers: list[str]) -> str:
        """Why a batch norm cannot be folded into the layers whose outputs it takes; "" where it can."""
        if self.calls[norm] != 1:
            return f"runs {self.calls[norm]} times"
        if module.running_mean is None:
            return "has no running statistics"
        form = self.forms.get(norm, module)
        if _first_norm(form) is None:
            why = form if isinstance(form, str) else "it begins with something else"
            return f"is a {type(module).__name__} with a forward of its own ({why})"
        if not layers:
            return "its input is not the output of a layer"
        name, layer = layers[0], self.layers[layers[0]]
        if self.calls[name] != 1:
            return f"{name}, which it follows, runs {self.calls[name]} times"
        if has_own_forward(layer):
            return f"{name} has a forward of its own"
        if others := self.users_of_weight[name] - {name}:
            return f"the weight of {name} is used by {', '.join(sorted(others))} too"
        if others := self.users_of_output[name] - {norm}:
            return f"the output of {name} goes to {', '.join(sorted(others))} too"
        if self.dims[name] != (2 if isinstance(layer, nn.Linear) else 2 + len(layer.kernel_size)):
            return f"normalises another axis than the channels that {name} gives"
        return ""


def _trace(model: nn.Module, example_input: Inputs) -> _Trace:
    trace = _Trace(model, plain_forms(model, example_input, _BatchNorm))
    modules: list[tuple[str, nn.Module]] = [*trace.layers.items(), *trace.norms.items()]
    handles = [
        module.register_forward_pre_hook(trace.enter(name), with_kwargs=True) for name, module in modules
    ]
    handles += [module.register_forward_hook(trace.leave(name), prepend=True) for name, module in modules]
    try:
        with trace:
            trace.result = run_example(model, example_input)
    finally:
        for handle in handles:
            handle.remove()
    trace.used(trace.result, "the caller of the network")
    return trace


@torch.no_grad()
def _fold(layer: Layer, norm: _BatchNorm) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        gain *= norm.weight
    shift = -gain * norm.running_mean
    if layer.bias is not None:
        shift += gain * layer.bias
    if norm.bias is not None:
        shift += norm.bias
    matrix, dtype = to_gemm(layer), layer.weight.dtype
    by_column = gain.to(dtype).repeat_interleave(matrix.shape[1] // len(gain))
    layer.weight = nn.Parameter(from_gemm(matrix * by_column, layer), layer.weight.requires_grad)
    trained = (layer.weight if layer.bias is None else layer.bias).requires_grad
    layer.bias = nn.Parameter(shift.to(dtype), trained)


def _difference(before: torch.Tensor, after: torch.Tensor) -> float:
    """Largest difference, in units of what is allowed; 0 for ``meta`` tensors, which hold no values.

    An output that is infinite before, as a masked one is, must be so after.
    """
    if before.is_meta or not before.is_floating_point() or not before.numel():
        return 0.0
    alike = before.isinf() & (before == after)
    before, after = before.masked_fill(alike, 0.0), after.masked_fill(alike, 0.0)
    allowed = TOLERANCE.get(before.dtype, 0.05) * before.abs().max()
    return float((after - before).abs().max() / allowed.clamp_min(torch.finfo(before.dtype).tiny))
