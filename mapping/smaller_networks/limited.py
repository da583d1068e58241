"""The choice of each layer out of a few, so that the network on its tiles costs at most a limit.

What a choice is, how much of the layer is kept (`hardware_budget`) or the hardware that it is on
(`mixed_hardware`), the search does not know.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from mapping.tiles.mapped import MappedLayer, MappedNetwork
from xbar.hardware.errors import XbarError

Cost = Callable[[MappedNetwork], float]
"""A function that gives the cost of a mapping, in the unit of the limit."""

Of = TypeVar("Of", bound=Hashable)
"""The choice of a layer."""

ErrorTable = Mapping[str, Mapping[Of, float]]
"""The error of each layer with each of its choices, from the best choice to the worst."""

EQUAL = 1e-9
"""Relative difference up to which costs are the same."""


@dataclass(frozen=True)
class LimitedTrial(Generic[Of]):
    """A trial of a search: the choice of each layer, and what the network costs with them."""

    choices: Mapping[str, Of]
    cost: float


@dataclass(frozen=True)
class Limited(Generic[Of]):
    """The result of a search: the choice of each layer, the cost, and the trials on the way.

    Parameters
    ----------
    choices
        By layer: the share of its weights that it keeps, or the name of the hardware that it is on.
    cost
        Cost of the network with them, at most the limit.
    trials
        What the search went through, in order.
    """

    choices: dict[str, Of]
    cost: float
    trials: tuple[LimitedTrial[Of], ...]


class Trials(Generic[Of]):
    """Costs of a network with one choice of each layer or another.

    Parameters
    ----------
    mapped
        Holds the layers that have no choice, and what does not depend on choices.
    layer_of
        A layer, by its name, with a choice.
    cost
        The cost of the whole network.
    remember
        Ask for each layer with each choice once, and keep it.
    """

    def __init__(
        self,
        mapped: MappedNetwork,
        layer_of: Callable[[str, Of], MappedLayer],
        cost: Cost,
        remember: bool = False,
    ) -> None:
        self.mapped, self.cost = mapped, cost
        self._layer = functools.cache(layer_of) if remember else layer_of

    def trial(self, choices: Mapping[str, Of]) -> LimitedTrial[Of]:
        """A trial: these choices, and what the network costs with them.

        Raises
        ------
        XbarError
            For a cost that is not a finite number.
        """
        layers = {name: self._layer(name, choice) for name, choice in choices.items()}
        mapped = dataclasses.replace(self.mapped, layers={**self.mapped.layers, **layers})
        cost = float(self.cost(mapped))
        if not math.isfinite(cost):
            raise XbarError(f"cost of the mapping = {cost}: must be a finite number")
        return LimitedTrial(dict(choices), cost)


def greedy_choices(trials: Trials[Of], table: ErrorTable[Of], limit: float) -> Limited[Of]:
    """Choices of a small sum of errors, at most the limit: step by step, the cheapest loss first.

    Each layer begins with its first choice. Of all steps of one layer to a later one, the one that loses
    least for what it saves is taken, until the network costs at most the limit; then layers step up again,
    the largest gain first, as long as one fits. No step up of one layer that would lower the sum fits.

    Where the costs of the layers add up, this is a multiple-choice knapsack (Sinha and Zoltners 1979,
    doi:10.1287/opre.27.3.503), and the sum of errors exceeds the best one by at most the error of the last
    step down. Otherwise the savings are measured anew at each step, and nothing is promised but the limit.

    Parameters
    ----------
    table
        Errors that do not fall from one choice to the next.

    Raises
    ------
    XbarError
        Where the last choice of each layer costs more than the limit.
    """
    least = trials.trial({name: list(own)[-1] for name, own in table.items()})
    check_reach(limit, least)
    steps = [trials.trial({name: next(iter(own)) for name, own in table.items()})]
    savings = _Savings(trials, table, steps[0])
    while steps[-1].cost > limit:
        steps.append(savings.best_step(steps[-1]))
    while (more := _step_up(trials, table, steps[-1], limit)) is not None:
        steps.append(more)
    return Limited(dict(steps[-1].choices), steps[-1].cost, tuple(steps))


def check_limit(limit: float) -> None:
    """Refuse a limit that is not a positive number."""
    if not (math.isfinite(limit) and limit > 0):
        raise XbarError(f"limit = {limit}: must be a positive number")


def check_reach(limit: float, least: LimitedTrial[Of]) -> None:
    """Refuse a limit below the cost of the cheapest choices."""
    if least.cost > limit:
        raise XbarError(
            f"limit = {limit:g}: out of reach; the smallest choices already cost {least.cost:.4g}"
        )


class _Savings(Generic[Of]):
    """The savings of each step of one layer, measured once as long as the costs of the layers add up."""

    def __init__(self, trials: Trials[Of], table: ErrorTable[Of], start: LimitedTrial[Of]) -> None:
        self.trials, self.table = trials, table
        self.measured_at = start
        self._measure(start)

    def best_step(self, now: LimitedTrial[Of]) -> LimitedTrial[Of]:
        """The step down that loses least for what it saves; of those that save nothing, that loses least."""
        name, choice = min(self._steps_down(now), key=lambda step: self._rank(now, *step))
        after = self.trials.trial({**now.choices, name: choice})
        saved = self._saved(now, name, choice)
        as_measured = saved > 0 and math.isclose(after.cost, now.cost - saved, rel_tol=EQUAL)
        if as_measured or self.measured_at is now:
            return after
        self._measure(now)
        return self.best_step(now)

    def _measure(self, now: LimitedTrial[Of]) -> None:
        self.measured_at = now
        self.costs = {
            (name, choice): self.trials.trial({**now.choices, name: choice}).cost
            for name, own in self.table.items()
            for choice in [now.choices[name], *later(own, now.choices[name])]
        }

    def _steps_down(self, now: LimitedTrial[Of]) -> list[tuple[str, Of]]:
        below = {name: set(later(own, now.choices[name])) for name, own in self.table.items()}
        return [(name, choice) for name, choice in self.costs if choice in below[name]]

    def _saved(self, now: LimitedTrial[Of], name: str, choice: Of) -> float:
        return self.costs[name, now.choices[name]] - self.costs[name, choice]

    def _rank(self, now: LimitedTrial[Of], name: str, choice: Of) -> tuple[bool, float]:
        lost = self.table[name][choice] - self.table[name][now.choices[name]]
        saved = self._saved(now, name, choice)
        useful = saved > EQUAL * now.cost
        return not useful, lost / saved if useful else lost


def later(own: Mapping[Of, float], choice: Of) -> list[Of]:
    """Choices of a layer that follow one."""
    order = list(own)
    return order[order.index(choice) + 1 :]


def _step_up(
    trials: Trials[Of], table: ErrorTable[Of], now: LimitedTrial[Of], limit: float
) -> LimitedTrial[Of] | None:
    """The step of one layer to an earlier choice that gains most, of those that fit; None: none does."""
    gains = [
        (table[name][now.choices[name]] - error, name, choice)
        for name, own in table.items()
        for choice, error in own.items()
        if error < table[name][now.choices[name]]
    ]
    for _, name, choice in sorted(gains, key=lambda gain: -gain[0]):
        after = trials.trial({**now.choices, name: choice})
        if after.cost <= limit:
            return after
    return None
