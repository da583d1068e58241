"""Noise in chosen layers: the very cells of the noisy chip there, targets elsewhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from mapping import (
    MappedNetwork,
    calibrate,
    chip_accuracy,
    map_network,
    noise_by_layer,
    program_network,
    sample_chips,
)
from mapping.chips.chip import without_random_effects
from mapping.monte_carlo.layer_noise import noise_in
from xbar import XbarError, load_hardware
from xbar.hardware.design import Hardware
from xbar.hardware.noise import ProgrammingNoise, WhiteNoise

HARDWARE = load_hardware("admm-32x32")
NOISE = ProgrammingNoise("lognormal", sigma=0.4)


def network(hardware: Hardware) -> tuple[MappedNetwork, nn.Module, list]:
    """A random network of three layers; the targets are its own decisions."""
    widths = (20, 16, 12, 6)
    layers = [nn.Linear(k, n, bias=False) for k, n in itertools.pairwise(widths)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).eval()
    x = torch.randn(400, 20)
    batches = [(x, model(x).argmax(1))]
    return calibrate(map_network(model, hardware, x[:1]), model, batches)[0], model, batches


def test_a_noisy_layer_has_the_cells_of_the_noisy_chip_and_others_their_targets() -> None:
    read = WhiteNoise(sigma=0.1)
    mapped, *_ = network(HARDWARE.replace(device__programming=NOISE, device__read_noise=read))
    mixed = noise_in(mapped, ["2"])
    chip = program_network(mixed, seed=4, chip=3)
    noisy = program_network(mapped, seed=4, chip=3)
    exact = program_network(without_random_effects(mapped))
    for name in mapped.layers:
        source = noisy if name == "2" else exact
        for g, expected in zip(chip.conductances[name], source.conductances[name], strict=True):
            np.testing.assert_array_equal(g, expected)
        sigma = mixed.layers[name].hardware.device.read_noise.sigma
        assert sigma == (0.1 if name == "2" else 0.0)
    assert mapped.own_hardware == {}


def test_noise_in_all_layers_and_in_none() -> None:
    mapped, model, batches = network(HARDWARE.replace(device__programming=NOISE))
    everywhere = chip_accuracy(noise_in(mapped, list(mapped.layers)), model, batches, chip=1)
    assert everywhere == chip_accuracy(mapped, model, batches, chip=1)
    nowhere = chip_accuracy(noise_in(mapped, []), model, batches, chip=1)
    assert nowhere == chip_accuracy(without_random_effects(mapped), model, batches)
    assert everywhere < nowhere


def test_the_one_layer_that_is_noisy_is_found() -> None:
    """Only layer 2 is on a noisy device: alone it costs what all cost, and without it nothing is lost."""
    mapped, model, batches = network(HARDWARE)
    noisy = HARDWARE.replace(device__programming=NOISE)
    mapped = mapped.on_hardware(HARDWARE, {"2": noisy})
    keys = {"most": 12, "least": 12, "until": 0.0}
    whole = sample_chips(lambda chip: chip_accuracy(mapped, model, batches, seed=5, chip=chip), **keys)
    exact = chip_accuracy(noise_in(mapped, []), model, batches)
    found = noise_by_layer(mapped, model, batches, seed=5, **keys)
    assert list(found) == ["0", "2", "4"]
    assert found["2"].only == whole
    assert found["2"].others.accuracies == (exact,) * 12
    for name in ("0", "4"):
        assert found[name].only.accuracies == (exact,) * 12
        assert found[name].others == whole
    assert whole.mean + whole.half_width < exact


def test_the_stop_rule_acts_on_each_set() -> None:
    mapped, model, batches = network(HARDWARE.replace(device__programming=NOISE))
    found = noise_by_layer(mapped, model, batches, most=30, least=3, until=2.0)
    for result in found.values():
        for chips in (result.only, result.others):
            assert chips.half_width <= 2.0 if chips.settled else len(chips.accuracies) == 30


def test_a_layer_that_is_not_mapped_is_refused() -> None:
    mapped, *_ = network(HARDWARE)
    with pytest.raises(XbarError, match=r"layer with noise: unknown name '1'; .*allowed: 0, 2, 4"):
        noise_in(mapped, ["1"])
