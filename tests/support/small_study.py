"""A study that takes seconds: the digits study with one epoch a step and two chips."""

from __future__ import annotations

from typing import Any

from experiments.stages.run import run_study

SMALL = [
    "train.epochs=3",
    "compress.admm.epochs=2",
    "compress.admm.interval=1",
    "compress.retrain_epochs=1",
    "quantise.epochs=1",
    "quantise.retrain_epochs=1",
    "chips.n=2",
    "calibration_images=64",
]


def comparable(result: dict) -> dict:
    """A result without what the clock says, and the digest that holds it."""
    return {key: value for key, value in result.items() if key not in ("seconds", "digests")}


def result_of_run(*arguments: Any, **named: Any) -> dict:
    """What `result.json` holds after `experiments.stages.run.run_study` with these arguments."""
    return run_study(*arguments, **named).to_dict()
