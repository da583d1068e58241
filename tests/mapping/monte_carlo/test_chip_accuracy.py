"""Accuracy of chips: the same ones over time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mapping import (
    MappedNetwork,
    ProgrammedNetwork,
    accuracy,
    accuracy_over_time,
    analog_network,
    calibrate,
    chip_accuracy,
    map_network,
    program_network,
)
from xbar import XbarError, load_device, load_hardware


def network(device: str, **changes) -> tuple[MappedNetwork, nn.Module, list]:
    """A random network on a device; the targets are its own decisions."""
    model, x = nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 6)).eval(), torch.rand(300, 20)
    batches = [(x, model(x).argmax(1))]
    hardware = load_hardware("admm-32x32").replace(device=load_device(device), **changes)
    return calibrate(map_network(model, hardware, x[:1]), model, batches)[0], model, batches


def test_one_number_is_that_of_the_chip_at_its_time() -> None:
    mapped, model, batches = network("pcm-90nm")
    for chip, time in ((0, None), (3, 86400.0)):
        expected = accuracy(
            analog_network(model, program_network(mapped, seed=7, chip=chip, time=time)), batches
        )
        assert chip_accuracy(mapped, model, batches, seed=7, chip=chip, time=time) == expected


def test_the_table_has_a_row_a_time_and_the_same_chips_in_each() -> None:
    mapped, model, batches = network("pcm-90nm")
    times = (20.0, 3600.0, 31_536_000.0)
    table = accuracy_over_time(mapped, model, batches, times, chips=4, seed=2)
    assert table.shape == (3, 4)
    for row, time in zip(table, times, strict=True):
        for chip in range(4):
            assert row[chip] == chip_accuracy(mapped, model, batches, seed=2, chip=chip, time=time)
    assert len(set(table.ravel())) > 4


def test_chips_that_do_not_age_are_the_same_at_all_times() -> None:
    mapped, model, batches = network("milo-hfo2")
    table = accuracy_over_time(mapped, model, batches, (1.0, 1e8), chips=6)
    np.testing.assert_array_equal(table[0], table[1])
    assert np.std(table[0]) > 0


def test_a_chip_is_adjusted_before_it_is_used() -> None:
    mapped, model, batches = network("admm-10mohm")
    times: list[float] = []

    def without_last_layer(chip: ProgrammedNetwork) -> ProgrammedNetwork:
        times.append(chip.time)
        return chip.compensated({"2": np.zeros(6)})

    biased = int(model[2].bias.argmax())
    found = accuracy_over_time(mapped, model, batches, (5.0,), chips=2, adjust=without_last_layer)
    share = 100 * float((batches[0][1] == biased).float().mean())
    np.testing.assert_allclose(found, share)
    assert times == [5.0, 5.0]


@pytest.mark.parametrize(
    ("device", "times", "words"),
    [
        ("pcm-90nm", (20.0, 1.0), "time = 1.0: must lie between 20 and"),
        ("neurram-hfox", (1.0, 60.0), "was measured at 1, 86400, 172800 s only"),
        ("pcm-90nm", ("1 day",), "time = '1 day': must be a number"),
    ],
)
def test_a_time_without_data_is_refused_before_a_chip_is_programmed(
    device: str, times: tuple, words: str
) -> None:
    mapped, model, batches = network(device)

    def adjust(chip: ProgrammedNetwork) -> ProgrammedNetwork:
        raise AssertionError("programmed")

    with pytest.raises(XbarError) as caught:
        accuracy_over_time(mapped, model, batches, times, adjust=adjust)
    assert words in str(caught.value)
    for chips in (0, (1 << 20) + 1):
        with pytest.raises(XbarError, match=f"chips = {chips}"):
            accuracy_over_time(mapped, model, batches, (20.0,), chips=chips)
