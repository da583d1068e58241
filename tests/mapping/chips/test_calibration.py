"""Input ranges, ADC steps and activity against what plain arithmetic says."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import KINDS, Case, cases, design, designs, encoding_of, seeds
from numpy.typing import NDArray
from torch import nn

from mapping import MappedNetwork, analog_network, calibrate, crossbar_form, map_network, program_network
from mapping.chips.analog import clipped_inputs
from mapping.chips.columns import blocks
from mapping.tiles.unfold import input_vectors
from xbar import XbarError
from xbar.conductances.encoding import decode_states
from xbar.hardware.converters import Adc, Dac
from xbar.hardware.design import Hardware
from xbar.multiply.converters import code_range


def linear(state: list[list[int]], hardware: Hardware) -> tuple[MappedNetwork, nn.Sequential]:
    """A layer whose state numbers are `state` (K, N), at scale 1."""
    w = torch.tensor(state, dtype=torch.float32)
    model = nn.Sequential(nn.Linear(*w.shape, bias=False)).eval()
    model[0].weight.data = w.t().contiguous()
    return map_network(model, hardware, torch.ones(1, len(w)), scales={"0": 1.0}), model


def step(mapped: MappedNetwork) -> float:
    """ADC step of the layer in units of v_read `device.unit`."""
    calibration = mapped.layers["0"].calibration
    assert calibration is not None
    assert calibration.adc_steps is not None
    steps = np.unique(np.concatenate(calibration.adc_steps))
    assert len(steps) == 1
    return float(steps[0]) / (mapped.hardware.dac.v_read * mapped.hardware.device.unit)


def bits_of(codes: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """(bits, *codes.shape), two's complement."""
    return np.array([[(int(c) % 2**bits) >> p & 1 for c in codes.ravel()] for p in range(bits)]).reshape(
        bits, *codes.shape
    )


@given(seeds, st.booleans(), st.integers(1, 3))
def test_the_range_and_the_sign_are_those_of_all_batches(seed: int, negative: bool, batches: int) -> None:
    torch.manual_seed(seed)
    mapped, model = linear([[1, -2], [3, 1]], design())
    data = [torch.rand(3, 2) for _ in range(batches)]
    if negative:
        data[-1][2, 1] = -0.01
    calibrated, _ = calibrate(mapped, model, [(x, torch.zeros(3)) for x in data])
    ranges = calibrated.layers["0"].calibration
    assert ranges.x_max == pytest.approx(float(torch.cat(data).abs().max()), rel=1e-7)
    assert ranges.signed is negative
    assert ranges.adc_steps is None
    assert mapped.layers["0"].calibration is None


class InPlace(nn.Module):
    """Goes on in place with what its layer was given."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        out = self.f(y)
        y.mul_(100)
        return out + y


def test_inputs_are_those_that_the_layer_saw() -> None:
    model, x = InPlace(), torch.rand(8, 4)
    mapped, _ = calibrate(map_network(model, design(dac__bits=4), x), model, [(x, x)])
    assert mapped.layers["f"].calibration.x_max <= 1


@settings(max_examples=40)
@given(cases(layers=1), designs(), st.integers(2, 12))
def test_activity_is_the_mean_number_of_set_bits(case: Case, hardware: Hardware, bits: int) -> None:
    mapped = map_network(case.model, hardware.replace(dac__bits=bits), case.x)
    _, activity = calibrate(mapped, case.model, [(case.x, case.x)])
    signed = bool(case.x.min() < 0)
    top = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    codes = (case.x / case.x.abs().max() * top).round().int().numpy()
    vectors = input_vectors(codes, mapped.layers["0"].geometry)
    expected = [np.mean([(int(c) % 2**bits).bit_count() for c in column]) for column in vectors.T]
    np.testing.assert_allclose(activity["0"], expected, rtol=1e-9)


def test_activity_of_voltages_is_their_mean_square() -> None:
    mapped, model = linear([[1], [2]], design())
    x = torch.tensor([[2.0, 0.0], [-1.0, 0.5]])
    _, activity = calibrate(mapped, model, [(x, x)])
    np.testing.assert_allclose(activity["0"], [(1 + 0.25) / 2, 0.0625 / 2])


@pytest.mark.parametrize(("factor", "extra_bits"), [(1, 0), (2, 0), (4, 0), (1, 4)])
@pytest.mark.parametrize("subtract", ["analog", "digital"])
def test_integer_currents_get_the_largest_step_without_error(
    factor: int, extra_bits: int, subtract: str
) -> None:
    """g_min = 0: currents are multiples of `factor`, up to 7 of them, as are codes without extra bits."""
    bits = extra_bits + (4 if subtract == "analog" else 3)
    hardware = design(16, 4, 16, dac__bits=4, adc__bits=bits, encoding__subtract=subtract)
    cell = dataclasses.replace(hardware.device, g_min=0.0, g_max=15 * hardware.device.unit)
    state = [[factor * s, factor * t] for s, t in zip([1, 2, 3, 1], [-3, 1, 2, 1], strict=True)]
    mapped, model = linear(state, hardware.replace(device=cell))
    x = torch.randint(0, 16, (60, 4), generator=torch.Generator().manual_seed(0)).float()
    x[0] = 15
    assert step(calibrate(mapped, model, [(x, x)])[0]) == pytest.approx(factor, rel=1e-6)


def squared_error(mapped: MappedNetwork, x: torch.Tensor, bits: int, at: float) -> float:
    """Error of all phases of a layer on unsigned inputs, weighted by their place, from a dense product."""
    codes = (x / x.max() * (2**bits - 1)).round().long().numpy()
    low, high = code_range(mapped.hardware, False)
    phases = bits_of(codes, bits)
    rows, total = mapped.hardware.crossbar.rows, 0.0
    for top in range(0, mapped.layers["0"].k, rows):
        current = phases[:, :, top : top + rows] @ mapped.layers["0"].state[top : top + rows].astype(float)
        error = np.square(np.clip(np.rint(current / at), low, high) * at - current).sum((1, 2))
        total += float((error * 4.0 ** np.arange(bits)).sum())
    return total


@settings(max_examples=40)
@given(seeds, st.integers(2, 6), st.integers(1, 6), st.integers(1, 12))
def test_the_step_is_no_worse_than_a_lossless_one_and_near_the_best(
    seed: int, adc_bits: int, dac_bits: int, rows: int
) -> None:
    """On so few currents the error jumps from step to step: within twice the best of another grid."""
    rng = np.random.default_rng(seed)
    state = rng.integers(1, 16, (12, 3)) * rng.choice([-1, 1], (12, 3))
    mapped, model = linear(state.tolist(), design(rows, 4, 16, dac__bits=dac_bits, adc__bits=adc_bits))
    x = torch.from_numpy(rng.random((20, 12))).float()
    calibrated, _ = calibrate(mapped, model, [(x, x)])
    phases = bits_of((x / x.max() * (2**dac_bits - 1)).round().long().numpy(), dac_bits)
    largest = max(
        np.abs(phases[:, :, top : top + rows] @ state[top : top + rows]).max() for top in range(0, 12, rows)
    )
    lossless = largest / (2 ** (adc_bits - 1) - 1)
    found = squared_error(mapped, x, dac_bits, step(calibrated))
    assert found <= squared_error(mapped, x, dac_bits, lossless) * (1 + 1e-5) + 1e-6
    others = [squared_error(mapped, x, dac_bits, lossless * share) for share in np.linspace(0.05, 1, 25)]
    assert found <= 2 * min(others) + 1e-6


def test_rare_large_currents_are_clipped_for_a_finer_step() -> None:
    """One input in a thousand drives nine rows, the others one: codes up to 7 serve the many."""
    mapped, model = linear([[1, -1]] * 64, design(64, 4, 4, dac__bits=1, adc__bits=4))
    x = torch.cat([torch.eye(64).repeat(20, 1), (torch.arange(64) < 9).float()[None]])
    assert step(calibrate(mapped, model, [(x, x)])[0]) == pytest.approx(1.0)


def test_the_error_of_a_phase_counts_with_its_place() -> None:
    """As above, but the nine rows are driven in the highest of 8 phases, the others in the lowest."""
    mapped, model = linear([[1, -1]] * 64, design(64, 4, 4, dac__bits=8, adc__bits=4))
    x = torch.cat([torch.eye(64).repeat(20, 1), 128 * (torch.arange(64) < 9).float()[None]])
    x = torch.cat([x, 255 * torch.eye(64)[:1]])
    assert 1.1 < step(calibrate(mapped, model, [(x, x)])[0]) <= 9 / 7 * (1 + 1e-6)


@given(designs(), st.integers(1, 12), st.integers(2, 12), st.integers(1, 60), seeds)
def test_a_full_range_clips_no_current_of_any_input(
    hardware: Hardware, dac_bits: int, adc_bits: int, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    hardware = hardware.replace(dac__bits=dac_bits, adc__bits=adc_bits, adc__range="full")
    model = nn.Sequential(nn.Linear(k, 3))
    model[0].weight.data = torch.from_numpy(rng.choice([-1e3, 1e-3, 1e3], (3, k))).float()
    x = torch.from_numpy(rng.random((4, k))).float() + 0.1
    mapped, _ = calibrate(map_network(model, hardware, x), model, [(x, x)])
    low, high = code_range(hardware, False)
    at = step(mapped)
    for block in blocks(program_network(mapped), "0"):
        w = block.weights
        if block.reference is not None and block.subtract_before:
            w = (w - w[:, block.reference])[:, block.reference >= 0]
        positive, negative = np.maximum(w, 0).sum(0), np.minimum(w, 0).sum(0)
        assert np.rint(positive / at).max() <= high
        assert np.rint(negative / at).min() >= low


@pytest.mark.parametrize(("subtract", "current", "top"), [("analog", 3, 127), ("digital", 4, 255)])
def test_a_full_range_ends_at_the_largest_current(subtract: str, current: int, top: int) -> None:
    """8 rows of the highest of 4 states, 4 units of which 1 is g_min: the last code, and no finer."""
    hardware = design(8, 4, 4, dac__bits=8, adc__bits=8, adc__range="full", encoding__subtract=subtract)
    mapped, model = linear([[3, -3]] * 8, hardware)
    x = torch.ones(2, 8)
    assert step(calibrate(mapped, model, [(x, x)])[0]) == pytest.approx(8 * current / top)


def test_a_layer_without_weights_is_calibrated() -> None:
    model, x = nn.Sequential(nn.Linear(3, 2)), torch.rand(4, 3)
    nothing = {"0": torch.zeros(3, 2, dtype=torch.bool)}
    mapped = map_network(model, design(dac__bits=4, adc__bits=4), x, masks=nothing)
    calibrated, _ = calibrate(mapped, model, [(x, x)])
    assert mapped.tiles_per_plane == 0
    assert calibrated.layers["0"].calibration.x_max > 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dac__bits": 4, "adc__bits": 4},
        {"adc__bits": 4, "adc__range": "full"},
        {"dac": Dac(4, 0.25, range="percentile"), "adc__bits": 4},
        {"dac": Dac(4, 0.25, range="mse"), "adc__bits": 4, "adc__range": "percentile"},
        {"dac": Dac(4, 0.25, range="fixed", x_max=2.0), "adc__bits": 4},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_inputs_that_are_all_zero_give_the_bias(changes: dict[str, Any], kind: str) -> None:
    hardware = design(encoding=encoding_of(kind, slices=1 if kind == "differential" else 2))
    model, x = nn.Sequential(nn.Linear(3, 2)).eval(), torch.zeros(4, 3)
    mapped = map_network(model, hardware.replace(**changes), x)
    calibrated, activity = calibrate(mapped, model, [(x, x)])
    assert calibrated.layers["0"].calibration.x_max == (mapped.hardware.dac.x_max or 1.0)
    assert not activity["0"].any()
    analog = analog_network(model, program_network(calibrated))
    assert torch.equal(analog(x), model(x))
    if not changes:
        ones = torch.ones(4, 3)  # what a layer gets later is not lost
        held = map_network(model, hardware, ones).layers["0"]
        w = torch.from_numpy(
            decode_states(held.state, held.scale, hardware.encoding, hardware.device)
        ).float()
        torch.testing.assert_close(analog(ones), ones @ w + model[0].bias)


def test_an_lstm_of_one_time_step_runs_on_crossbars() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lstm(x)[0][:, -1]

    x = torch.randn(5, 1, 3)
    form = crossbar_form(Last().eval(), x)
    mapped = map_network(form, design(states=256, dac__bits=8), x)
    calibrated, _ = calibrate(mapped, form, [(x, x)])
    error = analog_network(form, program_network(calibrated))(x) - form(x)
    assert float(error.detach().abs().max()) < 0.02


def test_a_layer_that_no_batch_reaches_is_refused_by_its_name() -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) if len(x) == 1 else self.a(x) + self.b(x)

    model = Either().eval()
    mapped = map_network(model, design(), torch.ones(2, 2))
    with pytest.raises(XbarError, match=r"^b: no calibration batch reaches it"):
        calibrate(mapped, model, [(torch.ones(1, 2), torch.ones(1))])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_without_a_range_are_refused(value: float) -> None:
    mapped, model = linear([[1], [1]], design())
    x = torch.full((2, 2), value)
    with pytest.raises(XbarError, match=f"0: the largest calibration input is {value}"):
        calibrate(mapped, model, [(x, x)])


def test_calibration_without_a_batch_is_refused() -> None:
    mapped, model = linear([[1]], design())
    with pytest.raises(XbarError, match="gave no batch"):
        calibrate(mapped, model, [])
    assert not model[0]._forward_pre_hooks


# -------------------------------------------------------------------------- ranges of other kinds


def steps_of(mapped: MappedNetwork, name: str = "0") -> list[NDArray[np.float64]]:
    """ADC steps by band in units of v_read `device.unit`."""
    calibration = mapped.layers[name].calibration
    assert calibration is not None
    assert calibration.adc_steps is not None
    ampere = mapped.hardware.dac.v_read * mapped.hardware.device.unit
    return [step / ampere for step in calibration.adc_steps]


def test_a_fixed_range_ends_at_its_current() -> None:
    hardware = design(dac__bits=4, adc__bits=6).replace(
        adc=dataclasses.replace(design().adc, bits=6, range="fixed", full_scale=62e-6)
    )
    mapped, model = linear([[3, -3], [1, 2]], hardware)
    x = torch.ones(3, 2)
    assert step(calibrate(mapped, model, [(x, x)])[0]) == pytest.approx(
        62e-6 / 31 / (0.25 * hardware.device.unit)
    )


def test_a_percentile_of_the_currents_is_the_largest_code() -> None:
    """One of 100 currents is 9 units, the others 1: the 99th percentile is 1."""
    hardware = design(64, 4, 4, dac__bits=1, adc__bits=4)
    adc = dataclasses.replace(hardware.adc, range="percentile", percentile=98.5)
    mapped, model = linear([[1]] * 64, hardware.replace(adc=adc))
    x = torch.cat([torch.eye(64)[[0] * 99], (torch.arange(64) < 9).float()[None]])
    assert step(calibrate(mapped, model, [(x, x)])[0]) == pytest.approx(1 / 7, rel=1e-3)
    whole = mapped.hardware.replace(adc__percentile=100.0)
    mapped, model = linear([[1]] * 64, whole)
    assert step(calibrate(mapped, model, [(x, x)])[0]) == pytest.approx(9 / 7, rel=1e-3)


@pytest.mark.parametrize("kind", ["differential", "offset"])
@pytest.mark.parametrize("per", ["tile", "column"])
def test_a_tile_or_a_column_has_the_range_of_its_own_currents(per: str, kind: str) -> None:
    """Calibrated alone, a tile's or a column's weights get the step that they get among others."""
    rng = np.random.default_rng(1)
    weights = rng.integers(1, 4, (7, 5)) * np.array([1, 2, 5, 1, 3])
    hardware = design(4, 4, 16, dac__bits=3, adc__bits=5, adc__per=per, encoding__kind=kind)
    hardware = hardware.replace(encoding__subtract="digital" if kind == "offset" else "analog")
    mapped, model = linear(np.clip(weights, -7, 7).tolist(), hardware)
    x = torch.from_numpy(rng.random((50, 7))).float()
    x[0] = 1.0
    calibrated, _ = calibrate(mapped, model, [(x, x)])
    for number, band in enumerate(mapped.layers["0"].bands):
        together = steps_of(calibrated)[number]
        references = hardware.encoding.reference_columns > 0
        tile = band.tile_of_column(references)
        assert len(together) == len(tile)
        for index, one in enumerate(band.tiles):
            mine = together[tile == index]
            assert len(np.unique(mine)) == 1 if per == "tile" else True
            for j, n in enumerate(one.cols):
                chosen = one.cols if per == "tile" else np.array([n])
                part = np.clip(weights, -7, 7)[np.ix_(one.rows, chosen)]
                layer_alone = hardware.replace(adc__per="layer" if kind == "differential" else per)
                alone, small = linear(part.tolist(), layer_alone)
                seen = x[:, one.rows].clone()
                seen[0] = 1.0
                found, _ = calibrate(alone, small, [(seen, seen)])
                expected = steps_of(found)[0]
                expected = expected[: len(chosen)] if per == "column" else expected
                assert mine[j] == pytest.approx(expected[0], rel=1e-9)


def test_input_ranges_of_every_kind() -> None:
    """999 values of 0.1 and one of 10, of 4 bits: an outlier costs more than it is worth to clip it not."""
    x = torch.full((500, 2), 0.1)
    x[0, 0] = 10.0

    def x_max(**changes) -> float:
        hardware = design(dac__bits=4)
        dac = dataclasses.replace(hardware.dac, **changes)
        mapped, model = linear([[1], [1]], hardware.replace(dac=dac))
        return calibrate(mapped, model, [(x, x)])[0].layers["0"].calibration.x_max

    assert x_max() == 10.0
    assert x_max(range="percentile", percentile=99.0) == pytest.approx(0.1)
    assert x_max(range="fixed", x_max=3.0) == 3.0
    many = torch.full((500, 2), 0.9)
    many[0, 0] = 1.5
    mapped, model = linear([[1], [1]], design(dac__bits=2, dac__range="mse"))
    found = calibrate(mapped, model, [(many, many)])[0].layers["0"].calibration.x_max
    errors = {
        c: float(((many / c * 3).round().clamp(0, 3) * c / 3 - many).square().sum())
        for c in np.geomspace(0.075, 1.5, 500)
    }
    error = float(((many / found * 3).round().clamp(0, 3) * found / 3 - many).square().sum())
    assert error <= 1.2 * min(errors.values()) + 0.3
    assert error < errors[1.5]


def test_an_ideal_dac_is_calibrated_with_the_cells_curve() -> None:
    from xbar.hardware.iv import IV

    hardware = design(4, 4, 4, adc__bits=8, adc__range="percentile", adc__percentile=100.0)
    curved = hardware.replace(device__iv=IV("sinh", alpha=6.0))
    mapped, model = linear([[3]], curved)
    x = torch.ones(4, 1)
    expected = 3 * np.sinh(6 * 0.25) / (6 * 0.25) / 127
    assert step(calibrate(mapped, model, [(x, x)])[0]) == pytest.approx(expected, rel=1e-3)


def test_an_input_range_of_least_error_looks_at_all_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even features up to 0.1, odd ones up to 1: a stride of two would see the even ones alone."""
    monkeypatch.setattr("mapping.chips.calibration_inputs.FITTED", 1 << 10)
    x = torch.rand(1 << 10, 2) * torch.tensor([0.1, 1.0])
    hardware = design(dac__bits=4, dac__range="mse")
    mapped, model = linear([[1], [1]], hardware)
    assert calibrate(mapped, model, [(x, x)])[0].layers["0"].calibration.x_max > 0.8


def test_inputs_beyond_the_calibrated_range_are_counted() -> None:
    """Of 40 inputs, 3 lie above the largest code and 2 below 0, which an unsigned range clips, too."""
    model = nn.Sequential(nn.Linear(4, 3)).eval()
    hardware = design(dac=Dac(8, 0.25), adc=Adc("ideal"))
    images = torch.rand(10, 4)
    images[0, 0] = 1.0
    mapped, _ = calibrate(map_network(model, hardware, images[:1]), model, [(images, images)])
    network = analog_network(model, program_network(mapped))
    assert clipped_inputs(network) == {"0": 0.0}
    network(images)
    assert clipped_inputs(network) == {"0": 0.0}
    beyond = images.clone()
    beyond.view(-1)[:3] = 1.01
    beyond.view(-1)[5:7] = -0.01
    network(beyond)
    assert clipped_inputs(network) == {"0": 5 / 80}
