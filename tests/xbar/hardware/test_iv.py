import numpy as np
import pytest
from hypothesis import given, strategies as st

from xbar.hardware.errors import XbarError
from xbar.hardware.iv import IV, check_increasing, current_per_siemens, slope_per_siemens

LAWS = (
    IV(),
    IV("sinh", alpha=3.0),
    IV("sinh", alpha=3.0, g_at="read"),
    IV("polynomial", c2=0.2, c3=0.5),
    IV("polynomial", c2=-0.2, c3=0.5, g_at="read"),
)


@pytest.mark.parametrize("iv", LAWS, ids=str)
def test_slope_is_the_derivative_of_the_current(iv: IV) -> None:
    v = np.linspace(-1, 1, 41)
    step = 1e-5
    difference = current_per_siemens(iv, v + step, 0.3) - current_per_siemens(iv, v - step, 0.3)
    np.testing.assert_allclose(slope_per_siemens(iv, v, 0.3), difference / (2 * step), rtol=1e-8)


@pytest.mark.parametrize("iv", LAWS, ids=str)
def test_g_is_what_g_at_says(iv: IV) -> None:
    assert current_per_siemens(iv, np.zeros(2), 0.3).tolist() == [0, 0]
    if iv.g_at == "read":
        np.testing.assert_allclose(current_per_siemens(iv, np.array([0.3]), 0.3), 0.3, rtol=1e-15)
    else:
        np.testing.assert_allclose(slope_per_siemens(iv, np.zeros(1)), 1, rtol=1e-15)


def test_values_by_hand() -> None:
    v = np.array([-0.5, 0.25])
    np.testing.assert_allclose(current_per_siemens(IV("sinh", alpha=2.0), v), np.sinh(2 * v) / 2, rtol=1e-15)
    np.testing.assert_allclose(
        current_per_siemens(IV("polynomial", c2=0.5, c3=2.0), v),
        [-0.5 + 0.125 - 0.25, 0.25 + 0.03125 + 0.03125],
        rtol=1e-15,
    )


@given(c2=st.floats(-5, 5), c3=st.floats(-5, 5), v_max=st.floats(0.01, 2))
def test_a_polynomial_is_refused_exactly_where_it_does_not_increase(
    c2: float, c3: float, v_max: float
) -> None:
    if c2 == 0 and c3 == 0:
        return
    iv = IV("polynomial", c2=c2, c3=c3)
    least = slope_per_siemens(iv, np.linspace(-v_max, v_max, 4001)).min()
    if abs(least) < 1e-4:
        return
    if least > 0:
        check_increasing(iv, v_max)
    else:
        with pytest.raises(XbarError, match="must increase with the voltage"):
            check_increasing(iv, v_max)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "sinh"}, "needs alpha"),
        ({"kind": "sinh", "alpha": float("nan")}, "must lie between"),
        ({"kind": "sinh", "alpha": -1.0}, "must lie between"),
        ({"kind": "polynomial"}, "a straight line is 'ohmic'"),
        ({"kind": "polynomial", "c2": float("inf")}, "must lie between"),
        ({"alpha": 2.0}, "iv.alpha = 2.0: has no effect with iv.kind = 'ohmic'; only with 'sinh'"),
        (
            {"kind": "sinh", "alpha": 1.0, "c2": 1.0},
            "has no effect with iv.kind = 'sinh'; only with 'polynomial'",
        ),
        ({"kind": "polynomial", "c3": 1.0, "alpha": 1.0}, "only with 'sinh'"),
        ({"g_at": "read"}, "has no effect with iv.kind = 'ohmic'"),
        ({"kind": "tanh"}, "'ohmic' or 'sinh' or 'polynomial'"),
    ],
)
def test_impossible_laws_are_refused_in_one_line(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(XbarError, match=message) as refused:
        IV(**arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("v_read", [None, 0.0, -1.0, float("nan")])
def test_g_at_the_read_voltage_needs_one(v_read: float | None) -> None:
    with pytest.raises(XbarError, match="needs a read voltage above 0"):
        current_per_siemens(IV("sinh", alpha=1.0, g_at="read"), np.zeros(1), v_read)


def test_read_voltage_at_which_the_polynomial_falls_is_refused() -> None:
    with pytest.raises(XbarError, match="must increase"):
        current_per_siemens(IV("polynomial", c3=-1.0, g_at="read"), np.zeros(1), 0.9)


def test_too_steep_a_sinh_is_refused() -> None:
    with pytest.raises(XbarError, match="must not exceed 50"):
        check_increasing(IV("sinh", alpha=100.0), 0.6)
