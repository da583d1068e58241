"""Times in words: in the largest unit that they are a whole number of."""

from __future__ import annotations

import math

UNITS = (("s", 1.0), ("min", 60.0), ("h", 3600.0), ("day", 86400.0), ("year", 31536000.0))


def duration(seconds: float) -> str:
    """A time in the largest unit that it is a whole number of; below 1 s in s, ms, us or ns."""
    for name, unit in reversed(UNITS):
        if seconds >= unit and math.isclose(seconds / unit, round(seconds / unit)):
            count = round(seconds / unit)
            return f"{count} {name}{'s' if name in ('day', 'year') and count != 1 else ''}"
    for name, unit in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}"
    return f"{seconds / 1e-9:g} ns"
