"""The trials of a search: a sampler asks for points, batch by batch, and is told their figures.

The sampler (Optuna's) sees nothing but what it asked for and what it was told, in that order. The same seed
and batch thus give the same trials, whatever computes them and in which order; and a search that is begun
again asks for the same points, so that one that finds their figures in a store goes on where it stopped.
"""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from experiments.searches.pareto import Goal
from experiments.sweeps.axes import AxisValues, Dimension, Range
from xbar.hardware.errors import XbarError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

Sampler = Literal["tpe", "nsga2", "random"]
Figures = tuple[float, ...]
"""The values of a point's objectives."""
Evaluate = Callable[[Sequence[AxisValues]], Sequence[Figures | None]]
"""A function that gives the figures of points in their order, and None for a point that has none."""

MOST_REFUSED = 1000
"""After this many suggestions in a row that are known or not allowed, a search ends."""


@dataclass(frozen=True)
class Trial:
    """A point that was tried: what it sets, and its figures; None where it failed."""

    values: AxisValues
    figures: Figures | None


def run_trials(
    space: Mapping[str, Dimension],
    goals: Sequence[Goal],
    evaluate: Evaluate,
    trials: int,
    *,
    sampler: Sampler = "tpe",
    seed: int = 0,
    batch: int = 4,
    allowed: Callable[[AxisValues], bool] = lambda values: True,
) -> list[Trial]:
    """Try this many points, each once, or all points if the space has fewer.

    A suggestion that was tried before, or that is not allowed, is told to the sampler as failed, and is no
    trial.

    Parameters
    ----------
    space
        What the value of each name is drawn from; a name is one key, or several with commas between them.
    evaluate
        Called with the points of one batch.
    batch
        Points that are asked for before the sampler is told of the first: as many as are computed at a time.
    """
    optuna = imported_optuna()
    study = optuna.create_study(
        directions=["minimize" if goal == "min" else "maximize" for goal in goals],
        sampler=_sampler(sampler, seed),
    )
    drawn = {name: _distribution(dimension) for name, dimension in space.items()}
    failed = optuna.trial.TrialState.FAIL
    tried: set[str] = set()
    found: list[Trial] = []
    refused = 0
    while len(found) < trials and refused < MOST_REFUSED:
        asked: dict[int, AxisValues] = {}
        while len(asked) < min(batch, trials - len(found)) and refused < MOST_REFUSED:
            suggestion = study.ask(drawn)
            values = _values(space, suggestion.params)
            identity = json.dumps(values)
            if identity in tried or not allowed(values):
                study.tell(suggestion, state=failed)
                refused += 1
            else:
                asked[suggestion.number] = values
                tried.add(identity)
                refused = 0
        points = list(asked.values())
        results = [Trial(point, of) for point, of in zip(points, evaluate(points), strict=True)]
        for number, trial in zip(asked, results, strict=True):
            study.tell(number, trial.figures, failed if trial.figures is None else None)
        found += results
    return found


def imported_optuna() -> Any:
    """Import Optuna and silence its log.

    Raises
    ------
    XbarError
        Where it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise XbarError("search: needs the extra `search`: pip install 'xbar-codesign[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _sampler(name: Sampler, seed: int) -> BaseSampler:
    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    if name == "random":
        return samplers.RandomSampler(seed)
    if name == "nsga2":
        return samplers.NSGAIISampler(population_size=16, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed)


def _distribution(dimension: Dimension) -> BaseDistribution:
    """Numbers of a list that rise are places on a scale, other values have no order."""
    from optuna import distributions

    if isinstance(dimension, Range):
        log = dimension.scale == "log"
        if dimension.whole:
            return distributions.IntDistribution(
                math.ceil(dimension.low), math.floor(dimension.high), log=log
            )
        return distributions.FloatDistribution(dimension.low, dimension.high, log=log)
    values = dimension.values
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numbers and all(a < b for a, b in itertools.pairwise(values)):
        return distributions.IntDistribution(0, len(values) - 1)
    return distributions.CategoricalDistribution(range(len(values)))


def _values(space: Mapping[str, Dimension], drawn: Mapping[str, Any]) -> AxisValues:
    """Values that the keys are set to; a number from a range has six digits."""
    values: AxisValues = {}
    for name, dimension in space.items():
        value = drawn[name]
        if not isinstance(dimension, Range):
            value = dimension.values[value]
        elif not dimension.whole:
            value = min(max(float(f"{value:.6g}"), dimension.low), dimension.high)
        values |= dict.fromkeys(keys_of(name), value)
    return values


def keys_of(name: str) -> list[str]:
    """The keys of a name in a space."""
    return [key.strip() for key in name.split(",")]
