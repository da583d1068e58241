"""ADC libraries: the regression's published checks, and what a table and a regression refuse."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from power.components.converters import load_adc
from xbar.hardware.errors import XbarError


@pytest.mark.parametrize(
    ("bits", "rate", "energy_pj", "area_um2"), [(8, 1.2e9, 1.8486, 6313), (4, 1e9, 0.9238, 4964)]
)
def test_the_regression_at_32_nm(bits: int, rate: float, energy_pj: float, area_um2: float) -> None:
    converter = load_adc("adc-regression").of(bits, rate, 32)
    assert converter.leakage_uw == pytest.approx(0.2 * energy_pj * rate * 1e-6, rel=1e-4)
    assert converter.energy_pj + converter.leakage_uw * 1e6 / rate == pytest.approx(energy_pj, rel=1e-4)
    assert converter.area_um2 == pytest.approx(area_um2, rel=1e-4)
    assert (converter.bits, converter.node_nm) == (bits, 32)


@given(st.integers(4, 14), st.floats(1e6, 1e10), st.floats(7, 130))
def test_a_bit_or_a_node_more_costs_more(bits: int, rate: float, node: float) -> None:
    library = load_adc("adc-regression")
    here, finer, larger = (
        library.of(bits, rate, node),
        library.of(bits + 1, rate, node),
        library.of(bits, rate, 2 * node),
    )
    assert finer.energy_pj > here.energy_pj
    assert finer.area_um2 > here.area_um2
    assert larger.energy_pj > here.energy_pj
    assert larger.area_um2 > here.area_um2


def test_the_converter_of_forms() -> None:
    """15.2 mW and .0091 mm2 for 32 converters at 2.1 GS/s."""
    converter = load_adc("forms-adc").of(4, 1e9, 32)
    assert converter.energy_pj == pytest.approx(15.2e9 / 32 / 2.1e9, rel=1e-3)
    assert converter.area_um2 == pytest.approx(9100 / 32, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "bits", "message"),
    [
        ("adc-regression", 3, r"^adc\.bits = 3: .*'adc-regression'.*allowed: 4 or more$"),
        ("adc-regression", "ideal", r"^adc\.bits = 'ideal': .*allowed: 4 or more$"),
        ("forms-adc", 5, r"^adc\.bits = 5: .*'forms-adc'.*allowed: 4$"),
    ],
)
def test_bits_outside_a_library_are_refused(name: str, bits: int, message: str) -> None:
    with pytest.raises(XbarError, match=message):
        load_adc(name).of(bits, 1e9, 32)
