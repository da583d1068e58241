"""Run all benchmarks (`make bench`): print the table, write benchmarks/results.json and docs/speed.md.

Names on the command line choose some: ``python benchmarks/run.py mvm wires`` runs these alone, and leaves the
rows of the others as they are.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PAGE = HERE.parent / "docs" / "speed.md"
NAMES = tuple(
    "mvm inference networks struct estimate wires circuit programming training engine start sweep".split()
)


def main(chosen: Sequence[str]) -> int:
    """First calls apart, then one line a case: time, its baseline in the same run, and the ratio."""
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        print(f"{unknown[0]}: no such benchmark; allowed: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    modules = [importlib.import_module(f"bench_{name}") for name in chosen or NAMES]
    for module in modules:
        for name, taken in getattr(module, "first_calls", list)():
            print(f"first call, compiling or from numba's cache: {taken:6.3f} s  {name}")
    print(f"\n{'ratio':>7} {'threads':>7} {'ms':>9} {'baseline ms':>12}  case, against baseline")
    rows = []
    for module in modules:
        for row in module.rows():
            rows.append(row)
            print(
                f"{row['ratio']:7.3f} {row['threads']:7d} {row['seconds'] * 1e3:9.2f} "
                f"{row['baseline_seconds'] * 1e3:12.2f}  {row['name']}, against {row['baseline']}",
                flush=True,
            )
    rows = among(json.loads(RESULTS.read_text(encoding="utf-8")), rows) if chosen else rows
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(rows), encoding="utf-8")
    return 0


def among(kept: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Kept rows with the new ones in the places of those of the same case, others at the end."""
    rows = {tuple(row[key] for key in ("name", "threads", "baseline")): row for row in [*kept, *new]}
    return list(rows.values())


def page(rows: Sequence[dict[str, Any]]) -> str:
    """Text of docs/speed.md."""
    lines = [
        "# Speed",
        "",
        "Written by `make bench` from the records that it keeps in `benchmarks/results.json`. Each row is a "
        "time and that of a baseline in the same process, alternating; the least of the repeats counts. A "
        "ratio below 1 is faster than the baseline. First calls, which compile or load numba's cache, are "
        "not in the times. Rows of one benchmark are of one run, those of two may be of two days. The "
        "machine is 2 cores of a shared one; dated rows whose two sides have one thread are processor time.",
        "",
        "| case | threads | ms | baseline | its ms | ratio | measured |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row['threads']} | {row['seconds'] * 1e3:.3g} | {row['baseline']} | "
        f"{row['baseline_seconds'] * 1e3:.3g} | {row['ratio']:.3g} | {row.get('date', '')} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
