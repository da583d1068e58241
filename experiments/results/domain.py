"""Sentences on what in a run lies outside the domain in which its figures are right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

CLIPPED = 0.001
"""A layer that clips more than this share of its inputs is named."""


def clipped_sentences(shares: Mapping[str, float]) -> list[str]:
    """A sentence for each layer that clips more than `CLIPPED` of its inputs."""
    return [
        f"{name}: {100 * share:.2g} % of its inputs on the test set are beyond their calibrated range, and "
        "clipped; calibrate on more images (calibration_images)"
        for name, share in shares.items()
        if share > CLIPPED
    ]


def residual_sentences(log: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each layer whose primal residual is no smaller after the last epoch of an ADMM than
    after the first: its weights did not come nearer to their constraint.

    Parameters
    ----------
    log
        Rows of a run's log; those of ADMM have ``stage``, ``epoch``, ``layer`` and ``primal``.
    """
    first: dict[tuple[str, str], float] = {}
    last: dict[tuple[str, str], tuple[int, float]] = {}
    for row in log:
        if "primal" in row:
            key = row["stage"], row["layer"]
            first.setdefault(key, row["primal"])
            last[key] = row["epoch"], row["primal"]
    return [
        f"{layer}: its residual did not fall in stage {stage}, {first[stage, layer]:.3g} after the first "
        f"epoch and {primal:.3g} after the last; use more epochs, or a larger rho"
        for (stage, layer), (epoch, primal) in last.items()
        if epoch > 0 and primal >= first[stage, layer] > 0
    ]
