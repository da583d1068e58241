"""Zero is a price: what a chip of no energy or no area gives."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from power_cases import hardware, network, unpacked

from experiments.commands.networks.estimate_text import text
from experiments.commands.networks.nameplate_text import nameplate_text
from experiments.figures.estimate_plots import estimate_figure
from experiments.results.result import Side
from power.estimates.nameplate import nameplate
from power.estimates.table import estimate
from power.estimates.totals import Estimate, reduction_percent
from xbar.hardware.design import Hardware
from xbar.hardware.files import build

FREE = """
name = "free"
source = "a test"
levels = [{ name = "array" }, { name = "chip" }]
[components.array]
level = "array"
count = 1
events = "array_reads"
rate = "1 / t_read"
[components.array.price]
energy_pj = 0.0
area_um2 = %s
source = "a test"
node_nm = 32.0
kind = "analog"
event = "read"
unit = "array"
"""


def free(folder: Path, area_um2: float = 0.0) -> tuple[Hardware, Estimate]:
    path = folder / "free.toml"
    path.write_text(FREE % area_um2)
    design = hardware(
        periphery__architecture=str(path), periphery__arrays_per_group=8, periphery__groups_per_tile=12
    )
    return design, estimate(network(design, unpacked(design, 16, 4, positions=3)))


def test_a_chip_that_costs_nothing_is_infinitely_efficient(tmp_path: Path) -> None:
    """Each of these ended in a ZeroDivisionError."""
    design, found = free(tmp_path)
    assert (found.energy_nj_per_image, found.area_mm2, found.power_mw) == (0, 0, 0)
    assert found.tops > 0
    assert found.tops_per_w == found.tops_per_mm2 == math.inf
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["tops_per_w"] is plain["tops_per_mm2"] is None
    assert build(Side, found.to_dict(), "estimate").tops_per_w is None
    plate = nameplate(design)
    assert plate.gops_per_w == plate.gops_per_mm2 == math.inf
    assert "inf GOPS/W" in nameplate_text("free", plate)


def test_nothing_is_less_than_nothing(tmp_path: Path) -> None:
    costly, costs_nothing = free(tmp_path, 10.0)[1], free(tmp_path)[1]
    same = {"area": 0, "power": 0, "energy": 0, "dynamic": 0}
    assert reduction_percent(costs_nothing, costs_nothing) == same
    assert reduction_percent(costly, costs_nothing) == {**same, "area": 100}
    assert reduction_percent(costs_nothing, costly) == {**same, "area": -math.inf}


def test_only_what_is_zero_divides_to_infinity(tmp_path: Path) -> None:
    found = free(tmp_path, 10.0)[1]
    assert found.tops_per_w == math.inf
    assert found.tops_per_mm2 == pytest.approx(found.tops / (8 * 10e-6))
    assert found.to_dict()["tops_per_mm2"] == found.tops_per_mm2


def test_the_text_of_a_chip_that_costs_nothing(tmp_path: Path) -> None:
    """And its figure."""
    found = free(tmp_path)[1]
    said = text("net", {"free": found}, layers=True) + text("net", {"free": found, "same": found})
    estimate_figure({"free": found})
    assert "inf" in said
    assert "nan" not in said


def test_no_image_takes_what_leaks(tmp_path: Path) -> None:
    assert free(tmp_path)[1].power_mw_at(0) == 0
    leaky = hardware(periphery__library="isaac-aladdin", periphery__scaling="stillmaker-baas")
    found = estimate(network(leaky, unpacked(leaky, 16, 4, positions=3)))
    assert found.power_mw_at(0) == pytest.approx(found.leakage_mw)
    assert found.power_mw_at(0) == pytest.approx(found.power_mw_at(1e-6), rel=1e-9)
