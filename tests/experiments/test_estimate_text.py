"""`xbar estimate`: totals against the estimate itself, explanations that add up, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.estimate_text import explain, mapped, text
from mapping import save_mapping
from power.estimate import estimate
from power.events import FORMULAS


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["estimate", *arguments])
    return capsys.readouterr().out


def test_a_built_in_network_needs_no_weights() -> None:
    larger = ["hardware.crossbar.rows=128", "hardware.crossbar.cols=64"]
    (mapping,) = mapped("resnet18", changes=larger).values()
    result = estimate(mapping)
    assert (result.conductances, result.inputs) == ("worst", "worst")
    assert result.dense_operations == 2 * 1_814_073_344  # torchvision's 1.81 GMAC
    assert result.operations == result.dense_operations


def test_totals_are_those_of_the_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    (mapping,) = mapped("lenet5").values()
    result = estimate(mapping)
    shown = printed(capsys, "lenet5", "--layers")
    assert text("lenet5", {"admm-32x32": result}, layers=True) + "\n" == shown
    rows = {line.split("  ")[0].strip(): line.split() for line in shown.splitlines() if line}
    assert float(rows["area"][-2].replace(",", "")) == pytest.approx(result.area_mm2, rel=1e-3)
    share = 100 * result.by_layer["conv2"]["energy_nj"] / result.energy_nj_per_image
    assert rows["conv2"][-2:] == [f"{share:.1f}", "%"]


def test_two_designs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coarse = tmp_path / "coarse.toml"
    design = (Path(__file__).parents[2] / "xbar" / "designs" / "admm-32x32.toml").read_text()
    coarse.write_text(design.replace("bits = 9\n", "bits = 6\n").replace('"admm-32x32"', '"coarse"'))
    shown = printed(capsys, "lenet5", "--against", str(coarse))
    first, second = (estimate(one) for one in mapped("lenet5", "", str(coarse)).values())
    assert second.by_component["adc"]["energy_nj"] == pytest.approx(
        first.by_component["adc"]["energy_nj"] * 1.20 / 1.969
    )
    less = f"{100 * (1 - second.area_mm2 / first.area_mm2):.1f} %"
    (row,) = [line for line in shown.splitlines() if line.startswith("area ") and "whole" not in line]
    assert row.endswith(less)


@pytest.mark.parametrize("component", FORMULAS)
def test_an_explanation_adds_up(component: str) -> None:
    (mapping,) = mapped("lenet5").values()
    result = estimate(mapping)
    lines = explain("admm-32x32", result, component).splitlines()
    assert any(line.startswith("source: ") and len(line) > 20 for line in lines)
    start = next(i for i, line in enumerate(lines) if line.startswith("layer "))
    cells = [[float(c.replace(",", "")) for c in line.split()[1:]] for line in lines[start + 1 : -1]]
    for events, each, energy, units, unit, area in cells:
        assert energy == pytest.approx(events * each * 1e-3, rel=2e-3)
        assert area == pytest.approx(units * unit * 1e-6, rel=2e-3)
    energy, area = (float(c.replace(",", "")) for c in lines[-1].split()[1:])
    assert energy == pytest.approx(result.by_component[component]["energy_nj"], rel=1e-3)
    assert area == pytest.approx(result.by_component[component]["area_mm2"], rel=1e-3)


def test_json_csv_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, figure = tmp_path / "rows.csv", tmp_path / "new" / "costs.pdf"
    shown = printed(
        capsys, "lenet5", "--json", "--case", "mean", "--csv", str(table), "--figure", str(figure)
    )
    result = json.loads(shown)["admm-32x32"]
    assert (result["inputs"], result["conductances"]) == ("mean", "mean")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert sum(float(row["energy_nj"]) for row in rows) == pytest.approx(result["energy_nj_per_image"])
    assert sum(float(row["area_mm2"]) for row in rows) == pytest.approx(result["area_mm2"])
    assert figure.read_bytes().startswith(b"%PDF")


def test_a_study_is_mapped_on_its_own_hardware_and_a_run_as_it_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (name,) = mapped("vgg16-cifar10")
    assert name == "admm-128x64"
    (mapping,) = mapped("digits").values()
    main(["run", "digits", "--plan"])
    (tmp_path / "study.toml").write_text(capsys.readouterr().out)
    save_mapping(mapping, tmp_path / "mapping.safetensors")
    assert printed(capsys, str(tmp_path), "--explain", "adc") == printed(capsys, "digits", "--explain", "adc")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet19"], "did you mean 'resnet18'"),
        (["lenet5", "--explain", "rooter"], "did you mean 'router'"),
        (["lenet5", "--hardware", "ideal"], "dac.bits = 'ideal': has no cost entry"),
        (["lenet5", "--image-rate", "0"], "must be a positive number of images a second"),
        (["lenet5", "--figure", "costs.gif"], "must end in .svg, .png or .pdf"),
        (["lenet5", "--json", "--explain", "adc"], "choose one"),
        (["digits", "--width", "2"], "is a study, which has its own"),
        ([".", "--against", "ideal"], "a finished run is on its own hardware"),
        (["."], "holds no run of xbar"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["estimate", *arguments])
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
