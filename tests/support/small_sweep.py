"""A sweep of one-layer networks on digits, in which a point takes tenths of a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.sweeps.tasks import dataset

NETWORK = """
import os
from pathlib import Path
from torch import nn

BROKEN = Path(__file__).with_name("broken")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        if BROKEN.exists() and x.shape[0] > 1:
            raise ValueError("broken on purpose")
        return self.fc(x.flatten(1))
"""

QUICK = """
compress.rate = 2.0
compress.retrain_epochs = 1
compress.layers = [{ layer = "*", share = 1.0 }]
compress.admm = { epochs = 1 }
quantise.epochs = 1
quantise.retrain_epochs = 1
chips.n = 2
calibration_images = 64
"""
"""Keys of a study of one layer, below the table in which a sweep or search sets what all points share."""

SWEEP = """
name = "small"
study = "digits"

[set]
network = "{network}:Net"
train.epochs = 3
{quick}chips.cases = [{{ name = "write errors", programming = {{ kind = "lognormal", sigma = 0.0 }} }}]

[[axes]]
key = ["hardware.crossbar.rows", "hardware.crossbar.cols", "hardware.adc.columns"]
values = [16, 32]

[[axes]]
key = "hardware.adc.bits"
values = {bits}

[[axes]]
key = "chips.cases.0.programming.sigma"
values = [0.0, 0.3]
"""


def small_sweep(folder: Path, bits: str = "[6, 8]") -> Path:
    """Write network and sweep file into a folder; the sweep's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(NETWORK)
    path = folder / "small.toml"
    path.write_text(SWEEP.format(network=folder / "net.py", bits=bits, quick=QUICK))
    return path


def data_in(folder: Path, seed: int) -> None:
    """Write random data of a seed, `own.npz`, anew."""
    dataset.cache_clear()  # read once in a process
    rng = np.random.default_rng(seed)
    x, y = rng.random((120, 8, 8), np.float32), np.arange(120) % 10
    np.savez(folder / "own.npz", x_train=x[:100], y_train=y[:100], x_test=x[100:], y_test=y[100:])
