"""A device of your own: its window, write error and drift.

The device is written down twice: as a `Device` in Python, and as a TOML file, which is what studies and the
command line read. Both are the same object, and the program checks it. A network for scikit-learn's digits
then runs on chips of this device, fresh and a month old.

Prints the standard deviation that 100,000 cells of the middle state show after the write and after a month
(in microsiemens), and the accuracy of three chips at both times.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from experiments.inputs.batches import Batches
from experiments.inputs.data import load
from mapping import Recipe, accuracy_over_time, calibrate, map_network, train
from xbar import Device, Drift, LogClamp, ProgrammingNoise, load_device, load_hardware
from xbar.conductances.programming import program

MONTH = 30 * 86_400.0  # s

device = Device(
    name="my-cell",
    source="our array, measured in May",
    g_min=2e-6,  # S
    g_max=50e-6,  # S
    states=16,
    programming=ProgrammingNoise("gaussian", 0.02, relative_to="range"),  # 2 % of g_max - g_min
    # g (t / t0)^-nu with t0 = 20 s; nu is drawn for each cell
    drift=Drift(t0=20.0, nu=LogClamp(0.03), nu_sigma=LogClamp(0.01)),
)

TOML = """
name = "my-cell"
source = "our array, measured in May"
g_min = 2e-6
g_max = 50e-6
states = 16

[programming]
kind = "gaussian"
sigma = 0.02
relative_to = "range"

[drift]
t0 = 20.0
nu = { intercept = 0.03 }
nu_sigma = { intercept = 0.01 }
"""
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "my-cell.toml"
    path.write_text(TOML, encoding="utf-8")
    assert load_device(str(path)) == device

lines = np.arange(320)
target = device.conductances()[8]  # S
for label, seconds in (("fresh", device.first_time), ("a month old", MONTH)):
    goal = np.full((320, 320), target)
    cells = program(goal, device, lines, lines, seed=0, chip=0, layer="", plane=0, slice_=0, time=seconds)
    mean, deviation = 1e6 * cells.g.mean(), 1e6 * cells.g.std()
    print(f"cells {label}: {mean:.2f} +- {deviation:.2f} uS, written for {1e6 * target:.1f} uS")

torch.set_num_threads(1)
torch.manual_seed(0)
data = load("digits", None)
batches = Batches(data.train_x, data.train_y, 64, shuffle=True)
test = Batches(data.test_x, data.test_y, 256)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
train(model, batches, Recipe(epochs=15, lr=5e-3))

hardware = load_hardware("admm-32x32").replace(device=device, encoding__slices=2)
mapped, _ = calibrate(map_network(model, hardware, data.train_x[:1]), model, batches)
accuracies = accuracy_over_time(mapped, model, test, (device.first_time, MONTH), chips=3)
for label, of_chips in zip(("fresh", "a month old"), accuracies, strict=True):
    print(f"chips {label}: {', '.join(f'{value:.2f}' for value in of_chips)} %")
