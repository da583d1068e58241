"""Training on chips on a device of its own: the same chips, and no copy to the host in a step."""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from far_device import FAR, far_device, near
from torch import Tensor, nn

from mapping import Choice, calibrate, map_network
from mapping.chip_training.analog_training import TrainableNetwork, trainable_network
from xbar import Adc, Dac, Hardware, ProgrammingNoise, WhiteNoise, XbarError, load_hardware
from xbar.multiply.on_device import stacked


@pytest.fixture(autouse=True)
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = importlib.import_module("torch.optim.optimizer")
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: ["cpu", "meta"])


@contextlib.contextmanager
def torch_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Chips on the processor are computed by operators of torch."""
    with monkeypatch.context() as patch:
        for module in ("mapping.chips.analog", "mapping.chip_training.analog_training"):
            patch.setattr(f"{module}.by_torch", lambda device: True)
        yield


def design(**changes: Any) -> Hardware:
    noise = {
        "device__programming": ProgrammingNoise("lognormal", 0.1),
        "device__read_noise": WhiteNoise(0.02),
    }
    return load_hardware("admm-32x32").replace(dac=Dac(6, 0.25), adc=Adc(7), **noise, **changes)


def network() -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 20))
    x = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(4))
    return model, x, torch.arange(12) % 5


CASES: dict[str, dict[str, Any]] = {
    "tiles": {"multiply": "tiles"},
    "weights": {"multiply": "torch"},
    "learned ranges": {"multiply": "tiles", "ranges": "learned"},
    "learned scales": {"multiply": "torch", "ranges": "learned"},
    "learned ranges of ADCs": {"multiply": "tiles", "ranges": "learned-adc"},
}


def trainable(case: str, hardware: Hardware | None = None) -> tuple[TrainableNetwork, Tensor, Tensor]:
    """A network in which some weights are masked, others are 0 and free, and a bias is on word lines."""
    model, x, y = network()
    with torch.no_grad():
        model[3].weight[:, ::7] = 0
        model[3].weight[4] = 0  # a column without a scale of its own
        model[0].weight[1] = 0
        model[3].bias *= 0.2
    mask = torch.ones(64, 20, dtype=torch.bool)
    mask[5:20, :6] = False
    layers = {"3": Choice(bias_rows=4)}
    mapped = map_network(model, hardware or design(), x, masks={"3": mask}, layers=layers)
    mapped, _ = calibrate(mapped, model, [(x, y)])
    return trainable_network(model, mapped, **CASES[case]), x, y


def losses(network: TrainableNetwork, x: Tensor, y: Tensor, steps: int) -> list[float]:
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    found = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_first_step_is_that_of_the_kernels(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of the cells, outputs and gradients: to rounding, but for codes at a rounding boundary."""
    here, x, y = trainable(case)
    there = copy.deepcopy(here)
    expected = here(x)
    nn.functional.cross_entropy(expected, y).backward()
    with torch_path(monkeypatch):
        found = there(x)
        nn.functional.cross_entropy(found, y).backward()
    for name, layer in here.layers.items():
        assert there.layers[name].there is not None
        size = float(layer.weight.abs().max())
        torch.testing.assert_close(there.layers[name].weight, layer.weight, rtol=0, atol=2e-6 * size)
        assert (layer.bias is None) == (there.layers[name].bias is None)
    size = float(expected.detach().abs().max())
    off = (found - expected).detach().abs()
    if CASES[case]["multiply"] == "torch":
        assert float(off.max()) < 1e-5 * size
    assert float((off > 1e-4 * size).float().mean()) < 0.05
    gradients = [
        (one.grad, other.grad) for one, other in zip(here.parameters(), there.parameters(), strict=True)
    ]
    for one, other in gradients:
        torch.testing.assert_close(other, one, rtol=0.02, atol=0.02 * float(one.abs().max()))


@pytest.mark.parametrize("case", CASES)
def test_no_step_copies_anything_to_the_host(case: str) -> None:
    here, x, y = trainable(case)
    with far_device():
        there = copy.deepcopy(here).to(FAR)
        far = losses(there, x.to(FAR), y.to(FAR), 4)
        values = {name: near(value).clone() for name, value in there.state_dict().items()}
    assert far == pytest.approx(losses(here, x, y, 4), rel=0.03)
    assert values.keys() == here.state_dict().keys()
    for name, value in here.state_dict().items():
        torch.testing.assert_close(values[name], value, rtol=0, atol=0.02 * float(value.abs().max()))


def test_a_training_ends_on_the_host_with_the_states_of_its_last_weights() -> None:
    here, x, y = trainable("tiles")
    with far_device():
        there = copy.deepcopy(here).to(FAR)
        losses(there, x.to(FAR), y.to(FAR), 2)
    with far_device(copies=True):
        _, mapped = there.trained()
        weights = {name: near(value).clone() for name, value in there.model.state_dict().items()}
    here.model.load_state_dict(weights)
    for name, layer in here.trained()[1].layers.items():
        np.testing.assert_array_equal(layer.state, mapped.layers[name].state)


def test_weights_that_are_not_finite_are_named() -> None:
    here, x, _ = trainable("tiles")
    with far_device(copies=True):
        there = copy.deepcopy(here).to(FAR)
        with torch.no_grad():
            there.model[3].weight[2, 3] = torch.nan
        with pytest.raises(XbarError, match=r"3: has weights that are not finite"):
            there(x.to(FAR))


def test_layers_that_only_the_processor_programs_go_there() -> None:
    """Wires: the weights are copied in each step, and the chips are those of the kernels."""
    here, x, _ = trainable("tiles", design(crossbar__r_wl=1.0, crossbar__r_bl=1.0))
    with far_device(copies=True):
        there = copy.deepcopy(here).to(FAR)
        found = near(there(x.to(FAR)))
    assert all(layer.there is None for layer in there.layers.values())
    expected = here(x)
    assert float(((found - expected).abs() > 1e-4 * expected.abs().max()).float().mean()) < 0.05
    with far_device(), pytest.raises(RuntimeError, match="copied to the host"):
        copy.deepcopy(here).to(FAR)(x.to(FAR))


def test_the_noise_of_converters_goes_with_their_learned_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns on the device are those of a chip whose ADC steps are the learned ones."""
    hardware = design().replace(adc=Adc(7, noise_lsb=0.7, gain_sigma=0.05, bandwidth=1e8))
    here, x, _ = trainable("learned ranges of ADCs", hardware)
    for layer in here.layers.values():
        layer.adc_range.change.data.fill_(0.4)
    there = copy.deepcopy(here)
    here(x)
    with torch_path(monkeypatch):
        there(x)
    for name, layer in here.layers.items():
        analog = layer.analog
        expected = stacked(analog.columns, layer.mapped.inputs, layer.mapped.n)
        found = there.layers[name].there.there.columns
        for part in ("gain", "step", "floor"):
            own, other = getattr(expected, part), getattr(found, part)
            used = own != 0
            torch.testing.assert_close(other[used], own[used], rtol=1e-4, atol=0)
