"""Accuracy, power and area of a network of your own, in one call.

A small convolutional network with batch norm is trained on scikit-learn's digits. It is then evaluated on ten
simulated chips of a design whose writes are off by 10 % (log-normal).

Prints a table: the accuracy in float, on an ideal chip and on the ten chips with the 95 % interval of their
mean; and area, energy, power, latency and efficiency of the crossbars with their converters and memory.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from experiments import evaluate
from experiments.inputs.data import load
from mapping import Recipe, train
from xbar import ProgrammingNoise, load_hardware

torch.set_num_threads(1)  # a network of this size runs faster on one thread
torch.manual_seed(0)

# Any network and any loader of (inputs, targets) will do.
data = load("digits", None)
training = DataLoader(TensorDataset(data.train_x, data.train_y), batch_size=64, shuffle=True)
test = DataLoader(TensorDataset(data.test_x, data.test_y), batch_size=256)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1, bias=False),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(128, 32),
    nn.ReLU(),
    nn.Linear(32, 10),
)
train(model, training, Recipe(epochs=15, lr=5e-3))

# A design that ships with xbar, 32 x 32 cells of 16 states, whose writes are off by 10 %.
hardware = load_hardware("admm-32x32").replace(device__programming=ProgrammingNoise("lognormal", 0.1))
# The loader shuffles, so that a second call would calibrate on other inputs; the seed above repeats the run.
print(evaluate(model, test, hardware, calibration=training))
