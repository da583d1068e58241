"""Costs of reads of some word lines at a time, against loops over tiles and arrays of as many rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from power_cases import hardware, network, packed_layers, unpacked

from power.counts.events import layer_counts, layer_events, layer_time_s
from power.counts.resolution import lossless_bits
from power.counts.workload import workload
from power.estimates.nameplate import nameplate
from power.estimates.prices import prices_of
from power.estimates.table import estimate
from xbar.hardware.errors import XbarError

DESIGNS = (
    hardware(rows=6, cols=5, slices=2, encoding__subtract="digital"),
    hardware(rows=5, cols=4, adc__columns=2, adc__rate=1e7),
    hardware(rows=6, cols=7, states=3, encoding__kind="offset", encoding__subtract="digital"),
    hardware(rows=6, cols=4, adc__after="accumulation"),
)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from(DESIGNS), st.integers(1, 5))
def test_every_read_of_every_tile_is_counted(data, base, n) -> None:
    design = base.replace(periphery__rows_per_read=n)
    layer, whole = data.draw(packed_layers(design)), 0
    encoding, planes, phases = design.encoding, design.encoding.planes, design.dac.phases
    count = dict.fromkeys(("row_drives", "line_phases", "array_reads", "conversions", "sum_updates"), 0)
    times = []
    for band in layer.bands:
        for tile in band.tiles:
            reads = 0
            for first in range(band.first_row, band.first_row + band.height, n):
                active = sum(first <= row < first + n for row in tile.rows)
                if not active:
                    continue
                reads += 1
                bit_lines = len(tile.cols) * encoding.slices + encoding.reference_columns
                converted = bit_lines if encoding.subtract == "digital" else len(tile.cols) * encoding.slices
                count["row_drives"] += planes * phases * active
                count["array_reads"] += planes * phases
                count["line_phases"] += planes * phases * bit_lines
                after = 1 if design.adc.after == "accumulation" else phases
                count["conversions"] += after * converted * encoding.converted_planes
                count["sum_updates"] += after * len(tile.cols)
            conversion = min(converted, design.adc.columns) / design.adc.rate
            if design.adc.after == "accumulation":
                times.append(reads * max(phases * design.periphery.t_read, conversion))
            else:
                times.append(reads * phases * max(design.periphery.t_read, conversion))
            whole += reads
    events = layer_events(layer, design)
    assert {name: events[name] for name in count} == {
        name: layer.positions * of for name, of in count.items()
    }
    assert layer_counts(layer, design).reads == whole
    assert layer_time_s(layer, design) == pytest.approx(layer.positions * max(times), rel=1e-12)
    at_once = layer_events(layer, base)
    for name in at_once.keys() - {"line_phases", "array_reads", "conversions", "sum_updates"}:
        assert events[name] == at_once[name], name


@settings(deadline=None, max_examples=30)
@given(st.data(), st.sampled_from([DESIGNS[0], DESIGNS[1], DESIGNS[3]]), st.integers(1, 3))
def test_energy_and_time_of_reads(data, base, n) -> None:
    """Each cell conducts once a phase however many reads that takes; a chip of as many rows a read is never
    faster, and its converters take as much more as they convert more often."""
    layer = data.draw(packed_layers(base))
    whole = estimate(network(base, layer))
    design = base.replace(periphery__rows_per_read=n)
    parts = estimate(network(design, layer))
    energy = [each.by_component["array"]["dynamic_nj"] for each in (whole, parts)]
    assert energy[1] == pytest.approx(energy[0], rel=1e-12)
    assert parts.peak_image_rate_per_s <= whole.peak_image_rate_per_s * (1 + 1e-12)
    assert parts.latency_us_per_image >= whole.latency_us_per_image * (1 - 1e-12)
    before, after = (layer_events(layer, each)["conversions"] for each in (base, design))
    of_adc = [each.by_component["adc"]["dynamic_nj"] for each in (whole, parts)]
    assert of_adc[1] * before == pytest.approx(of_adc[0] * after, rel=1e-12)
    assert parts.area_mm2 == pytest.approx(whole.area_mm2, rel=1e-12)


def test_a_layer_of_whole_groups_costs_its_arrays_of_as_many_rows_one_after_the_other() -> None:
    """12 rows as 3 reads of 4, or as three arrays of 4 rows: events are the same, the time is three times."""
    reads = hardware(rows=12, periphery__rows_per_read=4)
    arrays = hardware(rows=4)
    one, three = unpacked(reads, 12, 4), unpacked(arrays, 12, 4)
    mine, theirs = layer_events(one, reads), layer_events(three, arrays)
    for name in ("row_drives", "line_phases", "array_reads", "conversions", "sum_updates", "fetched_bytes"):
        assert mine[name] == theirs[name] > 0, name
    assert layer_time_s(one, reads) == pytest.approx(3 * layer_time_s(three, arrays))
    assert (
        lossless_bits(one, reads)
        == lossless_bits(three, arrays)
        < lossless_bits(one, arrays.replace(crossbar__rows=12))
    )


@pytest.mark.parametrize("n", [1, 3, 12])
def test_no_network_exceeds_the_nameplate(n: int) -> None:
    design = hardware(rows=12, cols=4, periphery__rows_per_read=n)
    result = estimate(network(design, unpacked(design, 48, 16)))
    plate = {row.component: row for row in nameplate(design, result.tiles).rows}
    busy_s = 1 / result.peak_image_rate_per_s
    for row in result.table:
        if row.component in plate and plate[row.component].event_energy_pj:
            power, most = row.dynamic_nj / busy_s, plate[row.component].dynamic_nj
            assert power <= most * (1 + 1e-9), row.component
    assert result.peak_operations_per_s == pytest.approx(
        result.arrays / 2 * 2 * 12 * 4 / (8 * math.ceil(12 / n) * 100e-9)
    )


def test_a_lump_is_shared_by_the_reads() -> None:
    """A published lump is of a read of all word lines: eight of 128 take their share, and say so."""
    lump = hardware(rows=128, cols=128, periphery__architecture="isaac")
    part = lump.replace(periphery__rows_per_read=8)
    whole, share = (prices_of(each)["array"] for each in (lump, part))
    assert share.energy_pj == pytest.approx(whole.energy_pj / 16)
    assert "8 of 128 word lines" in share.derivation
    layers = [estimate(network(each, unpacked(each, 128, 128))) for each in (lump, part)]
    energy = [each.by_component["array"]["dynamic_nj"] for each in layers]
    assert energy[0] == pytest.approx(energy[1])


def test_rows_a_read_change_counts() -> None:
    design = hardware(rows=8)
    mapped = network(design, unpacked(design, 8, 4))
    counted = workload(mapped)
    with pytest.raises(XbarError, match=r"^periphery\.rows_per_read = 2: was counted with 'all'"):
        counted.on(mapped.with_hardware(lambda own: own.replace(periphery__rows_per_read=2)))
    assert np.isclose(counted.driven_s["layer"], workload(mapped).driven_s["layer"])
