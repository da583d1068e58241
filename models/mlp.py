"""LeNet-300-100 (LeCun et al. 1998, doi:10.1109/5.726791), the multi-layer perceptron of pruning papers."""

from __future__ import annotations

import torch
from torch import nn

from .sizes import scaled


class MLP(nn.Module):
    """784-300-100-10 on images of 784 values: 266,200 weights without biases."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        hidden = scaled(300, width), scaled(100, width)
        self.fc1 = nn.Linear(784, hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], 10)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.fc1(x.flatten(1)))
        return self.fc3(self.relu(self.fc2(x)))


NETWORKS = {"mlp": (MLP, (1, 28, 28))}
