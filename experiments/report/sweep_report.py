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
from experiments.searches.search import Search, load_search, search_dict
from experiments.studies.study import Study, study_dict
from experiments.sweeps.sources import KnownPoints, Source, read_known
from experiments.sweeps.store import StoredRow
from experiments.sweeps.sweep import FileKind, Sweep, base_of, load_sweep, sweep_dict
from experiments.sweeps.table import (
    HALF_WIDTH,
    OUTSIDE_DOMAIN,
    differing,
    flat_row,
    heads_of,
    label_of,
    main_columns,
    one_an_axis,
)
from experiments.sweeps.variants import study_at, told
from power.estimates.prices import prices_of
from xbar.hardware.errors import XbarError

HEAT_INTERVALS = (
    " After ± stands half the width of the 95 % interval of the mean over chips. A line between two cells "
    "says that their intervals do not overlap; two cells without a line may stand in the other order. "
    "What other test images would change is not in it."
)
"""Sentences of the caption of the map."""
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
    known = read_known(folders, keep=_flattened)
    if not any(row["status"] == "done" for row in known.rows.values()):
        raise XbarError(f"{folders[0]}: has no finished point to report")
    path = page or folders[0] / "report.html"
    figures = path.with_name("figures" if page is None else f"{path.stem}-figures")
    write_page("sweep.html.jinja", path, ["sweep.js"], **content(what, known, figures))
    return path


def _flattened(row: StoredRow) -> StoredRow:
    """A line with its figures flat, without what no page shows."""
    return {**{key: value for key, value in row.items() if key != "result"}, "flat": flat_row(row)}


def content(what: Sweep | Search, found: KnownPoints, figures: Path) -> dict[str, Any]:
    """Data that the template shows; the figures are written into their folder."""
    known = list(found.rows.values())
    done = [row for row in known if row["status"] == "done"]
    tables = [{**found.apart[row["id"]], **row["flat"]} for row in done]
    keys = one_an_axis(tables, differing(tables))
    drawn = sweep_figures(tables, keys)
    for name, figure in drawn.items():
        save(figure, figures, name)
    columns = [*keys, *main_columns(tables)]
    study, sources = _study_of(what, done[0], found.source_of[done[0]["id"]])
    return {
        "sweep": what,
        "kind": "sweep" if isinstance(what, Sweep) else "search",
        "counts": Counter(row["status"] for row in known),
        "others": found.others,
        "has_intervals": HALF_WIDTH in columns,
        "axes": _axes(tables, unique([*found.apart[done[0]["id"]], *keys])),
        "designs": designs(tables, keys),
        "figures": placed({name: svg(figure) for name, figure in drawn.items()}, captions(tables, keys)),
        "columns": heads_of(columns, label_of(tables[0])),
        "metric": label_of(tables[0]),
        "front": [[flat.get(key) for key in columns] for flat in front_of(tables)],
        "points": [[flat.get(key) for key in columns] for flat in tables[:MOST_ROWS]],
        "outside": [
            (told(row["values"]), table[OUTSIDE_DOMAIN])
            for row, table in zip(done, tables, strict=True)
            if OUTSIDE_DOMAIN in table
        ],
        "failed": [(told(row["values"]), row["reason"]) for row in known if row["status"] == "failed"],
        "provenance": [*_data(study, found.sources), *_provenance(known)],
        "sweep_file": toml(sweep_dict(what) if isinstance(what, Sweep) else search_dict(what)),
        "study_file": toml(study_dict(study)),
        "citations": citations_of([(study, sources)]),
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
            f"one image{_bars(tables)}. No point has both a {better} {metric.name} and a lower energy "
            "than one on the line.",
        ),
        "heat": (
            "points",
            f"Mean {metric.name} over chips by two of the keys, a map for each value of a third"
            + (f"; {fixed}." if fixed else ".")
            + (HEAT_INTERVALS if any(HALF_WIDTH in table for table in tables) else ""),
        ),
    }


def _bars(tables: Sequence[Mapping[str, Any]]) -> str:
    """A part of a sentence on the bars of the front."""
    has_some = any(HALF_WIDTH in table for table in tables)
    return "; bars on the front are 95 % intervals of the mean" if has_some else ""


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


def _data(study: Study, sources: Sequence[Source]) -> list[tuple[str, str]]:
    """The data and files that points were made from, with their checksums where these were kept."""
    data = unique(f"{name} (SHA-256 {digest})" for source in sources for name, digest in source.data.items())
    files = unique(
        f"{name} (SHA-256 {digest})" for source in sources for name, digest in source.files.items()
    )
    named = [("data", "; ".join(data) or f"{study.data} (checksum not kept)")]
    return named + ([("files", "; ".join(files))] if files else [])


def _study_of(what: Sweep | Search, row: StoredRow, source: Source | None) -> tuple[Study, list[str]]:
    """The study of a point, as it was when it was run where that was kept, and the sources of its prices."""
    base = base_of(what.study, what.set, what.name) if source is None else source.study
    study = study_at(base, row["values"], what.name, reading=True)
    return study, unique(source for price in prices_of(study.hardware).values() for source in price.sources)
