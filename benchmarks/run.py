"""Run all benchmarks (`make bench`): print the table and write benchmarks/results.json."""

from __future__ import annotations

import json
from pathlib import Path

import bench_inference
import bench_mvm


def main() -> None:
    """First calls apart, then one line a case: time, its baseline in the same run, and the ratio."""
    for name, taken in bench_mvm.first_calls():
        print(f"first call, compiling or from numba's cache: {taken:6.3f} s  {name}")
    rows = bench_mvm.rows() + bench_inference.rows()
    print(f"\n{'ratio':>7} {'threads':>7} {'ms':>9} {'baseline ms':>12}  case, against baseline")
    for row in rows:
        print(
            f"{row['ratio']:7.2f} {row['threads']:7d} {row['seconds'] * 1e3:9.2f} "
            f"{row['baseline_seconds'] * 1e3:12.2f}  {row['name']}, against {row['baseline']}"
        )
    Path(__file__).with_name("results.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
