"""Programming cost: by hand, against the law of the number of tries, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from power_cases import hardware
from scipy.special import ndtr
from torch import nn

from mapping import map_network, program_network
from mapping.tiles.mapped import MappedNetwork
from power.estimates.prices import prices_of
from power.estimates.programming import programming
from xbar import ProgrammingNoise, Verify, WritePulse
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError

PULSE = WritePulse(2.0, 100e-9, "a test")


def mapping(design: Hardware, k: int = 6, n: int = 7) -> MappedNetwork:
    torch.manual_seed(0)
    return map_network(nn.Sequential(nn.Linear(k, n, bias=False)), design, torch.rand(1, k))


def held(mapped: MappedNetwork) -> np.ndarray:
    """Target conductance of every built cell [S]."""
    chip = program_network(mapped)
    return np.concatenate([g.reshape(-1).astype(float) for g in chip.conductances["0"]])


@pytest.mark.parametrize("copies", [1, 3])
def test_one_pulse_a_cell_by_hand(copies: int) -> None:
    design = hardware(device__pulse=PULSE, periphery__copies=copies)
    mapped = mapping(design)
    cost = programming(program_network(mapped))
    (row,) = cost.layers
    assert (row.cells, row.writes, row.pulses, row.reads) == tuple(copies * n for n in (84, 84, 84, 0))
    assert row.pulse_energy_nj == pytest.approx(copies * 4.0 * 100e-9 * held(mapped).sum() * 1e9)
    assert row.read_energy_nj == 0
    assert row.array_time_us == pytest.approx(16 * 0.1)  # a full array of 4 x 4 cells
    assert cost.total_time_us == pytest.approx(copies * 84 * 0.1)


def test_a_pulse_a_state_climbs_a_staircase() -> None:
    """4 states of 1, 4, 7, 10 uS: a cell in state 2 takes two pulses, which lead to 4 and 7 uS."""
    design = hardware(states=4, device__pulse=WritePulse(2.0, 100e-9, "a test", per="state"))
    mapped = mapping(design)
    state = np.rint((held(mapped) - 1e-6) / 3e-6).astype(int)
    (row,) = programming(program_network(mapped)).layers
    assert row.pulses == state.sum()
    siemens = np.array([0, 4, 11, 21])[state].sum() * 1e-6
    assert row.pulse_energy_nj == pytest.approx(4.0 * 100e-9 * siemens * 1e9)


def test_writes_follow_the_law_of_the_first_success() -> None:
    """Tries until |error| <= a have mean 1/p, p = 2 Phi(a/sigma) - 1. 40,000 cells: 5 sigma of the mean."""
    noise = ProgrammingNoise("gaussian", 0.1, verify=Verify(0.05))
    design = hardware(rows=64, cols=64, device__pulse=PULSE, device__programming=noise)
    mapped = mapping(design, 200, 100)
    (row,) = programming(program_network(mapped, seed=1)).layers
    p = 2 * float(ndtr(0.5)) - 1
    spread = math.sqrt(1 - p) / p / math.sqrt(row.cells)
    assert row.cells == 40_000
    assert abs(row.writes / row.cells - 1 / p) < 5 * spread
    assert abs(row.writes / row.cells - 1 / (2 * float(ndtr(0.25)) - 1)) > 50 * spread  # twice the sigma
    assert row.reads == row.writes
    prices = prices_of(design)
    peripheral = row.reads * (prices["dac"].energy_pj + prices["adc"].energy_pj) * 1e-3
    of_cells = row.read_energy_nj - peripheral
    reads = 0.2**2 * design.periphery.t_read * 1e9
    assert 40_000 / p * 1e-6 * reads < of_cells < 40_000 / p * 1e-5 * reads
    of_pulses = row.pulse_energy_nj / (4.0 * 100e-9 * 1e9)
    assert of_cells / reads == pytest.approx(of_pulses)
    time = row.writes * (PULSE.width + design.periphery.t_read) * 1e6
    assert row.total_time_us == pytest.approx(time)
    slow = programming(program_network(mapping(design.replace(adc__rate=1e6), 200, 100), seed=1))
    assert slow.total_time_us == pytest.approx(row.writes * (PULSE.width + 1e-6) * 1e6)


def test_another_chip_takes_other_pulses_and_a_second_run_the_same() -> None:
    noise = ProgrammingNoise("lognormal", 0.2, verify=Verify(0.1))
    mapped = mapping(hardware(device__pulse=PULSE, device__programming=noise), 40, 40)
    costs = [programming(program_network(mapped, seed=seed)) for seed in (0, 0, 1)]
    assert costs[0] == costs[1] != costs[2]


def test_a_device_without_a_pulse_is_refused() -> None:
    with pytest.raises(XbarError, match=r"^device.pulse: 'test' has none; the cost of programming needs"):
        programming(program_network(mapping(hardware())))
