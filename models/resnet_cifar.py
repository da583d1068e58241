"""ResNet-20, 32, 44 and 56 for CIFAR-10 (He et al. 2016, arXiv:1512.03385, section 4.2).

Shortcuts are those of the paper, option A: every second pixel, and zeros for the new channels, no weights.
The paper does not say where the zeros are. In `CifarResNet` they follow the channels that are there; in
`AkamasterResNet` they lie on both sides.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn.functional import pad

from .sizes import scaled


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without weights; `first`: new channels before the others."""

    def __init__(self, before: int, channels: int, stride: int, first: int = 0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.stride, self.new_channels = stride, (first, channels - before - first)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.new_channels))
        return self.relu(y + x)


class CifarResNet(nn.Module):
    """A 3 x 3 convolution, three groups of `depth` blocks with 16, 32 and 64 channels, and a linear layer."""

    def __init__(self, depth: int, width: float = 1.0) -> None:
        super().__init__()
        channels = [scaled(16 << i, width) for i in range(3)]
        self.conv1 = nn.Conv2d(3, channels[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU()
        groups = []
        before = channels[0]
        for i, count in enumerate(channels):
            strides = [2 if i else 1] + [1] * (depth - 1)
            blocks = [
                self.block(before if not j else count, count, stride) for j, stride in enumerate(strides)
            ]
            groups.append(nn.Sequential(*blocks))
            before = count
        self.layer1, self.layer2, self.layer3 = groups
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, 10)

    def block(self, before: int, channels: int, stride: int) -> ResidualBlock:
        """One block of a group."""
        return ResidualBlock(before, channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
        return self.classes(self.avgpool(x).flatten(1))

    def classes(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of the last layer."""
        return self.fc(x)


class AkamasterResNet(CifarResNet):
    """The form of github.com/akamaster/pytorch_resnet_cifar10, whose published weights it takes.

    Zeros lie on both sides of the channels of a shortcut, and the last layer is called `linear`. Inputs are
    normalised with mean and deviation of ImageNet.
    """

    def __init__(self, depth: int, width: float = 1.0) -> None:
        super().__init__(depth, width)
        self.linear = self.fc
        del self.fc

    def block(self, before: int, channels: int, stride: int) -> ResidualBlock:
        return ResidualBlock(before, channels, stride, first=(channels - before) // 2)

    def classes(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


DEPTHS = {20: 3, 32: 5, 44: 7, 56: 9}
"""Blocks of a group by layers."""
NETWORKS = {
    f"resnet{layers}{name}": (partial(kind, depth), (3, 32, 32))
    for layers, depth in DEPTHS.items()
    for name, kind in (("", CifarResNet), ("-akamaster", AkamasterResNet))
}
