"""Tiny networks, random designs and masks, and what the tests of mapping ask of them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import own_encoding
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from mapping import MappedNetwork, ProgrammedNetwork, calibrate, map_network
from mapping.network.gemm import from_gemm, mappable_layers
from xbar.conductances.encoding import decode_states
from xbar.hardware.converters import Adc, Dac
from xbar.hardware.design import Crossbar, Hardware
from xbar.hardware.device import Device
from xbar.hardware.encodings import ENCODINGS, Encoding

seeds = st.integers(0, 2**31 - 1)

UNIT = 2.0**-20
"""Conductance of weight 1 [S] of `device`: every cell, and every current of integer inputs, is exact."""


def device(states: int = 4, **changes) -> Device:
    return Device("exact", "none", g_min=UNIT, g_max=states * UNIT, states=states, **changes)


def design(rows: int = 4, cols: int = 6, states: int = 4, **changes) -> Hardware:
    """No converters; `changes` are those of `Hardware.replace`."""
    ideal = Hardware(
        "test", device(states), crossbar=Crossbar(rows, cols), dac=Dac("ideal", 0.25), adc=Adc("ideal")
    )
    return ideal.replace(**changes)


KINDS = ("differential", "offset", "twos-complement", own_encoding.SignedDigits.kind)


def encoding_of(kind: str, *values: Any, **named: Any) -> Encoding:
    """An encoding of the class of its kind, built in or not."""
    found: Encoding = ENCODINGS.config(kind)(kind, *values, **named)
    return found


@st.composite
def designs(draw: st.DrawFn, kinds: Sequence[str] = KINDS, **changes) -> Hardware:
    """Any tile size (1 x 1 and larger than any layer here included), encoding, subtraction, and states."""
    kind = draw(st.sampled_from(kinds))
    slices = draw(st.integers(2 if kind == "twos-complement" else 1, 3))
    states: int | tuple[float, ...] = draw(st.integers(3 if kind == "offset" else 2, 16))
    g_min, g_max = draw(st.sampled_from([(0.0, 1e-4), (1e-7, 1e-6), (2e-6, 9e-6)]))
    if kind == "differential" and slices < 3 and draw(st.booleans()):
        steps = draw(st.lists(st.floats(0.2, 1), min_size=1, max_size=15))
        inner = g_min + np.cumsum(steps)[:-1] / sum(steps) * (g_max - g_min)
        states = (g_min, *map(float, inner), g_max)
    planes = encoding_of(kind, 2).planes
    bit_lines = slices if planes == 2 else 2 * slices
    base = Hardware(
        "drawn",
        Device("drawn", "none", g_min, g_max, states),
        crossbar=Crossbar(draw(st.integers(1, 40)), draw(st.integers(bit_lines, 40))),
        encoding=encoding_of(
            kind,
            slices,
            draw(st.sampled_from(["analog", "digital"])),
            unformed=planes == 2 and draw(st.booleans()),
            scale=draw(st.sampled_from(["column", "layer"])),
        ),
        dac=Dac("ideal"),
        adc=Adc("ideal"),
    )
    return base.replace(**changes)


@dataclass(frozen=True)
class Case:
    """A network, inputs that it takes, and masks of some of its layers."""

    model: nn.Sequential
    x: Tensor
    masks: dict[str, Tensor]

    def on(self, hardware: Hardware, packing: bool = True) -> tuple[MappedNetwork, nn.Module]:
        """The calibrated mapping, and the torch network that holds its decoded weights."""
        mapped = map_network(self.model, hardware, self.x, masks=self.masks, packing=packing)
        held = holding(self.model, mapped)
        return calibrate(mapped, held, [(self.x, self.x)])[0], held


@st.composite
def cases(draw: st.DrawFn, layers: int = 2) -> Case:
    """A convolution or linear layer, or one of each, on inputs with or without a sign."""
    convolution = draw(st.booleans())
    images = draw(st.integers(1, 3))
    two = layers == 2 and draw(st.booleans())
    bias = two or draw(st.booleans())  # so that the second layer's input is not all zero
    modules: list[nn.Module] = []
    torch.manual_seed(draw(seeds))
    if convolution:
        kernel, dilation = (draw(st.tuples(*[st.integers(1, 3)] * 2)) for _ in range(2))
        padding, stride = draw(st.tuples(*[st.integers(0, 2)] * 2)), draw(st.tuples(*[st.integers(1, 3)] * 2))
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        channels, filters = draw(st.integers(1, 4)), draw(st.integers(1, 9))
        x = torch.rand(images, channels, *[max(1, r + draw(st.integers(0, 3))) for r in reach])
        modules.append(nn.Conv2d(channels, filters, kernel, stride, padding, dilation, bias=bias))
    else:
        x = torch.rand(images, draw(st.integers(1, 30)))
        modules.append(nn.Linear(x.shape[1], draw(st.integers(1, 30)), bias=bias))
    if draw(st.booleans()):
        x = x - 0.5
    if two:
        modules += [nn.Tanh(), nn.Flatten()]
        width = nn.Sequential(*modules)(x).shape[1]
        modules.append(nn.Linear(width, draw(st.integers(1, 12))))
    model = nn.Sequential(*modules).eval()
    masks = {name: draw(masks_of(layer.weight)) for name, layer in mappable_layers(model).items()}
    dropped = draw(st.sets(st.sampled_from(sorted(masks))))
    return Case(model, x, {name: mask for name, mask in masks.items() if name not in dropped})


@st.composite
def masks_of(draw: st.DrawFn, weight: Tensor) -> Tensor:
    """(K, N): scattered, whole columns and rows, a stretch of rows without any weight, or nothing kept."""
    n, k = weight.shape[0], weight[0].numel()
    rng = np.random.default_rng(draw(seeds))
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9]))
    mask = rng.random((k, n)) < density
    mask &= (rng.random((k, 1)) < draw(st.sampled_from([0.3, 1.0]))) & (rng.random((1, n)) < 0.9)
    first = draw(st.integers(0, k))
    mask[first : first + draw(st.integers(0, k))] = False
    return torch.from_numpy(mask)


def holding(model: nn.Module, mapped: MappedNetwork) -> nn.Module:
    """Copy of `model` with the weights that the mapping's state numbers stand for."""
    held = copy.deepcopy(model)
    layers = mappable_layers(held)
    for name in mapped.layers:
        layer, w = layers[name], decoded(mapped, name)
        layer.weight.data = from_gemm(torch.from_numpy(w).float(), layer)
    return held


def decoded(mapped: MappedNetwork, name: str) -> NDArray[np.float64]:
    layer = mapped.layers[name]
    hardware = layer.hardware
    assert layer.state is not None
    assert layer.scale is not None
    return decode_states(layer.state, layer.scale, hardware.encoding, hardware.device)


def with_step(mapped: MappedNetwork, codes: float) -> MappedNetwork:
    """The mapping with an ADC whose code stands for `codes` [v_read device.unit] in every layer."""
    amperes = codes * mapped.hardware.dac.v_read * mapped.hardware.device.unit
    layers = {}
    for name, layer in mapped.layers.items():
        assert layer.calibration is not None
        assert layer.calibration.adc_steps is not None
        steps = tuple(np.full_like(step, amperes) for step in layer.calibration.adc_steps)
        ranges = dataclasses.replace(layer.calibration, adc_steps=steps)
        layers[name] = dataclasses.replace(layer, calibration=ranges)
    return dataclasses.replace(mapped, layers=layers)


def cells(chip: ProgrammedNetwork, name: str) -> NDArray[np.float64]:
    """Conductance of every cell by its place in the GEMM matrix, (2, slices, K, N); NaN where not driven."""
    layer = chip.mapped.layers[name]
    hardware = layer.hardware
    g = np.full((hardware.encoding.planes, hardware.encoding.slices, layer.k, layer.n), np.nan)
    for band, held in zip(layer.bands, chip.conductances[name], strict=True):
        first = 0
        for tile in band.tiles:
            rows = np.searchsorted(band.rows, tile.rows)
            part = held[:, :, rows, first : first + len(tile.cols)]
            g[:, :, tile.rows[:, None], tile.cols[None, :]] = part
            first += len(tile.cols)
    return g


def with_cells(
    chip: ProgrammedNetwork, conductances: Mapping[str, Sequence[NDArray[np.floating]]]
) -> ProgrammedNetwork:
    """The same chip with other conductances, which nothing checks."""
    layers = {}
    for name, layer in chip.layers.items():
        bands = tuple(
            dataclasses.replace(band, conductances=g)
            for band, g in zip(layer.bands, conductances[name], strict=True)
        )
        layers[name] = dataclasses.replace(layer, bands=bands)
    return dataclasses.replace(chip, layers=layers)
