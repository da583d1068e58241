"""Which array size and how many ADC bits? A small sizing sweep in Python.

A two-layer network for scikit-learn's digits is mapped onto arrays of three sizes with converters of three
widths. Every design is simulated without device noise, so that the loss is that of the converters, and
priced with the activity of the word lines that was measured.

Prints a line for each design: accuracy, energy an image, area, and the least number of ADC bits that would
lose nothing. A star marks a design if no other is at least as good in all three figures and better in one.
`xbar sweep` does large sweeps, with a file of axes, worker processes and a store that survives a kill.
"""

import torch
from torch import nn

from experiments.inputs.batches import Batches
from experiments.inputs.data import load
from mapping import Recipe, calibrate, chip_accuracy, map_network, train
from power import estimate
from power.counts.resolution import lossless_bits_of_network
from xbar import load_hardware

torch.set_num_threads(1)
torch.manual_seed(0)
data = load("digits", None)
batches = Batches(data.train_x, data.train_y, 64, shuffle=True)
test = Batches(data.test_x, data.test_y, 256)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
train(model, batches, Recipe(epochs=15, lr=5e-3))

designs = {}
for size in (16, 32, 64):
    for bits in (4, 6, 8):
        hardware = load_hardware("admm-32x32").replace(
            crossbar__rows=size, crossbar__cols=size, adc__columns=size, adc__bits=bits, encoding__slices=2
        )
        mapped, activity = calibrate(map_network(model, hardware, data.train_x[:1]), model, batches)
        cost = estimate(mapped, activity)
        figures = (chip_accuracy(mapped, model, test), cost.energy_nj_per_image, cost.area_mm2)
        designs[size, bits] = (*figures, max(lossless_bits_of_network(mapped).values()))


def beaten(figures):
    """Whether another design is at least as good in all three figures, and better in one."""
    better = [d for d in designs.values() if d[0] >= figures[0] and d[1] <= figures[1] and d[2] <= figures[2]]
    return any(design[:3] != figures[:3] for design in better)


print("array    ADC bits  accuracy  nJ/image     mm2  bits that lose nothing")
for (size, bits), figures in designs.items():
    right, energy, area, lossless = figures
    star = " " if beaten(figures) else "*"
    print(f"{size:2} x {size:2}  {bits:8}  {right:6.2f} %  {energy:8.2f}  {area:6.4f}  {lossless:22} {star}")
