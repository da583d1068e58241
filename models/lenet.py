"""LeNet-5 in the form that the compression papers use (20-50-500-10), and a small one for 8 x 8 digits."""

from __future__ import annotations

import torch
from torch import nn


class LeNet5(nn.Module):
    """20-50-500-10 on 1 x 28 x 28 images: 430,500 weights without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, 10)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        return self.fc2(self.relu(self.fc1(x.flatten(1))))


class LeNetDigits(nn.Module):
    """16-32-128-10 on 1 x 8 x 8 images, 3 x 3 kernels: 22,416 weights without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(128, 128)
        self.fc2 = nn.Linear(128, 10)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        return self.fc2(self.relu(self.fc1(x.flatten(1))))


NETWORKS = {"lenet5": (LeNet5, (1, 28, 28)), "lenet-digits": (LeNetDigits, (1, 8, 8))}
