"""Law 1: on ideal hardware the analog network is the network that holds the decoded weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import Case, cases, decoded, design, designs, holding
from torch import Tensor, nn

from experiments.inputs.networks import build_network
from mapping import analog_network, calibrate, map_network, program_network
from mapping.network.gemm import mappable_layers
from xbar import XbarError
from xbar.hardware.design import Hardware


def on_chip(case: Case, hardware: Hardware, packing: bool = True) -> tuple[Tensor, nn.Module]:
    """Output of the analog network, and the torch network that it stands for."""
    mapped, held = case.on(hardware, packing)
    return analog_network(case.model, program_network(mapped))(case.x), held


def assert_close(y: Tensor, expected: Tensor) -> None:
    assert y.shape == expected.shape
    scale = float(expected.detach().abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(y.double(), expected.detach(), rtol=0, atol=1e-5 * scale)


@given(cases(), designs(), st.booleans())
def test_analog_network_is_the_network_with_decoded_weights(
    case: Case, hardware: Hardware, packing: bool
) -> None:
    y, held = on_chip(case, hardware, packing)
    assert_close(y, held.double()(case.x.double()))


@pytest.mark.parametrize(("slices", "subtract", "tiles"), [(1, "analog", 449), (2, "digital", 882)])
def test_lenet5_on_32_x_32(slices: int, subtract: str, tiles: int) -> None:
    model = build_network("lenet5").eval()
    x = torch.rand(3, 1, 28, 28)
    hardware = design(32, 32, 16, encoding__slices=slices, encoding__subtract=subtract)
    scales = {
        name: float(m.weight.detach().abs().max()) / 16**slices for name, m in mappable_layers(model).items()
    }
    mapped = map_network(model, hardware, x, scales=scales)
    held = holding(model, mapped)
    mapped, _ = calibrate(mapped, held, [(x, x)])
    assert mapped.tiles_per_plane == tiles
    assert mapped.weights_total == mapped.weights_kept == 430_500
    assert {name: layer.positions for name, layer in mapped.layers.items()} == {
        "conv1": 24 * 24,
        "conv2": 8 * 8,
        "fc1": 1,
        "fc2": 1,
    }
    y = analog_network(model, program_network(mapped))(x)
    assert_close(y, held.double()(x.double()))


@given(cases(layers=1), designs(), st.integers(1, 15), st.booleans())
def test_phases_on_an_ideal_adc_are_the_quantised_inputs(
    case: Case, hardware: Hardware, bits: int, packing: bool
) -> None:
    if case.x.min() < 0 and bits == 1:
        bits = 2
    mapped, held = case.on(hardware.replace(dac__bits=bits), packing)
    seen = 1.5 * case.x - 0.1
    signed = bool(case.x.min() < 0)
    top = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    x_max = case.x.abs().max()
    codes = (seen / x_max * top).round().clamp(-top - 1 if signed else 0, top)
    expected = held.double()(codes.double() * (float(x_max) / top))
    assert_close(analog_network(case.model, program_network(mapped))(seen), expected)


@settings(max_examples=30)
@given(cases(), designs())
def test_mapping_leaves_its_arguments_alone(case: Case, hardware: Hardware) -> None:
    weights = {name: t.clone() for name, t in case.model.state_dict().items()}
    masks = {name: mask.clone() for name, mask in case.masks.items()}
    x = case.x.clone()
    on_chip(case, hardware)
    assert all(torch.equal(t, weights[name]) for name, t in case.model.state_dict().items())
    assert all(torch.equal(mask, masks[name]) for name, mask in case.masks.items())
    assert torch.equal(case.x, x)


@settings(max_examples=30)
@given(cases(), designs())
def test_decoded_weights_are_masked_and_never_zero_elsewhere(case: Case, hardware: Hardware) -> None:
    mapped, _ = case.on(hardware)
    for name, layer in mapped.layers.items():
        kept = case.masks.get(name, torch.ones(layer.k, layer.n, dtype=torch.bool)).numpy()
        assert np.array_equal(decoded(mapped, name) != 0, kept)
        assert layer.weights_kept == kept.sum()


def test_weights_on_levels_are_kept() -> None:
    model = nn.Sequential(nn.Linear(40, 30))
    mapped = map_network(model, design(states=16), torch.rand(2, 40))
    again = map_network(holding(model, mapped), design(states=16), torch.rand(2, 40))
    np.testing.assert_allclose(decoded(again, "0"), decoded(mapped, "0"), rtol=1e-6)


def test_k_order_is_channel_then_kernel_row_then_kernel_column() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, (2, 4)))
    mapped = map_network(model, design(states=256), torch.rand(1, 3, 5, 5), scales={"0": 1e-3})
    w = decoded(mapped, "0")
    for c, i, j in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (2, 1, 3)]:
        held = torch.from_numpy(w[(c * 2 + i) * 4 + j]).float()
        torch.testing.assert_close(held, model[0].weight[:, c, i, j].detach(), atol=1.01e-3, rtol=0)


def test_leading_axes_of_a_linear_layer_are_kept() -> None:
    torch.manual_seed(1)
    model, x = nn.Sequential(nn.Linear(6, 3)), torch.rand(2, 5, 6)
    mapped, held = Case(model, x, {}).on(design())
    assert mapped.layers["0"].positions == 5
    assert_close(analog_network(model, program_network(mapped))(x), held.double()(x.double()))


def test_layers_are_in_the_order_in_which_they_run() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 2)
            self.block = nn.ModuleDict({"first": nn.Linear(3, 4)})

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.block["first"](x).relu())

    model, x = Backwards(), torch.rand(2, 3)
    mapped = map_network(model, design(), x)
    assert list(mapped.layers) == ["block.first", "last"]
    assert mapped.digital_elements == {"relu": 4}
    mapped, _ = calibrate(mapped, holding(model, mapped), [(x, x)])
    expected = holding(model, mapped).double()(x.double())
    assert_close(analog_network(model, program_network(mapped))(x), expected)


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.spare = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (nn.Sequential(nn.ReLU()), torch.rand(2, 3), "no nn.Linear, nn.Conv"),
        (Unused(), torch.rand(2, 3), "spare: is not reached"),
        (nn.Sequential(nn.Linear(3, 3)), torch.rand(2, 4), r"example_input of shape \(2, 4\)"),
        (nn.Sequential(nn.Linear(3, 3)), torch.rand(0, 3), "at least one input"),
    ],
)
def test_networks_that_cannot_be_mapped_are_refused(model: nn.Module, x: Tensor, message: str) -> None:
    with pytest.raises(XbarError, match=message) as caught:
        map_network(model, design(), x)
    assert "\n" not in str(caught.value)
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": {"O": torch.ones(3, 2)}}, "unknown name 'O'; .*allowed: 0"),
        ({"masks": {"0": torch.ones(2, 3)}}, r"mask of 0: shape \(2, 3\), the GEMM matrix is \(3, 2\)"),
        ({"scales": {"1": 1.0}}, "unknown name '1'"),
        ({"scales": {"0": 0.0}}, "= 0.0: must be a positive number"),
        ({"scales": {"0": float("nan")}}, "= nan: must be a positive number"),
    ],
)
def test_masks_and_scales_that_do_not_fit_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(XbarError, match=message):
        map_network(nn.Sequential(nn.Linear(3, 2)), design(), torch.rand(1, 3), **arguments)


def test_a_network_without_the_mapped_layer_is_refused() -> None:
    x = torch.rand(2, 3)
    mapped, _ = Case(nn.Sequential(nn.Linear(3, 2)), x, {}).on(design())
    with pytest.raises(XbarError, match="0: mapped, but Linear has no such layer"):
        analog_network(nn.Linear(3, 2), program_network(mapped))
    with pytest.raises(XbarError, match=r"^0: its GEMM matrix is \(3, 4\), that of the mapping \(3, 2\)$"):
        analog_network(nn.Sequential(nn.Linear(3, 4)), program_network(mapped))


def test_a_mapping_that_is_not_calibrated_is_refused() -> None:
    model, x = nn.Sequential(nn.Linear(3, 2)), torch.rand(2, 3)
    with pytest.raises(XbarError, match="0: not calibrated"):
        analog_network(model, program_network(map_network(model, design(), x)))


def test_an_empty_axis_gives_an_empty_output() -> None:
    """A sequence of no images, as a recurrent layer passes it on."""
    model = nn.Sequential(nn.Linear(3, 2))
    mapped, _ = Case(model, torch.rand(2, 3), {}).on(design())
    network = analog_network(model, program_network(mapped))
    assert network(torch.empty(5, 0, 3)).shape == (5, 0, 2)
    assert network(torch.empty(0, 3)).shape == (0, 2)
