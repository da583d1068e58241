"""`xbar report`: the page of what folders hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class ReportCommand:
    """Write the report of a finished run or a sweep, or one page that compares runs. Nothing is run."""

    folders: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DIR [DIR ...]")]
    """Folders of finished runs, or of a sweep; several of one sweep are merged."""
    out: Path | None = None
    """HTML file; by default report.html in the folder, or comparison.html here for several runs."""

    def __call__(self) -> None:
        from experiments.commands.studies.reporting import report

        if not self.folders:
            raise XbarError("report: needs the folder of a finished run, or several to compare")
        for folder in self.folders:
            if folder.is_file():
                raise XbarError(f"{folder}: is a file; must be the folder of a finished run or of a sweep")
        print(f"report: {report(self.folders, self.out)}")
