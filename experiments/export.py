"""`xbar export`: a finished run as files, the mapping, one of its chips, and what to program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from experiments.noise_cases import NoiseCase, with_noise
from experiments.run import ACTIVITY_FILE, MAPPING_FILE, prepare
from experiments.steps import chips_seed
from experiments.study import Study, load_study
from mapping import around_faults, compensate, known_reads, program_network
from mapping.chip import ProgrammedNetwork
from mapping.chip_file import load_mapping, save_chip, save_mapping
from mapping.network import MappedNetwork
from mapping.target_files import WRITERS, export_conductances
from xbar.errors import XbarError, unknown_name


def export_run(
    run: Path, out: Path, format: str = "npz", chip: int = 0, case: str = "", data: Path | None = None
) -> dict[str, Path]:
    """Write a run's mapping, a chip of one noise case, and its target conductances; their paths by content.

    Parameters
    ----------
    run
        A finished run's folder.
    out
        A new or empty folder.
    chip
        Number of the chip, from 0, as in ``per_chip`` of the result.
    case
        Name of the noise case; "": the first.
    data
        Folder of the data set, which the factors of a case with compensation are fitted on.

    Raises
    ------
    XbarError
        For a folder that holds no finished run or is not empty, or an unknown case or format.
    """
    study, mapped = finished_run(run)
    cases = {one.name: one for one in study.chips.cases}
    if case and case not in cases:
        raise unknown_name("noise case", case, cases)
    if format not in WRITERS:
        raise unknown_name("format", format, WRITERS)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise XbarError(f"{out}: is not an empty folder; --out chooses another")
    chosen = cases[case] if case else study.chips.cases[0]
    programmed = _chip(study, mapped, chosen, chip, run, data)
    files = {
        "mapping": out / MAPPING_FILE,
        f"chip {chip} of {chosen.name!r}": out / f"chip{chip}.safetensors",
        "target conductances": out / "conductances",
    }
    save_mapping(mapped, out / MAPPING_FILE)
    save_chip(programmed, out / f"chip{chip}.safetensors")
    export_conductances(programmed.mapped, out / "conductances", format)
    return files


def finished_run(run: Path) -> tuple[Study, MappedNetwork]:
    if not (run / "study.toml").is_file():
        raise XbarError(f"{run}: holds no run of xbar")
    study = load_study(str(run / "study.toml"))
    if not (run / MAPPING_FILE).is_file():
        raise XbarError(
            f"{run}: has no {MAPPING_FILE}; "
            f"`xbar run {run / 'study.toml'} --out {run} --resume` goes on until it has one"
        )
    return study, load_mapping(run / MAPPING_FILE)


def first_chip(run: Path, mapped: MappedNetwork) -> ProgrammedNetwork:
    """Chip 0 of the first noise case of a finished run; `mapped` is its mapping."""
    study = finished_run(run)[0]
    case = study.chips.cases[0]
    noisy = mapped.with_hardware(lambda hardware: with_noise(hardware, case))
    return program_network(noisy, seed=chips_seed(study.seed), time=case.time)


def run_activity(run: Path) -> dict[str, NDArray[np.float64]] | None:
    """Activity of a finished run's layers on its calibration images; None: the run kept none."""
    path = run / ACTIVITY_FILE
    return load_file(path) if path.exists() else None


def _chip(
    study: Study, mapped: MappedNetwork, case: NoiseCase, number: int, run: Path, data: Path | None
) -> ProgrammedNetwork:
    """The chip that the run measured."""
    noisy = mapped.with_hardware(lambda hardware: with_noise(hardware, case))
    seed = chips_seed(study.seed)
    placed = around_faults(noisy, seed=seed, chip=number) if case.around_faults else noisy
    chip = program_network(placed, seed=seed, chip=number, time=case.time)
    if case.compensation == "none":
        return chip
    steps = prepare(study, data, run)
    _, network = steps.quantise(steps.compress(steps.train_baseline()), study.hardware)
    return compensate(chip, known_reads(noisy, network, steps.calibration_batches()), case.compensation)
