"""Cells of mapped networks against the reductions of Yuan et al. (ISLPED 2019, arXiv:1908.11691) [percent].

Pruned r-fold, 1 - 1/r of the cells go; with one slice in place of two as well, 1 - 1/(2r).
"""

from __future__ import annotations

import pytest
import torch
from power_cases import hardware
from torch import nn

from mapping import MappedNetwork, map_network

INPUTS, OUTPUTS = 1000, 500


def mapped(rate: float, slices: int) -> MappedNetwork:
    """A layer of which 1/rate of the weights stay, on 128 x 64 tiles of 16-state cells."""
    kept = torch.zeros(INPUTS * OUTPUTS, dtype=torch.bool)
    kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))[: round(len(kept) / rate)]] = 1
    model = nn.Sequential(nn.Linear(INPUTS, OUTPUTS, device="meta"))
    design = hardware(rows=128, cols=64, states=16, slices=slices)
    example = torch.rand(1, INPUTS, device="meta")
    return map_network(model, design, example, masks={"0": kept.reshape(INPUTS, OUTPUTS)})


def cells(network: MappedNetwork) -> float:
    """Cells of a plane that hold a weight: the used share of those of all tiles."""
    crossbar = network.hardware.crossbar
    return network.utilisation * network.tiles_per_plane * crossbar.rows * crossbar.cols


def reduction(rate: float, slices_before: int) -> float:
    return 100 * (1 - cells(mapped(rate, 1)) / cells(mapped(1, slices_before)))


@pytest.mark.parametrize(("rate", "printed"), [(29.81, 96.65), (20.88, 95.21)], ids=["VGG-16", "ResNet-18"])
def test_the_printed_reduction_of_cells_is_that_of_weights(rate: float, printed: float) -> None:
    assert reduction(rate, slices_before=1) == pytest.approx(100 * (1 - 1 / rate), abs=1e-3)
    assert reduction(rate, slices_before=1) == pytest.approx(printed, abs=0.006)


@pytest.mark.parametrize(("rate", "printed"), [(29.81, 98.28), (20.88, 97.46)], ids=["VGG-16", "ResNet-18"])
def test_the_printed_area_at_5_bits_is_that_of_cells(rate: float, printed: float) -> None:
    assert reduction(rate, slices_before=2) == pytest.approx(100 * (1 - 1 / (2 * rate)), abs=1e-3)
    assert reduction(rate, slices_before=2) == pytest.approx(printed, abs=0.15)


def test_the_printed_area_of_lenet_5_is_not_that_of_cells() -> None:
    assert reduction(17.69, slices_before=2) == pytest.approx(97.17, abs=0.006)
    assert reduction(17.69, slices_before=2) - 93.97 > 3
