"""Memory of a mapping: networks of 10^8 weights are mapped where they fit."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from networks import design
from torch import nn

from mapping import map_network
from mapping.tiles.mapper import without_weights
from xbar import XbarError


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


def test_a_mapping_without_states_takes_next_to_nothing_beside_the_network() -> None:
    """`xbar layers` asks for tiles alone: it took 14 GB for 1.6 GB of weights."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3000, 2000)), torch.rand(1, 3000)
    with torch.no_grad():
        model[0].weight.fill_(0.5)  # torch draws an exact 0 in 2^24, for which a mask takes 2 bytes a weight
    tracemalloc.start()
    try:
        mapped = map_network(model, design(128, 128), x, states=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert mapped.weights_total == 6_000_000
    assert peak <= 0.5 * mapped.weights_total


@pytest.mark.parametrize("per", ["column", "layer"])
def test_a_mapping_without_states_has_the_tiles_and_zeros_of_one_with_them(per: str) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 20)), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        model[2].weight[:, ::3] = 0.0
        model[2].weight[4] = 0.0
    hardware = design(32, 32).replace(encoding__scale=per)
    whole = without_weights(map_network(model, hardware, x))
    found = map_network(model, hardware, x, states=False)
    for name, layer in whole.layers.items():
        other = found.layers[name]
        assert other.state is None
        assert other.scale is None
        assert other.weights_kept == layer.weights_kept
        assert (other.weights_kept < other.weights_total) == (name == "2")
        assert len(other.tiles) == len(layer.tiles)
        for ours, theirs in zip(other.tiles, layer.tiles, strict=True):
            assert np.array_equal(ours.rows, theirs.rows)
            assert np.array_equal(ours.cols, theirs.cols)
    with torch.no_grad():
        model[0].bias[0] = float("nan")
    with pytest.raises(XbarError, match="biases that are not finite"):
        map_network(model, hardware, x, states=False)


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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see a process's memory")
def test_resident_memory_of_the_command_layers(tmp_path: Path) -> None:
    """Beside a user's network no more than it takes itself: masks, as torch draws some exact zeros, and
    tiles: 2.9 bytes a weight of a network of 20,000 x 20,000, which took 4.9 before."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def net(n=8000): return nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 10))\n"
        "def small(): return net(80)\n"
    )

    def peak(name: str, size: int) -> int:
        program = (
            "from experiments.commands.cli import main\nmain()\n"
            "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
        )
        command = [sys.executable, "-c", program, "layers", f"{tmp_path}/net.py:{name}", "--input", str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return 1024 * int(done.stdout.split("VmHWM:")[1].split()[0])

    assert 4 <= (peak("net", 8000) - peak("small", 80)) / 8000**2 <= 8
