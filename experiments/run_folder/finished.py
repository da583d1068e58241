"""The folder of a finished run, read and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from experiments.results.plain_checks import check_log, sealed
from experiments.results.result import Residuals, Result
from experiments.run_folder.folder import STUDY_FILE
from experiments.run_folder.ids import chips_seed
from experiments.run_folder.toml_copy import check_copy
from experiments.studies.noise_cases import with_noise
from experiments.studies.own_code import extensions_of
from experiments.studies.study import Study, load_study
from mapping.chips.chip import ProgrammedNetwork, program_network
from mapping.lab.chip_file import load_mapping
from mapping.tiles.mapped import MappedNetwork
from xbar.hardware.errors import XbarError
from xbar.hardware.files import build, write_atomically
from xbar.machine.sealed_files import check_sealed

Contents = TypeVar("Contents")

RESULT_FILE = "result.json"
"""Every figure of the run."""

LOG_FILE = "log.json"
"""The log of the trainings, epoch by epoch."""

MAPPING_FILE = "mapping.safetensors"
"""The compressed network on its tiles, calibrated."""

ACTIVITY_FILE = "activity.safetensors"
"""The activity of each layer's word lines on the calibration images."""


@dataclass(frozen=True)
class FinishedRun:
    """The results of a finished run, from its ``result.json`` and ``log.json``."""

    folder: Path
    result: Result
    log: list[dict[str, Any]]

    def chip(self) -> ProgrammedNetwork | None:
        """Chip 0 of the first noise case; None where the folder has no mapping, or a kind in its
        hardware is one of a file that is not there."""
        path, study = self.folder / MAPPING_FILE, self.result.study
        if study.hardware.kept or not path.exists():
            return None
        with extensions_of(study.extensions):
            return first_chip(study, load_mapping(path))


def read_measured(folder: Path) -> FinishedRun:
    """Result and log of a finished run.

    Raises
    ------
    XbarError
        For a folder that is missing or holds no finished run, and a file that is broken or has another shape.
    """
    where = folder / RESULT_FILE
    if not folder.is_dir():
        raise XbarError(f"{folder}: no such folder; must be the folder of a finished run")
    if not where.is_file():
        if (folder / STUDY_FILE).is_file():
            raise XbarError(f"{folder}: has no {RESULT_FILE}; {_goes_on(folder)}")
        raise XbarError(f"{folder}: holds no run of xbar; must be the folder of a finished run")
    content = _json(where)
    if not isinstance(content, dict):
        raise XbarError(f"{where}: must be a table of results, as xbar run writes it; {_goes_on(folder)}")
    result = _or_goes_on(folder, lambda: Result.from_dict(content, str(where)))
    log = _json(folder / LOG_FILE) if (folder / LOG_FILE).exists() else []
    _or_goes_on(folder, lambda: _check_log(log, content, str(folder / LOG_FILE)))
    return FinishedRun(folder, result, log)


def write_result(folder: Path, result: Result, log: Sequence[Mapping[str, Any]]) -> None:
    """Write ``log.json`` and ``result.json``, which has the digests of both."""
    write_atomically(folder / LOG_FILE, json.dumps(log, indent=1).encode())
    write_atomically(folder / RESULT_FILE, json.dumps(sealed(result.to_dict(), log), indent=1).encode())


def _check_log(log: Any, result: Mapping[str, Any], where: str) -> None:
    check_log(log, result, where)
    if not (isinstance(log, list) and all(isinstance(row, dict) for row in log)):
        raise XbarError(f"{where}: must be a list of tables")
    for number, row in enumerate(log):
        if "primal" in row:
            build(Residuals, row, f"{where}: row {number}")


def _or_goes_on(folder: Path, read: Callable[[], Contents]) -> Contents:
    """Contents that `read` gives. An error of it also says how the file is written again."""
    try:
        return read()
    except XbarError as error:
        raise XbarError(f"{error}; {_goes_on(folder)}") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise XbarError(f"{path}: not a JSON file ({error}); {_goes_on(path.parent)}") from None
    except OSError as error:
        raise XbarError(f"{path}: cannot be read ({error.strerror})") from None


def _goes_on(folder: Path) -> str:
    return f"`xbar run {folder / STUDY_FILE} --out {folder} --resume` writes it"


def finished_run(run: Path) -> tuple[Study, MappedNetwork]:
    """Study and mapping of a finished run.

    Raises
    ------
    XbarError
        For a folder that holds no run, or one that has not come to its mapping, and a study that is damaged.
    """
    if not (run / STUDY_FILE).is_file():
        raise XbarError(f"{run}: holds no run of xbar")
    remedy = f"`xbar run STUDY --out {run} --resume`, with the study that the run began with, writes it"
    check_copy(run / STUDY_FILE, remedy)
    study = load_study(str(run / STUDY_FILE))
    if not (run / MAPPING_FILE).is_file():
        raise XbarError(
            f"{run}: has no {MAPPING_FILE}; "
            f"`xbar run {run / STUDY_FILE} --out {run} --resume` goes on until it has one"
        )
    return study, load_mapping(run / MAPPING_FILE)


def first_chip(study: Study, mapped: MappedNetwork) -> ProgrammedNetwork:
    """Chip 0 of the study's first noise case; `mapped` is the mapping of its run."""
    case = study.chips.cases[0]
    noisy = mapped.with_hardware(lambda hardware: with_noise(hardware, case))
    return program_network(noisy, seed=chips_seed(study.seed), time=case.time)


def run_activity(run: Path) -> dict[str, NDArray[Any]] | None:
    """Activity of a finished run's layers on its calibration images; None: the run kept none.

    Raises
    ------
    XbarError
        For a damaged file.
    """
    path = run / ACTIVITY_FILE
    if not path.exists():
        return None
    check_sealed(path, _goes_on(run))
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise XbarError(
            f"{path}: not a safetensors file, or a broken one ({error}); {_goes_on(run)}"
        ) from None
