"""Tasks of a worker: one stage of the networks that points share, or one point."""

from __future__ import annotations

import functools
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.run_folder.makers import Maker, this_maker
from experiments.studies.study import Study

STAGES = ("train", "compress", "quantise")
"""Stages of a study's networks, in order."""


@dataclass(frozen=True)
class Task:
    """A study up to one of `STAGES`, or all of it, a ``point``; its stages lie in ``out/stages``.

    ``identity``: the id of the point, which tells whether a file of the study has changed since.
    """

    kind: str
    study: Study
    data: Path | None
    out: Path
    identity: str


@dataclass(frozen=True)
class Outcome:
    """The outcome of a task: a point's figures and the ids of its stages, or the reason for its failure; and
    its maker."""

    result: dict[str, Any]
    stages: dict[str, str]
    reason: str
    seconds: float
    maker: Maker


def do(task: Task) -> Outcome:
    """Do a task; whatever goes wrong inside is its outcome."""
    from xbar.hardware.errors import XbarError, one_line, place_of

    start = time.perf_counter()
    result: dict[str, Any] = {}
    stages: dict[str, str] = {}
    reason = ""
    try:
        result, stages = _do(task)
    except Exception as error:
        place = place_of(error)
        words = str(error) if isinstance(error, XbarError) else one_line(error)
        reason = f"{words}{f' ({place})' if place else ''}"
    return Outcome(result, stages, reason, time.perf_counter() - start, this_maker())


def _do(task: Task) -> tuple[dict[str, Any], dict[str, str]]:
    from experiments.plans.plan import resolve
    from experiments.plans.process import with_threads
    from experiments.run_folder.ids import files_of, point_id
    from experiments.stages.compress import compress
    from experiments.stages.point import point
    from experiments.stages.quantise import quantise
    from experiments.stages.train import train
    from experiments.studies.own_code import extensions_of
    from xbar.hardware.errors import XbarError

    study = task.study

    with with_threads(study.threads), extensions_of(study.extensions):
        data = dataset(study.data, task.data)
        if point_id(study, data.checksum, files_of(study)) != task.identity:
            raise XbarError(
                "a file that the study names, or the data, is not what it was when the sweep began; "
                "the same command computes this point anew"
            )
        plan = resolve(study, data, task.out, quiet=True)
        if task.kind == "point":
            result, stages = point(plan, study)
            return result.to_dict(), stages
        context, network = plan.context, plan.network
        trained = train(context, network, study.train)
        if task.kind != "train":
            compressed = compress(context, network, plan.rules, study.compress, trained)
            if task.kind == "quantise":
                quantise(context, network, plan.placement, study.quantise, plan.last, compressed)
        return {}, {}


@functools.lru_cache(maxsize=2)
def dataset(name: str, folder: Path | None) -> Any:
    """A data set, read once in each process."""
    from experiments.inputs import data

    return data.load(name, folder)


@functools.cache
def end_with(parent: int) -> None:
    """This process ends when its parent, of this number, has ended, even by a kill."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
