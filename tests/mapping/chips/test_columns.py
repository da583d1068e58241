"""What the converters of a chip see, against loops over tiles, and the effects that belong to places."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from circuits import dense_solve
from hypothesis import given, settings, strategies as st
from networks import (
    UNIT,
    Case,
    cases,
    cells,
    design,
    designs,
    device,
    encoding_of,
    holding,
    masks_of,
    seeds,
    with_step,
)
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from mapping import (
    MappedNetwork,
    ProgrammedNetwork,
    analog_network,
    calibrate,
    map_network,
    program_network,
    reset_noise,
    without_device_effects,
)
from mapping.chips.chip import without_random_effects
from mapping.chips.columns import blocks
from mapping.chips.wires import bit_lines
from xbar import Drift, LogClamp, ProgrammingNoise, WhiteNoise, XbarError
from xbar.conductances.encoding import reference_conductances, slice_weights, target_conductances
from xbar.conductances.noise_laws import BOLTZMANN
from xbar.hardware.design import Hardware
from xbar.hardware.iv import IV
from xbar.multiply.converters import code_range, drive

FALSE_ALARM = 1e-6


def tile_outputs(
    mapped: MappedNetwork, codes: NDArray[Any], step: float, signed: bool
) -> NDArray[np.float64]:
    """The layer's sums in units, tile by tile, slice by slice, phase by phase, in plain loops."""
    layer, hardware = mapped.layers["0"], mapped.hardware
    encoding, cell = hardware.encoding, hardware.device
    assert layer.state is not None
    driven = drive(hardware, signed)
    low, high = code_range(hardware, signed)

    def converted(current: NDArray[np.float64]) -> NDArray[np.float64]:
        if hardware.adc.bits == "ideal":
            return current
        return step * np.clip(np.rint(current / step), low, high)

    y = np.zeros((len(codes), layer.n))
    for tile in layer.tiles:
        g = target_conductances(layer.state[np.ix_(tile.rows, tile.cols)], encoding, cell) / cell.unit
        zero = None
        if encoding.reference_columns:
            zero = reference_conductances(encoding, cell) / cell.unit
        volts, _ = driven.voltages(codes[:, tile.rows])
        for place, volt in zip(driven.weights.astype(float), volts.astype(float), strict=True):
            for s, value in enumerate(slice_weights(encoding, cell)):
                positive = volt @ g[0, s]
                negative = volt @ g[1, s] if zero is None else volt.sum(1, keepdims=True) * zero[s]
                if encoding.subtract == "analog":
                    part = converted(positive - negative)
                else:
                    part = converted(positive) - converted(negative)
                y[:, tile.cols] += place * value * part
    return y


@settings(deadline=None)
@given(
    seed=seeds,
    shape=st.tuples(st.integers(1, 12), st.integers(1, 6)),
    tile=st.tuples(st.integers(1, 8), st.integers(6, 12)),
    kind=st.sampled_from(
        [
            *(("differential", 1), ("differential", 2), ("offset", 1), ("offset", 2), ("twos-complement", 3)),
            *(("signed-digits", 1), ("signed-digits", 2)),
        ]
    ),
    subtract=st.sampled_from(["analog", "digital"]),
    flags=st.tuples(st.booleans(), st.booleans()),
    bits=st.integers(2, 8),
    phase_bits=st.integers(1, 3),
    adc=st.tuples(st.sampled_from(["phase", "accumulation"]), st.integers(3, 8) | st.just("ideal")),
    step=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    data=st.data(),
)
def test_every_encoding_and_phase_is_converted_tile_by_tile(
    seed, shape, tile, kind, subtract, flags, bits, phase_bits, adc, step, data
) -> None:
    """Currents in units are whole for one-bit phases, so that no code may differ."""
    packing, negative = flags
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(*shape, bias=False))
    mask = data.draw(masks_of(model[0].weight) | st.just(torch.ones(shape, dtype=torch.bool)))
    hardware = design(*tile, dac__bits=bits, dac__phase_bits=min(phase_bits, bits), adc__bits=adc[1])
    hardware = hardware.replace(
        encoding=encoding_of(*kind, subtract),
        adc__after=adc[0],
    )
    x = torch.rand(30, shape[0]) - (0.5 if negative else 0.0)
    mapped, _ = Case(model, x, {"0": mask}).on(hardware, packing)
    signed = bool((x < 0).any())
    if phase_bits > 1:
        step *= 0.37153  # voltages are not whole: keep rounding off the boundaries between codes
    if adc[1] != "ideal":
        mapped = with_step(mapped, step)
    layer = mapped.layers["0"]
    top = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    codes = (x / x.abs().max() * top).round().numpy().astype(np.int16)
    y = tile_outputs(mapped, codes, step, signed) * layer.scale * float(x.abs().max()) / top
    actual = analog_network(model, program_network(mapped))(x).numpy()
    scale = np.abs(y).max() + layer.scale.max() * float(x.abs().max())
    np.testing.assert_allclose(actual, y, rtol=0, atol=1e-5 * scale)


@given(cases(layers=1), designs(), st.integers(2, 12), st.integers(1, 12), st.booleans())
def test_law_1_holds_for_wide_phases_and_accumulation(
    case: Case, hardware: Hardware, bits: int, phase_bits: int, accumulate: bool
) -> None:
    """An ADC of 24 bits at the full range, or an ideal one, behind phases of several bits."""
    changes: dict[str, Any] = {"dac__bits": bits, "dac__phase_bits": min(bits, phase_bits)}
    if accumulate:
        changes |= {"adc__after": "accumulation"}
    mapped, held = case.on(hardware.replace(**changes))
    signed = bool(case.x.min() < 0)
    top = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    x_max = float(case.x.abs().max())
    codes = (case.x / x_max * top).round()
    expected = held.double()(codes.double() * (x_max / top)).detach()
    y = analog_network(case.model, program_network(mapped))(case.x).double()
    window = hardware.device.g_max / (hardware.device.g_max - hardware.device.g_min)
    # float32 cells are off by 2^-24 of their conductance, the most significant slice weighing most
    layer, places = mapped.layers["0"], hardware.device.n_states**hardware.encoding.slices
    cells_off = 2.0**-22 * layer.scale.max() * places * window * layer.k * x_max
    bound = 1e-5 * window * float(expected.abs().max()) + cells_off
    torch.testing.assert_close(y, expected, rtol=0, atol=bound + 1e-12)


def test_float64_products_by_choice() -> None:
    case = Case(nn.Sequential(nn.Linear(300, 20)).eval(), torch.rand(40, 300), {})
    mapped, held = case.on(design(64, 64, 16))
    expected = held.double()(case.x.double()).detach()
    errors = [
        (analog_network(case.model, program_network(mapped, dtype=dtype))(case.x) - expected).abs().max()
        for dtype in (np.float32, np.float64)
    ]
    assert errors[1] <= errors[0]
    assert errors[1] < 3e-7 * expected.abs().max()


# ---------------------------------------------------------------------------------------------- wires


def wired_case(**changes: Any) -> tuple[MappedNetwork, Case]:
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(13, 7, bias=False)).eval()
    mask = torch.rand(13, 7) < 0.6
    mask[2] = False
    mask[:, 3] = False
    case = Case(model, torch.rand(5, 13), {"0": mask})
    hardware = design(8, 8, crossbar__r_wl=300.0, crossbar__r_bl=200.0, crossbar__r_driver=500.0)
    hardware = hardware.replace(crossbar__r_sense=100.0, **changes)
    return case.on(hardware)[0], case


@pytest.mark.parametrize("kind", ["differential", "offset"])
@pytest.mark.parametrize("gated", [False, True])
def test_wires_are_those_of_the_whole_tile(kind: str, gated: bool) -> None:
    """Every tile and plane drawn by hand as a circuit, and solved by a dense nodal solver."""
    mapped, case = wired_case(encoding__kind=kind, periphery__gated_columns=gated)
    hardware, layer = mapped.hardware, mapped.layers["0"]
    chip = program_network(mapped)
    crossbar, g_min = hardware.crossbar, hardware.device.g_min
    resistances = (crossbar.r_wl, crossbar.r_bl, crossbar.r_driver, crossbar.r_sense)
    volts = np.linspace(-0.2, 0.2, 13)
    for number, band in enumerate(layer.bands):
        g, seen = chip.conductances["0"][number], chip.layers["0"].transfer[number]
        first = 0
        for index, tile in enumerate(band.tiles):
            columns = list(range(first, first + len(tile.cols)))
            first += len(tile.cols)
            if kind == "offset":
                columns.append(len(band.cols) + index)
            lines = bit_lines(layer, tile)[0]
            assert len(lines) == len(columns)
            for plane in range(len(g)):
                whole = np.full((8, 8), g_min)
                if gated:
                    whole[:, [c for c in range(8) if c not in lines]] = 0
                applied = np.zeros(8)
                for k in tile.rows:
                    row = g[plane, 0, list(band.rows).index(k)]
                    whole[k - band.first_row, lines] = row[columns]
                    applied[k - band.first_row] = volts[k]
                expected, _, _ = dense_solve(whole, applied[None], *resistances)
                rows = [list(band.rows).index(k) for k in tile.rows]
                current = volts[tile.rows] @ seen[plane, 0][np.ix_(rows, columns)]
                np.testing.assert_allclose(current, expected[0, lines], rtol=1e-9, atol=1e-12 * g_min)
    y = analog_network(case.model, chip)(case.x)
    ideal = analog_network(case.model, program_network(without_device_effects(mapped)))(case.x)
    assert 1e-3 < float((y - ideal).abs().max() / ideal.abs().max()) < 0.2


def test_without_device_effects_no_wire_has_resistance() -> None:
    mapped, _ = wired_case()
    layers = without_device_effects(mapped).layers.values()
    assert {layer.hardware.crossbar.wired for layer in layers} == {False}


def test_wires_without_resistance_change_nothing() -> None:
    mapped, case = wired_case()
    thin = mapped.with_hardware(
        lambda h: h.replace(
            crossbar__r_wl=1e-9, crossbar__r_bl=0.0, crossbar__r_driver=0.0, crossbar__r_sense=0.0
        )
    )
    y, exact = (
        analog_network(case.model, program_network(m))(case.x) for m in (thin, without_device_effects(mapped))
    )
    torch.testing.assert_close(y, exact, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------------------------------- noise


def noisy_layer(n: int = 1, **changes: Any) -> tuple[nn.Sequential, MappedNetwork]:
    """Two inputs at their largest through `n` outputs of weight 3 units in both rows, one phase."""
    model = nn.Sequential(nn.Linear(2, n, bias=False)).eval()
    model[0].weight.data = torch.full((n, 2), 3.0)
    mapped = map_network(model, design(4, 4 * n, **changes), torch.ones(1, 2), scales={"0": 1.0})
    return model, calibrate(mapped, model, [(torch.ones(1, 2), None)])[0]


READS = 20_000


def read_sigma(model: nn.Module, mapped: MappedNetwork) -> float:
    """Root mean square deviation from 6 of one output, over `READS` reads of one chip."""
    y = analog_network(model, program_network(mapped, seed=5))(torch.ones(READS, 2))[:, 0].double()
    return float((y - 6).square().mean().sqrt())


def check_sigma(found: float, expected: float) -> None:
    """Chi-square at a false alarm rate of 1e-6; 1.1 times the sigma is missed once in a hundred at most."""
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], READS)
    assert stats.chi2.cdf(high / 1.1**2, READS) < 0.01
    assert low < READS * (found / expected) ** 2 < high


@pytest.mark.parametrize("subtract", ["analog", "digital"])
@pytest.mark.parametrize(
    ("relative_to", "cells"),
    [("conductance", 2 * (4**2 + 1)), ("g_max", 4 * 4**2), ("range", 4 * 3**2)],
)
def test_read_noise_is_that_of_the_cells(relative_to: Any, cells: int, subtract: str) -> None:
    """4 units in one cell of each pair and 1 in the other; two pairs are driven."""
    noise = WhiteNoise(0.05, relative_to)
    model, mapped = noisy_layer(device=device(read_noise=noise), encoding__subtract=subtract)
    check_sigma(read_sigma(model, mapped), 0.05 * np.sqrt(cells))


def test_thermal_noise_is_4ktgb_of_the_bit_lines() -> None:
    """5 units a driven pair, and 2 of 4 word lines of which no cell is driven: 2 (5 + 2) units of g_min."""
    model, mapped = noisy_layer(adc__bandwidth=1e12, adc__temperature=400.0)
    power = 4 * BOLTZMANN * 400 * 1e12 * (2 * 5 + 2 * 2) * UNIT
    check_sigma(read_sigma(model, mapped), np.sqrt(power) / (0.25 * UNIT))


def test_amplifier_noise_is_in_ampere() -> None:
    model, mapped = noisy_layer(adc__noise_current=0.02 * 0.25 * UNIT)
    check_sigma(read_sigma(model, mapped), 0.02)
    model, mapped = noisy_layer(adc__noise_current=0.02 * 0.25 * UNIT, encoding__subtract="digital")
    check_sigma(read_sigma(model, mapped), 0.02 * np.sqrt(2))


def test_converter_noise_is_in_steps() -> None:
    """Steps far below the noise, so that rounding adds 1/12 of a step squared."""
    model, mapped = noisy_layer(adc__bits=12, adc__noise_lsb=3.0)
    fine = with_step(mapped, 0.01)
    check_sigma(read_sigma(model, fine), 0.01 * np.sqrt(9 + 1 / 12))


def test_read_noise_follows_the_vector_and_the_name_of_the_layer() -> None:
    model, mapped = noisy_layer(3, device=device(read_noise=WhiteNoise(0.1)))
    x = torch.ones(60, 2)
    network = analog_network(model, program_network(mapped, seed=1))
    whole = network(x)
    assert not torch.equal(network(x), whole)
    reset_noise(network)
    assert torch.equal(torch.cat([network(part) for part in x.split([1, 20, 39])]), whole)
    again = analog_network(model, program_network(mapped, seed=1))
    assert torch.equal(again(x), whole)
    for seed, chip in ((2, 0), (1, 1)):
        other = analog_network(model, program_network(mapped, seed=seed, chip=chip))(x)
        assert not torch.isclose(other, whole).any()


def test_mistakes_of_a_call_are_one_line() -> None:
    model, mapped = noisy_layer(3)
    network = analog_network(model, program_network(mapped))
    with pytest.raises(XbarError, match=r"0: inputs of shape \(5, 3\); the layer takes 2 features"):
        network(torch.ones(5, 3))
    with pytest.raises(XbarError, match=r"0: its input is a ndarray; must be a torch.Tensor"):
        network(np.ones((5, 2)))
    with pytest.raises(XbarError, match="Sequential: has no analog layers"):
        reset_noise(model)
    for keys in ({"chip": 1.5}, {"seed": -1}, {"chip": "a"}):
        with pytest.raises(XbarError, match="must be a whole number, at least 0"):
            program_network(mapped, **keys)
    with pytest.raises(XbarError, match="time = '1 day': must be a number, in s"):
        program_network(mapped, time="1 day")
    with pytest.raises(XbarError, match="hardware: a str; must be a Hardware"):
        map_network(model, "ideal", torch.ones(1, 2))


def test_read_noise_keeps_its_draws_under_packing() -> None:
    """Noise of the converters alone: the same for a column wherever it lies."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 9, bias=False)).eval()
    mask = torch.ones(8, 9, dtype=torch.bool)
    mask[:, [1, 4, 5]] = False
    case = Case(model, torch.rand(20, 8), {"0": mask})
    hardware = design(8, 4, adc__noise_current=UNIT)
    y = []
    for packing in (True, False):
        mapped, _ = case.on(hardware, packing)
        noisy, exact = (
            analog_network(model, program_network(m))(case.x)
            for m in (mapped, without_device_effects(mapped))
        )
        y.append((noisy - exact)[:, mask[0]])
    torch.testing.assert_close(y[0], y[1], rtol=1e-4, atol=1e-5)
    assert y[0].std() > 0.1


# ---------------------------------------------------------------------------------- places of a tile


def test_columns_of_one_converter_share_its_errors() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 40, bias=False)).eval()
    hardware = design(6, 16, adc__bits=8, adc__columns=4, adc__gain_sigma=0.02, adc__offset_sigma=0.5)
    mapped, _ = Case(model, torch.rand(5, 6), {}).on(hardware)
    chip = program_network(mapped, seed=3)
    made = [part.converter for part in blocks(chip, "0")]
    gains, offsets = (np.concatenate([getattr(part, name) for part in made]) for name in ("gain", "offset"))
    groups = gains.reshape(10, 4)
    assert (groups == groups[:, :1]).all()
    assert len(np.unique(groups[:, 0])) == 10
    assert len(np.unique(offsets)) == 10
    other = [part.converter for part in blocks(program_network(mapped, seed=3, chip=1), "0")]
    assert not np.isclose(other[0].gain, made[0].gain).any()
    exact = [part.converter for part in blocks(program_network(without_random_effects(mapped)), "0")]
    assert (exact[0].gain == 1).all()
    assert (exact[0].offset == 0).all()


def test_spreads_of_gain_and_offset() -> None:
    model = nn.Sequential(nn.Linear(1, 4000, bias=False)).eval()
    hardware = design(1, 100, adc__bits=8, adc__columns=1, adc__gain_sigma=0.02, adc__offset_sigma=0.5)
    mapped, _ = Case(model, torch.rand(5, 1), {}).on(hardware)
    made = [part.converter for part in blocks(program_network(mapped), "0")]
    for name, mean, sigma in (("gain", 1.0, 0.02), ("offset", 0.0, 0.5)):
        values = np.concatenate([getattr(part, name) for part in made]).astype(float)
        low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], len(values))
        assert low < np.sum(((values - mean) / sigma) ** 2) < high


def broken(**probabilities: float) -> NDArray[np.float64]:
    """Cells of a chip with 20 bands of 30 tiles, (2, 1, 600, 600)."""
    model = nn.Sequential(nn.Linear(600, 600, bias=False)).eval()
    hardware = design(30, 20).replace(**{f"crossbar__{key}": p for key, p in probabilities.items()})
    mapped = map_network(model, hardware, torch.rand(1, 600), scales={"0": 1.0})
    return cells(program_network(mapped, seed=2), "0")


def test_an_open_word_line_takes_one_row_of_a_tile_and_plane() -> None:
    rows = (broken(p_open_wl=0.07) == 0).reshape(2, 600, 30, 20)
    assert (rows.all(-1) == rows.any(-1)).all()
    count = int(rows.any(-1).sum())
    assert stats.binomtest(count, 2 * 600 * 30, 0.07).pvalue > FALSE_ALARM


def test_an_open_bit_line_takes_one_column_of_a_band_and_plane() -> None:
    columns = (broken(p_open_bl=0.07) == 0).reshape(2, 20, 30, 600)
    assert (columns.all(2) == columns.any(2)).all()
    count = int(columns.any(2).sum())
    assert stats.binomtest(count, 2 * 20 * 600, 0.07).pvalue > FALSE_ALARM


def test_reference_columns_have_the_noise_of_cells() -> None:
    """Every tile's reference is drawn apart; its error goes to all columns of the tile alike."""
    noise = ProgrammingNoise("gaussian", 0.1, relative_to="g_max")
    model = nn.Sequential(nn.Linear(200, 30, bias=False)).eval()
    hardware = design(200, 16, 16, device=device(16, programming=noise), encoding__kind="offset")
    mapped = map_network(model, hardware, torch.rand(1, 200))
    g = program_network(mapped, seed=1).conductances["0"][0][0, 0]
    assert g.shape == (200, 30 + 2)
    error = (g[:, 30:] - reference_conductances(hardware.encoding, hardware.device)) / hardware.device.g_max
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], error.size)
    assert low < np.sum((error / 0.1) ** 2) < high
    assert abs(np.corrcoef(error.T)[0, 1]) < stats.norm.isf(FALSE_ALARM / 2) / np.sqrt(200)


# ------------------------------------------------------------------------------------- time and I-V


def test_a_chip_is_read_at_its_time() -> None:
    """All cells drift by (t/t0)^-nu, and so does the output; g_min = 0."""
    drift = Drift(20.0, LogClamp(0.05))
    cell = dataclasses.replace(device(drift=drift), g_min=0.0, g_max=3 * UNIT)
    model, mapped = noisy_layer(device=cell)
    for time in (None, 20.0, 86400.0, 3.2e8):
        chip: ProgrammedNetwork = program_network(mapped, time=time)
        assert chip.time == (time or 20.0)
        y = analog_network(model, chip)(torch.ones(1, 2))
        assert float(y) == pytest.approx(6 * (chip.time / 20) ** -0.05, rel=1e-5)


@pytest.mark.parametrize("g_at", ["zero", "read"])
def test_one_bit_phases_see_one_voltage_and_so_ohmic_cells(g_at: Any) -> None:
    """The digital gain knows the current at v_read: an I-V changes nothing where 0 and v_read are all."""
    torch.manual_seed(1)
    model, x = nn.Sequential(nn.Linear(9, 4)).eval(), torch.rand(6, 9) - 0.3
    curved = design(4, 6, dac__bits=6, device=device(iv=IV("sinh", alpha=8.0, g_at=g_at)))
    y = []
    for hardware in (curved, design(4, 6, dac__bits=6)):
        mapped, _ = Case(model, x, {}).on(hardware)
        y.append(analog_network(model, program_network(mapped))(x))
    torch.testing.assert_close(y[0], y[1], rtol=1e-5, atol=1e-5)


def test_voltages_of_several_levels_see_the_curve() -> None:
    """One input of half x_max in one phase of 4 bits: sinh(alpha v 7/15) / sinh(alpha v) of the largest."""
    law = IV("sinh", alpha=8.0)
    model, mapped = noisy_layer(device=device(iv=law), dac__bits=4, dac__phase_bits=4)
    y = analog_network(model, program_network(mapped))(torch.tensor([[7 / 15, 0.0], [1.0, 1.0]]))
    expected = 3 * np.sinh(8 * 0.25 * 7 / 15) / np.sinh(8 * 0.25)
    np.testing.assert_allclose(y[:, 0], [expected, 6.0], rtol=1e-5)


def test_holding_is_untouched_by_effects_of_the_chip() -> None:
    """`quantised` in plain torch does not know wires, noise or encodings."""
    mapped, case = wired_case()
    held = holding(case.model, mapped)
    ideal = analog_network(case.model, program_network(without_device_effects(mapped)))(case.x)
    torch.testing.assert_close(ideal, held(case.x), rtol=1e-5, atol=1e-5)


def output_error(states: int, **changes: Any) -> float:
    """RMS error of outputs, relative to their own, by cells with 5 % errors of their targets, g_min = 0."""
    torch.manual_seed(0)
    noise = ProgrammingNoise("gaussian", 0.05)
    cell = dataclasses.replace(device(states, programming=noise), g_min=0.0, g_max=(states - 1) * UNIT)
    model = nn.Sequential(nn.Linear(256, 64, bias=False)).eval()
    nn.init.normal_(model[0].weight)
    case = Case(model, torch.rand(50, 256), {})
    mapped, held = case.on(design(256, 160, device=cell, **changes))
    y = analog_network(model, program_network(mapped))(case.x)
    exact = held(case.x).detach()
    return float((y - exact).square().mean().sqrt() / exact.square().mean().sqrt())


def test_cells_in_proportion_to_the_weight_beat_an_offset_and_slices_change_little() -> None:
    """The ranking of Xiao et al., arXiv:2109.01262, for errors in proportion to the conductance."""
    pair, offset = output_error(16), output_error(16, encoding__kind="offset")
    sliced = output_error(4, encoding__slices=2)
    assert offset > 1.5 * pair
    assert 0.7 < sliced / pair < 1.4


# ------------------------------------------------------- what an independent derivation found wrong once


def output_sigma(hardware: Hardware, reads: int = 4000) -> float:
    """Standard deviation of the outputs of one input over many reads; 16 inputs, 8 outputs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 8, bias=False)).eval()
    case = Case(model, torch.rand(4, 16), {})
    mapped, _ = case.on(hardware)
    y = analog_network(model, program_network(mapped))(case.x[:1].expand(reads, 16)).double()
    return float(y.var(0).mean().sqrt())


@pytest.mark.parametrize("phase_bits", [1, 3])
def test_thermal_noise_of_phases_is_the_same_behind_any_converter(phase_bits: int) -> None:
    """One standard deviation of a variance over 8 x 4000 draws is .8 %; a lost place value is a factor."""
    base = design(16, 16, dac__bits=6, dac__phase_bits=phase_bits, adc__bandwidth=1e13)
    fine = dataclasses.replace(base.adc, bits=24, range="full")
    sigmas = [
        output_sigma(base.replace(adc=adc))
        for adc in (base.adc, fine, dataclasses.replace(fine, after="accumulation"))
    ]
    np.testing.assert_allclose(sigmas, sigmas[0], rtol=0.03)
    amplifier = dataclasses.replace(fine, bandwidth=0.0, noise_current=1e-9)
    each, once = (
        output_sigma(base.replace(adc=adc))
        for adc in (amplifier, dataclasses.replace(amplifier, after="accumulation"))
    )
    places = 4.0 ** (phase_bits * np.arange(-(-6 // phase_bits)))
    assert each / once == pytest.approx(np.sqrt(places.sum()), rel=0.03)


@pytest.mark.parametrize("kind", ["offset", "twos-complement"])
def test_a_difference_in_analog_has_one_converter(kind: str) -> None:
    """Its noise is that of one, and the columns of a tile do not share it."""
    slices = 1 if kind == "offset" else 2
    hardware = design(16, 20, 8, adc__noise_current=1e-6, encoding__slices=2, encoding__kind=kind)
    hardware = hardware.replace(encoding__slices=slices, dac__bits=1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 8, bias=False)).eval()
    mapped, _ = Case(model, torch.ones(4, 16), {}).on(hardware)
    y = analog_network(model, program_network(mapped))(torch.ones(8000, 16)).double()
    scale = mapped.layers["0"].scale
    place = np.sqrt(np.sum(slice_weights(hardware.encoding, hardware.device) ** 2))
    expected = place * 1e-6 / (0.25 * hardware.device.unit)
    spread = np.sqrt(np.mean(y.numpy().var(0) / scale**2))
    assert spread == pytest.approx(expected, rel=0.03)
    correlation = np.corrcoef(y.numpy().T) - np.eye(8)
    assert np.abs(correlation).max() < 0.07


def test_cells_of_no_conductance_have_noise_of_the_window() -> None:
    """g_min = 0: the idle cell of a pair is a cell, with noise relative to the range."""
    cell = dataclasses.replace(device(read_noise=WhiteNoise(0.05, "range")), g_min=0.0, g_max=3 * UNIT)
    model, mapped = noisy_layer(device=cell)
    check_sigma(read_sigma(model, mapped), 0.05 * 3 * np.sqrt(4))
    unformed = mapped.hardware.replace(encoding__unformed=True)
    model, mapped = noisy_layer(device=cell, encoding__unformed=True)
    assert unformed.encoding == mapped.hardware.encoding
    check_sigma(read_sigma(model, mapped), 0.05 * 3 * np.sqrt(4))


@pytest.mark.parametrize("phase_bits", [1, 2, 4])
def test_accumulated_currents_count_each_phase_by_its_place(phase_bits: int) -> None:
    """The largest code drives v_read in every phase: sum_p 2^(b p) I reaches a full scale of just that."""
    hardware = design(4, 4, dac__bits=4, dac__phase_bits=phase_bits, adc__bits=10)
    total = float(np.sum(2.0 ** (phase_bits * np.arange(4 // phase_bits))))
    full_scale = 2 * 3 * UNIT * 0.25 * total
    adc = dataclasses.replace(hardware.adc, range="fixed", full_scale=full_scale, after="accumulation")
    model, mapped = noisy_layer(dac=hardware.dac, adc=adc)
    y = analog_network(model, program_network(mapped))(torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    np.testing.assert_allclose(y[:, 0], [6.0, 3.0], rtol=2e-3)
    step = mapped.layers["0"].calibration.adc_steps[0]
    np.testing.assert_allclose(step, full_scale / 511)


def test_references_that_no_adc_sees_do_not_widen_its_range() -> None:
    """Differences of an offset encoding, subtracted in analog, for which 6 bits are enough."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 8, bias=False)).eval()
    case = Case(model, torch.rand(200, 64), {})
    hardware = design(64, 9, 16, dac__bits=4, adc__bits=6, encoding__kind="offset")
    mapped, held = case.on(hardware)
    y = analog_network(model, program_network(mapped))(case.x)
    exact = held(case.x).detach()
    assert float((y - exact).square().mean().sqrt() / exact.std()) < 0.08
    for per in ("tile", "column"):
        mapped, _ = case.on(hardware.replace(adc__per=per))
        assert np.isfinite(mapped.layers["0"].calibration.adc_steps[0]).all()


def test_laws_that_do_not_increase_are_refused() -> None:
    with pytest.raises(XbarError, match="increas"):
        design(device=device(iv=IV("polynomial", c3=-100.0)))
    with pytest.raises(XbarError, match="increas"):
        design(device=device(iv=IV("polynomial", c3=-2.0)), dac__offset=0.2)
    with pytest.raises(XbarError, match="alpha"):
        design(device=device(iv=IV("sinh", alpha=1000.0)))


def test_the_inl_table_of_a_signed_code_ends_at_v_read() -> None:
    hardware = design(dac__bits=8, dac__phase_bits=8).replace(dac__inl=(0.0, 1.0, 2.0), adc__bits=8)
    signed, unsigned = (drive(hardware, signed).volts[0] for signed in (True, False))
    assert unsigned[255] == pytest.approx(257 / 255)
    assert signed[128] == pytest.approx(-130 / 128)  # code -128
    assert signed[127] == pytest.approx((127 + 2 * 127 / 128) / 128)
