"""The sources of the points of a store: a study without its axes, its files, and the data.

A folder may be swept or searched again with other data, keys or axes; its store keeps all points.
``sources.json`` beside it has every source, and the ids of the points of the sweep or search that was run
last.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from experiments.inputs import data as datasets
from experiments.results.plain_checks import digest_of
from experiments.run_folder.ids import NO_EFFECT, files_of, names_of_files
from experiments.sweeps.store import read_rows, store_files
from experiments.sweeps.sweep import FileKind, SweepPoint
from xbar.hardware.checks import STRICT
from xbar.hardware.errors import XbarError
from xbar.hardware.files import build, to_dict, write_atomically

FILE = "sources.json"
HOW = "the command of its sweep or search writes it anew"
MOST_NAMED = 4
"""Keys that a sentence names."""


@dataclass(frozen=True)
class Source:
    """The study, files and data that points share.

    Parameters
    ----------
    study
        Plain data of the study, with the changes that all points have.
    axes
        The keys that each point sets for itself.
    data, files
        SHA-256 by the name of the data, and of the files that the study names.
    """

    __pydantic_config__: ClassVar = STRICT
    study: dict[str, Any]
    axes: tuple[str, ...]
    data: dict[str, str]
    files: dict[str, str]

    @functools.cached_property
    def identity(self) -> str:
        """16 hexadecimal digits of all of it."""
        return digest_of(to_dict(self))[:16]

    def shared(self) -> dict[str, Any]:
        """Dotted keys that have one value in all points, and eight digits of each checksum."""
        own = (*self.axes, *NO_EFFECT)
        keys = {
            key: value
            for key, value in _leaves(self.study, "")
            if not any(key == axis or key.startswith(f"{axis}.") for axis in own)
        }
        named = {f"file {name}": digest[:8] for name, digest in self.files.items()}
        return {**keys, "data_checksum": ", ".join(digest[:8] for digest in self.data.values()), **named}


def _leaves(value: Any, key: str) -> Iterable[tuple[str, Any]]:
    """(dotted key, value) of plain data, into lists of tables."""
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        inside = value.items()
    elif isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
        inside = enumerate(value)
    else:
        yield key, value
    for name, part in inside:
        yield from _leaves(part, f"{key}.{name}" if key else str(name))


@dataclass(frozen=True)
class Sources:
    """The file's contents: all sources by id, that of the last sweep or search, and the ids of its points."""

    __pydantic_config__: ClassVar = STRICT
    kind: FileKind = "sweep"
    last: str = ""
    points: tuple[str, ...] = ()
    sources: dict[str, Source] = field(default_factory=dict)


def source_of(
    base: Mapping[str, Any], axes: Iterable[str], points: Sequence[SweepPoint], data: Path | None
) -> Source:
    """The source of points: plain data of what they share, the keys that each sets, and all files and data
    that they name."""
    names = sorted({point.study.data for point in points})
    studies = {names_of_files(point.study): point.study for point in points}.values()
    files = {path: digest for study in studies for path, digest in files_of(study).items()}
    return Source(dict(base), tuple(axes), {name: datasets.checksum(name, data) for name in names}, files)


def keep_source(out: Path, kind: FileKind, source: Source, points: Iterable[str]) -> None:
    """Write that these points, of this source, are those of the sweep or search in a folder; other sources
    stay."""
    path = out / FILE
    try:
        before = _read(path).sources
    except XbarError:
        before = {}  # what is damaged says nothing; points of sources that are not known are told as such
    kept = Sources(kind, source.identity, tuple(points), {**before, source.identity: source})
    write_atomically(path, json.dumps(to_dict(kept), indent=1).encode())


def _read(path: Path) -> Sources:
    try:
        content = json.loads(path.read_text("utf-8")) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise XbarError(f"{path}: cannot be read ({error}); {HOW}") from None
    if not isinstance(content, dict):
        raise XbarError(f"{path}: must be a table of sources; {HOW}")
    return build(Sources, content, str(path))


@dataclass(frozen=True)
class KnownPoints:
    """Points of one or several stores.

    Parameters
    ----------
    rows
        By id, as they were asked for.
    apart
        By id: the keys that differ between the sources of these points, with their values.
    source_of
        By id: the source; None where it was not kept.
    others
        A sentence for each store that has more points, which are not of what was run last in its folder.
    """

    rows: Mapping[str, Any]
    apart: Mapping[str, Mapping[str, Any]]
    source_of: Mapping[str, Source | None]
    others: Sequence[str]

    @property
    def sources(self) -> list[Source]:
        """The sources that were kept, each once."""
        return list({one.identity: one for one in self.source_of.values() if one is not None}.values())


def read_known(
    places: Sequence[Path], keep: Callable[[dict[str, Any]], Any], everything: bool = False
) -> KnownPoints:
    """Points of the sweeps and searches that were last run in folders; of a store without sources all.

    Parameters
    ----------
    places
        Folders or files; points merge by id, and a finished one stays.
    keep
        Makes of each line what is asked for.
    everything
        Points of earlier sweeps or searches in the same folder are asked for, too.

    Raises
    ------
    XbarError
        As `store_files` and `read_rows`, and for sources that are damaged.
    """
    found: dict[str, _Line] = {}
    others = []
    for place in places:
        known = _read((place if place.is_dir() else place.parent) / FILE)
        own = set(known.points)
        more: Counter[str] = Counter()
        lines = read_rows(store_files(place), lambda row: (row["status"], row.get("source", ""), keep(row)))
        for identity, (status, source, row) in lines.items():
            made = known.last if identity in own else source
            if known.last and identity not in own and not everything:
                more[source] += 1
            elif identity not in found or found[identity].status == "failed":
                found[identity] = _Line(status, row, made, known.sources.get(made))
        if more:
            others.append(_told(place, known, more))
    return KnownPoints(
        {identity: line.row for identity, line in found.items()},
        _apart(found),
        {identity: line.source for identity, line in found.items()},
        others,
    )


@dataclass(frozen=True)
class _Line:
    """A line of a store as it was asked for, the id of its source, and the source where it was kept."""

    status: str
    row: Any
    made_from: str
    source: Source | None


def _apart(found: Mapping[str, _Line]) -> dict[str, dict[str, Any]]:
    """By id: keys that differ between sources; the id of the source where one of several was not kept."""
    kept = {line.made_from: line.source for line in found.values()}
    unlike = _unlike([source for source in kept.values() if source is not None])
    by_id = len(kept) > 1 and None in kept.values()
    return {
        identity: {
            **({"source": line.made_from or None} if by_id else {}),
            **{key: of.get(line.made_from) for key, of in unlike.items()},
        }
        for identity, line in found.items()
    }


def _unlike(sources: Sequence[Source]) -> dict[str, dict[str, Any]]:
    """Values by source of each key that is not the same in all."""
    shared = {source.identity: source.shared() for source in sources}
    keys = dict.fromkeys(key for table in shared.values() for key in table)
    columns = {key: {one: table.get(key) for one, table in shared.items()} for key in keys}
    return {key: of for key, of in columns.items() if len({json.dumps(value) for value in of.values()}) > 1}


def _told(place: Path, known: Sources, more: Counter[str]) -> str:
    """How many other points a store has, and in what they differ from those that were run last."""
    parts = []
    for source, count in more.items():
        if source == known.last:
            apart = "of other values of its axes" if known.kind == "sweep" else "that it did not ask for"
            why = f"{apart}, or of another version of xbar"
        elif source not in known.sources:
            why = "of which it is not recorded what made them"
        else:
            unlike = _unlike([known.sources[known.last], known.sources[source]])
            named = [
                f"{key} = {_text(of[source])} (here {_text(of[known.last])})" for key, of in unlike.items()
            ]
            rest = len(named) - MOST_NAMED
            why = f"with {', '.join(named[:MOST_NAMED])}{f' and {rest} more keys' if rest > 0 else ''}"
            if not named:
                why = "of other axes"
        parts.append(f"{count} {why}")
    many = f"{more.total()} other point{'s' * (more.total() > 1)}"
    return f"{place}: has {many}, not of the {known.kind} that was run last: {'; '.join(parts)}"


def _text(value: Any) -> str:
    return "not set" if value is None else f"{value}" if len(f"{value}") <= 40 else f"{value}"[:37] + "..."
