"""A fast network for CIFAR-10, after airbench94 (Jordan 2024, arXiv:2404.00498, section 3.1).

Seven convolutions and a linear layer, 118 million multiply-accumulates an image. Three things differ from
the source, for crossbars: the first layer is learned, where the source computes it from the covariance of
patches; activations are ReLU, whose outputs need no sign, for GELU; and a batch norm follows its convolution,
before the pool, so that it can be folded.
"""

from __future__ import annotations

import torch
from torch import nn

from .sizes import scaled

FIRST = 24
CHANNELS = (64, 256, 256)


def convolution(before: int, after: int, kernel: int, padding: int) -> list[nn.Module]:
    """A convolution with its batch norm and ReLU."""
    convolve = nn.Conv2d(before, after, kernel, padding=padding, bias=False)
    return [convolve, nn.BatchNorm2d(after), nn.ReLU()]


class Airbench(nn.Module):
    """A 2 x 2 convolution, three groups of two 3 x 3 convolutions with a pool after the first, and a pool."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        before = scaled(FIRST, width)
        layers = convolution(3, before, 2, 0)
        for channels in CHANNELS:
            after = scaled(channels, width)
            layers += [*convolution(before, after, 3, 1), nn.MaxPool2d(2), *convolution(after, after, 3, 1)]
            before = after
        self.features = nn.Sequential(*layers, nn.MaxPool2d(3))
        self.classifier = nn.Linear(before, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))


NETWORKS = {"airbench-cifar": (Airbench, (3, 32, 32))}
