"""Nodes of a layer's own: what is bought beside what is occupied, and who shares."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from power_cases import hardware, network, packed_layers, unpacked

from power.estimates.table import UNUSED, estimate
from xbar.hardware.design import Hardware

LEAKY = {"periphery__library": "isaac-aladdin", "periphery__scaling": "stillmaker-baas"}


def shared(folder: Path, **changes) -> Hardware:
    path = folder / "shared.toml"
    path.write_text('name = "shared"\nsource = "a test"\nbase = "isaac-periphery"\nnodes = "shared"\n')
    return hardware(periphery__architecture=str(path), **changes)


def test_a_layer_buys_whole_nodes_and_shared_ones_are_bought_once(tmp_path: Path) -> None:
    """Nodes of 8 arrays; layers of 10 and 2: 16 + 8 arrays of their own, or 16 that both share."""
    results = {}
    for name, design in (("own", hardware()), ("shared", shared(tmp_path))):
        layers = unpacked(design, 20, 4, name="large"), unpacked(design, 4, 4, name="small")
        results[name] = estimate(network(design, *layers))
    own, both = results["own"], results["shared"]
    each = own.area_mm2 / 12
    assert own.area_mm2 == pytest.approx(both.area_mm2)
    assert own.area_allocated_mm2 == pytest.approx(24 * each)
    assert both.area_allocated_mm2 == pytest.approx(16 * each)
    assert own.area_whole_tiles_mm2 == pytest.approx(both.area_allocated_mm2)
    assert both.area_whole_tiles_mm2 == pytest.approx(both.area_allocated_mm2)
    assert (own.nodes, both.nodes) == ({"large": 2, "small": 1}, {})
    assert own.by_layer["small"]["allocated_mm2"] == pytest.approx(8 * each)
    assert both.by_layer["small"]["allocated_mm2"] == pytest.approx(2 * each)
    assert both.by_layer[UNUSED]["allocated_mm2"] == pytest.approx(4 * each)
    assert both.by_layer[UNUSED]["area_mm2"] == 0
    assert own.energy_nj_per_image == pytest.approx(both.energy_nj_per_image)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Hardware]:
    """The design with nodes of a layer's own, and, at True, with shared ones."""
    return {False: hardware(**LEAKY), True: shared(tmp_path_factory.mktemp("chip"), **LEAKY)}


@settings(deadline=None, max_examples=40)
@given(data=st.data(), is_shared=st.booleans())
def test_what_is_bought_is_whole_and_never_less_than_what_is_occupied(both, data, is_shared: bool) -> None:
    design = both[is_shared]
    layers = [data.draw(packed_layers(design, name)) for name in ("a", "b")]
    result = estimate(network(design, *layers))
    assert all(row.allocated_units >= row.units * (1 - 1e-12) for row in result.table)
    arrays = sum(row.allocated_units for row in result.table if row.component == "array")
    slots = [math.ceil(2 * len(layer.tiles) / 8) * 8 for layer in layers]
    assert arrays == (math.ceil(result.arrays / 8) * 8 if is_shared else sum(slots))
    assert result.area_mm2 <= result.area_whole_tiles_mm2 * (1 + 1e-12)
    assert result.area_whole_tiles_mm2 <= result.area_allocated_mm2 * (1 + 1e-12)
    for each in (result.by_component, result.by_layer, result.by_level):
        assert sum(cost["allocated_mm2"] for cost in each.values()) == pytest.approx(
            result.area_allocated_mm2
        )


def test_what_is_bought_leaks() -> None:
    """A layer of 2 arrays leaks what the 8 arrays of its node do."""
    design = hardware(**LEAKY)
    one, four = (estimate(network(design, unpacked(design, k, 4))) for k in (4, 16))
    assert (one.arrays, four.arrays) == (2, 8)
    assert one.leakage_mw == pytest.approx(four.leakage_mw)
    assert one.area_allocated_mm2 == pytest.approx(four.area_mm2)
