"""ResNet-20 and ResNet-56 for CIFAR-10 (He et al. 2016, arXiv:1512.03385, section 4.2).

Shortcuts are those of the paper, option A: every second pixel, and zeros for the new channels, no weights.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn.functional import pad

from .sizes import scaled


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without weights."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.stride, self.new_channels = stride, channels - before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
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
                ResidualBlock(before if not j else count, count, stride) for j, stride in enumerate(strides)
            ]
            groups.append(nn.Sequential(*blocks))
            before = count
        self.layer1, self.layer2, self.layer3 = groups
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
        return self.fc(self.avgpool(x).flatten(1))


NETWORKS = {f"resnet{6 * depth + 2}": (partial(CifarResNet, depth), (3, 32, 32)) for depth in (3, 9)}
