"""The share of conversions beyond a fixed full scale, against what it follows from by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from networks import UNIT, design
from torch import nn

from experiments import evaluate
from experiments.results.domain import conversion_sentences
from mapping import MappedNetwork, calibrate, map_network
from mapping.chips.outside_domain import clipped_conversions
from xbar import Hardware, XbarError

V_READ = 0.25


def fixed(full_scale: float, after: str, phase_bits: int = 1, bits: int = 10) -> Hardware:
    base = design(8, 8, dac__bits=4, dac__phase_bits=phase_bits, adc__bits=bits)
    adc = dataclasses.replace(base.adc, range="fixed", full_scale=full_scale, after=after)
    return base.replace(adc=adc)


def mapped_layer(hardware: Hardware, x: torch.Tensor) -> tuple[nn.Module, MappedNetwork]:
    """Eight inputs through two outputs of weights of either sign, whole units."""
    model = nn.Sequential(nn.Linear(8, 2, bias=False)).eval()
    weights = torch.tensor([[3.0, 2, 1, 3, 2, 1, 3, 3], [-3, -2, 3, 1, -1, -2, 3, -3]])
    model[0].weight.data = weights
    mapped = map_network(model, hardware, x[:1], scales={"0": 1.0})
    return model, calibrate(mapped, model, [(x, None)])[0]


@pytest.mark.parametrize("phase_bits", [1, 2, 4])
@pytest.mark.parametrize("after", ["phase", "accumulation"])
def test_the_largest_code_needs_the_full_scale_of_its_phases(phase_bits: int, after: str) -> None:
    """All inputs at the largest code: a phase drives 18 units, all of them 18 times their places."""
    places = np.sum(2.0 ** (phase_bits * np.arange(4 // phase_bits))) if after == "accumulation" else 1.0
    needed = 18 * UNIT * V_READ * places
    x = torch.ones(4, 8)
    for full_scale, share in ((0.9 * needed, 0.5), (1.1 * needed, 0.0)):
        model, mapped = mapped_layer(fixed(full_scale, after, phase_bits), x)
        found = clipped_conversions(mapped, model, [(x, None)])["0"]
        assert found.needed == pytest.approx(needed, rel=1e-5)
        assert found.share == share  # the other output of the two has 4 units


def test_the_share_is_that_of_a_loop_over_conversions() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(300, 8, generator=generator)
    x[0] = 1.0  # the largest code stands for 1
    for after in ("phase", "accumulation"):
        full_scale = (6 if after == "phase" else 60) * UNIT * V_READ
        model, mapped = mapped_layer(fixed(full_scale, after), x)
        weights = model[0].weight.detach().numpy()
        codes = np.rint(x.numpy() * 15).astype(int)
        clipped, count = 0, 0
        for code in codes:
            bits = [(code >> p) & 1 for p in range(4)]
            phases = [weights @ one for one in bits]
            read = phases if after == "phase" else [sum(2**p * one for p, one in enumerate(phases))]
            for current in np.concatenate(read):
                number = round(current / (full_scale / UNIT / V_READ / 511))
                clipped += not -512 <= number <= 511
                count += 1
        found = clipped_conversions(mapped, model, [(x, None)])["0"]
        assert 0.1 < clipped / count < 0.9
        assert found.share == pytest.approx(clipped / count, abs=2 / count)


def test_a_full_scale_of_one_phase_is_told_where_phases_are_accumulated() -> None:
    x = torch.rand(200, 8, generator=torch.Generator().manual_seed(3))
    model, _ = mapped_layer(fixed(1e-3, "phase"), x)
    hardware = fixed(18 * UNIT * V_READ, "accumulation", bits=8)
    found = evaluate(model, (x, torch.zeros(200).long()), hardware, calibration=(x, x), chips=1)
    alike, note = found.notes
    assert alike.endswith("has no noise and no faults: all of its chips are alike")
    assert "of its conversions on the calibration images are beyond adc.full_scale, and clipped" in note
    needed = float(note.partition("clipped; ")[2].partition(" A clips none")[0])
    enough = fixed(1.01 * needed, "accumulation", bits=8)
    clean = evaluate(model, (x, torch.zeros(200).long()), enough, calibration=(x, x), chips=1)
    assert clean.notes == (alike,)


def test_ranges_that_are_not_fixed_are_not_looked_at() -> None:
    x = torch.rand(20, 8)
    model, mapped = mapped_layer(design(8, 8, dac__bits=4, adc__bits=4), x)
    assert clipped_conversions(mapped, model, [(x, None)]) == {}
    assert conversion_sentences({}) == []


def test_a_full_scale_in_the_wrong_unit_is_refused_after_accumulation_too() -> None:
    """15 times the current of a phase of a bit: what a wrong unit makes of it is larger."""
    with pytest.raises(XbarError, match=r"15 times that with all phases accumulated, is below half a step"):
        fixed(60.0, "accumulation")
    fixed(2 * 511 * 15 * 8 * 4 * UNIT * V_READ * 0.9, "accumulation")
