"""Law 1 for every kind of layer: on ideal hardware it gives what torch gives with the weights it holds."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import decoded, design, designs, holding, masks_of, seeds
from torch import Tensor, nn

from mapping import (
    Choice,
    MappedNetwork,
    analog_network,
    calibrate,
    decoded_weights,
    map_network,
    program_network,
)
from mapping.network.gemm import from_gemm, to_gemm
from xbar import Hardware, XbarError
from xbar.conductances.encoding import levels, slice_weights
from xbar.hardware.noise import WhiteNoise

CONVOLUTIONS = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """Any convolution of one to three dimensions, and an input that it takes."""
    dimensions = draw(st.sampled_from([1, 2, 2, 3]))
    transposed = draw(st.booleans())
    most = 2 if dimensions == 3 else 3
    kernel, stride, dilation = (draw(st.tuples(*[st.integers(1, most)] * dimensions)) for _ in range(3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, filters = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    options: dict = {"dilation": dilation, "groups": groups, "bias": draw(st.booleans())}
    if transposed:
        options["padding"] = tuple(draw(st.integers(0, r // 2)) for r in reach)
        options["output_padding"] = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
        size = [draw(st.integers(2, 4)) for _ in kernel]
    else:
        options["padding"] = draw(st.sampled_from([0, 1, "same", "valid"]))
        options["padding_mode"] = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
        if options["padding"] == "same":
            stride = (1,) * dimensions
        size = [r + 1 + draw(st.integers(1, 3)) for r in reach]
    torch.manual_seed(draw(seeds))
    layer = CONVOLUTIONS[dimensions][transposed](channels, filters, kernel, stride, **options)
    return layer, torch.rand(draw(st.integers(1, 3)), channels, *size) - draw(st.sampled_from([0.0, 0.5]))


def assert_law_1(model: nn.Module, x: Tensor, hardware: Hardware, packing: bool = True, **arguments) -> None:
    mapped = map_network(model, hardware, x, packing=packing, **arguments)
    held = holding(model, mapped)
    mapped, _ = calibrate(mapped, held, [(x, x)])
    y, expected = analog_network(model, program_network(mapped))(x), held.double()(x.double())
    assert y.shape == expected.shape
    torch.testing.assert_close(y.double(), expected.detach(), rtol=0, atol=tolerance(mapped, expected))


def tolerance(mapped: MappedNetwork, expected: Tensor) -> float:
    """1e-5 of the output, and float32's rounding of all the current that a layer's bit lines can carry: an
    output may be a small difference of such."""
    currents = []
    for name, layer in mapped.layers.items():
        device, encoding = mapped.layers[name].hardware.device, mapped.layers[name].hardware.encoding
        cells = np.abs(slice_weights(encoding, device)).sum() * device.g_max / device.unit
        currents.append(layer.calibration.x_max * layer.inputs * layer.scale.max() * cells)
    return 1e-5 * float(expected.detach().abs().max()) + 2.0**-24 * max(currents)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=120)
@given(convolutions(), designs(), st.booleans(), st.data())
def test_every_convolution(
    case: tuple[nn.Module, Tensor], hardware: Hardware, packing: bool, data: st.DataObject
) -> None:
    model, x = nn.Sequential(case[0]), case[1]
    masks = {"0": data.draw(masks_of(to_gemm(case[0]).t()))} if data.draw(st.booleans()) else {}
    assert_law_1(model, x, hardware, packing, masks=masks)


@given(convolutions())
def test_a_gemm_matrix_makes_the_weight_again(case: tuple[nn.Module, Tensor]) -> None:
    layer, matrix = case[0], to_gemm(case[0])
    assert torch.equal(from_gemm(matrix, layer), layer.weight)
    expected = math.prod(layer.kernel_size) * layer.out_channels if layer.transposed else layer.out_channels
    assert matrix.shape[1] == expected
    assert matrix.numel() == layer.weight.numel()


@pytest.mark.parametrize(
    ("layer", "x"),
    [(nn.Conv2d(2, 3, 2), torch.rand(2, 4, 4)), (nn.Linear(3, 2), torch.rand(3))],
    ids=["conv", "linear"],
)
def test_one_input_without_a_batch(layer: nn.Module, x: Tensor) -> None:
    model = nn.Sequential(layer)
    mapped = map_network(model, design(), x[None])
    held = holding(model, mapped)
    mapped, _ = calibrate(mapped, held, [(x, x)])
    torch.testing.assert_close(analog_network(model, program_network(mapped))(x), held(x))


def test_a_depthwise_convolution_lies_on_diagonals() -> None:
    """64 groups of 9 x 1: 14 stand on a tile of 128 word lines, so five tiles in place of 5 x 1 dense bands
    of 64 columns with 8,192 cells each."""
    layer = nn.Conv2d(64, 64, 3, groups=64, padding=1)
    mapped = map_network(nn.Sequential(layer), design(128, 64, 16), torch.rand(1, 64, 8, 8))
    found = mapped.layers["0"]
    assert found.state is not None
    assert found.state.shape == (9, 64)
    assert [len(tile.cols) for tile in found.tiles] == [14, 14, 14, 14, 8]
    assert [len(tile.rows) for tile in found.tiles] == [126, 126, 126, 126, 72]
    assert mapped.weights_total == mapped.weights_kept == 576
    assert mapped.utilisation == pytest.approx(576 / (5 * 128 * 64))


def test_a_group_higher_than_a_tile_has_bands_of_its_own() -> None:
    layer = nn.Conv2d(8, 6, 3, groups=2)
    mapped = map_network(nn.Sequential(layer), design(20, 64, 16), torch.rand(1, 8, 4, 4))
    bands = mapped.layers["0"].bands
    assert [(band.first_row, band.height) for band in bands] == [(0, 20), (20, 16), (36, 20), (56, 16)]
    assert [list(band.cols) for band in bands] == [[0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5]]


def test_decoded_weights_of_groups_are_what_the_cells_hold() -> None:
    model = nn.Sequential(nn.Conv2d(6, 9, 2, groups=3))
    mapped = map_network(model, design(5, 7), torch.rand(1, 6, 3, 3))
    chip = program_network(mapped)
    np.testing.assert_allclose(decoded_weights(chip, "0"), decoded(mapped, "0"), rtol=1e-6)


@given(st.integers(1, 3), designs(), seeds)
def test_a_bias_on_word_lines(rows: int, hardware: Hardware, seed: int) -> None:
    torch.manual_seed(seed)
    model, x = nn.Sequential(nn.Linear(7, 5)), torch.rand(4, 7)
    mapped = map_network(model, hardware, x, layers={"0": Choice(bias_rows=rows)}, scales={"0": 0.5})
    assert mapped.layers["0"].inputs == 7 + rows
    mapped, activity = calibrate(mapped, model, [(x, x)])
    layer = mapped.layers["0"]
    assert layer.bias_state is not None
    assert layer.calibration is not None
    assert activity["0"].shape == (7 + rows,)
    values = np.concatenate([[0.0], levels(hardware.encoding, hardware.device)])
    values *= 0.5 * layer.calibration.x_max
    bias = (np.sign(layer.bias_state) * values[np.abs(layer.bias_state.astype(int))]).sum(0)
    assert np.abs(bias - layer.bias).max() <= rows * max(np.diff(values)) * (1 + 1e-6)
    held = holding(model, mapped).double()
    held[0].bias.data = torch.from_numpy(bias)
    chip = program_network(mapped, dtype=np.float64)
    y, expected = analog_network(model, chip, dtype=np.float64)(x), held(x.double())
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=tolerance(mapped, expected))


def test_a_bias_that_its_word_lines_cannot_carry_is_refused() -> None:
    model, x = nn.Sequential(nn.Linear(4, 2)), torch.rand(3, 4)
    model[0].bias.data[:] = 7.0
    choice = {"Linear": Choice(bias_rows=1)}
    mapped = map_network(model, design(), x / x.max(), layers=choice, scales={"0": 1.0})
    with pytest.raises(
        XbarError, match=r"0: bias_rows = 1: .* needs at least 3, each of which gives at most 3"
    ):
        calibrate(mapped, model, [(x / x.max(), x)])
    with pytest.raises(XbarError, match="0: its bias is on word lines; call"):
        program_network(mapped)
    with pytest.raises(XbarError, match="0: a bias on word lines needs a layer of one group"):
        map_network(nn.Sequential(nn.Conv1d(2, 2, 1, groups=2)), design(), torch.rand(1, 2, 3),
                    layers={"0": Choice(bias_rows=1)})  # fmt: skip


class Twice(nn.Module):
    """One layer called on two sizes, and one weight that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3)
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(self.conv(x).relu()).mean((2, 3))
        y = torch.cat([y, y], 1)
        return self.b(self.a(y).relu())


def test_several_calls_and_a_shared_weight() -> None:
    torch.manual_seed(0)
    model, x = Twice(), torch.rand(3, 2, 7, 7)
    mapped = map_network(model, design(), x)
    assert {name: layer.positions for name, layer in mapped.layers.items()} == {"conv": 34, "a": 1, "b": 1}
    assert_law_1(model, x, design())


def test_read_noise_of_a_second_call_is_its_own() -> None:
    model, x = nn.Sequential(layer := nn.Linear(4, 4, bias=False), layer), torch.rand(2, 4)
    layer.weight.data = torch.eye(4)
    hardware = design().replace(device__read_noise=WhiteNoise(0.1))
    mapped, _ = calibrate(map_network(model, hardware, x), model, [(x, x)])
    network = analog_network(model, program_network(mapped))
    network(x)
    assert network[0].analog.vectors == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_keep_theirs(dtype: torch.dtype) -> None:
    model, x = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(27, 4)), torch.rand(2, 2, 4, 4)
    model, x = model.to(dtype), x.to(dtype)
    mapped = map_network(model, design(states=256), x)
    mapped, _ = calibrate(mapped, model, [(x, x)])
    y = analog_network(model, program_network(mapped))(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y, model(x), atol=0.03, rtol=0.03)


def test_a_network_without_numbers_maps_without_weights() -> None:
    with torch.device("meta"):
        model, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), torch.rand(1, 3, 6, 6)
    layer = map_network(model, design(), x).layers["0"]
    assert layer.state is None
    assert (layer.k, layer.n, layer.positions) == (27, 8, 16)


def small() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), nn.Linear(6, 3))


def test_choices_by_name_pattern_and_type() -> None:
    model, x = small(), torch.rand(2, 1, 4, 4)
    other, third = design(8, 8, 16), design(16, 16, 8)
    choices = {"3": Choice(digital=True), "Linear": Choice(other), "*": Choice(third)}
    mapped = map_network(model, design(), x, layers=choices)
    assert list(mapped.layers) == ["0", "4"]
    assert mapped.layers["0"].hardware == third
    assert mapped.layers["4"].hardware == other
    assert mapped.digital_macs == {"addmm": 96}
    assert_law_1(model, x, design(), layers=choices)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"conv*": Choice()}, r"choice of a layer: nothing fits: unknown name 'conv\*'; .*Conv2d"),
        ({"conv2d": Choice()}, "did you mean 'Conv2d'"),
        ({"*": Choice(digital=True)}, "every layer is left digital"),
        ({"0": Choice(design(periphery__gated_columns=True))}, "hardware of 0: its periphery differs"),
    ],
)
def test_choices_that_do_not_fit_are_refused(choices: dict, message: str) -> None:
    with pytest.raises(XbarError, match=message):
        map_network(small(), design(), torch.rand(1, 1, 4, 4), layers=choices)
    with pytest.raises(XbarError, match="bias_rows = -1"):
        Choice(bias_rows=-1)


def test_a_layer_left_digital_is_torch_s_own() -> None:
    model, x = small(), torch.rand(2, 1, 4, 4)
    hardware = design(device__p_stuck_g_max=1.0)
    mapped, _ = calibrate(
        map_network(model, hardware, x, layers={"Linear": Choice(digital=True)}), model, [(x, x)]
    )
    network = analog_network(model, program_network(mapped))
    stuck = copy.deepcopy(model)
    stuck[0].forward = lambda x: network[0](x)
    assert torch.equal(network(x), stuck(x))
