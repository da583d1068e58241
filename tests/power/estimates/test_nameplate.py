"""ISAAC from its hardware's counts: group, tile, 168 tiles, chip, and the peak figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from power_cases import network, unpacked

from experiments.commands.networks.nameplate_text import nameplate_text
from mapping.tiles.mapped import Calibration, MappedLayer
from power.architecture.vocabulary import EVENTS
from power.counts.events import layer_events, layer_time_s
from power.estimates.nameplate import nameplate, rated_mw
from power.estimates.prices import bill_of
from power.estimates.table import estimate
from xbar import Hardware, load_hardware
from xbar.hardware.errors import XbarError
from xbar.hardware.files import preset_names

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


DESIGNS = [name for name in preset_names("designs") if load_hardware(name).dac.bits != "ideal"]
"""Shipped designs that have a price."""

PULSES = dict.fromkeys(("array", "dac", "input_register", "output_register"), 1 / 100)

BELOW = {
    "isaac": {"sample_hold": 128 / 136},
    "puma": {"sample_hold": 128 / 136},
    "admm-32x32": {"adc": 1 / 4, "shift_add": 1 / 4},
    "cimloop-isaac": {**PULSES, "sample_hold": 128 / 136 / 100},
    "cimloop-raella": {**PULSES, "adc": 510 / 512, "shift_add": 510 / 512, "sample_hold": 510 / 512 / 100},
}
"""Parts of a design that even a full load does not keep busy: bit lines of a reference, which no converter
reads, or of no weight; converters of 1.28 GS/s of which 32 bit lines need .32; what works in a pulse of 1 ns
of a cycle of 100 ns."""

OF_ARRAYS = {"array_reads", "row_drives", "line_phases", "conversions", "sum_updates"}
"""Events that go in step with the arrays."""


@pytest.mark.parametrize("name", DESIGNS)
def test_a_node_that_is_full_and_always_busy_has_the_power_of_its_plate(name: str) -> None:
    full_node_has_the_power_of_its_plate(load_hardware(name), BELOW.get(name, {}))


@pytest.mark.parametrize("rows", [8, 32])
@pytest.mark.parametrize("name", ["isaac", "puma", "admm-32x32", "neurram"])
def test_so_has_one_whose_word_lines_are_read_some_at_a_time(name: str, rows: int) -> None:
    """A driver works in one read of a phase: its plate held one drive of every word line a read."""
    design = load_hardware(name)
    full_node_has_the_power_of_its_plate(design.replace(periphery__rows_per_read=rows), BELOW.get(name, {}))


def full_node_has_the_power_of_its_plate(design: Hardware, below: dict[str, float]) -> None:
    """Every cell of a node at its most, every word line driven, at the rate of the arrays with inputs of the
    fewest phases: equal to rounding, leakage included.

    `below`: share of components that even a full load does not keep busy.
    """
    bill = bill_of(design)
    tiles = int(bill.node) // design.encoding.planes
    signed = design.dac.signed == "sign-magnitude"
    layer = unpacked(
        *(design, tiles * design.crossbar.rows, design.weights_per_tile_row),
        calibration=Calibration(1.0, True) if signed else None,
    )
    result, plate = estimate(network(design, layer)), nameplate(design)
    result = result.at(min(result.peak_image_rate_per_s, rate := 1 / layer_time_s(layer, design)))
    slower = result.image_rate_per_s / rate
    assert result.arrays == bill.node
    items = {item.name: item for item in bill.charged}
    checked = 0
    for row in plate.rows:
        found, item = result.by_component[row.component], items[row.component]
        assert found["area_mm2"] == pytest.approx(row.area_mm2, rel=1e-12), row.component
        if item.names & EVENTS.keys() and item.names & EVENTS.keys() <= OF_ARRAYS:
            share = below.get(row.component, 1)
            dynamic_mw = found["dynamic_nj"] * rate * 1e-6
            assert dynamic_mw == pytest.approx(row.dynamic_nj * 1e-6 * share, rel=2e-6), row.component
            idle_mw = found["idle_nj"] * rate * 1e-6 * slower
            assert idle_mw == pytest.approx(row.idle_nj * 1e-6, rel=2e-6), row.component
            checked += 1
    assert checked >= 2
    assert plate.operations_per_s == pytest.approx(result.dense_operations * rate)


def without_tiles(layer: MappedLayer) -> MappedLayer:
    """A layer of which a mask left nothing: its outputs are its bias."""
    bands = tuple(dataclasses.replace(band, tiles=()) for band in layer.bands)
    return dataclasses.replace(layer, bands=bands, mask=np.zeros((layer.k, layer.n), bool))


def test_a_layer_without_a_tile_costs_nothing() -> None:
    """It had the writes of its outputs, and no time for them: a chip above its plate."""
    design = load_hardware("admm-32x32")
    live, gone = unpacked(design, 400, 10, 1, "live"), unpacked(design, 36, 400, 1024, "gone")
    gone = without_tiles(gone)
    assert layer_events(gone, design) == dict.fromkeys(EVENTS, 0)
    alone, both = estimate(network(design, live)), estimate(network(design, live, gone))
    assert both.energy_nj_per_image == alone.energy_nj_per_image
    assert both.area_allocated_mm2 == alone.area_allocated_mm2
    assert both.latency_us_per_image == alone.latency_us_per_image
    assert both.peak_power_mw < nameplate(design, sum(both.nodes.values())).power_mw()


@pytest.mark.parametrize("name", DESIGNS)
@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 700), st.integers(1, 90), st.integers(1, 60)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(1, 700), st.integers(1, 900), st.integers(1, 900)), max_size=2),
    st.integers(0, 10**6),
)
def test_no_network_takes_more_of_any_component_than_its_plate(
    name: str, sizes: list[tuple[int, int, int]], masked: list[tuple[int, int, int]], pooled: int
) -> None:
    """At its peak rate, on as many nodes as its layers own, with some layers of which nothing is left: every
    component below its rated power."""
    design = load_hardware(name)
    layers = [unpacked(design, k, n, positions, f"l{i}") for i, (k, n, positions) in enumerate(sizes)]
    layers += [without_tiles(unpacked(design, *shape, f"m{i}")) for i, shape in enumerate(masked)]
    result = estimate(network(design, *layers, digital_operations={"max_pool2d": {"pooled": pooled}}))
    plate = nameplate(design, sum(result.nodes.values()))
    for row in plate.rows:
        of_all = [each for each in result.table if each.component == row.component]
        events = sum(each.events for each in of_all) * result.peak_image_rate_per_s
        assert events <= row.events * (1 + 1e-9), row.component
        power_mw = sum(each.energy_nj for each in of_all) * result.peak_image_rate_per_s * 1e-6
        assert power_mw <= rated_mw(row) * (1 + 1e-9), row.component
    assert result.peak_power_mw <= plate.power_mw() * (1 + 1e-9)
    assert max(result.utilisation.values()) == pytest.approx(1)
    assert result.tops <= plate.operations_per_s * 1e-12


def with_components(folder: Path, more: str) -> Hardware:
    """The shipped design with a few lines more of architecture."""
    path = folder / "own.toml"
    path.write_text(f'name = "own"\nsource = "a test"\nbase = "isaac-periphery"\n{more}')
    return load_hardware("admm-32x32").replace(periphery__architecture=str(path))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "[components.edram]\ncount = 0",
            r"components\.edram: count = 0\.0: gives no unit that serves its events",
        ),
        (
            '[components.adc]\ncount = "0 * cols"',
            r"components\.adc: count = '0 \* cols': gives no unit that serves its events",
        ),
    ],
)
def test_events_without_a_unit_that_serves_them_are_refused(tmp_path: Path, more: str, said: str) -> None:
    """They were served at once: a chip without a buffer was as fast as one with."""
    design = with_components(tmp_path, more)
    with pytest.raises(XbarError, match=said):
        nameplate(design)
    nameplate(with_components(tmp_path, f"{more}\nevents = 0"))


def test_a_layer_without_a_unit_for_its_events_is_refused(tmp_path: Path) -> None:
    """The index of an unpacked layer has no bytes, and serves none."""
    design = with_components(
        tmp_path,
        '[components.table]\nlevel = "layer"\ncount = "layer_index_bytes"\nevents = "outputs"\nrate = 1e9\n'
        'price = "output_register"\n',
    )
    with pytest.raises(
        XbarError, match=r"table: count = 'layer_index_bytes': gives no unit that serves layer 'live'"
    ):
        estimate(network(design, unpacked(design, 40, 10, name="live")))
    design = with_components(
        tmp_path,
        '[components.table]\nlevel = "layer"\ncount = "layer_index_bytes"\nevents = "index_bytes"\n'
        'rate = 1e9\nprice = "output_register"\n',
    )
    estimate(network(design, unpacked(design, 40, 10, name="live")))


def test_what_has_no_rate_is_named_by_a_nameplate(tmp_path: Path) -> None:
    """Its energy was 0 there without a word, below that of a network."""
    design = with_components(
        tmp_path, '[components.bus]\nrate = "unlimited"\n[components.router]\nevents = 0'
    )
    plate = nameplate(design)
    assert rated_mw(plate.of("bus")) == 0
    assert plate.not_modelled == (
        "energy of bus: has no rate",
        "index: counted by the layer",
    )
    assert "not modelled:\n  energy of bus: has no rate" in nameplate_text("own", plate)
    assert nameplate(load_hardware("admm-32x32")).not_modelled == ("index: counted by the layer",)
