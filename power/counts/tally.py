"""Expressions over what happens in layers, each evaluated once for the numbers of a design that it reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from power.architecture.expressions import Expression, names_of, value_of

MOST_KEPT = 4096
"""Values of expressions that a tally keeps; architectures that differ in what expressions read are many."""


class Tally:
    """Events of one image in each of some layers, and the values that expressions have there.

    Many architectures have the same expressions and differ in numbers that few of these read: what an
    expression gave is kept with the numbers of the design that it read.

    Parameters
    ----------
    happens
        How often each event happens in each layer, and the numbers of the layer itself.
    """

    def __init__(self, happens: Iterable[Mapping[str, float]]) -> None:
        self._happens = tuple(happens)
        self._kept: dict[tuple[str, Expression, tuple[float, ...]], NDArray[np.float64]] = {}

    def of(self, key: str, expression: Expression, numbers: Mapping[str, float]) -> NDArray[np.float64]:
        """Value of an expression in each layer, shape (layers,), read-only.

        Parameters
        ----------
        key
            Key that has the expression, for the error.
        numbers
            Numbers of the design.

        Raises
        ------
        XbarError
            As `value_of`.
        """
        read = sorted(names_of(key, expression) & numbers.keys())
        known = key, expression, tuple(numbers[name] for name in read)
        found = self._kept.get(known)
        if found is None:
            values = [value_of(key, expression, {**numbers, **happens}) for happens in self._happens]
            found = np.array(values, np.float64)
            found.setflags(write=False)
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[known] = found
        return found
