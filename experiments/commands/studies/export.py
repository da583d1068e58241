"""`xbar export`: a finished run as files, the mapping, one of its chips, what to program, and netlists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from xbar.hardware.errors import XbarError


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
    """Name of the chip's noise case; by default the first of the study."""
    data: Path | None = None
    """Folder with the data set, which a noise case with compensation and an image need."""
    spice: Annotated[str, tyro.conf.arg(metavar="LAYER")] = ""
    """Layer whose tiles are written as SPICE netlists, too."""
    image: int | None = None
    """Number of the test image, counted from 0, whose voltages the netlists have.
    By default all word lines have the read voltage."""
    position: int = 0
    """Number of the vector of the layer for this image, such as the output pixel of a convolution."""
    phase: int = 0
    """Number of the phase of this vector; phase 0 has the least significant bits."""

    def __call__(self) -> None:
        from experiments.commands.studies.exporting import PhaseInput, export_run

        if not self.spice and (self.image, self.position, self.phase) != (None, 0, 0):
            raise XbarError(
                "--image, --position, --phase: have an effect with --spice LAYER only, which writes netlists"
            )
        inputs = PhaseInput(self.image, self.position, self.phase)
        files = export_run(
            self.run, self.out, self.format, self.chip, self.case, self.data, self.spice, inputs
        )
        for content, path in files.items():
            print(f"{content}: {path}")
