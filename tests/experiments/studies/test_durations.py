"""Durations in words."""

from __future__ import annotations

import pytest

from experiments.studies.durations import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (2.5e-7, "250 ns"),
        (1e-6, "1 us"),
        (1e-3, "1 ms"),
        (0.5, "500 ms"),
        (1, "1 s"),
        (1.5, "1.5 s"),
        (27.36, "27.36 s"),
        (90, "90 s"),
        (120, "2 min"),
        (86400, "1 day"),
        (172800, "2 days"),
        (315_360_000, "10 years"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
