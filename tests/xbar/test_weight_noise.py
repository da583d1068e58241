import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from xbar import Device, Encoding, ProgrammingNoise, XbarError
from xbar.encoding import decode, decode_states, target_conductances
from xbar.noise import written as noisy
from xbar.programming import program
from xbar.weight_noise import noisy_weights

FALSE_ALARM = 1e-6
SCALE = 0.02
DEVICE = Device("test", "none", 1e-6, 4e-5, 4)
MEASURED = dataclasses.replace(DEVICE, states=(1e-6, 9e-6, 3e-5, 4e-5))
NOISES = {
    "target": ProgrammingNoise("gaussian", 0.08),
    "g_max": ProgrammingNoise("gaussian", 0.05, relative_to="g_max"),
    "range": ProgrammingNoise("gaussian", 0.05, relative_to="range"),
    "lognormal": ProgrammingNoise("lognormal", 0.3),
    "lognormal-median": ProgrammingNoise("lognormal", 0.3, keep_mean=False),
    "polynomial": ProgrammingNoise("polynomial", coefficients=(0.5e-6, 3e-6, -1e-6)),
}


def programmed(state: np.ndarray, encoding: Encoding, device: Device) -> np.ndarray:
    """Weights of one programmed chip, by way of the cells."""
    g = target_conductances(state, encoding, device)
    rows, cols = np.arange(state.shape[0]), np.arange(state.shape[1])
    for plane in range(2):
        for slice_ in range(encoding.slices):
            names: dict[str, Any] = {"seed": 0, "chip": 0, "layer": "a", "plane": plane, "slice_": slice_}
            g[plane, slice_] = program(g[plane, slice_], device, rows, cols, **names).g
    return decode(g, encoding, device) * SCALE


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(
    ("device", "encoding", "number"),
    [
        pytest.param(DEVICE, Encoding(), -3, id="one-slice"),
        pytest.param(DEVICE, Encoding(), 0, id="idle-pair"),
        pytest.param(MEASURED, Encoding(), 2, id="measured-states"),
        pytest.param(DEVICE, Encoding(slices=2), 14, id="two-slices"),
    ],
)
def test_weights_are_distributed_as_programmed_ones(
    device: Device, encoding: Encoding, number: int, noise: str
) -> None:
    """The logarithm of a ratio of variances has the variance (kurtosis - 1)/n of each sample; a sigma of 1.1
    times the other's moves it by .19, and the bound must leave 2.33 deviations of that (power .99).
    """
    part = dataclasses.replace(device, programming=NOISES[noise])
    state = np.full((200, 200), number, np.int16)
    from_cells = programmed(state, encoding, part).ravel()
    w = torch.from_numpy(decode_states(state, SCALE, encoding, part))
    drawn = (
        noisy_weights(w, SCALE, encoding, part, generator=torch.Generator().manual_seed(1)).numpy().ravel()
    )
    assert stats.ks_2samp(from_cells, drawn).pvalue > FALSE_ALARM
    deviation = np.sqrt(sum((stats.kurtosis(x, fisher=False) - 1) / x.size for x in (from_cells, drawn)))
    bound = stats.norm.isf(FALSE_ALARM / 2) * deviation
    assert 2 * np.log(1.1) - bound > 2.33 * deviation
    assert abs(np.log(from_cells.var() / drawn.var())) < bound


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("slices", [1, 3])
def test_a_draw_acts_on_each_cell_as_in_programming(noise: str, slices: int) -> None:
    part, encoding = dataclasses.replace(DEVICE, programming=NOISES[noise]), Encoding(slices=slices)
    top = DEVICE.n_states**slices - 1
    state = np.random.default_rng(2).integers(-top, top + 1, (9, 11)).astype(np.int16)
    target = target_conductances(state, encoding, part)
    xi = torch.randn(target.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = decode(noisy(target, xi.numpy(), part), encoding, part) * SCALE
    w = torch.from_numpy(decode_states(state, SCALE, encoding, part))
    result = noisy_weights(w, SCALE, encoding, part, generator=torch.Generator().manual_seed(3))
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-12)


def test_every_call_draws_anew_and_a_generator_repeats() -> None:
    part = dataclasses.replace(DEVICE, programming=NOISES["target"])
    w = torch.full((5, 5), SCALE)
    first, second = (noisy_weights(w, SCALE, Encoding(), part) for _ in range(2))
    assert not torch.equal(first, second)
    a, b = (
        noisy_weights(w, SCALE, Encoding(), part, generator=torch.Generator().manual_seed(7))
        for _ in range(2)
    )
    assert torch.equal(a, b)
    assert a.dtype == torch.float32


def test_the_gradient_passes_straight_through() -> None:
    part = dataclasses.replace(DEVICE, programming=NOISES["lognormal"])
    w = torch.tensor([-2 * SCALE, 0.0, SCALE], requires_grad=True)
    slope = torch.tensor([1.0, 2.0, 3.0])
    (noisy_weights(w, SCALE, Encoding(), part) * slope).sum().backward()
    assert w.grad is not None
    assert torch.equal(w.grad, slope)


def test_an_ideal_device_changes_nothing() -> None:
    w = torch.tensor([-15.0, 0.0, 7.0]) * SCALE
    assert torch.equal(noisy_weights(w, SCALE, Encoding(slices=2), DEVICE), w)


def test_no_device_has_no_noise() -> None:
    part = dataclasses.replace(DEVICE, programming=NOISES["g_max"])
    w = torch.tensor([0.0, 0.0, SCALE, SCALE])
    built = torch.tensor([True, False, True, False])
    changed = noisy_weights(w, SCALE, Encoding(), part, built) != w
    assert changed.tolist() == [True, False, True, False]
    changed = noisy_weights(w, SCALE, Encoding(unformed=True), part, built) != w
    assert changed.tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("w", "scale", "message"),
    [
        ([4.0], 1.0, "weights up to 4: the largest level is 3"),
        ([float("nan")], 1.0, "weights up to nan"),
        ([1.0], 0.0, "encoding scale = 0.0: must be a positive number"),
        ([1.0], float("inf"), "encoding scale = inf"),
    ],
)
def test_mistakes_are_refused(w: list[float], scale: float, message: str) -> None:
    with pytest.raises(XbarError, match=message):
        noisy_weights(torch.tensor(w), scale, Encoding(), DEVICE)
