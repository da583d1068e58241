"""A chip is refused by a network that is not the one that was mapped; the same network fits in every form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from networks import design, holding
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from mapping import (
    MappedNetwork,
    analog_network,
    calibrate,
    chip_accuracy,
    compensate,
    crossbar_form,
    load_chip,
    map_network,
    program_network,
    read_known_inputs,
    save_chip,
    trainable_network,
)
from xbar import XbarError


def network() -> nn.Sequential:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    model.train()(torch.rand(32, 1, 6, 6) * 3)
    return model.eval()


def mapping_of(model: nn.Module, x: Tensor) -> MappedNetwork:
    return calibrate(map_network(model, design(), x), model, [(x, x)])[0]


@pytest.fixture
def x() -> Tensor:
    return torch.rand(5, 1, 6, 6)


def test_the_chip_of_the_folded_form_does_not_fit_the_unfolded_network(x: Tensor) -> None:
    """Batch norm acted twice: 99.4 became 37.6 %."""
    model = network()
    form = crossbar_form(model, x)
    mapped = mapping_of(form, x)
    chip = program_network(mapped)
    expected = holding(form, mapped)(x)
    torch.testing.assert_close(analog_network(form, chip)(x), expected, rtol=1e-4, atol=1e-4)
    calls: list[Callable[[], object]] = [
        lambda: analog_network(model, chip),
        lambda: calibrate(mapped, model, [(x, x)]),
        lambda: trainable_network(model, mapped),
        lambda: read_known_inputs(mapped, model, [(x, x)]),
        lambda: chip_accuracy(mapped, model, [(x, torch.zeros(5).long())]),
    ]
    for call in calls:
        with pytest.raises(XbarError, match=r"1: is of type BatchNorm2d; .* of type Identity: give"):
            call()


def test_neither_does_the_chip_of_the_unfolded_network_fit_the_folded_one(x: Tensor) -> None:
    model = network()
    chip = program_network(mapping_of(model, x))
    with pytest.raises(XbarError, match=r"1: is of type Identity; when .* it was of type BatchNorm2d"):
        analog_network(crossbar_form(model, x), chip)


def change(part: str, value: Callable[[Tensor], Tensor]) -> Callable[[nn.Sequential], None]:
    def act(model: nn.Sequential) -> None:
        parameter = model.get_parameter(part)
        parameter.data = value(parameter.data)

    return act


def other_stride(model: nn.Sequential) -> None:
    model[0].dilation = (2, 2)


def no_bias(model: nn.Sequential) -> None:
    model[4].bias = None


def lora(model: nn.Sequential) -> None:
    """As some tools do it: the forward of the layer itself is replaced."""
    layer, a = model[4], torch.rand(64, 3)
    model[4].forward = lambda x: nn.functional.linear(x, layer.weight, layer.bias) + x @ a


def more(model: nn.Sequential) -> None:
    model.add_module("5", nn.Softmax(-1))


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (change("0.weight", lambda w: 1.3 * w), "0: its weights are not those that were mapped"),
        (change("4.weight", lambda w: w.flip(0)), "4: its weights are not those that were mapped"),
        (change("4.bias", lambda b: b + 0.01), "4: its bias is not the one that was mapped"),
        (no_bias, "4: its bias is not the one that was mapped"),
        (other_stride, r"0: is a conv2d of 1 group, .*dilation=\(2, 2\).* mapped was"),
        (lora, "4: its forward was replaced on the module itself"),
        (more, "5: is of type Softmax; when the network was mapped, it was not there"),
        (lambda model: weight_norm(model[4]), "4: its weight is computed"),
        (lambda model: spectral_norm(model[4]), "4: its weight is computed"),
        (lambda model: parametrizations.weight_norm(model[4]), "4: its weight is computed"),
        (lambda model: prune.l1_unstructured(model[4], "weight", 0.5), "4: its weight is computed"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_what_does_not_fit_is_refused(act: Callable[[nn.Sequential], None], words: str, x: Tensor) -> None:
    model = network()
    chip = program_network(mapping_of(model, x))
    act(model)
    with pytest.raises(XbarError, match=words):
        analog_network(model, chip)


def test_what_was_mapped_fits_in_every_form(x: Tensor, tmp_path: Path) -> None:
    """Float weights, those on levels, from a file, trained on; with other digital parameters."""
    model = network()
    mapped = mapping_of(model, x)
    chip = program_network(mapped)
    y = analog_network(model, chip)(x)
    assert torch.equal(analog_network(holding(model, mapped), chip)(x), y)
    save_chip(chip, tmp_path / "chip.safetensors")
    rebuilt = network()
    rebuilt.load_state_dict(model.state_dict())
    assert torch.equal(analog_network(rebuilt, load_chip(tmp_path / "chip.safetensors"))(x), y)
    trainable = trainable_network(rebuilt, mapped)
    optimizer = torch.optim.SGD(trainable.parameters(), 0.1)
    trainable(x).square().sum().backward()
    optimizer.step()
    trained, again = trainable.trained()
    analog_network(trained, program_network(again))
    trainable_network(trained, mapped)  # its weights are no longer those of the mapping, and need not be
    digital = copy.deepcopy(model)
    digital[1].running_mean += 1
    analog_network(digital, chip)


def test_reads_of_other_weights_do_not_compensate_a_chip(x: Tensor) -> None:
    """The unfolded network has layers of the same names and shapes."""
    model = network()
    form = crossbar_form(model, x)
    known = read_known_inputs(mapping_of(form, x), form, [(x, x)])
    compensate(program_network(mapping_of(form, x)), known)
    with pytest.raises(XbarError, match="known: reads of other weights or input ranges of 0"):
        compensate(program_network(mapping_of(model, x)), known)


def test_a_layer_whose_forward_was_replaced_is_not_mapped(x: Tensor) -> None:
    model = network()
    lora(model)
    with pytest.raises(XbarError, match=r"4: its forward was replaced .* or leave the layer digital"):
        map_network(model, design(), x)
    recurrent = nn.Sequential(nn.LSTM(3, 4))
    recurrent[0].forward = lambda x: (x, x)
    with pytest.raises(XbarError, match="0: its forward was replaced"):
        crossbar_form(recurrent, torch.rand(2, 5, 3))


def test_hooks_that_change_an_output_stay(x: Tensor) -> None:
    """A low-rank update by a hook is digital, on the chip as off it."""
    model, a = network(), torch.rand(64, 3)
    model[4].register_forward_hook(lambda module, args, y: y + args[0] @ a)
    mapped = mapping_of(model, x)
    y = analog_network(model, program_network(mapped))(x)
    torch.testing.assert_close(y, holding(model, mapped)(x), rtol=1e-4, atol=1e-4)
    assert mapped.digital_macs == {"mm": 64 * 3}


def test_a_weight_that_was_zero_and_has_grown_is_noticed() -> None:
    """LoRA's B after training on: the chip is that of the old network."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 4, bias=False)), torch.rand(8, 6)
    model[1].weight.data.zero_()
    mapped = calibrate(map_network(model, design(), x), model, [(x, None)])[0]
    chip = program_network(mapped)
    analog_network(model, chip)
    model[1].weight.data.normal_()
    with pytest.raises(XbarError, match="1: its weights are not those that were mapped"):
        analog_network(model, chip)
