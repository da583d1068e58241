"""`xbar results`: the points of a store as a table, filtered, merged and exported."""

from __future__ import annotations

import difflib
import functools
import itertools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.results.csv_text import csv_text
from experiments.results.metric_label import ACCURACY, MetricLabel
from experiments.results.text_table import text_table
from experiments.sweeps.conditions import Condition
from experiments.sweeps.sources import read_known
from experiments.sweeps.store import StoredRow, read_rows, store_files, told_unreadable
from mapping.monte_carlo.sampling import half_width
from xbar.hardware.errors import XbarError
from xbar.hardware.files import write_atomically

HALF_WIDTH = "accuracy.chips.ci95_half"
OUTSIDE_DOMAIN = "accuracy.outside_domain"
"""Sentences on the figures of a point that are outside the domain in which they are known to be right."""
MAIN = (
    *("accuracy.quantised", "accuracy.ideal_chip", "accuracy.chips.mean", HALF_WIDTH, "accuracy.chips.n"),
    *("estimate.energy_nj_per_image", "estimate.area_mm2", "estimate.latency_us_per_image"),
)
"""Figures that are shown unless others are asked for."""
IN_UNITS_OF_METRIC = frozenset(
    f"accuracy.{key}"
    for key in (
        *("float", "compressed", "quantised", "ideal_chip"),
        *(f"chips.{of}" for of in ("mean", "ci95_half", "std", "median", "p05", "ci95_low", "ci95_high")),
    )
)
"""Figures whose unit is that of the metric."""
MOST_NAMES = 6
"""Names that a message has."""
FORMATS = (".csv", ".parquet", ".jsonl")


def results(
    stores: Sequence[Path],
    where: Sequence[str],
    columns: Sequence[str],
    sort: str,
    failed: bool,
    export: Path | None,
    everything: bool = False,
) -> None:
    """Print or export what was asked for.

    Raises
    ------
    XbarError
        For a place without a store, and a condition, a column or a format that does not exist.
    """
    if not stores:
        raise XbarError("results: needs at least one STORE, a sweep's folder or .jsonl file")
    if export is not None and export.suffix not in FORMATS:
        raise XbarError(f"--export {export}: the file's name must end in {', '.join(FORMATS)}")
    files = [file for place in stores for file in store_files(place)]
    found = read_known(stores, flat_row, everything)
    known = [{**apart, **found.rows[one]} if apart else found.rows[one] for one, apart in found.apart.items()]
    for sentence in told_unreadable(files):
        print(f"xbar: {sentence}", file=sys.stderr)
    tables = [flat for flat in known if (flat["status"] == "failed") == failed]
    names = Names(tables)
    for text in where:
        tables = _meeting(tables, Condition(text), names)
    tables = _sorted(tables, sort, names)
    for sentence in found.others:
        print(f"{sentence}; --all takes them, too", file=sys.stderr)
    if export is not None:
        _export(tables, export, files)
        print(f"{len(tables)} points: {export}")
        return
    counts = f"{len(tables)} of {len(known)} points"
    others = sum(flat["status"] == "failed" for flat in known)
    why = "" if failed or not others else f"{others} failed, --failed says why"
    measured = list(dict.fromkeys(label_of(flat) for flat in tables if flat["status"] == "done"))
    if not tables:
        print("; ".join(filter(None, [counts, f"no {'failed' if failed else 'finished'} one fits", why])))
        return
    more = ["accuracy.metric.name"] if len(measured) > 1 else []
    more += list(map(names.key, columns)) or main_columns(tables)
    of_points = differing(known if failed else tables)
    shown = list(dict.fromkeys([*of_points, *(["reason"] if failed else more)]))
    cells = [[_cell(flat.get(key)) for key in shown] for flat in tables]
    heads = heads_of(shown, measured[0] if len(measured) == 1 else None)
    print(text_table([heads, *cells], "r" * (len(shown) - failed) + "l" * failed))
    if HALF_WIDTH in shown:
        print("ci95_half: half width of the 95 % interval of the mean over chips")
    if beyond := sum(OUTSIDE_DOMAIN in flat for flat in tables):
        print(f"{beyond} with figures outside the domain in which they are right: --columns {OUTSIDE_DOMAIN}")
    about = [counts, why, *(label.sentence for label in measured if label != ACCURACY)]
    print("; ".join(filter(None, about)))


def flat_row(row: StoredRow) -> dict[str, Any]:
    """A point as dotted keys: what it sets, its figures, and whence it is; components of costs left out."""
    skipped = ("values", "result", "versions")
    about = {key: value for key, value in row.items() if key not in skipped}
    result = row.get("result", {})
    sentences = result.get("accuracy", {}).get("outside_domain")
    outside = {OUTSIDE_DOMAIN: "; ".join(sentences)} if sentences else {}
    return {**row["values"], **_flat(with_half_width(result)), **outside, **_flat(about)}


def with_half_width(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """A point's figures with half of the 95 % interval of the mean over chips, where there are several."""
    chips = result.get("accuracy", {}).get("chips", {})
    if len(chips.get("per_chip", ())) < 2:
        return result
    half = {"ci95_half": half_width(chips["per_chip"])}
    return {**result, "accuracy": {**result["accuracy"], "chips": {**chips, **half}}}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            found[sys.intern(f"{prefix}{key}")] = value  # one text for the rows of 100,000 points
    return found


def label_of(flat: Mapping[str, Any]) -> MetricLabel:
    """The metric that a point was measured by; accuracy where its row is too old to say."""
    start = "accuracy.metric."
    return MetricLabel(
        **{key.removeprefix(start): value for key, value in flat.items() if key.startswith(start)}
    )


def differing(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys of studies that are not the same in all rows, or all of them where there is one row.

    Rows of sweeps with other axes lack some of them.
    """

    def is_swept(key: str) -> bool:
        return not key.startswith("accuracy.") and key != "id"

    swept = dict.fromkeys(key for flat in tables for key in itertools.takewhile(is_swept, flat))
    return [
        key for key in swept if len({json.dumps(flat.get(key)) for flat in tables}) > 1 or len(tables) == 1
    ]


def one_an_axis(tables: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """The keys without those that change together with an earlier one."""
    columns = {key: [json.dumps(flat.get(key)) for flat in tables] for key in keys}
    kept: list[str] = []
    for key in keys:
        values = len(set(columns[key]))
        pairs = {other: len(set(zip(columns[other], columns[key], strict=True))) for other in kept}
        if not any(n == values == len(set(columns[other])) for other, n in pairs.items()):
            kept.append(key)
    return kept


Tables = list[dict[str, Any]]


def _meeting(tables: Tables, condition: Condition, names: Names) -> Tables:
    """Rows of which a condition holds; it does not of one that lacks a key that others have.

    Raises
    ------
    XbarError
        Where it can be computed of no row.
    """
    stand_for = {word: names.key(word) for word in condition.keys if not names.leads_to(word)}
    found: Tables = []
    refused: list[XbarError] = []
    for flat in tables:
        try:
            own = {word: flat[key] for word, key in stand_for.items() if key in flat}
            found += [flat] if _holds(condition, flat | own) else []
        except XbarError as error:
            refused.append(error)
    if refused and len(refused) == len(tables):
        raise refused[0]
    return found


def _holds(condition: Condition, flat: Mapping[str, Any]) -> bool:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        node = nested
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    try:
        return condition.holds(nested)
    except XbarError as error:
        raise XbarError(f"--where {error}") from None


def _sorted(tables: Tables, column: str, names: Names) -> Tables:
    """Rows in the order of a column, numbers before texts; those without a value come last."""
    if not column or not tables:
        return tables
    key = names.key(column.removeprefix("-"))

    def place(flat: Mapping[str, Any]) -> tuple[bool, Any]:
        value = flat[key]
        number = isinstance(value, int | float)
        return (not number, value if number else str(value))

    there = [flat for flat in tables if flat.get(key) is not None]
    without = [flat for flat in tables if flat.get(key) is None]
    return sorted(there, key=place, reverse=column.startswith("-")) + without


class Names:
    """The names by which columns of these rows may be asked for: keys, heads of the table, and last words of
    a key that no other key has."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @functools.cached_property
    def _keys(self) -> list[str]:
        return list(dict.fromkeys(key for flat in self._tables for key in flat))

    @functools.cached_property
    def _heads(self) -> dict[str, str]:
        shown = [*differing(self._tables), *main_columns(self._tables)]
        return dict(zip(titles(shown), shown, strict=True))

    def leads_to(self, word: str) -> bool:
        """Whether a word is a key, a table of keys, or inside the value of a key; true where there is no
        row."""
        inside = (f"{word}.".startswith(f"{key}.") or key.startswith(f"{word}.") for key in self._keys)
        return not self._keys or any(inside)

    def key(self, name: str) -> str:
        """The key that a name stands for.

        Raises
        ------
        XbarError
            For a name of none, or of several.
        """
        word = name.partition(" [")[0]
        if word in self._keys or not self._keys:
            return word
        if word in self._heads:
            return self._heads[word]
        ending = [key for key in self._keys if key.endswith(f".{word}")]
        if len(ending) == 1:
            return ending[0]
        if ending:
            raise XbarError(f"column: {word!r} stands for several: {_some(ending)}")
        ends = {key.rpartition(".")[2]: key for key in reversed(self._keys)}
        near = difflib.get_close_matches(word, [*self._keys, *ends], n=3, cutoff=0.6)
        hint = f"did you mean {_some(list(dict.fromkeys(ends.get(one, one) for one in near)))}?"
        raise XbarError(
            f"column: unknown name {word!r}; "
            f"{hint if near else f'the table has {_some(list(self._heads))}; --export FILE.csv has all'}"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")


def main_columns(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """The main figures; the interval only where a point has several chips."""
    return [key for key in MAIN if key != HALF_WIDTH or any(HALF_WIDTH in flat for flat in tables)]


def heads_of(keys: Sequence[str], metric: MetricLabel | None) -> list[str]:
    """Titles of columns with the unit of the metric, where all rows have the same; other names have theirs in
    them."""
    unit = "" if metric is None else metric.brackets
    return [
        f"{title}{unit}" if key in IN_UNITS_OF_METRIC else title
        for key, title in zip(keys, titles(keys), strict=True)
    ]


def titles(keys: Sequence[str]) -> list[str]:
    """The last words of dotted keys, as many as tell them apart, and more than one letter."""
    titles = []
    for key in keys:
        parts = key.split(".")
        endings = [
            ".".join(parts[-n:]) for n in range(1 + (len(parts[-1]) == 1 < len(parts)), len(parts) + 1)
        ]
        alone = (e for e in endings if sum(f".{k}".endswith(f".{e}") for k in keys) == 1)
        titles.append(next(alone, key))
    return titles


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)


def _export(tables: Tables, path: Path, files: Sequence[Path]) -> None:
    if path.suffix == ".jsonl":
        lines = read_rows(files, keep=lambda row: f"{json.dumps(row)}\n".encode())
        write_atomically(path, *(lines[flat["id"]] for flat in tables))
        return
    columns = list(dict.fromkeys(key for flat in tables for key in flat))
    rows = [[flat.get(key) for key in columns] for flat in tables]
    if path.suffix == ".csv":
        write_atomically(path, csv_text([columns, *rows]).encode())
        return
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        needed = "pip install 'xbar-codesign[export]'"
        raise XbarError(f"--export {path}: Parquet needs the extra `export`: {needed}") from None
    table = pyarrow.table(
        {key: _column(column) for key, column in zip(columns, zip(*rows, strict=True), strict=True)}
    )
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    write_atomically(path, sink.getvalue().to_pybytes())


def _column(values: Iterable[Any]) -> list[Any]:
    """Values of one type, as a column has: texts where they are of several."""
    found = list(values)
    kinds = {type(value) for value in found if value is not None}
    return found if len(kinds) <= 1 or kinds == {int, float} else [str(value) for value in found]
