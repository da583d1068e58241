"""`xbar export`: a finished run as files, the mapping, one of its chips, and what to program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.run_folder.finished import MAPPING_FILE, finished_run
from experiments.run_folder.ids import chips_seed
from experiments.stages.measure import networks
from experiments.stages.run import prepare
from experiments.studies.noise_cases import NoiseCase, with_noise
from experiments.studies.study import Study
from mapping.chips.chip import ProgrammedNetwork, program_network
from mapping.lab.chip_file import save_chip, save_mapping
from mapping.lab.compensation import compensate, read_known_inputs
from mapping.lab.faults import around_faults
from mapping.lab.target_files import WRITERS, export_conductances
from mapping.tiles.mapped import MappedNetwork
from xbar.hardware.errors import XbarError, unknown_name


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
    plan = prepare(study, data, run)
    network = networks(plan, study).quantised.network
    known = read_known_inputs(noisy, network, plan.context.calibration_batches())
    return compensate(chip, known, case.compensation)


@dataclass(frozen=True)
class ExportCommand:
    """Write a finished run's mapping, one of its chips, and the target conductances of every tile."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of a finished run."""
    out: Path
    """New folder for the files."""
    format: Literal["npz", "csv"] = "npz"
    """Format of the files of conductances: NumPy arrays, or text."""
    chip: int = 0
    """Number of the chip, counted from 0."""
    case: str = ""
    """Name of its noise case; by default the first of the study."""
    data: Path | None = None
    """Folder with the data set; only a noise case with compensation needs it."""

    def __call__(self) -> None:
        files = export_run(self.run, self.out, self.format, self.chip, self.case, self.data)
        for content, path in files.items():
            print(f"{content}: {path}")
