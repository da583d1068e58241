"""Encodings by kind: the keys of each, and the scheme by which its cells hold signed weights.

The keys are a frozen dataclass, `Encoding` or one that derives from it; the scheme is an object that says how
many planes there are, which levels weights can take, and which states of cells stand for each. A kind of
one's own is one file: such a dataclass, a `Scheme`, and `ENCODINGS.add`. The schemes that ship are in
`xbar.conductances.schemes`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xbar.hardware.checks import STRICT, check_range, check_types
from xbar.hardware.device import Device
from xbar.hardware.errors import XbarError
from xbar.hardware.registry import ByKind, KeptTable, Registry


@dataclass(frozen=True)
class Encoding:
    """Signed weights as `slices` cells, most significant first (`xbar.conductances.schemes`).

    Parameters
    ----------
    kind
        ``differential``: a plane of cells for each sign. ``offset``: one plane; each tile has a reference
        column that holds zero's state. ``twos-complement``: one plane, the first slice holds the sign bit;
        the reference column holds g_min. Or a kind that was added to `ENCODINGS`, whose class then is that of
        its keys.
    slices
        Cells of a weight in one plane.
    subtract
        The planes of a pair, or the reference column, are subtracted before one ADC (``analog``), or the
        codes of two ADCs after it (``digital``).
    unformed
        Only where zero is no level, as in ``differential``: a masked weight has no devices; otherwise it is
        the pair (g_min, g_min).
    scale
        What has one factor between its states and weights, by which outputs are rescaled after the
        converters: each ``column`` (output) of a layer, or the ``layer``.
    zeros
        What a weight of exactly 0 is when it is mapped. ``masked``: in a differential encoding a masked
        weight, whoever pruned it; where zero is a level of its own (other kinds) that level, z = 0, with
        cells that are built. ``level``, only where zero is no level: the nearest level, +1.
    """

    __pydantic_config__: ClassVar = STRICT
    kind: str = "differential"
    slices: int = 1
    subtract: Literal["analog", "digital"] = "analog"
    unformed: bool = False
    scale: Literal["column", "layer"] = "column"
    zeros: Literal["masked", "level"] = "masked"

    def __post_init__(self) -> None:
        check_types(self, "encoding.")
        ENCODINGS.check(self, "encoding")
        check_range("encoding.slices", self.slices, 1, 8)
        if self.unformed and self.scheme.zero_is_level:
            raise XbarError(
                f"encoding.unformed = true: has no effect with encoding.kind = {self.kind!r}, where a masked "
                "weight needs its cells; only with 'differential'"
            )
        if self.zeros == "level" and self.scheme.zero_is_level:
            raise XbarError(
                f"encoding.zeros = 'level': has no effect with encoding.kind = {self.kind!r}, where zero is "
                "a level of its own; only with 'differential'"
            )
        with ENCODINGS.guarded(self):
            self.scheme.check(self)

    @property
    def scheme(self) -> Scheme:
        """The scheme by which the cells hold a weight."""
        return ENCODINGS.handler(self)

    @property
    def masks_zeros(self) -> bool:
        """Whether a weight of exactly 0 is a masked one, and not one of its levels."""
        return not self.scheme.zero_is_level and self.zeros == "masked"

    @property
    def planes(self) -> int:
        """Arrays that hold the cells of one weight."""
        return self.scheme.planes

    @property
    def reference_columns(self) -> int:
        """Bit lines of a tile that hold its reference."""
        return 0 if self.planes == 2 else self.slices

    @property
    def converted_planes(self) -> int:
        """Planes whose bit lines have a converter of their own."""
        return 2 if self.planes == 2 and self.subtract == "digital" else 1


class Codebook(NamedTuple):
    """All that an encoding does with a device.

    Parameters
    ----------
    levels
        Positive levels in units of `device.unit`, ascending, shape (T,); level i belongs to state i + 1.
    digits
        State of each cell for state numbers -T ... T, shape (2 T + 1, planes, S).
    reference
        State of the reference column's cells, shape (S,); empty where there is none.
    """

    levels: NDArray[np.float64]
    digits: NDArray[np.int32]
    reference: NDArray[np.int32]


class Scheme(ABC):
    """How the cells of one kind of encoding hold signed weights.

    In units of `device.unit` the weight that cells hold is ``w = sum_s p_s (g_s - h_s) / unit``, p_s the
    `place_values`, g_s the conductance of slice s in the first plane, and h_s that in the second plane, or,
    where there is one plane, in the reference column.

    Attributes
    ----------
    planes
        Arrays that hold the cells of one weight: 2, which are subtracted from each other, or 1, from which a
        reference column of the tile is subtracted.
    zero_is_level
        Whether a weight of 0 is a level like the others, whose cells are built and noisy; else it is a masked
        weight, the pair (g_min, g_min).
    equal_steps
        Whether the states of cells must be equidistant, a number as `device.states`.
    """

    planes: ClassVar[Literal[1, 2]] = 1
    zero_is_level: ClassVar[bool] = True
    equal_steps: ClassVar[bool] = True

    def check(self, encoding: Any) -> None:  # noqa: B027
        """Refuse keys that do not fit together.

        Raises
        ------
        XbarError
            With the key, its value and what is allowed.
        """

    @abstractmethod
    def largest_state(self, encoding: Any, n_states: int) -> int:
        """Largest state number T on cells of so many states; where they are not equidistant, a bound."""

    @abstractmethod
    def codebook(self, encoding: Any, device: Device) -> Codebook:
        """Levels, and the cells of each."""

    def place_values(self, encoding: Any, device: Device) -> NDArray[np.float64]:
        """Place value p_s of each slice's current, shape (slices,); powers of the number of states."""
        return np.power(float(device.n_states), np.arange(encoding.slices - 1.0, -1, -1))

    def bits(self, encoding: Any, n_states: int) -> float:
        """Bits of a stored weight, log2 of the numbers that its cells tell apart, signs included."""
        return math.log2(2 * self.largest_state(encoding, n_states) + 1)


ENCODINGS: Registry[Scheme] = Registry("encoding", tagged=True)
"""Schemes of the encodings, by kind."""


@dataclass(frozen=True)
class KeptEncoding(KeptTable, Encoding):
    """The table of an encoding whose file is not there."""


AnyEncoding = Annotated[Encoding, ByKind(ENCODINGS, "differential", KeptEncoding)]
"""An encoding of any kind, in a field that files are read into."""


def check_encoding(encoding: Encoding, device: Device) -> None:
    """Refuse a device that cannot hold the numbers of an encoding.

    Raises
    ------
    XbarError
        Where the encoding needs equidistant states, has no number but zero, or more than int16 takes.
    """
    if encoding.scheme.equal_steps and not isinstance(device.states, int):
        raise XbarError(
            f"encoding.kind = {encoding.kind!r}: needs equidistant states (device.states as a count), "
            f"{device.name!r} lists state means"
        )
    if largest_state(encoding, device.n_states) < 1:
        raise XbarError(
            f"encoding.kind = {encoding.kind!r}: {device.n_states} states in {encoding.slices} slices hold "
            "no number but zero; needs 3 states or 2 slices"
        )
    if largest_state(encoding, device.n_states) > 32767:
        raise XbarError(
            f"encoding.slices = {encoding.slices}: the numbers of {device.n_states} states exceed 16 bits; "
            "use fewer slices"
        )


def largest_state(encoding: Encoding, n_states: int) -> int:
    """Largest state number; where states are not equidistant, an upper bound."""
    return encoding.scheme.largest_state(encoding, n_states)


for _kind, _scheme in {
    "differential": "differential",
    "offset": "offset",
    "twos-complement": "twos_complement",
}.items():
    ENCODINGS.add(_kind, Encoding, f"xbar.conductances.schemes:{_scheme}")
