"""Counter-based noise: every draw belongs to a key and a place, not to a position in a sequence.

A stream has a 64-bit key. Row i of a stream has the 64-bit key

    row = mix64(mix64(i + 0x9E3779B97F4A7C15) + key)

with the finaliser of SplitMix64 as `mix64` (doi 10.1145/2660193.2660195, section 3); its place n has the two
32-bit words ``a = mix32(mix32(n) ^ high half of row)`` and ``b = mix32(mix32(n) ^ low half of row)``, where
mix32 is a finaliser of the form of MurmurHash3's with the constants of
https://github.com/skeeto/hash-prospector ("lowbias32"). (Without the inner mix32, places whose numbers differ
in a few bits would be the same pairs of mix32's arguments in every row, and its faint bias would not average
out.) A normal draw is

    sqrt(-2 ln((2 (a >> 9) + 1) / 2^24)) sin(pi b / 2^32),    b as a signed integer,

Box-Muller (doi 10.1214/aoms/1177706645, equation 3) on the half circle, where sine has the distribution that
it has on the whole one; no draw lies beyond 5.77. A uniform draw is a / 2^32. Logarithm and sine are
polynomials in float32 without fused operations: repacking, batching and threads keep every draw, and the
bits are the same on every machine.
"""

from __future__ import annotations

import functools
import json
from hashlib import blake2b
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

from xbar.conductances.generator import (
    FACTORS_32,
    FACTORS_64,
    GOLDEN,
    LN_2,
    LOG,
    SINE,
    SQRT_HALF_BITS,
    mixed_places,
)
from xbar.machine.kernels import njit
from xbar.machine.lanes import LANES, exclusive_or, load, store

_LOW_32 = np.uint64(0xFFFFFFFF)

_u32, _i32, _f32 = np.uint32, np.int32, np.float32


@functools.lru_cache(maxsize=1 << 12, typed=True)
def stream_key(*parts: int | float | str) -> np.uint64:
    """Key of the stream that the parts name: the first 8 bytes of BLAKE2b over them as a JSON list.

    Order and type matter: ``("a", 1)``, ``(1, "a")``, ``("a", "1")`` and ``("a", 1.0)`` are four streams.
    """
    plain = [part if isinstance(part, str | float) else int(part) for part in parts]
    return np.uint64(int.from_bytes(blake2b(json.dumps(plain).encode(), digest_size=8).digest(), "little"))


def normals(key: np.uint64, rows: ArrayLike, cols: ArrayLike) -> NDArray[np.float32]:
    """Standard normal draws of the places rows x cols, shape (len(rows), len(cols)).

    Parameters
    ----------
    key
        From `stream_key`; a stream is to be read either as normals or as uniforms.
    rows
        Indices i, from 0 to 2^64 - 1, in any order.
    cols
        Indices n, from 0 to 2^32 - 1, in any order.
    """
    return _normals(np.uint64(key), np.asarray(rows, np.uint64), mixed_places(cols))


def uniforms(key: np.uint64, rows: ArrayLike, cols: ArrayLike) -> NDArray[np.float64]:
    """Draws in [0, 1), multiples of 2^-32, of the places rows x cols, shape (len(rows), len(cols)).

    Parameters are those of `normals`.
    """
    return _uniforms(np.uint64(key), np.asarray(rows, np.uint64), mixed_places(cols))


def _cast(source: Any, target: Any, width: Any) -> Any:
    """A function of numba that reads the 32 bits of one type as those of another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], width)

    return intrinsic(lambda context, value: (target(source), generate))


_bits_of = _cast(types.float32, types.int32, ir.IntType(32))
_float_of = _cast(types.int32, types.float32, ir.FloatType())


@njit(cache=True, nogil=True)
def _mix64(z: np.uint64) -> np.uint64:
    z = (z ^ (z >> np.uint64(30))) * FACTORS_64[0]
    z = (z ^ (z >> np.uint64(27))) * FACTORS_64[1]
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def row_key(key: np.uint64, i: np.uint64) -> np.uint64:
    """Key of row i of a stream."""
    return _mix64(_mix64(i + GOLDEN) + key)


@njit(cache=True, nogil=True, inline="always")
def mix32(x: np.uint32) -> np.uint32:
    """Finaliser of 32 bits, a bijection."""
    x = _u32(x ^ (x >> _u32(16)))
    x = _u32(x * FACTORS_32[0])
    x = _u32(x ^ (x >> _u32(15)))
    x = _u32(x * FACTORS_32[1])
    return _u32(x ^ (x >> _u32(16)))


@njit(cache=True, nogil=True, inline="always")
def log32(x: np.float32) -> Any:
    """ln x of a normal positive number, to 3e-7 relative: x = m 2^e with m from sqrt(1/2) to sqrt(2), and
    ln m = f - f^2/2 + f^3 P(f), f = m - 1, with P from `LOG`."""
    exponent = _i32(_i32(_bits_of(x) - SQRT_HALF_BITS) >> _i32(23))
    f = _float_of(_i32(_bits_of(x) - _i32(exponent << _i32(23)))) - _f32(1)
    y = LOG[0]
    y = y * f + LOG[1]
    y = y * f + LOG[2]
    y = y * f + LOG[3]
    y = y * f + LOG[4]
    y = y * f + LOG[5]
    y = y * f + LOG[6]
    square = f * f
    return (y * f * square - _f32(0.5) * square) + f + _f32(exponent) * LN_2


@njit(cache=True, nogil=True, inline="always")
def _polar(a: np.uint32, b: np.uint32) -> Any:
    """Square of the radius, and sine of the angle: the radius times the sine is a standard normal draw."""
    log = log32(_f32(_i32((a >> _u32(8)) | _u32(1))) * _f32(2.0**-24))
    # sin(pi s) = s P(s^2)
    s = _f32(_i32(b)) * _f32(2.0**-32)
    q = s * s
    p = SINE[0]
    p = p * q + SINE[1]
    p = p * q + SINE[2]
    p = p * q + SINE[3]
    p = p * q + SINE[4]
    return _f32(-2) * log, s * p


@njit(cache=True, nogil=True)
def normal_row(row: np.uint64, places: NDArray[np.uint32], out: NDArray[np.float32]) -> None:
    """Standard normal draws of `mixed_places` of one row (from `row_key`) into `out`, for use in kernels."""
    high, low = _u32(row >> np.uint64(32)), _u32(row & _LOW_32)
    for c in range(len(places)):
        square, sine = _polar(mix32(_u32(places[c] ^ high)), mix32(_u32(places[c] ^ low)))
        out[c] = np.sqrt(square) * sine


@njit(cache=True, nogil=True)
def words(
    row: np.uint64,
    places: NDArray[np.uint32],
    cols: int,
    start: int,
    a: NDArray[np.uint32],
    b: NDArray[np.uint32],
) -> None:
    """Words of `cols` places of one row before their last `mix32`, as `add_noise` takes them.

    They are written from number `start` of `a` and `b` on by whole `LANES`, of which `places` has as many.
    """
    high, low = _u32(row >> np.uint64(32)), _u32(row & _LOW_32)
    for c in range(0, cols, LANES):
        place = load(places, c)
        store(a, start + c, exclusive_or(place, high))
        store(b, start + c, exclusive_or(place, low))


@njit(cache=True, nogil=True)
def add_noise(
    a: NDArray[np.uint32],
    b: NDArray[np.uint32],
    variance: NDArray[Any],
    floor: NDArray[np.float32],
    out: NDArray[Any],
) -> None:
    """Add normal errors of variance ``variance + floor`` to `out`, with the draws that `normal_row` has for
    these words: one root of the product of variance and squared radius in place of two."""
    for c in range(len(out)):
        square, sine = _polar(mix32(a[c]), mix32(b[c]))
        out[c] += np.sqrt((variance[c] + floor[c]) * square) * sine


@njit(cache=True, nogil=True)
def add_noise_of_column(
    place: np.uint32,
    high: NDArray[np.uint32],
    low: NDArray[np.uint32],
    variance: NDArray[np.float32],
    floor: np.float32,
    out: NDArray[np.float32],
) -> None:
    """`add_noise` of one place of many rows, by the high and low halves of their keys."""
    for i in range(len(out)):
        square, sine = _polar(mix32(_u32(place ^ high[i])), mix32(_u32(place ^ low[i])))
        out[i] += np.sqrt((variance[i] + floor) * square) * sine


@njit(cache=True, nogil=True)
def uniform_row(row: np.uint64, places: NDArray[np.uint32], out: NDArray[np.float64]) -> None:
    """Draws in [0, 1) of `mixed_places` of one row into `out`, for use in kernels."""
    high = _u32(row >> np.uint64(32))
    for c in range(len(places)):
        out[c] = np.float64(mix32(_u32(places[c] ^ high))) * 2.0**-32


@njit(cache=True, nogil=True)
def _normals(key: np.uint64, rows: NDArray[np.uint64], cols: NDArray[np.uint32]) -> NDArray[np.float32]:
    draw = np.empty((len(rows), len(cols)), np.float32)
    for i in range(len(rows)):
        normal_row(row_key(key, rows[i]), cols, draw[i])
    return draw


@njit(cache=True, nogil=True)
def _uniforms(key: np.uint64, rows: NDArray[np.uint64], cols: NDArray[np.uint32]) -> NDArray[np.float64]:
    draw = np.empty((len(rows), len(cols)))
    for i in range(len(rows)):
        uniform_row(row_key(key, rows[i]), cols, draw[i])
    return draw


@njit(cache=True, nogil=True, inline="always")
def exp32(x: np.float32) -> Any:
    """e^x for |x| <= 80 to 2e-7 relative, in operations that vectorise and round alike everywhere."""
    n = np.rint(x * _f32(1.4426950408889634))
    r = (x - n * _f32(0.693145751953125)) - n * _f32(1.4286067653e-06)
    p = _f32(0.0013836845755577087)
    p = p * r + _f32(0.008374815806746483)
    p = p * r + _f32(0.04166822507977486)
    p = p * r + _f32(0.16666419804096222)
    p = p * r + _f32(0.49999991059303284)
    p = p * r + _f32(1.0)
    p = p * r + _f32(1.0)
    return p * _float_of(_i32((_i32(n) + _i32(127)) << _i32(23)))
