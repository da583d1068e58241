"""Inputs of layers: integers that were truncated or wrapped, and numbers that are not finite."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mapping import (
    Choice,
    MappedNetwork,
    analog_network,
    calibrate,
    compensate,
    map_network,
    program_network,
    read_known_inputs,
    trainable_network,
)
from mapping.training.loop import BatchSource
from xbar import XbarError, load_hardware

DTYPES = [torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool, torch.complex64]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))


def images(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    pixels = torch.randint(0, 2, (4, 1, 6, 6), generator=torch.Generator().manual_seed(1))
    return pixels.to(dtype)


def mapped(model: nn.Module, hardware: str = "admm-32x32") -> MappedNetwork:
    found = map_network(model, load_hardware(hardware), images())
    return calibrate(found, model, [(images(), torch.zeros(4))])[0]


def refused(call: object, *arguments: object) -> str:
    with pytest.raises(XbarError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_inputs_of_an_analog_layer_that_torch_would_refuse(dtype: torch.dtype) -> None:
    """Outputs had the type of the inputs: int64 cut them, uint8 wrapped them, all were True as bool."""
    model = network()
    with pytest.raises(RuntimeError):
        model(images(dtype))
    on = mapped(model)
    analog = analog_network(model, program_network(on))
    trainable = trainable_network(model, on)
    by_weights = trainable_network(model, on, multiply="torch")
    for chip in (analog, trainable, by_weights):
        message = refused(chip, images(dtype))
        assert message.startswith(
            f"0: inputs are {str(dtype).removeprefix('torch.')}; must be floating point"
        )
    whole: BatchSource = [(images(dtype), torch.zeros(4))]
    assert refused(calibrate, on, model, whole).startswith("0: inputs are")
    assert refused(read_known_inputs, on, model, whole).startswith("0: inputs are")


def test_floating_inputs_keep_their_type() -> None:
    model = network()
    analog = analog_network(model, program_network(mapped(model)))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        assert analog(images(dtype)).dtype == dtype
        torch.testing.assert_close(analog(images(dtype)).float(), analog(images()), rtol=1e-2, atol=1e-2)


class Reader(nn.Module):
    """Token ids go into an embedding; layers see what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.body = nn.Linear(6, 8)
        self.head = nn.Linear(8, 11)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.embed(ids)).relu())


def test_token_ids_of_a_whole_network_stay_what_they_are() -> None:
    torch.manual_seed(0)
    model, ids = Reader(), torch.randint(0, 11, (5, 7))
    on = map_network(model, load_hardware("ideal"), ids, layers={"head": Choice(digital=True)})
    on, _ = calibrate(on, model, [(ids, ids)])
    chip = program_network(on)
    chip = compensate(chip, read_known_inputs(on, model, [(ids, ids)]))
    error = (analog_network(model, chip)(ids) - model(ids)).norm() / model(ids).norm()
    assert error < 0.02
    assert trainable_network(model, on)(ids).shape == (5, 7, 11)


def test_inputs_that_are_no_tensor() -> None:
    model = network()
    on = mapped(model)
    for chip in (analog_network(model, program_network(on)), trainable_network(model, on)):
        assert "0: its input is a list" in refused(chip, [1.0])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_biases_that_are_no_numbers(value: float) -> None:
    """A NaN bias was mapped without a word, where a NaN weight is refused."""
    model = network()
    with torch.no_grad():
        model[3].bias[2] = value
    assert refused(map_network, model, load_hardware("ideal"), images()) == (
        "3: has biases that are not finite numbers"
    )
    good = network()
    on = mapped(good)
    training = trainable_network(good, on)
    with torch.no_grad():
        training.model[3].bias[2] = value
    assert refused(training, images()).startswith("3: has biases that are not finite")
