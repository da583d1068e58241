"""Counter-based noise: every draw belongs to a key and a cell, not to a place in a sequence.

Cell (k, n) of a key has the counter ``k << 32 | n``; its 64 random bits are

    bits = mix(mix(counter + 0x9E3779B97F4A7C15) + key)

with the finaliser of SplitMix64 as `mix` (doi 10.1145/2660193.2660195, section 3). Repacking, batching and
threads therefore keep every draw, and the bits are the same on every machine.
"""

from __future__ import annotations

import json
from hashlib import blake2b

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTOR_1 = np.uint64(0xBF58476D1CE4E5B9)
_FACTOR_2 = np.uint64(0x94D049BB133111EB)
_LOW_32 = np.uint64(0xFFFFFFFF)


def stream_key(*parts: int | str) -> np.uint64:
    """Key of the stream that the parts name: the first 8 bytes of BLAKE2b over them as a JSON list.

    Order and type matter: ``("a", 1)``, ``(1, "a")`` and ``("a", "1")`` are three streams.
    """
    plain = [part if isinstance(part, str) else int(part) for part in parts]
    return np.uint64(int.from_bytes(blake2b(json.dumps(plain).encode(), digest_size=8).digest(), "little"))


def normals(key: np.uint64, rows: ArrayLike, cols: ArrayLike) -> NDArray[np.float32]:
    """Standard normal draws of the cells rows x cols, shape (len(rows), len(cols)).

    Box-Muller (doi 10.1214/aoms/1177706645, equation 3) from the two 32-bit halves of a cell's bits, so that
    no draw lies beyond 6.77 standard deviations.

    Parameters
    ----------
    key
        From `stream_key`.
    rows, cols
        Indices k and n of the cells, from 0 to 2^32 - 1, in any order.
    """
    return _normals(np.uint64(key), np.asarray(rows, np.uint64), np.asarray(cols, np.uint64))


def uniforms(key: np.uint64, rows: ArrayLike, cols: ArrayLike) -> NDArray[np.float32]:
    """Draws in [0, 1), multiples of 2^-24, of the cells rows x cols, shape (len(rows), len(cols)).

    Parameters
    ----------
    key
        From `stream_key`; a stream is to be read either as normals or as uniforms.
    rows, cols
        Indices k and n of the cells, from 0 to 2^32 - 1, in any order.
    """
    return _uniforms(np.uint64(key), np.asarray(rows, np.uint64), np.asarray(cols, np.uint64))


@njit(cache=True, nogil=True)
def _mix(z: np.uint64) -> np.uint64:
    z = (z ^ (z >> np.uint64(30))) * _FACTOR_1
    z = (z ^ (z >> np.uint64(27))) * _FACTOR_2
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def bits(key: np.uint64, k: np.uint64, n: np.uint64) -> np.uint64:
    """64 random bits of cell (k, n), for use inside other kernels."""
    return _mix(_mix((k << np.uint64(32) | n) + _GOLDEN) + key)


@njit(cache=True, nogil=True)
def _normals(key: np.uint64, rows: NDArray[np.uint64], cols: NDArray[np.uint64]) -> NDArray[np.float32]:
    draw = np.empty((len(rows), len(cols)), np.float32)
    for i in range(len(rows)):
        for j in range(len(cols)):
            word = bits(key, rows[i], cols[j])
            radius = np.sqrt(-2 * np.log((np.float64(word >> np.uint64(32)) + 0.5) * 2.0**-32))
            draw[i, j] = radius * np.cos(2 * np.pi * 2.0**-32 * np.float64(word & _LOW_32))
    return draw


@njit(cache=True, nogil=True)
def _uniforms(key: np.uint64, rows: NDArray[np.uint64], cols: NDArray[np.uint64]) -> NDArray[np.float32]:
    draw = np.empty((len(rows), len(cols)), np.float32)
    for i in range(len(rows)):
        for j in range(len(cols)):
            draw[i, j] = np.float64(bits(key, rows[i], cols[j]) >> np.uint64(40)) * 2.0**-24
    return draw
