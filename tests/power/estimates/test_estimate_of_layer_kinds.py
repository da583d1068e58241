"""Counts and energy of groups, transposed convolutions, biases on word lines, layers that run again, hardware
of a layer's own and signed inputs, each worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from power_cases import hardware
from torch import Tensor, nn

from mapping import Choice, MappedNetwork, calibrate, map_network
from power.components.converters import load_adc
from power.components.library import load_periphery
from power.estimates.table import estimate
from power.estimates.totals import Estimate
from xbar.hardware.design import Hardware
from xbar.hardware.device import Device

G_MIN, G_MAX, UNIT = 1e-6, 1e-5, 3e-6
"""Of the test hardware's four states [S]."""

PAIR = 2 * G_MIN
"""A pair of idle cells [S]; one that holds the number z has z UNIT more."""

READ_NJ = 100e-9 * 0.2**2 * 1e9
"""Of one siemens in one phase, t_read v_read^2 [nJ/S]."""


def counts(
    *,
    drives: float,
    conversions: float,
    updates: float,
    sums: float,
    adds: float,
    fetched: float,
    written: float,
    outputs: float,
    reads: float,
    index: float = 0.0,
) -> dict[str, float]:
    """Events of each component; `fetched`, `written` and `index` in bytes."""
    return {
        "dac": drives,
        "input_register": drives,
        "adc": conversions,
        "sample_hold": conversions,
        "shift_add": conversions,
        "output_register": 2 * updates,
        "tile_output_register": 2 * sums,
        "tile_shift_add": adds,
        "edram": fetched + written,
        "bus": fetched + written + 2 * adds,
        "router": written,
        "sigmoid": outputs,
        "index": index,
        "array": reads,
        "max_pool": 0.0,
    }


def check(
    result: Estimate, layer: str, expected: Mapping[str, float], array_nj: float, adc_bits: int = 8
) -> None:
    """Events and energy of every component of a layer, and that its energy is their plain sum."""
    rows = {row.component: row for row in result.table if row.layer == layer}
    assert {name: row.events for name, row in rows.items()} == pytest.approx(expected)
    parts = load_periphery("isaac").components
    each = {name: parts[name].energy_j * 1e9 for name in expected if name in parts}
    each["adc"] = load_adc("isaac-scaled-adc").of(adc_bits, 1.28e9, 32).energy_pj * 1e-3
    each["index"] = each["output_register"]
    energy = {name: expected[name] * price for name, price in each.items()} | {"array": array_nj}
    assert {name: row.energy_nj for name, row in rows.items()} == pytest.approx(energy)
    assert result.by_layer[layer]["energy_nj"] == pytest.approx(sum(energy.values()))


def units_of(result: Estimate, layer: str) -> dict[str, float]:
    return {row.component: row.units for row in result.table if row.layer == layer}


def events_of(result: Estimate, component: str) -> float:
    return sum(row.events for row in result.table if row.component == component)


def mapping_of(module: nn.Module, design: Hardware, *shape: int, **options: Any) -> MappedNetwork:
    """The module as layer "0", without weights: everything is the worst."""
    return map_network(nn.Sequential(module).to("meta"), design, torch.empty(shape, device="meta"), **options)


def with_weights(module: nn.Linear, number: float, bias: float | None = None) -> nn.Linear:
    """The layer with all weights at a number times the scale of 0.1."""
    nn.init.constant_(module.weight, 0.1 * number)
    if bias is not None:
        nn.init.constant_(module.bias, bias)
    return module


def measured(
    model: nn.Module, design: Hardware, x: Tensor, **options: Any
) -> tuple[Estimate, dict[str, np.ndarray]]:
    """Estimate with the model's weights, at the scale of 0.1 in layer "0", and the activity of x."""
    mapped = map_network(model, design, x, scales={"0": 0.1}, **options)
    mapped, activity = calibrate(mapped, model, [(x, x)])
    return estimate(mapped, activity), activity


IDLE = [
    ({}, 63 * PAIR, 63 * PAIR),
    ({"periphery__gated_columns": True}, 13 * PAIR, 7 * PAIR),
    ({"encoding__unformed": True}, 0.0, 0.0),
]
"""What a word line drives beside its one weight on a tile of 14 groups and on one of 8 [S]."""


@pytest.mark.parametrize(("changes", "of_14", "of_8"), IDLE)
def test_depthwise_convolution(changes: dict[str, Any], of_14: float, of_8: float) -> None:
    """64 groups of 9 x 1 on 128 x 64: 128 // 9 = 14 stand on a tile, so four tiles of 14 and one of 8."""
    design = hardware(rows=128, cols=64, **changes)
    mapped = mapping_of(nn.Conv2d(64, 64, 3, padding=1, groups=64), design, 1, 64, 6, 6)
    layer = mapped.layers["0"]
    assert [(len(t.rows), len(t.cols)) for t in layer.tiles] == [(126, 14)] * 4 + [(72, 8)]
    assert mapped.utilisation == pytest.approx(576 / (5 * 128 * 64))

    expected = counts(
        drives=2 * 36 * 8 * 576,  # planes, positions, phases, 64 groups of 9 word lines
        conversions=36 * 8 * 64,
        updates=36 * 8 * 64,
        sums=36 * 64,
        adds=0,
        fetched=36 * 576,
        written=36 * 64,
        outputs=36 * 64,
        reads=36 * 8 * 10,
    )
    siemens = 4 * 126 * (G_MAX + G_MIN + of_14) + 72 * (G_MAX + G_MIN + of_8)
    result = estimate(mapped)
    check(result, "0", expected, 36 * 8 * siemens * READ_NJ)
    assert result.latency_us_per_image == pytest.approx(36 * 8 * 0.1)

    cell = load_periphery("isaac").components["cell"].unit_area_mm2
    assert result.by_component["array"]["area_mm2"] == pytest.approx(10 * 128 * 64 * cell)
    units = units_of(result, "0")
    assert (units["array"], units["dac"], units["input_register"]) == (10, 10 * 128, 10 * 128)
    assert (units["adc"], units["shift_add"], units["sample_hold"]) == (5, 5, 5 * 64)
    assert (units["output_register"], units["tile_output_register"]) == (5 * 2 * 64, 5 * 2 * 64)


def test_groups_higher_and_wider_than_a_tile() -> None:
    """Two groups of 6 x 5 on 4 x 4: in each, bands of 4 and 2 word lines and tiles of 4 and 1 columns."""
    design = hardware(encoding__subtract="digital")
    mapped = mapping_of(nn.Conv1d(4, 10, 3, groups=2), design, 1, 4, 5)
    tiles = [(t.rows.tolist(), t.cols.tolist()) for t in mapped.layers["0"].tiles]
    assert tiles[:2] == [([0, 1, 2, 3], [0, 1, 2, 3]), ([0, 1, 2, 3], [4])]
    assert tiles[-2:] == [([10, 11], [5, 6, 7, 8]), ([10, 11], [9])]
    expected = counts(
        drives=2 * 3 * 8 * 2 * (2 * 4 + 2 * 2),  # both tiles of a band are driven
        conversions=2 * 3 * 8 * 2 * (5 + 5),  # in both planes
        updates=3 * 8 * 20,
        sums=3 * 20,
        adds=3 * 10,
        fetched=3 * 12,  # once for both tiles of a band
        written=3 * 10,
        outputs=3 * 10,
        reads=2 * 3 * 8 * 8,
    )
    siemens = 12 * (5 * (G_MAX + G_MIN) + 3 * PAIR)  # 8 bit lines of 2 tiles, 5 weights
    check(estimate(mapped), "0", expected, 3 * 8 * siemens * READ_NJ)


def test_zero_of_another_group_with_a_reference_column() -> None:
    """Offset, L = 4, S = 2: zero is 8, digits (2, 0); the largest number 7 is 15, digits (3, 3)."""
    design = hardware(cols=8, encoding__kind="offset", encoding__slices=2)
    mapped = mapping_of(nn.Conv1d(2, 2, 2, groups=2), design, 1, 2, 4)
    expected = counts(
        drives=3 * 8 * 4,
        conversions=3 * 8 * 2 * 2,
        updates=3 * 8 * 2,
        sums=3 * 2,
        adds=0,
        fetched=3 * 4,
        written=3 * 2,
        outputs=3 * 2,
        reads=3 * 8,
    )
    zero = 2 * G_MIN + 2 * UNIT
    siemens = 4 * (2 * G_MAX + zero + zero + 2 * G_MIN)  # weight, other group, reference, 2 spare bit lines
    check(estimate(mapped), "0", expected, 3 * 8 * siemens * READ_NJ)


def depthwise(**options: Any) -> Estimate:
    """8 groups of 3 x 1 on 8 x 8, two on a tile: 4 tiles of 6 word lines; 4 positions."""
    return estimate(mapping_of(nn.Conv1d(8, 8, 3, groups=8, bias=False), hardware(8, 8), 1, 8, 6, **options))


def test_a_removed_tile_of_groups_costs_nothing() -> None:
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[:, :2] = False
    full, less = depthwise(), depthwise(masks={"0": mask})
    assert (full.arrays, less.arrays) == (8, 6)
    assert less.area_mm2 == pytest.approx(full.area_mm2 * 3 / 4)
    for part in ("dac", "adc", "shift_add", "output_register", "tile_output_register", "array"):
        assert events_of(less, part) == events_of(full, part) * 3 / 4
    assert less.by_component["array"]["energy_nj"] == pytest.approx(
        full.by_component["array"]["energy_nj"] * 3 / 4
    )
    assert events_of(less, "edram") == events_of(full, "edram") - 4 * 6
    assert set(less.by_component["index"].values()) == {0}


def test_a_masked_weight_of_a_group() -> None:
    """Its word line is dropped for an index of 6 bits, or stays with 8 idle pairs on it."""
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[1, 0] = False
    full, packed, built = (
        depthwise(),
        depthwise(masks={"0": mask}),
        depthwise(masks={"0": mask}, packing=False),
    )
    line, idle = G_MAX + G_MIN + 7 * PAIR, 8 * PAIR
    array_nj = [r.by_component["array"]["energy_nj"] for r in (full, packed, built)]
    assert array_nj[0] - array_nj[1] == pytest.approx(4 * 8 * line * READ_NJ)
    assert array_nj[0] - array_nj[2] == pytest.approx(4 * 8 * (line - idle) * READ_NJ)
    assert events_of(full, "dac") - events_of(packed, "dac") == 2 * 4 * 8
    assert events_of(built, "dac") == events_of(full, "dac")
    assert (events_of(packed, "index"), events_of(built, "index")) == (4 * 6 / 8, 0)
    assert packed.area_mm2 - packed.by_component["index"]["area_mm2"] == pytest.approx(full.area_mm2)
    assert built.area_mm2 == pytest.approx(full.area_mm2)


@pytest.mark.parametrize(("channels", "bands"), [(3, 1), (6, 2)])
def test_transposed_convolution(channels: int, bands: int) -> None:
    """Kernel 3 at 4 places: 12 columns fall on 6 outputs a channel, 1 + 2 + 3 + 3 + 2 + 1."""
    mapped = mapping_of(nn.ConvTranspose1d(channels, 2, 3), hardware(), 1, channels, 4)
    layer = mapped.layers["0"]
    assert (layer.k, layer.n, layer.positions, layer.output_values) == (channels, 6, 4, 12)
    sums = 4 * 6 * bands
    expected = counts(
        drives=2 * 4 * 8 * 2 * channels,  # 6 columns are on 2 tiles
        conversions=8 * sums,
        updates=8 * sums,
        sums=sums,
        adds=sums - 2 * 6,
        fetched=4 * channels,
        written=12,
        outputs=12,
        reads=2 * 4 * 8 * 2 * bands,
    )
    siemens = channels * (6 * (G_MAX + G_MIN) + 2 * PAIR)
    check(estimate(mapped), "0", expected, 4 * 8 * siemens * READ_NJ)


TRANSPOSED = [
    # kernel = stride: columns lie side by side
    (nn.ConvTranspose2d(3, 2, 2, 2), (1, 3, 4, 4), 0),
    # a kernel of 1 with stride 2 leaves outputs that no column falls on
    (nn.ConvTranspose2d(3, 2, 1, 2), (1, 3, 4, 4), 0),
    # 4 places of 3 on 3 + 2 outputs in each dimension
    (nn.ConvTranspose2d(3, 2, 3), (1, 3, 3, 3), 2 * (9 * 9 - 5 * 5)),
    # 3 places of 2 on 4 outputs, 2 channels in each of 2 groups
    (nn.ConvTranspose1d(4, 4, 2, groups=2), (1, 4, 3), 4 * (3 * 2 - 4)),
]


@pytest.mark.parametrize(("module", "shape", "adds"), TRANSPOSED)
def test_columns_that_fall_on_one_output_are_added(
    module: nn.Module, shape: tuple[int, ...], adds: int
) -> None:
    result = estimate(mapping_of(module, hardware(), *shape))
    assert events_of(result, "tile_shift_add") == adds
    assert events_of(result, "bus") - events_of(result, "edram") == 2 * adds


def test_groups_of_a_transposed_convolution_share_a_tile() -> None:
    """2 groups of 2 x 4 fill a 4 x 8 tile: each word line sees 4 weights and 4 idle pairs."""
    mapped = mapping_of(nn.ConvTranspose1d(4, 4, 2, groups=2), hardware(4, 8), 1, 4, 3)
    assert [(len(t.rows), len(t.cols)) for t in mapped.layers["0"].tiles] == [(4, 8)]
    array_nj = estimate(mapped).by_component["array"]["energy_nj"]
    assert array_nj == pytest.approx(3 * 8 * 4 * 4 * (G_MAX + G_MIN + PAIR) * READ_NJ)


def test_adds_of_a_channel_that_is_left() -> None:
    """One of two channels pruned: the 12 columns of the other still fall on its 6 outputs."""
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[:, 3:] = False
    mapped = mapping_of(nn.ConvTranspose1d(3, 2, 3), hardware(), 1, 3, 4, masks={"0": mask})
    result = estimate(mapped)
    assert events_of(result, "adc") == 4 * 8 * 3
    assert events_of(result, "tile_shift_add") == 12 - 6


@pytest.mark.parametrize(
    ("last", "bits"),
    [(1.0, [8, 0, 0, 0, 0, 8, 8, 8]), (-1.0, [7, 0, 0, 0, 0, 2, 7, 7])],
    ids=["unsigned", "signed"],
)
def test_bias_on_word_lines(last: float, bits: list[int]) -> None:
    """6 + 2 inputs on 4 x 4. 255 has 8 bits, 127 has 7, -127 = 1000 0001 has 2; 2 rows of 2 make .4."""
    x = torch.tensor([[1.0, 0, 0, 0, 0, last]])
    layer = with_weights(nn.Linear(6, 3), 1, bias=0.4)
    result, activity = measured(nn.Sequential(layer), hardware(), x, layers={"0": Choice(bias_rows=2)})
    np.testing.assert_array_equal(activity["0"], bits)
    expected = counts(
        drives=2 * 8 * (4 + 4),
        conversions=8 * (3 + 3),
        updates=8 * 6,
        sums=6,
        adds=3,
        fetched=8,
        written=3,
        outputs=3,
        reads=2 * 8 * 2,
    )
    of_weight, of_bias = 4 * PAIR + 3 * UNIT, 4 * PAIR + 3 * 2 * UNIT
    check(result, "0", expected, (sum(bits[:6]) * of_weight + sum(bits[6:]) * of_bias) * READ_NJ)


def test_a_bias_that_needs_a_band_of_its_own() -> None:
    """4 + 1 inputs on 4 x 4, column 1 pruned: it keeps its bias; 2 of 3 columns are named, 2 bits each."""
    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[:, 1] = False
    choice = {"0": Choice(bias_rows=1)}
    mapped = mapping_of(nn.Linear(4, 3), hardware(), 1, 4, masks={"0": mask}, layers=choice)
    expected = counts(
        drives=2 * 8 * (4 + 1),
        conversions=8 * (2 + 3),
        updates=8 * 5,
        sums=5,
        adds=2,
        fetched=5,
        written=3,
        outputs=3,
        reads=2 * 8 * 2,
        index=2 * 2 / 8,
    )
    kept = G_MAX + G_MIN
    siemens = 4 * (2 * kept + 2 * PAIR) + (3 * kept + PAIR)
    check(estimate(mapped), "0", expected, 8 * siemens * READ_NJ)


class Again(nn.Sequential):
    """The layer twice: on its input, and on zeros."""

    def forward(self, x: Tensor) -> Tensor:
        again: Tensor = self[0](x) + self[0](torch.zeros_like(x))
        return again


def test_a_layer_that_runs_twice() -> None:
    """3 vectors a call: 6 of which half are zero, on the arrays of one."""
    x = torch.ones(1, 3, 4)
    layer = with_weights(nn.Linear(4, 2, bias=False), 3)
    once, _ = measured(nn.Sequential(layer), hardware(), x)
    twice, activity = measured(Again(layer), hardware(), x)
    np.testing.assert_array_equal(activity["0"], [4, 4, 4, 4])
    expected = counts(
        drives=2 * 6 * 8 * 4,
        conversions=6 * 8 * 2,
        updates=6 * 8 * 2,
        sums=6 * 2,
        adds=0,
        fetched=6 * 4,
        written=6 * 2,
        outputs=6 * 2,
        reads=2 * 6 * 8,
    )
    siemens = 4 * (2 * (PAIR + 3 * UNIT) + 2 * PAIR)
    check(twice, "0", expected, 3 * 8 * siemens * READ_NJ)
    assert (twice.arrays, twice.area_mm2) == (2, once.area_mm2)
    assert twice.by_component["array"]["energy_nj"] == pytest.approx(once.by_component["array"]["energy_nj"])
    assert twice.latency_us_per_image == pytest.approx(6 * 8 * 0.1)
    assert twice.peak_image_rate_per_s == pytest.approx(1 / (6 * 8 * 0.1e-6))


def own_hardware() -> Hardware:
    """Offset in 2 slices on 8 x 8, another window, 4 phases, slow 6-bit converters of 4 columns."""
    base = hardware(rows=8, cols=8, encoding__kind="offset", slices=2, encoding__subtract="digital")
    device = Device(name="own", source="own source", g_min=2e-6, g_max=1.4e-5, states=4)
    return base.replace(device=device, dac__bits=4, adc__bits=6, adc__columns=4, adc__rate=1e7)


def test_hardware_of_its_own() -> None:
    """6 x 3 on 4 x 4 pairs is 2 tiles; 3 x 5 on 8 x 8 with a reference is 2, of 3 columns and of 2."""
    own = own_hardware()
    first = with_weights(nn.Linear(6, 3, bias=False), 2)
    second = with_weights(nn.Linear(3, 5, bias=False), 1)
    mapped = map_network(
        nn.Sequential(first, second),
        hardware(),
        torch.ones(1, 6),
        layers={"1": Choice(own)},
        scales={"0": 0.1, "1": 0.1},
    )
    result = estimate(mapped)
    expected = counts(
        drives=2 * 8 * (4 + 2),
        conversions=8 * 6,
        updates=8 * 6,
        sums=6,
        adds=3,
        fetched=6,
        written=3,
        outputs=3,
        reads=2 * 8 * 2,
    )
    check(result, "0", expected, 8 * 6 * (4 * PAIR + 3 * 2 * UNIT) * READ_NJ)
    expected = counts(
        drives=4 * (3 + 3),
        conversions=4 * (2 * 3 + 2 + 2 * 2 + 2),  # 2 slices, and the reference of each tile
        updates=4 * 5,
        sums=5,
        adds=0,
        fetched=3 * 4 / 8,
        written=5 * 4 / 8,
        outputs=5,
        reads=4 * 2,
    )
    low, step = 2e-6, 4e-6
    one, zero = 2 * low + 3 * step, 2 * low + 2 * step  # 1 is 9, digits (2, 1); 0 is 8, digits (2, 0)
    siemens = 3 * (5 * one + 2 * zero + 2 * low)  # 2 references, and 2 spare bit lines of the second tile
    check(result, "1", expected, 4 * siemens * READ_NJ, adc_bits=6)

    first_us, second_us = 8 * 0.1, 4 * 4 / 10.0
    assert result.latency_us_per_image == pytest.approx(first_us + second_us)
    assert result.peak_image_rate_per_s == pytest.approx(1e6 / second_us)
    units = units_of(result, "1")
    assert (units["array"], units["dac"], units["input_register"]) == (2, 16, 8)
    assert (units["adc"], units["sample_hold"], units["output_register"]) == (4, 16, 2 * 2 * 3)
    area = {row.component: row.area_mm2 for row in result.table if row.layer == "1"}
    cell = load_periphery("isaac").components["cell"].unit_area_mm2
    assert area["array"] == pytest.approx(2 * 64 * cell)
    assert area["adc"] == pytest.approx(4 * load_adc("isaac-scaled-adc").of(6, 1.28e9, 32).area_um2 * 1e-6)
    # arrays of 4 x 4 and of 8 x 8 stand in nodes of two kinds, of 8 arrays each
    assert (result.arrays, result.groups, result.tiles) == (4 + 2, 1 + 1, 1 + 1)
    free = result.by_layer["0"]["area_mm2"] * 4 / 4 + result.by_layer["1"]["area_mm2"] * 6 / 2
    assert result.area_whole_tiles_mm2 == pytest.approx(result.area_mm2 + free)
    assert mapped.utilisation == pytest.approx((18 + 15 * 2) / (2 * 16 + 2 * 64))
    assert "own source" in result.sources
    assert result.adc == "isaac-scaled-adc, 8 bits; isaac-scaled-adc, 6 bits"


def test_signed_inputs() -> None:
    """4 bits: -7 = 1001, -1 = 1111, 7 = 0111 and 0 have 2, 4, 3 and 0 bits; the sign is one of 4 phases."""
    x = torch.tensor([[-1.0, -1 / 7, 1.0, 0.0]])
    layer = with_weights(nn.Linear(4, 2, bias=False), -3)
    result, activity = measured(nn.Sequential(layer), hardware(dac__bits=4), x)
    np.testing.assert_array_equal(activity["0"], [2, 4, 3, 0])
    expected = counts(
        drives=2 * 4 * 4,
        conversions=4 * 2,
        updates=4 * 2,
        sums=2,
        adds=0,
        fetched=4 * 4 / 8,
        written=2 * 4 / 8,
        outputs=2,
        reads=2 * 4,
    )
    check(result, "0", expected, (2 + 4 + 3) * (4 * PAIR + 2 * 3 * UNIT) * READ_NJ)
    assert result.latency_us_per_image == pytest.approx(4 * 0.1)


def test_signed_phases_that_are_accumulated() -> None:
    """One conversion of each line in place of four; drives and their energy stay."""
    x = torch.tensor([[-1.0, -1 / 7, 1.0, 0.0]])
    model = nn.Sequential(with_weights(nn.Linear(4, 2, bias=False), -3))
    each, _ = measured(model, hardware(dac__bits=4), x)
    once, activity = measured(model, hardware(dac__bits=4, adc__after="accumulation"), x)
    np.testing.assert_array_equal(activity["0"], [2, 4, 3, 0])
    assert (events_of(once, "adc"), events_of(once, "output_register")) == (2, 2 * 2)
    assert events_of(once, "dac") == 2 * 4 * 4
    assert once.by_component["array"] == each.by_component["array"]
