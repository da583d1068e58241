"""Normalisation of a data set: each channel or feature of all its inputs gets mean 0 and deviation 1.

Training, validation, calibration and the test see the same inputs, as crossbars do, whose word lines then
carry both signs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.inputs.data import Dataset
from xbar.hardware.errors import XbarError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Normalisation:
    """``(x - mean) / std`` by channel, the second axis: of pixels in [0, 1], or of any features.

    Raises
    ------
    XbarError
        For lists of different lengths, or a deviation that is not above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise XbarError(
                f"normalise: {len(self.mean)} means and {len(self.std)} deviations; must be one of each for "
                "every channel"
            )
        if not all(std > 0 for std in self.std):
            raise XbarError(f"normalise: deviations {list(self.std)}: must be above 0")


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The normalisation of torchvision's networks, and of the ResNets of akamaster/pytorch_resnet_cifar10."""


def of_training_part(data: Dataset) -> Normalisation:
    """Mean and deviation of each channel over the training inputs; errors as those of `normalised`."""
    import torch

    x = _with_channels(data)
    axes = tuple(axis for axis in range(x.dim()) if axis != 1)
    std, mean = torch.std_mean(x.double(), axes, correction=0)
    return Normalisation(tuple(mean.tolist()), tuple(std.tolist()))


def normalised(data: Dataset, by: Normalisation) -> Dataset:
    """The data set with all its images normalised.

    Raises
    ------
    XbarError
        Where its inputs have another number of channels, or are no numbers with channels.
    """
    import torch

    x = _with_channels(data)
    channels = x.shape[1]
    if len(by.mean) != channels:
        raise XbarError(f"normalise: {len(by.mean)} channels; images of {data.name} have {channels}")
    shape = (-1, *(1 for _ in x.shape[2:]))
    mean, std = (torch.tensor(each).reshape(shape) for each in (by.mean, by.std))
    parts = {part: (getattr(data, part) - mean).div_(std) for part in ("train_x", "val_x", "test_x")}
    return dataclasses.replace(data, **parts)


def _with_channels(data: Dataset) -> torch.Tensor:
    """Training inputs that are one tensor of real numbers, (N, channels, ...)."""
    import torch

    x = data.train_x
    if not isinstance(x, torch.Tensor) or not x.is_floating_point() or x.dim() < 2:
        raise XbarError(
            f"train.normalise: inputs of {data.name} are no tensor of real numbers (N, channels, ...); "
            "must be 'none'"
        )
    return x
