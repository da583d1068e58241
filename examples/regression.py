"""Regression on chips: how diabetes proceeds within a year, from ten measurements of a patient.

The data are scikit-learn's (Efron et al., doi:10.1214/009053604000000067): 442 patients, with features of
mean 0. A small network is trained by the squared error and measured by R2, the share of the variance that it
explains.

Prints the table of `evaluate`: R2 in float, on an ideal chip and on ten chips, and what they cost.
"""

import torch
from sklearn.datasets import load_diabetes
from torch import nn

from experiments import evaluate
from mapping import R2, Recipe, train
from xbar import ProgrammingNoise, load_hardware

torch.set_num_threads(1)
torch.manual_seed(0)
table = load_diabetes()
order = torch.randperm(len(table.target))
x = torch.tensor(table.data, dtype=torch.float32)[order] * 20  # features of variance 1 / 442 become about 1
y = torch.tensor(table.target, dtype=torch.float32)[order, None] / 100
train_x, train_y, test_x, test_y = x[:342], y[:342], x[342:], y[342:]
training = [(train_x[i : i + 32], train_y[i : i + 32]) for i in range(0, 342, 32)]

model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))
train(model, training, Recipe(epochs=40, lr=1e-2, weight_decay=1e-3), loss=nn.functional.mse_loss)

hardware = load_hardware("admm-32x32").replace(device__programming=ProgrammingNoise("lognormal", 0.1))
print(evaluate(model, (test_x, test_y), hardware, calibration=training, metric=R2))
