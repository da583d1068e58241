"""Channel counts under a width factor."""

from __future__ import annotations


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, rounded; at least 1."""
    return max(1, round(channels * width))
