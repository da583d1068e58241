"""Accuracy, or another metric, over chips, one after the other until its mean is known well enough.

The interval is that of the mean over chips, each of which gives one number: it holds whether that number is a
mean over samples (an accuracy) or not (an RMSE, a perplexity). It says nothing of the samples themselves.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from xbar.hardware.checks import check_range, check_whole
from xbar.hardware.errors import XbarError

LEAST = 10
"""Chips before the rule may stop. Its intervals then hold the mean in 93 % of all runs or more, see
docs/physics.md."""


@functools.cache
def _quantile(chips: int) -> float:
    return float(stats.t.ppf(0.975, chips - 1))


def standard_deviation(accuracies: Sequence[float] | NDArray[np.float64]) -> float:
    """Standard deviation of a sample of two or more chips; exactly 0 where all are alike."""
    # The mean of equal numbers may be rounded, which left 1e-14.
    return 0.0 if np.ptp(accuracies) == 0 else float(np.std(accuracies, ddof=1))


def half_width(accuracies: Sequence[float] | NDArray[np.float64]) -> float:
    """Half of the 95 % interval of the mean over chips (Student's t); infinite for a single chip."""
    chips = len(accuracies)
    if chips < 2:
        return math.inf
    return _quantile(chips) * standard_deviation(accuracies) / math.sqrt(chips)


@dataclass(frozen=True)
class ChipSample:
    """Accuracies of the chips 0, 1, 2 ... in order, or values of another metric.

    Parameters
    ----------
    accuracies
        Accuracy of each chip, in the unit of the metric: [percent] by default.
    settled
        Whether the stop rule ended the run; False: the most chips did.
    """

    accuracies: tuple[float, ...]
    settled: bool

    @property
    def mean(self) -> float:
        """Over the chips, in the unit of the metric."""
        return float(np.mean(self.accuracies))

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of the mean, in the unit of the metric."""
        return half_width(self.accuracies)


def sample_chips(
    run_chip: Callable[[int], float],
    *,
    most: int,
    least: int = LEAST,
    until: float = 0.0,
    known: Mapping[int, float] | None = None,
) -> ChipSample:
    """Run chips until the 95 % interval of their mean is at most +- `until`, or the most are run.

    Parameters
    ----------
    run_chip
        Accuracy of a chip by its number [percent], or its value of another metric.
    least, most
        Chips; the rule acts from `least` on.
    until
        Half width at which to stop, in the unit of the metric (percentage points of an accuracy); 0: the most
        chips in any case.
    known
        Chips that are already run, by number. The result is that of a run without them.

    Raises
    ------
    XbarError
        For numbers of chips that are not whole, 1 <= most and, with `until`, 2 <= least <= most.
    """
    check_whole("most", most, 1, 1 << 40)
    check_whole("least", least, 1, 1 << 40)
    check_range("until", until, 0, math.inf)
    if until and not 2 <= least <= most:
        raise XbarError(f"least = {least}: must lie between 2 and most = {most} chips")
    accuracies: list[float] = []
    found = known or {}
    while len(accuracies) < most:
        chip = len(accuracies)
        accuracies.append(found[chip] if chip in found else run_chip(chip))
        if until and len(accuracies) >= least and half_width(accuracies) <= until:
            return ChipSample(tuple(accuracies), settled=True)
    return ChipSample(tuple(accuracies), settled=False)
