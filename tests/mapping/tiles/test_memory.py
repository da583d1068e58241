"""Memory of a mapping: networks of 10^8 weights are mapped where they fit."""

from __future__ import annotations

import tracemalloc
from typing import Literal

import pytest
import torch
from networks import design
from torch import nn

from mapping import map_network


@pytest.mark.parametrize(("per", "most"), [("column", 7.5), ("layer", 13.0)])
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
