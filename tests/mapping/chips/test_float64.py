"""Conductances in float64: `dtype=np.float64` multiplied float32 conductances in float64."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import Case, design, device
from torch import nn

from mapping import analog_network, load_chip, program_network, save_chip
from mapping.chips.columns import blocks
from xbar import Drift, LogClamp, LowFrequencyNoise, ProgrammingNoise, Relaxation, XbarError
from xbar.hardware.noise import Verify

THIRD = 1e-6 / 3


def mapped_case(**parts: Any):
    """Conductances that float32 has not, with any effects of a device."""
    cell = dataclasses.replace(device(4), g_min=THIRD, g_max=7 * THIRD, **parts)
    torch.manual_seed(0)
    case = Case(nn.Sequential(nn.Linear(19, 7)), torch.rand(9, 19), {})
    return case, case.on(design(8, 8, device=cell))[0]


def test_targets_are_held_to_the_last_bit() -> None:
    case, mapped = mapped_case()
    single, double = program_network(mapped), program_network(mapped, dtype=np.float64)
    states = mapped.hardware.device.conductances()
    for g, narrow in zip(double.conductances["0"], single.conductances["0"], strict=True):
        assert (g.dtype, narrow.dtype) == (np.float64, np.float32)
        assert set(np.unique(g)) == set(states)
        np.testing.assert_array_equal(narrow, g.astype(np.float32))
    for block in blocks(double, "0", dtype=np.float64):
        unit = mapped.hardware.device.unit
        assert np.abs(block.weights - np.rint(block.weights)).max() < 1e-14
        assert block.weights.dtype == np.float64
        assert unit == pytest.approx(2 * THIRD)
    assert analog_network(case.model, double)[0].analog.columns[0].weights.dtype == np.float64


EFFECTS = {
    "gaussian": {"programming": ProgrammingNoise("gaussian", sigma=0.1)},
    "verify": {"programming": ProgrammingNoise("gaussian", sigma=0.1, verify=Verify(0.05))},
    "lognormal": {"programming": ProgrammingNoise("lognormal", sigma=0.3), "p_stuck_g_max": 0.1},
    "relaxation": {"relaxation": Relaxation(-1e-8, 1e-8, 2e-8), "p_stuck_g_min": 0.1},
    "drift": {"drift": Drift(1.0, LogClamp(0.05), LogClamp(0.01))},
    "power": {"low_frequency": LowFrequencyNoise("power", 0.01, 1e-6, exponent=0.5)},
    "log10": {"low_frequency": LowFrequencyNoise("log10", 1e-8, 1e-6)},
}


@pytest.mark.parametrize("parts", EFFECTS.values(), ids=EFFECTS)
def test_draws_are_those_of_float32(parts: dict[str, Any]) -> None:
    _, mapped = mapped_case(**parts)
    single = program_network(mapped, seed=2, time=1e4)
    double = program_network(mapped, seed=2, time=1e4, dtype=np.float64)
    for g, narrow in zip(double.conductances["0"], single.conductances["0"], strict=True):
        np.testing.assert_allclose(g, narrow, rtol=3e-6)
        assert (g != narrow).any()


def test_a_chip_in_float64_survives_its_file(tmp_path: Path) -> None:
    _, mapped = mapped_case(programming=ProgrammingNoise("lognormal", sigma=0.1))
    chip = program_network(mapped, dtype=np.float64)
    save_chip(chip, tmp_path / "chip.safetensors")
    assert load_chip(tmp_path / "chip.safetensors") == chip


def test_products_are_not_more_precise_than_conductances() -> None:
    case, mapped = mapped_case()
    with pytest.raises(
        XbarError, match=r"dtype = np\.float64: the chip's conductances are float32; make it by"
    ):
        analog_network(case.model, program_network(mapped), dtype=np.float64)
    with pytest.raises(XbarError, match=r"dtype = .*: must be np\.float32 or np\.float64"):
        program_network(mapped, dtype=np.float16)


def test_a_narrow_window_that_is_subtracted_after_the_converter() -> None:
    """g_min = 0.9 g_max: planes that cancel leave 1e-4 of the largest output in float32."""
    torch.manual_seed(1)
    model, x = nn.Sequential(nn.Linear(512, 8, bias=False)), torch.rand(20, 512)
    cell = dataclasses.replace(device(1024), g_min=90e-6 / 7, g_max=100e-6 / 7)
    mapped, held = Case(model, x, {}).on(design(512, 16, device=cell, encoding__subtract="digital"))
    expected = held.double()(x.double()).detach()
    errors = []
    for dtype in (np.float32, np.float64):
        y = analog_network(model, program_network(mapped, dtype=dtype))(x).double()
        errors.append(float((y - expected).abs().max() / expected.abs().max()))
    assert errors[1] < 1e-6 < 5e-6 < errors[0]
