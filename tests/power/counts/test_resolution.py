"""ADC bits that lose nothing, against every input and every weight of small columns."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from networks import KINDS, encoding_of
from power_cases import hardware, network, packed_layers, unpacked

from mapping import Calibration, program_network
from mapping.chips.columns import blocks
from mapping.tiles.mapped import Band, MappedLayer, Tile
from power.counts.resolution import lossless_bits, lossless_bits_of_network
from xbar.conductances.encoding import codebook, decode_states, reference_conductances, target_conductances
from xbar.hardware.converters import Dac
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError
from xbar.multiply.converters import code_range, drive
from xbar.multiply.mvm import mvm

UNIT = 2.0**-20
OFFSETS = (0.0, 1.0, 1 / 3, 5 / 3)
"""g_min in units."""


def device_of(design: Hardware, states: int, offset: float) -> Hardware:
    low = offset * UNIT
    return design.replace(device__g_min=low, device__g_max=low + (states - 1) * UNIT, device__states=states)


@st.composite
def columns(draw) -> tuple[Hardware, MappedLayer]:
    """A layer whose columns are all the weights that its kept cells can hold, in any encoding."""
    kind = draw(st.sampled_from(KINDS))
    slices = draw(st.integers(2, 2) if kind == "twos-complement" else st.integers(1, 2))
    states = draw(st.integers(3, 4) if slices == 1 else st.just(2))
    offset = draw(st.sampled_from(OFFSETS))
    subtract, after = (
        draw(st.sampled_from(["analog", "digital"])),
        draw(st.sampled_from(["phase", "accumulation"])),
    )
    unformed = encoding_of(kind, 2).planes == 2 and draw(st.booleans())
    design = hardware(
        rows=4,
        cols=4096,
        encoding=encoding_of(kind, slices, subtract, unformed),
        dac=Dac(draw(st.integers(2, 3)), phase_bits=draw(st.integers(1, 2))),
        adc__after=after,
        periphery__rows_per_read=draw(st.sampled_from(["all", 1, 2])),
    )
    design = device_of(design, states, offset)
    kept = np.array(draw(st.lists(st.booleans(), min_size=1, max_size=3).filter(any)))
    largest = len(codebook(design.encoding, design.device).levels)
    numbers = [*range(-largest, 0), *range(1, largest + 1)]
    held = np.array(list(itertools.product(*[numbers if each else [0] for each in kept])), np.int16).T
    k, n = held.shape
    layer = MappedLayer(
        *("layer", "linear", k, n, 1),
        (Band(0, k, (Tile(np.arange(k), np.arange(n)),)),),
        design,
        mask=np.repeat(kept[:, None], n, axis=1),
        state=held,
        scale=1.0,
        calibration=Calibration(1.0, draw(st.booleans())),
    )
    return design, layer


def inputs(design: Hardware, layer: MappedLayer) -> np.ndarray:
    low, high = drive(design, layer.calibration.signed).code_range
    codes = itertools.product(range(low, high + 1), repeat=layer.k)
    return np.array(list(codes), np.int16)


def currents(design: Hardware, layer: MappedLayer) -> np.ndarray:
    """All currents that a converter may see, in `device.unit` at one step of a digit."""
    signed = layer.calibration.signed
    driven = drive(design, signed)
    digits = np.rint(driven.voltages(inputs(design, layer))[0] * abs(driven.weights[0]))
    encoding = design.encoding
    lines = target_conductances(layer.state, encoding, design.device)
    if encoding.reference_columns:
        reference = reference_conductances(encoding, design.device)[None, :, None, None]
        both = np.concatenate([lines, np.broadcast_to(reference, lines.shape)])
        lines = lines - reference if encoding.subtract == "analog" else both
    elif encoding.subtract == "analog":
        lines = lines[:1] - lines[1:]
    at_once = design.rows_at_once
    reads = [slice(first, first + at_once) for first in range(0, layer.k, at_once)]
    found = [np.einsum("pmk,askn->pmasn", digits[..., each], lines[..., each, :]).ravel() for each in reads]
    return np.concatenate(found) / design.device.unit


def multiplied(design: Hardware, layer: MappedLayer, bits: int) -> np.ndarray:
    """Products by converters of so many bits with steps of one unit at one step of a digit."""
    signed = layer.calibration.signed
    on = design.replace(adc__bits=bits)
    driven = drive(on, signed)
    amperes = 1 / abs(float(driven.weights[0])) * on.dac.v_read * on.device.unit
    width = layer.n * on.encoding.slices * on.encoding.converted_planes
    width += on.encoding.reference_columns
    ranged = dataclasses.replace(layer, calibration=Calibration(1.0, signed, (np.full(width, amperes),)))
    made = blocks(program_network(network(on, ranged)), "layer", dtype=np.float64)
    return mvm(inputs(design, layer), made, layer.n, drive=driven, threads=1)


@settings(max_examples=150)
@given(columns())
def test_the_bits_are_the_least_that_number_all_currents(case) -> None:
    design, layer = case
    bits = lossless_bits(layer, design)
    codes = np.rint(currents(design, layer))
    fits = [
        low <= codes.min() and codes.max() <= high
        for low, high in (
            code_range(design.replace(adc__bits=each), layer.calibration.signed) for each in range(2, 12)
        )
    ]
    assert max(bits, 2) == 2 + fits.index(True)


@settings(max_examples=150)
@given(columns())
def test_a_converter_of_these_bits_is_exact_and_one_of_a_bit_less_is_not(case) -> None:
    design, layer = case
    bits = lossless_bits(layer, design)
    expected = inputs(design, layer) @ decode_states(layer.state, 1.0, design.encoding, design.device)
    np.testing.assert_allclose(multiplied(design, layer, max(bits, 2)), expected, atol=1e-4)
    if bits > 2:
        assert np.abs(multiplied(design, layer, bits - 1) - expected).max() > 0.4


@pytest.mark.parametrize("subtract", ["analog", "digital"])
@pytest.mark.parametrize(("rows", "states"), [(1, 4), (3, 2), (4, 3)])
def test_one_bit_inputs_give_as_many_currents_as_the_bits_can_number(subtract, rows, states) -> None:
    """Without an off current there is no gap: the count of distinct currents itself."""
    design = device_of(hardware(encoding__subtract=subtract, dac__bits=1), states, 0.0)
    numbers = [*range(1 - states, 0), *range(1, states)]
    held = np.array(list(itertools.product(numbers, repeat=rows)), np.int16).T
    layer = unpacked(
        design.replace(crossbar__cols=4096), *held.shape, state=held, calibration=Calibration(1.0, False)
    )
    count = len(np.unique(currents(design, layer)))
    assert lossless_bits(layer, design) == math.ceil(math.log2(count))


@pytest.mark.parametrize(
    ("rows", "subtract", "bits"),
    [(32, "digital", 10), (32, "analog", 10), (16, "analog", 9), (512, "analog", 14)],
)
def test_cells_of_16_states_with_an_on_off_ratio_of_10(rows: int, subtract: str, bits: int) -> None:
    """1.67 levels more an active row in a plane: 534 levels of 32 rows; 961 of their pairs."""
    design = hardware(rows=rows, cols=4, states=16, encoding__subtract=subtract)
    assert lossless_bits(unpacked(design, rows, 4), design) == bits


@given(st.integers(0, 7), st.integers(1, 6), st.integers(1, 4), st.sampled_from(["analog", "digital"]))
def test_the_rule_of_isaac_is_an_upper_bound(rows: int, w: int, v: int, subtract: str) -> None:
    """Of a bit line whose off cells carry nothing; the sign of a pair takes one bit more."""
    design = hardware(rows=2**rows, dac__phase_bits=v, encoding__subtract=subtract)
    design = device_of(design, 2**w, 0.0)
    bits = lossless_bits(unpacked(design, 2**rows, 4), design)
    rule = rows + v + w - (1 in (v, w)) + (subtract == "analog")
    assert rule - 1 <= bits <= rule


@given(st.data())
def test_pruning_never_needs_more_and_the_fullest_column_counts(data) -> None:
    design = hardware()
    layer = data.draw(packed_layers(design))
    fullest = max(int(layer.kept(tile.rows, tile.cols).sum(0).max()) for tile in layer.tiles)
    assert lossless_bits(layer, design) == math.ceil(math.log2(6 * fullest + 1)) if fullest else 1
    assert lossless_bits(layer, design) <= lossless_bits(dataclasses.replace(layer, mask=None), design)


def test_each_layer_has_its_bits_on_its_own_hardware() -> None:
    design = hardware()
    other = design.replace(adc__after="accumulation")
    layers = [unpacked(design, k, 4, name=f"of{k}") for k in (1, 4, 5)]
    layers.append(dataclasses.replace(layers[0], name="gone", bands=(Band(0, 1, ()),)))
    mapped = network(design, *layers, own_hardware={"of5": other})
    assert lossless_bits_of_network(mapped) == {"of1": 3, "of4": 5, "of5": 13, "gone": 0}


def test_what_has_no_steps_is_refused() -> None:
    design = hardware()
    layer = unpacked(design, 4, 4)
    with pytest.raises(XbarError, match=r"^dac\.bits = 'ideal': .*allowed: 1 to 16$"):
        lossless_bits(layer, design.replace(dac__bits="ideal"))
    with pytest.raises(XbarError, match=r"^device\.states: 'test' lists .*allowed: a number"):
        lossless_bits(layer, design.replace(device__states=(1e-6, 3e-6, 1e-5)))
    halves = device_of(hardware(rows=8, encoding__subtract="digital"), 16, 15 / 16)
    assert lossless_bits(unpacked(halves, 7, 4), halves) == 7
    with pytest.raises(
        XbarError, match=r"^device\.g_min: is 15/16 of .*allowed: encoding.subtract = 'analog'$"
    ):
        lossless_bits(unpacked(halves, 8, 4), halves)
