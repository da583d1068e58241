"""The README quotes the kept runs, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from experiments.run_folder.ids import simulated
from experiments.studies.study import load_study, resolve_study
from xbar.conductances.encoding import levels

ROOT = Path(__file__).resolve().parents[3]
KEPT = sorted((ROOT / "results").glob("*-seed*.json"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_run_is_of_the_built_in_study(path: Path) -> None:
    """So that the row's command gives it; hardware may have got keys that cost only."""
    result = json.loads(path.read_text(encoding="utf-8"))
    kept = resolve_study(result["study"], path.name)
    built_in = load_study(result["name"], seed=result["seed"])
    assert dataclasses.replace(kept, hardware=built_in.hardware) == built_in
    assert simulated(kept.hardware) == simulated(built_in.hardware)


def test_the_readme_s_table_is_a_dozen_rows_of_the_table_of_all_kept_runs() -> None:
    script = runpy.run_path(str(ROOT / "results" / "table.py"))
    rows, chosen = script["rows"](), script["readme_rows"]()
    assert len(rows) >= 70
    assert len(chosen) == 12
    assert set(chosen) <= set(rows)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("<!-- rows of `python results/table.py readme` -->")[1]
    assert table.split("<!-- end of rows -->")[0].strip().splitlines()[2:] == chosen
    published = [row.split("|")[2].strip() for row in chosen]
    assert published.count("") == 1  # noise of a chip, which no paper of these prints
    page = (ROOT / "docs" / "reproductions.md").read_text(encoding="utf-8")
    assert "\n<!-- rows -->\n" in page  # where the site has all of them


def test_rows_stand_alone_and_name_the_copy_of_cifar() -> None:
    """Each row says what it is of, and no two are alike."""
    rows = runpy.run_path(str(ROOT / "results" / "table.py"))["rows"]()
    labels = [row.split("|")[1].strip() for row in rows]
    assert len(set(labels)) == len(labels)
    for row, label in zip(rows, labels, strict=True):
        if "cifar" in row.lower():
            assert "CIFAR-10 (JPEG copy)" in label or ("for CIFAR-10" in label and "no data" in label), row


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_runs_are_of_studies_that_still_resolve(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    study = resolve_study(result["study"], path.name)
    assert f"seed{study.seed}" in path.stem
    assert result["compression"]["rate"] >= study.compress.rate
    assert result["accuracy"]["chips"]["n"] == study.chips.n
    assert path.stat().st_size < 1 << 20


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results" / "weights").glob("*.safetensors")), ids=lambda path: path.stem
)
def test_kept_weights_are_those_of_their_result(path: Path) -> None:
    """As many are not zero as the result says, and those of one scale are on no more values than there are
    levels."""
    state = runpy.run_path(str(ROOT / "results" / "keep.py"))["kept_weights"](path.stem)
    result = json.loads((ROOT / "results" / f"{path.stem}.json").read_text(encoding="utf-8"))
    hardware = resolve_study(result["study"], path.name).hardware
    most = 2 * len(levels(hardware.encoding, hardware.device))
    for name, layer in result["compression"]["layers"].items():
        weight = state[f"{name}.weight"]
        assert weight.count_nonzero() == layer["weights_kept"], name
        for part in weight if hardware.encoding.scale == "column" else weight[None]:
            assert len(part[part != 0].unique()) <= most, name
    assert path.stat().st_size <= 2 << 20


@pytest.mark.parametrize(("script", "count"), [("fault_aware", 15), ("noise_aware", 8)])
def test_the_page_on_physics_has_the_kept_tables(
    script: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "results")
    rows = runpy.run_path(str(ROOT / "results" / f"{script}.py"))["rows"]()
    assert len(rows) == count
    page = (ROOT / "docs" / "physics.md").read_text(encoding="utf-8")
    table = page.split(f"<!-- rows of `python results/{script}.py rows` -->")[1].split("<!-- end of rows -->")
    assert table[0].strip().splitlines()[2:] == rows


def test_the_page_on_reductions_has_the_kept_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "results")
    script = runpy.run_path(str(ROOT / "results" / "reductions.py"))
    kept = json.loads((ROOT / "results" / "reductions.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "reductions.md").read_text(encoding="utf-8")
    tables = script["tables"](kept)
    assert len(tables) == page.count("<!-- rows of ") == 7
    for name, rows in tables.items():
        table = page.split(f"<!-- rows of `python results/reductions.py`: {name} -->")[1]
        assert table.split("<!-- end of rows -->")[0].strip().splitlines()[2:] == rows, name


@pytest.mark.slow
def test_kept_reductions_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "results")
    script = runpy.run_path(str(ROOT / "results" / "reductions.py"))
    kept = json.loads((ROOT / "results" / "reductions.json").read_text(encoding="utf-8"))["networks"]
    again = script["reductions_of"]("ResNet-18")
    assert _numbers(again) == pytest.approx(_numbers(kept["ResNet-18"]), rel=1e-9)


def _numbers(entry: Any) -> dict[str, float]:
    """Every number of nested dicts by its path."""
    if not isinstance(entry, dict):
        return {"": entry}
    return {f"{key}/{path}": value for key in entry for path, value in _numbers(entry[key]).items()}


def test_the_page_on_noise_has_the_kept_tables_and_pictures(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "results" / "under_noise.py"))
    page = (ROOT / "docs" / "under-noise.md").read_text(encoding="utf-8")
    for what, count, rows in (("rows", 49, script["rows"]()), ("layer rows", 4, script["layer_rows"]())):
        table = page.split(f"<!-- {what} of `python results/under_noise.py rows` -->")[1]
        assert table.split(f"<!-- end of {what} -->")[0].strip().splitlines()[2:] == rows
        assert len(rows) == count
    for drawn in script["draw"](tmp_path):
        assert f"(under-noise/{drawn.name})" in page
        assert drawn.read_bytes() == (ROOT / "docs" / "under-noise" / drawn.name).read_bytes()


def test_the_kept_run_under_noise_is_of_its_study() -> None:
    result = json.loads((ROOT / "results" / "accuracy-under-noise.json").read_text(encoding="utf-8"))
    kept, now = resolve_study(result["study"], "kept"), load_study("accuracy-under-noise")
    assert kept == now
    points = [point for curve in result["accuracy"]["under_noise"] for point in curve["points"]]
    assert all(point["settled"] or point["n"] == now.chips.n for point in points)
    assert [len(curve["points"]) for curve in result["accuracy"]["under_noise"]] == [
        len(curve.values) for curve in now.under_noise
    ]


def test_the_page_on_reductions_quotes_the_kept_run() -> None:
    """Every row of its three tables, from the run that it names."""
    page = (ROOT / "docs" / "reductions.md").read_text(encoding="utf-8")
    rows = {
        cells[0]: cells[1:]
        for line in page.splitlines()
        if line.startswith("| ") and (cells := [cell.strip() for cell in line.strip("|").split("|")])
    }
    result = json.loads((ROOT / "results" / "lenet5-mnist-seed0.json").read_text(encoding="utf-8"))
    before, after = result["estimate"]["before"], result["estimate"]["after"]

    def quoted(start: str) -> list[float]:
        (row,) = [cells for name, cells in rows.items() if name.startswith(start)]
        return [float(cell.replace(",", "").rstrip(" %")) for cell in row]

    c = result["compression"]
    pairs = {
        "cells that hold": (2 * c["weights_total"], c["weights_kept"], 0.5),
        "arrays, both": (before["arrays"], after["arrays"], 0.5),
        "area: arrays": (before["area_mm2"], after["area_mm2"], 6e-4),
        "area in whole": (before["area_whole_tiles_mm2"], after["area_whole_tiles_mm2"], 6e-4),
        "energy an image": (before["energy_nj_per_image"], after["energy_nj_per_image"], 0.6),
    }
    for start, (old, new, tolerance) in pairs.items():
        assert quoted(start)[:2] == pytest.approx([old, new], abs=tolerance), start
        assert quoted(start)[2] == pytest.approx(100 * (1 - new / old), abs=0.006), start
    for layer in ("conv1", "conv2", "fc1", "fc2"):
        sides = [side["by_layer"][layer]["energy_nj"] for side in (before, after)]
        assert quoted(layer)[1:3] == pytest.approx(sides, abs=0.06), layer
        assert quoted(layer)[3] == pytest.approx(100 * (1 - sides[1] / sides[0]), abs=0.06), layer
    for start, parts in {
        "ADC": ["adc"],
        "DAC": ["dac"],
        "input register": ["input_register"],
        "output registers": ["output_register", "tile_output_register"],
        "eDRAM": ["edram"],
        "bus": ["bus"],
        "router": ["router"],
        "array (cells)": ["array"],
        "index": ["index"],
    }.items():
        expected = [
            sum(side["by_component"][part][key] for part in parts)
            for key in ("area_mm2", "energy_nj")
            for side in (before, after)
        ]
        assert quoted(start)[:2] == pytest.approx(expected[:2], abs=6e-5), start
        assert quoted(start)[2:] == pytest.approx(expected[2:], abs=0.06), start
