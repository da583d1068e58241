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
ACCELERATOR = HERE / "accelerator.json"
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
    write_page()
    return 0


def write_page() -> None:
    """Write docs/speed.md from the records that are kept."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))
    there = json.loads(ACCELERATOR.read_text(encoding="utf-8")) if ACCELERATOR.exists() else None
    PAGE.write_text(page(rows, there), encoding="utf-8")


def among(kept: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Kept rows with the new ones in the places of those of the same case, others at the end."""
    rows = {tuple(row[key] for key in ("name", "threads", "baseline")): row for row in [*kept, *new]}
    return list(rows.values())


def page(rows: Sequence[dict[str, Any]], there: dict[str, Any] | None = None) -> str:
    """Text of docs/speed.md; `there`: what `make bench-gpu` wrote."""
    lines = [
        "# Speed",
        "",
        "Written by `make bench` from the records that it keeps in `benchmarks/results.json`. Each row is a "
        "time and that of a baseline in the same process, alternating; the least of the repeats counts. A "
        "ratio below 1 is faster than the baseline. First calls, which compile or load numba's cache, are "
        "not in the times. Rows of one benchmark are of one run, those of two may be of two days. The "
        "machine is 2 cores of a shared one; dated rows whose two sides have one thread are processor time. "
        "Rows without a date are of older code.",
        "",
        "| case | device | threads | ms | baseline | its ms | ratio | measured |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row.get('device', 'cpu')} | {row['threads']} | {row['seconds'] * 1e3:.3g} | "
        f"{row['baseline']} | "
        f"{row['baseline_seconds'] * 1e3:.3g} | {row['ratio']:.3g} | {row.get('date', '')} |"
        for row in rows
    ]
    return "\n".join([*lines, "", *on_accelerator(there)]) + "\n"


def on_accelerator(found: dict[str, Any] | None) -> list[str]:
    """The part of the page on times on another device than the processor."""
    if found is None:
        return [
            "## On an accelerator",
            "",
            "`make bench-gpu` measures ResNet-20, VGG-16 under ADMM, chips of LeNet-5, ResNet-50 and "
            "training on chips wherever torch finds an accelerator, beside plain torch on it and the "
            "processor, and writes its table here. It has not been run yet.",
        ]
    lines = [
        "## On an accelerator",
        "",
        f"Written by `make bench-gpu` on: {found['machine']}. TF32 is off on both sides. The processor's "
        "time is by its kernels on all its threads, of fewer images, chips or steps and scaled to as many.",
        "",
        "| case | ms | baseline there | its ms | ratio | a second | peak MiB | processor, ms | date |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in found["rows"]:
        peak = "" if each["peak_bytes"] is None else f"{each['peak_bytes'] / 2**20:.0f}"
        times = [f"{each[key] * 1e3:.3g}" for key in ("seconds", "baseline_seconds", "processor_seconds")]
        lines.append(
            f"| {each['name']} | {times[0]} | {each['baseline']} | {times[1]} | {each['ratio']:.3g} | "
            f"{each['a_second']:.3g} | {peak} | {times[2]} | {each['date']} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
