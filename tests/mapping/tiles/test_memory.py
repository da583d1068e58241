"""Memory of a mapping: networks of 10^8 weights are mapped where they fit."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Literal

import pytest
import torch
from networks import design
from torch import nn

from mapping import map_network


@pytest.mark.parametrize(("per", "most"), [("column", 7.5), ("layer", 7.5)])
@pytest.mark.parametrize("pruned", [False, True])
def test_bytes_a_weight(per: Literal["column", "layer"], most: float, pruned: bool) -> None:
    """It took 43, of which a mapping keeps 2, and 2 more where weights are 0; the network has its own 4."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(1500, 1000, bias=False)), torch.rand(1, 1500)
    if pruned:
        with torch.no_grad():
            model[0].weight[torch.rand(1000, 1500) < 0.3] = 0.0
    hardware = design(128, 128).replace(encoding__scale=per)
    map_network(nn.Sequential(nn.Linear(9, 9)), hardware, torch.rand(1, 9))  # compiles
    tracemalloc.start()
    try:
        mapped = map_network(model, hardware, x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert mapped.weights_total == 1_500_000
    assert peak <= most * mapped.weights_total


def test_without_weights_a_mapping_takes_next_to_nothing() -> None:
    """64 million weights on torch's meta device, which no memory holds; tiles are all that there is."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(8000, 8000, bias=False))
    tracemalloc.start()
    try:
        mapped = map_network(model, design(128, 128), torch.rand(1, 8000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert mapped.weights_total == 64_000_000
    assert peak <= 0.2 * mapped.weights_total


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see a process's memory")
@pytest.mark.parametrize("per", ["layer", "column"])
def test_resident_memory_of_a_large_layer(per: str) -> None:
    """What the process takes, its network included, beside its libraries: it was 19.9 bytes a weight."""
    program = f"""
import torch
from torch import nn
from mapping import map_network
from xbar import load_hardware


def peak():  # a process that was forked starts with its parent's ru_maxrss, but not with its VmHWM
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1])


hardware = load_hardware("admm-32x32").replace(encoding__scale={per!r})
map_network(nn.Sequential(nn.Linear(40, 40)), hardware, torch.zeros(1, 40))  # compiles
before = peak()
model = nn.Sequential(nn.Linear(5000, 5000, bias=False))
map_network(model, hardware, torch.zeros(1, 5000))
print((peak() - before) * 1024 / 5000**2)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 4 < float(done.stdout) <= 12
