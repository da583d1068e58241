"""`xbar sweep`: a sweep from its file to its store, with a bar over all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from experiments.commands.studies.computing import ComputesPoints


@dataclass(frozen=True)
class SweepCommand(ComputesPoints):
    """Run a sweep: studies that differ in a few keys. The same command goes on where it was stopped."""

    sweep: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SWEEP")]
    """Name of a built-in sweep (`xbar list`), or a TOML file."""
    part: str = "1/1"
    """Compute only the K-th of N parts of the points, as K/N, on N machines that share no scheduler."""
    retry_failed: bool = False
    """Try the points again that failed before."""
    fail_fast: bool = False
    """Stop at the first failure. Without it only a sweep whose points all failed ends with an error."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of every point's study, as often as needed: --set chips.n=5"""
    trust: bool = False
    """Read a .pt2 file even if its code has to run. Only for files of people whom you trust."""
    plan: bool = False
    """Resolve and check all points and the data, say what is to do, and run nothing."""

    def __call__(self) -> None:
        from experiments.commands.studies.sweeping import sweep

        sweep(self)
