"""`xbar nameplate`: whole tiles at their rated speed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from experiments.results.text_table import number, text_table
from experiments.studies.designs import load_design
from power.estimates.nameplate import Nameplate, nameplate, rated_mw


def nameplate_text(name: str, plate: Nameplate) -> str:
    """Components of a nameplate, and the totals."""
    rows = [("component", "in each", "units", "power [mW]", "area [mm2]")]
    rows += [
        (row.component, row.level, number(row.units), number(rated_mw(row)), number(row.area_mm2))
        for row in plate.rows
    ]
    rows += [("sum", "", "", number(plate.power_mw()), number(plate.area_mm2()))]
    peak = (
        f"peak {number(plate.operations_per_s * 1e-9)} GOPS (two a multiply-accumulate), "
        f"{number(plate.gops_per_w)} GOPS/W, {number(plate.gops_per_mm2)} GOPS/mm2"
    )
    nodes = f"{plate.tiles} node{'s' * (plate.tiles > 1)}"
    missing = ["not modelled:", *(f"  {each}" for each in plate.not_modelled)] if plate.not_modelled else []
    title, table = f"{name}, {nodes}", text_table(rows, "llrrr")
    return "\n".join([title, table, peak, *missing])


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
        design = load_design(self.design, self.set)
        print(nameplate_text(design.name, nameplate(design, self.tiles, self.links)))
