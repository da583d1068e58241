"""Accuracy under write errors, and what time does to a chip.

A two-layer network for scikit-learn's digits is measured on chips whose conductances are off by 0 to 40 %
(the standard deviation of ln g). The same network is then put on phase-change memory (PCM) as it was
measured at IBM, whose conductances drift, and is read after 20 seconds, a day and a year.

Prints a line for each noise: the mean accuracy over chips and half of its 95 % interval. More chips are
drawn until the interval is within one percentage point on either side, or 20 chips are reached.
"""

import torch
from torch import nn

from experiments.inputs.batches import Batches
from experiments.inputs.data import load
from mapping import (
    Recipe,
    accuracy,
    accuracy_over_time,
    calibrate,
    chip_accuracy,
    map_network,
    sample_chips,
    train,
)
from xbar import ProgrammingNoise, load_device, load_hardware

torch.set_num_threads(1)
torch.manual_seed(0)
data = load("digits", None)
batches = Batches(data.train_x, data.train_y, 64, shuffle=True)
test = Batches(data.test_x, data.test_y, 256)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
train(model, batches, Recipe(epochs=15, lr=5e-3))
print(f"float: {accuracy(model, test):.2f} %")


def mapped_on(hardware):
    """The network on tiles, with converter ranges that are fitted on the training images."""
    return calibrate(map_network(model, hardware, data.train_x[:1]), model, batches)[0]


design = load_hardware("admm-32x32").replace(encoding__slices=2)
for sigma in (0.0, 0.1, 0.2, 0.4):
    noise = ProgrammingNoise("lognormal", sigma) if sigma else ProgrammingNoise()
    mapped = mapped_on(design.replace(device__programming=noise))
    chips = sample_chips(
        lambda chip, on=mapped: chip_accuracy(on, model, test, chip=chip), most=20, until=1.0
    )
    print(f"write errors of {100 * sigma:2.0f} %: {chips.mean:.2f} +- {chips.half_width:.2f} %")

times = {"20 s": 20.0, "1 day": 86_400.0, "1 year": 31_557_600.0}
aged = accuracy_over_time(
    mapped_on(load_hardware("admm-32x32").replace(device=load_device("pcm-90nm"))),
    model,
    test,
    list(times.values()),
    chips=5,
)
for label, accuracies in zip(times, aged, strict=True):
    print(f"PCM after {label}: {accuracies.mean():.2f} %")
