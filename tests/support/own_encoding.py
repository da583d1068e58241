"""An encoding that is not part of xbar, as a user writes it in a file that a study names in `extensions`.

The digits of a pair of cells with L states go from -(L - 1) to L - 1, so that one slice more multiplies the
numbers by 2 L - 1, and not by L as in the differential encoding that ships.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xbar import ENCODINGS, Codebook, Encoding, Scheme, XbarError


@dataclass(frozen=True)
class SignedDigits(Encoding):
    """Its own key `base` is the base of the digits, an odd number; 0: 2 L - 1."""

    kind: str = "signed-digits"
    base: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base and (self.base < 3 or self.base % 2 == 0):
            raise XbarError(f"encoding.base = {self.base}: must be an odd number from 3 on, or 0")


class SignedDigitsScheme(Scheme):
    """Both planes of a pair hold digits of every weight, each digit in the plane of its sign."""

    planes = 2
    zero_is_level = False

    def base(self, encoding: SignedDigits, n_states: int) -> int:
        """Base of the digits on cells of so many states."""
        return encoding.base or 2 * n_states - 1

    def largest_state(self, encoding: SignedDigits, n_states: int) -> int:
        """All digits at their largest."""
        return (self.base(encoding, n_states) ** encoding.slices - 1) // 2

    def codebook(self, encoding, device) -> Codebook:
        """The digits of z + T, each less (base - 1) / 2, are those of z."""
        base, slices = self.base(encoding, device.n_states), encoding.slices
        if base > 2 * device.n_states - 1:
            raise XbarError(f"encoding.base = {base}: at most {2 * device.n_states - 1} with these cells")
        top = self.largest_state(encoding, device.n_states)
        numbers = np.arange(2 * top + 1)
        digits = numbers[:, None] // base ** np.arange(slices - 1, -1, -1) % base - (base - 1) // 2
        planes = np.stack([np.maximum(digits, 0), np.maximum(-digits, 0)], axis=1)
        return Codebook(np.arange(1.0, top + 1), planes.astype(np.int32), np.empty(0, np.int32))

    def place_values(self, encoding, device):
        """Powers of the base."""
        base = float(self.base(encoding, device.n_states))
        return base ** np.arange(encoding.slices - 1.0, -1, -1)


ENCODINGS.add("signed-digits", SignedDigits, SignedDigitsScheme())
