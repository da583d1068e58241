"""Calibration on tensors of another device against that on arrays of the processor."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from far_device import FAR, HostCopyError, far_device
from torch import nn

from mapping import Choice, calibrate, map_network
from mapping.chips.calibration_inputs import DeviceInputs, HostInputs
from xbar import Adc, Dac, XbarError, load_hardware

DACS = {
    "max": Dac(6, 0.25),
    "percentile": Dac(6, 0.25, range="percentile", percentile=99.3),
    "mse": Dac(6, 0.25, range="mse"),
    "fixed": Dac(6, 0.25, range="fixed", x_max=1.5),
    "sign and magnitude": Dac(6, 0.25, signed="sign-magnitude"),
    "ideal": Dac("ideal", 0.25),
}
SHARED = 1 << 16
"""Numbers of a tensor that a calibration may copy: vectors that a step is fitted on, weights that show
whether a network is the mapped one."""


def network() -> nn.Sequential:
    torch.manual_seed(1)
    transposed = nn.ConvTranspose2d(8, 4, 2)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), transposed, nn.Flatten(), nn.Linear(324, 30)
    )


def batches(images: int) -> list[tuple[torch.Tensor, None]]:
    x = torch.randn(images, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    return [(x[: images // 3], None), (x[images // 3 :], None)]


@pytest.mark.parametrize("adc", [Adc(7), Adc("ideal")], ids=["ADC", "no ADC"])
@pytest.mark.parametrize("dac", DACS)
def test_ranges_and_activity_are_those_of_the_processor(dac: str, adc: Adc) -> None:
    """Counts of codes and the vectors that are fitted are the same; percentiles and means to rounding."""
    model, data = network(), batches(20)
    hardware = load_hardware("admm-32x32").replace(dac=DACS[dac], adc=adc)
    mapped = map_network(model, hardware, data[0][0], layers={"4": Choice(bias_rows=40)})
    here, activity = calibrate(mapped, model, data)
    with far_device(most=SHARED):
        there, activity_there = calibrate(mapped, copy.deepcopy(model).to(FAR), data)
    for name, layer in here.layers.items():
        one, other = layer.calibration, there.layers[name].calibration
        assert one is not None
        assert other is not None
        assert one.signed == other.signed
        assert other.x_max == pytest.approx(one.x_max, rel=1e-6)
        pairs: list[tuple[Any, Any]] = [(activity[name], activity_there[name])]
        pairs += [(one.mean, other.mean), (one.mean_square, other.mean_square)]
        pairs += zip(one.adc_steps or (), other.adc_steps or (), strict=True)
        for expected, found in pairs:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_activations_stay_on_the_device() -> None:
    """One batch has more numbers than may be copied."""
    model, data = network()[:1], batches(600)
    assert data[1][0].numel() > SHARED
    mapped = map_network(model, load_hardware("admm-32x32"), data[0][0])
    with far_device(most=SHARED):
        calibrate(mapped, copy.deepcopy(model).to(FAR), data)
        with pytest.raises(HostCopyError):
            data[1][0].to(FAR).cpu()


def test_parts_of_images_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = network(), batches(9)
    mapped, _ = calibrate(map_network(model, load_hardware("admm-32x32"), data[0][0]), model, data)
    parts = [x for x, _ in data]
    here, chosen = HostInputs(parts).vectors(mapped.layers["0"]), np.arange(0, 500, 7)
    monkeypatch.setattr("mapping.chips.calibration_inputs.VALUES_AT_ONCE", 64 * 27 * 2)
    there = DeviceInputs(parts).vectors(mapped.layers["0"])
    assert len(there) == len(here) == 9 * 64
    np.testing.assert_array_equal(there.counts(-128, 256), here.counts(-128, 256))
    np.testing.assert_array_equal(there.some(chosen), here.some(chosen))


def test_inputs_that_are_not_finite_are_refused() -> None:
    model, data = network(), batches(6)
    data[1][0][0, 0, 0, 0] = torch.nan
    mapped = map_network(model, load_hardware("admm-32x32"), data[0][0])
    with far_device(most=SHARED), pytest.raises(XbarError, match="0: the largest calibration input is nan"):
        calibrate(mapped, copy.deepcopy(model).to(FAR), data)
