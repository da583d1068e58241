"""Storage of weights: by hand, and the distances of random masks."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, strategies as st
from torch import nn

from mapping import map_network
from mapping.smaller_networks.storage import entries, storage
from xbar import load_hardware


def test_a_layer_by_hand() -> None:
    """40 x 2 weights on 16 states: 15 levels of either sign take 5 bits; kept ones at 0, 17 and 79."""
    mask = torch.zeros(80, dtype=torch.bool)
    mask[[0, 17, 79]] = True
    model = nn.Sequential(nn.Linear(40, 2, bias=False))
    masks = {"0": mask.reshape(2, 40).t()}
    mapped = map_network(model, load_hardware("admm-32x32"), torch.rand(1, 40), masks=masks)
    found = storage(mapped, 4)
    assert (found.dense_bits, found.weight_bits) == (32 * 80, 3 * 5)
    # 16 zeros before 17 take one filler, 61 before 79 three.
    assert found.indexed_bits == (3 + 1 + 3) * (5 + 4)
    assert found.rate == 32 * 80 / 15
    assert storage(mapped, index_bits=6).indexed_bits == 3 * (5 + 6)
    best = storage(mapped)
    assert best.indexed_bits == min(storage(mapped, bits).indexed_bits for bits in range(1, 17))
    assert best.index_bits == 6


def test_a_filler_needs_a_value_of_its_own() -> None:
    """Two states: +-1 take 1 bit, and 2 where a filler's zero is a third value."""
    design = load_hardware("admm-32x32").replace(device__states=2)
    for second, bits in ((15, 1), (17, 2)):
        mask = torch.zeros(400, 1, dtype=torch.bool)
        mask[[0, second]] = True
        model = nn.Sequential(nn.Linear(400, 1, bias=False))
        found = storage(map_network(model, design, torch.rand(1, 400), masks={"0": mask}), 4)
        assert found.weight_bits == 2
        assert found.indexed_bits == (2 + bits - 1) * (bits + 4)


def test_a_layer_of_few_zeros_needs_no_indices() -> None:
    """80 weights on 30 values: 400 bits with none masked, and with one (31 values)."""
    for masked in (0, 1):
        mask = torch.ones(80, dtype=torch.bool)
        mask[:masked] = False
        model = nn.Sequential(nn.Linear(40, 2, bias=False))
        masks = {"0": mask.reshape(2, 40).t()}
        found = storage(map_network(model, load_hardware("admm-32x32"), torch.rand(1, 40), masks=masks))
        assert (found.weight_bits, found.indexed_bits) == (5 * (80 - masked), 400)


@given(st.lists(st.booleans(), min_size=1, max_size=80), st.integers(1, 5))
def test_fillers_are_as_many_as_a_decoder_needs(kept: list[bool], bits: int) -> None:
    """Written out one by one: a distance of at most 2^bits - 1 zeros, else a filler after them."""
    written, zeros = 0, 0
    for keep in kept:
        if keep or zeros == (1 << bits) - 1:
            written, zeros = written + 1, 0
        else:
            zeros += 1
    # Fillers after the last kept weight are not needed.
    last = len(kept) - 1 - kept[::-1].index(True) if True in kept else -1
    written -= (len(kept) - 1 - last) // (1 << bits)
    assert entries(np.array(kept)[:, None], bits) == written


def test_zero_is_a_value_where_it_is_no_mask() -> None:
    """Weights of -.5, 0 and .5 take three values, so two bits each, in an encoding whose zero is a level."""
    weights = torch.tensor([-0.5, 0.0, 0.5, 0.5]).repeat(16, 4).t().contiguous()
    model = nn.Sequential(nn.Linear(16, 16, bias=False))
    model[0].weight.data = weights
    hardware = load_hardware("ideal").replace(encoding__kind="offset", device__states=4)
    found = storage(map_network(model, hardware, torch.rand(1, 16)))
    assert found.weight_bits == 2 * 256
