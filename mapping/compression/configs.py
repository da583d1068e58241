"""Compression methods by name: the keys of each, and what it may be asked for.

A method prunes a network to a target. Its handler takes the config and a
`mapping.compression.pruning.PruningTask`, and gives a `mapping.compression.pruning.Pruning`. A method of
one's own is one file: a config, a handler and `METHODS.add`.

This module needs no torch, so that a study is read at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from xbar.hardware.checks import check_number, check_range, check_whole
from xbar.hardware.errors import XbarError
from xbar.hardware.registry import Registry


@dataclass(frozen=True)
class Rate:
    """A compression rate: 1/`rate` of the weights of all layers on crossbars stay."""

    rate: float

    def __post_init__(self) -> None:
        check_number("compress.rate", self.rate)
        if not (self.rate >= 1 and self.rate < float("inf")):
            raise XbarError(
                f"compress.rate = {self.rate}: must be at least 1 (a rate of r keeps 1/r of the weights)"
            )


@dataclass(frozen=True)
class AreaLimit:
    """An area [mm^2]: the shares of the layers stay, and their common factor is the largest within it."""

    area_mm2: float

    def __post_init__(self) -> None:
        check_range("compress.area_mm2", self.area_mm2, 1e-12, 1e12)


@dataclass(frozen=True)
class EnergyLimit:
    """The energy of an image at the worst inputs [nJ], met as an `AreaLimit` is."""

    energy_nj: float

    def __post_init__(self) -> None:
        check_range("compress.energy_nj", self.energy_nj, 1e-12, 1e12)


@dataclass(frozen=True)
class ByteBudget:
    """Storage [bytes] of the weights without their indices: the weights that stay and the bits of each layer
    are chosen together, and the cells of a layer have as many states as its bits need."""

    bytes: float

    def __post_init__(self) -> None:
        check_range("compress.bytes", self.bytes, 1, 1e12)


Target = Rate | AreaLimit | EnergyLimit | ByteBudget
"""The target of a compression."""


class PruningConfig(Protocol):
    """Keys of a compression method: a frozen dataclass."""

    takes: ClassVar[tuple[type, ...]]
    """Targets that the method can be asked for."""

    by_layer: ClassVar[bool]
    """Whether the rule of each layer says what stays there; else the method takes only their names."""

    epochs: int


@dataclass(frozen=True)
class AdmmConfig:
    """ADMM to a set for each layer, with Adam: `mapping.compression.admm`.

    Parameters
    ----------
    epochs, lr
        Epochs and learning rate of the training under the penalty; the rate falls to a tenth along a cosine.
    rho, rho_factor, rho_limit
        Strength of the penalty: its start, its growth at each Z-step, and its end.
    interval
        Epochs between two Z-steps.
    """

    takes: ClassVar[tuple[type, ...]] = (Rate, AreaLimit, EnergyLimit)
    by_layer: ClassVar[bool] = True
    epochs: int
    lr: float = 1e-3
    rho: float = 1e-3
    rho_factor: float = 2.0
    rho_limit: float = 0.1
    interval: int = 1

    def __post_init__(self) -> None:
        check_admm(f"compress.{METHODS.kind(self)}", self)


@dataclass(frozen=True)
class BudgetConfig(AdmmConfig):
    """ADMM with one number of weights over all layers that have a rule, or one number of bytes. Kinds and
    shares of the rules have no effect."""

    takes: ClassVar[tuple[type, ...]] = (Rate, ByteBudget)
    by_layer: ClassVar[bool] = False


@dataclass(frozen=True)
class GsmConfig:
    """Global sparse momentum SGD over all layers that have a rule: `mapping.compression.gsm`. Kinds and
    shares of the rules have no effect.

    Parameters
    ----------
    epochs, lr
        Epochs and learning rate of the training.
    momentum, weight_decay
        Momentum and weight decay of SGD, by which passive weights decay; a momentum of .98 or more is usual.
    active
        1/active of the weights are active in a step; 0: as many as stay.
    """

    takes: ClassVar[tuple[type, ...]] = (Rate,)
    by_layer: ClassVar[bool] = False
    epochs: int
    weight_decay: float
    lr: float = 1e-3
    momentum: float = 0.0
    active: float = 0.0

    def __post_init__(self) -> None:
        check_epochs("compress.gsm.", self.epochs, self.lr)
        check_range("compress.gsm.weight_decay", self.weight_decay, 1e-12, 1)
        check_range("compress.gsm.momentum", self.momentum, 0, 0.9999)
        if self.active:
            check_range("compress.gsm.active", self.active, 1, 1e9)

    def check_target(self, target: Target) -> None:
        """Refuse fewer active weights than stay."""
        if self.active and isinstance(target, Rate):
            check_range("compress.gsm.active", self.active, target.rate, 1e9, "(from compress.rate on)")


def check_epochs(room: str, epochs: int, lr: float) -> None:
    """Refuse a number of epochs or a learning rate out of range; `room` begins their keys."""
    check_whole(f"{room}epochs", epochs, 0, 100_000)
    check_range(f"{room}lr", lr, 1e-9, 10)


def check_admm(table: str, config: Any) -> None:
    """Refuse keys of an ADMM that are out of range; `table` leads to them."""
    check_epochs(f"{table}.", config.epochs, config.lr)
    check_range(f"{table}.rho", config.rho, 1e-9, 1e3)
    check_range(f"{table}.rho_factor", config.rho_factor, 1, 100)
    check_range(f"{table}.rho_limit", config.rho_limit, config.rho, 1e6)
    check_whole(f"{table}.interval", config.interval, 1, 1000)


METHODS: Registry[Callable[[Any, Any], Any]] = Registry(
    "compression method",
    (
        *("rate", "area_mm2", "energy_nj", "bytes", "target", "method", "layers", "before", "batch"),
        *("children", "purify", "retrain_epochs", "retrain_lr"),
    ),
)
"""Handlers ``(config, PruningTask) -> Pruning`` of the compression methods, by the names of their tables in
``[compress]``."""

METHODS.add("admm", AdmmConfig, "mapping.compression.pruning:by_admm")
METHODS.add("budget", BudgetConfig, "mapping.compression.pruning:by_budget")
METHODS.add("gsm", GsmConfig, "mapping.compression.pruning:by_gsm")
