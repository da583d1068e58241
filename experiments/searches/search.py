"""`Search`: a study, the keys that may change and their ranges, and the objectives; from a TOML file."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from experiments.results.metric_label import ACCURACY, MetricLabel
from experiments.searches.objectives import DEFAULT, FIGURES, OF_METRIC, Objective
from experiments.searches.pareto import Goal
from experiments.searches.trials import Evaluate, Figures, keys_of, run_trials
from experiments.sweeps.axes import AxisValues, Dimension, Options, dimension, flat
from experiments.sweeps.conditions import Condition
from experiments.sweeps.pools import Pool
from experiments.sweeps.running import Plan, known_rows, known_statuses, point_ids, run_points
from experiments.sweeps.sources import Source, keep_source, source_of
from experiments.sweeps.store import StoredRow
from experiments.sweeps.sweep import (
    SweepPoint,
    base_of,
    check_comparable,
    check_names,
    raw_file,
    study_beside,
)
from experiments.sweeps.table import flat_row
from experiments.sweeps.variants import Variants, told
from xbar.hardware.checks import STRICT, check_range
from xbar.hardware.errors import XbarError, naming, unknown_name
from xbar.hardware.files import build, to_dict


@dataclass(frozen=True)
class Search:
    """A search for the best of studies that differ in a few keys.

    Parameters
    ----------
    study
        The one that is changed: a built-in name, or a TOML file, looked up beside the search's file first.
    space
        By key, a list of values, or a table with ``low``, ``high``, ``scale`` and ``whole``; keys with commas
        between them get the same value. Numbers of a list that rise are taken as places on a scale.
    objectives
        What is best: at least two, see `Objective`; by default the metric over chips, energy and area.
    batch
        Points that are asked for at a time, and so the most workers that have something to do.
    set, where
        As in a sweep: changes that all points share, and conditions that they must meet.
    """

    __pydantic_config__: ClassVar = STRICT
    name: str
    study: str
    space: dict[str, Any]
    objectives: tuple[Objective, ...] = DEFAULT
    batch: int = 4
    description: str = ""
    set: dict[str, Any] = field(default_factory=dict)
    where: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_names(self.name, self.where)
        check_range("batch", self.batch, 1, 1000)
        if len({one.figure for one in self.objectives}) < max(2, len(self.objectives)):
            raise XbarError("objectives: needs at least two, each of another figure")
        for one in self.objectives:
            if one.figure not in FIGURES:
                raise unknown_name("objectives: figure", one.figure, FIGURES)
        if not self.space:
            raise XbarError("space: needs at least one key")
        keys = [key for name in self.dimensions() for key in keys_of(name)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise XbarError(f"space: {twice[0]}: occurs twice")
        check_comparable("space", keys)

    def dimensions(self) -> dict[str, Dimension]:
        """The range or list that values are drawn from, for each name in the space."""
        return {name: dimension(f"space: {name}", of) for name, of in flat(self.space).items()}

    def values_at(self, share: float) -> AxisValues:
        """The values of a point that lies this share of the way, 0 to 1, along every dimension."""
        return {key: v for name, of in self.dimensions().items() for key, v in _set(name, of, share)}

    def some_values(self, count: int) -> list[AxisValues]:
        """The values of this many points of the space, the same at every call."""
        chance = random.Random(0)
        return [
            {
                key: value
                for name, of in self.dimensions().items()
                for key, value in _set(name, of, chance.random())
            }
            for _ in range(count)
        ]

    def goals(self) -> list[Goal]:
        """Names of the objectives."""
        return [one.goal for one in self.objectives]


def _digests(source: Source) -> dict[str, str]:
    """Checksums of a source, by what a message calls them."""
    files = {f"{path}: it, or what it imports,": digest for path, digest in source.files.items()}
    return files | {f"{name}:": digest for name, digest in source.data.items()}


def _set(name: str, of: Dimension, share: float) -> list[tuple[str, Any]]:
    """The keys of a name with their value at a share of the way."""
    return [(key, of.at(share)) for key in keys_of(name)]


def load_search(name: str) -> Search:
    """A built-in search by name or a TOML file by path.

    Raises
    ------
    XbarError
        For an unknown search, a missing or broken file, an unknown or impossible key.
    """
    raw, where, folder = raw_file(name, "search")
    search = build(Search, raw, where)
    search = dataclasses.replace(search, study=study_beside(folder, search.study))
    return _in_direction(search, label_of_search(search), "objectives" in raw)


def label_of_search(search: Search) -> MetricLabel:
    """The metric that the study of a search is measured by."""
    name = base_of(search.study, search.set, search.name).get("metric", "accuracy")
    if name == "accuracy":
        return ACCURACY
    from experiments.inputs.measures import (
        metric_of,
    )  # torch takes seconds, and most searches are of accuracy

    return MetricLabel.of(metric_of(str(name)))


def _in_direction(search: Search, metric: MetricLabel, is_asked: bool) -> Search:
    """The search with objectives that go the way of its metric; those that were asked for have to."""
    wrong = [one for one in search.objectives if one.figure in OF_METRIC and one.goal != metric.goal]
    if not wrong:
        return search
    if is_asked:
        raise XbarError(
            f"objectives: {wrong[0].figure}: goal = {wrong[0].goal!r}: {metric.sentence}; "
            f"must be {metric.goal!r}"
        )
    turned = [
        dataclasses.replace(one, goal=metric.goal) if one in wrong else one for one in search.objectives
    ]
    return dataclasses.replace(search, objectives=tuple(turned))


def search_dict(search: Search) -> dict[str, Any]:
    """Plain data of the search, as TOML takes it."""
    data: dict[str, Any] = to_dict(search)
    return data


class Points:
    """Points of a search from what they set, and their figures from the store in a folder.

    Parameters
    ----------
    data
        Folder of the data set.
    out
        Folder of the store.
    """

    def __init__(self, search: Search, data: Path | None, out: Path) -> None:
        self.search, self.data, self.out = search, data, out
        base = base_of(search.study, search.set, search.name)
        self._variants = Variants(base, search.name, [Condition(text) for text in search.where])
        self._refusal = ""
        self._asked: dict[str, None] = {}

    def at(self, values: AxisValues) -> SweepPoint:
        """The point that sets these values.

        Raises
        ------
        XbarError
            Where it is no possible study.
        """
        return SweepPoint(values, self._variants.at(values))

    def check_values(self, around: Sequence[AxisValues]) -> list[SweepPoint]:
        """For each value, or end of a range, the first of these points that is a possible study with it.

        Raises
        ------
        XbarError
            Where there is none: what is wrong with the first of those points.
        """
        possible: list[SweepPoint] = []
        for name, of in self.search.dimensions().items():
            for value in of.values if isinstance(of, Options) else (of.at(0), of.at(1)):
                refused: list[XbarError] = []
                for values in around:
                    try:
                        possible.append(self.at({**values, **dict.fromkeys(keys_of(name), value)}))
                        break
                    except XbarError as error:
                        refused.append(error)
                if len(refused) == len(around):
                    raise refused[0]
        return possible

    def source(self, points: Sequence[SweepPoint]) -> Source:
        """The source of points of the search, with all files and data that they name."""
        return source_of(self._variants.base, self.search.values_at(0.0), points, self.data)

    def meets(self, values: AxisValues) -> bool:
        """Whether these values give a study that is possible and meets the conditions."""
        try:
            return self._variants.meeting(values) is not None
        except XbarError as error:
            self._refusal = str(error)
            return False

    def some(self) -> list[AxisValues]:
        """Values that meet the conditions.

        Raises
        ------
        XbarError
            Where chance finds none.
        """
        search = self.search
        found = run_trials(
            search.dimensions(),
            search.goals(),
            lambda asked: [None] * len(asked),
            trials=1,
            sampler="random",
            allowed=self.meets,
        )
        if not found:
            if self._refusal:
                raise XbarError(f"{self._refusal} (and no other point of the space is possible)")
            raise XbarError(f"{search.name}: where: no point of the space meets the conditions")
        return [trial.values for trial in found]

    def evaluate_on(self, source: Source, pool: Pool, done: Callable[[str, str], None]) -> Evaluate:
        """A function that takes figures from the store, once those that it lacks are computed and in it.

        It keeps which points were asked for, with their source. It refuses files of studies, and data, that
        change between two calls: the sampler would mix figures of both.
        """
        seen = _digests(source)

        def evaluate(asked: Sequence[AxisValues]) -> list[Figures | None]:
            points = [self.at(values) for values in asked]
            for what, digest in _digests(self.source(points)).items():
                if seen.setdefault(what, digest) != digest:
                    raise XbarError(
                        f"{what} changed while the search ran; the same command begins anew with what "
                        "it is now"
                    )
            ids = point_ids(points, self.data)
            self._asked |= dict.fromkeys(ids)
            keep_source(self.out, "search", source, self._asked)
            left = Plan(dict(zip(ids, points, strict=True)), known_statuses(self.out)).left()
            if left:
                run_points(
                    left,
                    self.data,
                    self.out,
                    pool,
                    origin=self.search.name,
                    source=source.identity,
                    done=done,
                )
            known = known_rows(self.out)
            return [self.figures(known[identity]) for identity in ids]

        return evaluate

    def figures(self, row: StoredRow) -> Figures | None:
        """Objectives of a line of the store; None where the point failed.

        Raises
        ------
        XbarError
            For a figure that the point has not, or that its scale has not.
        """
        flattened = flat_row(row)
        if row["status"] != "done":
            return None
        found = [flattened[one.figure] for one in self.search.objectives]
        with naming(f"{self.search.name}, {told(row['values'])}"):
            for objective, value in zip(self.search.objectives, found, strict=True):
                if value is None:
                    raise XbarError(f"objectives: {objective.figure}: has none; choose another figure")
                objective.cost(float(value))
        return tuple(map(float, found))
