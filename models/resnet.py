"""ResNet (He et al. 2016, arXiv:1512.03385) as torchvision has it, with the names of its state dict.

ResNet-50 takes the stride in the 3 x 3 convolution (version 1.5). The form of ResNet-18 for CIFAR-10 begins
with a 3 x 3 convolution and has no pool after it.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from .sizes import scaled


def _shortcut(before: int, after: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and before == after:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions."""

    expansion = 1

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(before, channels, stride)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, the last one to four times the channels."""

    expansion = 4

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        after = channels * self.expansion
        self.conv1 = nn.Conv2d(before, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = _shortcut(before, after, stride)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Four groups of blocks, `depths` of them in each, on 3 x 224 x 224 images."""

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: tuple[int, int, int, int],
        classes: int = 1000,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        channels = [scaled(64 << i, width) for i in range(4)]
        self.conv1, self.maxpool = self.first_layers(channels[0])
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU()
        groups = []
        before = channels[0]
        for i, depth in enumerate(depths):
            blocks = []
            for j in range(depth):
                blocks.append(block(before, channels[i], 2 if i and not j else 1))
                before = channels[i] * block.expansion
            groups.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = groups
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)

    def first_layers(self, channels: int) -> tuple[nn.Conv2d, nn.Module]:
        """The first convolution, and the pool after its batch norm."""
        return nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False), nn.MaxPool2d(3, 2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class CifarResNet18(ResNet):
    """ResNet-18 for 3 x 32 x 32 images and 10 classes."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__(BasicBlock, (2, 2, 2, 2), 10, width)

    def first_layers(self, channels: int) -> tuple[nn.Conv2d, nn.Module]:
        return nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.Identity()


NETWORKS = {
    "resnet18": (partial(ResNet, BasicBlock, (2, 2, 2, 2)), (3, 224, 224)),
    "resnet34": (partial(ResNet, BasicBlock, (3, 4, 6, 3)), (3, 224, 224)),
    "resnet50": (partial(ResNet, Bottleneck, (3, 4, 6, 3)), (3, 224, 224)),
    "resnet18-cifar": (CifarResNet18, (3, 32, 32)),
}
