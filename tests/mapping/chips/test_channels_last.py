"""Pictures whose channels lie last in memory: layers on tiles follow torch's convolutions in that."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from networks import design
from torch import nn

from mapping import analog_network, calibrate, map_network, program_network, trainable_network
from mapping.chips.analog import AnalogLayer
from xbar import Adc, Dac, Hardware
from xbar.hardware.noise import WhiteNoise

LAST = torch.channels_last
LAYERS = {
    "plain": lambda: nn.Conv2d(4, 6, 3),
    "one input channel": lambda: nn.Conv2d(1, 6, 3, padding=1),
    "one output channel": lambda: nn.Conv2d(4, 1, 3),
    "depthwise, strided": lambda: nn.Conv2d(4, 4, 3, stride=2, padding=(2, 1), groups=4),
    "circular, dilated": lambda: nn.Conv2d(3, 5, 3, padding=2, dilation=2, padding_mode="circular"),
    "reflected": lambda: nn.Conv2d(3, 5, (2, 3), padding=1, padding_mode="reflect"),
    "transposed": lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1),
}
HARDWARE: dict[str, dict[str, Any]] = {
    "codes": {"dac": Dac(6, 0.25), "adc": Adc(8), "device__read_noise": WhiteNoise(0.02)},
    "voltages": {},
}


def hardware(kind: str) -> Hardware:
    return design(16, 8, **HARDWARE[kind])


@pytest.mark.parametrize("kind", HARDWARE)
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_lie_as_those_of_torch_and_have_the_same_bits(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    layer = LAYERS[name]()
    model = nn.Sequential(layer, nn.Conv2d(layer.out_channels, 3, 2))
    x = torch.rand(5, model[0].in_channels, 7, 8) - 0.3
    mapped, _ = calibrate(map_network(model, hardware(kind), x), model, [(x, x)])
    chip = program_network(mapped, seed=1)
    here = analog_network(model, chip)(x)
    assert here.is_contiguous()

    last, given = copy.deepcopy(model).to(memory_format=LAST), x.contiguous(memory_format=LAST)
    found = analog_network(last, chip)(given)
    assert torch.equal(found, here)
    assert found.stride() == last(given).stride()
    of_input = analog_network(model, chip)(given)  # where only the input says so
    assert torch.equal(of_input, here)
    assert of_input.stride() == found.stride() or layer.in_channels == 1  # which says nothing
    assert torch.equal(analog_network(last, chip)(given[0]), here[0])

    monkeypatch.setattr(AnalogLayer, "_by_kernels", AnalogLayer._on_device)
    on_device = analog_network(last, chip)(given)
    assert on_device.stride() == found.stride()


def test_a_network_that_trains_on_chips_keeps_the_layout() -> None:
    torch.manual_seed(3)
    model, x = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3)), torch.rand(2, 1, 8, 8)
    mapped, _ = calibrate(map_network(model, hardware("codes"), x), model, [(x, x)])
    last = copy.deepcopy(model).to(memory_format=LAST)
    found = trainable_network(last, mapped).eval()(x.contiguous(memory_format=LAST))
    assert found.is_contiguous(memory_format=LAST)
    assert torch.equal(found, trainable_network(model, mapped).eval()(x))
