"""The page that compares runs: accuracies and costs side by side, what differs, and what to cite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.figures.comparison_plots import comparison_figure
from experiments.figures.plots import save, svg
from experiments.report.citations import citations
from experiments.report.page import leaves, placed, shown_value, toml, unique, write_page
from experiments.report.run_page import provenance
from experiments.results.result import Result
from experiments.studies.study import study_dict

CAPTIONS = {
    "comparison": (
        "runs",
        "A line a run. Left: what the test set gives of the float network, of the ideal chip, and the mean "
        "over chips of the run's first noise case with its 95 % interval. Middle and right: area, and energy "
        "of one image, of the uncompressed and the compressed network; the numbers are those of the "
        "compressed one.",
    )
}
COSTS = (
    ("Area, mm²", "area_mm2"),
    ("Energy an image, nJ", "energy_nj_per_image"),
    ("Power, mW", "power_mw"),
    ("Image rate, 1/s", "image_rate_per_s"),
    ("Latency, µs", "latency_us_per_image"),
)
REDUCTIONS = (
    ("Area reduction", "reduction_percent", "area"),
    ("Area reduction by pruning alone", "pruning_percent", "area"),
    ("Power reduction", "reduction_percent", "power"),
    ("Power reduction by pruning alone", "pruning_percent", "power"),
)
"""Title, table of `Estimates` and key in it; those by pruning alone are not there in older runs."""


def write_comparison(results: Mapping[str, Result], figures: Path, page: Path) -> None:
    """Write the page that compares runs, and its figure into the folder `figures`.

    Parameters
    ----------
    results
        By the name of the run.
    page
        HTML file, replaced as a whole.
    """
    figure = comparison_figure(results)
    save(figure, figures, "comparison")
    write_page(
        "comparison.html.jinja",
        page,
        results=results,
        measured=" or ".join(unique(result.accuracy.metric.name for result in results.values())),
        figures=placed({"comparison": svg(figure)}, CAPTIONS),
        costs=COSTS,
        reductions=[title for title, _, _ in REDUCTIONS],
        reduced={name: _reductions(result) for name, result in results.items()},
        keys=differences({name: dict(leaves(study_dict(result.study))) for name, result in results.items()}),
        origins=differences({name: provenance(result) for name, result in results.items()}),
        citations=citations(results.values()),
        studies={name: toml(study_dict(result.study)) for name, result in results.items()},
    )


def _reductions(result: Result) -> list[float | None]:
    """Percent that the compressed network takes less, in the order of `REDUCTIONS`."""
    tables = [(getattr(result.estimate, table), key) for _, table, key in REDUCTIONS]
    return [None if table is None else getattr(table, key) for table, key in tables]


def differences(tables: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """(key, its value in each table) of every key that is not the same in all; "–": it is not there."""
    keys = unique(key for table in tables.values() for key in table)
    rows = ((key, [table.get(key) for table in tables.values()]) for key in keys)
    return [
        (key, [shown_value(value) for value in row]) for key, row in rows if any(v != row[0] for v in row)
    ]
