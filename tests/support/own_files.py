"""Files of users that add kinds: how their mistakes are told, and what is read once a file is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from small_study import result_of_run

from experiments.report.run_report import report_run
from experiments.results.result import Result
from experiments.run_folder.finished import read_measured
from experiments.studies.study import Study, load_study
from xbar import XbarError


@contextmanager
def refused(words: str) -> Iterator[pytest.ExceptionInfo[XbarError]]:
    """Hold that the body is refused in one line that has these words."""
    with pytest.raises(XbarError) as caught:
        yield caught
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def inline(value: object) -> str:
    """A value as TOML has it on one line."""
    if not isinstance(value, dict):
        return json.dumps(value)
    return "{" + ", ".join(f"{key}={json.dumps(each)}" for key, each in value.items()) + "}"


def check_known_by_its_file_alone(parts: Mapping[str, Mapping[str, Any]], file: str) -> None:
    """Hold that a study which does not name the file of these parts of a device is told to."""
    for key, table in parts.items():
        with refused(f"hardware.device.{key}.kind '{table['kind']}': is added by ") as told:
            load_study("digits", [f"hardware.device.{key}={inline(table)}"])
        assert str(told.value).endswith(f"{file}, which must stand in `extensions`")


def read_without(files: list[Path], study: Study, out: Path) -> tuple[Result, str]:
    """Run a study, remove files that it names, and give the result as it is read, and its report."""
    result = result_of_run(study, None, out)
    for file in files:
        file.unlink()
    read = read_measured(out)
    written = json.loads((out / "result.json").read_text())
    del written["digests"]
    assert read.result.to_dict() == written == result
    assert read.chip() is None
    report_run(out)
    return read.result, (out / "report.html").read_text()
