"""`xbar nameplate`: whole tiles at their rated speed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro


@dataclass(frozen=True)
class NameplateCommand:
    """Area and power of whole tiles of a design, every block at its rated speed, as papers print them."""

    design: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DESIGN")]
    """A design, or a TOML file."""
    tiles: int = 1
    """How many tiles."""
    links: bool = False
    """With the links of the chip."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the hardware, as often as needed: --set hardware.adc.bits=8"""

    def __call__(self) -> None:
        from experiments.commands.networks.estimate import nameplate_text
        from experiments.studies.designs import load_design
        from power.estimates.nameplate import nameplate

        design = load_design(self.design, self.set)
        print(nameplate_text(design.name, nameplate(design, self.tiles, self.links)))
