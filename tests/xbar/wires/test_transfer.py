"""The exact transfer matrix against nodal solves, closed forms, limits and symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from circuits import dense_solve, sparse_solve
from hypothesis import given, settings, strategies as st

from xbar.hardware.errors import XbarError
from xbar.wires.transfer import transfer_matrices, transfer_matrix

TOLERANCE = 1e-11
"""Largest error, relative to the largest output; what is promised is 1e-9."""

resistances = st.one_of(st.just(0.0), st.floats(0.01, 20.0))
wires = st.fixed_dictionaries(
    {"r_wl": resistances, "r_bl": resistances, "r_driver": resistances, "r_sense": resistances}
)


def cells(shape, seed, filled=1.0):
    """Conductances from 1 uS to 1 mS, log-uniform; a share of cells is empty."""
    rng = np.random.default_rng(seed)
    return 10 ** rng.uniform(-6, -3, shape) * (rng.random(shape) < filled)


def error(got, expected):
    """Largest error relative to the largest expected number; absolute where all are 0."""
    scale = np.abs(expected).max()
    return np.abs(got - expected).max() / (scale or 1)


def nodal_error(solve, g, wires):
    """Error of the currents under a few vectors of voltages, one of them with a single line driven."""
    voltages = np.random.default_rng(0).uniform(-1, 1, (4, len(g)))
    voltages[0] = 0
    voltages[0, len(g) // 2] = 1
    return error(voltages @ transfer_matrix(g, **wires), solve(g, voltages, **wires)[0])


@settings(max_examples=50)
@given(
    st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**32 - 1), st.sampled_from((0.1, 0.6, 1.0)), wires
)
def test_small_tiles_solve_the_nodal_equations(m, n, seed, filled, wires):
    g = cells((m, n), seed, filled)
    assert nodal_error(dense_solve, g, wires) < TOLERANCE


@pytest.mark.parametrize(
    "wires",
    [
        {"r_wl": 2.0, "r_bl": 5.0},
        {"r_wl": 20.0, "r_bl": 20.0},
        {"r_wl": 0.0, "r_bl": 20.0},
        {"r_wl": 20.0, "r_bl": 0.0},
        {"r_wl": 1.0, "r_bl": 3.0, "r_driver": 500.0, "r_sense": 200.0},
        {"r_wl": 0.0, "r_bl": 0.0, "r_driver": 500.0, "r_sense": 200.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(32, 32), (33, 33), (100, 70), (128, 128)], ids=str)
def test_large_tiles_solve_the_nodal_equations(shape, wires):
    for filled in (1.0, 0.1):
        g = cells(shape, 1, filled)
        assert nodal_error(sparse_solve, g, wires) < TOLERANCE


@pytest.mark.parametrize(
    "shape", [(1, 300), (300, 1), (3, 200), (200, 3), (9, 40), (65, 17), (128, 64)], ids=str
)
def test_narrow_tiles_solve_the_nodal_equations(shape):
    g = cells(shape, 2)
    wires = {"r_wl": 4.0, "r_bl": 7.0, "r_driver": 50.0, "r_sense": 30.0}
    assert nodal_error(sparse_solve, g, wires) < TOLERANCE


def test_a_tile_beyond_one_batch_of_cores_solves_the_nodal_equations():
    g = cells((300, 150), 3)
    wires = {"r_wl": 2.0, "r_bl": 3.0, "r_driver": 10.0, "r_sense": 20.0}
    assert nodal_error(sparse_solve, g, wires) < TOLERANCE


@given(st.integers(1, 200), st.floats(1e-6, 1e-3), resistances)
def test_one_row_has_the_closed_form_of_a_ladder(n, g, r):
    theta = np.arccosh(1 + g * r / 2)
    expected = g * np.cosh((n - 0.5 - np.arange(n)) * theta) / np.cosh((n + 0.5) * theta)
    assert error(transfer_matrix(np.full((1, n), g), r, 0.0)[0], expected) < 1e-10


@given(st.integers(1, 200), st.floats(1e-6, 1e-3), resistances)
def test_one_column_is_that_row_turned(n, g, r):
    row = transfer_matrix(np.full((1, n), g), r, 0.0)
    column = transfer_matrix(np.full((n, 1), g), 0.0, r)
    assert error(column[::-1].T, row) < 1e-12


def test_one_cell_is_a_series_of_resistances():
    w = transfer_matrix([[1e-3]], 2.0, 3.0, r_driver=40.0, r_sense=50.0)
    assert w == pytest.approx(1 / (1000 + 2 + 3 + 40 + 50), rel=1e-14)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_without_resistance_it_is_the_conductances(m, n, seed):
    g = cells((m, n), seed, 0.5)
    np.testing.assert_array_equal(transfer_matrix(g, 0.0, 0.0), g)


@pytest.mark.parametrize("shape", [(40, 60), (130, 20)])
def test_small_resistances_change_it_in_proportion(shape):
    """The first-order drop is linear in r: the limit r -> 0 is approached smoothly."""
    g = cells(shape, 5)
    drops = [g - transfer_matrix(g, r, 2 * r) for r in (1e-7, 2e-7)]
    assert error(drops[1], 2 * drops[0]) < 1e-4


def test_reciprocity_turned_by_a_quarter_the_tile_has_the_transpose():
    """Word lines become bit lines: sources and grounds change places, and currents stay what they were."""
    g = cells((70, 45), 6)
    w = transfer_matrix(g, 2.0, 3.0, r_driver=10.0, r_sense=20.0)
    turned = transfer_matrix(g[::-1, ::-1].T, 3.0, 2.0, r_driver=20.0, r_sense=10.0)
    assert error(turned[::-1, ::-1].T, w) < 1e-12


def test_no_output_is_negative_and_none_is_more_than_without_wires():
    g = cells((128, 128), 7)
    w = transfer_matrix(g, 20.0, 20.0)
    assert w.min() > -1e-12 * w.max()
    assert (w.sum(1) <= g.sum(1)).all()


def test_an_open_tile_passes_nothing():
    np.testing.assert_array_equal(transfer_matrix(np.zeros((40, 33)), 1.0, 1.0), 0.0)


@pytest.mark.parametrize("shape", [(5, 7), (33, 40), (130, 100)], ids=str)
def test_threads_and_neighbours_change_no_bit(shape):
    count = 2**15 // (shape[0] * shape[1]) + 3
    g = cells((count, *shape), 8, 0.8)
    one = transfer_matrices(g, 2.0, 3.0, r_driver=5.0, threads=1)
    for threads in (2, 3, None):
        np.testing.assert_array_equal(transfer_matrices(g, 2.0, 3.0, r_driver=5.0, threads=threads), one)
    for i in (0, count - 1):
        np.testing.assert_array_equal(transfer_matrix(g[i], 2.0, 3.0, r_driver=5.0), one[i])


@pytest.mark.parametrize(
    "view", [np.asfortranarray, lambda g: g[:, ::-1][:, ::-1], np.float32, np.ndarray.tolist]
)
def test_memory_order_and_type_of_the_conductances_do_not_matter(view):
    g = cells((20, 30), 9).astype(np.float32).astype(float)
    np.testing.assert_array_equal(transfer_matrix(view(g), 1.0, 2.0), transfer_matrix(g, 1.0, 2.0))


def test_conductances_are_left_as_they_were():
    g = cells((40, 40), 10)
    before = g.copy()
    transfer_matrix(g, 1.0, 2.0)
    np.testing.assert_array_equal(g, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"g": np.ones(3)}, r"g: shape \(3,\); must be \(m, n\)"),
        ({"g": np.ones((2, 2, 2))}, r"g: shape \(2, 2, 2\); must be \(m, n\)"),
        ({"g": np.ones((0, 4))}, r"g: shape \(0, 4\); must hold at least one cell"),
        ({"g": [[1e-3, -1e-6]]}, r"g = -1e-06: must lie between 0 and 1e\+06 S"),
        ({"g": [[1e-3, np.nan]]}, "g: must be finite, has nan or inf"),
        ({"g": [[1e-3, np.inf]]}, "g: must be finite, has nan or inf"),
        ({"r_wl": -1.0}, r"r_wl = -1.0: must lie between 0 and 1e\+09 ohm"),
        ({"r_bl": np.inf}, "r_bl = inf: must lie between"),
        ({"r_driver": np.nan}, "r_driver = nan: must lie between"),
        ({"r_sense": -0.5}, "r_sense = -0.5: must lie between"),
    ],
)
def test_a_mistake_is_refused_by_name(change, message):
    arguments = {"g": np.full((3, 4), 1e-4), "r_wl": 1.0, "r_bl": 1.0, **change}
    with pytest.raises(XbarError, match=message) as caught:
        transfer_matrix(**arguments)
    assert "\n" not in str(caught.value)


def test_mistakes_with_a_batch_are_refused():
    with pytest.raises(XbarError, match=r"g: shape \(3, 4\); must be \(B, m, n\)"):
        transfer_matrices(np.ones((3, 4)), 1.0, 1.0)
    with pytest.raises(XbarError, match="threads = 0: must be at least 1"):
        transfer_matrices(np.ones((1, 3, 4)), 1.0, 1.0, threads=0)


def test_no_tiles_have_no_matrices():
    assert transfer_matrices(np.ones((0, 3, 4)), 1.0, 1.0).shape == (0, 3, 4)
