"""Levels, nearest levels, digits of slices, and the way back from conductances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays
from networks import designs, device, seeds

from xbar import XbarError
from xbar.conductances.encoding import (
    codebook,
    decode,
    decode_states,
    encode,
    levels,
    reference_conductances,
    slice_weights,
    target_conductances,
)
from xbar.hardware.design import Hardware
from xbar.hardware.device import Device
from xbar.hardware.encodings import Encoding, largest_state

UNEQUAL = Device("unequal", "none", 1e-6, 9e-6, (1e-6, 2e-6, 3e-6, 5e-6, 9e-6))

matrices = arrays.arrays(np.float64, arrays.array_shapes(max_dims=3, max_side=6), elements=st.floats(-3, 3))
scales = st.floats(1e-4, 10)


@st.composite
def kept(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    w = draw(matrices)
    return w, draw(arrays.arrays(bool, w.shape))


@given(kept(), scales, designs())
def test_cells_give_back_the_weight_of_the_state(w_mask, scale: float, hardware: Hardware) -> None:
    encoding, cell = hardware.encoding, hardware.device
    state = encode(w_mask[0], scale, w_mask[1], encoding, cell)
    g = target_conductances(state, encoding, cell)
    assert g.shape == (encoding.planes, encoding.slices, *state.shape)
    np.testing.assert_allclose(
        scale * decode(g, encoding, cell),
        decode_states(state, scale, encoding, cell),
        rtol=1e-9,
        atol=1e-9 * scale,
    )


@given(kept(), scales, designs())
def test_kept_weights_take_the_nearest_level(w_mask, scale: float, hardware: Hardware) -> None:
    (w, mask), encoding, cell = w_mask, hardware.encoding, hardware.device
    values, mask = levels(encoding, cell), mask & (w != 0)
    held = decode_states(encode(w, scale, mask, encoding, cell), scale, encoding, cell)
    nearest = np.abs(np.abs(w)[..., None] / scale - values).min(-1)
    np.testing.assert_allclose(np.abs(w - held)[mask] / scale, nearest[mask], rtol=1e-6, atol=1e-9)
    assert (held[mask] != 0).all()
    assert (held[~mask] == 0).all()


@given(kept(), scales, designs(["differential"]))
def test_the_opposite_weight_swaps_the_planes(w_mask, scale: float, hardware: Hardware) -> None:
    (w, mask), encoding, cell = w_mask, hardware.encoding, hardware.device
    w = np.where(w == 0, 1.0, w)
    state, opposite = (encode(sign * w, scale, mask, encoding, cell) for sign in (1, -1))
    assert np.array_equal(opposite, -state)
    g = target_conductances(state, encoding, cell)
    assert np.array_equal(target_conductances(opposite, encoding, cell), g[::-1])


@given(designs())
def test_levels_ascend_from_above_zero_and_each_is_its_own_nearest(hardware: Hardware) -> None:
    encoding, cell = hardware.encoding, hardware.device
    values = levels(encoding, cell)
    if isinstance(cell.states, int):
        assert len(values) == largest_state(encoding, cell.n_states)
    assert values[0] > 0
    assert (np.diff(values) > 0).all()
    everywhere = np.ones(len(values), bool)
    state = encode(0.3 * values, 0.3, everywhere, encoding, cell)
    assert np.array_equal(state, np.arange(1, len(values) + 1))
    np.testing.assert_allclose(decode_states(-state, 0.3, encoding, cell), -0.3 * values)


@pytest.mark.parametrize(("states", "slices"), [(2, 4), (3, 3), (16, 2), (5, 1)])
def test_slices_are_digits_most_significant_first(states: int, slices: int) -> None:
    cell, encoding = device(states), Encoding(slices=slices)
    digits = list(itertools.product(range(states), repeat=slices))
    state = np.arange(len(digits), dtype=np.int16)
    g = target_conductances(state, encoding, cell)
    unit = (g - cell.g_min) / cell.unit
    assert np.array_equal(unit[0].T, digits)
    assert (unit[1] == 0).all()
    assert list(slice_weights(encoding, cell)) == [states**i for i in reversed(range(slices))]


def test_levels_of_unequal_states_are_in_mean_steps() -> None:
    values = levels(Encoding(), UNEQUAL)
    assert UNEQUAL.unit == pytest.approx(2e-6)
    np.testing.assert_allclose(values, [0.5, 1, 2, 4])
    w = np.array([0.0, 0.7, 0.8, -1.4, -1.6, 2.9, 3.1, 100])
    state = encode(w, 1.0, np.ones(8, bool), Encoding(), UNEQUAL)
    assert state.tolist() == [0, 1, 2, -2, -3, 3, 4, 4]
    on_level = encode(w, 1.0, np.ones(8, bool), Encoding(zeros="level"), UNEQUAL)
    assert on_level.tolist() == [1, *state.tolist()[1:]]
    g = target_conductances(state, Encoding(), UNEQUAL)
    assert g[0, 0].tolist() == [1e-6, 2e-6, 3e-6, 1e-6, 1e-6, 5e-6, 9e-6, 9e-6]
    assert g[1, 0].tolist() == [1e-6, 1e-6, 1e-6, 3e-6, 5e-6, 1e-6, 1e-6, 1e-6]


@pytest.mark.parametrize(("states", "slices"), [(4, 1), (5, 1), (4, 2), (3, 3)])
def test_an_offset_column_holds_the_number_of_zero(states: int, slices: int) -> None:
    """z + L^S // 2 in base L, and the reference the digits of z = 0, as in ISAAC's biased weights."""
    cell, encoding = device(states), Encoding("offset", slices)
    zero = states**slices // 2
    top = states**slices - 1 - zero
    state = np.arange(-top, top + 1, dtype=np.int16)
    unit = (target_conductances(state, encoding, cell) - cell.g_min) / cell.unit
    numbers = [int("".join(str(round(d)) for d in digits), states) for digits in unit[0].T]
    assert numbers == (state + zero).tolist()
    reference = (reference_conductances(encoding, cell) - cell.g_min) / cell.unit
    assert int("".join(str(round(d)) for d in reference), states) == zero
    assert levels(encoding, cell).tolist() == list(range(1, top + 1))


def test_twos_complement_has_the_sign_in_its_first_cell() -> None:
    """4 states, 3 slices: -16 of the first, and two digits of base 4."""
    cell, encoding = device(4), Encoding("twos-complement", 3)
    assert list(slice_weights(encoding, cell)) == [-16, 4, 1]
    state = np.array([-15, -1, 0, 1, 7, 15], np.int16)
    unit = (target_conductances(state, encoding, cell) - cell.g_min) / cell.unit
    expected = [[1, 0, 1], [1, 3, 3], [0, 0, 0], [0, 0, 1], [0, 1, 3], [0, 3, 3]]
    assert unit[0].T.round().astype(int).tolist() == expected
    assert (reference_conductances(encoding, cell) == cell.g_min).all()


@given(st.lists(st.floats(0.05, 1), min_size=1, max_size=5), st.integers(2, 3), st.data())
def test_slices_of_unequal_states_take_the_assignment_of_least_error(steps, slices: int, data) -> None:
    """Against every combination of states in both planes' cells of the weight's sign."""
    states = (1e-6, *(1e-6 + 1e-6 * np.cumsum(steps)))
    cell = Device("unequal", "none", states[0], states[-1], tuple(map(float, states)))
    encoding = Encoding(slices=slices)
    sizes = st.floats(0, len(states) ** slices, exclude_min=True)
    w = np.array(data.draw(st.lists(sizes, min_size=1, max_size=8)))
    state = encode(w, 1.0, np.ones(len(w), bool), encoding, cell)
    held = decode(target_conductances(state, encoding, cell), encoding, cell)
    weight = (np.array(states) - states[0]) / cell.unit
    place = [len(states) ** s for s in reversed(range(slices))]
    sums = np.array([np.dot(place, c) for c in itertools.product(weight, repeat=slices)])
    nonzero = sums[sums > 1e-9 * sums.max()]
    best = np.abs(w[:, None] - nonzero).min(axis=1)
    np.testing.assert_allclose(np.abs(w - held), best, atol=1e-8 * sums.max())


@given(designs(["offset", "twos-complement"]), seeds)
def test_a_reference_that_moves_with_the_cells_changes_no_weight(hardware: Hardware, seed: int) -> None:
    encoding, cell = hardware.encoding, hardware.device
    top = len(levels(encoding, cell))
    state = np.random.default_rng(seed).integers(-top, top + 1, (4, 3)).astype(np.int16)
    g = target_conductances(state, encoding, cell)
    shift = np.random.default_rng(seed).normal(size=(encoding.slices, 4, 1)) * cell.unit
    reference = reference_conductances(encoding, cell)[:, None, None] + shift
    moved = decode(g + shift, encoding, cell, reference)
    np.testing.assert_allclose(moved, decode(g, encoding, cell), atol=1e-6 * max(top, 1))


@pytest.mark.parametrize(
    ("encoding", "cell", "message"),
    [
        (Encoding("offset"), UNEQUAL, "needs equidistant states .*'unequal' lists state means"),
        (Encoding("offset"), device(2), "2 states in 1 slices hold no number but zero"),
        (Encoding(slices=4), device(16), "the numbers of 16 states exceed 16 bits"),
    ],
)
def test_devices_that_cannot_hold_an_encoding_are_refused(encoding, cell: Device, message: str) -> None:
    with pytest.raises(XbarError, match=message):
        codebook(encoding, cell)


def test_isaac_fits() -> None:
    """16-bit weights in 8 cells of 2 bits, biased by 2^15 (doi:10.1109/ISCA.2016.12)."""
    assert len(levels(Encoding("offset", 8), device(4))) == 32767


@pytest.mark.parametrize("slices", [1, 3])
def test_a_masked_pair_idles_or_is_not_there(slices: int) -> None:
    cell = device(4)
    state = np.array([0, 3, -2], np.int16)
    idle = target_conductances(state, Encoding(slices=slices), cell)
    gone = target_conductances(state, Encoding(slices=slices, unformed=True), cell)
    assert (idle[..., 0] == cell.g_min).all()
    assert (gone[..., 0] == 0).all()
    assert np.array_equal(idle[..., 1:], gone[..., 1:])


def test_the_largest_state_fits() -> None:
    cell, encoding = device(32), Encoding(slices=3)
    state = encode(np.array([1e9, -1e9]), 1.0, np.ones(2, bool), encoding, cell)
    assert state.tolist() == [32767, -32767]
    assert decode_states(state, 1.0, encoding, cell).tolist() == [32767, -32767]


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_not_a_positive_number_is_refused(scale: float) -> None:
    with pytest.raises(XbarError, match=f"encoding scale = {scale}: must be a positive number"):
        encode(np.ones(1), scale, np.ones(1, bool), Encoding(), device(4))
