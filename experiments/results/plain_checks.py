"""Plain data of a result, and whether they are those that were written: digests, and numbers.

The digests of a result and its log stand in ``result.json`` under ``digests``. They are of the content, so
that a file may be laid out anew. A result without them, of an earlier version, passes; one whose key of that
name is damaged does not, as unknown keys are refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xbar.hardware.errors import XbarError
from xbar.hardware.files import build

KEY = "digests"


@dataclass(frozen=True)
class Digests:
    """32 hexadecimal digits of a SHA-256 over each, as JSON with its keys in order.

    That of the result covers the digest of its log.
    """

    result: str
    log: str


def sealed(result: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The plain data of a result with the digests of both."""
    return _with_digests(_content(result), digest_of(log))


def resealed(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result that was sealed and changed, with the digest of what it holds now; that of its log stays."""
    return _with_digests(_content(result), result[KEY]["log"])


def _with_digests(content: dict[str, Any], log: str) -> dict[str, Any]:
    return {**content, KEY: {"result": digest_of([content, log]), "log": log}}


def check_result(result: Mapping[str, Any], where: str) -> None:
    """Refuse a result that has digests, and is not what was written; `where` begins the message."""
    if KEY not in result:
        return
    if not isinstance(result[KEY], Mapping):
        raise XbarError(f"{where}: {KEY}: must be a table with result and log")
    digests = build(Digests, result[KEY], where, f"{KEY}.")
    _check([_content(result), digests.log], digests.result, where)


def check_log(log: Any, result: Mapping[str, Any], where: str) -> None:
    """Refuse a log that is not the one that was written with a result whose digests are checked."""
    if KEY in result:
        _check(log, result[KEY]["log"], where)


def _content(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != KEY}


def _check(content: Any, digest: str, where: str) -> None:
    if digest_of(content) != digest:
        raise XbarError(f"{where}: damaged, its content does not fit the digest of it")


def digest_of(content: Any) -> str:
    """32 hexadecimal digits of plain data."""
    plain = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:32]


def check_numbers(data: Mapping[str, Any], where: str) -> None:
    """Refuse NaN, which Python reads from JSON; with the key of the first. What costs nothing is infinitely
    efficient, so that a number may be infinite."""
    key = _first_nan(data)
    if key is not None:
        raise XbarError(f"{where}: {key} = nan: must be a number")


def _first_nan(value: Any) -> str | None:
    """Key of the first NaN; None: there is none."""
    if isinstance(value, float):
        return "" if math.isnan(value) else None
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    found = ((name, _first_nan(part)) for name, part in parts)
    return next((f"{name}.{key}".rstrip(".") for name, key in found if key is not None), None)


def plain(value: Any) -> Any:
    """Plain data; what is None is left out where a file may lack it, and null where it may not."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {f.name: plain(part) for f, part in pairs if part is not None or f.default is not None}
    if isinstance(value, tuple | list):
        return [plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    return value
