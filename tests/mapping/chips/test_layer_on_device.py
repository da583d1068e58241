"""Layers on a chip by operators of torch against the kernels, on the processor and on a far device."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from far_device import FAR, far_device, near
from networks import design
from torch import Tensor, nn

from mapping import analog_network, calibrate, map_network, program_network, reset_noise
from mapping.chips.analog import AnalogLayer
from xbar import Adc, Dac, Hardware, XbarError
from xbar.hardware.noise import WhiteNoise

NETWORKS = {
    "linear": (lambda: nn.Linear(30, 7), (30,)),
    "convolution": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 9, 9)),
    "circular": (lambda: nn.Conv1d(3, 5, 3, padding=2, padding_mode="circular"), (3, 12)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1), (3, 5, 5)),
}


def hardware(kind: str) -> Hardware:
    if kind == "ideal":
        return design(16, 8)
    return design(16, 8, dac=Dac(6, 0.25), adc=Adc(8), device__read_noise=WhiteNoise(0.02))


def chip_of(name: str, kind: str) -> tuple[nn.Module, Tensor]:
    """A network on a chip, and inputs of either sign."""
    torch.manual_seed(3)
    make, size = NETWORKS[name]
    model, x = nn.Sequential(make()), torch.rand(6, *size) - 0.3
    mapped, _ = calibrate(map_network(model, hardware(kind), x), model, [(x, x)])
    return analog_network(model, program_network(mapped, seed=1)), x


@pytest.mark.parametrize("kind", ["ideal", "noisy"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_far_device_gives_what_the_kernels_give(name: str, kind: str) -> None:
    """To rounding on ideal hardware; with noise and converters but for codes at a rounding boundary. No
    tensor is copied back to the host."""
    network, x = chip_of(name, kind)
    here = network(x)
    reset_noise(network)
    with far_device():
        there = copy.deepcopy(network).to(FAR)(x.to(FAR))
        assert there.device == FAR
        found = near(there)
    size = float(here.abs().max())
    if kind == "ideal":
        torch.testing.assert_close(found, here, rtol=0, atol=1e-5 * size)
    else:
        off = (found - here).abs() > 1e-5 * size
        assert off.float().mean() < 0.02
        assert float((found - here).abs().max()) < 0.1 * size


def test_inputs_are_counted_and_clipped_as_by_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = chip_of("convolution", "noisy")
    layer = network[0].analog
    network(2 * x)
    counts = layer.inputs, layer.clipped, layer.vectors
    assert counts[1] > 0
    layer.inputs = layer.clipped = layer.vectors = 0
    monkeypatch.setattr(AnalogLayer, "_by_kernels", AnalogLayer._on_device)
    network(2 * x)
    assert (layer.inputs, layer.clipped, layer.vectors) == counts
    with pytest.raises(XbarError, match="0: its inputs are not all finite numbers"):
        network(x * torch.inf)


def test_the_size_of_a_batch_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = chip_of("convolution", "noisy")
    monkeypatch.setattr(AnalogLayer, "_by_kernels", AnalogLayer._on_device)
    whole = network(x)
    reset_noise(network)
    monkeypatch.setattr("mapping.chips.layer_on_device.VALUES_AT_ONCE", 1000)
    assert torch.equal(torch.cat([network(part) for part in x.split([1, 2, 3])]), whole)


def test_new_conductances_go_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training on chips gives a layer other columns in each step."""
    network, x = chip_of("linear", "ideal")
    monkeypatch.setattr(AnalogLayer, "_by_kernels", AnalogLayer._on_device)
    layer = network[0].analog
    before = network(x)
    layer.gain = 2 * layer.gain
    bias = torch.from_numpy(layer.bias)
    torch.testing.assert_close(network(x) - bias, 2 * (before - bias))


@pytest.mark.slow
def test_law_1_holds_for_every_layer_on_the_torch_path() -> None:
    tests = Path(__file__).parents[1] / "network" / "test_layers.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    done = subprocess.run(
        command, env=os.environ | {"XBAR_TEST_DEVICE": "cpu"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
