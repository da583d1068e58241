"""Columns moved off faulty cells: in the best order there is, on a chip that is otherwise the same."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import UNIT, Case, cases, decoded, design, designs, device, seeds
from numpy.typing import NDArray
from torch import nn

from mapping import MappedNetwork, analog_network, decoded_weights, map_network, program_network
from mapping.lab.faults import around_faults
from mapping.tiles.mapper import without_weights
from xbar import Hardware, XbarError
from xbar.hardware.converters import Adc
from xbar.hardware.noise import ProgrammingNoise

FAULTY = {"device__p_stuck_g_max": 0.1, "device__p_stuck_g_min": 0.15}


def linear(seed: int, inputs: int, outputs: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, outputs)).eval()


def placed(mapped: MappedNetwork, places: tuple[int, ...]) -> MappedNetwork:
    """The mapping of one layer on one tile with its columns on these places."""
    (layer,) = mapped.layers.values()
    (band,) = layer.bands
    (tile,) = band.tiles
    tile = dataclasses.replace(tile, places=np.array(places))
    layer = dataclasses.replace(layer, bands=(dataclasses.replace(band, tiles=(tile,)),))
    return dataclasses.replace(mapped, layers={layer.name: layer})


def error(mapped: MappedNetwork, **keys: int) -> dict[str, float]:
    """Squared error of each layer's weights on a chip, in units of its largest scale."""
    chip = program_network(mapped, **keys)
    wrong = {name: decoded_weights(chip, name) - decoded(mapped, name) for name in mapped.layers}
    return {
        name: float(np.square(each / (mapped.layers[name].scale.max() or 1.0)).sum())
        for name, each in wrong.items()
    }


@given(
    seed=seeds,
    shape=st.tuples(st.integers(1, 6), st.integers(1, 4)),
    spare=st.integers(0, 1),
    kind=st.sampled_from(["differential", "offset", "twos-complement"]),
    slices=st.integers(1, 2),
    broken=st.sampled_from([0.0, 0.2]),
    unformed=st.booleans(),
)
@settings(max_examples=25)
def test_no_order_is_better(seed, shape, spare, kind, slices, broken, unformed) -> None:
    slices = 2 if kind == "twos-complement" else slices
    rows, columns = shape
    places = columns + spare
    width = places * slices + (0 if kind == "differential" else slices)
    hardware = design(rows, width, crossbar__p_open_bl=broken, crossbar__p_open_wl=broken, **FAULTY)
    hardware = hardware.replace(encoding__slices=slices).replace(encoding__kind=kind)
    hardware = hardware.replace(encoding__unformed=unformed and kind == "differential")
    mask = torch.from_numpy(np.random.default_rng(seed).random(shape) < 0.7)
    mask[0] = True
    mapped = map_network(linear(seed, *shape), hardware, torch.rand(1, rows), masks={"0": mask})
    every = [
        error(placed(mapped, order), chip=seed % 100)["0"]
        for order in itertools.permutations(range(places), columns)
    ]
    found = error(around_faults(mapped, chip=seed % 100), chip=seed % 100)["0"]
    assert found == pytest.approx(min(every), rel=1e-6, abs=1e-9)


@settings(max_examples=40)
@given(cases(), designs(), st.integers(0, 3), st.integers(0, 9))
def test_the_error_is_at_most_that_of_the_default_order(
    case: Case, hardware: Hardware, spare: int, chip: int
) -> None:
    free = hardware.crossbar.cols - hardware.encoding.slices - hardware.encoding.reference_columns
    hardware = hardware.replace(crossbar__spare_cols=min(spare, free), **FAULTY)
    mapped = map_network(case.model, hardware, case.x, masks=case.masks)
    before = error(mapped, seed=1, chip=chip)
    after = error(around_faults(mapped, seed=1, chip=chip), seed=1, chip=chip)
    for name in mapped.layers:
        assert after[name] <= before[name] * (1 + 1e-6) + 1e-9


def test_reordering_and_spare_columns_cut_the_error() -> None:
    """On tiles of 16 x 16 with a quarter of the cells stuck; the gain of every chip, not of their mean."""
    model, x = linear(0, 64, 48), torch.rand(1, 64)
    for chip in range(3):
        errors = []
        for spare in (0, 4):
            mapped = map_network(model, design(16, 16, crossbar__spare_cols=spare, **FAULTY), x)
            errors.append(error(around_faults(mapped, chip=chip), chip=chip)["0"])
        assert errors[1] < 0.97 * errors[0] < 0.9 * error(mapped, chip=chip)["0"]


def test_without_faults_nothing_moves() -> None:
    noisy = device(programming=ProgrammingNoise("lognormal", sigma=0.2))
    mapped = map_network(linear(1, 20, 30), design(8, 10, device=noisy), torch.rand(1, 20))
    assert around_faults(mapped) == mapped


def test_a_second_chip_starts_anew() -> None:
    mapped = map_network(linear(1, 20, 30), design(8, 10, **FAULTY), torch.rand(1, 20))
    assert around_faults(around_faults(mapped, chip=1), chip=2) == around_faults(mapped, chip=2)
    assert around_faults(mapped, chip=1) != around_faults(mapped, chip=2)


def test_a_mapping_without_weights_is_refused() -> None:
    mapped = map_network(linear(0, 4, 4), design(**FAULTY), torch.rand(1, 4))
    with pytest.raises(XbarError, match="this mapping has no weights"):
        around_faults(without_weights(mapped))


ORDER = (3, 0, 4, 1, 2)


def in_order(model: nn.Sequential, order: tuple[int, ...], outputs: int) -> nn.Sequential:
    """The network whose output `order[c]` is output c of `model`."""
    other = linear(0, model[0].in_features, outputs)
    for mine, theirs in zip(other.parameters(), model.parameters(), strict=True):
        mine.data.zero_()
        mine.data[list(order)] = theirs.data
    return other


@pytest.mark.parametrize("wires", [0.0, 50.0])
@pytest.mark.parametrize("kind", ["differential", "offset"])
def test_a_chip_with_moved_columns_is_that_of_the_network_in_their_order(wires: float, kind: str) -> None:
    """Write errors, stuck cells, broken lines, wires and converters belong to places: to the last bit."""
    noisy = device(programming=ProgrammingNoise("lognormal", sigma=0.2), p_stuck_g_max=0.1, p_stuck_g_min=0.1)
    hardware = design(6, 8, device=noisy, crossbar__r_wl=wires, crossbar__r_bl=wires, encoding__kind=kind)
    adc = Adc(6, range="fixed", full_scale=4 * UNIT, columns=2, gain_sigma=0.1, offset_sigma=0.5)
    hardware = hardware.replace(crossbar__p_open_bl=0.2, dac__bits=5, adc=adc)
    model, x = linear(2, 6, 5), torch.rand(7, 6)
    other = in_order(model, ORDER, 5)
    moved = placed(Case(model, x, {}).on(hardware)[0], ORDER)
    plain = Case(other, x, {}).on(hardware)[0]
    networks = [
        analog_network(net, program_network(mapped, chip=3))
        for net, mapped in [(model, moved), (other, plain)]
    ]
    y = networks[0](x)
    assert torch.equal(y, networks[1](x)[:, list(ORDER)])
    assert torch.equal(y[:4], networks[0](x[:4]))


def test_columns_on_spare_places_stand_where_the_tile_says() -> None:
    """Against a wider network whose other columns are masked: the wires see the same cells."""
    hardware = design(6, 8, crossbar__r_wl=50.0, crossbar__r_bl=50.0)
    model, x = linear(2, 6, 5), torch.rand(7, 6)
    order = (7, 0, 5, 1, 2)
    mask = torch.zeros(6, 8, dtype=torch.bool)
    mask[:, list(order)] = True
    wide = map_network(
        in_order(model, order, 8), hardware, x, masks={"0": mask}, scales={"0": 1.0}, packing=False
    )
    mapped = placed(map_network(model, hardware, x, scales={"0": 1.0}), order)
    seen, expected = (program_network(m).layers["0"].transfer[0] for m in (mapped, wide))
    assert np.array_equal(seen, expected[..., list(order)])


def noise_of(places: tuple[int, ...], **keys: int) -> NDArray[np.float64]:
    """ln g over target of the cells of one tile whose columns are all the same, (planes * rows, columns)."""
    noisy = device(programming=ProgrammingNoise("lognormal", sigma=0.2, keep_mean=False))
    model = linear(0, 400, 4)
    model[0].weight.data.fill_(1.0)
    hardware = design(400, 8, device=noisy)
    mapped = placed(map_network(model, hardware, torch.rand(1, 400)), places)
    chip, exact = (
        program_network(m, **keys)
        for m in (mapped, mapped.with_hardware(lambda h: h.replace(device__programming=ProgrammingNoise())))
    )
    return np.log(chip.conductances["0"][0] / exact.conductances["0"][0])[:, 0].reshape(-1, 4)


def test_write_errors_of_moved_columns_are_those_of_their_places() -> None:
    assert np.array_equal(noise_of((2, 0, 3, 1)), noise_of((0, 1, 2, 3))[:, [2, 0, 3, 1]])


def test_write_errors_of_spare_columns_are_as_large_and_of_their_own() -> None:
    """3200 draws: their deviation is within 6 standard errors of 0.2, their correlation with those of the
    default places within 6 of 0; a right code fails once in 10^8 runs."""
    drawn, others = noise_of((4, 5, 6, 7)), noise_of((0, 1, 2, 3))
    assert drawn.std() == pytest.approx(0.2, rel=6 / np.sqrt(2 * drawn.size))
    correlation = np.corrcoef(np.concatenate([drawn, others], axis=1).T) - np.eye(8)
    assert np.abs(correlation).max() < 6 / np.sqrt(len(drawn))


def test_spare_columns_are_left_free() -> None:
    x = torch.rand(1, 4)
    widths = {}
    for spare in (0, 3, 4):
        hardware = design(8, 8, encoding__slices=2, crossbar__spare_cols=spare)
        (layer,) = map_network(linear(0, 4, 8), hardware, x).layers.values()
        widths[spare] = [len(tile.cols) for tile in layer.tiles]
        assert hardware.column_places == 4
    assert widths == {0: [4, 4], 3: [2, 2, 2, 2], 4: [2, 2, 2, 2]}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"crossbar__spare_cols": 6}, r"crossbar\.spare_cols = 6: must lie between 0 and 5"),
        (
            {"crossbar__spare_cols": 5, "encoding__slices": 2},
            "at least 2 bit lines, crossbar.cols = 6 of which 5",
        ),
    ],
)
def test_a_tile_of_spare_columns_only_is_refused(keys: dict[str, int], message: str) -> None:
    with pytest.raises(XbarError, match=message):
        design(**keys)
