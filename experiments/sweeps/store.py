"""The store of a sweep: append-only, one line of JSON a finished point, fsynced; files merge by id."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from experiments.run_folder.json_lines import UNREADABLE, append_line, each_line
from xbar.hardware.errors import XbarError

StoredRow = dict[str, Any]
"""A line of the store: ``id``, ``values``, ``status`` (done or failed), ``result`` or ``reason``, and its
maker."""

KEYS = {"id": str, "values": dict, "status": str}
"""Keys that every line has, with the type of each."""

FILE = "points.jsonl"


def store_files(place: Path) -> list[Path]:
    """Files of a store: one, or those of a folder.

    Raises
    ------
    XbarError
        For a path that is neither, and a folder without one.
    """
    if place.is_file():
        return [place]
    found = sorted(place.glob("*.jsonl")) if place.is_dir() else []
    if not found:
        raise XbarError(f"{place}: no store of a sweep; must be a .jsonl file, or a folder with some")
    return found


def read_rows(paths: Iterable[Path], keep: Callable[[StoredRow], Any] = lambda row: row) -> dict[str, Any]:
    """Points by id: the first finished line of each in the order of the files, else its last failed one.

    A line that a crash cut short, or that was damaged, is left out, whatever follows it; see
    `told_unreadable`.

    Parameters
    ----------
    keep
        Makes of each line what is asked for: whole lines of 100,000 points take a GiB.

    Raises
    ------
    XbarError
        For a file that cannot be read, and one that holds nothing but lines of something else.
    """
    kept: dict[str, Any] = {}
    finished: set[str] = set()
    for path in paths:
        for _, row in _points(path):
            if row is None or row["id"] in finished:
                continue
            kept[row["id"]] = keep(row)
            if row["status"] != "failed":
                finished.add(row["id"])
    return kept


def told_unreadable(paths: Iterable[Path]) -> list[str]:
    """A sentence for each file of a store with lines that cannot be read."""
    told = []
    for path in paths:
        numbers = [number for number, row in _points(path) if row is None]
        if numbers:
            some = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
            many = f"{len(numbers)} lines" if len(numbers) > 1 else "1 line"
            told.append(f"{path}: {many} cannot be read ({some}), cut short or damaged; left out")
    return told


def _points(path: Path) -> Iterator[tuple[int, StoredRow | None]]:
    """Numbers of lines with the points in them, None where there is none.

    Raises
    ------
    XbarError
        At the end of a file of objects that are no points.
    """
    others, has_points = 0, False
    for number, row in each_line(path):
        is_point = _is_point(row)
        has_points |= is_point
        others = others or number * (row is not UNREADABLE)
        yield number, row if is_point else None
    if others and not has_points:
        raise XbarError(f"{path}:{others}: not a point of a sweep; needs id, values and status")


def _is_point(row: Any) -> bool:
    has_keys = isinstance(row, dict) and all(isinstance(row.get(key), kind) for key, kind in KEYS.items())
    return has_keys and isinstance(row.get("result", {}), dict)


class Writer:
    """Appends points to one file; one process at a time.

    Raises
    ------
    XbarError
        Where the file cannot be written, or another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = FileIO(path, "ab")
        except OSError as error:
            raise XbarError(f"{path}: cannot be written ({error.strerror})") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise XbarError(
                f"{path}: another sweep is writing it; wait for it, or choose another folder with --out"
            ) from None
        self._end_last_line()

    def _end_last_line(self) -> None:
        try:
            with open(self.path, "rb") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    if file.read() != b"\n":
                        self._file.write(b"\n")
        except OSError as error:
            self._file.close()
            raise XbarError(f"{self.path}: cannot be written ({error.strerror})") from None

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one point; when this returns, it is on the disk. Errors as those of `append_line`."""
        append_line(self._file, row)

    def close(self) -> None:
        """Let others write."""
        self._file.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self.close()
