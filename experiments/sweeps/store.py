"""The store of a sweep: append-only, one line of JSON a finished point, fsynced; files merge by id."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from experiments.run_folder.json_lines import append_line, read_lines
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


def read_rows(paths: Iterable[Path]) -> dict[str, StoredRow]:
    """Points by id: the first finished line of each in the order of the files, else its last failed one.

    A line that a crash cut short, or that was damaged, is left out, whatever follows it; see
    `told_unreadable`.

    Raises
    ------
    XbarError
        For a file that cannot be read, and one that holds nothing but lines of something else.
    """
    rows: dict[str, StoredRow] = {}
    for path in paths:
        for row in _points(path)[0]:
            known = rows.get(row["id"])
            if known is None or known["status"] == "failed":
                rows[row["id"]] = row
    return rows


def told_unreadable(paths: Iterable[Path]) -> list[str]:
    """A sentence for each file of a store with lines that cannot be read."""
    told = []
    for path in paths:
        _, numbers = _points(path)
        if numbers:
            some = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
            many = f"{len(numbers)} lines" if len(numbers) > 1 else "1 line"
            told.append(f"{path}: {many} cannot be read ({some}), cut short or damaged; left out")
    return told


def _points(path: Path) -> tuple[list[StoredRow], list[int]]:
    """Points of a file in order, and the numbers of its other lines."""
    found = read_lines(path)
    rows = {number: row for number, row in found.objects.items() if _is_point(row)}
    others = sorted({*found.unreadable, *found.objects} - rows.keys())
    if found.objects and not rows:
        raise XbarError(f"{path}:{min(found.objects)}: not a point of a sweep; needs id, values and status")
    return list(rows.values()), others


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
