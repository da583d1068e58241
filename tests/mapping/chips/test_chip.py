"""What the converters see against a dense computation, and law 2: a seed is a chip, however it is packed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import UNIT, Case, cases, cells, decoded, design, designs, device, masks_of, seeds, with_step
from numpy.typing import NDArray
from torch import nn

from mapping import (
    AnalogLayer,
    Choice,
    MappedLayer,
    MappedNetwork,
    analog_network,
    calibrate,
    map_network,
    program_network,
    with_device,
    without_device_effects,
)
from mapping.chips.chip import decoded_layer, decoded_weights
from mapping.tiles.mapper import without_weights
from xbar import XbarError
from xbar.hardware.design import Hardware
from xbar.hardware.device import Device
from xbar.hardware.noise import ProgrammingNoise
from xbar.multiply.blocks import Block
from xbar.multiply.converters import Converter, drive
from xbar.multiply.reference import mvm_reference

NOISY = device(
    programming=ProgrammingNoise("lognormal", sigma=0.2), p_stuck_g_max=0.05, p_stuck_g_min=0.05, states=4
)


def dense_blocks(
    layer: MappedLayer,
    hardware: Hardware,
    kept: NDArray[np.bool_],
    packing: bool,
    step: float,
    limits: tuple[int, int],
) -> list[Block]:
    """One block for each band, tile, plane and slice, read off the state numbers column by column."""
    device, encoding = hardware.device, hardware.encoding
    (base, slices), width = (device.n_states, encoding.slices), hardware.crossbar.cols // encoding.slices
    made = []
    for top in range(0, layer.k, hardware.crossbar.rows):
        band = range(top, min(top + hardware.crossbar.rows, layer.k))
        columns = [c for c in range(layer.n) if not packing or any(kept[r, c] for r in band)]
        for left in range(0, len(columns), width):
            tile = columns[left : left + width]
            if not any(kept[r, c] for r in band for c in tile):
                continue
            rows = [r for r in band if not packing or any(kept[r, c] for c in tile)]
            for piece in range(slices):
                place = base ** (slices - 1 - piece)
                planes = []
                for sign in (1, -1):
                    state = layer.state[np.ix_(rows, tile)].astype(int)
                    digit = np.where(sign * state > 0, abs(state) // place % base, 0)
                    g = device.g_min + digit * device.unit
                    planes.append(np.where((state == 0) & encoding.unformed, 0.0, g) / device.unit)
                seen = [planes[0] - planes[1]] if encoding.subtract == "analog" else planes
                for plane, sign in zip(seen, (1, -1), strict=False):
                    made.append(
                        Block(
                            np.array(rows, np.int64),
                            np.ascontiguousarray(plane, np.float32),
                            np.array(tile, np.int64),
                            np.full(len(tile), sign * place, np.float32),
                            Converter.uniform(step, *limits, len(tile)),
                        )
                    )
    return made


@given(
    seed=seeds,
    shape=st.tuples(st.integers(1, 12), st.integers(1, 6)),
    tile=st.tuples(st.integers(1, 8), st.integers(3, 12)),
    slices=st.integers(1, 3),
    subtract=st.sampled_from(["analog", "digital"]),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    bits=st.integers(2, 9),
    adc_bits=st.integers(2, 6),
    step=st.sampled_from([0.5, 1.0, 2.0, 3.0, 4.0]),
    data=st.data(),
)
def test_a_real_adc_converts_the_currents_of_each_tile(
    seed, shape, tile, slices, subtract, flags, bits, adc_bits, step, data
) -> None:
    """Cells, currents and steps are exact in single precision, so that no code may differ."""
    unformed, packing, negative = flags
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(*shape))
    mask = data.draw(masks_of(model[0].weight) | st.just(torch.ones(shape, dtype=torch.bool)))
    hardware = design(*tile, dac__bits=bits, adc__bits=adc_bits, encoding__slices=slices)
    hardware = hardware.replace(encoding__subtract=subtract, encoding__unformed=unformed)
    x = torch.rand(40, shape[0]) - (0.5 if negative else 0.0)
    mapped, _ = Case(model, x, {"0": mask}).on(hardware, packing)
    mapped = with_step(mapped, step)
    layer = mapped.layers["0"]
    signed = bool((x < 0).any())
    top = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    codes = (x / x.abs().max() * top).round().numpy().astype(np.int16)
    limits = (
        (-(2 ** (adc_bits - 1)), 2 ** (adc_bits - 1) - 1) if subtract == "analog" else (0, 2**adc_bits - 1)
    )
    blocks = dense_blocks(layer, hardware, mask.numpy(), packing, step, limits)
    y = mvm_reference(codes, blocks, layer.n, drive=drive(hardware, signed)).numpy()
    expected = y * layer.scale * float(x.abs().max()) / top + model[0].bias.detach().numpy()
    actual = analog_network(model, program_network(mapped))(x).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6 * (1 + np.abs(expected).max()))


@settings(max_examples=25)
@given(cases(), designs(), st.integers(1, 40), st.integers(6, 40))
def test_without_effects_tiles_and_packing_change_nothing(
    case: Case, hardware: Hardware, rows: int, cols: int
) -> None:
    other = hardware.replace(crossbar__rows=rows, crossbar__cols=cols)
    y = [
        analog_network(case.model, program_network(case.on(on, packing)[0]))(case.x)
        for on, packing in [(hardware, True), (hardware, False), (other, True)]
    ]
    for again in y[1:]:
        torch.testing.assert_close(again, y[0], rtol=0, atol=1e-5 * float(y[0].abs().max()))


def converting(**changes) -> Hardware:
    return design(8, 8, dac__bits=6, adc__bits=5, device=NOISY).replace(**changes)


def image_case() -> Case:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(180, 7)).eval()
    return Case(model, torch.rand(11, 2, 6, 6), {"0": torch.rand(18, 5) < 0.5, "3": torch.rand(180, 7) < 0.2})


@pytest.mark.parametrize("subtract", ["analog", "digital"])
@pytest.mark.parametrize("bits", [6, "ideal"])
def test_batch_split_and_threads_change_no_bit(subtract: str, bits: int | str) -> None:
    case = image_case()
    mapped, _ = case.on(converting(encoding__subtract=subtract, encoding__slices=2, dac__bits=bits))
    network = analog_network(case.model, program_network(mapped, seed=1, chip=2))
    whole = network(case.x)
    for sizes in [(1,) * 11, (4, 4, 3), (10, 1)]:
        assert torch.equal(torch.cat([network(part) for part in case.x.split(sizes)]), whole)
    for threads in (1, 2, 5):
        for layer in network.modules():
            if isinstance(layer, AnalogLayer):
                layer.threads = threads
        assert torch.equal(network(case.x), whole)


@given(
    seed=seeds,
    shape=st.tuples(st.integers(1, 25), st.integers(1, 15)),
    tiles=st.lists(st.tuples(st.integers(1, 30), st.integers(2, 30)), min_size=2, max_size=3),
    slices=st.integers(1, 2),
    unformed=st.booleans(),
    chip=st.integers(0, 5),
    data=st.data(),
)
def test_a_cell_keeps_its_noise_under_packing_and_tile_size(
    seed, shape, tiles, slices, unformed, chip, data
) -> None:
    torch.manual_seed(seed)
    model, x = nn.Sequential(nn.Linear(*shape)), torch.rand(1, shape[0])
    masks = {"0": data.draw(masks_of(model[0].weight))}
    grids = []
    for rows, cols in tiles:
        hardware = design(rows, cols, device=NOISY, encoding__slices=slices, encoding__unformed=unformed)
        for packing in (True, False):
            mapped = map_network(model, hardware, x, masks=masks, packing=packing)
            grids.append(cells(program_network(mapped, seed=seed, chip=chip), "0"))
    for grid in grids[1:]:
        both = ~np.isnan(grid) & ~np.isnan(grids[0])
        assert np.array_equal(grid[both], grids[0][both])
        assert both[..., masks["0"].numpy()].all()


def test_the_order_of_layers_changes_no_cell() -> None:
    mapped, _ = image_case().on(converting())
    swapped = dataclasses.replace(mapped, layers=dict(reversed(mapped.layers.items())))
    one, two = program_network(mapped, seed=4), program_network(swapped, seed=4)
    for name in mapped.layers:
        assert np.array_equal(cells(one, name), cells(two, name), equal_nan=True)


def masked_pairs(**changes) -> tuple[MappedNetwork, nn.Module]:
    """Two layers of 40 x 40 of which one weight is kept: all cells but one pair have the same target."""
    model = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40)).eval()
    one = torch.zeros(40, 40, dtype=torch.bool)
    one[0, 0] = True
    hardware = design(40, 80, device=device(programming=ProgrammingNoise("lognormal", sigma=0.2)), **changes)
    masks = {"0": one, "1": one}
    return map_network(model, hardware, torch.rand(1, 40), masks=masks, packing=False), model


def test_seeds_chips_layers_planes_and_slices_draw_apart() -> None:
    """Correlation of 1599 independent pairs of draws; beyond 0.15 (6 sigma) once in 10^9 a pair of sets."""
    mapped, _ = masked_pairs(encoding__slices=2)
    sets = [
        cells(program_network(mapped, seed=seed, chip=chip), name)[plane, piece]
        for seed, chip, name in [(0, 0, "0"), (1, 0, "0"), (0, 1, "0"), (0, 0, "1")]
        for plane in range(2)
        for piece in range(2)
    ]
    drawn = np.log(np.stack([g.ravel()[1:] for g in sets]))
    correlation = np.corrcoef(drawn) - np.eye(len(drawn))
    assert np.abs(correlation).max() < 0.15
    assert drawn.std(axis=1) == pytest.approx(0.2, rel=6 / np.sqrt(2 * 1599))


def test_the_same_keys_give_the_same_chip() -> None:
    mapped, _ = masked_pairs()
    a, b = (cells(program_network(mapped, seed=7, chip=3), "1") for _ in range(2))
    assert np.array_equal(a, b)


@pytest.mark.parametrize("g_min", [0.0, UNIT])
def test_unformed_cells_are_not_there(g_min: float) -> None:
    stuck = Device("stuck", "none", g_min, 4 * UNIT, 4, p_stuck_g_max=1.0)
    model, x = nn.Sequential(nn.Linear(4, 3)), torch.rand(1, 4)
    one = torch.zeros(4, 3, dtype=torch.bool)
    one[1, 2] = True
    hardware = design(device=stuck, encoding__unformed=True)
    mapped = map_network(model, hardware, x, masks={"0": one}, packing=False)
    g = cells(program_network(mapped), "0")
    assert (g[..., 1, 2] == stuck.g_max).all()
    assert np.nansum(g) == 2 * stuck.g_max


@given(cases(), designs())
def test_cells_hold_the_decoded_weights(case: Case, hardware: Hardware) -> None:
    mapped = map_network(case.model, hardware, case.x, masks=case.masks)
    chip = program_network(mapped)
    for name in mapped.layers:
        expected = decoded(mapped, name)
        # a float32 cell is off by 2^-24 of its conductance, the most significant slice weighing most
        places = hardware.device.n_states**hardware.encoding.slices
        window = hardware.device.g_max / (hardware.device.g_max - hardware.device.g_min)
        error = mapped.layers[name].scale.max() * places * window * 2.0**-21
        np.testing.assert_allclose(decoded_weights(chip, name), expected, rtol=0, atol=error)


def test_a_chip_has_the_layers_of_its_mapping() -> None:
    """Accuracy and energy of a chip whose cells are of another mapping would speak of two chips."""
    model, x = nn.Sequential(nn.Linear(4, 3)), torch.rand(1, 4)
    chip, other = (program_network(map_network(model, design(), x)) for _ in range(2))
    with pytest.raises(XbarError, match="ProgrammedNetwork: its layers must be those of its mapping"):
        dataclasses.replace(chip, layers=other.layers)
    with pytest.raises(XbarError, match="ProgrammedNetwork: its layers must be those of its mapping"):
        dataclasses.replace(chip, layers={})


def test_cells_of_a_bias_hold_its_states() -> None:
    """On three word lines, in a band of its own and with rows of the weights."""
    torch.manual_seed(1)
    model, x = nn.Sequential(nn.Linear(7, 5)), torch.rand(9, 7)
    model[0].bias.data *= 0.1
    hardware = design(4, 8, encoding__kind="offset")
    mapped = map_network(model, hardware, x, layers={"0": Choice(bias_rows=3)})
    mapped, _ = calibrate(mapped, model, [(x, x)])
    layer = mapped.layers["0"]
    weights, bias = decoded_layer(program_network(mapped).layers["0"])
    assert np.abs(layer.bias_state).max() > 0
    np.testing.assert_allclose(weights, decoded(mapped, "0"), atol=1e-5)
    np.testing.assert_allclose(bias, layer.scale * layer.bias_state, atol=1e-5)


def test_programming_noise_moves_the_output_and_can_be_left_out() -> None:
    case = image_case()
    mapped, _ = case.on(converting())
    y = [
        analog_network(case.model, program_network(m, chip=chip))(case.x)
        for m, chip in [(mapped, 0), (mapped, 1), (without_device_effects(mapped), 0)]
    ]
    assert not torch.equal(y[0], y[1])
    assert not torch.equal(y[0], y[2])
    exact = without_device_effects(mapped)
    again = analog_network(case.model, program_network(exact, seed=9, chip=9))(case.x)
    assert torch.equal(again, y[2])


def test_a_device_with_other_states_is_refused() -> None:
    mapped, _ = masked_pairs()
    with pytest.raises(XbarError, match="'other': its states differ"):
        with_device(mapped, Device("other", "none", 1e-6, 2e-6, 4))


def test_a_mapping_without_weights_cannot_be_programmed() -> None:
    mapped, _ = masked_pairs()
    with pytest.raises(XbarError, match="0: this mapping has no weights"):
        program_network(without_weights(mapped))
