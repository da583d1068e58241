"""Sentences on what in a run lies outside the domain in which its figures are right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mapping.chips.outside_domain import Clipped

CLIPPED = 0.001
"""A layer that clips more than this share of its inputs is named."""
NAMED = 4
"""Layers whose names a sentence lists."""


def clipped_sentences(shares: Mapping[str, float]) -> list[str]:
    """A sentence for each layer that clips more than `CLIPPED` of its inputs."""
    return [
        f"{name}: {100 * share:.2g} % of its inputs on the test set are beyond their calibrated range, and "
        "clipped; calibrate on more images (calibration_images), or, where dac.range is not 'max', widen it"
        for name, share in shares.items()
        if share > CLIPPED
    ]


def conversion_sentences(clipped: Mapping[str, Clipped]) -> list[str]:
    """A sentence for each layer with more than `CLIPPED` of its conversions beyond a fixed full scale."""
    return [
        f"{name}: {100 * found.share:.2g} % of its conversions on the calibration images are beyond "
        f"adc.full_scale, and clipped; {found.needed:.3g} A clips none (with adc.after = 'accumulation' that "
        "of all phases, each times its place)"
        for name, found in clipped.items()
        if found.share > CLIPPED
    ]


def residual_sentences(log: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each stage of ADMM with layers whose primal residual is no smaller after the last epoch
    than after the first: their weights did not come nearer to their constraint.

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
    rises: dict[str, dict[str, tuple[float, float]]] = {}
    for (stage, layer), (epoch, primal) in last.items():
        if epoch > 0 and primal >= first[stage, layer] > 0:
            rises.setdefault(stage, {})[layer] = first[stage, layer], primal
    counts = Counter(stage for stage, _ in last)
    return [_residual_sentence(stage, found, counts[stage]) for stage, found in rises.items()]


def _residual_sentence(stage: str, rises: Mapping[str, tuple[float, float]], layers: int) -> str:
    """The sentence on a stage that has so many layers; `rises`: residuals after the first and last epoch."""
    most = max(rises, key=lambda layer: rises[layer][1] / rises[layer][0])
    before, after = rises[most]
    keys = "quantise.epochs or quantise.rho_limit"
    if not stage.startswith("levels"):
        keys = "epochs or rho_limit of the method in [compress]"
    what = f"{before:.3g} after the first epoch and {after:.3g} after the last; raise {keys}"
    if len(rises) == 1:
        return f"{most}: its residual did not fall in stage {stage}, {what}"
    names = ", ".join([*rises][:NAMED]) + (f" and {len(rises) - NAMED} more" if len(rises) > NAMED else "")
    share = f"{len(rises)} of {layers} layers"
    return f"stage {stage}: the residuals of {share} did not fall ({names}); {most}: {what}"
