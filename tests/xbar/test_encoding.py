"""Levels, nearest levels, digits of slices, and the way back from conductances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from networks import designs, device

from xbar import XbarError
from xbar.encoding import decode, decode_states, encode, levels, slice_weights, target_conductances
from xbar.hardware import Device, Encoding, Hardware

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
    assert g.shape == (2, encoding.slices, *state.shape)
    np.testing.assert_allclose(
        scale * decode(g, encoding, cell),
        decode_states(state, scale, encoding, cell),
        rtol=1e-9,
        atol=1e-9 * scale,
    )


@given(kept(), scales, designs())
def test_kept_weights_take_the_nearest_level(w_mask, scale: float, hardware: Hardware) -> None:
    (w, mask), encoding, cell = w_mask, hardware.encoding, hardware.device
    values = levels(encoding, cell)
    held = decode_states(encode(w, scale, mask, encoding, cell), scale, encoding, cell)
    nearest = np.abs(np.abs(w)[..., None] / scale - values).min(-1)
    np.testing.assert_allclose(np.abs(w - held)[mask] / scale, nearest[mask], rtol=1e-6, atol=1e-9)
    assert (held[mask] != 0).all()
    assert (held[~mask] == 0).all()


@given(kept(), scales, designs())
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
    assert len(values) == cell.n_states**encoding.slices - 1
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
    assert state.tolist() == [1, 1, 2, -2, -3, 3, 4, 4]
    g = target_conductances(state, Encoding(), UNEQUAL)
    assert g[0, 0].tolist() == [2e-6, 2e-6, 3e-6, 1e-6, 1e-6, 5e-6, 9e-6, 9e-6]
    assert g[1, 0].tolist() == [1e-6, 1e-6, 1e-6, 3e-6, 5e-6, 1e-6, 1e-6, 1e-6]


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
