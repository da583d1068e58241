"""`Training` and `Quantisation`: how a study trains its baseline, and how it puts weights onto levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from mapping.compression.configs import check_admm, check_epochs
from mapping.recipes.options import TrainingOptions
from xbar.hardware.checks import STRICT, check_range, check_rising_to_one
from xbar.hardware.errors import XbarError
from xbar.hardware.noise import AnyWriteNoise, ProgrammingNoise

OF_RECIPE = ("optimizer", "scheduler", "momentum", "weight_decay", "nesterov", "decayed")
"""Keys that tables of a study and a `mapping.Recipe` have under the same names."""
PLAIN_RECIPE = {
    "optimizer": "Adam",
    "scheduler": "cosine",
    "momentum": None,
    "nesterov": False,
    "decayed": "all",
}
"""Keys of a recipe that need no check, whatever the weight decay is."""


@dataclass(frozen=True)
class Training:
    """The baseline: `optimizer` and `scheduler` as in `mapping.Recipe`, by name; Adam and cosine decay.

    `shift`: random shifts of up to so many pixels; `flip`: random mirror images. Both in every stage.
    `weights`: a file with a state dict to start from (safetensors, or what `torch.save` wrote); with
    ``epochs = 0`` it is the baseline. `momentum`, `nesterov`, `decayed`: as in `mapping.Recipe`.
    `normalise`: images of mean 0 and deviation 1 a channel, by those of the training part or of ImageNet, in
    every stage and on chips. `options`: `mapping.TrainingOptions` of the training in every stage;
    distillation acts from the compression on, where the baseline is the teacher.
    """

    __pydantic_config__: ClassVar = STRICT
    epochs: int
    lr: float = 2e-3
    batch: int = 64
    shift: int = 0
    flip: bool = False
    weight_decay: float = 0.0
    weights: str = ""
    optimizer: str = "Adam"
    scheduler: str = "cosine"
    momentum: float | None = None
    nesterov: bool = False
    decayed: Literal["all", "weights"] = "all"
    normalise: Literal["none", "training", "imagenet"] = "none"
    options: TrainingOptions = field(default_factory=TrainingOptions)

    def __post_init__(self) -> None:
        check_epochs("train.", self.epochs, self.lr)
        _check_recipe("train", self.recipe_keys())
        check_range("train.batch", self.batch, 1, 1 << 20)
        check_range("train.shift", self.shift, 0, 64)
        check_range("train.weight_decay", self.weight_decay, 0, 1)

    def recipe_keys(self) -> dict[str, Any]:
        """The keys of a `mapping.Recipe` that this table has under the same names."""
        return {name: getattr(self, name) for name in OF_RECIPE}


@dataclass(frozen=True)
class FineTuning:
    """The optimiser of every training after the baseline: ADMM, retraining, and that on levels and on chips.

    Keys as in `mapping.Recipe`. A method with an optimiser of its own, such as GSM, keeps it.
    """

    __pydantic_config__: ClassVar = STRICT
    optimizer: str = "Adam"
    scheduler: str = "cosine"
    momentum: float | None = None
    weight_decay: float = 0.0
    nesterov: bool = False
    decayed: Literal["all", "weights"] = "all"

    def __post_init__(self) -> None:
        check_range("fine_tuning.weight_decay", self.weight_decay, 0, 1)
        _check_recipe("fine_tuning", self.recipe_keys())

    def recipe_keys(self) -> dict[str, Any]:
        """The keys of a `mapping.Recipe` that this table has under the same names."""
        return {name: getattr(self, name) for name in OF_RECIPE}


def _check_recipe(table: str, keys: Mapping[str, Any]) -> None:
    """Refuse keys of a table that no recipe can have."""
    if all(keys[key] == value for key, value in PLAIN_RECIPE.items()):
        return
    from mapping.recipes.recipe import Recipe  # torch takes seconds, and most studies do not get here

    try:
        Recipe(1, **keys)
    except XbarError as error:
        raise XbarError(f"{table}.{error}") from None


@dataclass(frozen=True)
class Quantisation:
    """ADMM onto the device's levels, then retraining on them.

    ``freeze``: after ADMM, shares of each layer's weights, rising to 1, that are set to their levels and held
    while the others are retrained, `freeze_epochs` each. ``last``: layers (names or patterns) that go through
    both when the others are done. ``centroids``: in place of the device's equidistant states, cells of each
    layer have one at g_min and so many more where its weights need them, found by clustering their
    magnitudes. ``noise``: programming noise drawn at every step of the retraining. Its last
    `converter_epochs` run through DAC, tiles and ADC. ``ranges = "learned"``: both parts move the scales with
    the weights, and the second also the input ranges, by learned step sizes (arXiv:1902.08153);
    ``"learned-adc"``: the second also the ranges of the ADCs.
    """

    __pydantic_config__: ClassVar = STRICT
    epochs: int
    retrain_epochs: int
    lr: float = 5e-4
    retrain_lr: float = 5e-4
    rho: float = 1e-3
    rho_factor: float = 2.0
    rho_limit: float = 0.1
    interval: int = 1
    noise: AnyWriteNoise = field(default_factory=ProgrammingNoise)
    converter_epochs: int = 0
    ranges: Literal["fixed", "learned", "learned-adc"] = "fixed"
    freeze: tuple[float, ...] = ()
    freeze_epochs: int = 1
    last: tuple[str, ...] = ()
    centroids: int = 0

    @property
    def trains_on_hardware(self) -> bool:
        """Whether the retraining draws write errors, or runs through converters."""
        return self.noise.acts or self.converter_epochs > 0

    def __post_init__(self) -> None:
        check_admm("quantise", self)
        check_epochs("quantise.retrain_", self.retrain_epochs, self.retrain_lr)
        check_range("quantise.converter_epochs", self.converter_epochs, 0, 1000)
        if self.ranges == "learned" and not (self.retrain_epochs or self.converter_epochs):
            raise XbarError(
                "quantise.ranges = 'learned': needs quantise.retrain_epochs or quantise.converter_epochs, in "
                "which they are learned"
            )
        if self.ranges == "learned-adc" and not self.converter_epochs:
            raise XbarError(
                "quantise.ranges = 'learned-adc': needs quantise.converter_epochs, in which the ranges of "
                "ADCs are learned"
            )
        check_range("quantise.freeze_epochs", self.freeze_epochs, 1, 1000)
        check_range("quantise.centroids", self.centroids, 0, 256)
        if self.freeze:
            check_rising_to_one("quantise.freeze", self.freeze)
        if self.last and not (self.epochs or self.freeze):
            raise XbarError(
                "quantise.last: no layer goes onto levels before the retraining of all; needs "
                "quantise.epochs or quantise.freeze"
            )
