"""Accuracy, power and area of a network of your own.

A small convolutional network with batch norm is trained on scikit-learn's digits. It is then mapped onto
crossbars of 32 x 32 cells whose writes are off by 10 % (log-normal), and ten such chips are simulated.

Prints the accuracy in float, the mean accuracy of the chips with its 95 % interval, and the power and the
area of the crossbars with their converters and memory.
"""

import torch
from torch import nn

from experiments.inputs.batches import Batches
from experiments.inputs.data import load
from mapping import (
    Recipe,
    accuracy,
    calibrate,
    chip_accuracy,
    crossbar_form,
    map_network,
    sample_chips,
    train,
)
from power import estimate
from xbar import ProgrammingNoise, load_hardware

torch.set_num_threads(1)  # a network of this size runs faster on one thread
torch.manual_seed(0)

# Any network and any iterable of (inputs, targets) will do.
data = load("digits", None)
batches = Batches(data.train_x, data.train_y, 64, shuffle=True)
test = Batches(data.test_x, data.test_y, 256)
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
train(model, batches, Recipe(epochs=15, lr=5e-3))
example = data.train_x[:1]
print(f"float: {accuracy(model, test):.2f} %")

# A design that ships with xbar; two cells a weight, because the network was not prepared for 16 states.
hardware = load_hardware("admm-32x32").replace(
    encoding__slices=2, device__programming=ProgrammingNoise("lognormal", 0.1)
)

form = crossbar_form(model, example)
mapped, activity = calibrate(map_network(form, hardware, example), form, batches)
chips = sample_chips(lambda chip: chip_accuracy(mapped, form, test, chip=chip), most=10)
cost = estimate(mapped, activity)
print(f"{chips.mean:.2f} +- {chips.half_width:.2f} %, {cost.power_mw:.2f} mW, {cost.area_mm2:.3f} mm2")
