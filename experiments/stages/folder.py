"""A run's folder: made, checked on resume, and its file of finished chips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tomli_w

from experiments.studies.study import Study, load_study, study_dict
from xbar.hardware.errors import XbarError
from xbar.hardware.files import write_atomically


def open_folder(out: Path, study: Study, resume: bool) -> None:
    """Make the run folder, or check that a resumed one holds this study.

    Raises
    ------
    XbarError
        Where the folder cannot be made, is not empty (without `resume`), or holds another study (with it).
    """
    content = tomli_w.dumps(study_dict(study))
    file = out / "study.toml"
    try:
        if out.exists() and any(out.iterdir()):
            if not resume:
                raise XbarError(
                    f"{out}: is not empty; --resume continues the run in it, --out chooses another folder"
                )
            if not file.exists():
                raise XbarError(f"{out}: holds no run of xbar; choose another folder with --out")
            difference = _first_difference(study_dict(load_study(str(file))), study_dict(study))
            if difference:
                raise XbarError(
                    f"{out}: holds a run of another study ({difference}); choose another folder with --out"
                )
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content.encode())
    except OSError as error:
        raise XbarError(f"{out}: cannot be used as run folder ({error.strerror})") from None


def _first_difference(old: Any, new: Any, key: str = "") -> str:
    """The first key with another value, in both; "": there is none."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = ((str(name), old.get(name), new.get(name)) for name in {**old, **new})
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = ((str(i), *both) for i, both in enumerate(zip(old, new, strict=True)))
    else:
        return "" if old == new else f"{key}: {old!r} there, {new!r} here"
    found = (_first_difference(a, b, f"{key}.{name}" if key else name) for name, a, b in pairs)
    return next(filter(None, found), "")


def finished_chips(path: Path) -> dict[int, float]:
    """Finished chips; a line that a crash cut short is dropped from the file."""
    if not path.exists():
        return {}
    finished, good = {}, b""
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        finished[int(entry["chip"])] = float(entry["accuracy"])
        good += line
    write_atomically(path, good)
    return finished
