"""Laws of an estimate: what is there costs t V^2 G and its events, and nothing else does."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from power_cases import hardware, network, packed_layers, unpacked

from mapping.tiles.mapped import Band, MappedLayer, Tile
from power.architecture.vocabulary import EVENTS
from power.components.library import load_periphery
from power.counts.array import read_energy_j, row_conductance
from power.counts.events import layer_events, layer_time_s
from power.estimates.table import estimate
from power.estimates.totals import reduction_percent
from xbar import load_hardware
from xbar.conductances.encoding import target_conductances
from xbar.hardware.errors import XbarError

DESIGNS = [
    hardware(),
    hardware(slices=2, encoding__subtract="digital"),
    hardware(slices=2, cols=5, periphery__gated_columns=True),
    hardware(states=2, slices=3, rows=3, cols=7, encoding__unformed=True),
]
designs = st.sampled_from(DESIGNS)


def rows_of(result, component):
    return [row for row in result.table if row.component == component]


def events_of(result, component):
    return sum(row.events for row in rows_of(result, component))


def test_energy_of_one_array():
    active = np.repeat([1.0, 0.0], 64)
    energy = read_energy_j(float(active @ np.full(128, 128 * 10e-6)), v_read=0.2, t_read=10e-9)
    assert energy == pytest.approx(32.768e-12, rel=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.data(), designs)
def test_array_energy_is_t_v2_g_over_the_cells_that_are_there(data, design):
    """Cell by cell, on a physical array of rows x cols in each plane that is filled from the tile."""
    layer = data.draw(packed_layers(design))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    activity = rng.uniform(0, 8, layer.k)
    slices, idle = design.encoding.slices, design.device.g_min
    if design.encoding.unformed or design.periphery.gated_columns:
        idle = 0.0
    expected = 0.0
    for tile in layer.tiles:
        array = np.full((2, design.crossbar.rows, design.crossbar.cols), idle)
        cells = target_conductances(layer.state[np.ix_(tile.rows, tile.cols)], design.encoding, design.device)
        for slot in range(len(tile.cols)):
            for place in range(slices):
                array[:, : len(tile.rows), slot * slices + place] = cells[:, place, :, slot]
        square_voltages = activity[tile.rows] * design.dac.v_read**2
        currents = array[:, : len(tile.rows)].sum(axis=(0, 2))
        expected += design.periphery.t_read * np.dot(square_voltages, currents)
    result = estimate(network(design, layer), {"layer": activity})
    assert result.by_component["array"]["energy_nj"] == pytest.approx(
        expected * layer.positions * 1e9, rel=1e-12
    )


def test_without_weights_the_worst_is_assumed():
    design = hardware(rows=2, cols=2)
    mask = np.array([[True, False], [True, True]])
    layer = unpacked(design, 2, 2, mask=mask)
    g_min, g_max = design.device.g_min, design.device.g_max
    assert row_conductance(layer, design) == pytest.approx([3 * g_min + g_max, 2 * g_min + 2 * g_max])
    result = estimate(network(design, layer))
    assert (result.conductances, result.inputs) == ("worst", "worst")
    expected = 8 * 100e-9 * 0.2**2 * (5 * g_min + 3 * g_max) * 1e9
    assert result.by_component["array"]["energy_nj"] == pytest.approx(expected)


@settings(deadline=None, max_examples=30)
@given(st.data(), designs)
def test_weights_and_inputs_never_cost_more_than_the_worst(data, design):
    layer = data.draw(packed_layers(design))
    worst = dataclasses.replace(layer, state=None, scale=None)
    known = estimate(network(design, layer), {"layer": np.full(layer.k, 3.0)})
    bound = estimate(network(design, worst))
    assert (known.conductances, known.inputs) == ("target", "measured")
    assert known.energy_nj_per_image <= bound.energy_nj_per_image


def test_zero_activity_is_zero_array_energy_only():
    design = hardware()
    layer = unpacked(design, 6, 6)
    result = estimate(network(design, layer), {"layer": np.zeros(6)})
    assert result.by_component["array"]["energy_nj"] == 0
    assert result.by_component["adc"]["energy_nj"] > 0


@settings(deadline=None, max_examples=30)
@given(st.data(), designs)
def test_totals_are_plain_sums(data, design):
    layers = [data.draw(packed_layers(design, name)) for name in ("a", "b")]
    result = estimate(network(design, *layers, digital_operations={"max_pool2d": {"pooled": 12}}))
    assert result.energy_nj_per_image == sum(row.energy_nj for row in result.table)
    assert result.area_mm2 == sum(row.area_mm2 for row in result.table)
    for parts in (result.by_component, result.by_layer):
        assert sum(p["energy_nj"] for p in parts.values()) == pytest.approx(result.energy_nj_per_image)
        assert sum(p["area_mm2"] for p in parts.values()) == pytest.approx(result.area_mm2)
    assert all(math.isfinite(row.energy_nj) and row.energy_nj >= 0 for row in result.table)
    for component in {row.component for row in result.table}:
        area = result.by_component[component]["area_mm2"]
        assert area > 0 or component == "index", f"the area of {component} is silently 0"


def isaac_like(**changes):
    """ISAAC's array, group and tile; 8 slices of 1 bit, and 15 phases where ISAAC has 16."""
    base = {"dac__bits": 15, "encoding__subtract": "digital", "adc__columns": 128}
    sharing = {"periphery__arrays_per_group": 8, "periphery__groups_per_tile": 12}
    return hardware(rows=128, cols=128, states=2, slices=8, **{**base, **sharing, **changes})


def test_area_of_a_full_isaac_tile():
    design = isaac_like()
    layer = unpacked(design, 48 * 128, 16)
    result = estimate(network(design, layer))
    assert (result.arrays, result.groups, result.tiles) == (96, 12, 1)
    one_phase_less = 12 * 0.0021 / 16
    assert result.area_mm2 == pytest.approx(0.37229 - one_phase_less, rel=1e-3)
    assert result.area_whole_tiles_mm2 == pytest.approx(result.area_mm2)
    printed = load_periphery("isaac").components
    per_tile = {"group": 12, "tile": 1, "router": 1 / 4}
    for name, part in printed.items():
        component = "array" if name == "cell" else name
        if component in result.by_component and name != "input_register":
            area = result.by_component[component]["area_mm2"]
            assert area == pytest.approx(part.area_mm2 * per_tile[part.per]), name


def test_power_of_a_full_isaac_tile_that_is_always_busy() -> None:
    """Every word line driven and every column converted in each cycle: the nameplate of its blocks."""
    design = isaac_like()
    result = estimate(network(design, unpacked(design, 48 * 128, 16)))
    printed = load_periphery("isaac").components
    for name in ("dac", "sample_hold", "shift_add", "input_register", "output_register"):
        power_mw = result.by_component[name]["energy_nj"] * result.peak_image_rate_per_s * 1e-6
        sums = 0.5 if name == "output_register" else 1  # the two planes of a pair share their sums
        assert power_mw == pytest.approx(12 * sums * printed[name].power_mw, rel=1e-3), name
    assert result.by_component["adc"]["energy_nj"] * result.peak_image_rate_per_s * 1e-6 == pytest.approx(
        12 * printed["adc"].power_mw * 1.28 / 1.2, rel=5e-3
    )  # the library has 2 mW at 1.2 GS/s, and 128 columns in 100 ns are 1.28


def test_half_the_converters_are_half_their_area():
    analog, digital = isaac_like(encoding__subtract="analog"), isaac_like()
    shared = isaac_like(adc__columns=256)
    layer = unpacked(digital, 256, 16)
    full = estimate(network(digital, layer)).by_component
    assert estimate(network(analog, layer)).by_component["adc"]["area_mm2"] == full["adc"]["area_mm2"] / 2
    assert estimate(network(analog, layer)).by_component["dac"] == full["dac"]
    assert estimate(network(shared, layer)).by_component["adc"]["area_mm2"] == full["adc"]["area_mm2"]
    two = isaac_like(adc__columns=64)
    assert estimate(network(two, layer)).by_component["adc"]["area_mm2"] == 2 * full["adc"]["area_mm2"]


def test_one_conversion_a_mac():
    """8 slices x 8 phases / 64 rows: one conversion a MAC in each plane, or one for both in analog."""
    design = isaac_like(crossbar__rows=64, dac__bits=8)
    layer = unpacked(design, 256, 40, positions=7)
    macs = layer.k * layer.n * layer.positions
    assert layer_events(layer, design)["conversions"] == 2 * macs
    analog = design.replace(encoding__subtract="analog")
    assert layer_events(layer, analog)["conversions"] == macs


def test_event_counts_by_hand():
    """k = 6, n = 5 on 4 x 4 arrays, 3 positions, 8 phases: 2 bands of 2 tiles, each output on 2 tiles."""
    design = hardware()
    layer = unpacked(design, 6, 5, positions=3)
    events = layer_events(layer, design)
    drives, sums = 3 * 8 * 2 * (4 + 4 + 2 + 2), 3 * (5 + 5)
    assert events == {
        "row_drives": drives,
        "line_phases": 3 * 8 * 2 * (5 + 5),
        "array_reads": 3 * 8 * 2 * 4,
        "conversions": 8 * sums,
        "sum_updates": 8 * sums,
        "sums": sums,
        "partial_sums": 3 * 5,
        "rescaled": 3 * 5,
        "fetched_bytes": 3 * 6,
        "outputs": 3 * 5,
        "stored_bytes": 3 * 5,
        "index_bytes": 0,
        "vectors": 3,
        "macs": 3 * 6 * 5,
    }
    assert set(events) == set(EVENTS)
    charged = {
        row.component: row.events for row in estimate(network(design, layer)).table if row.layer == "layer"
    }
    assert charged == {
        "array": 3 * 8 * 2 * 4,
        "dac": drives,
        "input_register": drives,
        "adc": 8 * sums,
        "sample_hold": 8 * sums,
        "shift_add": 8 * sums,
        "output_register": 2 * sums * 8,
        "tile_output_register": 2 * sums,
        "edram": 3 * 6 + 3 * 5,
        "bus": 3 * 6 + 3 * 5 + 2 * 3 * 5,
        "tile_shift_add": 3 * 5,
        "sigmoid": 3 * 5,
        "max_pool": 0,
        "router": 3 * 5,
        "index": 0,
    }


@pytest.mark.parametrize(("subtract", "lines"), [("analog", 4 + 4 + 4 + 4), ("digital", 4 * (4 + 2))])
def test_a_reference_column_has_cells_drives_and_its_own_conversions(subtract: str, lines: int) -> None:
    """k = 6, n = 4 in 2 slices on 4 x 6 arrays of one plane: 2 weights and the reference a tile."""
    design = hardware(
        crossbar__cols=6, encoding__kind="offset", encoding__slices=2, encoding__subtract=subtract
    )
    assert design.weights_per_tile_row == 2
    layer = unpacked(design, 6, 4, positions=3)
    events = layer_events(layer, design)
    assert events["array_reads"] == 3 * 8 * 4
    assert events["row_drives"] == 3 * 8 * (4 + 4 + 2 + 2)
    assert events["conversions"] == 3 * 8 * lines
    result = estimate(network(design, layer))
    assert result.arrays == 4
    base, g_max = design.device.n_states, design.device.g_max
    zero = design.device.g_min + design.device.unit * (base // 2) + design.device.g_min  # digits (L/2, 0)
    worst = 4 * 2 * g_max  # 4 weights of 2 cells each: z + L^2/2 = L^2 - 1, all digits L - 1
    np.testing.assert_allclose(row_conductance(layer, design), np.full(6, worst + 2 * zero), rtol=1e-12)


def test_accumulated_phases_are_converted_once():
    design = hardware(adc__after="accumulation", adc__rate=1e7)
    layer = unpacked(design, 4, 3, positions=10)
    each = hardware(adc__rate=1e7)
    assert layer_events(layer, design)["conversions"] == layer_events(layer, each)["conversions"] / 8
    assert layer_events(layer, design)["row_drives"] == layer_events(layer, each)["row_drives"]
    assert layer_time_s(layer, design) == pytest.approx(10 * 8 * 100e-9)
    slow = hardware(adc__after="accumulation", adc__rate=2e6)
    assert layer_time_s(layer, slow) == pytest.approx(10 * 3 / 2e6)


def test_wide_phases_are_refused():
    design = hardware(dac__phase_bits=2)
    with pytest.raises(XbarError, match=r"dac\.phase_bits = 2: has no cost entry"):
        estimate(network(design, unpacked(design, 4, 3)))


def test_area_is_that_of_whole_arrays_and_their_share_of_tiles():
    design = hardware()
    layer = unpacked(design, 4, 4)
    one = estimate(network(design, layer))
    assert (one.arrays, one.groups, one.tiles) == (2, 1, 1)
    assert one.area_whole_tiles_mm2 == pytest.approx(one.area_mm2 * 8 / 2)
    five_pairs = estimate(network(design, unpacked(design, 20, 4)))
    assert (five_pairs.arrays, five_pairs.groups, five_pairs.tiles) == (10, 3, 2)
    assert five_pairs.area_mm2 == pytest.approx(5 * one.area_mm2)
    assert five_pairs.area_whole_tiles_mm2 == pytest.approx(2 * one.area_whole_tiles_mm2)


def test_time_is_that_of_the_slower_of_array_and_converter():
    layer = unpacked(hardware(), 4, 3, positions=10)
    settle = hardware(adc__rate=1e9)
    assert layer_time_s(layer, settle) == pytest.approx(10 * 8 * 100e-9)
    convert = hardware(adc__rate=1e7)
    assert layer_time_s(layer, convert) == pytest.approx(10 * 8 * 3 / 1e7)
    halved = hardware(adc__rate=1e7, adc__columns=2)
    assert layer_time_s(layer, halved) == pytest.approx(10 * 8 * 2 / 1e7)


def test_rates_latency_and_power():
    design = hardware()
    slow, fast = unpacked(design, 4, 4, 10, "slow"), unpacked(design, 4, 4, 5, "fast")
    result = estimate(network(design, slow, fast))
    assert result.latency_us_per_image == pytest.approx(8 * 0.1 * 15)
    assert result.peak_image_rate_per_s == pytest.approx(1 / (10 * 8 * 100e-9))
    assert result.power_mw == result.peak_power_mw
    given_rate = estimate(network(design, slow, fast), image_rate=1000.0)
    assert given_rate.power_mw == pytest.approx(given_rate.energy_nj_per_image * 1e-9 * 1000 * 1e3)
    assert given_rate.peak_power_mw == pytest.approx(result.power_mw)


def without_tile(layer: MappedLayer, band: int, tile: int) -> MappedLayer:
    bands = list(layer.bands)
    tiles = bands[band].tiles
    bands[band] = Band(bands[band].first_row, bands[band].height, tiles[:tile] + tiles[tile + 1 :])
    return dataclasses.replace(layer, bands=tuple(bands))


def test_a_removed_tile_costs_nothing():
    """All tiles of a layer removed: no cell, driver, converter, conversion or time of it is left."""
    design = hardware()
    kept, gone = unpacked(design, 8, 8, 2, "kept"), unpacked(design, 8, 8, 9, "gone")
    empty = dataclasses.replace(gone, bands=tuple(Band(b.first_row, b.height, ()) for b in gone.bands))
    result, alone = estimate(network(design, kept, empty)), estimate(network(design, kept))
    outputs_only = {"sigmoid", "edram", "bus", "router"}
    for row in result.table:
        if row.layer == "gone":
            assert (row.units, row.area_mm2) == (0, 0), row
            assert row.component in outputs_only or (row.events, row.energy_nj) == (0, 0), row
    assert result.area_mm2 == alone.area_mm2
    assert result.latency_us_per_image == alone.latency_us_per_image
    before, after = layer_events(gone, design), layer_events(without_tile(gone, 0, 1), design)
    assert after["conversions"] == before["conversions"] * 3 / 4
    assert after["row_drives"] == before["row_drives"] * 3 / 4


@settings(deadline=None, max_examples=60)
@given(st.data(), designs)
def test_removing_never_costs_more_but_for_the_index(data, design):
    layer = data.draw(packed_layers(design))
    other = unpacked(design, 3, 3, name="other")
    band = data.draw(st.integers(0, len(layer.bands) - 1))
    number = data.draw(st.integers(0, len(layer.bands[band].tiles) - 1))
    tile = layer.bands[band].tiles[number]
    what = data.draw(st.sampled_from(["row", "column", "tile"]))
    if (
        what == "tile"
        or (what == "row" and len(tile.rows) == 1)
        or (what == "column" and len(tile.cols) == 1)
    ):
        less = without_tile(layer, band, number)
    else:
        smaller = Tile(tile.rows[1:], tile.cols) if what == "row" else Tile(tile.rows, tile.cols[1:])
        tiles = list(layer.bands[band].tiles)
        tiles[number] = smaller
        bands = list(layer.bands)
        bands[band] = Band(layer.bands[band].first_row, layer.bands[band].height, tuple(tiles))
        less = dataclasses.replace(layer, bands=tuple(bands))
    before, after = estimate(network(design, layer, other)), estimate(network(design, less, other))
    for component, cost in after.by_component.items():
        if component != "index":
            for key, value in cost.items():
                limit = before.by_component[component][key]
                assert value <= limit * (1 + 1e-12), (component, key)
    assert after.latency_us_per_image <= before.latency_us_per_image
    assert after.area_mm2 - after.by_component["index"]["area_mm2"] <= before.area_mm2 * (1 + 1e-12)
    conversions = events_of(before, "adc") - events_of(after, "adc")
    assert (conversions > 0) == (what != "row" or len(tile.rows) == 1)
    assert events_of(after, "dac") < events_of(before, "dac") or (what == "column" and len(tile.cols) > 1)


@settings(deadline=None, max_examples=20)
@given(st.data(), designs)
def test_names_and_order_of_layers_do_not_matter(data, design):
    a, b = (data.draw(packed_layers(design, name)) for name in "ab")
    one = estimate(network(design, a, b))
    other = estimate(network(design, dataclasses.replace(b, name="x"), dataclasses.replace(a, name="y")))
    assert other.energy_nj_per_image == pytest.approx(one.energy_nj_per_image)
    assert other.area_mm2 == pytest.approx(one.area_mm2)
    assert other.latency_us_per_image == pytest.approx(one.latency_us_per_image)
    assert other.by_layer["x"] == one.by_layer["b"]


@pytest.mark.parametrize("design", DESIGNS)
def test_an_unpruned_mapping_has_no_index(design):
    result = estimate(network(design, unpacked(design, 9, 11)))
    assert set(result.by_component["index"].values()) == {0}


def test_index_of_packed_columns_and_dropped_rows():
    """3 packed columns x ceil(log2 9) bits and one bit for each of 4 rows, read at each of 5 positions."""
    design = hardware()
    packed = Tile(np.array([0, 1, 3]), np.array([1, 4, 8]))
    layer = MappedLayer("layer", "linear", 4, 9, 5, (Band(0, 4, (packed,)),), design)
    result = estimate(network(design, layer))
    (row,) = rows_of(result, "index")
    assert (row.units, row.events) == (2, 10)
    register = load_periphery("isaac").components["output_register"]
    assert row.area_mm2 == pytest.approx(2 * register.unit_area_mm2)
    assert row.energy_nj == pytest.approx(10 * register.energy_j * 1e9)


def test_index_of_moved_columns():
    """3 columns that stand on some of 5 places: 3 x 3 bits at each of 5 positions, and nothing else."""
    design = hardware(cols=5, crossbar__spare_cols=2)
    layers = [
        MappedLayer(
            "layer", "linear", 4, 3, 5, (Band(0, 4, (Tile(np.arange(4), np.arange(3), places),)),), design
        )
        for places in (None, np.array([4, 0, 2]))
    ]
    plain, moved = (estimate(network(design, layer)) for layer in layers)
    (row,) = rows_of(moved, "index")
    assert (row.units, row.events) == (9 / 8, 5 * 9 / 8)
    assert moved.area_mm2 - row.area_mm2 == pytest.approx(plain.area_mm2)
    assert moved.energy_nj_per_image - row.energy_nj == pytest.approx(plain.energy_nj_per_image)


def test_pooling_is_charged_and_other_digital_operations_are_named():
    design = hardware()
    layer = unpacked(design, 4, 4)
    plain = estimate(network(design, layer))
    result = estimate(
        network(
            design,
            layer,
            digital_elements={"max_pool2d": 100, "relu_": 16, "masked_fill": 10},
            digital_operations={"max_pool2d": {"pooled": 100}, "relu_": {"activations": 16}},
        )
    )
    pool = load_periphery("isaac").components["max_pool"]
    gained = result.energy_nj_per_image - plain.energy_nj_per_image
    assert gained == pytest.approx(100 * pool.energy_j * 1e9)
    digital = [text for text in result.not_modelled if text.startswith("digital operation")]
    assert digital == ["digital operation, not counted: masked_fill"]
    assert any(text.startswith("leakage") for text in result.not_modelled)


def test_reduction_at_one_image_rate():
    design = hardware(adc__rate=1e7)
    before = estimate(network(design, unpacked(design, 16, 16)))
    after = estimate(network(design, unpacked(design, 16, 3)))
    saved = reduction_percent(before, after)
    assert after.peak_image_rate_per_s > before.peak_image_rate_per_s
    at_one_rate = estimate(network(design, unpacked(design, 16, 3)), image_rate=before.image_rate_per_s)
    assert saved["power"] == pytest.approx(100 * (1 - at_one_rate.power_mw / before.power_mw))
    assert saved["area"] == pytest.approx(100 * (1 - after.area_mm2 / before.area_mm2))
    assert saved["energy"] == pytest.approx(
        100 * (1 - after.energy_nj_per_image / before.energy_nj_per_image)
    )
    assert reduction_percent(before, before) == {"area": 0, "power": 0, "energy": 0, "dynamic": 0}


def test_to_dict_is_plain_data():
    design = hardware()
    result = estimate(network(design, unpacked(design, 6, 6)))
    data = result.to_dict()
    assert json.loads(json.dumps(data)) == data
    for key in ("area_mm2", "power_mw", "energy_nj_per_image", "latency_us_per_image"):
        assert data[key] == getattr(result, key)
    assert data["adc"] == "isaac-scaled-adc, 8 bits"
    assert any("10.1109/ISCA.2016.12" in source for source in data["sources"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dac__bits": "ideal"}, r"^dac\.bits = 'ideal': has no cost entry"),
        ({"adc__bits": "ideal"}, r"^adc\.bits = 'ideal': .*allowed: 4, 5, 6, 7, 8, 9$"),
        ({"adc__bits": 12}, r"^adc\.bits = 12: .*allowed: 4, 5, 6, 7, 8, 9$"),
        ({"periphery__node_nm": 45.0}, r"^periphery\.node_nm = 45: .*allowed: 32, or periphery.scaling"),
        ({"periphery__library": "isac"}, r"^periphery\.library.*did you mean 'isaac'"),
        (
            {"adc__library": "regression"},
            r"^adc\.library.*allowed: adc-regression, .*isaac-scaled-adc, puma-adc$",
        ),
    ],
)
def test_what_has_no_cost_entry_is_refused(changes, message):
    design = hardware(**changes)
    with pytest.raises(XbarError, match=message) as caught:
        estimate(network(design, unpacked(design, 4, 4)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("activity", "message"),
    [
        ({"lair": np.ones(4)}, r"^activity: unknown name 'lair'; did you mean 'layer'"),
        ({}, r"^activity: layer 'layer' is missing"),
        ({"layer": np.ones(5)}, r"^activity\['layer'\]: has shape \(5,\); allowed: \(4,\)$"),
        ({"layer": np.full(4, 9.0)}, r"^activity\['layer'\]: must lie between 0 and 8"),
        ({"layer": np.full(4, np.nan)}, r"^activity\['layer'\]: must lie between 0 and 8"),
    ],
)
def test_activity_that_does_not_fit_is_refused(activity, message):
    design = hardware()
    with pytest.raises(XbarError, match=message):
        estimate(network(design, unpacked(design, 4, 4)), activity)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_impossible_image_rate_is_refused(rate):
    design = hardware()
    with pytest.raises(XbarError, match=r"^image_rate = "):
        estimate(network(design, unpacked(design, 4, 4)), image_rate=rate)


def test_a_network_without_a_tile_is_refused():
    design = hardware()
    empty = MappedLayer("layer", "linear", 4, 4, 1, (Band(0, 4, ()),), design)
    with pytest.raises(XbarError, match=r"no layer has a tile"):
        estimate(network(design, empty))


def test_what_is_not_modelled_is_that_of_the_architecture() -> None:
    """PUMA prices control and instruction memories, which all estimates said were left out; NeuRRAM has no
    buffers at all."""
    said = {}
    for name in ("isaac", "puma", "neurram", "hermes"):
        design = load_hardware(name)
        said[name] = estimate(network(design, unpacked(design, 128, 64))).not_modelled
    parts = ("control", "instruction fetch", "clock distribution")
    buffers = "buffers between layers beyond one write and read of each value"
    found = {name: [part for part in parts if part in lines] for name, lines in said.items()}
    assert found.pop("puma") == ["clock distribution"]
    assert all(each == list(parts) for each in found.values())
    assert {name for name, lines in said.items() if buffers in lines} == {"isaac", "puma"}
