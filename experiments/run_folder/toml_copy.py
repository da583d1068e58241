"""The TOML file in a folder of results that says what they are of: the program's copy, with a digest.

People may read it, run it, and change a copy of it elsewhere, where the digest does not matter. In the folder
it stands for what was run. A file without a digest, of an earlier version, passes.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from experiments.results.plain_checks import digest_of
from xbar.hardware.errors import XbarError

_FIRST = "# Written by xbar with the digest {digest}. Change a copy in another folder, not this one.\n"
_DIGEST = re.compile(rb"# Written by xbar with the digest ([0-9a-f]{32})")


def toml_copy(data: Mapping[str, Any]) -> bytes:
    """Content of the file: plain data as TOML, below a comment with their digest."""
    text = tomli_w.dumps(data)
    return (_FIRST.format(digest=digest_of(tomllib.loads(text))) + text).encode()


def check_copy(path: Path, what_to_do: str) -> None:
    """Refuse a file with a digest that its content does not fit; `what_to_do` ends the message.

    Raises
    ------
    XbarError
        For such a file, and one that cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise XbarError(f"{path}: cannot be read ({error.strerror})") from None
    written = _written(content)
    if written and written != _held(content):
        raise XbarError(f"{path}: not what xbar wrote there: damaged, or changed by hand; {what_to_do}")


def is_whole(path: Path, ours: Mapping[str, Any], what: str, given: str) -> bool:
    """Whether a file is as it was written. Where it is not, but was written with these data, that is told on
    standard error: what the caller writes puts it right.

    Parameters
    ----------
    what, given
        The words for what was run, such as ``run``, and for the user's file of it, such as ``study``.

    Raises
    ------
    XbarError
        For one that is not as it was, and was written with other data.
    """
    try:
        check_copy(
            path,
            f"give the {given} that the {what} began with and it is written anew, or choose another folder "
            "with --out; delete its first line if what it says is right",
        )
    except XbarError:
        if _written(path.read_bytes()) != digest_of(tomllib.loads(tomli_w.dumps(ours))):
            raise
        print(f"xbar: {path}: damaged, or changed by hand; written anew", file=sys.stderr, flush=True)
        return False
    return True


def _written(content: bytes) -> str:
    """The digest that stands in a file; empty: none."""
    found = _DIGEST.match(content)
    return found[1].decode() if found else ""


def _held(content: bytes) -> str:
    """The digest of what a file holds; empty where that is no TOML."""
    try:
        return digest_of(tomllib.loads(content.decode()))
    except (ValueError, TypeError, RecursionError):
        return ""
