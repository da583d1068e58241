"""Keyword spotting on chips: a one-dimensional convolutional network on sounds.

Four synthetic words, each a glide between two tones with noise and a random start, are told apart by a
network of three convolutions in time. It is evaluated on chips whose writes are off by 10 % (log-normal).

Prints the table of `evaluate`: accuracy in float, on an ideal chip and on five chips, and what they cost.
"""

import torch
from torch import nn

from experiments import evaluate
from mapping import Recipe, train
from xbar import ProgrammingNoise, load_hardware

torch.set_num_threads(1)
torch.manual_seed(0)
WORDS = ((0.05, 0.05), (0.15, 0.15), (0.05, 0.15), (0.15, 0.05))  # tones at begin and end, in cycles a sample


def sounds(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Waves (N, 1, 128) and the number of the word in each."""
    y = torch.randint(0, len(WORDS), (count,))
    first, last = torch.tensor(WORDS)[y].T
    share = torch.linspace(0, 1, 128)
    tone = first[:, None] + (last - first)[:, None] * share
    phase = 2 * torch.pi * (tone.cumsum(1) + torch.rand(count, 1))
    return (phase.sin() + 1.5 * torch.randn(count, 128))[:, None], y


model = nn.Sequential(
    nn.Conv1d(1, 16, 9, stride=2),
    nn.ReLU(),
    nn.Conv1d(16, 16, 5, stride=2),
    nn.ReLU(),
    nn.Conv1d(16, 16, 5, stride=2),
    nn.ReLU(),
    nn.AdaptiveAvgPool1d(2),
    nn.Flatten(),
    nn.Linear(32, len(WORDS)),
)
x, y = sounds(1024)
training = [(x[i : i + 64], y[i : i + 64]) for i in range(0, len(x), 64)]
train(model, training, Recipe(epochs=8, lr=5e-3))

hardware = load_hardware("admm-32x32").replace(device__programming=ProgrammingNoise("lognormal", 0.1))
print(evaluate(model, sounds(300), hardware, calibration=training, chips=5))
