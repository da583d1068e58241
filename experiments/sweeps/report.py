"""The report of a sweep: its points as figures and tables on one page that opens offline."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.citations import citations
from experiments.page import check_replaceable, placed, toml, unique, write_page
from experiments.plots import save, svg
from experiments.study import study_dict
from experiments.sweeps.figures import fixed_at, front_of, sweep_figures
from experiments.sweeps.results import MAIN, differing, flat_row, one_an_axis, titles
from experiments.sweeps.running import SWEEP_FILE
from experiments.sweeps.store import Row, read_rows, store_files
from experiments.sweeps.sweep import Sweep, load_sweep, points_of, sweep_dict
from power.prices import prices_of
from xbar.errors import XbarError

MOST_ROWS = 2000
"""Points in the table of the page."""


def report_sweep(folders: Sequence[Path], page: Path | None) -> Path:
    """Write the page and the figures of a sweep, from its folder or several that are merged; the page's path.

    Parameters
    ----------
    page
        HTML file; None: ``report.html`` in the first folder.

    Raises
    ------
    XbarError
        For folders without a finished point, or a page that would replace something else than a report.
    """
    if page is not None:
        check_replaceable(page)
    sweep = load_sweep(str(folders[0] / SWEEP_FILE))
    known = list(read_rows(file for folder in folders for file in store_files(folder)).values())
    done = [row for row in known if row["status"] == "done"]
    if not done:
        raise XbarError(f"{folders[0]}: has no finished point to report")
    path = page or folders[0] / "report.html"
    figures = path.with_name("figures" if page is None else f"{path.stem}-figures")
    write_page("sweep.html.jinja", path, **content(sweep, done, known, figures))
    return path


def content(sweep: Sweep, done: Sequence[Row], known: Sequence[Row], figures: Path) -> dict[str, Any]:
    """What the template shows; writes the figures into their folder."""
    tables = [flat_row(row) for row in done]
    keys = one_an_axis(tables, differing(tables))
    drawn = sweep_figures(tables, keys)
    for name, figure in drawn.items():
        save(figure, figures, name)
    front = front_of(tables)
    columns = [*keys, *MAIN]
    named = titles(columns)
    return {
        "sweep": sweep,
        "counts": Counter(row["status"] for row in known),
        "axes": _axes(tables, keys),
        "figures": placed({name: svg(figure) for name, figure in drawn.items()}, captions(tables, keys)),
        "columns": named,
        "front": [[flat.get(key) for key in columns] for flat in front],
        "points": [[flat.get(key) for key in columns] for flat in tables[:MOST_ROWS]],
        "failed": [row for row in known if row["status"] == "failed"],
        "provenance": _provenance(known),
        "sweep_file": toml(sweep_dict(sweep)),
        "citations": citations([_as_result(sweep)]),
    }


def captions(tables: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(section, caption) of the figures."""
    fixed = ", ".join(f"{key} = {value}" for key, value in fixed_at(tables, keys).items())
    images = tables[0]["accuracy.test_images"]
    return {
        "front": (
            "points",
            f"A mark a point: mean accuracy over chips, on {images} test images, against the energy of one "
            "image. No point has both a higher accuracy and a lower energy than one on the line.",
        ),
        "heat": (
            "points",
            "Mean accuracy over chips by two of the keys, a map for each value of a third"
            + (f"; {fixed}." if fixed else "."),
        ),
    }


def _axes(tables: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[tuple[str, str]]:
    """Each key that differs, with its values."""
    values = {key: unique(f"{table.get(key)}" for table in tables) for key in keys}
    return [
        (key, f"{', '.join(found[:12])}{', ...' if len(found) > 12 else ''}") for key, found in values.items()
    ]


def _provenance(rows: Sequence[Row]) -> list[tuple[str, str]]:
    seconds = sum(row["seconds"] for row in rows)
    versions = unique(f"{name} {version}" for row in rows for name, version in row["versions"].items())
    times = sorted(row["at"] for row in rows)
    return [
        ("points", str(len(rows))),
        ("work on the points, without shared networks", f"{seconds / 60:.1f} minutes"),
        ("from, to", f"{times[0]}, {times[-1]}"),
        ("machines", ", ".join(unique(row["host"] for row in rows))),
        ("versions", ", ".join(versions)),
    ]


def _as_result(sweep: Sweep) -> dict[str, Any]:
    """What citations read of a run: study, hardware, and the sources of its prices."""
    study = next(points_of(dataclasses.replace(sweep, where=()))).study
    data = study_dict(study)
    sources = unique(source for price in prices_of(study.hardware).values() for source in price.sources)
    both = {side: {"sources": sources} for side in ("before", "after")}
    return {"study": data, "hardware": data["hardware"], "estimate": both}
