"""A run's folder: made, checked on resume, and its file of finished chips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.run_folder.json_lines import read_lines
from experiments.run_folder.toml_copy import is_whole, toml_copy
from experiments.studies.study import Study, load_study, study_dict
from xbar.hardware.errors import XbarError
from xbar.hardware.files import write_atomically

STUDY_FILE = "study.toml"
"""The run's copy of its study."""


def open_folder(out: Path, study: Study, resume: bool) -> None:
    """Make the run folder, or check that a resumed one holds this study.

    Raises
    ------
    XbarError
        Where the folder cannot be made, is not empty (without `resume`), holds another study (with it), or a
        damaged one.
    """
    data = study_dict(study)
    file = out / STUDY_FILE
    try:
        if out.exists() and any(out.iterdir()):
            if not resume:
                raise XbarError(
                    f"{out}: is not empty; --resume continues the run in it, --out chooses another folder"
                )
            if not file.exists():
                raise XbarError(f"{out}: holds no run of xbar; choose another folder with --out")
            whole = is_whole(file, data, "run", "study")
            difference = _first_difference(study_dict(load_study(str(file))), data) if whole else ""
            if difference:
                raise XbarError(
                    f"{out}: holds a run of another study ({difference}); choose another folder with --out"
                )
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(file, toml_copy(data))
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
    """Accuracies of the chips in a file of lines; lines that cannot be read are dropped from it."""
    if not path.exists():
        return {}
    found = read_lines(path)
    if found.unreadable:
        lines = path.read_bytes().split(b"\n")
        write_atomically(path, b"".join(lines[number - 1] + b"\n" for number in found.objects))
    chips = [
        line
        for line in found.objects.values()
        if isinstance(line, dict) and {"chip", "accuracy"} <= line.keys()
    ]
    return {int(chip["chip"]): float(chip["accuracy"]) for chip in chips}
