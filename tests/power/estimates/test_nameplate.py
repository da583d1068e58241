"""ISAAC from its hardware's counts: group, tile, 168 tiles, chip, and the peak figures."""

from __future__ import annotations

import pytest
from power_cases import network, unpacked

from power.counts.events import layer_events
from power.estimates.nameplate import nameplate, rated_mw
from power.estimates.table import estimate
from xbar import load_hardware
from xbar.hardware.errors import XbarError

ON_NODES = ("array", "core", "node", "cluster")


def test_isaac_from_the_counts_of_its_hardware() -> None:
    """All within .1 %, but for the area of a group: the 8 bit lines of the reference are ours."""
    design = load_hardware("isaac")
    tile, chip = nameplate(design), nameplate(design, 168, links=True)
    assert tile.power_mw(["array"]) / 12 == pytest.approx(24.08, rel=1e-3)
    assert tile.power_mw() == pytest.approx(329.81, rel=1e-3)
    assert tile.area_mm2() == pytest.approx(0.37229, rel=1e-3)
    assert chip.power_mw(ON_NODES) == pytest.approx(55408, rel=1e-3)
    assert chip.area_mm2(ON_NODES) == pytest.approx(62.545, rel=1e-3)
    assert chip.power_mw() == pytest.approx(65808, rel=1e-3)
    assert chip.area_mm2() == pytest.approx(85.425, rel=1e-3)
    assert chip.gops_per_w == pytest.approx(627.5, rel=1e-3)
    assert chip.gops_per_mm2 == pytest.approx(483.5, rel=1e-3)
    reference = (tile.of("array").area_mm2 + tile.of("sample_hold").area_mm2) / 12 * 8 / 136
    assert tile.area_mm2(["array"]) / 12 - reference == pytest.approx(0.01312, rel=1e-3)


def test_twice_the_converters_are_twice_their_line() -> None:
    design = load_hardware("isaac")
    for columns, factor in ((136, 1), (68, 2), (34, 4)):
        adc = nameplate(design.replace(adc__columns=columns)).of("adc")
        assert rated_mw(adc) == pytest.approx(factor * 12 * 16, rel=1e-3)
        assert adc.area_mm2 == pytest.approx(factor * 12 * 0.0096, rel=1e-3)


def test_one_conversion_a_multiply_accumulate() -> None:
    """8 slices, 16 phases, 128 rows: 20.644 T-MAC/s are 32.256 W of converters, ISAAC's line."""
    design = load_hardware("isaac")
    layer = unpacked(design, 256, 32, positions=5)
    assert layer_events(layer, design)["conversions"] == 256 * 32 * 5
    chip = nameplate(design, 168)
    adc = chip.of("adc")
    assert chip.operations_per_s / 2 == pytest.approx(20.644e12, rel=1e-4)
    assert chip.operations_per_s / 2 * 1.5625e-12 == pytest.approx(rated_mw(adc) * 1e-3, rel=1e-4)


def test_no_tile_is_refused() -> None:
    with pytest.raises(XbarError, match=r"^tiles = 0: must lie between 1"):
        nameplate(load_hardware("isaac"), 0)


@pytest.mark.parametrize(
    ("name", "below"),
    [("isaac", {"sample_hold": 128 / 136}), ("admm-32x32", {"adc": 1 / 4, "shift_add": 1 / 4})],
)
def test_a_node_that_is_full_and_always_busy_has_the_power_of_its_plate(
    name: str, below: dict[str, float]
) -> None:
    """Every cell of 96 arrays at its most, every word line driven: equal to rounding, but for bit lines of a
    reference that no converter reads, and for converters of 1.28 GS/s of which 32 bit lines need .32."""
    design = load_hardware(name)
    tiles = 96 // design.encoding.planes
    layer = unpacked(design, tiles * design.crossbar.rows, design.weights_per_tile_row)
    result, plate = estimate(network(design, layer)), nameplate(design)
    assert result.arrays == 96
    levels = {row.component: row.level for row in plate.rows}
    for component, level in levels.items():
        assert result.by_component[component]["area_mm2"] == pytest.approx(
            plate.of(component).area_mm2, rel=1e-12
        )
        if level == "array":
            power_mw = result.by_component[component]["energy_nj"] * result.peak_image_rate_per_s * 1e-6
            expected = rated_mw(plate.of(component)) * below.get(component, 1)
            assert power_mw == pytest.approx(expected, rel=1e-12), component
    assert plate.operations_per_s == pytest.approx(result.dense_operations * result.peak_image_rate_per_s)
