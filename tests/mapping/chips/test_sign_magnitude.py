"""Signed inputs as sign and magnitude: in the multiply, its reference, calibration, training and costs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from networks import design, device
from torch import nn

from mapping import analog_network, calibrate, map_network, program_network, trainable_network
from power.counts.events import layer_events, layer_time_s
from power.counts.resolution import lossless_bits
from xbar import WhiteNoise, XbarError
from xbar.hardware.converters import Dac
from xbar.hardware.files import load_hardware
from xbar.multiply.converters import code_range, drive
from xbar.multiply.reference import mvm_reference

SIGN = {"dac__signed": "sign-magnitude"}


@pytest.mark.parametrize("kind", ["differential", "offset"])
@pytest.mark.parametrize(
    ("bits", "width", "phases"), [(2, 1, 1), (5, 1, 4), (8, 3, 3), (8, 8, 1), (16, 1, 15)]
)
@pytest.mark.parametrize("after", ["phase", "accumulation"])
def test_without_converters_the_product_is_that_of_the_codes(
    kind: str, bits: int, width: int, phases: int, after: str
) -> None:
    """Law 1: codes -(2^(B-1) - 1) ... 2^(B-1) - 1, rounded half to even, times the weights."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(11, 5)), torch.randn(30, 11)
    hardware = design(8, 12, encoding__kind=kind, adc__after="phase").replace(dac=Dac(bits, 0.25, width))
    hardware = hardware.replace(**SIGN, adc__after=after)
    assert hardware.dac.phases_of(True) == phases
    mapped = calibrate(map_network(model, hardware, x), model, [(x, None)])[0]
    layer = mapped.layers["0"]
    top = 2 ** (bits - 1) - 1
    code = np.clip(np.rint(x.numpy() / np.float32(layer.calibration.x_max) * top), -top, top)
    w = layer.state * layer.scale
    expected = code / top * layer.calibration.x_max @ w + model[0].bias.detach().numpy()
    for dtype in (np.float32, np.float64):
        y = analog_network(model, program_network(mapped, dtype=dtype))(x).numpy()
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-5 * np.abs(expected).max())


def test_drivers_give_either_sign_with_their_errors() -> None:
    """Gain and INL turn with the sign, an offset does not; -0 is 0."""
    base = design(4, 8).replace(dac=Dac(4, 0.25, 3))
    made = drive(base.replace(**SIGN, dac__gain_error=0.1, dac__offset=0.025, adc__bits=8), True)
    volts, _ = made.voltages(np.array([-7, -1, 0, 1, 7]))
    np.testing.assert_allclose(volts[0], 1.1 * np.array([-7, -1, 0, 1, 7]) / 7 + 0.1, rtol=1e-6)
    assert made.code_range == (-7, 7)


def error_of_converters(hardware: Any, x: torch.Tensor, model: nn.Module) -> float:
    """Rms error of the outputs by the converters alone, relative to the rms output, at the fitted step."""
    mapped = calibrate(map_network(model, hardware, x), model, [(x, None)])[0]
    fine = calibrate(map_network(model, hardware.replace(adc__bits=24), x), model, [(x, None)])[0]
    y, exact = (analog_network(model, program_network(m))(x).double() for m in (mapped, fine))
    return float((y - exact).square().mean().sqrt() / exact.square().mean().sqrt())


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_twos_complement_has_twice_the_error_at_the_best_step(bits: int) -> None:
    """Small inputs of both signs: all phases of a two's complement code are full of set bits below 0, whose
    large currents cancel in the end; those of a magnitude are not."""
    torch.manual_seed(2)
    model, x = nn.Sequential(nn.Linear(128, 32, bias=False)), torch.randn(400, 128)
    hardware = load_hardware("admm-32x32").replace(crossbar__rows=128, crossbar__cols=32, adc__bits=bits)
    twos, sign = (error_of_converters(hardware.replace(dac__signed=kind), x, model) for kind in KINDS)
    assert 1.7 < twos / sign < 2.6


KINDS = ("twos-complement", "sign-magnitude")


def test_converters_take_either_sign() -> None:
    hardware = load_hardware("admm-32x32").replace(encoding__subtract="digital", adc__bits=6)
    assert code_range(hardware, True) == (0, 63)
    assert code_range(hardware.replace(**SIGN), True) == (-32, 31)
    assert code_range(hardware.replace(**SIGN), False) == (0, 63)


@pytest.mark.parametrize("subtract", ["analog", "digital"])
def test_lossless_bits_lose_nothing(subtract: str) -> None:
    torch.manual_seed(3)
    model, x = nn.Sequential(nn.Linear(9, 4)), torch.randn(60, 9)
    hardware = design(12, 8, dac=Dac(5, 0.25), encoding__subtract=subtract).replace(**SIGN)
    mapped = calibrate(map_network(model, hardware, x), model, [(x, None)])[0]
    bits = lossless_bits(mapped.layers["0"], hardware)
    exact = analog_network(model, program_network(mapped))(x)
    with_adc = hardware.replace(adc__bits=bits, adc__range="calibrated")
    again = calibrate(map_network(model, with_adc, x), model, [(x, None)])[0]
    torch.testing.assert_close(analog_network(model, program_network(again))(x), exact, rtol=1e-5, atol=1e-5)


def test_kernel_and_reference_agree_with_noise() -> None:
    torch.manual_seed(4)
    model, x = nn.Sequential(nn.Linear(20, 6)), torch.randn(50, 20)
    hardware = design(16, 16, device=device(read_noise=WhiteNoise(0.05)), dac=Dac(6, 0.25, 2)).replace(
        **SIGN, adc__bits=7
    )
    mapped = calibrate(map_network(model, hardware, x), model, [(x, None)])[0]
    network = analog_network(model, program_network(mapped))
    analog = network[0].analog
    codes = np.clip(np.rint(x.numpy() * 10), -31, 31).astype(np.int16)
    fast = analog.multiply(codes)
    slow = mvm_reference(codes, analog.columns, 6, drive=analog.drive, first=0, dtype=torch.float32)
    differs = np.abs(fast - slow.numpy()) > 1e-4 * np.abs(fast).max()
    assert differs.mean() < 0.01, "but for rounding at a converter's boundary"


def test_training_on_chips() -> None:
    """The range that is not clipped ends at -x_max, and gradients pass within it."""
    torch.manual_seed(5)
    model, x = nn.Sequential(nn.Linear(4, 3)), torch.randn(40, 4)
    hardware = design(8, 8, dac=Dac(4, 0.25)).replace(**SIGN, adc__bits=8)
    mapped = calibrate(map_network(model, hardware, x), model, [(x, None)])[0]
    x_max = mapped.layers["0"].calibration.x_max
    network = trainable_network(model, mapped)
    inputs = torch.tensor([[-1.05, -0.99, 0.99, 1.05]]).mul(x_max).requires_grad_()
    network(inputs).sum().backward()
    assert (inputs.grad != 0).tolist() == [[False, True, True, False]]


def test_a_phase_less_is_a_phase_less_of_drives_conversions_and_time() -> None:
    torch.manual_seed(6)
    model, x = nn.Sequential(nn.Linear(30, 8)), torch.randn(40, 30)
    for signed, seven in ((x, True), (x.abs(), False)):
        events, times, activity = {}, {}, {}
        for kind in KINDS:
            hardware = load_hardware("admm-32x32").replace(dac__signed=kind)
            mapped, activity[kind] = calibrate(map_network(model, hardware, signed), model, [(signed, None)])
            layer = mapped.layers["0"]
            events[kind], times[kind] = layer_events(layer, hardware), layer_time_s(layer, hardware)
            assert (activity[kind]["0"] <= hardware.dac.phases_of(layer.calibration.signed)).all()
        twos, sign = KINDS
        for part in ("row_drives", "conversions", "array_reads", "sum_updates", "line_phases"):
            assert events[sign][part] == events[twos][part] * (7 / 8 if seven else 1), part
        assert events[sign]["fetched_bytes"] == events[twos]["fetched_bytes"], (
            "the sign is a bit that is fetched"
        )
        assert times[sign] == pytest.approx(times[twos] * (7 / 8 if seven else 1))
        codes = np.rint(signed.numpy() / layer.calibration.x_max * (127 if seven else 255)).astype(int)
        set_bits = np.mean([[bin(abs(c)).count("1") for c in row] for row in codes], axis=0)
        np.testing.assert_allclose(activity[sign]["0"], set_bits)


def test_what_has_no_effect_is_refused() -> None:
    with pytest.raises(
        XbarError, match=re.escape("dac.signed = 'sign-magnitude': has no effect with dac.bits")
    ):
        Dac("ideal", signed="sign-magnitude")
    model, x = nn.Sequential(nn.Linear(3, 2)), -torch.rand(5, 3)
    hardware = design(8, 8, dac=Dac(1, 0.25)).replace(**SIGN)
    with pytest.raises(XbarError, match=r"negative inputs; they need dac\.bits of at least 2"):
        calibrate(map_network(model, hardware, x), model, [(x, None)])
