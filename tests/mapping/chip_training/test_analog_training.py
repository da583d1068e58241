"""Networks that train on chips: values are those of the chip, gradients those of the float layer."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import decoded, design, designs, masks_of, seeds
from scipy import stats
from torch import Tensor, nn

from mapping import (
    Choice,
    MappedNetwork,
    Recipe,
    analog_network,
    calibrate,
    decoded_weights,
    map_network,
    program_network,
    train,
)
from mapping.chip_training.analog_training import TrainableNetwork, trainable_network
from mapping.network.gemm import from_gemm, to_gemm
from xbar import Drift, Hardware, LogClamp, ProgrammingNoise, WhiteNoise, XbarError
from xbar.hardware.converters import Adc, Dac

FALSE_ALARM = 1e-6
NOISE = ProgrammingNoise("lognormal", 0.2)
LAYERS: dict[str, tuple[type[nn.Module], tuple[int, ...], dict[str, Any], tuple[int, ...]]] = {
    "linear": (nn.Linear, (6, 5), {}, (6,)),
    "linear-on-sequences": (nn.Linear, (4, 7), {"bias": False}, (3, 4)),
    "conv1d": (nn.Conv1d, (4, 6, 3), {"groups": 2, "padding": 1, "padding_mode": "circular"}, (4, 6)),
    "conv2d": (nn.Conv2d, (2, 5, 3), {"stride": 2, "padding": 1}, (2, 6, 6)),
    "depthwise": (nn.Conv2d, (3, 6, 2), {"groups": 3, "padding": "same"}, (3, 4, 5)),
    "conv3d": (nn.Conv3d, (2, 3, 2), {"dilation": 2, "bias": False}, (2, 4, 3, 3)),
    "transposed1d": (nn.ConvTranspose1d, (4, 6, 3), {"stride": 2, "output_padding": 1}, (4, 5)),
    "transposed2d": (nn.ConvTranspose2d, (4, 4, 2), {"groups": 2, "padding": 1}, (4, 3, 4)),
}


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Sequential, Tensor, dict[str, Tensor]]:
    """A layer of any kind, inputs that it takes, and perhaps a mask."""
    make, sizes, options, shape = LAYERS[draw(st.sampled_from(sorted(LAYERS)))]
    torch.manual_seed(draw(seeds))
    layer = make(*sizes, **options)
    x = torch.rand(draw(st.integers(1, 3)), *shape) - draw(st.sampled_from([0.0, 0.5]))
    masks = {"0": draw(masks_of(to_gemm(layer).t()))} if draw(st.booleans()) else {}
    return nn.Sequential(layer), x, masks


CONVERTERS = {"dac": Dac(6, 0.25), "adc": Adc(7)}
with_converters = st.sampled_from([{}, CONVERTERS])


def calibrated(model: nn.Module, hardware: Hardware, x: Tensor, **arguments: Any) -> MappedNetwork:
    return calibrate(map_network(model, hardware, x, **arguments), model, [(x, x)])[0]


def two_layers() -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 5))
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(40, 1, 6, 6, generator=generator)
    return model, x, x[:, 0, 2:4, 1:6].mean(1).argmax(1)


def steps(
    network: nn.Module, x: Tensor, y: Tensor, count: int, optimizer: torch.optim.Optimizer
) -> list[float]:
    """Losses of a loop as anybody writes it."""
    losses = []
    for _ in range(count):
        loss = nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=80)
@given(layers(), designs(device__programming=NOISE), with_converters, st.sampled_from(["tiles", "torch"]))
def test_gradients_are_those_of_the_layer_with_the_weights_of_the_cells(
    case: tuple[nn.Sequential, Tensor, dict[str, Tensor]], hardware: Hardware, converters: dict, multiply: Any
) -> None:
    """Exactly: of inputs, weights (none where masked) and bias. The value is that of the chip, exactly."""
    model, x, masks = case
    mapped = calibrated(model, hardware.replace(**converters), x, masks=masks)
    network = trainable_network(model, mapped, multiply=multiply, seed=5)
    held, of_input = copy.deepcopy(model), x.clone().requires_grad_()
    y = network(of_input)
    chip = program_network(network.trained()[1], seed=5, chip=1)
    held[0].weight.data = from_gemm(torch.from_numpy(decoded_weights(chip, "0")), held[0])
    twin = x.clone().requires_grad_()
    expected = held(twin)
    assert torch.equal(y, expected if multiply == "torch" else analog_network(model, chip)(x))
    slope = torch.randn_like(y)
    y.backward(slope)
    expected.backward(slope)
    layer = network.model[0]
    assert torch.equal(of_input.grad, twin.grad)
    kept = from_gemm(masks["0"], layer) if masks else torch.ones_like(layer.weight)
    assert torch.equal(layer.weight.grad, held[0].weight.grad * kept)
    assert layer.bias is None or torch.equal(layer.bias.grad, held[0].bias.grad)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=40)
@given(layers(), designs())
def test_cells_on_their_targets_hold_what_every_chip_does(
    case: tuple[nn.Sequential, Tensor, dict[str, Tensor]], hardware: Hardware
) -> None:
    model, x, masks = case
    network = trainable_network(model, map_network(model, hardware, x, masks=masks), multiply="torch")
    network(x)
    chip = program_network(network.trained()[1], seed=7, chip=7)
    held = from_gemm(torch.from_numpy(decoded_weights(chip, "0")), network.model[0])
    assert torch.equal(network.layers["0"].weight, held)


@pytest.mark.parametrize(
    "effect", [{"device__p_stuck_g_max": 0.3}, {"device__p_stuck_g_min": 0.3}, {"crossbar__p_open_wl": 0.3}]
)
def test_cells_off_their_targets_are_those_of_the_chip_at_hand(effect: dict[str, float]) -> None:
    model, x, _ = two_layers()
    network = trainable_network(model, map_network(model, design(**effect), x), multiply="torch")
    network(x)
    chip = program_network(network.trained()[1], chip=1)
    held = torch.from_numpy(decoded_weights(chip, "3")).float().t()
    assert torch.equal(network.layers["3"].weight, held)
    assert not torch.equal(held, network.trained()[0][3].weight)


@pytest.mark.parametrize("multiply", ["tiles", "torch"])
@pytest.mark.parametrize("noise", [NOISE, ProgrammingNoise()], ids=["noise", "exact"])
def test_a_bias_on_word_lines_has_levels_and_noise(multiply: Any, noise: ProgrammingNoise) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(7, 5)), torch.rand(4, 7)
    hardware = design().replace(device__programming=noise)
    mapped = calibrated(model, hardware, x, layers={"0": Choice(bias_rows=2)}, scales={"0": 0.3})
    network = trainable_network(model, mapped, multiply=multiply)
    y = network(x)
    chip = program_network(network.trained()[1], chip=1)
    torch.testing.assert_close(y, analog_network(model, chip)(x))
    assert not torch.allclose(y, x @ network.layers["0"].weight.t() + model[0].bias)
    y.sum().backward()
    assert torch.equal(network.model[0].bias.grad, torch.full((5,), 4.0))


@pytest.mark.parametrize("signed", [False, True])
def test_an_input_beyond_the_range_has_no_gradient(signed: bool) -> None:
    model, x = nn.Sequential(nn.Linear(4, 1)), torch.tensor([[0.2, 0.4, 0.6, 1.0]])
    x = torch.cat([x, -x]) if signed else x
    mapped = calibrated(model, design().replace(dac=Dac(8, 0.25, range="max")), x)
    network = trainable_network(model, mapped)
    beyond = torch.tensor([[1.1, -1.1, 0.9, -0.9]]).requires_grad_()
    network(beyond).sum().backward()
    assert (beyond.grad != 0).tolist() == [[False, False, True, signed]]
    free = trainable_network(model, mapped, multiply="torch")
    beyond.grad = None
    free(beyond).sum().backward()
    assert (beyond.grad != 0).all()


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-2, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 1e-2, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=1e-1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_masked_weights_stay_exactly_zero(optimizer: str) -> None:
    model, x, y = two_layers()
    masks = {"0": torch.rand(9, 4) > 0.5, "3": torch.rand(64, 5) > 0.5}
    mapped = map_network(model, design().replace(device__programming=NOISE), x, masks=masks)
    network = trainable_network(model, mapped, multiply="torch")
    steps(network, x, y, 5, OPTIMIZERS[optimizer](network.parameters()))
    trained, after = network.trained()
    for name, mask in masks.items():
        for weight in (to_gemm(network.model[int(name)]), to_gemm(trained[int(name)])):
            assert (weight[~mask] == 0).all()
            assert (weight[mask] != 0).all()
        assert np.array_equal(after.layers[name].state != 0, mask.numpy())
    assert (model[3].weight != 0).all(), "the user's own network is not touched"


@pytest.mark.parametrize("multiply", ["tiles", "torch"])
def test_on_ideal_hardware_it_is_plain_quantised_training(multiply: Any) -> None:
    """Against w <- w - lr dL/dw at the nearest levels of w, written out."""
    model, x, y = two_layers()
    mapped = calibrated(model, design(32, 32, 16), x)
    network = trainable_network(model, mapped, multiply=multiply)
    losses = steps(network, x, y, 6, torch.optim.SGD(network.parameters(), 0.1))
    latent = copy.deepcopy(model)
    expected = []
    for _ in range(6):
        on_levels = copy.deepcopy(latent)
        for name, layer in mapped.layers.items():
            scale = torch.from_numpy(layer.scale)
            w = to_gemm(on_levels[int(name)]) / scale
            level = w.abs().round().clamp(1, 15) * torch.where(w < 0, -1, 1) * scale
            on_levels[int(name)].weight.data = from_gemm(level, on_levels[int(name)])
        loss = nn.functional.cross_entropy(on_levels(x), y)
        loss.backward()
        expected.append(loss.item())
        for p, q in zip(latent.parameters(), on_levels.parameters(), strict=True):
            p.data -= 0.1 * q.grad
    assert losses == pytest.approx(expected, rel=1e-4)
    for p, q in zip(network.parameters(), latent.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("multiply", ["tiles", "torch"])
def test_training_lowers_the_loss_of_fresh_chips(multiply: Any) -> None:
    model, x, y = two_layers()
    hardware = design(32, 32, 16).replace(device__programming=NOISE, **CONVERTERS)
    network = trainable_network(model, calibrated(model, hardware, x), multiply=multiply)
    losses = steps(network, x, y, 60, torch.optim.Adam(network.parameters(), 2e-2))
    assert np.mean(losses[-10:]) < 0.92 * np.mean(losses[:10])
    trained, mapped = network.trained()
    mapped, _ = calibrate(mapped, trained, [(x, x)])
    chips = [analog_network(trained, program_network(mapped, seed=9, chip=chip)) for chip in range(5)]
    with torch.no_grad():
        fresh = np.mean([float(nn.functional.cross_entropy(chip(x), y)) for chip in chips])
    assert fresh < 0.92 * np.mean(losses[:10])


def noisy(seed: int, **arguments: Any) -> tuple[TrainableNetwork, Tensor, Tensor]:
    model, x, y = two_layers()
    hardware = design(8, 8).replace(
        device__programming=NOISE, device__read_noise=WhiteNoise(0.05), crossbar__r_wl=1.0
    )
    return trainable_network(model, calibrated(model, hardware, x), seed=seed, **arguments), x, y


def test_a_seed_gives_the_same_weights_and_another_others() -> None:
    found = []
    for seed in (1, 1, 2):
        network, x, y = noisy(seed)
        steps(network, x, y, 3, torch.optim.SGD(network.parameters(), 0.1))
        found.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


def test_train_mode_draws_at_each_call_and_eval_mode_keeps_the_chip() -> None:
    network, x, _ = noisy(0, multiply="torch")
    first, second = network(x), network(x)
    assert not torch.allclose(first, second)
    assert int(network.step) == 2
    network.eval()
    assert torch.equal(network(x), second)
    assert torch.equal(network(x), second)
    assert int(network.step) == 2
    network.model[0].weight.data *= -1
    assert not torch.allclose(network(x), second), "the chip at hand has the present weights"


def test_read_noise_goes_on_in_eval_mode_and_starts_anew_with_each_chip() -> None:
    network, x, _ = noisy(0)
    y = network(x)
    network.eval()
    assert not torch.equal(network(x), y)
    again, _, _ = noisy(0)
    again(x), again(x), again.step.fill_(0)
    assert torch.equal(again(x), y)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x), self.layer(input=x)


@pytest.mark.parametrize("multiply", ["tiles", "torch"])
def test_calls_of_one_forward_pass_meet_the_same_cells(multiply: Any) -> None:
    model, x = Twice(), torch.rand(3, 4)
    mapped = calibrated(model, design().replace(device__programming=NOISE), x)
    network = trainable_network(model, mapped, multiply=multiply)
    a, b = network(x)
    assert torch.equal(a, b)
    (a + b).sum().backward()
    torch.testing.assert_close(network.model.layer.weight.grad, 2 * x.sum(0).expand(4, 4))


def test_layers_are_on_hardware_of_their_own() -> None:
    model, x, y = two_layers()
    other = design(16, 8, 8).replace(encoding__kind="offset", device__programming=NOISE)
    mapped = calibrated(model, design(), x, layers={"Linear": Choice(other)})
    network = trainable_network(model, mapped)
    steps(network, x, y, 2, torch.optim.SGD(network.parameters(), 0.1))
    trained, after = network.trained()
    for name in ("0", "3"):
        torch.testing.assert_close(
            to_gemm(trained[int(name)]), torch.from_numpy(decoded(after, name)).float()
        )
    network.eval()
    chip = program_network(after, chip=2)
    assert torch.equal(network(x), analog_network(trained, chip)(x))
    assert torch.equal(network.layers["0"].weight, trained[0].weight), "no noise on this one"


def test_noise_of_the_cells_is_the_device_s_own() -> None:
    """A pair has a normal error of variance 2 sigma^2 range^2; the sum of squares of 200 steps of 20 weights
    is chi-square. Its bounds at the stated rate of false alarms exclude twice and half the sigma.
    """
    sigma = 0.02
    hardware = design(8, 8, 4, device__programming=ProgrammingNoise("gaussian", sigma, relative_to="range"))
    model = nn.Sequential(nn.Linear(5, 4))
    mapped = map_network(model, hardware, torch.rand(1, 5))
    network = trainable_network(model, mapped, multiply="torch")
    device, scale = hardware.device, mapped.layers["0"].scale
    assert scale is not None
    window = (device.g_max - device.g_min) / device.unit
    deviation = torch.from_numpy(sigma * window * scale * 2**0.5)
    level = torch.from_numpy(decoded(mapped, "0")).float()
    squares = []
    for _ in range(200):
        network(torch.rand(1, 5))
        squares.append(((network.layers["0"].weight.t() - level) / deviation).square())
    total, count = float(torch.stack(squares).sum()), 200 * 20
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], count)
    assert low < total < high
    assert 4 * low > high


def test_cells_are_those_of_a_chip_at_the_time_that_is_named() -> None:
    drift = Drift(1.0, LogClamp(0.05), LogClamp(0.01))
    model, x, _ = two_layers()
    mapped = map_network(model, design().replace(device__drift=drift), x)
    early, late = (trainable_network(model, mapped, multiply="torch", time=t) for t in (1.0, 1e6))
    chip = program_network(mapped, time=1e6)
    for name in ("0", "3"):
        held = torch.from_numpy(decoded_weights(chip, name)).float().t()
        assert torch.equal(late.layers[name].weight.reshape(held.shape), held)
        assert late.layers[name].weight.norm() < 0.9 * early.layers[name].weight.norm()


@pytest.mark.parametrize("multiply", ["tiles", "torch"])
def test_what_was_trained_is_a_plain_network_and_its_mapping(multiply: Any) -> None:
    network, x, y = noisy(0, multiply=multiply)
    through_wires = [bool(layer.transfer) for layer in network.program().layers.values()]
    assert through_wires == [multiply == "tiles"] * 2, "wires cost time where they do nothing"
    steps(network, x, y, 2, torch.optim.SGD(network.parameters(), 0.1))
    trained, mapped = network.trained()
    assert type(trained) is nn.Sequential
    assert list(trained.state_dict()) == list(two_layers()[0].state_dict())
    for name, layer in mapped.layers.items():
        assert np.array_equal(layer.scale, network.mapped.layers[name].scale)
        assert layer.calibration == network.mapped.layers[name].calibration
        torch.testing.assert_close(
            to_gemm(trained[int(name)]), torch.from_numpy(decoded(mapped, name)).float()
        )
    assert mapped.hardware == network.mapped.hardware
    again = map_network(trained, mapped.hardware, x, scales={n: v.scale for n, v in mapped.layers.items()})
    assert all(np.array_equal(again.layers[n].state, mapped.layers[n].state) for n in again.layers)
    before = copy.deepcopy(mapped)
    steps(network, x, y, 1, torch.optim.SGD(network.parameters(), 0.1))
    assert mapped == before, "what was given does not train on"


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Any) -> None:
    """With read noise, converters and a validation in each epoch."""

    def run(epochs: int, file: str) -> Tensor:
        network, x, y = noisy(0)
        batches = [(x[:20], y[:20]), (x[20:], y[20:])]
        recipe = Recipe(3, 1e-2, final=1.0)

        def validate(model: nn.Module) -> float:
            if len(seen) == epochs:
                raise KeyboardInterrupt
            seen.append(1)
            return float(model(x).detach().sum())

        seen: list[int] = []
        with contextlib.suppress(KeyboardInterrupt):
            train(network, batches, recipe, validate=validate, checkpoint=tmp_path / file)
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    run(1, "broken")
    assert torch.equal(run(3, "broken"), run(3, "whole"))


@pytest.mark.parametrize("multiply", ["tiles", "torch"])
def test_copies_in_place_functions_and_other_precisions(multiply: Any) -> None:
    model, x, y = two_layers()
    model, x = model.bfloat16(), x.bfloat16()
    network = trainable_network(model, calibrated(model, design(32, 32, 16), x), multiply=multiply)
    steps(network, x, y, 1, torch.optim.SGD(network.parameters(), 0.1))
    twin = copy.deepcopy(network)
    assert network(x).dtype == torch.bfloat16
    assert torch.equal(network(x), (twin(x), twin(x))[1])


def test_mistakes_are_refused() -> None:
    model, x, _ = two_layers()
    plain = map_network(model, design(), x)
    with pytest.raises(XbarError, match="multiply: unknown name 'tile'; did you mean 'tiles'"):
        trainable_network(model, plain, multiply="tile")  # type: ignore[arg-type]
    with pytest.raises(XbarError, match=r"0: not calibrated; call mapping\.calibrate"):
        trainable_network(model, plain)
    with pytest.raises(XbarError, match="seed = -1: must be a whole number"):
        trainable_network(model, plain, multiply="torch", seed=-1)
    with pytest.raises(XbarError, match="0: mapped, but Sequential has no such layer"):
        trainable_network(nn.Sequential(nn.ReLU(), nn.Linear(3, 3)), plain, multiply="torch")
    wide = nn.Sequential(nn.Conv2d(1, 8, 3), *model[1:3], nn.Linear(128, 5))
    with pytest.raises(XbarError, match=r"0: its GEMM matrix is \(9, 8\), that of the mapping \(9, 4\)"):
        trainable_network(wide, plain, multiply="torch")
    with torch.device("meta"):
        bare = map_network(two_layers()[0], design(), torch.rand(1, 1, 6, 6))
    with pytest.raises(XbarError, match="0: this mapping has no weights"):
        trainable_network(model, bare, multiply="torch")
    on_lines = map_network(model, design(), x, layers={"Linear": Choice(bias_rows=1)})
    with pytest.raises(XbarError, match=r"3: its bias is on word lines; call mapping\.calibrate"):
        trainable_network(model, on_lines, multiply="torch")
    network = trainable_network(model, plain, multiply="torch")
    network.model[3].weight.data[0, 0] = torch.nan
    with pytest.raises(XbarError, match="3: has weights that are not finite"):
        network(x)
