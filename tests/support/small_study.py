"""A study that takes seconds: the digits study with one epoch a step and two chips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SMALL = [
    "train.epochs=3",
    "compress.epochs=2",
    "compress.interval=1",
    "compress.retrain_epochs=1",
    "quantise.epochs=1",
    "quantise.retrain_epochs=1",
    "chips.n=2",
    "calibration_images=64",
]


def comparable(result: dict) -> dict:
    """A result without what the clock says."""
    return {key: value for key, value in result.items() if key != "seconds"}


@contextmanager
def without_reports() -> Iterator[None]:
    """Runs end with their result: the figures of a small one take longer than all else of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.stages.run.report_run", lambda out: out)
        yield
