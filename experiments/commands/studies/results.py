"""`xbar results`: the points of sweeps as a table or a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class ResultsCommand:
    """Print, filter, merge and export the points of sweeps."""

    stores: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="STORE")]
    """Folders of sweeps, or their .jsonl files. Several are merged by id, and the keys that differ are shown.
    A folder gives the points of the sweep or search that was run last in it."""
    where: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Keep only points that meet this condition, as often as needed: --where "hardware.adc.bits >= 6" """
    columns: tuple[str, ...] = ()
    """Figures to show beside the keys that differ, such as accuracy.chips.mean; by default the main ones."""
    sort: str = ""
    """Column to sort by, by its head or its key; with a minus before its name, the largest comes first."""
    failed: bool = False
    """Print the failed points with their reasons, instead of the others."""
    all: bool = False
    """Take also the points that a folder has of earlier sweeps or searches, with what differs."""
    export: Path | None = None
    """Write the rows to this file: .csv, .parquet (extra `export`), or .jsonl, a merged store."""

    def __call__(self) -> None:
        from experiments.sweeps.table import results

        for store in self.stores:
            if store.is_file() and store.suffix != ".jsonl":
                raise XbarError(f"{store}: is a file; must be the folder of a sweep, or its .jsonl file")
        results(self.stores, self.where, self.columns, self.sort, self.failed, self.export, self.all)
