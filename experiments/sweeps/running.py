"""A sweep at work: the networks that points share first, then the points, each stored when it is done."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from experiments.inputs import data as datasets
from experiments.run_folder.ids import files_of, names_of_files, point_id, simulated
from experiments.run_folder.toml_copy import is_whole, toml_copy
from experiments.studies.parts import KEPT, SameObject, text_of
from experiments.studies.study import Study
from experiments.sweeps.pools import Pool
from experiments.sweeps.store import FILE, StoredRow, Writer, read_rows, told_unreadable
from experiments.sweeps.sweep import FileKind, Sweep, SweepPoint, sweep_dict
from experiments.sweeps.tasks import STAGES, Outcome, Task
from experiments.sweeps.variants import told
from mapping.compression.configs import AreaLimit, EnergyLimit
from mapping.constraints.rule_kinds import reads_more_than_tiles
from xbar.conductances.encoding import levels
from xbar.hardware.errors import XbarError, naming
from xbar.hardware.files import read_toml, write_atomically


@dataclass(frozen=True)
class Plan:
    """Points by id, and the status of those that the store knows: done or failed."""

    points: Mapping[str, SweepPoint]
    known: Mapping[str, str]

    def left(self, retry_failed: bool = False) -> dict[str, SweepPoint]:
        """Points to do: those that the store does not know, and, on request, the failed ones."""

        def stays(identity: str) -> bool:
            status = self.known.get(identity)
            return status is not None and not (retry_failed and status == "failed")

        return {identity: point for identity, point in self.points.items() if not stays(identity)}

    def part(self, number: int, of: int) -> Plan:
        """Every `of`-th point, from the `number`-th on, which counts from 1."""
        return dataclasses.replace(self, points=dict(list(self.points.items())[number - 1 :: of]))

    def statuses(self) -> dict[str, str]:
        """Those of its points that the store knows, in the sweep's order."""
        return {identity: self.known[identity] for identity in self.points if identity in self.known}


def plan(points: Sequence[SweepPoint], data: Path | None, out: Path) -> Plan:
    """Ids of points, and the store in the folder; errors as those of `point_ids`."""
    ids = point_ids(points, data)
    return Plan(dict(zip(ids, points, strict=True)), known_statuses(out))


def point_ids(points: Sequence[SweepPoint], data: Path | None) -> list[str]:
    """Ids of points, in their order.

    Raises
    ------
    XbarError
        For data, or a file that a study names, that cannot be read, with what the first such point sets.
    """
    checksums: dict[str, str] = {}
    files: dict[tuple[Any, ...], dict[str, str]] = {}
    found = []
    for point in points:
        study = point.study
        if study.data not in checksums:
            with naming(told({key: value for key, value in point.values.items() if key == "data"})):
                checksums[study.data] = datasets.checksum(study.data, data)
        named = names_of_files(study)
        if named not in files:
            with naming(told(point.values)):
                files[named] = files_of(study)
        found.append(point_id(study, checksums[study.data], files[named]))
    return found


def known_rows(out: Path) -> dict[str, StoredRow]:
    """Points by id of the store in a folder; none where there is no store yet."""
    return read_rows(_files(out))


def known_statuses(out: Path) -> dict[str, str]:
    """done or failed, by id, of the points in the store in a folder."""
    return read_rows(_files(out), keep=itemgetter("status"))


def warn_of_unreadable(out: Path) -> None:
    """Name the lines of the store in a folder that cannot be read, on standard error."""
    for sentence in told_unreadable(_files(out)):
        print(f"xbar: {sentence}", file=sys.stderr, flush=True)


def _files(out: Path) -> list[Path]:
    return sorted(out.glob("*.jsonl")) if out.is_dir() else []


def open_sweep(out: Path, sweep: Sweep) -> None:
    """`open_folder` of a sweep."""
    open_folder(out, "sweep", sweep.name, sweep_dict(sweep))


def open_folder(out: Path, kind: FileKind, name: str, data: Mapping[str, Any]) -> None:
    """Make the folder of a sweep or search, or check that it is one of that name; its file is what was last
    run.

    Raises
    ------
    XbarError
        For a folder that cannot be made, is one of another name, or holds something else.
    """
    file = out / f"{kind}.toml"
    content = toml_copy(data)
    try:
        if file.exists() and is_whole(file, data, kind, f"{kind}'s file"):
            there = read_toml(file).get("name")
            if there != name:
                raise XbarError(f"{out}: holds the {kind} {there!r}; choose another folder with --out")
        elif not file.exists() and out.exists() and any(out.iterdir()):
            raise XbarError(f"{out}: is not empty, and holds no {kind}; choose another folder with --out")
        if not file.exists() or file.read_bytes() != content:
            write_atomically(file, content)
    except OSError as error:
        raise XbarError(f"{out}: cannot be used as a {kind}'s folder ({error.strerror})") from None


def run_points(
    points: Mapping[str, SweepPoint],
    data: Path | None,
    out: Path,
    pool: Pool,
    *,
    store: str = FILE,
    origin: str = "",
    source: str = "",
    retry_failed: bool = False,
    done: Callable[[str, str], None] = lambda what, failure: None,
) -> None:
    """Compute points, and append each to the store when it is done.

    Each network that points share is made once, by one task a stage of it; where it fails, so do its points.

    Parameters
    ----------
    store
        Name of the file in `out`.
    origin
        Name of the sweep, for the lines of the store.
    source
        Id of what the points share, see `experiments.sweeps.sources`; empty: not kept.
    done
        ``done(what, failure)`` is called after each task, ``point`` or one of `STAGES`; where it failed, a
        sentence says of which points, and why.
    """
    tasks = {
        identity: Task("point", _with_threads(point.study), data, out, identity)
        for identity, point in points.items()
    }
    made_from = {"source": source} if source else {}
    with Writer(out / store) as writer:

        def keep(identity: str, outcome: Outcome) -> None:
            writer.append(_row(identity, points[identity], outcome, origin) | made_from)

        for stage in STAGES:
            sharing: dict[tuple[Any, ...], list[str]] = {}
            for identity, task in tasks.items():
                sharing.setdefault(network_key(stage, task.study), []).append(identity)
            groups = list(sharing.values())
            firsts = [dataclasses.replace(tasks[group[0]], kind=stage) for group in groups]
            for number, outcome in pool(firsts):
                group = [points[identity] for identity in groups[number]]
                if outcome.reason:
                    for identity in groups[number]:
                        keep(identity, outcome)
                        del tasks[identity]
                done(
                    stage,
                    _failure(
                        f"{stage} of {len(group)} point{'s' * (len(group) > 1)},", group, outcome.reason
                    ),
                )
        ids = list(tasks)
        for number, outcome in pool(list(tasks.values())):
            keep(ids[number], outcome)
            done("point", _failure("point", [points[ids[number]]], outcome.reason))


def _failure(what: str, points: Sequence[SweepPoint], reason: str) -> str:
    """The sentence on a task that failed, with what all of its points set, or else the first; empty without a
    reason."""
    if not reason:
        return ""
    first, *others = (point.values for point in points)
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    return f"{what} {told(shared) or f'the first {told(first)}'}{',' * bool(others)} failed: {reason}"


def count_tasks(points: Mapping[str, SweepPoint]) -> int:
    """Tasks of `run_points` where none fails."""
    studies = [point.study for point in points.values()]
    return len(studies) + sum(len({network_key(stage, study) for study in studies}) for stage in STAGES)


def network_key(stage: str, study: Study) -> tuple[Any, ...]:
    """A key by which studies that share the network of a stage are found; some that share one may differ in
    it."""
    hardware, encoding = study.hardware, study.hardware.encoding
    parts: list[Any] = [study.network, study.width, study.data, study.seed, study.extensions]
    parts += [study.loss, study.metric, text_of(study.train)]
    if stage != "train":
        limited = isinstance(study.compress.target, AreaLimit | EnergyLimit)
        own = any(reads_more_than_tiles(rule.rule) for rule in study.compress.layers)
        parts += [text_of(study.compress), text_of(study.layers)]
        parts += [hardware.crossbar.rows, hardware.weights_per_tile_row]
        parts += [text_of(hardware) if limited else None]
        parts += [_simulated_text(SameObject(hardware)) if own else None]
    if stage == "quantise":
        parts += [
            text_of(study.quantise),
            study.batch_norm,
            _levels(SameObject(encoding), SameObject(hardware.device)),
        ]
        parts += [encoding.scale, encoding.zeros]
        if study.quantise.trains_on_hardware or any(setting.bias_rows for setting in study.layers):
            parts += [_simulated_text(SameObject(hardware)), study.calibration_images]
    return tuple(parts)


@functools.lru_cache(KEPT)
def _simulated_text(hardware: SameObject) -> str:
    return json.dumps(simulated(hardware.value), sort_keys=True)


@functools.lru_cache(KEPT)
def _levels(encoding: SameObject, device: SameObject) -> tuple[float, ...]:
    return tuple(levels(encoding.value, device.value).tolist())


def _with_threads(study: Study) -> Study:
    """One thread where the study leaves it open: results then do not depend on how many workers there are."""
    return study if study.threads else dataclasses.replace(study, threads=1)


def _row(identity: str, point: SweepPoint, outcome: Outcome, origin: str) -> StoredRow:
    came = {"reason": outcome.reason} if outcome.reason else {"result": outcome.result}
    return {
        "id": identity,
        "values": point.values,
        "status": "failed" if outcome.reason else "done",
        **came,
        "stages": outcome.stages,
        "sweep": origin,
        "study": point.study.name,
        "seconds": round(outcome.seconds, 3),
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "host": outcome.maker.host,
        "code": outcome.maker.code,
        "versions": dict(outcome.maker.versions),
    }
