"""Conductances put on a chip by `dataclasses.replace`: behind wires they were ignored in silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import with_cells
from torch import nn

from mapping import analog_network, calibrate, map_network, program_network, with_conductances
from xbar import XbarError
from xbar.hardware.files import load_hardware


def wired_chip():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(20, 4)), torch.rand(8, 20)
    hardware = load_hardware("admm-32x32").replace(crossbar__r_wl=2.0, crossbar__r_bl=2.0)
    mapped = calibrate(map_network(model, hardware, x), model, [(x, None)])[0]
    return model, program_network(mapped), x


def test_replaced_conductances_are_seen_through_the_wires() -> None:
    """All cells at g_min hold no weight: the outputs were those of the old cells, to the last bit."""
    model, chip, x = wired_chip()
    analog_network(model, chip)
    g_min = chip.mapped.hardware.device.g_min
    blank = {"0": tuple(np.full_like(g, g_min) for g in chip.conductances["0"])}
    y = analog_network(model, with_cells(chip, blank))(x)
    torch.testing.assert_close(y, model[0].bias.expand_as(y), rtol=0, atol=1e-6)


def test_a_cell_that_was_not_measured_is_no_code_of_the_converter() -> None:
    """NaN went through the converter as its lowest code."""
    model, chip, _ = wired_chip()
    unknown = {"0": tuple(np.full_like(g, np.nan) for g in chip.conductances["0"])}
    with pytest.raises(
        XbarError, match=r"0: conductances of band 0: .* finite and at least 0; mapping.with_co"
    ):
        analog_network(model, with_cells(chip, unknown))


def test_a_chip_s_own_conductances_give_that_chip_open_lines_included() -> None:
    """Cells behind broken lines came back as devices with noise."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 4)), torch.rand(8, 20)
    hardware = load_hardware("admm-32x32").replace(crossbar__p_open_bl=0.2)
    mapped = calibrate(map_network(model, hardware, x), model, [(x, None)])[0]
    chip = program_network(mapped, seed=1)
    assert not all(band.devices.all() for layer in chip.layers.values() for band in layer.bands)
    assert with_conductances(chip, chip.conductances) == chip


def test_a_layer_that_is_not_named_keeps_the_precision_of_the_others() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 4)), torch.rand(8, 20)
    mapped = calibrate(map_network(model, load_hardware("admm-32x32"), x), model, [(x, None)])[0]
    exact = program_network(mapped, dtype=np.float64).conductances
    chip = with_conductances(mapped, {"0": exact["0"]}, missing="target")
    assert chip.dtype == np.float64
    analog_network(model, chip, dtype=np.float64)
