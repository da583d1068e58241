"""Normalisation of a data set: each channel of all its images gets mean 0 and deviation 1.

Training, validation, calibration and the test see the same inputs, as crossbars do, whose word lines then
carry both signs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from experiments.inputs.data import Dataset
from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class Normalisation:
    """``(x - mean) / std`` by channel, for pixels in [0, 1].

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
    """Mean and deviation of each channel over the training images."""
    import torch

    std, mean = torch.std_mean(data.train_x.double(), (0, 2, 3), correction=0)
    return Normalisation(tuple(mean.tolist()), tuple(std.tolist()))


def normalised(data: Dataset, by: Normalisation) -> Dataset:
    """The data set with all its images normalised.

    Raises
    ------
    XbarError
        Where its images have another number of channels.
    """
    import torch

    channels = data.train_x.shape[1]
    if len(by.mean) != channels:
        raise XbarError(f"normalise: {len(by.mean)} channels; images of {data.name} have {channels}")
    mean, std = (torch.tensor(each)[:, None, None] for each in (by.mean, by.std))
    parts = {part: (getattr(data, part) - mean).div_(std) for part in ("train_x", "val_x", "test_x")}
    return dataclasses.replace(data, **parts)
