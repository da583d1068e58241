"""Chips that are programmed by operators of torch against those of the kernels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from far_device import FAR, far_device, near
from hypothesis import given, settings, strategies as st
from networks import Case, cases, designs, seeds
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mapping import (
    Choice,
    MappedNetwork,
    ProgrammedNetwork,
    around_faults,
    calibrate,
    map_network,
    program_network,
)
from mapping.chips.cells_on_device import LayerCells, LayerColumns, on_processor_alone
from mapping.chips.chip import decoded_layer
from mapping.chips.columns import blocks
from mapping.tiles.mapped import MappedLayer
from xbar import Adc, Dac, Hardware, ProgrammingNoise, WhiteNoise, load_hardware
from xbar.multiply.on_device import StackedColumns, stacked

CPU = torch.device("cpu")
NOISE: dict[str, dict[str, Any]] = {
    "targets": {},
    "written": {"device__programming": ProgrammingNoise("lognormal", 0.1)},
    "read": {"device__read_noise": WhiteNoise(0.05)},
    "read by range": {"device__read_noise": WhiteNoise(0.05, "range")},
    "stuck": {"device__p_stuck_g_max": 0.1, "device__p_stuck_g_min": 0.1},
    "open lines": {"crossbar__p_open_wl": 0.2, "crossbar__p_open_bl": 0.2},
    "reads of some lines": {"periphery__rows_per_read": 3, "device__read_noise": WhiteNoise(0.05)},
}
CONVERTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "exact": {"dac": Dac(4, 0.25), "adc": Adc(7)},
    "with errors": {"dac": Dac(4, 0.25), "adc": Adc(7, gain_sigma=0.05, offset_sigma=0.7, noise_lsb=0.3)},
    "thermal": {"adc": Adc("ideal", bandwidth=1e8, temperature=300.0, noise_current=1e-8)},
}


def states_of(layer: MappedLayer) -> Tensor:
    """State numbers of weights and bias, one above the other."""
    assert layer.state is not None
    bias = np.empty((0, layer.n), np.int16) if layer.bias_state is None else layer.bias_state
    return torch.from_numpy(np.concatenate([layer.state, bias]).astype(np.int32))


def on_device(
    mapped: MappedNetwork, chip: ProgrammedNetwork, name: str, device: torch.device = CPU
) -> tuple[StackedColumns, Tensor]:
    """Columns and weights of a chip; what goes to the device is that of another one."""
    layer = mapped.layers[name]
    cells = LayerCells(layer, chip.time, device)
    columns = LayerColumns(cells, program_network(mapped, seed=chip.seed + 1, chip=9))
    assert layer.scale is not None
    states, scale = (part.to(device) for part in (states_of(layer), torch.from_numpy(layer.scale)))
    of_chip = cells.programmed(states, chip.seed, chip.chip)
    return columns.of_chip(of_chip, chip.seed, chip.chip), cells.decoded(of_chip.g, scale)


def check(mapped: MappedNetwork, seed: int) -> None:
    """Every field of the columns, and the weights, are those of the kernels' chip, to rounding."""
    chip = program_network(mapped, seed=seed, chip=2)
    for name, layer in chip.layers.items():
        mapped_layer = layer.mapped
        encoding = mapped_layer.hardware.encoding
        groups = encoding.converted_planes * encoding.slices
        of_chip = blocks(chip, name)
        expected = stacked(of_chip, mapped_layer.inputs, mapped_layer.n, groups)
        found, weights = on_device(mapped, chip, name)
        for field in dataclasses.fields(StackedColumns):
            one, other = getattr(found, field.name), getattr(expected, field.name)
            if isinstance(other, Tensor):
                assert one.dtype == other.dtype, field.name
                atol = 1e-6 * float(other.abs().max()) if other.numel() and other.is_floating_point() else 0
                torch.testing.assert_close(one, other, rtol=2e-6, atol=atol, msg=field.name)
            else:
                assert one == other, field.name
        held = np.concatenate(decoded_layer(layer))
        np.testing.assert_allclose(weights, held, rtol=0, atol=2e-5 * np.abs(held).max(initial=0))


@st.composite
def hardwares(draw: st.DrawFn) -> Hardware:
    converters = draw(st.sampled_from(sorted(CONVERTERS)))
    noise = draw(
        st.sampled_from(sorted(set(NOISE) - ({"reads of some lines"} if converters == "thermal" else set())))
    )
    return draw(designs()).replace(**NOISE[noise], **CONVERTERS[converters])


@settings(deadline=None, max_examples=12)
@given(case=cases(), hardware=hardwares(), packing=st.booleans(), seed=seeds)
def test_a_chip_is_that_of_the_kernels(case: Case, hardware: Hardware, packing: bool, seed: int) -> None:
    mapped, _ = case.on(hardware, packing)
    check(mapped, seed)


def network(hardware: Hardware, *layers: nn.Module, shape: tuple[int, ...]) -> MappedNetwork:
    torch.manual_seed(1)
    model, x = nn.Sequential(*layers), torch.rand(4, *shape)
    return calibrate(map_network(model, hardware, x), model, [(x, None)])[0]


ALL = {**NOISE["written"], **NOISE["read"], **NOISE["stuck"], **NOISE["open lines"]}


@pytest.mark.parametrize("design", ["admm-32x32", "isaac"])
def test_groups_and_transposed_layers(design: str) -> None:
    hardware = load_hardware(design).replace(**ALL)
    layers = nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(6, 5, 2)
    check(network(hardware, *layers, shape=(4, 5, 5)), 3)


def test_a_bias_on_word_lines_and_columns_off_faults() -> None:
    torch.manual_seed(1)
    model, x = nn.Sequential(nn.Linear(50, 20)), torch.rand(4, 50)
    hardware = load_hardware("admm-32x32").replace(**ALL)
    mapped = map_network(model, hardware, x, layers={"0": Choice(bias_rows=3)})
    mapped, _ = calibrate(mapped, model, [(x, None)])
    check(mapped, 4)
    moved = around_faults(mapped, seed=4, chip=2)
    assert any(tile.places is not None for tile in moved.layers["0"].tiles)
    check(moved, 4)


def noisy_network() -> MappedNetwork:
    hardware = load_hardware("admm-32x32").replace(**ALL, **CONVERTERS["with errors"])
    return network(hardware, nn.Linear(50, 20), shape=(50,))


def test_nothing_is_copied_to_the_host() -> None:
    mapped = noisy_network()
    chip = program_network(mapped, seed=1)
    here, weights = on_device(mapped, chip, "0")
    with far_device():
        there, far_weights = on_device(mapped, chip, "0", FAR)
        assert torch.equal(near(there.weights), here.weights)
        assert torch.equal(near(far_weights), weights)


class _Counted(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_operators_of_a_chip_do_not_grow_with_bands_and_columns() -> None:
    def operators(inputs: int, outputs: int) -> int:
        hardware = load_hardware("admm-32x32").replace(**ALL, **CONVERTERS["with errors"])
        mapped = network(hardware, nn.Linear(inputs, outputs), shape=(inputs,))
        layer = mapped.layers["0"]
        cells = LayerCells(layer, 1.0, CPU)
        columns = LayerColumns(cells, program_network(mapped))
        states, scale = states_of(layer), torch.ones(layer.n)
        with _Counted() as counted:
            of_chip = cells.programmed(states, 1, 0)
            columns.of_chip(of_chip, 1, 0)
            cells.decoded(of_chip.g, scale)
        return counted.count

    assert operators(100, 40) == operators(300, 90)


def test_what_only_the_processor_programs_says_so() -> None:
    def reason(**changes: Any) -> str | None:
        hardware = load_hardware("admm-32x32").replace(**changes)
        layer = map_network(nn.Linear(50, 20), hardware, torch.rand(1, 50)).layers[""]
        return on_processor_alone(layer, 1.0)

    assert reason(**ALL) is None
    assert reason(crossbar__r_wl=1.0) == "its wires have resistance"
    assert reason(adc__bandwidth=1e8, periphery__rows_per_read=8) is not None
    assert reason(adc__bandwidth=1e8) is None
