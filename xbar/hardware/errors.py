"""The one error that stands for a user's mistake, and the sentence that names the nearest allowed name."""

from __future__ import annotations

import difflib
import functools
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class XbarError(ValueError):
    """A user's mistake: the message is one line with what is wrong, where, and what is allowed."""


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """The allowed name that was most likely meant: one that it begins, or nearly is; none where none is."""
    allowed = list(names)
    begun = [each for each in allowed if len(name) > 2 and each.startswith(name)]
    return difflib.get_close_matches(name, allowed, n=1, cutoff=0.6) or begun[:1]


def unknown_name(what: str, name: str, allowed: Iterable[str]) -> XbarError:
    """Error for a name that is not one of `allowed`, with the nearest allowed name where one is near."""
    names = sorted(allowed)
    near = nearest(str(name), names)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return XbarError(f"{what}: unknown name {name!r}; {hint}allowed: {', '.join(names)}")


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Put the name of a file or key before the message of errors raised within, unless they have it."""
    try:
        yield
    except XbarError as error:
        if where in str(error):
            raise
        raise XbarError(f"{where}: {error}") from error.__cause__


def one_line(error: BaseException) -> str:
    """Kind and first line of an error; the kind alone where it says nothing."""
    words = str(error).strip().partition("\n")[0]
    kind = type(error).__name__
    return f"{kind}: {words}" if words else kind


def place_of(error: BaseException) -> str:
    """Place of an error in code that is neither ours nor a library's, such as ``net.py:12, in forward``.

    Looked for in the error and in what it was raised from, and the innermost such line counts; empty where
    there is none.
    """
    for each in _causes(error):
        for frame in reversed(traceback.extract_tb(each.__traceback__)):
            if _is_users(frame.filename):
                return f"{frame.filename}:{frame.lineno}, in {frame.name}"
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The chain of errors that led to an error, the first one first, and the error itself last."""
    if error.__cause__ is not None:
        yield from _causes(error.__cause__)
    yield error


OURS = ("xbar", "mapping", "power", "models", "experiments")
"""Top folders of this project."""

ROOT = Path(__file__).resolve().parents[2]
"""Folder that they are in."""


@functools.cache
def _is_users(filename: str) -> bool:
    """Whether a file of code is neither ours, nor Python's, nor that of an installed package."""
    if filename.startswith("<"):
        return False
    path = Path(filename).resolve()
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    others = [Path(sysconfig.get_path("stdlib")).resolve(), *(ROOT / name for name in OURS)]
    return not installed and not any(path.is_relative_to(place) for place in others)
