"""The page on array sizes: its tables are those of the kept points, and these are what the estimate gives."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from experiments.commands.networks.layer_table import form_of
from mapping import map_network
from power.counts.resolution import lossless_bits_of_network
from power.estimates.table import estimate

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(ROOT / "results")
    return runpy.run_path(str(ROOT / "results" / "array_sizes.py"))


@pytest.mark.parametrize(("name", "count"), [("sizes", 5), ("optima", 6)])
def test_the_page_has_the_kept_tables(script: dict[str, Any], name: str, count: int) -> None:
    rows = script[name]()
    assert len(rows) == count
    page = (ROOT / "docs" / "array-sizes.md").read_text(encoding="utf-8")
    table = page.split(f"<!-- rows of `python results/array_sizes.py {name}` -->")[1]
    assert table.split("<!-- end of rows -->")[0].strip().splitlines()[2:] == rows


def test_points_are_complete_and_their_bits_lose_nothing_where_it_says_so(script: dict[str, Any]) -> None:
    points = script["chosen"]()
    pairs = {(p["adc"], p["slices"], p["size"], p["bits"]) for p in points}
    assert len(pairs) == len(points)
    assert {(a, c.slices, s, b) for a in script["ADCS"] for c in script["CELLS"] for s in script["SIZES"]
            for b in script["BITS"]} <= pairs  # fmt: skip
    assert len(script["lossless"]("adc-regression")) == 15
    beyond = [p for p in points if p["bits"] not in script["BITS"]]
    assert all(p["bits"] == p["lossless_bits"] and p["adc"] == "adc-regression" for p in beyond)


@pytest.mark.parametrize(
    ("slices", "size", "bits", "adc"), [(1, 512, 4, "isaac-scaled-adc"), (2, 256, 11, "adc-regression")]
)
def test_a_kept_point_is_what_the_estimate_gives(
    script: dict[str, Any], slices: int, size: int, bits: int, adc: str
) -> None:
    """The area with as many cells a tile by an estimate of its own."""
    (cells,) = [each for each in script["CELLS"] if each.slices == slices]
    (point,) = script["chosen"](slices=slices, size=size, bits=bits, adc=adc)
    form, example = form_of(script["NETWORK"])
    mapped = map_network(form, script["hardware"](cells, size), example)
    found = script["costs"](mapped, adc, bits)
    assert found == {name: pytest.approx(point[name], rel=1e-12) for name in found}
    assert point["lossless_bits"] == max(lossless_bits_of_network(mapped).values())
    whole_cells = 96 * 128**2 // size**2
    changes = {"adc__library": adc, "adc__bits": bits, "periphery__arrays_per_group": 1}
    shared = mapped.with_hardware(lambda own: own.replace(periphery__groups_per_tile=whole_cells, **changes))
    assert estimate(shared, case="mean").area_mm2 == pytest.approx(point["area_same_cells_mm2"], rel=1e-12)


def test_the_picture_draws_the_kept_points_and_rings_the_optima(script: dict[str, Any]) -> None:
    axes = iter(script["picture"]().axes)
    for quantity in script["QUANTITIES"]:
        for adc in script["ADCS"]:
            drawn = [list(line.get_ydata()) for line in next(axes).lines]
            for bits, values in zip(script["BITS"], drawn, strict=False):
                kept = script["chosen"](adc=adc, bits=bits, slices=1)
                assert values == [point[quantity] for point in kept]
            least = [
                min(p[quantity] for p in of) for of in (script["chosen"](adc=adc), script["lossless"](adc))
            ]
            assert drawn[-2:] == [[value] for value in least]
