"""The files of a finished run: its mapping, one of its chips, what to program, and netlists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.inputs.batches import taken
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
from mapping.lab.netlists import export_netlists, input_volts
from mapping.lab.target_files import WRITERS, export_conductances
from mapping.tiles.mapped import MappedNetwork
from xbar.hardware.errors import XbarError, unknown_name


@dataclass(frozen=True)
class PhaseInput:
    """The input whose voltages the netlists of a layer have on their word lines.

    Parameters
    ----------
    image
        Number of a test image, from 0; None: the read voltage on all word lines that have a weight.
    position
        Vector of the layer's for this image: the output pixel of a convolution, row by row.
    phase
        Phase of this vector, the least significant first.
    """

    image: int | None = None
    position: int = 0
    phase: int = 0

    def __post_init__(self) -> None:
        for key in ("position", "phase"):
            if self.image is None and getattr(self, key):
                raise XbarError(
                    f"{key} = {getattr(self, key)}: has an effect with an image only; --image N chooses one"
                )


def export_run(
    run: Path,
    out: Path,
    format: str = "npz",
    chip: int = 0,
    case: str = "",
    data: Path | None = None,
    spice: str = "",
    inputs: PhaseInput = PhaseInput(),
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
        Folder of the data set, which the factors of a case with compensation are fitted on, and which has
        the image of `inputs`.
    spice
        Layer whose tiles are written as netlists too, with `inputs`; "": none.

    Raises
    ------
    XbarError
        For a folder that holds no finished run or is not empty; an unknown case, format or layer; an image,
        position or phase that is not there.
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
    if spice and spice not in mapped.layers:
        raise unknown_name("layer", spice, mapped.layers)
    programmed = _chip(study, mapped, chosen, chip, run, data)
    volts = _volts(study, programmed.mapped, spice, inputs, run, data) if spice else None
    files = {
        "mapping": out / MAPPING_FILE,
        f"chip {chip} of {chosen.name!r}": out / f"chip{chip}.safetensors",
        "target conductances": out / "conductances",
    }
    save_mapping(mapped, out / MAPPING_FILE)
    save_chip(programmed, out / f"chip{chip}.safetensors")
    export_conductances(programmed.mapped, out / "conductances", format)
    if spice:
        files[f"netlists of {spice!r}"] = out / "spice"
        export_netlists(programmed, out / "spice", spice, volts=volts)
    return files


def _volts(
    study: Study, mapped: MappedNetwork, name: str, inputs: PhaseInput, run: Path, data: Path | None
) -> NDArray[np.float64] | None:
    """Voltages of a layer's inputs in the phase that is asked for [V]; None: the read voltage."""
    if inputs.image is None:
        return None
    plan = prepare(study, data, run)
    images = plan.context.data.test_x
    at = (inputs.image, inputs.position, inputs.phase)
    _check_place("image", at[0], len(plan.context.data.test_y))
    network = networks(plan, study).quantised.network
    volts = input_volts(mapped, network, taken(images, slice(at[0], at[0] + 1)), name)
    _check_place("position", at[1], volts.shape[1])
    _check_place("phase", at[2], volts.shape[0])
    return np.asarray(volts[at[2], at[1]])


def _check_place(key: str, number: int, count: int) -> None:
    if not 0 <= number < count:
        raise XbarError(f"{key} = {number}: there are {count}, numbered from 0")


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
