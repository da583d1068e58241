"""A nameplate in words: its components, and the totals."""

from __future__ import annotations

from experiments.results.text_table import number, text_table
from power.estimates.nameplate import Nameplate, rated_mw


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
