"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556), with the names of torchvision's state dict.

Its form for CIFAR-10 has 13 convolutions with batch norm, five pools and one linear layer.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from .sizes import scaled

CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def features(depth: int, batch_norm: bool, width: float) -> nn.Sequential:
    """Five groups of 3 x 3 convolutions, each closed by a pool."""
    layers: list[nn.Module] = []
    before = 3
    for channels, count in zip(CHANNELS, CONVOLUTIONS[depth], strict=True):
        after = scaled(channels, width)
        for _ in range(count):
            layers.append(nn.Conv2d(before, after, 3, padding=1))
            layers += [nn.BatchNorm2d(after)] if batch_norm else []
            layers.append(nn.ReLU())
            before = after
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class VGG(nn.Module):
    """The network for 3 x 224 x 224 images, with two hidden layers of 4096."""

    def __init__(self, depth: int, batch_norm: bool = False, width: float = 1.0) -> None:
        super().__init__()
        hidden = scaled(4096, width)
        self.features = features(depth, batch_norm, width)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(scaled(CHANNELS[-1], width) * 49, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, 1000),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class CifarVGG(nn.Module):
    """VGG-16 with batch norm on 3 x 32 x 32 images; the classifier is one layer, 512-10."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.features = features(16, True, width)
        self.classifier = nn.Linear(scaled(CHANNELS[-1], width), 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))


NETWORKS = {
    f"vgg{depth}{suffix}": (partial(VGG, depth, batch_norm), (3, 224, 224))
    for depth in CONVOLUTIONS
    for suffix, batch_norm in (("", False), ("_bn", True))
} | {"vgg16-cifar": (CifarVGG, (3, 32, 32))}
