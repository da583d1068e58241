"""What an estimate is made from: the worst, the mean, a chip; prices that its rows are products of; rates."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from power_cases import hardware, network, unpacked
from torch import nn

from mapping import calibrate, map_network, program_network
from power.counts.array import row_conductance
from power.estimates.prices import prices_of
from power.estimates.table import estimate
from power.estimates.totals import Estimate
from xbar.conductances.encoding import target_conductances
from xbar.hardware.errors import XbarError
from xbar.hardware.files import load_hardware
from xbar.hardware.noise import ProgrammingNoise


def array_nj(result: Estimate) -> float:
    return result.by_component["array"]["energy_nj"]


def test_the_mean_is_half_of_the_phases_and_the_mean_over_levels() -> None:
    """Pairs (g_min, g) of 1 to 10 uS with 4 states: mean g of 4, 7, 10 is 7; spare bit lines at g_min."""
    design = hardware(states=4)
    layer = unpacked(design, 4, 3)
    numbers = np.array([-3, -2, -1, 1, 2, 3], np.int16)
    pairs = target_conductances(numbers, design.encoding, design.device).sum(axis=(0, 1))
    spare = 2 * design.device.g_min
    without = dataclasses.replace(layer, state=None, mask=None)
    np.testing.assert_allclose(row_conductance(without, design, "mean"), np.full(4, 3 * pairs.mean() + spare))
    np.testing.assert_allclose(row_conductance(without, design), np.full(4, 3 * pairs.max() + spare))
    mean, worst = (estimate(network(design, without), case=case) for case in ("mean", "worst"))
    assert (mean.inputs, mean.conductances) == ("mean", "mean")
    expected = (3 * pairs.mean() + spare) / (3 * pairs.max() + spare) / 2
    assert array_nj(mean) / array_nj(worst) == pytest.approx(expected)
    for name, cost in mean.by_component.items():
        assert name == "array" or cost == worst.by_component[name]


def test_a_chip_s_arrays_are_read_at_their_own_conductances() -> None:
    """The energy of a chip is that of its cells: of exact ones the targets', of others t V^2 G by hand."""
    design = hardware(rows=4, cols=5).replace(device__programming=ProgrammingNoise("lognormal", 0.3))
    torch.manual_seed(0)
    model = nn.Linear(6, 7, bias=False)
    mapped = map_network(nn.Sequential(model), design, torch.rand(1, 6))
    exact = mapped.with_hardware(lambda own: own.replace(device__programming=ProgrammingNoise()))
    targets = estimate(exact)
    assert array_nj(estimate(exact, chip=program_network(exact))) == pytest.approx(array_nj(targets))
    chip = program_network(mapped, seed=3)
    result = estimate(mapped, chip=chip)
    assert result.conductances == "programmed"
    held = sum(float(cells.sum(dtype=np.float64)) for cells in chip.conductances["0"])
    spare = (
        2
        * design.device.g_min
        * sum(len(tile.rows) * (design.crossbar.cols - len(tile.cols)) for tile in mapped.layers["0"].tiles)
    )
    reads = 8 * design.dac.v_read**2 * design.periphery.t_read
    assert array_nj(result) == pytest.approx(reads * (held + spare) * 1e9)
    assert array_nj(result) != pytest.approx(array_nj(targets), rel=1e-3)
    with pytest.raises(XbarError, match=r"^chip: was programmed from another mapping"):
        estimate(exact, chip=chip)


def test_every_row_is_a_product_of_its_price() -> None:
    design = hardware(states=4)
    result = estimate(
        network(
            design, unpacked(design, 9, 11, positions=3), digital_operations={"max_pool2d": {"pooled": 8}}
        )
    )
    prices = prices_of(design)
    for row in result.table:
        price = prices[row.component]
        (used,) = result.prices[row.component]
        assert used == price
        assert price.sources
        assert all(price.sources)
        assert row.energy_nj == pytest.approx(row.events * row.event_energy_pj * 1e-3)
        if row.component != "array":
            assert row.event_energy_pj == price.energy_pj
        if row.units:
            assert row.area_mm2 == pytest.approx(row.units * price.area_um2 * 1e-6)
    assert result.not_scaled == ()


@pytest.mark.parametrize(("library", "most"), [("isaac-scaled-adc", 9), ("adc-regression", 12)])
def test_a_bit_or_a_slice_less_never_costs_more(library: str, most: int) -> None:
    """Converter bits, input bits, and the second cell of a weight."""
    design = hardware(slices=2, adc__library=library, adc__bits=most)
    chains = [
        [{"adc__bits": bits} for bits in range(most, 3, -1)],
        [{"dac__bits": bits} for bits in (8, 7, 4, 2, 1)],
        [{"encoding__slices": slices} for slices in (2, 1)],
    ]
    for chain in chains:
        results = []
        for changes in chain:
            changed = design.replace(**changes)
            results.append(estimate(network(changed, unpacked(changed, 9, 7, positions=3))))
        for larger, smaller in itertools.pairwise(results):
            for name, cost in smaller.by_component.items():
                cost.pop("allocated_mm2")  # empty arrays of whole nodes can hold more columns of weights
                for key, value in cost.items():
                    assert value <= larger.by_component[name][key] * (1 + 1e-12), (name, key)
            assert smaller.energy_nj_per_image < larger.energy_nj_per_image


def test_twice_the_images_are_twice_the_energy() -> None:
    """Of one image with twice the positions in every layer, and of no component more or less."""
    design = hardware()
    once, twice = (
        estimate(network(design, unpacked(design, 9, 7, n), unpacked(design, 7, 3, 2 * n, "next")))
        for n in (3, 6)
    )
    for name, cost in once.by_component.items():
        assert twice.by_component[name]["energy_nj"] == pytest.approx(2 * cost["energy_nj"])
        assert twice.by_component[name]["area_mm2"] == cost["area_mm2"]
    assert twice.latency_us_per_image == pytest.approx(2 * once.latency_us_per_image)


def test_operations_and_rates() -> None:
    """4 x 4 arrays at 8 phases of 100 ns; half of a 4 x 4 layer's weights are masked, 10 positions."""
    design = hardware()
    layer = unpacked(design, 4, 4, positions=10)
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    state = np.where(mask, 1, 0).astype(np.int16)
    result = estimate(network(design, dataclasses.replace(layer, mask=mask, state=state)))
    assert (result.operations, result.dense_operations) == (2 * 80, 2 * 160)
    assert result.peak_operations_per_s == pytest.approx(2 * 16 / 800e-9)
    assert result.tops == pytest.approx(160 / 8e-6 * 1e-12)
    assert result.tops == pytest.approx(result.peak_operations_per_s * 1e-12 / 2)
    assert result.tops_per_w == pytest.approx(160 / (result.energy_nj_per_image * 1e-9) * 1e-12)
    assert result.tops_per_mm2 == pytest.approx(result.tops / result.area_mm2)


def test_another_node_is_refused_or_scaled_and_named() -> None:
    """At 45 nm the digital blocks grow by 2.2; converters, drivers, memory and cells stay at 32 nm."""
    here = hardware()
    there = here.replace(periphery__node_nm=45.0)
    layer = unpacked(here, 4, 4)
    with pytest.raises(XbarError, match=r"allowed: 32, or periphery\.scaling = 'stillmaker-baas'"):
        estimate(network(there, layer))
    scaled = estimate(network(there.replace(periphery__scaling="stillmaker-baas"), layer))
    plain = estimate(network(here, layer))
    digital = {"shift_add", "input_register", "output_register", "tile_output_register", "sigmoid"}
    digital |= {"max_pool", "tile_shift_add", "router"}
    for name, cost in plain.by_component.items():
        factor = 2.2 if name in digital else 1
        assert scaled.by_component[name]["area_mm2"] == pytest.approx(factor * cost["area_mm2"])
    assert {text.partition(" ")[0] for text in scaled.not_scaled} == {
        "adc",
        "array",
        "bus",
        "dac",
        "edram",
        "sample_hold",
    }
    (price,) = scaled.prices["router"]
    assert "32 to 45 nm: energy x " in price.derivation
    assert any("10.1016/j.vlsi.2017.02.002" in source for source in price.sources)


def test_an_unknown_case_is_refused() -> None:
    design = hardware()
    with pytest.raises(XbarError, match=r"^case: unknown name 'men'; did you mean 'mean'"):
        estimate(network(design, unpacked(design, 4, 4)), case="men")  # type: ignore[arg-type]


def test_a_signed_layer_stays_below_the_peak_of_its_tile() -> None:
    """Sign and magnitude take one phase less than two's complement, which the peak did not know: 114 %."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(32, 32)), torch.randn(16, 32)
    hardware = load_hardware("admm-32x32").replace(dac__signed="sign-magnitude")
    result = estimate(*calibrate(map_network(model, hardware, x), model, [(x, None)]))
    assert result.tops <= result.peak_operations_per_s * 1e-12 * (1 + 1e-9)
