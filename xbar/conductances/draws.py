"""The draws of the noise generator in integer operators of torch, on whatever device.

The formula of `xbar.conductances.rng`, with the same words to the last bit: torch has no unsigned arithmetic,
but products and sums of signed integers wrap to the same bits, and a shift is followed by a mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xbar.conductances.generator import FACTORS_32, FACTORS_64, GOLDEN, LN_2, LOG, SINE, SQRT_HALF_BITS


def _signed(value: np.unsignedinteger) -> int:
    """The signed integer of the same bits."""
    bits = 8 * value.itemsize
    return (int(value) + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


def as_signed(keys: Sequence[np.uint64]) -> Tensor:
    """Keys of streams as int64 of the same bits, shape (len(keys),)."""
    return torch.tensor([_signed(np.uint64(key)) for key in keys], dtype=torch.int64)


def _shifted(x: Tensor, by: int) -> Tensor:
    """The bits of x shifted to the right, with zeros from the left."""
    return (x >> by) & ((1 << (8 * x.element_size() - by)) - 1)


def _mix64(z: Tensor) -> Tensor:
    """`xbar.conductances.generator.mix64`."""
    z = (z ^ _shifted(z, 30)) * _signed(FACTORS_64[0])
    z = (z ^ _shifted(z, 27)) * _signed(FACTORS_64[1])
    return z ^ _shifted(z, 31)


def _mix32(x: Tensor) -> Tensor:
    """`xbar.conductances.generator.mix32`."""
    x = (x ^ _shifted(x, 16)) * _signed(FACTORS_32[0])
    x = (x ^ _shifted(x, 15)) * _signed(FACTORS_32[1])
    return x ^ _shifted(x, 16)


def _horner(x: Tensor, coefficients: Sequence[np.float32]) -> Tensor:
    y = torch.full_like(x, float(coefficients[0]))
    for coefficient in coefficients[1:]:
        y = y * x + float(coefficient)
    return y


def row_keys(keys: Tensor, rows: Tensor | int) -> Tensor:
    """Keys of rows of streams (`xbar.conductances.rng.row_key`), int64; keys and rows broadcast.

    Parameters
    ----------
    keys
        Keys of the streams, int64, made by `as_signed`.
    rows
        Indices of rows, int64, or one for all.
    """
    numbers = rows if isinstance(rows, Tensor) else keys.new_full((), rows)
    return _mix64(_mix64(numbers + _signed(GOLDEN)) + keys)


def _word(half: Tensor, places: Tensor) -> Tensor:
    return _mix32(places ^ half)


def polar_draws(rows: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Squared radius and sine of draws, float32: a standard normal draw is the sine times the root of the
    first.

    Parameters
    ----------
    rows
        Keys of rows, int64: `row_keys`.
    places
        Mixed places (`xbar.conductances.generator.mixed_places`) as int32 of the same bits; they broadcast
        with the rows.
    """
    a, b = _word((rows >> 32).int(), places), _word(((rows << 32) >> 32).int(), places)
    x = (_shifted(a, 8) | 1).float() * 2.0**-24
    bits = x.view(torch.int32)
    exponent = (bits - int(SQRT_HALF_BITS)) >> 23
    f = (bits - (exponent << 23)).view(torch.float32) - 1
    log = (_horner(f, LOG) * f * (f * f) - 0.5 * (f * f)) + f + exponent.float() * float(LN_2)
    s = b.float() * 2.0**-32
    return -2 * log, s * _horner(s * s, SINE)


def normal_draws(rows: Tensor, places: Tensor) -> Tensor:
    """Standard normal draws, float32; arguments are those of `polar_draws`."""
    square, sine = polar_draws(rows, places)
    return square.sqrt() * sine


def uniform_words(rows: Tensor, places: Tensor) -> Tensor:
    """Uniform draws times 2^32, int64; arguments are those of `polar_draws`. A draw is below p where its word
    is below `word_of` p."""
    return _word((rows >> 32).int(), places).long() & 0xFFFFFFFF


def word_of(p: float) -> int:
    """The least word of a uniform draw that is not below p."""
    return math.ceil(p * 2.0**32)
