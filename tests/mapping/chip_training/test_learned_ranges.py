"""Ranges that an optimiser moves: their gradients are those of the paper, weight by weight, and they find the
range that fits."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from networks import design
from torch import Tensor, nn

from mapping import MappedNetwork, calibrate, map_network, trainable_network
from mapping.chip_training.learned_ranges import LearnedRange
from mapping.network.gemm import to_gemm
from xbar import Hardware, ProgrammingNoise, XbarError
from xbar.conductances.encoding import levels
from xbar.hardware.converters import Adc, Dac
from xbar.multiply.reference import polar_draws


def layer_and_inputs(signed: bool = True) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(7, 6) if signed else torch.rand(7, 6)
    return nn.Sequential(nn.Linear(6, 4, bias=False)), x


def changed_scale(mapped: MappedNetwork, factor: float) -> MappedNetwork:
    layers = {
        name: dataclasses.replace(layer, scale=layer.scale * factor) for name, layer in mapped.layers.items()
    }
    return dataclasses.replace(mapped, layers=layers)


@pytest.mark.parametrize("by", ["column", "layer"])
def test_gradients_of_scales_are_those_of_learned_step_sizes(by: str) -> None:
    model, x = layer_and_inputs()
    hardware = design(encoding__scale=by)
    mapped = changed_scale(map_network(model, hardware, x), 0.7)  # so that some weights lie beyond
    network = trainable_network(model, mapped, multiply="torch", ranges="learned")
    y = network(x)
    upstream = torch.randn(y.shape)
    (y * upstream).sum().backward()

    w = to_gemm(model[0]).double().numpy()
    to_weights = (x.t() @ upstream).double().numpy()  # dL/dw_q, shape (K, N)
    values = levels(hardware.encoding, hardware.device)
    every = np.concatenate([-values[::-1], values])
    scale = np.broadcast_to(mapped.layers["0"].scale, (4,))
    expected_scale, expected_w = np.zeros(4), np.zeros((6, 4))
    for k in range(6):
        for n in range(4):
            v = w[k, n] / scale[n]
            level = every[np.abs(every - v).argmin()]
            within = abs(v) <= values[-1]
            expected_scale[n] += to_weights[k, n] * (level - v if within else level)
            expected_w[k, n] = to_weights[k, n] if within else 0
    assert 0 < (expected_w == 0).sum() < 24
    found_w = network.layers["0"].host.weight.grad.t().double().numpy()
    assert np.allclose(found_w, expected_w, rtol=1e-5, atol=1e-6)

    (learned,) = network.ranges
    count = 6 if by == "column" else 24
    step = scale / len(values)
    expected = expected_scale * scale / step**2 / np.sqrt(count * len(values))
    if by == "layer":
        expected = expected.sum(keepdims=True)
    assert np.allclose(learned.change.grad.double().numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("signed", [True, False])
def test_gradients_of_input_ranges(signed: bool) -> None:
    model, x = layer_and_inputs(signed)
    hardware = design(dac=Dac(4, 0.25))
    mapped, _ = calibrate(map_network(model, hardware, x), model, [(0.8 * x, None)])
    x = torch.cat([x, -x[:2]])  # of an unsigned layer: beyond its range on the other side
    network = trainable_network(model, mapped, ranges="learned")
    y = network(x)
    upstream = torch.randn(y.shape)
    (y * upstream).sum().backward()

    of_layer = network.layers["0"]
    to_inputs = (upstream @ of_layer.weight).double().numpy()  # dL/dx_q, with the weights of the cells
    learned = network.ranges[1]
    x_max, top = float(learned.start), learned.values
    low = -(top + 1 if signed else 0)
    expected = 0.0
    for value, gradient in zip(x.double().numpy().ravel(), to_inputs.ravel(), strict=True):
        code = np.clip(np.rint(value / x_max * top), low, top)
        within = low <= value / x_max * top <= top
        expected += gradient * (code / top - (value / x_max if within else 0))
    step = x_max / top
    expected *= x_max / step**2 / np.sqrt(6 * top)
    assert np.isclose(float(learned.change.grad), expected, rtol=1e-4)


def error(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return (network(x) - y).square().mean()


def learn(network: Any, x: Tensor, y: Tensor) -> float:
    """Error after the ranges alone have been trained."""
    optimizer = torch.optim.Adam(network.ranges.parameters(), lr=0.01)
    for _ in range(300):
        loss = error(network, x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(error(network.eval(), x, y).detach())


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_scales_are_found_from_wrong_ones(factor: float) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 8, bias=False))
    x = torch.randn(256, 64)
    y = model(x).detach()
    fitted = map_network(model, design(), x)
    best = float(error(trainable_network(model, fitted, multiply="torch"), x, y).detach())
    network = trainable_network(model, changed_scale(fitted, factor), multiply="torch", ranges="learned")
    start = float(error(network, x, y).detach())
    assert start > 3 * best
    assert learn(network, x, y) < 1.2 * best
    _, mapped = network.trained()
    assert np.allclose(mapped.layers["0"].scale, network.ranges[0].now().numpy())
    assert not np.allclose(mapped.layers["0"].scale, factor * fitted.layers["0"].scale, rtol=0.05)


def test_an_input_range_is_found_from_one_that_clips() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 8, bias=False))
    x = torch.randn(256, 64)
    y = model(x).detach()
    hardware: Hardware = design(dac=Dac(6, 0.25))
    mapped, _ = calibrate(map_network(model, hardware, x), model, [(0.2 * x, None)])
    network = trainable_network(model, mapped, ranges="learned")
    start = float(error(network, x, y).detach())
    assert learn(network, x, y) < start / 5
    _, after = network.trained()
    assert after.layers["0"].calibration.x_max > 2 * mapped.layers["0"].calibration.x_max


def test_a_column_without_weights_keeps_its_scale_and_finite_gradients() -> None:
    model, x = layer_and_inputs()
    with torch.no_grad():
        model[0].weight[1] = 0
    mapped = map_network(model, design(), x)
    network = trainable_network(model, mapped, multiply="torch", ranges="learned")
    network(x).sum().backward()
    (learned,) = network.ranges
    assert learned.start[1] == 0
    assert torch.isfinite(learned.change.grad).all()
    assert learned.change.grad[1] == 0
    assert torch.isfinite(network.layers["0"].host.weight.grad).all()
    assert (network.layers["0"].host.weight.grad[1] != 0).any()


def test_layers_that_share_a_weight_share_its_scales() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5))
    model[2].weight = model[0].weight
    x = torch.rand(4, 5)
    network = trainable_network(model, map_network(model, design(), x), multiply="torch", ranges="learned")
    assert len(list(network.ranges.parameters())) == 1
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        network(x).square().sum().backward()
        optimizer.step()
    network.trained()


def test_noise_of_cells_is_part_of_what_a_scale_learns_from() -> None:
    """With a scale of 1 the gradient of t is sum dL/dw (g - w), g the weights of the chip at hand."""
    model, x = layer_and_inputs()
    hardware = design(encoding__scale="column").replace(
        device__programming=ProgrammingNoise("lognormal", 0.2)
    )
    mapped = map_network(model, hardware, x)
    network = trainable_network(model, mapped, multiply="torch", ranges="learned")
    network(x).sum().backward()
    (learned,) = network.ranges
    w, g = to_gemm(model[0]), to_gemm(model[0]).clone()
    g.copy_(network.layers["0"].weight.t())
    scale = torch.as_tensor(mapped.layers["0"].scale)
    beyond = w.abs() > scale * float(levels(hardware.encoding, hardware.device)[-1])
    each = torch.where(beyond, g, g - w).double()
    count = len(levels(hardware.encoding, hardware.device))
    expected = (x.sum(0).double()[:, None] * each).sum(0) / (scale / count) ** 2 / (6 * count) ** 0.5
    assert torch.allclose(learned.change.grad.double(), expected, rtol=1e-4)


def test_an_unknown_choice_is_refused() -> None:
    model, x = layer_and_inputs()
    with pytest.raises(XbarError, match="ranges: unknown name 'fitted'"):
        trainable_network(model, map_network(model, design(), x), ranges="fitted")


def test_a_range_keeps_its_sign_and_its_precision() -> None:
    start = torch.tensor([1e-9, 0.3, 7.0], dtype=torch.float64)
    of = LearnedRange(start, 15)
    assert torch.equal(of.now(), start)
    with torch.no_grad():
        of.change.fill_(-30.0)
    assert (of.now() > 0).all()


ADC_RANGES = {
    "one bit a phase": {"dac": Dac(4, 0.25), "adc": Adc(bits=3)},
    "amplitudes": {"dac": Dac(4, 0.25, phase_bits=4), "adc": Adc(bits=4)},
    "planes apart": {"dac": Dac(4, 0.25), "adc": Adc(bits=3), "subtract": "digital"},
    "errors of converters": {
        "dac": Dac(4, 0.25),
        "adc": Adc(bits=4, gain_sigma=0.1, offset_sigma=0.3, inl=(0.0, 0.4, -0.3, 0.0)),
    },
    "noise": {"dac": Dac(4, 0.25), "adc": Adc(bits=4, noise_current=1e-7)},
}


@pytest.mark.parametrize("case", ADC_RANGES)
def test_gradients_of_adc_ranges(case: str) -> None:
    """Held against a sum over the conversions: band by band, phase by phase, column by column."""
    changes = dict(ADC_RANGES[case])
    subtract = changes.pop("subtract", "analog")
    model, x = layer_and_inputs(True)
    hardware = design(**changes)
    hardware = hardware.replace(encoding__subtract=subtract, crossbar__rows=4)
    mapped, _ = calibrate(map_network(model, hardware, x), model, [(0.7 * x, None)])
    network = trainable_network(model, mapped, ranges="learned-adc")
    y = network(x)
    upstream = torch.randn(y.shape)
    (y * upstream).sum().backward()

    analog = network.layers["0"].analog
    calibration = mapped.layers["0"].calibration
    codes = np.clip(np.rint(x.double().numpy() / calibration.x_max * 7), -8, 7).astype(np.int64)
    expected, conversions = 0.0, 0
    for block in analog.columns:
        volts, _ = analog.drive.voltages(codes[:, block.rows])
        converter = block.converter
        conversions += len(block.out) * len(volts)
        draws = np.zeros((len(x), len(volts), len(block.out)))
        if block.noise is not None:
            numbers = np.arange(len(x) * len(volts), dtype=np.uint64)
            square, sine = polar_draws(block.noise.key, numbers, block.noise.places)
            draws = (np.sqrt(block.noise.floor * square) * sine).reshape(draws.shape)
        for m, p, c in np.ndindex(draws.shape):
            current = float(volts[p, m].astype(float) @ block.weights[:, c]) + draws[m, p, c]
            step, gain = float(converter.step[c]), float(converter.gain[c])
            real = gain * current / step + float(converter.offset[c])
            if len(converter.inl):
                real += np.interp(real, np.linspace(converter.low, converter.high, 4), converter.inl)
            code = np.clip(np.rint(real), converter.low, converter.high)
            within = converter.low <= real <= converter.high
            slope = step * (code - (gain * current / step if within else 0))
            place = float(analog.drive.weights[p] * block.coefficient[c] * analog.gain[block.out[c]])
            expected += float(upstream[m, block.out[c]]) * place * slope
    learned = network.ranges[2]
    step = float(learned.start) / learned.values
    expected *= 1 / step**2 / np.sqrt(conversions * learned.values)
    assert expected
    assert np.isclose(float(learned.change.grad), expected, rtol=2e-3)


@pytest.mark.parametrize("factor", [0.3, 4.0])
def test_an_adc_range_is_found_from_a_wrong_one(factor: float) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 8, bias=False))
    x = torch.rand(256, 64)
    hardware: Hardware = design(64, 64, dac=Dac(6, 0.25), adc=Adc(bits=5))
    fitted, _ = calibrate(map_network(model, hardware, x), model, [(x, None)])
    on_levels = map_network(model, hardware, x)
    y = trainable_network(model, on_levels, multiply="torch")(x).detach()
    best = float(error(trainable_network(model, fitted), x, y).detach())
    layer = fitted.layers["0"]
    steps = tuple(factor * each for each in layer.calibration.adc_steps)
    calibration = dataclasses.replace(layer.calibration, adc_steps=steps)
    wrong = dataclasses.replace(fitted, layers={"0": dataclasses.replace(layer, calibration=calibration)})
    network = trainable_network(model, wrong, ranges="learned-adc")
    of_adc = network.ranges[2]
    start = float(error(network, x, y).detach())
    assert start > 2 * best
    optimizer = torch.optim.Adam(of_adc.parameters(), lr=0.02)
    for _ in range(150):
        loss = error(network, x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(error(network.eval(), x, y).detach()) < 1.3 * best
    _, after = network.trained()
    found = after.layers["0"].calibration.adc_steps[0][0] / steps[0][0]
    assert np.isclose(found, float(of_adc.factor()), rtol=1e-6)


@pytest.mark.parametrize(
    ("adc", "message"),
    [
        (Adc(bits=8, per="tile"), "0: adc.per = 'tile'; ranges of ADCs are learned with adc.per = 'layer'"),
        (Adc(bits=8, range="full"), "0: adc.range = 'full' is set by the hardware"),
    ],
)
def test_adc_ranges_that_cannot_be_learned_are_refused(adc: Adc, message: str) -> None:
    model, x = layer_and_inputs(False)
    mapped, _ = calibrate(map_network(model, design(dac=Dac(4, 0.25), adc=adc), x), model, [(x, None)])
    with pytest.raises(XbarError, match=message):
        trainable_network(model, mapped, ranges="learned-adc")


def test_ideal_converters_have_no_range_to_learn() -> None:
    model, x = layer_and_inputs(False)
    hardware = design(dac=Dac("ideal", 0.25), adc=Adc(bits="ideal"))
    mapped, _ = calibrate(map_network(model, hardware, x), model, [(x, None)])
    assert len(trainable_network(model, mapped, ranges="learned-adc").ranges) == 1
