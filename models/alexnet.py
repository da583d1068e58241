"""AlexNet in one column (Krizhevsky 2014, arXiv:1404.5997), with the names of torchvision's state dict."""

from __future__ import annotations

import torch
from torch import nn

from .sizes import scaled


class AlexNet(nn.Module):
    """64-192-384-256-256-4096-4096-1000 on 3 x 224 x 224 images."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        a, b, c, d, e = (scaled(channels, width) for channels in (64, 192, 384, 256, 256))
        hidden = scaled(4096, width)
        self.features = nn.Sequential(
            nn.Conv2d(3, a, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(a, b, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(b, c, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c, d, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(d, e, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(e * 36, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1000),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


NETWORKS = {"alexnet": (AlexNet, (3, 224, 224))}
