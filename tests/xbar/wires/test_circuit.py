import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from circuits import dense_solve, sparse_solve
from hypothesis import example, given, settings, strategies as st

from xbar.hardware.errors import XbarError
from xbar.hardware.iv import IV
from xbar.wires.circuit import Solution, solve
from xbar.wires.sensitivity import gradient, output_variance
from xbar.wires.transfer import transfer_matrix

GOLDEN = json.loads((Path(__file__).parent / "golden" / "ngspice.json").read_text())
LAWS = (
    IV("sinh", alpha=3.0),
    IV("sinh", alpha=3.0, g_at="read"),
    IV("polynomial", c2=0.1, c3=0.3),
    IV("polynomial", c3=-0.02, g_at="read"),
)
TIGHT = 1e-14

resistances = st.sampled_from([0.0, 0.0, 0.1, 1.0, 5.0, 20.0])


@st.composite
def circuits(draw: st.DrawFn, largest: int = 24) -> tuple[Any, Any, dict[str, float]]:
    """Conductances (some or most of them 0), two input vectors, wires."""
    m, n = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = draw(st.sampled_from([(1e-6, 1e-4), (1e-5, 1e-3), (1e-3, 1e-3)]))
    g = rng.uniform(low, high, (m, n)) * (rng.random((m, n)) >= draw(st.sampled_from([0.0, 0.3, 0.9, 1.0])))
    v = rng.uniform(draw(st.sampled_from([-0.5, 0.0])), 0.5, (2, m))
    return g, v, {key: draw(resistances) for key in ("r_wl", "r_bl", "r_driver", "r_sense")}


def assert_close(result: Any, expected: Any, tolerance: float = 1e-9) -> None:
    """To a fraction of the largest value."""
    assert np.shape(result) == np.shape(expected)
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * np.abs(expected).max() + 1e-30)


def assert_solves(solution: Solution, g: Any, v: Any, wires: dict[str, float], reference: Any) -> None:
    currents, u, w = reference(g, v, **wires)
    assert solution.status == "converged"
    assert_close(solution.currents, currents)
    scale = np.abs(v).max()
    np.testing.assert_allclose(solution.word_line, u, rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(solution.bit_line, w, rtol=0, atol=1e-9 * scale)


@settings(max_examples=60)
@given(circuits())
def test_solves_what_a_dense_nodal_solver_solves(problem: Any) -> None:
    g, v, wires = problem
    assert_solves(solve(g, v, **wires), g, v, wires, dense_solve)


@pytest.mark.parametrize("shape", [(128, 128), (128, 40), (37, 100)], ids=str)
@pytest.mark.parametrize(
    ("low", "high", "empty", "wires"),
    [
        (1e-6, 1e-4, 0.0, {"r_wl": 2.0, "r_bl": 2.0}),
        (1e-6, 1e-3, 0.9, {"r_wl": 20.0, "r_bl": 5.0, "r_driver": 100.0, "r_sense": 50.0}),
        (1e-3, 1e-3, 0.0, {"r_wl": 20.0, "r_bl": 20.0}),
        (1e-5, 1e-3, 0.5, {"r_wl": 0.0, "r_bl": 20.0}),
        (1e-5, 1e-3, 0.5, {"r_wl": 20.0, "r_bl": 0.0, "r_sense": 10.0}),
    ],
)
def test_solves_what_a_sparse_nodal_solver_solves(
    shape: tuple[int, int], low: float, high: float, empty: float, wires: dict[str, float]
) -> None:
    rng = np.random.default_rng(1)
    g = rng.uniform(low, high, shape) * (rng.random(shape) >= empty)
    v = rng.uniform(-0.3, 0.3, (2, shape[0]))
    assert_solves(solve(g, v, **wires), g, v, wires, sparse_solve)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_agrees_with_ngspice(case: dict[str, Any]) -> None:
    wires = dict(case["circuit"])
    alpha = wires.pop("alpha", None)
    solution = solve(case["g"], case["v"], **wires, iv=IV("sinh", alpha=alpha) if alpha else None)
    assert_close(solution.currents, case["currents"])
    for key in ("word_line", "bit_line"):
        if key in case:
            assert_close(getattr(solution, key), case[key])


OHMIC = [case for case in GOLDEN if "alpha" not in case["circuit"]]


@pytest.mark.parametrize("case", OHMIC, ids=lambda case: case["name"])
def test_transfer_matrix_agrees_with_ngspice(case: dict[str, Any]) -> None:
    wires = dict(case["circuit"])
    w = transfer_matrix(np.array(case["g"]), wires.pop("r_wl"), wires.pop("r_bl"), **wires)
    assert_close(np.array(case["v"]) @ w, case["currents"])


def test_one_row_by_its_closed_form() -> None:
    """u_j = V cosh((n - 1/2 - j) theta) / cosh((n + 1/2) theta), cosh theta = 1 + g r / 2."""
    n, g, r = 50, 2e-4, 15.0
    theta = np.arccosh(1 + g * r / 2)
    expected = 0.7 * np.cosh((n - 0.5 - np.arange(n)) * theta) / np.cosh((n + 0.5) * theta)
    np.testing.assert_allclose(
        solve(np.full((1, n), g), [0.7], r_wl=r, r_bl=0).word_line[0], expected, rtol=1e-12
    )


@settings(max_examples=100)
@given(circuits(largest=12), st.sampled_from([None, *LAWS]))
@example((np.full((2, 3), 1e-3), np.full((2, 2), 0.5), {"r_wl": 20.0, "r_bl": 20.0}), LAWS[0])
def test_kirchhoff_and_tellegen(problem: Any, iv: IV | None) -> None:
    """Every law of the circuit at every node and branch, from the solution's own node voltages."""
    g, v, wires = problem
    s = solve(g, v, **wires, iv=iv, v_read=0.3)
    assert s.status == "converged"
    r_wl, r_bl, r_driver, r_sense = (wires.get(k, 0.0) for k in ("r_wl", "r_bl", "r_driver", "r_sense"))
    drop = np.abs(v).max() * 1e-9
    word, bit, u, w = s.word_line_currents, s.bit_line_currents, s.word_line, s.bit_line
    np.testing.assert_allclose(v - u[..., 0], (r_driver + r_wl) * word[..., 0], rtol=0, atol=drop)
    np.testing.assert_allclose(u[..., :-1] - u[..., 1:], r_wl * word[..., 1:], rtol=0, atol=drop)
    np.testing.assert_allclose(w[..., :-1, :] - w[..., 1:, :], r_bl * bit[..., :-1, :], rtol=0, atol=drop)
    np.testing.assert_allclose(w[..., -1, :], (r_sense + r_bl) * bit[..., -1, :], rtol=0, atol=drop)
    largest = np.abs(s.cell_currents).sum() + 1e-30
    np.testing.assert_allclose(s.currents, bit[..., -1, :], rtol=0, atol=1e-9 * largest)
    np.testing.assert_allclose(s.source_currents, word[..., 0], rtol=0, atol=1e-9 * largest)
    np.testing.assert_allclose(s.currents.sum(-1), s.source_currents.sum(-1), rtol=0, atol=1e-9 * largest)
    dissipated = s.cell_power.sum((-2, -1)) + s.wire_power
    np.testing.assert_allclose(s.power, dissipated, rtol=1e-8, atol=1e-25)


DIFFERENCE = (
    np.full((4, 2), 1e-3),
    np.array(
        [[0.25965643, 0.01819768, 0.21868901, -0.42613439], [0.47239436, -0.02356416, 0.28743925, -0.35]]
    ),
    {"r_wl": 20.0, "r_bl": 0.0, "r_driver": 0.0, "r_sense": 0.0},
)


@settings(max_examples=60)
@given(circuits(largest=10), st.sampled_from(LAWS))
@example(DIFFERENCE, IV("sinh", alpha=3.0))
def test_cells_that_are_not_ohmic_solve_their_own_law(problem: Any, iv: IV) -> None:
    """Ohmic cells of the chords I/V at the solution have the same solution, by the dense solver."""
    g, v, wires = problem
    solution = solve(g, v, **wires, iv=iv, v_read=0.3)
    assert solution.status == "converged"
    for k in range(2):
        voltage = solution.cell_voltages[k]
        held = np.abs(voltage) > 1e-12
        chord = np.where(held, solution.cell_currents[k] / np.where(held, voltage, 1), g)
        currents, u, w = dense_solve(chord, v[k : k + 1], **wires)
        assert_close(solution.currents[k], currents[0])
        np.testing.assert_allclose(solution.word_line[k], u[0], rtol=0, atol=1e-9 * np.abs(v).max())
        np.testing.assert_allclose(solution.bit_line[k], w[0], rtol=0, atol=1e-9 * np.abs(v).max())


@pytest.mark.parametrize("seed", range(4))
def test_a_last_step_of_newton_makes_outputs_that_are_small_differences_exact(seed: int) -> None:
    """Two halves of an array all but cancel. Where a residual of 1e-6 ends the steps, outputs would be off by
    2e-5 to 5e-4 of the largest of them without one more step."""
    half = 10 ** np.random.default_rng(seed).uniform(-6, -4, (2, 4))
    v = np.array([0.5005, 0.5, -0.5, -0.5])
    wires = {"r_wl": 2.0, "r_bl": 2.0, "iv": IV("sinh", alpha=3.0)}
    exact = solve(np.concatenate([half, half]), v, **wires, tolerance=1e-15).currents
    found = solve(np.concatenate([half, half]), v, **wires, tolerance=1e-6).currents
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-10 * np.abs(exact).max())


@pytest.mark.parametrize("alpha", [5.0, 20.0, 45.0])
@pytest.mark.parametrize("g_at", ["zero", "read"])
def test_newton_converges_for_steep_cells(alpha: float, g_at: Any) -> None:
    rng = np.random.default_rng(2)
    g, v = rng.uniform(1e-6, 1e-3, (32, 24)), rng.uniform(-0.5, 0.5, (3, 32))
    solution = solve(g, v, r_wl=20, r_bl=20, iv=IV("sinh", alpha=alpha, g_at=g_at), v_read=0.5)
    assert solution.status == "converged"
    assert 1 < solution.steps < 40


def test_nearly_straight_cells_are_ohmic_ones() -> None:
    rng = np.random.default_rng(3)
    g, v = rng.uniform(1e-5, 1e-3, (9, 12)), rng.uniform(-0.5, 0.5, 9)
    wires = {"r_wl": 3.0, "r_bl": 4.0, "r_driver": 5.0}
    ohmic = solve(g, v, **wires)
    assert_close(solve(g, v, **wires, iv=IV("sinh", alpha=1e-6)).currents, ohmic.currents, 1e-10)
    assert_close(solve(g, v, **wires, iv=IV("polynomial", c3=1e-12)).currents, ohmic.currents, 1e-10)


def test_without_wires_it_is_a_product() -> None:
    rng = np.random.default_rng(4)
    g, v = rng.uniform(0, 1e-3, (20, 30)), rng.normal(size=(4, 20))
    assert_close(solve(g, v, r_wl=0, r_bl=0).currents, v @ g, 1e-14)


@pytest.mark.parametrize("iv", [None, LAWS[0]], ids=["ohmic", "sinh"])
def test_one_vector_alone_and_any_thread_count_give_the_same_bits(iv: IV | None) -> None:
    rng = np.random.default_rng(5)
    g, v = rng.uniform(1e-5, 1e-3, (19, 23)), rng.uniform(0, 0.5, (13, 19))
    many = solve(g, v, r_wl=5, r_bl=5, iv=iv)
    for threads in (1, 3):
        other = solve(g, v, r_wl=5, r_bl=5, iv=iv, threads=threads)
        np.testing.assert_array_equal(other.word_line, many.word_line)
        np.testing.assert_array_equal(other.currents, many.currents)
    alone = solve(g, v[4], r_wl=5, r_bl=5, iv=iv)
    assert alone.currents.shape == (23,)
    assert alone.bit_line.shape == (19, 23)
    assert alone.power.shape == ()
    np.testing.assert_array_equal(alone.currents, many.currents[4])
    np.testing.assert_array_equal(alone.bit_line, many.bit_line[4])


def test_no_vectors_and_no_voltage_are_ordinary() -> None:
    g = np.full((3, 2), 1e-4)
    assert solve(g, np.zeros((0, 3)), r_wl=1, r_bl=1).currents.shape == (0, 2)
    for iv in (None, *LAWS):
        still = solve(g, np.zeros(3), r_wl=1, r_bl=1, iv=iv, v_read=0.1)
        assert still.status == "converged"
        assert not still.currents.any()


WIRED = (
    {"r_wl": 5.0, "r_bl": 3.0, "r_driver": 20.0, "r_sense": 7.0},
    {"r_wl": 0.0, "r_bl": 3.0},
    {"r_wl": 30.0, "r_bl": 0.0, "r_sense": 10.0},
    {"r_wl": 5.0, "r_bl": 30.0, "iv": LAWS[0]},
    {"r_wl": 5.0, "r_bl": 30.0, "iv": LAWS[1], "v_read": 0.4},
    {"r_wl": 5.0, "r_bl": 3.0, "iv": LAWS[2]},
)


def sensitivities(g: Any, v: Any, circuit: dict[str, Any]) -> Any:
    """dI/dg by central differences (one-sided at g = 0), shape (m, n, M, outputs)."""
    result = np.empty((*g.shape, len(v), g.shape[1]))
    for index in np.ndindex(g.shape):
        step = np.zeros_like(g)
        step[index] = 2e-8
        at = [
            solve(g + k * step, v, **circuit, tolerance=TIGHT).currents
            for k in (-1, 0, 1, 2)
            if k >= 0 or g[index]
        ]
        difference = (at[2] - at[0]) / 2 if g[index] else -(at[2] - 4 * at[1] + 3 * at[0]) / 2
        result[index] = difference / step[index]
    return result


@pytest.mark.parametrize("circuit", WIRED, ids=str)
def test_gradients_and_variance_are_those_of_finite_differences(circuit: dict[str, Any]) -> None:
    rng = np.random.default_rng(6)
    g = rng.uniform(1e-4, 1e-3, (5, 4)) * (rng.random((5, 4)) < 0.8)
    v, grad, sigma = rng.normal(size=(3, 5)), rng.normal(size=(3, 4)), rng.uniform(0, 1e-5, (5, 4))
    by_g, by_v = gradient(g, v, grad, **circuit, tolerance=TIGHT)
    differences = sensitivities(g, v, circuit)
    assert_close(by_g, (differences * grad).sum((-2, -1)), 1e-6)
    expected = (differences**2 * sigma[..., None, None] ** 2).sum((0, 1))
    np.testing.assert_allclose(output_variance(g, v, sigma, **circuit, tolerance=TIGHT), expected, rtol=1e-5)
    for i in range(5):
        step = np.zeros(5)
        step[i] = 1e-4
        up, down = (solve(g, v + k * step, **circuit, tolerance=TIGHT).currents for k in (1, -1))
        assert_close(by_v[:, i], ((up - down) * grad).sum(-1) / 2e-4, 1e-6)


def test_sensitivities_of_one_vector() -> None:
    g, v, grad = np.full((3, 2), 1e-4), np.array([0.1, 0.2, 0.3]), np.array([1.0, -2.0])
    by_g, by_v = gradient(g, v, grad, r_wl=2, r_bl=2)
    many = gradient(g, v[None], grad[None], r_wl=2, r_bl=2)
    assert by_v.shape == (3,)
    np.testing.assert_array_equal(by_g, many[0])
    np.testing.assert_array_equal(by_v, many[1][0])
    assert output_variance(g, v, g / 10, r_wl=2, r_bl=2).shape == (2,)


def test_variance_is_that_of_noisy_solutions() -> None:
    """4000 draws: the standard error of a variance is 2.2 %, and 6 outputs are all within 5 of them."""
    rng = np.random.default_rng(7)
    g, v = rng.uniform(1e-4, 1e-3, (8, 6)), rng.uniform(0, 0.5, 8)
    sigma = 0.01 * g
    drawn = [
        solve(g + sigma * rng.standard_normal(g.shape), v, r_wl=20, r_bl=20, threads=1).currents
        for _ in range(4000)
    ]
    expected = output_variance(g, v, sigma, r_wl=20, r_bl=20)
    np.testing.assert_allclose(np.var(drawn, axis=0), expected, rtol=5 * np.sqrt(2 / 4000))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"g": [1.0, 2.0]}, r"g: shape \(2,\); must be"),
        ({"g": np.zeros((0, 2))}, "both at least 1"),
        ({"g": [[-1e-6, 1e-6]]}, "conductances must be >= 0"),
        ({"g": [[np.nan, 1e-6]]}, "g: must be finite"),
        ({"g": [["a", "b"]]}, "g: must be an array of real numbers"),
        ({"g": [[1j, 2j]]}, "g: must be an array of real numbers"),
        ({"v": [0.1, 0.2]}, r"v: shape \(2,\); must be \(1,\) or \(M, 1\)"),
        ({"v": np.zeros((1, 1, 1))}, "v: shape"),
        ({"v": [np.inf]}, "v: must be finite"),
        ({"r_wl": -1}, "r_wl = -1.0: must lie between"),
        ({"r_bl": float("nan")}, "r_bl = nan: must lie between"),
        ({"r_driver": None}, "r_driver = None: must be a number"),
        ({"r_sense": float("inf")}, "r_sense = inf"),
        ({"tolerance": 0}, "tolerance = 0"),
        ({"max_iterations": 0}, "max_iterations = 0"),
        ({"max_steps": 0}, "max_steps = 0"),
        ({"threads": 0}, "threads = 0"),
        ({"iv": IV("sinh", alpha=1.0, g_at="read")}, "needs a read voltage"),
        ({"iv": IV("polynomial", c3=-1.0), "v": [0.7]}, "must increase with the voltage"),
        ({"iv": IV("sinh", alpha=100.0), "v": [0.7]}, "must not exceed 50"),
    ],
)
def test_bad_input_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    arguments = {"g": [[1e-6, 1e-6]], "v": [0.1], "r_wl": 1.0, "r_bl": 1.0} | changes
    with pytest.raises(XbarError, match=message) as refused:
        solve(**arguments)
    assert "\n" not in str(refused.value)


def test_bad_sensitivity_input_is_refused() -> None:
    g, v = np.full((3, 2), 1e-4), np.ones(3)
    with pytest.raises(XbarError, match="grad_currents: shape"):
        gradient(g, v, [1.0], r_wl=1, r_bl=1)
    with pytest.raises(XbarError, match="sigma: shape"):
        output_variance(g, v, g[:2], r_wl=1, r_bl=1)
    with pytest.raises(XbarError, match="sigma: smallest value"):
        output_variance(g, v, -g, r_wl=1, r_bl=1)


def test_no_convergence_says_what_to_change() -> None:
    g, v = np.full((64, 64), 1e-3), np.ones((2, 64))
    solution = solve(g, v, r_wl=20, r_bl=20, max_iterations=3)
    assert solution.status.startswith("not converged for 2 of 2 input vectors")
    assert "raise max_iterations" in solution.status
    assert solution.residual > 1e-6
    with pytest.raises(XbarError, match="raise max_iterations"):
        solution.checked()
    with pytest.raises(XbarError, match="raise max_iterations"):
        gradient(g, v, np.ones((2, 64)), r_wl=20, r_bl=20, max_iterations=3)
    steep = solve(g, v, r_wl=20, r_bl=20, iv=IV("sinh", alpha=10.0), max_steps=2)
    assert "raise max_steps" in steep.status
    assert steep.steps == 2
    unsolved = solve(g, v, r_wl=20, r_bl=20, iv=IV("sinh", alpha=1.0), max_iterations=1, max_steps=3)
    assert unsolved.status != "converged"


@pytest.mark.parametrize("gr", [1e-6, 1e-4, 1e-2, 0.1, 1.0, 10.0, 100.0])
def test_outputs_are_as_exact_as_is_claimed_for_any_product_of_g_and_r(gr: float) -> None:
    """3e-10 of a vector's largest output; a residual of 1e-10 left 6e-9 at g r = 100 (2e-8 at the worst)."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for n, (r_wl, r_bl, r_sense) in itertools.product((16, 48), ((10, 10, 0), (10, 0, 0), (10, 10, 100))):
        shapes = (
            rng.uniform(0.01, 1, (n, n)),
            rng.choice([1e-3, 1], (n, n)),
            10 ** rng.uniform(-4, 0, (n, n)),
        )
        for shape in shapes:
            g, wires = shape * gr / 10, {"r_wl": r_wl, "r_bl": r_bl, "r_sense": r_sense}
            v = np.concatenate(
                [rng.random((2, n)), rng.standard_normal((2, n)), np.eye(n)[[0, n // 2, n - 1]]]
            )
            exact = sparse_solve(g, v, r_wl, r_bl, 0.0, r_sense)[0]
            solution = solve(g, v, **wires).checked()
            largest = np.abs(exact).max(1)
            reaches = largest > 1e-4 * np.abs(solution.source_currents).sum(1)
            error = np.abs(solution.currents - exact).max(1) / largest
            worst = max(worst, error[reaches].max())
    assert worst < 3e-10
