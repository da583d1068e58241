"""Copies of layers: the best choice by brute force, and what copies cost."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings, strategies as st
from power_cases import hardware, network, unpacked

from power.counts.duplication import duplicate
from power.estimates.table import estimate
from xbar.hardware.errors import XbarError


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 3)), min_size=1, max_size=3), st.integers(0, 14))
def test_no_choice_of_copies_is_faster(layers: list[tuple[int, int]], spare: int) -> None:
    """Layers of p positions on t tiles of 2 planes, against every choice that fits."""
    design = hardware()
    mapped = network(
        design, *(unpacked(design, 4 * t, 4, p, name=f"l{i}") for i, (p, t) in enumerate(layers))
    )
    arrays = 2 * sum(t for _, t in layers) + spare
    copies = duplicate(mapped, arrays)
    assert estimate(copies).arrays <= arrays
    choices = itertools.product(*(range(1, p + 1) for p, _ in layers))
    fitting = [
        max(-(-p // c) for (p, _), c in zip(layers, chosen, strict=True))
        for chosen in choices
        if sum(2 * t * c for (_, t), c in zip(layers, chosen, strict=True)) <= arrays
    ]
    of_one = 8 * max(design.periphery.t_read, 4 / design.adc.rate)
    assert 1 / estimate(copies).peak_image_rate_per_s == pytest.approx(min(fitting) * of_one)


def test_copies_share_the_positions_and_take_their_area() -> None:
    design = hardware()
    single = network(design, unpacked(design, 9, 5, positions=7))
    three = network(design.replace(periphery__copies=3), unpacked(design, 9, 5, positions=7))
    one, copied = estimate(single), estimate(three)
    assert copied.area_mm2 == pytest.approx(3 * one.area_mm2)
    assert copied.energy_nj_per_image == pytest.approx(one.energy_nj_per_image)
    assert copied.arrays == 3 * one.arrays
    assert copied.peak_image_rate_per_s == pytest.approx(one.peak_image_rate_per_s * 7 / 3)
    assert copied.peak_operations_per_s == pytest.approx(3 * one.peak_operations_per_s)
    assert copied.operations == one.operations


def test_too_few_arrays_are_refused() -> None:
    design = hardware()
    with pytest.raises(XbarError, match=r"^arrays = 3: too few; the layers with their copies need 4 arrays"):
        duplicate(network(design, unpacked(design, 8, 4)), 3)


def test_copies_that_are_there_stay() -> None:
    design = hardware(periphery__copies=3)
    mapped = network(design, unpacked(design, 4, 4, positions=6))
    assert estimate(duplicate(mapped, 6)).arrays == 6
    assert estimate(duplicate(mapped, 12)).arrays == 12
