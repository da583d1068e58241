"""The report of what folders hold, by the kind of folder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.report.run_report import compare_runs, report_run
from experiments.report.sweep_report import report_store
from experiments.run_folder.finished import RESULT_FILE
from xbar.hardware.errors import XbarError

Reporter = Callable[[Sequence[Path], Path | None], Path]


def report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of one folder, or the comparison of several; its path.

    Parameters
    ----------
    out
        HTML file; None: that of a single folder is in it, that of several ``comparison.html``.

    Raises
    ------
    XbarError
        For a folder that has no report, folders of several kinds, or a file that must not be replaced.
    """
    kinds = {_kind(folder): folder for folder in folders}
    if len(kinds) > 1:
        held = ", ".join(f"{folder} holds {kind}" for kind, folder in kinds.items())
        raise XbarError(f"{held}: one report takes folders of one kind, all of runs or all of one sweep")
    return REPORTERS[kinds.popitem()[0]](folders, out)


def _kind(folder: Path) -> str:
    """The file of `REPORTERS` that a folder holds; that of a run for others, which are refused there."""
    return next((file for file in REPORTERS if (folder / file).is_file()), RESULT_FILE)


def _runs(folders: Sequence[Path], out: Path | None) -> Path:
    if len(folders) == 1:
        return report_run(folders[0], out)
    return compare_runs(folders, out or Path("comparison.html"))


REPORTERS: dict[str, Reporter] = {
    RESULT_FILE: _runs,
    "sweep.toml": functools.partial(report_store, "sweep"),
    "search.toml": functools.partial(report_store, "search"),
}
"""The function that writes the report of a folder, by the name of a file that such folders hold."""
