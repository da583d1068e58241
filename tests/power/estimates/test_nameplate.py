"""ISAAC from its hardware's counts: group, tile, 168 tiles, chip, and the peak figures."""

from __future__ import annotations

import pytest
from power_cases import unpacked

from power.counts.events import layer_events
from power.estimates.nameplate import nameplate
from xbar import load_hardware
from xbar.hardware.errors import XbarError

ON_TILES = ("group", "tile", "router")


def test_isaac_from_the_counts_of_its_hardware() -> None:
    """All within .1 %, but for the area of a group: the 8 bit lines of the reference are ours."""
    design = load_hardware("isaac")
    tile, chip = nameplate(design), nameplate(design, 168, links=True)
    assert tile.power_mw(["group"]) / 12 == pytest.approx(24.08, rel=1e-3)
    assert tile.power_mw() == pytest.approx(329.81, rel=1e-3)
    assert tile.area_mm2() == pytest.approx(0.37229, rel=1e-3)
    assert chip.power_mw(ON_TILES) == pytest.approx(55408, rel=1e-3)
    assert chip.area_mm2(ON_TILES) == pytest.approx(62.545, rel=1e-3)
    assert chip.power_mw() == pytest.approx(65808, rel=1e-3)
    assert chip.area_mm2() == pytest.approx(85.425, rel=1e-3)
    assert chip.gops_per_w == pytest.approx(627.5, rel=1e-3)
    assert chip.gops_per_mm2 == pytest.approx(483.5, rel=1e-3)
    of_lines = {block.component: block.area_mm2 / 12 for block in tile.blocks}
    reference = (of_lines["array"] + of_lines["sample_hold"]) * 8 / 136
    assert tile.area_mm2(["group"]) / 12 - reference == pytest.approx(0.01312, rel=1e-3)


def test_twice_the_converters_are_twice_their_line() -> None:
    design = load_hardware("isaac")
    for columns, factor in ((136, 1), (68, 2), (34, 4)):
        plate = nameplate(design.replace(adc__columns=columns))
        (adc,) = [block for block in plate.blocks if block.component == "adc"]
        assert adc.power_mw == pytest.approx(factor * 12 * 16, rel=1e-3)
        assert adc.area_mm2 == pytest.approx(factor * 12 * 0.0096, rel=1e-3)


def test_one_conversion_a_multiply_accumulate() -> None:
    """8 slices, 16 phases, 128 rows: 20.644 T-MAC/s are 32.256 W of converters, ISAAC's line."""
    design = load_hardware("isaac")
    layer = unpacked(design, 256, 32, positions=5)
    assert layer_events(layer, design)["adc"] == 256 * 32 * 5
    chip = nameplate(design, 168)
    (adc,) = [block for block in chip.blocks if block.component == "adc"]
    assert chip.operations_per_s / 2 == pytest.approx(20.644e12, rel=1e-4)
    assert chip.operations_per_s / 2 * 1.5625e-12 == pytest.approx(adc.power_mw * 1e-3, rel=1e-4)


def test_no_tile_is_refused() -> None:
    with pytest.raises(XbarError, match=r"^tiles = 0: must lie between 1"):
        nameplate(load_hardware("isaac"), 0)
