"""Products of a few rows: whole numbers, whose sums no order changes, give the very sums."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from xbar.hardware.converters import Dac
from xbar.hardware.design import Hardware
from xbar.hardware.device import Device
from xbar.machine.lanes import LANES
from xbar.multiply.blocks import STRIP, strips
from xbar.multiply.converters import drive
from xbar.multiply.product import ROOM, bit_patterns, bits_space, product, product_of_bits

SHAPES = [(1, 1, 1), (6, 25, 20), (7, 130, 50), (13, 4, 16), (8, 64, 15), (24, 65, 33), (3, 0, 5)]


def test_a_strip_is_as_wide_as_the_lanes() -> None:
    assert STRIP == LANES


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "lines", "cols"), SHAPES)
def test_the_product_is_exact_in_every_shape(rows: int, lines: int, cols: int, dtype: type) -> None:
    rng = np.random.default_rng(rows * lines + cols)
    volts = rng.integers(-9, 9, (rows + ROOM, lines)).astype(dtype)
    weights = rng.integers(-9, 9, (lines, cols)).astype(dtype)
    out = np.full((rows + ROOM) * cols + LANES, np.nan, dtype)
    product(volts, strips(weights), rows, cols, out)
    np.testing.assert_array_equal(out[: rows * cols].reshape(rows, cols), volts[:rows] @ weights)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("bits", "kind"), [(1, np.uint8), (8, np.uint8), (5, np.int16), (16, np.int32)])
@pytest.mark.parametrize(("vectors", "lines", "cols"), SHAPES)
def test_the_product_of_bits_is_that_of_their_numbers(
    vectors: int, lines: int, cols: int, bits: int, kind: type, dtype: type
) -> None:
    rng = np.random.default_rng(vectors * lines + cols)
    weights, picked = rng.integers(-9, 9, (lines, cols)).astype(dtype), np.sort(rng.permutation(lines + 5))
    used = np.sort(picked[:lines])
    low = -(1 << (bits - 1)) if np.issubdtype(kind, np.signedinteger) else 0
    codes = rng.integers(low, low + (1 << bits), (vectors, lines + 5)).astype(kind)
    rows = vectors * bits
    patterns = np.full((rows + ROOM, -(-lines // 4)), 3 * LANES, np.uint16)
    out, space = np.full((rows + ROOM) * cols + LANES, np.nan, dtype), np.empty(bits_space(rows), dtype)
    bit_patterns(codes, used, bits, patterns)
    product_of_bits(patterns, strips(weights), rows, cols, space, out)
    digits = codes[:, None, used].astype(np.int64) >> np.arange(bits)[:, None] & 1
    np.testing.assert_array_equal(out[: rows * cols].reshape(vectors, bits, cols), digits @ weights)


def test_only_perfect_drivers_of_single_bits_take_tables() -> None:
    device = Device("16 states", "test", 1e-6, 16e-6, 16)
    perfect = Hardware("test", device, dac=Dac(8, phase_bits=1))
    assert drive(perfect, signed=False).single_bits
    assert drive(perfect, signed=True).single_bits
    for dac in (
        Dac(8, phase_bits=2),
        Dac(8, phase_bits=8),
        dataclasses.replace(perfect.dac, gain_error=0.01),
        dataclasses.replace(perfect.dac, offset=0.001),
        dataclasses.replace(perfect.dac, signed="sign-magnitude"),
    ):
        assert not drive(dataclasses.replace(perfect, dac=dac), signed=True).single_bits
