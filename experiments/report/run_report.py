"""Reports of finished runs: one page of each, or one that compares several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.figures.run_figures import draw
from experiments.report.comparison import write_comparison
from experiments.report.page import check_replaceable
from experiments.report.run_page import write_report
from experiments.run_folder.finished import read_measured
from xbar.hardware.errors import XbarError

REPORT_FILE = "report.html"
"""Name of the report in the folder of a run."""


def report_run(folder: Path, page: Path | None = None) -> Path:
    """Write the page and the figures of one finished run; the page's path.

    Parameters
    ----------
    page
        HTML file; None: ``report.html`` in the run's folder, with ``figures/`` beside it.

    Raises
    ------
    XbarError
        For a folder that holds no finished run, or a page that would replace something else than a report.
    """
    run = read_measured(folder)
    if page is None:
        page, figures = folder / REPORT_FILE, folder / "figures"
    else:
        check_replaceable(page)
        figures = figures_of(page)
    write_report(run.result, draw(run, figures), page, run.log)
    return page


def compare_runs(folders: Sequence[Path], page: Path) -> Path:
    """Write a page that compares finished runs, and its figures; the page's path.

    Raises
    ------
    XbarError
        As `report_run`; and for a folder that is given twice.
    """
    check_replaceable(page)
    for place, folder in enumerate(folders):
        if folder.resolve() in {other.resolve() for other in folders[:place]}:
            raise XbarError(f"{folder}: is given twice; a comparison takes each run once")
    results = {
        name: read_measured(folder).result for name, folder in zip(_names(folders), folders, strict=True)
    }
    write_comparison(results, figures_of(page), page)
    return page


def figures_of(page: Path) -> Path:
    """Folder of the figures of a page that is not in a run's folder."""
    return page.with_name(f"{page.stem}-figures")


def _names(folders: Sequence[Path]) -> list[str]:
    """Names of runs: those of their folders where these differ, else their paths."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]
