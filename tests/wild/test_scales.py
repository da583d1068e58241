"""One scale a layer, where channels of very different size share it: weights of the small ones are lost."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from scales import fit_scale
from torch import nn

from mapping import (
    Levels,
    Recipe,
    analog_network,
    calibrate,
    compress,
    decoded_weights,
    load_chip,
    map_network,
    program_network,
    save_chip,
    smaller_network,
    trainable_network,
)
from mapping.network.gemm import mappable_layers, to_gemm
from mapping.smaller_networks.storage import storage
from power.estimates.table import estimate
from xbar import Hardware, ProgrammingNoise, XbarError, load_hardware
from xbar.conductances.encoding import decode_states, levels
from xbar.hardware.converters import Dac

FACTORS = torch.logspace(-1, 1, 16)


def depthwise_separable() -> nn.Sequential:
    """Its 16 channels rescaled by .1 to 10, and back in the next layer: the same function."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.ReLU(),
        nn.Conv2d(16, 12, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()
    with torch.no_grad():
        for factors in (FACTORS, FACTORS.flip(0)):
            first, second = (model[0], model[2]) if factors is FACTORS else (model[2], model[4])
            first.weight.mul_(factors[:, None, None, None])
            first.bias.mul_(factors)
            shape = (-1, 1, 1, 1) if second.groups > 1 else (1, -1, 1, 1)
            second.weight.div_(factors.reshape(shape))
    return model


def on(model: nn.Module, hardware: Hardware, x: torch.Tensor, **arguments) -> nn.Module:
    mapped, _ = calibrate(map_network(model, hardware, x, **arguments), model, [(x, None)])
    return analog_network(model, program_network(mapped))


def error(model: nn.Module, hardware: Hardware, x: torch.Tensor) -> float:
    y = model(x).detach()
    return float((on(model, hardware, x)(x) - y).norm() / (y - y.mean(0)).norm())


def test_channels_of_all_sizes_survive_on_an_ideal_chip() -> None:
    """Trained on digits such a network kept 13.9 of 98.6 % on 256 states; with a scale a column 97.8 %."""
    model, x = depthwise_separable()[:-2], torch.rand(32, 3, 8, 8)
    ideal = load_hardware("ideal").replace(device__states=256)
    assert ideal.encoding.scale == "column"
    column, layer = error(model, ideal, x), error(model, ideal.replace(encoding__scale="layer"), x)
    assert column < 0.2
    assert layer > 50 * column


@pytest.mark.parametrize("kind", ["differential", "offset", "twos-complement"])
def test_scales_of_columns_do_not_know_of_each_other(kind: str) -> None:
    """A column's factor comes out of its scale and nowhere else: states do not change."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(20, 16)), torch.rand(4, 20)
    hardware = load_hardware("ideal").replace(device__states=8, encoding__slices=2)
    hardware = hardware.replace(encoding__kind=kind)
    plain = map_network(model, hardware, x).layers["0"]
    model[0].weight.data *= 2.0 ** torch.arange(-8, 8)[:, None]
    scaled = map_network(model, hardware, x).layers["0"]
    assert np.array_equal(scaled.state, plain.state)
    np.testing.assert_allclose(scaled.scale, plain.scale * 2.0 ** np.arange(-8, 8), rtol=1e-12)


def test_each_column_has_the_scale_of_least_error() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(30, 7)), torch.rand(2, 30)
    hardware = load_hardware("admm-32x32")
    layer = map_network(model, hardware, x).layers["0"]
    w = np.abs(to_gemm(model[0]).numpy())
    values = levels(hardware.encoding, hardware.device)
    expected = [fit_scale(column, values) for column in w.T]
    np.testing.assert_allclose(layer.scale, expected)
    one = map_network(model, hardware.replace(encoding__scale="layer"), x).layers["0"]
    np.testing.assert_allclose(one.scale, np.full(7, fit_scale(w.ravel(), values)))


def test_scales_may_be_given_by_column() -> None:
    model, x = nn.Sequential(nn.Linear(5, 3)), torch.rand(2, 5)
    hardware = load_hardware("ideal")
    given = map_network(model, hardware, x, scales={"0": [0.1, 0.2, 0.3]})
    assert given.layers["0"].scale.tolist() == [0.1, 0.2, 0.3]
    assert map_network(model, hardware, x, scales={"0": 0.2}).layers["0"].scale.tolist() == [0.2] * 3
    with pytest.raises(XbarError, match=r"scale of 0: shape \(2,\); must be a number, or 3"):
        map_network(model, hardware, x, scales={"0": [0.1, 0.2]})
    with pytest.raises(XbarError, match=r"scale of 0 = -1\.0: must be a positive number"):
        map_network(model, hardware, x, scales={"0": [0.1, 0.2, -1.0]})


def test_a_fitted_range_serves_the_output_of_the_layer() -> None:
    """A column of large states and a tiny scale must not take the converter's range from the one that counts.

    Of 60 columns of nearly no weight in the output, all currents are large; one column is worth all of the
    output, and its currents are small. A range for the sum of squared currents serves the 60.
    """
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 61, bias=False)), (torch.rand(256, 64) > 0.5).float()
    w = torch.full((61, 64), 1e-6)
    w[60] = torch.where(torch.arange(64) % 8 == 0, 1.0, 0.02) * torch.where(torch.arange(64) % 16 == 0, -1, 1)
    model[0].weight.data = w
    hardware = load_hardware("ideal").replace(dac=Dac(1), adc__bits=4, adc__range="calibrated")
    worth = on(model, hardware, x)(x)
    alone = nn.Sequential(nn.Linear(64, 1, bias=False))
    alone[0].weight.data = w[60:]
    best = float((on(alone, hardware, x)(x) - alone(x).detach()).norm())
    assert float((worth - model(x).detach()).norm()) < 1.1 * best


def test_levels_by_column_are_the_nearest_of_each() -> None:
    torch.manual_seed(0)
    v = torch.randn(9, 6) * 10.0 ** torch.arange(-3, 3)
    values, mask = torch.arange(1.0, 5.0), torch.rand(9, 6) > 0.3
    z, kept = Levels(values, mask, per="column").project(v)
    assert torch.equal(kept, mask)
    for n in range(6):
        alone, _ = Levels(values, mask[:, n : n + 1]).project(v[:, n : n + 1])
        torch.testing.assert_close(z[:, n : n + 1], alone)
    with pytest.raises(XbarError, match="per: unknown name 'row'"):
        Levels(values, per="row")


def test_compressed_to_levels_by_column_it_is_mapped_exactly() -> None:
    """ADMM and freezing onto levels with a scale a column, then a mapping whose scales are fitted anew."""
    model, x = depthwise_separable(), torch.rand(64, 3, 8, 8)
    hardware = load_hardware("ideal").replace(device__states=4)
    values = torch.from_numpy(levels(hardware.encoding, hardware.device))
    constraints = {"*": Levels(values, per=hardware.encoding.scale)}
    batches = [(x, torch.randint(0, 12, (64,)))]
    found = compress(model, batches, constraints, Recipe(2, 1e-4), Recipe(4, 1e-4))
    mapped = map_network(found.model, hardware, x)
    for name, layer in mapped.layers.items():
        w = to_gemm(mappable_layers(found.model)[name]).numpy()
        held = decode_states(layer.state, layer.scale, hardware.encoding, hardware.device)
        np.testing.assert_allclose(held, w, rtol=1e-5, atol=1e-7 * np.abs(w).max())
        assert len(set(np.abs(layer.scale).round(12))) > 1


@pytest.mark.parametrize("multiply", ["tiles", "torch"])
def test_training_on_chips_keeps_the_scale_of_each_column(multiply: str) -> None:
    model, x = depthwise_separable(), torch.rand(16, 3, 8, 8)
    hardware = load_hardware("ideal").replace(device__states=64)
    mapped, _ = calibrate(map_network(model, hardware, x), model, [(x, None)])
    training = trainable_network(model, mapped, multiply=multiply)
    assert float((training(x) - model(x)).detach().norm() / model(x).detach().norm()) < 0.2
    optimizer = torch.optim.Adam(training.parameters(), 1e-3)
    y = model(x).detach() + 0.1
    losses = []
    for _ in range(10):
        loss = nn.functional.mse_loss(training(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    trained, after = training.trained()
    for name, layer in after.layers.items():
        assert np.array_equal(layer.scale, mapped.layers[name].scale)
        held = decoded_weights(program_network(after), name)
        np.testing.assert_allclose(held, to_gemm(mappable_layers(trained)[name]), rtol=1e-5, atol=1e-9)


def test_noise_of_a_column_is_in_units_of_its_scale() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4000, 3)), torch.rand(1, 4000)
    model[0].weight.data *= torch.tensor([0.1, 1.0, 10.0])[:, None]
    noise = ProgrammingNoise("gaussian", 0.02, relative_to="range")
    hardware = load_hardware("ideal").replace(device__programming=noise)
    hardware = hardware.replace(device__g_min=0.2 * hardware.device.g_max)  # no draw is cut off at 0
    layer = (mapped := map_network(model, hardware, x)).layers["0"]
    exact = decode_states(layer.state, layer.scale, hardware.encoding, hardware.device)
    off = (decoded_weights(program_network(mapped), "0") - exact).std(0)
    window = (hardware.device.g_max - hardware.device.g_min) / hardware.device.unit
    # 4000 draws: a standard deviation is known to 1/sqrt(8000); five of these are a false alarm in 1e6
    np.testing.assert_allclose(off, layer.scale * window * 0.02 * 2**0.5, rtol=5 / 8000**0.5)


def test_files_have_a_scale_for_each_column(tmp_path: Path) -> None:
    model, x = depthwise_separable(), torch.rand(4, 3, 8, 8)
    mapped, _ = calibrate(map_network(model, load_hardware("admm-32x32"), x), model, [(x, None)])
    chip = program_network(mapped)
    save_chip(chip, tmp_path / "chip")
    loaded = load_chip(tmp_path / "chip")
    assert loaded == chip
    assert torch.equal(analog_network(model, loaded)(x), analog_network(model, chip)(x))


def test_a_smaller_network_has_the_same_states() -> None:
    """Its channels are fewer, and their scales do not depend on the others."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)).eval(), torch.rand(6, 12)
    dead = torch.tensor([1, 4, 5])
    with torch.no_grad():
        model[0].weight[dead], model[0].bias[dead], model[2].weight[:, dead] = 0.0, 0.0, 0.0
    masks = {name: to_gemm(layer) != 0 for name, layer in mappable_layers(model).items()}
    small = smaller_network(model, x[:1], masks)
    assert small.model[0].out_features == 6
    hardware = load_hardware("ideal").replace(device__states=6)
    whole, part = (map_network(each, hardware, x).layers["0"] for each in (model, small.model))
    stays = np.setdiff1d(np.arange(9), dead)
    assert np.array_equal(whole.scale[stays], part.scale)
    assert np.array_equal(whole.state[:, stays], part.state)
    torch.testing.assert_close(on(model, hardware, x)(x), on(small.model, hardware, x)(x))


@pytest.mark.parametrize("scale", ["column", "layer"])
def test_the_factor_of_a_column_and_its_storage_are_charged(scale: str) -> None:
    """In both cases: batch norm and ranges of converters are in it, so that each column has one."""
    torch.manual_seed(0)
    model, x = (
        nn.Sequential(nn.Conv2d(3, 40, 3), nn.Flatten(), nn.Linear(40 * 36, 10)),
        torch.rand(1, 3, 8, 8),
    )
    hardware = load_hardware("admm-32x32").replace(
        encoding__scale=scale, periphery__library="isaac-aladdin", periphery__scaling="stillmaker-baas"
    )
    found = estimate(map_network(model, hardware, x))
    rows = {(row.layer, row.component): row for row in found.table}
    assert rows["0", "rescale"].events == 36 * 40
    assert rows["2", "rescale"].events == 10
    assert rows["0", "factor_register"].events == 2 * 36 * 40
    assert rows["0", "rescale"].energy_nj > 0 < rows["0", "factor_register"].area_mm2
    plain = estimate(map_network(model, load_hardware("admm-32x32"), x))
    assert any("rescale" in line for line in plain.not_modelled)


def test_storage_counts_scales_apart() -> None:
    model, x = nn.Sequential(nn.Linear(30, 7)), torch.rand(2, 30)
    model[0].weight.data[3] = 0.0
    hardware = load_hardware("admm-32x32")
    assert storage(map_network(model, hardware, x)).scale_bits == 6 * 32
    one = hardware.replace(encoding__scale="layer")
    assert storage(map_network(model, one, x)).scale_bits == 32
    assert (
        storage(map_network(model, one, x)).weight_bits
        == storage(map_network(model, hardware, x)).weight_bits
    )


def test_what_is_mapped_is_not_changed() -> None:
    model, x = depthwise_separable(), torch.rand(2, 3, 8, 8)
    before = copy.deepcopy(model.state_dict())
    map_network(model, load_hardware("ideal"), x)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
