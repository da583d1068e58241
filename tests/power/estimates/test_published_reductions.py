"""Cells of mapped networks against the reductions of Yuan et al. (ISLPED 2019, arXiv:1908.11691) [percent].

Pruned r-fold, 1 - 1/r of the cells go; with one slice in place of two as well, 1 - 1/(2r).
"""

from __future__ import annotations

import pytest
import torch
from power_cases import hardware
from torch import nn

from mapping import MappedNetwork, map_network
from power.estimates.nameplate import nameplate, rated_mw
from xbar import load_hardware

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


def test_ratios_of_designs_with_fewer_adc_bits() -> None:
    """ISAAC's tiles over the same with FORMS's 4-bit converters: 1.99 and 1.31; it prints 1.93 and 1.50.

    TinyADC's 3.5 and 2.9 are more than free converters would give: docs/reductions.md.
    """
    isaac = load_hardware("isaac")
    plates = [nameplate(isaac), nameplate(isaac.replace(adc__library="forms-adc", adc__bits=4))]
    power, area = (
        one / other
        for one, other in (
            [plate.power_mw() for plate in plates],
            [plate.area_mm2() for plate in plates],
        )
    )
    assert (power, area) == pytest.approx((1.9915, 1.3091), abs=1e-3)
    assert 1.93 / 1.05 < power < 1.93 * 1.05
    assert 1.50 / 1.15 < area < 1.50 * 1.15
    free = [row for row in plates[0].rows if row.component != "adc"]
    assert plates[0].power_mw() / sum(rated_mw(row) for row in free) == pytest.approx(2.393, abs=1e-3)
    assert plates[0].area_mm2() / sum(row.area_mm2 for row in free) == pytest.approx(1.448, abs=1e-3)
