"""The store of a sweep: append-only, one line of JSON a finished point, fsynced; files merge by id."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xbar.hardware.errors import XbarError

StoredRow = dict[str, Any]
"""One point: ``id``, ``values``, ``status`` (done or failed), ``result`` or ``reason``, and whence it is."""

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

    A line that a crash cut short is left out, whatever follows it.

    Raises
    ------
    XbarError
        For a file that cannot be read, and one that holds lines of something else.
    """
    rows: dict[str, StoredRow] = {}
    for path in paths:
        for row in _lines(path):
            known = rows.get(row["id"])
            if known is None or known["status"] == "failed":
                rows[row["id"]] = row
    return rows


def _lines(path: Path) -> Iterator[StoredRow]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise XbarError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(content.splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict) or not {"id", "values", "status"} <= row.keys():
            raise XbarError(f"{path}:{number}: not a point of a sweep; needs id, values and status")
        yield row


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
            self._file = open(path, "ab")  # noqa: SIM115
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
        with open(self.path, "rb") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    self._file.write(b"\n")

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one point; when this returns, it is on the disk."""
        self._file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let others write."""
        self._file.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self.close()
