"""`xbar devices`: the table of all presets, and one device in words and as a figure."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from xbar.hardware.errors import XbarError

if TYPE_CHECKING:
    from xbar.hardware.device import Device


@dataclass(frozen=True)
class DevicesCommand:
    """List the device presets; with a NAME, print one device in full, and plot it."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[NAME]")] = ""
    """Name of a preset, or a TOML file."""
    plot: bool = False
    """Draw states, deviations and change with time into NAME.png."""
    out: Path | None = None
    """Draw into this file, .png or .svg."""
    extensions: tuple[str, ...] = ()
    """Python files that add kinds which the device's file names, as in the key `extensions` of a study."""

    def __call__(self) -> None:
        from experiments.commands.catalogue.device_text import table
        from experiments.studies.file_kinds import check_file_kind
        from experiments.studies.own_code import extensions_of
        from xbar.hardware.files import load_device

        width = shutil.get_terminal_size((120, 24)).columns
        draws = self.plot or self.out is not None
        if not self.name:
            if draws:
                raise XbarError("--plot: needs the NAME of a device; `xbar devices` lists them")
            if self.extensions:
                raise XbarError("--extensions: needs the NAME of a device file that names their kinds")
            print(table(width))
            return
        check_file_kind(self.name, "device")
        with extensions_of(self.extensions):
            self._show(load_device(self.name), width, draws)

    def _show(self, device: Device, width: int, draws: bool) -> None:
        from experiments.commands.catalogue.device_text import describe

        out = self.out or Path(f"{Path(self.name).name.removesuffix('.toml')}.png")
        if draws and out.suffix not in (".png", ".svg"):
            raise XbarError(f"--out {out}: the file's name must end in .png or .svg")
        print(describe(device, width))
        if draws:
            from experiments.figures.device_plots import device_figure
            from experiments.figures.plots import save_as

            save_as(device_figure(device), out)
            print(f"\nfigure: {out}")
