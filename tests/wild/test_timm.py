"""Convolutional networks of timm, one of each of thirty families: 24 of 28 were refused.

The list was fixed before any of them was tried (`timm_networks.toml`).
"""

from __future__ import annotations

import copy

import pytest
import torch
from networks import design, holding
from timm_networks import Entry, entries, needs_timm, network
from torch.utils.flop_counter import FlopCounterMode

from mapping import analog_network, calibrate, crossbar_form, map_network, program_network
from mapping.lowering.exported import from_exported
from mapping.network.gemm import mappable_layers, to_gemm

pytestmark = [needs_timm, pytest.mark.slow]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).abs().max() / b.abs().max())


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
@torch.no_grad()
def test_a_network_is_exact_on_ideal_hardware_and_counted(entry: Entry) -> None:
    """The form is the network (in float64: to 1e-9), the ideal chip the form with its decoded weights, to a
    few times what float32 itself rounds, and no product is missing."""
    model, x = network(entry)
    exact, wide = copy.deepcopy(model).double(), x.double()
    form = crossbar_form(exact, wide[:1])
    assert relative(form(wide), exact(wide)) < 1e-9
    form = form.float()
    mapped = map_network(form, design(128, 128, 16), x[:1])
    held = holding(form, mapped)
    mapped, _ = calibrate(mapped, held, [(x, None)])
    on_chip, rounded = analog_network(form, program_network(mapped))(x), held(x)
    expected = held.double()(wide)
    assert relative(on_chip, expected) < 4 * relative(rounded, expected) + 1e-6
    with FlopCounterMode(display=False) as counter:
        model(x[:1])
    assert 2 * (mapped.macs + sum(mapped.digital_macs.values())) == counter.get_total_flops()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["nf_regnet_b0", "resnetv2_50x1_bit", "tf_efficientnetv2_b0"])
@torch.no_grad()
def test_programs_hold_the_same_layers(name: str) -> None:
    """Standardised weights and padding by size, in a `.pt2`: the first ended in a traceback."""
    model, x = network(next(entry for entry in entries() if entry.name == name))
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    exported = from_exported(program)
    assert relative(exported(x), model(x)) < 1e-4
    here, there = (
        [to_gemm(layer) for layer in mappable_layers(net).values()]
        for net in (exported, crossbar_form(model, x[:1], batch_norm="digital"))
    )
    assert len(here) == len(there)
    assert all(any(torch.equal(a, b) for b in there if a.shape == b.shape) for a in here)
