"""Files of one JSON object a line, each with a digest; they are appended to, and read past damaged lines.

A line ends with ``"digest": "..."``, 16 hexadecimal digits of a SHA-256 over the line without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from xbar.hardware.errors import XbarError

_SEALED = re.compile(rb'(?P<body>\{.+), "digest": "(?P<digest>[0-9a-f]{16})"\}')


@dataclass(frozen=True)
class Lines:
    """The objects of a file by the number of their line, and the numbers of lines that cannot be read."""

    objects: Mapping[int, Any]
    unreadable: tuple[int, ...]


def append_line(file: FileIO, row: Mapping[str, Any]) -> None:
    """Write one line to an unbuffered file; when this returns, it is on the disk.

    Raises
    ------
    XbarError
        Where it cannot be written: with the file's name, and the reason.
    """
    body = json.dumps(row, allow_nan=False).encode()
    line = memoryview(b'%s, "digest": "%s"}\n' % (body[:-1], _digest(body)))
    try:
        while line:
            line = line[file.write(line) :]
        os.fsync(file.fileno())
    except OSError as error:
        raise XbarError(f"{file.name}: cannot be written ({error.strerror or error})") from error


def read_lines(path: Path) -> Lines:
    """The lines of a file, all at once; see `each_line`."""
    found = dict(each_line(path))
    objects = {number: one for number, one in found.items() if one is not UNREADABLE}
    return Lines(objects, tuple(sorted(found.keys() - objects.keys())))


def each_line(path: Path) -> Iterator[tuple[int, Any]]:
    """Number and object of each line of a file, one after the other; lines without a digest, of earlier
    versions, pass.

    The object of a line that a crash cut short, or that was damaged later, is `UNREADABLE`, whatever follows
    it.

    Raises
    ------
    XbarError
        For a file that cannot be read.
    """
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield number, _object(line)
                except (ValueError, RecursionError):
                    yield number, UNREADABLE
    except OSError as error:
        raise XbarError(f"{path}: cannot be read ({error.strerror})") from None


UNREADABLE = object()


def _object(line: bytes) -> Any:
    """The object that a line holds; a ValueError where the line is not as it was written."""
    sealed = _SEALED.fullmatch(line.strip())
    if sealed is None:
        return json.loads(line)
    body = sealed["body"] + b"}"
    if _digest(body) != sealed["digest"]:
        raise ValueError("another digest")
    return json.loads(body)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:16].encode()
