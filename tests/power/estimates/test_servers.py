"""A chip as servers: which one sets the image rate, and rates that are refused."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from power_cases import hardware, network, packed_layers, unpacked

from power.counts.duplication import duplicate, with_copies
from power.counts.events import layer_events, layer_time_s
from power.estimates.servers import layer_interval
from power.estimates.table import estimate
from power.estimates.totals import Estimate, at_one_rate, reduction_percent
from xbar import load_hardware
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError


def with_adder(folder: Path, rate: float, more: str = "") -> Hardware:
    """The design with adders of so many additions a second."""
    path = folder / "adder.toml"
    path.write_text(
        f'name = "adder"\nsource = "a test"\nbase = "isaac-periphery"\n{more}\n'
        f"[components.tile_shift_add]\nrate = {rate}\n"
    )
    return hardware(periphery__architecture=str(path))


def test_a_slow_adder_sets_the_rate(tmp_path: Path) -> None:
    """16 x 4 on 4 x 4 tiles of 2 planes is one node of 8 arrays: 3 x 4 additions at each of 5 positions."""
    fast, slow = hardware(), with_adder(tmp_path, 1e6)
    layer = unpacked(fast, 16, 4, positions=5)
    free, held = estimate(network(fast, layer)), estimate(network(slow, layer))
    assert free.bottleneck == "array of layer"
    assert free.peak_image_rate_per_s == pytest.approx(1 / (5 * 800e-9))
    assert held.bottleneck == "tile_shift_add of layer"
    assert held.peak_image_rate_per_s == pytest.approx(1e6 / (5 * 12))
    assert held.latency_us_per_image == pytest.approx(60)
    assert held.utilisation["tile_shift_add"] == 1
    assert held.utilisation["array"] == pytest.approx(5 * 800e-9 / 60e-6)
    assert held.energy_nj_per_image == free.energy_nj_per_image
    two = unpacked(fast, 32, 4, positions=5)  # two nodes: twice the adders for 7 / 3 of the additions
    assert estimate(network(slow, two)).peak_image_rate_per_s == pytest.approx(2e6 / (5 * 28))


def test_nodes_that_layers_share_are_one_server(tmp_path: Path) -> None:
    """Two layers of 4 arrays of their own have an adder each; on one node they share it."""
    own, both = with_adder(tmp_path, 1e6), None
    layers = [unpacked(own, 8, 4, positions=5, name=name) for name in ("a", "b")]
    alone = estimate(network(own, *layers))
    both = with_adder(tmp_path, 1e6, 'nodes = "shared"')
    shared = estimate(network(both, *layers))
    assert alone.peak_image_rate_per_s == pytest.approx(1e6 / (5 * 4))
    assert shared.peak_image_rate_per_s == pytest.approx(1e6 / (2 * 5 * 4))
    assert shared.bottleneck == "tile_shift_add of the chip"


def test_pooling_between_layers_is_served_by_the_chip() -> None:
    design = hardware()
    layers = [unpacked(design, 16, 4, name=name) for name in ("a", "b")]
    result = estimate(network(design, *layers, digital_operations={"max_pool2d": {"pooled": 10**6}}))
    assert result.bottleneck == "max_pool of the chip"
    assert result.peak_image_rate_per_s == pytest.approx(2 * 1.2e9 / 1e6)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_the_peak_is_that_of_the_busiest_and_of_no_array_less(data) -> None:
    design = hardware()
    layers = [data.draw(packed_layers(design, name)) for name in ("a", "b")]
    result = estimate(network(design, *layers))
    assert result.peak_image_rate_per_s == pytest.approx(1 / max(server.busy_s for server in result.servers))
    assert [server.busy_s for server in result.servers] == sorted(
        (server.busy_s for server in result.servers), reverse=True
    )
    for layer in layers:
        assert result.peak_image_rate_per_s * layer_time_s(layer, design) <= 1 + 1e-12
    in_step = {"dac", "adc", "sample_hold", "shift_add", "input_register", "output_register"}
    for row in result.table:
        if row.component in in_step:
            (layer,) = [each for each in layers if each.name == row.layer]
            assert row.busy_s <= layer_time_s(layer, design) * (1 + 1e-12), row.component
    assert all(0 <= share <= 1 for share in result.utilisation.values())
    renamed = [dataclasses.replace(layer, name=f"z{layer.name}") for layer in reversed(layers)]
    other = estimate(network(design, *renamed))
    assert other.peak_image_rate_per_s == pytest.approx(result.peak_image_rate_per_s)
    assert other.latency_us_per_image == pytest.approx(result.latency_us_per_image)


def test_a_rate_above_the_peak_is_refused_and_two_are_compared_at_the_lower(tmp_path: Path) -> None:
    design = with_adder(tmp_path, 1e6)
    before, after = (estimate(network(design, unpacked(design, k, 4, positions=5))) for k in (16, 8))
    assert after.peak_image_rate_per_s > before.peak_image_rate_per_s
    with pytest.raises(
        XbarError, match=r"^image_rate = 20000: above the 16666\.7 images a second .* tile_shift_add of"
    ):
        before.at(20000)
    with pytest.raises(XbarError, match=r"^image_rate = 20000: above"):
        estimate(network(design, unpacked(design, 16, 4, positions=5)), image_rate=20000)
    one, other = at_one_rate(after, before)
    assert one.image_rate_per_s == other.image_rate_per_s == pytest.approx(before.peak_image_rate_per_s)
    assert other.power_mw == pytest.approx(before.power_mw)
    assert one.power_mw == pytest.approx(after.power_mw_at(before.peak_image_rate_per_s))
    assert reduction_percent(before, after)["power"] == pytest.approx(
        100 * (1 - one.power_mw / other.power_mw)
    )
    assert before.at(before.peak_image_rate_per_s) == before


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=2),
    st.integers(0, 16),
    st.sampled_from([1e9, 1e7, 4e6, 1e6]),
)
def test_copies_respect_the_adders_of_the_nodes(tmp_path_factory, layers, spare: int, rate: float) -> None:
    """No choice of copies that fits has a higher rate of all servers that layers own."""
    design = with_adder(tmp_path_factory.mktemp("chip"), rate)
    mapped = network(
        design, *(unpacked(design, 4 * t, 4, p, name=f"l{i}") for i, (p, t) in enumerate(layers))
    )
    arrays = sum(2 * t for _, t in layers) + spare
    found = estimate(duplicate(mapped, arrays, layer_interval))
    assert found.arrays <= arrays
    best = 0.0
    for chosen in itertools.product(*(range(1, p + 1) for p, _ in layers)):
        if sum(2 * t * c for (_, t), c in zip(layers, chosen, strict=True)) <= arrays:
            own = {f"l{i}": with_copies(design, c) for i, c in enumerate(chosen)}
            best = max(best, estimate(mapped.on_hardware(design, own)).peak_image_rate_per_s)
    assert found.peak_image_rate_per_s == pytest.approx(best)


def test_a_reduction_is_that_of_one_rate() -> None:
    """A chip that is twice as fast, and leaks, saves no energy by it: power and energy fall alike."""
    design = hardware(adc__library="adc-regression")
    slow = network(design, unpacked(design, 16, 4, positions=5))
    assert estimate(slow).idle_nj_per_image > 0
    fast = slow.with_hardware(lambda own: own.replace(periphery__t_read=own.periphery.t_read / 2))
    found = reduction_percent(estimate(slow), estimate(fast))
    assert found["power"] == pytest.approx(found["energy"])


def test_bytes_of_an_input_do_not_depend_on_the_bits_of_a_phase() -> None:
    """Eight bits are one byte, whether a phase applies one of them or four."""
    layer = unpacked(hardware(), 16, 4, positions=5)
    found = [layer_events(layer, hardware(dac__phase_bits=bits)) for bits in (1, 2, 4)]
    for event in ("fetched_bytes", "stored_bytes"):
        assert len({each[event] for each in found}) == 1
    assert found[0]["row_drives"] == 4 * found[2]["row_drives"]


def test_a_network_of_one_module_has_servers_of_its_own() -> None:
    """Its layer has no name, and its servers read as those of the chip."""
    design = hardware()
    found = estimate(
        network(design, unpacked(design, 16, 4, name=""), digital_operations={"max_pool2d": {"pooled": 1}})
    )
    assert found.bottleneck == "array of the network"
    said = {str(server) for server in found.servers}
    assert {"adc of the network", "max_pool of the chip", "router of the chip"} <= said
    assert [server.layer for server in found.servers if server.component == "array"] == [""]
    assert [server.layer for server in found.servers if server.component == "router"] == [None]


def test_power_above_the_peak_is_refused() -> None:
    design = hardware()
    found = estimate(network(design, unpacked(design, 16, 4, positions=5)))
    peak = found.peak_image_rate_per_s
    with pytest.raises(XbarError, match=r"^image_rate = .*: above the 250000 images a second"):
        found.power_mw_at(2 * peak)
    for rate in (-1.0, float("nan"), float("inf")):
        with pytest.raises(
            XbarError, match=r"^image_rate = .*: must be a positive number of images a second"
        ):
            found.power_mw_at(rate)
    assert found.power_mw_at(peak) == found.peak_power_mw


@pytest.mark.parametrize("rate", ["5", True, [5.0], 5j])
def test_a_rate_that_is_no_number_is_one_line(rate: object) -> None:
    design = hardware()
    mapped = network(design, unpacked(design, 16, 4))
    for take in (lambda: estimate(mapped, image_rate=rate), lambda: estimate(mapped).power_mw_at(rate)):
        with pytest.raises(
            XbarError, match=r"^image_rate = .*: must be a positive number of images a second$"
        ):
            take()
    assert estimate(mapped, image_rate=np.float32(5)).image_rate_per_s == 5
    assert estimate(mapped, image_rate=np.int64(5)).image_rate_per_s == 5


def test_units_that_do_both_are_as_busy_as_both_make_them() -> None:
    """PUMA's vector units do what layers ask of them, and digital work; both were counted as if alone."""
    design = load_hardware("puma")
    layer = unpacked(design, 128, 16, positions=1000, name="one")
    work = {"add": {"additions": 10**8}}
    alone, both = (estimate(network(design, layer, digital_operations=each)) for each in ({}, work))

    def busy_s(result: Estimate) -> float:
        return next(s.busy_s for s in result.servers if (s.component, s.layer) == ("vector_unit", "one"))

    assert busy_s(both) - busy_s(alone) == pytest.approx(10**8 / (8 * 1e9))
    assert both.bottleneck == "vector_unit of one"
