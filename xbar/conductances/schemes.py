"""The encodings that ship: signed weights as the states of cells.

A weight is stored as its state number z, a signed integer, 0 = masked, in `slices` cells a plane, most
significant first. In units of `device.unit` (L states) the weight that the cells hold is

    w = sum_s p_s (g_s - h_s) / unit,    p_s = L^(S-1-s),

where h is, by kind of encoding,

- ``differential``: the other plane's cell. The plane of the sign of z holds the digits of |z|; all other
  cells idle at g_min. Where states are not equidistant, level |z| is the |z|-th of the different sums that
  S cells can form, so that the nearest level is the assignment of least error.
- ``offset``: the tile's reference column, which holds the digits of zero's number L^S // 2; the cells hold
  those of z + L^S // 2.
- ``twos-complement``: the reference column at g_min. The first cell holds the sign bit, p_0 = -L^(S-1), the
  others the digits of z, or of z + L^(S-1) below 0.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from xbar.hardware.device import Device
from xbar.hardware.encodings import Codebook, Encoding, Scheme
from xbar.hardware.errors import XbarError


class DifferentialScheme(Scheme):
    """A plane of cells for each sign."""

    planes = 2
    zero_is_level = False
    equal_steps = False

    def largest_state(self, encoding: Encoding, n_states: int) -> int:
        """See `Scheme.largest_state`."""
        return int(n_states**encoding.slices) - 1

    def bits(self, encoding: Encoding, n_states: int) -> float:
        """See `Scheme.bits`; a sign and the digits."""
        return encoding.slices * math.log2(n_states) + 1

    def codebook(self, encoding: Encoding, device: Device) -> Codebook:
        """See `Scheme.codebook`."""
        slices = encoding.slices
        states = (device.conductances() - device.g_min) / device.unit
        if slices == 1:
            levels, digits = states[1:], np.arange(1, device.n_states)[:, None]
        elif isinstance(device.states, int):
            levels = np.arange(1.0, device.n_states**slices)
            digits = digits_of(np.arange(1, device.n_states**slices), device.n_states, slices)
        else:
            place = np.power(float(device.n_states), np.arange(slices - 1, -1, -1))
            combinations = np.array(list(itertools.product(range(device.n_states), repeat=slices)))
            sums = states[combinations] @ place
            order = np.argsort(sums, kind="stable")[1:]
            apart = np.diff(sums[order], prepend=0.0) > 1e-9 * sums[order[-1]]
            levels, digits = sums[order][apart], combinations[order][apart]
        planes = np.zeros((2 * len(levels) + 1, 2, slices), np.int32)
        planes[len(levels) + 1 :, 0] = digits
        planes[: len(levels), 1] = digits[::-1]
        return Codebook(levels, planes, np.empty(0, np.int32))


class OffsetScheme(Scheme):
    """One plane, and a reference column that holds zero's state."""

    def largest_state(self, encoding: Encoding, n_states: int) -> int:
        """See `Scheme.largest_state`."""
        numbers = int(n_states**encoding.slices)
        return numbers - 1 - numbers // 2

    def bits(self, encoding: Encoding, n_states: int) -> float:
        """See `Scheme.bits`."""
        return encoding.slices * math.log2(n_states)

    def codebook(self, encoding: Encoding, device: Device) -> Codebook:
        """See `Scheme.codebook`."""
        base, slices = device.n_states, encoding.slices
        top, zero = self.largest_state(encoding, base), base**slices // 2
        digits = digits_of(np.arange(-top, top + 1) + zero, base, slices)
        reference = digits_of(np.array([zero]), base, slices)[0]
        return _one_plane(top, digits, reference)


class TwosComplementScheme(Scheme):
    """One plane whose first slice holds the sign bit, and a reference column at g_min."""

    def check(self, encoding: Encoding) -> None:
        """See `Scheme.check`."""
        if encoding.slices < 2:
            raise XbarError(
                "encoding.slices = 1: 'twos-complement' needs a slice for the sign and at least one more"
            )

    def largest_state(self, encoding: Encoding, n_states: int) -> int:
        """See `Scheme.largest_state`."""
        return int(n_states ** (encoding.slices - 1)) - 1

    def bits(self, encoding: Encoding, n_states: int) -> float:
        """See `Scheme.bits`; a sign and the digits of the other slices."""
        return 1 + (encoding.slices * math.log2(n_states)) - math.log2(n_states)

    def codebook(self, encoding: Encoding, device: Device) -> Codebook:
        """See `Scheme.codebook`."""
        base, slices = device.n_states, encoding.slices
        top = self.largest_state(encoding, base)
        z = np.arange(-top, top + 1)
        rest = digits_of(z % base ** (slices - 1), base, slices - 1)
        digits = np.concatenate([(z < 0)[:, None], rest], axis=1)
        return _one_plane(top, digits, np.zeros(slices, np.int64))

    def place_values(self, encoding: Encoding, device: Device) -> NDArray[np.float64]:
        """See `Scheme.place_values`; that of the sign is negative."""
        place = super().place_values(encoding, device)
        place[0] *= -1
        return place


def _one_plane(top: int, digits: NDArray[np.int64], reference: NDArray[np.int64]) -> Codebook:
    return Codebook(np.arange(1.0, top + 1), digits[:, None].astype(np.int32), reference.astype(np.int32))


def digits_of(numbers: NDArray[np.int64], base: int, slices: int) -> NDArray[np.int64]:
    """Digits to the base, most significant first, shape (*numbers.shape, slices)."""
    return numbers[..., None] // base ** np.arange(slices - 1, -1, -1) % base


differential, offset, twos_complement = DifferentialScheme(), OffsetScheme(), TwosComplementScheme()
