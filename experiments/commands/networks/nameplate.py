"""`xbar nameplate`: whole tiles at their rated speed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro


@dataclass(frozen=True)
class NameplateCommand:
    """Print area and power of whole tiles of a design, every block at its rated speed, as papers do."""

    design: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DESIGN")]
    """Name of a design (`xbar list`), or a TOML file."""
    tiles: int = 1
    """Number of tiles on the chip."""
    links: bool = False
    """Count the links between chips, too."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the hardware, as often as needed: --set hardware.adc.bits=8"""

    def __call__(self) -> None:
        from experiments.commands.networks.nameplate_text import nameplate_text
        from experiments.studies.designs import load_design
        from power.estimates.nameplate import nameplate

        design = load_design(self.design, self.set)
        print(nameplate_text(design.name, nameplate(design, self.tiles, self.links)))
