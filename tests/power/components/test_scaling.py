"""Scaling between nodes: the printed table, its checks, and what any scaling must hold."""

import itertools

import pytest
from hypothesis import given, strategies as st

from power.components.scaling import NODES, area_factor, energy_factor
from xbar.hardware.errors import XbarError

nodes = st.floats(NODES[-1], NODES[0])


@pytest.mark.parametrize(
    ("start", "end", "area", "energy"), [(65, 32, 0.31, 0.5314), (32, 22, 0.55, 0.4461), (32, 32, 1, 1)]
)
def test_published_steps(start: float, end: float, area: float, energy: float) -> None:
    assert area_factor(start, end) == pytest.approx(area, rel=1e-3)
    assert energy_factor(start, end) == pytest.approx(energy, rel=1e-3)


@given(nodes)
def test_a_node_is_its_own(nm: float) -> None:
    assert area_factor(nm, nm) == pytest.approx(1)
    assert energy_factor(nm, nm) == pytest.approx(1)


@given(nodes, nodes, nodes)
def test_smaller_nodes_are_smaller_and_take_less(start: float, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert area_factor(start, small) <= area_factor(start, large) * (1 + 1e-12)
    assert energy_factor(start, small) <= energy_factor(start, large) * (1 + 1e-12)


def test_there_and_back_within_the_table_s_rounding() -> None:
    """Two printed digits: each factor is within 5 %, of two of them 11 %."""
    for start, end in itertools.product(NODES, NODES):
        assert area_factor(start, end) * area_factor(end, start) == pytest.approx(1, rel=0.11)
        assert energy_factor(start, end) * energy_factor(end, start) == pytest.approx(1)


@pytest.mark.parametrize("nm", [5, 180, float("nan")])
def test_a_node_outside_the_table_is_refused(nm: float) -> None:
    with pytest.raises(XbarError, match=r"outside the scaling tables; must lie between 7 and 130 nm$"):
        area_factor(32, nm)
