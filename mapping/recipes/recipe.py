"""How to train: an optimiser and the course of its learning rate, by their names in torch or by functions."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from mapping.recipes.options import TrainingOptions
from xbar.hardware.checks import check_range, check_whole
from xbar.hardware.errors import XbarError, unknown_name

OPTIMIZERS: dict[str, type[Optimizer]] = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, Optimizer)
    # They ask for the loss several times a step, take sparse gradients only, or matrices only.
    if name not in ("Optimizer", "LBFGS", "SparseAdam", "Muon")
}
SCHEDULERS: dict[str, Any] = {
    name: getattr(lr_scheduler, name) for name in lr_scheduler.__all__ if name != "LRScheduler"
}
COSINE = "cosine"
"""Cosine decay by the step, with warm-up: the schedule of a `Recipe` itself."""
SGD_MOMENTUM = 0.9
NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)
"""Layers whose parameters `undecayed` names, of any shape."""
DEFAULTS = TrainingOptions()


@dataclass(frozen=True)
class Recipe:
    """How to train: epochs, optimiser, and the learning rate over them.

    Parameters
    ----------
    lr
        Peak learning rate.
    optimizer
        Name in `torch.optim`, in any capitals, or a function ``optimizer(parameters, lr=...)``, such as
        ``functools.partial(torch.optim.SGD, nesterov=True, momentum=0.9)``. Groups of parameters keep the
        ratio of the rates that the function gave them.
    momentum
        Momentum of an optimiser that takes one. None: 0.9 for SGD by name, else the optimiser's own.
    weight_decay
        Weight decay of a named optimiser that takes one, in place of torch's own default. A function gets it
        where it is not 0.
    nesterov
        Nesterov's momentum, of an optimiser that takes it; with SGD by its name, or a function.
    decayed
        What has weight decay: ``all`` parameters, or ``weights``, without biases and the parameters of norms
        (`undecayed`). Of a named optimiser; a function groups its parameters itself.
    warmup, final
        Epochs of linear rise before the cosine, and the part of `lr` at its end.
    scheduler
        ``"cosine"``: after `warmup` the rate falls to `final` times `lr`, step by step; with a loader that
        does not know its length, each epoch has the rate of its middle. A name in `torch.optim.lr_scheduler`,
        or a function ``scheduler(optimizer)``: it steps once after each epoch. By its name a scheduler has
        torch's defaults, but T_max, total_iters and total_steps are the epochs, and max_lr is `lr`;
        ReduceLROnPlateau sees the mean loss of each epoch.
    options
        Precision, accumulation, label smoothing, mixing, distillation, averaging, the epoch that is kept.

    Raises
    ------
    XbarError
        For an unknown name, a number out of range, or a key that has no effect.
    """

    epochs: int
    lr: float = 1e-3
    optimizer: str | Callable[..., Optimizer] = "Adam"
    momentum: float | None = None
    weight_decay: float = 0.0
    warmup: float = 0.0
    final: float = 0.0
    scheduler: str | Callable[[Optimizer], LRScheduler] = COSINE
    nesterov: bool = False
    decayed: Literal["all", "weights"] = "all"
    options: TrainingOptions = DEFAULTS

    def __post_init__(self) -> None:
        if not isinstance(self.options, TrainingOptions):
            raise XbarError(f"options = {self.options!r}: must be a TrainingOptions")
        check_whole("epochs", self.epochs, 0, 100_000)
        check_range("lr", self.lr, 1e-12, 100)
        if self.momentum is not None:
            check_range("momentum", self.momentum, 0, 0.9999)
        check_range("weight_decay", self.weight_decay, 0, 1)
        check_range("warmup", self.warmup, 0, self.epochs)
        check_range("final", self.final, 0, 1)
        build, options = self._optimizer()
        for key in options:
            if not _takes(build, key):
                raise XbarError(f"{key} = {options[key]}: {name_of(build)} takes no {key}")
        self._check_decayed()
        if self.scheduler != COSINE:
            self.build_scheduler()
            for key in ("warmup", "final"):
                if getattr(self, key):
                    raise XbarError(
                        f"{key} = {getattr(self, key)}: has an effect with {COSINE!r} only, not with the "
                        f"scheduler {name_of(self.scheduler)}"
                    )

    def lr_at(self, epoch: float) -> float:
        """Learning rate of the cosine at a (fractional) epoch."""
        if epoch < self.warmup:
            return self.lr * (epoch + 1e-3) / self.warmup
        span = max(self.epochs - self.warmup, 1e-9)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (epoch - self.warmup) / span)))
        return self.lr * (self.final + (1 - self.final) * cosine)

    def _check_decayed(self) -> None:
        """Refuse groups of weight decay that would have no effect."""
        if self.decayed not in ("all", "weights"):
            raise unknown_name("decayed", str(self.decayed), ("all", "weights"))
        if self.decayed == "weights" and not self.weight_decay:
            raise XbarError("decayed = 'weights': has an effect with a weight_decay above 0 only")
        if self.decayed == "weights" and not isinstance(self.optimizer, str):
            raise XbarError(
                f"decayed = 'weights': has an effect with the name of an optimiser only; "
                f"{name_of(self.optimizer)} gets the parameters and may group them itself"
            )

    def build(
        self, parameters: Iterable[nn.Parameter], without_decay: Collection[nn.Parameter] = ()
    ) -> Optimizer:
        """The optimiser.

        Parameters
        ----------
        without_decay
            The parameters that get no weight decay; see `undecayed`.

        Raises
        ------
        XbarError
            Where a function gives something else, or what a training step cannot use.
        """
        given = list(parameters)
        build, options = self._optimizer()
        try:
            found = build(_groups(given, without_decay), lr=self.lr, **options)
        except (TypeError, ValueError) as error:
            raise XbarError(f"optimizer {name_of(build)}: {first_line(error)}") from error
        if not isinstance(found, Optimizer):
            raise XbarError(
                f"optimizer {name_of(build)}: gave a {type(found).__name__}; must be a torch.optim.Optimizer"
            )
        if isinstance(found, torch.optim.LBFGS):
            raise XbarError("optimizer LBFGS: asks for the loss several times a step, which `train` does not")
        own = {id(parameter) for parameter in given}
        if any(id(parameter) not in own for group in found.param_groups for parameter in group["params"]):
            raise XbarError(
                f"optimizer {name_of(build)}: holds other parameters than the network's; must take those "
                "that it is given (`compress` trains a copy of the network)"
            )
        return found

    def _optimizer(self) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Function that builds the optimiser, and its arguments beside parameters and rate."""
        options: dict[str, Any] = {}
        if isinstance(self.optimizer, str):
            build: Callable[..., Any] = _named("optimizer", self.optimizer, OPTIMIZERS)
            if self.weight_decay or _takes(build, "weight_decay"):
                options["weight_decay"] = self.weight_decay
            if build is torch.optim.SGD:
                options["momentum"] = SGD_MOMENTUM
            if build is torch.optim.Adam:
                options["fused"] = True
        elif callable(self.optimizer):
            build = self.optimizer
            if self.weight_decay:
                options["weight_decay"] = self.weight_decay
        else:
            raise XbarError(
                f"optimizer = {self.optimizer!r}: must be a name of torch.optim or a function "
                "optimizer(parameters, lr=...)"
            )
        if self.momentum is not None:
            options["momentum"] = self.momentum
        if self.nesterov:
            options["nesterov"] = True
        return build, options

    def build_scheduler(self) -> Callable[[Optimizer], Any]:
        """The function that builds a scheduler of torch."""
        if callable(self.scheduler):
            return self.scheduler
        if not isinstance(self.scheduler, str):
            raise XbarError(
                f"scheduler = {self.scheduler!r}: must be {COSINE!r}, a name of torch.optim.lr_scheduler or "
                "a function scheduler(optimizer)"
            )
        build = _named("scheduler", self.scheduler, {COSINE: None, **SCHEDULERS})
        epochs = max(self.epochs, 1)
        known = {"T_max": epochs, "total_iters": epochs, "total_steps": epochs, "max_lr": self.lr}
        wanted = dict(list(inspect.signature(build).parameters.items())[1:])
        missing = [
            name for name, p in wanted.items() if p.default is inspect.Parameter.empty and name not in known
        ]
        if missing:
            name = build.__name__
            raise XbarError(
                f"scheduler {name}: needs {', '.join(missing)}; give a function, such as "
                f"functools.partial(torch.optim.lr_scheduler.{name}, {missing[0]}=...)"
            )
        return functools.partial(build, **{key: known[key] for key in known if key in wanted})


def undecayed(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that usually have no weight decay: vectors, biases among them, and all of norms."""
    return [
        parameter
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if parameter.dim() < 2 or isinstance(module, NORMS)
    ]


def _groups(parameters: list[nn.Parameter], without_decay: Collection[nn.Parameter]) -> list[Any]:
    """Parameters, in two groups where some have no weight decay."""
    spared = {id(parameter) for parameter in without_decay}
    rest = [parameter for parameter in parameters if id(parameter) not in spared]
    if len(rest) == len(parameters):
        return parameters
    last = {"params": [p for p in parameters if id(p) in spared], "weight_decay": 0.0}
    return [{"params": rest}, last] if rest else [last]


def _named(what: str, name: str, allowed: Mapping[str, Any]) -> Any:
    """Entry of a name in any capitals."""
    by_letters = {each.lower(): found for each, found in allowed.items()}
    if name.lower() not in by_letters:
        raise unknown_name(what, name, allowed)
    return by_letters[name.lower()]


def _takes(function: Callable[..., Any], key: str) -> bool:
    parameters = inspect.signature(function).parameters
    return key in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def name_of(function: Any) -> str:
    """Name of a function or class, for messages."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", function))


def first_line(error: Exception) -> str:
    """First line of an error's text."""
    return str(error).partition("\n")[0]
