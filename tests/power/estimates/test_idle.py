"""What a chip takes while it has nothing to do: by the time of an image, by source, by gating."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from power_cases import hardware, network, packed_layers, unpacked

from power.components.converters import load_adc
from power.counts.events import layer_time_s
from power.estimates.nameplate import nameplate, rated_mw
from power.estimates.prices import LEAKING_SHARES, prices_of
from power.estimates.table import estimate
from power.estimates.totals import Estimate
from xbar.hardware.errors import XbarError

LEAKY = hardware(
    periphery__library="isaac-aladdin", periphery__scaling="stillmaker-baas", adc__library="adc-regression"
)
LEVELS = """levels = [
    { name = "array" }, { name = "core", holds = "arrays_per_group", gated = %s },
    { name = "node", holds = "groups_per_tile", gated = %s },
    { name = "cluster", holds = "tiles_per_router" }, { name = "chip" },
]
"""


def gated(folder: Path, core: str, node: str, base: str = "isaac-periphery") -> str:
    """Path of an architecture with gated levels."""
    path = folder / "gated.toml"
    path.write_text(f'name = "gated"\nsource = "a test"\nbase = "{base}"\n{LEVELS % (core, node)}')
    return str(path)


@settings(deadline=None, max_examples=30)
@given(st.data(), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_idle_energy_goes_with_the_time_of_an_image_and_dynamic_energy_does_not(data, first, second) -> None:
    mapped = network(LEAKY, data.draw(packed_layers(LEAKY)))
    peak = estimate(mapped).peak_image_rate_per_s
    one, other = (estimate(mapped, image_rate=share * peak) for share in (first, second))
    assert one.idle_nj_per_image * first == pytest.approx(other.idle_nj_per_image * second)
    assert one.dynamic_nj_per_image == other.dynamic_nj_per_image
    assert one.power_mw_at(second * peak) == pytest.approx(other.power_mw)
    for result in (one, other):
        assert result.idle_nj_per_image == pytest.approx(result.leakage_mw * 1e6 / result.image_rate_per_s)
        assert result.energy_nj_per_image == pytest.approx(
            result.idle_nj_per_image + result.dynamic_nj_per_image
        )
        for sums in (result.by_component, result.by_layer, result.by_level):
            for part in ("energy_nj", "dynamic_nj", "idle_nj", "area_mm2"):
                total = sum(getattr(row, part) for row in result.table)
                assert sum(cost[part] for cost in sums.values()) == pytest.approx(total)


def test_a_converter_that_is_always_busy_takes_the_power_of_its_source() -> None:
    """.8 E a conversion and .2 E f of leakage are E f at f conversions a second: the nameplate's."""
    design = hardware(adc__library="adc-regression")
    whole = dataclasses.replace(load_adc("adc-regression").regression, leaking_share=0.0)
    priced = dataclasses.replace(load_adc("adc-regression"), regression=whole).of(8, 1.28e9, 32)
    price = prices_of(design)["adc"]
    assert price.energy_pj == pytest.approx(0.8 * priced.energy_pj)
    assert price.leakage_uw == pytest.approx(0.2 * priced.energy_pj * 1.28e9 * 1e-6)
    row = nameplate(design).of("adc")
    assert rated_mw(row) == pytest.approx(row.units * priced.energy_pj * 1.28e9 * 1e-9)
    assert priced.leakage_uw is None
    assert "of which 0.2 leaks" in price.derivation


def busy_share(result: Estimate, design, layer) -> float:
    return layer_time_s(layer, design) * result.image_rate_per_s


@pytest.mark.parametrize(("core", "node"), [("true", "false"), ("false", "true")])
def test_a_gated_level_leaks_while_its_layer_is_busy(core: str, node: str, tmp_path: Path) -> None:
    """Layers of 10 and 4 positions: at the peak rate the second is busy 4 tenths of an image."""
    design = LEAKY.replace(periphery__architecture=gated(tmp_path, core, node))
    layers = [unpacked(LEAKY, 4, 4, 10, "slow"), unpacked(LEAKY, 4, 4, 4, "fast")]
    always, sometimes = (estimate(network(one, *layers)) for one in (LEAKY, design))
    share = {"slow": 1.0, "fast": 0.4}
    for before, after in zip(always.table, sometimes.table, strict=True):
        off = before.level == "array" or (node == "true" and before.level in ("core", "node"))
        part = share.get(before.layer, 1.0) if off else 1.0
        assert after.idle_nj == pytest.approx(part * before.idle_nj), after
        assert after.dynamic_nj == before.dynamic_nj
    slow = sometimes.power_mw_at(sometimes.peak_image_rate_per_s / 10)
    assert slow < always.power_mw_at(sometimes.peak_image_rate_per_s / 10) / 2


LEAKING_BLOCK = """
[components.%s]
rate = 1e6
[components.%s.price]
energy_pj = 0.1
area_um2 = 1.0
leakage_uw = 10.0
source = "a test"
node_nm = 32.0
kind = "analog"
event = "event"
unit = "unit"
"""


def leaking_block(name: str) -> str:
    return LEAKING_BLOCK % (name, name)


def awake(result: Estimate) -> dict[tuple[str, str], float | None]:
    return {(row.layer, row.component): row.awake_s for row in result.table}


@pytest.mark.parametrize(("core", "node"), [("true", "false"), ("false", "true"), ("true", "true")])
def test_a_gated_level_is_awake_while_anything_at_or_below_it_works(
    core: str, node: str, tmp_path: Path
) -> None:
    """A node adder of 1e6/s has 12 additions at each of 5 positions: 60 us, where the arrays take 4. The node
    was off after 4 us, with its adder at work. A core of its own that is gated need not wait for it."""
    path = Path(gated(tmp_path, core, node))
    path.write_text(path.read_text() + leaking_block("tile_shift_add"))
    design = LEAKY.replace(periphery__architecture=str(path))
    layers = [unpacked(design, 16, 4, 5, "slow"), unpacked(design, 4, 4, 1, "fast")]
    found = estimate(network(design, *layers))
    on = awake(found)
    assert layer_time_s(layers[0], design) == pytest.approx(4e-6)
    of_core, of_node = 4e-6, 60e-6 if node == "true" else None
    of_core = of_core if core == "true" else of_node
    assert on["slow", "adc"] == pytest.approx(of_core)
    if of_node is None:
        assert on["slow", "tile_shift_add"] is on["slow", "edram"] is None
    else:
        assert on["slow", "tile_shift_add"] == on["slow", "edram"] == pytest.approx(of_node)
        assert on["fast", "tile_shift_add"] == pytest.approx(layer_time_s(layers[1], design))
    assert on["slow", "router"] is None
    for row in found.table:
        assert row.awake_s is None or row.shared or row.busy_s <= row.awake_s


def test_gated_nodes_are_awake_while_their_pools_work(tmp_path: Path) -> None:
    """1000 inputs on two pools of 1e6/s are 500 us; the layers were done, and their nodes off, before."""
    path = Path(gated(tmp_path, "false", "true"))
    path.write_text(path.read_text() + leaking_block("max_pool"))
    design = LEAKY.replace(periphery__architecture=str(path))
    layers = [unpacked(design, 16, 4, name=name) for name in ("a", "b")]
    found = estimate(network(design, *layers, digital_operations={"max_pool2d": {"pooled": 1000}}))
    assert found.bottleneck == "max_pool of the chip"
    on = awake(found)
    assert on["a", "max_pool"] == on["b", "edram"] == on["a", "adc"] == pytest.approx(500e-6)
    assert found.by_component["max_pool"]["idle_nj"] == pytest.approx(2 * 10e-6 * 500e-6 * 1e9)


def test_what_no_source_gives_is_not_modelled_and_a_scenario_says_what_it_could_be() -> None:
    """ISAAC's table: nothing is known; the scenario is .2 of converters and .1 of the rest, cells apart."""
    design = hardware()
    result = estimate(network(design, unpacked(design, 16, 4, positions=3)), image_rate=1000.0)
    assert (result.leakage_mw, result.idle_nj_per_image) == (0, 0)
    assert "leakage of any block: not in the libraries" in result.not_modelled
    plate = nameplate(design)  # 8 arrays are a node
    assert result.arrays == 8
    rated = {row.component: rated_mw(row) for row in plate.rows if row.component != "array"}
    expected = 0.2 * rated.pop("adc") + 0.1 * sum(rated.values())
    assert LEAKING_SHARES == {"converter": 0.2, "other": 0.1}
    assert result.assumed_leakage_mw == pytest.approx(expected)
    assert result.assumed_idle_nj_per_image == pytest.approx(expected * 1e-3 * 1e9 * 1e-3)
    known = estimate(network(LEAKY, unpacked(LEAKY, 16, 4, positions=3)))
    assert all(row.assumed_leakage_mw == 0 for row in known.table if row.leakage_mw is not None)


def test_a_level_that_layers_share_cannot_be_gated(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    levels = 'levels = [{ name = "array" }, { name = "node", holds = 8 }, { name = "rack", gated = true }]'
    path.write_text(f'name = "own"\nsource = "a test"\nbase = "isaac-periphery"\n{levels}')
    with pytest.raises(
        XbarError, match=r"levels\.rack\.gated = true: layers share this level; allowed: array, node"
    ):
        prices_of(hardware(periphery__architecture=str(path)))


def test_a_node_that_layers_share_cannot_be_gated(tmp_path: Path) -> None:
    """The level has no layer of its own; it was taken, and off while others worked."""
    path = Path(gated(tmp_path, "false", "true"))
    path.write_text('nodes = "shared"\n' + path.read_text())
    with pytest.raises(
        XbarError, match=r"levels\.node\.gated = true: layers share this level; allowed: array$"
    ):
        prices_of(hardware(periphery__architecture=str(path)))


def test_a_table_of_converters_may_say_what_they_leak(tmp_path: Path) -> None:
    path = tmp_path / "adc.toml"
    row = '[[converter]]\nbits = 8\nenergy_pj = 0.0\narea_um2 = 9.0\nleakage_uw = 5.0\nsource = "a test"\n'
    path.write_text(f'name = "own"\nsource = "a test"\nnode_nm = 32.0\n{row}')
    design = hardware(adc__library=str(path))
    result = estimate(network(design, unpacked(design, 16, 4)))
    assert result.leakage_mw == pytest.approx(4 * 5e-3)
    assert result.by_component["adc"]["dynamic_nj"] == 0
