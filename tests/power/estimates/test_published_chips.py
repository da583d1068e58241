"""The page on published chips: predicted figures are computed again, and held against printed ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from power.estimates.nameplate import nameplate, rated_mw
from xbar import load_hardware

PAGE = (Path(__file__).parents[3] / "docs" / "published-chips.md").read_text(encoding="utf-8")
ON_NODES = ("array", "core", "node", "cluster")


def rows() -> dict[str, list[str]]:
    """Predicted, printed and error of each quantity, as the page has them."""
    lines = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return {name: rest for name, *rest in cells if name != "quantity"}


def predicted() -> dict[str, float]:
    isaac = load_hardware("isaac")
    tile, all_tiles, chip = nameplate(isaac), nameplate(isaac, 168), nameplate(isaac, 168, links=True)
    own = {"adc__library": "forms-adc", "adc__bits": 4, "adc__columns": 34, "adc__rate": 2.1e9}
    forms = nameplate(isaac.replace(**own), 168)
    adc, mcus = forms.of("adc"), 168 * 12
    assert adc.units == 32 * mcus
    return {
        "group, power [mW]": tile.power_mw(["array"]) / 12,
        "group, area [mm2]": tile.area_mm2(["array"]) / 12,
        "tile, power [mW]": tile.power_mw(),
        "tile, area [mm2]": tile.area_mm2(),
        "168 tiles, power [W]": chip.power_mw(ON_NODES) / 1e3,
        "168 tiles, area [mm2]": chip.area_mm2(ON_NODES),
        "chip, power [W]": chip.power_mw() / 1e3,
        "chip, area [mm2]": chip.area_mm2(),
        "peak rate [GOPS]": chip.operations_per_s / 1e9,
        "efficiency [GOPS/W]": chip.gops_per_w,
        "density [GOPS/mm2]": chip.gops_per_mm2,
        "converters of 8 arrays, power [mW]": rated_mw(adc) / mcus,
        "converters of 8 arrays, area [mm2]": adc.area_mm2 / mcus,
        "ISAAC over FORMS, power": all_tiles.power_mw() / forms.power_mw(),
        "ISAAC over FORMS, area": all_tiles.area_mm2() / forms.area_mm2(),
    }


def test_the_page_has_what_the_designs_give() -> None:
    found = predicted()
    assert rows().keys() == found.keys()
    for name, (shown, printed, error) in rows().items():
        digits = len(re.sub(r"^0\.0*|[.,]", "", shown))
        assert shown.replace(",", "") == f"{found[name]:#.{digits}g}".rstrip("."), name
        if re.fullmatch(r"[\d.,]+", printed):
            off = 100 * (found[name] / float(printed.replace(",", "")) - 1)
            assert error == f"{off:.1f} %", name
            assert abs(off) < 1


@pytest.mark.parametrize("quantity", ["tile, area [mm2]", "chip, power [W]", "group, power [mW]"])
def test_isaac_is_within_a_promille_or_two(quantity: str) -> None:
    printed = float(rows()[quantity][1])
    assert predicted()[quantity] == pytest.approx(printed, rel=2e-3)
