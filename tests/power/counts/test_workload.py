"""What is counted of a mapping once, and priced on many architectures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from power_cases import hardware, network, packed_layers, unpacked

from mapping.tiles.mapped import Calibration
from power.counts.tally import Tally
from power.counts.workload import workload
from power.estimates.table import estimate, priced
from xbar.hardware.errors import XbarError

ARCHITECTURES = (
    {"periphery__arrays_per_group": 2},
    {"periphery__groups_per_tile": 5, "periphery__tiles_per_router": 2},
    {"periphery__buffer_kb": 16.0},
    {"periphery__copies": 3},
    {"periphery__t_read": 3e-8},
    {"periphery__architecture": "isaac", "adc__library": "adc-regression", "adc__rate": 3e8},
    {
        "periphery__library": "isaac-aladdin",
        "periphery__scaling": "stillmaker-baas",
        "crossbar__cell_f2": 12.0,
    },
)


@settings(deadline=None, max_examples=20)
@given(st.data(), st.sampled_from(ARCHITECTURES), st.sampled_from(["worst", "mean"]))
def test_an_architecture_priced_for_counts_is_the_estimate_of_it(data, changes, case) -> None:
    design = hardware()
    mapped = network(design, *(data.draw(packed_layers(design, name)) for name in ("a", "b")))
    activity = {name: np.linspace(0, 8, layer.inputs) for name, layer in mapped.layers.items()}
    other = mapped.with_hardware(lambda own: own.replace(**changes))
    for given_activity in (None, activity):
        counted = workload(mapped, given_activity, case=case)
        assert priced(counted) == estimate(mapped, given_activity, case=case)
        assert priced(counted.on(other)) == estimate(other, given_activity, case=case)
        rate = estimate(other, given_activity).peak_image_rate_per_s / 2
        assert priced(counted.on(other), rate) == estimate(other, given_activity, rate, case=case)


@settings(deadline=None, max_examples=15)
@given(st.data(), st.lists(st.sampled_from(ARCHITECTURES), min_size=2, max_size=5))
def test_one_workload_on_one_architecture_after_the_other_keeps_nothing_of_the_last(data, visited) -> None:
    """What a workload keeps between architectures depends on nothing but what it was kept for, also where
    layers have hardware of their own."""
    design = hardware()
    mapped = network(design, *(data.draw(packed_layers(design, name)) for name in ("a", "b", "c")))
    alone = {"b": design.replace(periphery__t_read=5e-8)}
    counted = workload(mapped)
    for changes in (*visited, *visited[:1]):
        other = mapped.with_hardware(lambda own: own.replace(**changes))  # noqa: B023
        split = other.on_hardware(other.hardware, alone)
        assert priced(counted.on(other)) == estimate(other)
        assert priced(counted.on(split)) == estimate(split)


def test_a_tally_reads_the_numbers_that_an_expression_reads() -> None:
    tally = Tally([{"sums": 3.0}, {"sums": 5.0}])
    assert tally.of("x", "sums * a", {"a": 2.0, "b": 1.0}).tolist() == [6.0, 10.0]
    assert tally.of("x", "sums * a", {"a": 7.0, "b": 1.0}).tolist() == [21.0, 35.0]
    assert tally.of("x", "sums * a", {"a": 2.0, "b": 9.0}) is tally.of("x", "sums * a", {"a": 2.0, "b": 1.0})
    assert tally.of("y", 4.0, {}).tolist() == [4.0, 4.0]
    with pytest.raises(XbarError, match=r"^x = 'sums - a': gives -1; must give a number from 0 on"):
        tally.of("x", "sums - a", {"a": 4.0})


def test_rows_hold_what_the_columns_of_the_table_say() -> None:
    design = hardware(periphery__library="isaac-aladdin", periphery__scaling="stillmaker-baas")
    result = estimate(network(design, unpacked(design, 9, 4)))
    assert {row.leakage_mw is None for row in result.table} == {True, False}
    for row in result.table:
        assert row.dynamic_nj == row.events * row.event_energy_pj * 1e-3
        assert row.idle_nj == (row.leakage_mw or 0.0) / result.image_rate_per_s * 1e6
        assert row.energy_nj == row.dynamic_nj + row.idle_nj
        assert row.area_mm2 == row.units * row.unit_area_um2 * 1e-6
        assert row.allocated_mm2 == row.allocated_units * row.unit_area_um2 * 1e-6
    assert result.table[2:4] == (result.table[2], result.table[3])
    assert len(result.table) == len(list(result.table))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"crossbar__rows": 8}, "crossbar.rows = 8"),
        ({"encoding__slices": 2}, "encoding.slices = 2"),
        ({"dac__bits": 4}, "dac.bits = 4"),
        ({"adc__bits": 6}, "adc.bits = 6"),
        ({"periphery__gated_columns": True}, "periphery.gated_columns = True"),
        ({"device__g_max": 2e-5}, "device.g_max = 2e-05"),
    ],
)
def test_other_counts_are_refused(changes, key) -> None:
    design = hardware()
    mapped = network(design, unpacked(design, 9, 4))
    with pytest.raises(XbarError, match=rf"^{key}: was counted with"):
        workload(mapped).on(mapped.with_hardware(lambda own: own.replace(**changes)))


def test_other_tiles_are_refused() -> None:
    design = hardware()
    mapped = network(design, unpacked(design, 9, 4))
    with pytest.raises(XbarError, match=r"^layer: has other tiles than what was counted"):
        workload(mapped).on(network(design, unpacked(design, 9, 5)))
    with pytest.raises(XbarError, match=r"^mapped network: has other layers than what was counted$"):
        workload(mapped).on(network(design, unpacked(design, 9, 4, name="other")))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("state", np.ones((9, 4), np.int16)),
        ("bias_state", np.ones((1, 4), np.int16)),
        ("mask", np.ones((9, 4), bool)),
        ("positions", 7),
        ("calibration", Calibration(1.0, signed=True)),
    ],
)
def test_another_layer_on_the_same_tiles_is_refused(key, value) -> None:
    """A calibrated mapping has phases of signed inputs, and other states read at other energies: both were
    priced as what was counted."""
    design = hardware()
    mapped = network(design, unpacked(design, 9, 4))
    layer = dataclasses.replace(mapped.layers["layer"], **{key: value})
    other = dataclasses.replace(mapped, layers={"layer": layer})
    with pytest.raises(XbarError, match=rf"^layer: has another {key} than what was counted; count that"):
        workload(mapped).on(other)
    assert priced(workload(other).on(other)) == estimate(other)
