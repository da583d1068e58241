"""The one error that stands for a user's mistake, and the sentence that names the nearest allowed name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class XbarError(ValueError):
    """A user's mistake: the message is one line with what is wrong, where, and what is allowed."""


def unknown_name(what: str, name: str, allowed: Iterable[str]) -> XbarError:
    """Error for a name that is not one of `allowed`, with the nearest allowed name where one is near."""
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return XbarError(f"{what}: unknown name {name!r}; {hint}allowed: {', '.join(names)}")
