"""`xbar search`: a search from its file to its front, with random points beside it on request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from experiments.commands.studies.computing import ComputesPoints


@dataclass(frozen=True)
class SearchCommand(ComputesPoints):
    """Search for designs that are best in several figures. The same command goes on where it was stopped."""

    search: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SEARCH")]
    """Name of a built-in search (`xbar list`), or a TOML file."""
    trials: int
    """Points to try in all; a larger number than last time goes on from there."""
    random: int = 0
    """Try this many random points, too, and compare the search with them."""
    seed: int = 0
    """Seed of the sampler. The seed of the studies is a key of the study."""
    sampler: Literal["tpe", "nsga2", "random"] = "tpe"
    """The sampler that proposes points: tree-structured Parzen estimators, a genetic algorithm, or chance."""
    trust: bool = False
    """Read a .pt2 file even if its code has to run. Only for files of people whom you trust."""
    plan: bool = False
    """Resolve and check the search and some of its points, and run nothing."""

    def __call__(self) -> None:
        from experiments.commands.studies.searching import search

        search(self)
