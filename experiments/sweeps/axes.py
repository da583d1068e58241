"""The axes of a sweep: the values that each of its keys goes through."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from xbar.hardware.checks import STRICT, check_range
from xbar.hardware.errors import XbarError
from xbar.hardware.files import build

AxisValues = dict[str, Any]
"""Keys of a study and what they are set to."""

MOST = 1_000_000
"""Values of an axis, and points of a sweep."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    As an axis: `n` of them, or one every `step`. ``scale = "log"``: equal ratios in place of equal steps.
    ``whole``: rounded to whole numbers, each once.
    """

    __pydantic_config__: ClassVar = STRICT
    low: float
    high: float
    n: int = 0
    step: float = 0.0
    scale: Literal["linear", "log"] = "linear"
    whole: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise XbarError(f"range {self.low:g} to {self.high:g}: low must be below high, both finite")
        if self.scale == "log" and self.low <= 0:
            raise XbarError(f"range {self.low:g} to {self.high:g}: with scale = 'log' low must be positive")
        if self.n and self.step:
            raise XbarError(f"range {self.low:g} to {self.high:g}: has n and step; one of them is enough")
        check_range("range: n", self.n, 0, MOST)
        check_range("range: step", self.step, 0, self.high - self.low)
        if self.step and (self.high - self.low) / self.step >= MOST:
            raise XbarError(
                f"range {self.low:g} to {self.high:g}: step = {self.step:g}: gives more than {MOST:,} values"
            )
        if self.step and self.scale == "log":
            raise XbarError(f"range {self.low:g} to {self.high:g}: step goes with scale = 'linear'; give n")

    def at(self, share: float) -> float | int:
        """The number at a share of the way, 0 to 1."""
        if self.whole:
            low, high = math.ceil(self.low), math.floor(self.high)
            first, last = (low, high + 1) if self.scale == "linear" else (low - 0.5, high + 0.5)
            if self.scale == "log":
                number = round(first * (last / first) ** share)
            else:
                number = math.floor(first + share * (last - first))
            return int(min(max(number, low), high))
        if self.scale == "log":
            return float(self.low * (self.high / self.low) ** share)
        return self.low + share * (self.high - self.low)

    def values(self) -> list[float | int]:
        """Numbers of an axis.

        Raises
        ------
        XbarError
            Where neither `n` nor `step` says how many.
        """
        if self.step:
            count = math.floor((self.high - self.low) / self.step * (1 + 1e-12)) + 1
            found = [self.low + i * self.step for i in range(count)]
        elif self.n >= 2:
            spaced = np.geomspace if self.scale == "log" else np.linspace
            found = [float(value) for value in spaced(self.low, self.high, self.n)]
        else:
            raise XbarError(f"range {self.low:g} to {self.high:g}: needs n >= 2, or a step")
        tidy = [float(f"{value:.12g}") for value in found]
        return list(dict.fromkeys(round(value) for value in tidy)) if self.whole else tidy


@dataclass(frozen=True)
class Options:
    """Values of which one is chosen."""

    __pydantic_config__: ClassVar = STRICT
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise XbarError("values: needs at least one")

    def at(self, share: float) -> Any:
        """The value at a share of the way, 0 to 1."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


Dimension = Range | Options
"""The range or list that a sampled or searched key is drawn from."""


@dataclass(frozen=True)
class Sample:
    """`n` points that fill the space of some keys evenly (`scipy.stats.qmc`), the same for the same seed."""

    __pydantic_config__: ClassVar = STRICT
    method: Literal["latin-hypercube", "sobol"]
    n: int
    keys: dict[str, Any]
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("sample: n", self.n, 1, MOST)
        check_range("sample: seed", self.seed, 0, 2**31 - 1)
        if self.method == "sobol" and self.n & (self.n - 1):
            raise XbarError(f"sample: n = {self.n}: a Sobol sequence is even at powers of two only")
        if not self.keys:
            raise XbarError("sample: keys: needs at least one")

    def points(self, dimensions: Mapping[str, Dimension]) -> list[AxisValues]:
        """The points."""
        from scipy.stats import qmc

        if self.method == "sobol":
            shares = qmc.Sobol(len(dimensions), rng=self.seed).random_base2(self.n.bit_length() - 1)
        else:
            shares = qmc.LatinHypercube(len(dimensions), rng=self.seed).random(self.n)
        rows = (
            {k: d.at(float(s)) for (k, d), s in zip(dimensions.items(), row, strict=True)} for row in shares
        )
        return list(rows)


@dataclass(frozen=True)
class Axis:
    """One axis; a sweep is the product of its axes.

    ``key``: the key, or several that get the same value, with ``values``, a list, or ``range``. ``zip``: keys
    with a list each, that step together. ``sample``: keys that are drawn together.
    """

    __pydantic_config__: ClassVar = STRICT
    key: str | tuple[str, ...] = ()
    values: tuple[Any, ...] | None = None
    range: Range | None = None
    zip: dict[str, Any] = field(default_factory=dict)
    sample: Sample | None = None

    def __post_init__(self) -> None:
        kinds = ("values", "range", "zip", "sample")
        given = [kind for kind in kinds if getattr(self, kind) not in (None, {})]
        if len(given) != 1:
            raise XbarError(
                f"axes: each needs one of {', '.join(kinds)}; has {' and '.join(given) or 'none'}"
            )
        with_key = given[0] in ("values", "range")
        if with_key != bool(self.key):
            raise XbarError(
                f"axes: key {'is missing beside' if with_key else 'has no effect with'} {given[0]}"
            )


def points_of(axis: Axis) -> list[AxisValues]:
    """The values that an axis sets, in order.

    Raises
    ------
    XbarError
        For an empty list, lists of a zip that differ in length, a value that occurs twice.
    """
    if axis.sample is not None:
        return axis.sample.points({key: dimension(key, of) for key, of in flat(axis.sample.keys).items()})
    if axis.zip:
        columns = flat(axis.zip)
        lengths = {key: len(column) if isinstance(column, list) else -1 for key, column in columns.items()}
        if len(set(lengths.values())) > 1 or -1 in lengths.values():
            told = ", ".join(f"{key}: {'no list' if n < 0 else n}" for key, n in lengths.items())
            raise XbarError(f"axes: zip: needs lists of one length; {told}")
        found = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    else:
        keys = (axis.key,) if isinstance(axis.key, str) else axis.key
        values = axis.range.values() if axis.range else axis.values or ()
        found = [dict.fromkeys(keys, value) for value in values]
    title = ", ".join(found[0]) if found else "axes"
    if not found:
        raise XbarError(f"axes: {axis.key or 'zip'}: needs at least one value")
    if len({_hashable(values) for values in found}) < len(found):
        raise XbarError(f"axes: {title}: a value occurs twice")
    return found


def _hashable(value: Any) -> Any:
    """The same for values that are equal."""
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(each)) for key, each in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def product(axes: tuple[Axis, ...]) -> Iterator[AxisValues]:
    """Every combination of the axes, the last one fastest.

    Raises
    ------
    XbarError
        For a key that two axes set, and more than `MOST` combinations.
    """
    columns = [points_of(axis) for axis in axes]
    count = math.prod(map(len, columns))
    if count > MOST:
        raise XbarError(f"axes: give {count:,} points; at most {MOST:,} are possible")
    keys = [key for column in columns for key in column[0]]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise XbarError(f"axes: {sorted(twice)[0]}: set by more than one axis")
    for row in itertools.product(*columns):
        yield {key: value for values in row for key, value in values.items()}


def dimension(key: str, data: Any) -> Dimension:
    """Read the range or list that a key is drawn from.

    Raises
    ------
    XbarError
        For anything else.
    """
    if isinstance(data, list):
        return build(Options, {"values": data}, key)
    if not isinstance(data, Mapping):
        raise XbarError(f"{key} = {data!r}: must be a list, or a table with low and high")
    drawn = build(Range, data, key)
    if drawn.n or drawn.step:
        raise XbarError(f"{key}: n and step have no effect where values are drawn")
    return drawn


def flat(table: Mapping[str, Any], prefix: str = "") -> AxisValues:
    """Nested tables as dotted keys, down to lists, to tables that say what a key is drawn from, and to empty
    ones, such as that of a method all of whose keys are at their defaults."""
    found: AxisValues = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and value and not {"low", "high"} & value.keys():
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
