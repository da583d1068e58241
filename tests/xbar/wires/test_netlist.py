"""Netlists against `xbar.solve`: by nodal equations in numpy, and by ngspice where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from spice import elements, needs_ngspice, ngspice_currents, nodal_currents

import xbar
from xbar import IV, XbarError, spice_netlist

LAWS = {
    "ohmic": IV(),
    "sinh": IV("sinh", alpha=4.0),
    "polynomial": IV("polynomial", c2=-0.5, c3=3.0, g_at="read"),
}
WIRES = {
    "none": (0.0, 0.0, 0.0, 0.0),
    "all": (20.0, 30.0, 100.0, 50.0),
    "bit lines": (0.0, 5.0, 0.0, 0.0),
    "ends": (0.0, 0.0, 1e3, 2e3),
    "word lines": (1e-4, 0.0, 0.0, 70.0),
}
CASES = list(product(LAWS, WIRES, [(1, 1), (1, 7), (6, 1), (5, 4)]))


def largest_error(read: Callable[[str], np.ndarray], law: str, wires: str, shape: tuple[int, int]) -> float:
    """Error of a reader's currents, relative to the largest; a third of the cells are missing."""
    rng = np.random.default_rng(1)
    g = rng.uniform(1e-7, 1e-4, shape) * (rng.random(shape) < 0.7)
    g.flat[0] = 1e-4
    v = rng.uniform(-0.3, 0.3, shape[0])
    ohms = dict(zip(("r_wl", "r_bl", "r_driver", "r_sense"), WIRES[wires], strict=True))
    read_at = {"iv": LAWS[law], "v_read": 0.2}
    currents = xbar.solve(g, v, **ohms, **read_at).checked().currents
    found = read(spice_netlist(g, v, **ohms, **read_at))
    assert found.shape == currents.shape
    return float(np.abs(found - currents).max() / np.abs(currents).max())


@pytest.mark.parametrize(("law", "wires", "shape"), CASES)
def test_nodal_equations_of_the_text_are_the_circuit(law: str, wires: str, shape: tuple[int, int]) -> None:
    assert largest_error(nodal_currents, law, wires, shape) < 1e-9


@needs_ngspice
@pytest.mark.parametrize(("law", "wires", "shape"), [*CASES, *product(LAWS, ["all"], [(32, 24)])])
def test_ngspice_gives_the_currents(law: str, wires: str, shape: tuple[int, int]) -> None:
    assert largest_error(ngspice_currents, law, wires, shape) < 1e-6


def test_resistances_of_0_join_nodes_and_missing_cells_are_left_out() -> None:
    g = np.array([[1e-6, 0.0], [2e-6, 3e-6]])
    text = spice_netlist(g, [0.1, 0.2], r_wl=0, r_bl=0, r_sense=5.0)
    assert [" ".join(words) for words in elements(text)] == [
        "Vin_0 in_0 0 DC 0.1",
        "Vin_1 in_1 0 DC 0.2",
        "Vout_0 out_0 0 DC 0",
        "Vout_1 out_1 0 DC 0",
        "Rs_0 out_0 s_0 5.0",
        "Rs_1 out_1 s_1 5.0",
        f"Rg_0_0 in_0 s_0 {1 / 1e-6!r}",
        f"Rg_1_0 in_1 s_0 {1 / 2e-6!r}",
        f"Rg_1_1 in_1 s_1 {1 / 3e-6!r}",
    ]
    assert "reltol=1e-9 abstol=1e-18" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": [[0.1, 0.2]]}, r"v: shape \(1, 2\); a netlist has one vector"),
        ({"g": [[-1e-6, 0], [0, 0]]}, "conductances must be >= 0"),
        ({"r_wl": -1.0}, "r_wl"),
        ({"iv": "sinh"}, "must be an IV"),
        ({"iv": IV("polynomial", c3=-50.0)}, "must increase with the voltage"),
        ({"title": "two\nlines"}, "must be one line"),
    ],
)
def test_mistakes_are_refused(change: dict, message: str) -> None:
    given = {"g": [[1e-6, 0], [0, 1e-6]], "v": [0.1, 0.2], "r_wl": 0, "r_bl": 0, **change}
    with pytest.raises(XbarError, match=message):
        spice_netlist(given.pop("g"), given.pop("v"), **given)
