"""Numbers of the noise generator, shared by its kernels (`xbar.conductances.rng`) and the torch reference.

Both compute the same formula with the same roundings and draw the same noise to the last bit. This module
needs no numba, as the reference does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio, which is added to the index of a row."""

FACTORS_64 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""Factors of mix64, the finaliser of SplitMix64 (doi 10.1145/2660193.2660195, section 3)."""

FACTORS_32 = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
"""Factors of mix32 ("lowbias32" of https://github.com/skeeto/hash-prospector)."""

LN_2 = np.float32(0.6931471805599453)

SQRT_HALF_BITS = np.int32(0x3F3504F3)
"""The bits of sqrt(1/2) in float32: mantissas m of x = m 2^e lie from there to sqrt(2)."""

LOG = (
    np.float32(0.08700430393218994),
    np.float32(-0.14267486333847046),
    np.float32(0.14914768934249878),
    np.float32(-0.1657758504152298),
    np.float32(0.19963063299655914),
    np.float32(-0.2500133812427521),
    np.float32(0.3333390951156616),
)
"""P of ln(1 + f) = f - f^2/2 + f^3 P(f), highest power first: minimax on the mantissas, to 3e-8."""

SINE = (
    np.float32(0.07756038755178452),
    np.float32(-0.5982421040534973),
    np.float32(2.550069808959961),
    np.float32(-5.167709827423096),
    np.float32(3.1415927410125732),
)
"""P of sin(pi s) = s P(s^2), highest power first: minimax on |s| <= 1/2."""


def mix32(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Finaliser of 32 bits, a bijection."""
    x = (x ^ (x >> np.uint32(16))) * FACTORS_32[0]
    x = (x ^ (x >> np.uint32(15))) * FACTORS_32[1]
    return np.asarray(x ^ (x >> np.uint32(16)))


def mix64(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of 64 bits, a bijection."""
    z = (z ^ (z >> np.uint64(30))) * FACTORS_64[0]
    z = (z ^ (z >> np.uint64(27))) * FACTORS_64[1]
    return np.asarray(z ^ (z >> np.uint64(31)))


def mixed_places(cols: ArrayLike) -> NDArray[np.uint32]:
    """mix32 of places, as the kernels take them; once for all rows."""
    return mix32(np.asarray(cols).astype(np.uint32))
