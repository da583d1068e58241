"""The report of a sweep or search: its points as figures and tables on one page that opens offline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.figures.plots import save, svg
from experiments.figures.sweep_figures import fixed_at, front_of, sweep_figures
from experiments.report.citations import citations_of
from experiments.report.explorer import designs
from experiments.report.page import check_replaceable, placed, toml, unique, write_page
from experiments.run_folder.toml_copy import check_copy
from experiments.searches.search import Search, load_search
from experiments.studies.study import Study
from experiments.sweeps.store import StoredRow, read_rows, store_files
from experiments.sweeps.sweep import FileKind, Sweep, base_of, load_sweep
from experiments.sweeps.table import MAIN, differing, flat_row, label_of, one_an_axis, titles
from experiments.sweeps.variants import study_at
from power.estimates.prices import prices_of
from xbar.hardware.errors import XbarError
from xbar.hardware.files import to_dict

MOST_ROWS = 2000
"""Points in the table of the page."""


def report_store(kind: FileKind, folders: Sequence[Path], page: Path | None) -> Path:
    """Write the page and the figures of a sweep or search; the page's path.

    Parameters
    ----------
    folders
        One, or several of the same sweep, which are merged.
    page
        HTML file; None: ``report.html`` in the first folder.

    Raises
    ------
    XbarError
        For folders without a finished point, or a page that would replace something else than a report.
    """
    if page is not None:
        check_replaceable(page)
    file = str(folders[0] / f"{kind}.toml")
    check_copy(Path(file), f"the {kind} that was run last, on the same folder, writes it")
    what = load_sweep(file) if kind == "sweep" else load_search(file)
    files = [file for folder in folders for file in store_files(folder)]
    known = list(read_rows(files, keep=_flattened).values())
    if not any(row["status"] == "done" for row in known):
        raise XbarError(f"{folders[0]}: has no finished point to report")
    path = page or folders[0] / "report.html"
    figures = path.with_name("figures" if page is None else f"{path.stem}-figures")
    write_page("sweep.html.jinja", path, ["sweep.js"], **content(what, known, figures))
    return path


def _flattened(row: StoredRow) -> StoredRow:
    """A line with its figures flat, without what no page shows."""
    return {**{key: value for key, value in row.items() if key != "result"}, "flat": flat_row(row)}


def content(what: Sweep | Search, known: Sequence[StoredRow], figures: Path) -> dict[str, Any]:
    """Data that the template shows; the figures are written into their folder."""
    done = [row for row in known if row["status"] == "done"]
    tables = [row["flat"] for row in done]
    keys = one_an_axis(tables, differing(tables))
    drawn = sweep_figures(tables, keys)
    for name, figure in drawn.items():
        save(figure, figures, name)
    columns = [*keys, *MAIN]
    return {
        "sweep": what,
        "counts": Counter(row["status"] for row in known),
        "axes": _axes(tables, keys),
        "designs": designs(tables, keys),
        "figures": placed({name: svg(figure) for name, figure in drawn.items()}, captions(tables, keys)),
        "columns": titles(columns),
        "metric": label_of(tables[0]),
        "front": [[flat.get(key) for key in columns] for flat in front_of(tables)],
        "points": [[flat.get(key) for key in columns] for flat in tables[:MOST_ROWS]],
        "failed": [row for row in known if row["status"] == "failed"],
        "provenance": _provenance(known),
        "sweep_file": toml(to_dict(what)),
        "citations": citations_of([_study_of(what, done[0])]),
    }


def captions(tables: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(section, caption) of the figures."""
    fixed = ", ".join(f"{key} = {value}" for key, value in fixed_at(tables, keys).items())
    images = tables[0]["accuracy.test_images"]
    metric = label_of(tables[0])
    better = "higher" if metric.higher_is_better else "lower"
    return {
        "front": (
            "points",
            f"A mark a point: mean {metric.name} over chips, on {images} test images, against the energy of "
            f"one image. No point has both a {better} {metric.name} and a lower energy than one on the line.",
        ),
        "heat": (
            "points",
            f"Mean {metric.name} over chips by two of the keys, a map for each value of a third"
            + (f"; {fixed}." if fixed else "."),
        ),
    }


def _axes(tables: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[tuple[str, str]]:
    """Each key that differs, with its values."""
    values = {key: unique(f"{table.get(key)}" for table in tables) for key in keys}
    return [
        (key, f"{', '.join(found[:12])}{', ...' if len(found) > 12 else ''}") for key, found in values.items()
    ]


def _provenance(rows: Sequence[StoredRow]) -> list[tuple[str, str]]:
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


def _study_of(what: Sweep | Search, row: StoredRow) -> tuple[Study, list[str]]:
    """The study of a point, and the sources of its prices."""
    study = study_at(base_of(what.study, what.set, what.name), row["values"], what.name, reading=True)
    return study, unique(source for price in prices_of(study.hardware).values() for source in price.sources)
