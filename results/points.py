"""Measured points that a file keeps, as the scripts beside it add to them and print them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xbar.hardware.files import write_atomically


def kept(file: Path) -> dict[str, Any]:
    """What was measured so far, by network."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def keep(file: Path, found: dict[str, Any]) -> None:
    """Replace what the file has."""
    write_atomically(file, json.dumps(found, indent=1).encode())


def main(measure: Callable[[str, Path | None], None], rows: Callable[[], list[str]]) -> None:
    """``measure NETWORK [DATA]`` or ``rows``, as the command line says."""
    if sys.argv[1] == "measure":
        measure(sys.argv[2], Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    else:
        print("\n".join(rows()))
