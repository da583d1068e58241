"""Places on tiles for weights that were 0 when a network was mapped."""

from __future__ import annotations

import pytest
import torch
from networks import design, device
from torch import nn

from mapping import (
    MappedNetwork,
    analog_network,
    around_faults,
    calibrate,
    map_network,
    program_network,
    trainable_network,
)
from mapping.network.gemm import to_gemm
from xbar import XbarError

CHIP = 3


def on_faulty_cells(zeros: bool) -> tuple[nn.Module, MappedNetwork]:
    """Full tiles of 4 columns and 2 spare ones; ``zeros``: 3 of the 12 columns are 0."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(14, 12)), torch.rand(20, 14)
    with torch.no_grad():
        model[0].weight[[2, 5, 11]] *= 0.0 if zeros else 1.0
    faulty = device(8, p_stuck_g_max=0.1)
    hardware = design(8, 6, device=faulty).replace(crossbar__spare_cols=2, adc__bits=8)
    return model, calibrate(map_network(model, hardware, x), model, [(x, None)])[0]


def test_columns_that_were_moved_off_faults_are_not_laid_anew() -> None:
    """They were back on the faulty cells without a word, where weights of 0 needed places on full tiles."""
    model, mapped = on_faulty_cells(zeros=True)
    moved = around_faults(mapped, chip=CHIP)
    assert any(tile.places is not None for tile in moved.layers["0"].tiles)
    with pytest.raises(XbarError, match=r"0: weights that were 0 may grow and need places .* before around_"):
        trainable_network(model, moved)
    trained, after = trainable_network(model, mapped, multiply="torch").trained()
    again = around_faults(after, chip=CHIP)
    assert any(tile.places is not None for tile in again.layers["0"].tiles)
    analog_network(trained, program_network(again, chip=CHIP))


def test_they_stay_where_nothing_needs_a_place() -> None:
    model, mapped = on_faulty_cells(zeros=False)
    moved = around_faults(mapped, chip=CHIP)
    assert any(tile.places is not None for tile in moved.layers["0"].tiles)
    _, after = trainable_network(model, moved, multiply="torch").trained()
    assert after.layers["0"].bands == moved.layers["0"].bands


@pytest.mark.parametrize("changes", [{"encoding__kind": "offset"}, {"encoding__zeros": "level"}])
def test_a_column_of_zeros_that_has_grown_is_not_what_was_mapped(changes: dict[str, str]) -> None:
    """It ended in "encoding scale = 0.0: must be a positive number"."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 4)), torch.rand(9, 6)
    with torch.no_grad():
        model[0].weight[1] = 0.0
    hardware = design(8, 9, device=device(8)).replace(**changes)
    mapped, _ = calibrate(map_network(model, hardware, x), model, [(x, None)])
    chip = program_network(mapped)
    analog_network(model, chip)
    with torch.no_grad():
        model[0].weight[1] = 0.1
    assert (to_gemm(model[0])[:, 1] != 0).all()
    with pytest.raises(XbarError, match="0: its weights are not those that were mapped; give the network"):
        analog_network(model, chip)
