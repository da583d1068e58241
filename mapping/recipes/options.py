"""Options of a training beside its optimiser: plain data that every stage of a study shares.

This module does not import torch, so that a study is read and checked without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from xbar.hardware.checks import STRICT, check_range, check_whole
from xbar.hardware.errors import XbarError, unknown_name

Precision = Literal["fp32", "bf16"]
Keep = Literal["last", "highest", "lowest"]


@dataclass(frozen=True)
class Mixup:
    """Inputs are mixed in pairs, ``c x_i + (1 - c) x_j``, and so are their losses (arXiv:1710.09412).

    Parameters
    ----------
    alpha
        c is drawn from Beta(alpha, alpha), once a batch.
    """

    __pydantic_config__: ClassVar = STRICT
    alpha: float = 0.2
    kind: Literal["mixup"] = "mixup"

    def __post_init__(self) -> None:
        check_range("mixing.alpha", self.alpha, 1e-3, 100)


@dataclass(frozen=True)
class Cutout:
    """A square of each image is set to zero, around a random pixel (arXiv:1708.04552).

    Parameters
    ----------
    size
        Side of the square [pixels]; what lies beyond the image's edge is cut off.
    """

    __pydantic_config__: ClassVar = STRICT
    size: int = 8
    kind: Literal["cutout"] = "cutout"

    def __post_init__(self) -> None:
        check_whole("mixing.size", self.size, 1, 1024)


@dataclass(frozen=True)
class Distillation:
    """The outputs q follow those of a teacher, p (Hinton et al., arXiv:1503.02531).

    The loss is ``(1 - weight) loss + weight T^2 KL(p || q)`` with the softmax of outputs over T, the
    temperature, along their second axis; T^2 keeps the gradient's size.
    """

    __pydantic_config__: ClassVar = STRICT
    temperature: float = 4.0
    weight: float = 0.5

    def __post_init__(self) -> None:
        check_range("distillation.temperature", self.temperature, 0.01, 1000)
        check_range("distillation.weight", self.weight, 0, 1)


@dataclass(frozen=True)
class Ema:
    """The network of a training is the exponential moving average of its weights over the steps.

    After step n = 1, 2, ... the average is ``a <- d a + (1 - d) w`` with d the lesser of `decay` and
    (1 + n) / (10 + n), which forgets the first weights. Statistics of batch norms are averaged alike.
    Validation is that of the average.
    """

    __pydantic_config__: ClassVar = STRICT
    decay: float = 0.999

    def __post_init__(self) -> None:
        check_range("ema.decay", self.decay, 0, 0.999999)


@dataclass(frozen=True)
class TrainingOptions:
    """How a training computes, what it adds to the loss, and which of its networks it keeps.

    Parameters
    ----------
    precision
        ``bf16``: products of the forward and backward pass by torch's autocast, weights and the optimiser in
        float32. It pays on processors with AVX512_BF16 or AMX, and is slow on others.
    accumulate
        Batches whose gradients make one step, as one batch of all their inputs would; the loss must be a mean
        over inputs.
    label_smoothing
        Label smoothing of the cross-entropy (arXiv:1512.00567).
    mixing, distillation, ema
        None: without.
    keep
        The network of the last epoch, or that of the highest or lowest validation. Where a method has a goal,
        epochs before it is reached do not count: with ADMM and GSM the last one is kept, with freezing one in
        which all shares are frozen.
    patience
        Epochs without a better validation after which the training stops; 0: it does not stop before its
        end.

    Raises
    ------
    XbarError
        For a number out of range, an unknown name, or patience without a validation that is better.
    """

    __pydantic_config__: ClassVar = STRICT
    precision: Precision = "fp32"
    accumulate: int = 1
    label_smoothing: float = 0.0
    mixing: Mixup | Cutout | None = None
    distillation: Distillation | None = None
    ema: Ema | None = None
    keep: Keep = "last"
    patience: int = 0

    def __post_init__(self) -> None:
        for key, name, allowed in (
            ("precision", self.precision, get_args(Precision)),
            ("keep", self.keep, get_args(Keep)),
        ):
            if name not in allowed:
                raise unknown_name(key, str(name), allowed)
        for key, kinds in (("mixing", (Mixup, Cutout)), ("distillation", (Distillation,)), ("ema", (Ema,))):
            value = getattr(self, key)
            if value is not None and not isinstance(value, kinds):
                names = " or ".join(kind.__name__ for kind in kinds)
                raise XbarError(f"{key} = {value!r}: must be a {names}, or None")
        check_whole("accumulate", self.accumulate, 1, 1 << 16)
        check_range("label_smoothing", self.label_smoothing, 0, 0.99)
        check_whole("patience", self.patience, 0, 100_000)
        if self.patience and self.keep == "last":
            raise XbarError(
                f"patience = {self.patience}: has an effect with keep = 'highest' or 'lowest' only, which "
                "say what a better validation is"
            )
