"""`xbar estimate`: totals against the estimate itself, explanations that add up, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save as save_arrays
from safetensors.torch import save

from experiments.commands.cli import main
from experiments.commands.networks.estimate_text import explain, lossless_text, text
from experiments.commands.networks.mappings import mapped
from experiments.inputs.networks import build_network
from experiments.run_folder.finished import ACTIVITY_FILE, MAPPING_FILE
from experiments.studies.study import load_study
from mapping import map_network, save_mapping
from power.architecture.chip import load_architecture
from power.estimates.table import estimate
from power.estimates.totals import at_one_rate
from xbar import load_hardware

CHARGED = set(load_architecture("isaac-periphery").components) - {"hyper_transport"}


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["estimate", *arguments])
    return capsys.readouterr().out


def write_drivers(path: Path, leakage_mw: float) -> Path:
    """ISAAC's library with the blocks that it has not, at prices of the test's own."""
    names = {"row_driver": "row drive", "column_driver": "bit line in a phase", "mux": "conversion"}
    names |= {"rescale": "column rescaled", "factor_register": "byte read", "embedding": "byte looked up"}
    names |= {"digital_adder": "addition", "digital_multiplier": "product", "digital_divider": "quotient"}
    names |= {"digital_comparator": "comparison", "digital_function": "exponential"}
    parts = []
    for name, event in names.items():
        leak = f"leakage_mw = {leakage_mw}" if name == "mux" else ""
        parts.append(
            f"""[components.{name}]
source = "a guess of this test"
node_nm = 32.0
kind = "analog"
per = "group"
unit = "line"
count = 10
area_mm2 = 1e-5
power_mw = 1.0
rate_per_s = 1e8
event = "{event}"
{leak}"""
        )
    head = 'name = "drivers"\nsource = "a test"\nbase = "isaac"\n'
    path.write_text(head + "\n".join(parts))
    return path


def test_a_built_in_network_needs_no_weights() -> None:
    larger = ["hardware.crossbar.rows=128", "hardware.crossbar.cols=64"]
    (mapping,) = mapped("resnet18", changes=larger).values()
    result = estimate(mapping)
    assert (result.conductances, result.inputs) == ("worst", "worst")
    assert result.dense_operations == 2 * 1_814_073_344  # torchvision's 1.81 GMAC
    assert result.operations == result.dense_operations


def test_weights_that_a_study_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are those of `--weights FILE`, which go before them; the worst case of unknown ones was taken."""
    file, other = tmp_path / "some.safetensors", tmp_path / "other.safetensors"
    for path, factor in ((file, 0.0), (other, 1.0)):
        network = build_network(load_study("digits").network)
        last = list(network.parameters())[-2]
        last.data[:, 1:] *= factor
        path.write_bytes(save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}))
    named = [f"train.weights={file}"]
    (unknown,) = mapped("digits").values()
    (known,) = mapped("digits", changes=named).values()
    (given,) = mapped("digits", weights=file).values()
    assert estimate(unknown).conductances == "worst"
    assert estimate(known).conductances == "target"
    assert estimate(known).energy_nj_per_image == estimate(given).energy_nj_per_image
    (before,) = mapped("digits", changes=named, weights=other).values()
    assert estimate(before).energy_nj_per_image > 1.01 * estimate(known).energy_nj_per_image
    assert "inputs: the worst case" in printed(capsys, "digits", "--set", named[0])
    with pytest.raises(SystemExit):
        main(["estimate", "digits", "--set", "train.weights=none.safetensors"])
    assert "weights none.safetensors: no such file" in capsys.readouterr().err


def test_totals_are_those_of_the_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    (mapping,) = mapped("lenet5").values()
    result = estimate(mapping)
    shown = printed(capsys, "lenet5", "--layers")
    notes = [lossless_text({"admm-32x32": mapping})]
    assert text("lenet5", {"admm-32x32": result}, layers=True, notes=notes) + "\n" == shown
    rows = {line.split("  ")[0].strip(): line.split() for line in shown.splitlines() if line}
    assert float(rows["area"][-2].replace(",", "")) == pytest.approx(result.area_mm2, rel=1e-3)
    share = 100 * result.by_layer["conv2"]["energy_nj"] / result.energy_nj_per_image
    assert rows["conv2"][-2:] == [f"{share:.1f}", "%"]


def test_two_designs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coarse = tmp_path / "coarse.toml"
    design = (Path(__file__).parents[4] / "xbar" / "hardware" / "designs" / "admm-32x32.toml").read_text()
    coarse.write_text(design.replace("bits = 9\n", "bits = 6\n").replace('"admm-32x32"', '"coarse"'))
    shown = printed(capsys, "lenet5", "--against", str(coarse))
    first, second = (estimate(one) for one in mapped("lenet5", "", (str(coarse),)).values())
    assert second.by_component["adc"]["energy_nj"] == pytest.approx(
        first.by_component["adc"]["energy_nj"] * 1.20 / 1.969
    )
    less = f"{100 * (1 - second.area_mm2 / first.area_mm2):.1f} %"
    (row,) = [line for line in shown.splitlines() if line.startswith("area  ")]
    assert row.endswith(less)


def test_any_number_of_designs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coarse = tmp_path / "coarse.toml"
    design = (Path(__file__).parents[4] / "xbar" / "hardware" / "designs" / "admm-32x32.toml").read_text()
    coarse.write_text(design.replace("bits = 9\n", "bits = 6\n").replace('"admm-32x32"', '"coarse"'))
    figure = tmp_path / "costs.svg"
    others = ["--against", "isaac", "--against", str(coarse)]
    shown = printed(capsys, "lenet5", *others, "--figure", str(figure))
    results = [estimate(one) for one in mapped("lenet5", "", ("isaac", str(coarse))).values()]
    (head,) = [line for line in shown.splitlines() if "less, isaac" in line]
    assert head.split("  ")[-1].strip() == "less, coarse"
    (area,) = [line.split() for line in shown.splitlines() if line.startswith("area  ")]
    assert [float(cell) for cell in area[1:4]] == pytest.approx([r.area_mm2 for r in results], rel=1e-3)
    cuts = [f"{100 * (1 - other.area_mm2 / results[0].area_mm2):.1f}" for other in results[1:]]
    assert [cell for cell in area[5:] if cell != "%"] == cuts
    at_lowest = at_one_rate(*results)
    power, _ = [line.split() for line in shown.splitlines() if line.startswith("power at it")]
    assert [float(cell) for cell in power[3:6]] == pytest.approx([r.power_mw for r in at_lowest], rel=1e-3)
    assert power[-2] == f"{100 * (1 - at_lowest[2].power_mw / at_lowest[0].power_mw):.1f}"
    assert figure.stat().st_size > 1000


@pytest.mark.parametrize("component", sorted(CHARGED))
def test_an_explanation_adds_up(component: str, tmp_path: Path) -> None:
    library = write_drivers(tmp_path / "drivers.toml", leakage_mw=0.5)
    (mapping,) = mapped("lenet5", changes=[f"hardware.periphery.library={library}"]).values()
    result = estimate(mapping)
    lines = explain("admm-32x32", result, component).splitlines()
    assert any(line.startswith("source: ") and len(line) > 20 for line in lines)
    start = next(i for i, line in enumerate(lines) if line.startswith("layer "))
    cells = [[float(c.replace(",", "")) for c in line.split()[1:]] for line in lines[start + 1 : -1]]
    leaks_w = 0.5e-3 / 10 if component == "mux" else 0.0
    for events, each, dynamic, leakage, energy, units, bought, unit, area in cells:
        assert leakage == pytest.approx(bought * leaks_w * 1e9 / result.image_rate_per_s, rel=2e-3)
        assert dynamic == pytest.approx(events * each * 1e-3, rel=2e-3)
        assert energy == pytest.approx(dynamic + leakage, rel=2e-3)
        assert area == pytest.approx(units * unit * 1e-6, rel=2e-3)
        assert (leakage > 0) == (component == "mux")
    assert ("leakage: not modelled" in lines) == (component != "mux")
    dynamic, leakage, energy, area = (float(c.replace(",", "")) for c in lines[-1].split()[1:])
    assert dynamic == pytest.approx(sum(row[2] for row in cells), rel=2e-3)
    assert leakage == pytest.approx(sum(row[3] for row in cells), rel=2e-3)
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
    bought = sum(float(row["allocated_units"]) * float(row["unit_area_um2"]) * 1e-6 for row in rows)
    assert bought == pytest.approx(result["area_allocated_mm2"])
    assert sum(float(row["allocated_mm2"]) for row in rows) == pytest.approx(bought)
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


def test_what_a_run_costs_is_priced_anew_and_what_it_is_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a finished run: measured inputs, another library, the pulses of its chip; not other tiles."""
    main(["run", "digits", "--plan"])
    (tmp_path / "study.toml").write_text(capsys.readouterr().out)
    torch.manual_seed(0)
    model = build_network("lenet-digits")
    mapping = map_network(model, load_hardware("admm-32x32"), torch.rand(1, 1, 8, 8))
    save_mapping(mapping, tmp_path / MAPPING_FILE)
    activity = {name: np.full(layer.inputs, 2.0) for name, layer in mapping.layers.items()}
    (tmp_path / ACTIVITY_FILE).write_bytes(save_arrays(activity))
    pulse = "hardware.device.pulse={voltage=2.0, width=1e-7, source='a guess'}"
    shown = printed(capsys, str(tmp_path), "--programming", "--set", pulse)
    cells = 2 * sum(layer.weights_total for layer in mapping.layers.values())
    assert "inputs: measured" in shown
    assert "(pulse: a guess)" in shown
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line}
    written = sum(int(rows[name][2].replace(",", "")) for name in mapping.layers if len(rows[name]) > 4)
    assert written == cells
    changes = ["--set", f"hardware.periphery.library={write_drivers(tmp_path / 'mine.toml', 0.0)}"]
    assert "mux" in printed(capsys, str(tmp_path), *changes)
    plain = json.loads(printed(capsys, str(tmp_path), "--programming", "--json", "--set", pulse))
    assert plain["admm-32x32"]["programming"]["pulses"] == cells
    with pytest.raises(SystemExit, match="2"):
        main(["estimate", str(tmp_path), "--set", "hardware.crossbar.rows=64"])
    assert "a finished run keeps what it was mapped and measured on; allowed" in capsys.readouterr().err


def test_copies_and_converters_of_each_layer(capsys: pytest.CaptureFixture[str]) -> None:
    design = ["--set", "hardware.crossbar.rows=16", "--set", "hardware.adc.bits=4"]
    shown = printed(capsys, "lenet5", *design)
    assert "ADC bits that lose nothing: 9; admm-32x32 has 4" in shown
    lossless = json.loads(printed(capsys, "lenet5", *design, "--lossless-adc", "--json"))["admm-32x32"]
    assert lossless["adc"] == "isaac-scaled-adc, 9 bits"
    single = json.loads(printed(capsys, "lenet5", *design, "--json"))["admm-32x32"]
    copied = json.loads(printed(capsys, "lenet5", *design, "--json", "--arrays", "4000"))["admm-32x32"]
    assert single["arrays"] < copied["arrays"] <= 4000
    assert copied["peak_image_rate_per_s"] > 5 * single["peak_image_rate_per_s"]
    assert copied["energy_nj_per_image"] == pytest.approx(single["energy_nj_per_image"])


def test_the_nameplate_of_isaac(capsys: pytest.CaptureFixture[str]) -> None:
    main(["nameplate", "isaac", "--tiles", "168", "--links"])
    shown = capsys.readouterr().out
    assert "peak 41,288 GOPS (two a multiply-accumulate), 627.4 GOPS/W, 483.2 GOPS/mm2" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet19"], "did you mean 'resnet18'"),
        (["lenet5", "--explain", "rooter"], "did you mean 'router'"),
        (["lenet5", "--hardware", "ideal"], "dac.bits = 'ideal': has no cost entry"),
        (["lenet5", "--image-rate", "0"], "must be a positive number of images a second"),
        (["lenet5", "--image-rate", "3000"], "image_rate = 3000: above the 2170.14 images a second at which"),
        (["lenet5", "--figure", "costs.gif"], "must end in .svg, .png or .pdf"),
        (["lenet5", "--json", "--explain", "adc"], "choose one"),
        (["digits", "--width", "2"], "is a study, which sets its own width"),
        (
            ["lenet5", "--against", "admm-32x32", "--against", "admm-32x32"],
            "is compared already; name another design",
        ),
        ([".", "--against", "ideal"], "a finished run is on its own hardware"),
        (["lenet5", "--csv", ""], "--csv .: is a folder; must be the path of a file"),
        (["lenet5", "--programming"], "needs weights, and so the folder of a finished run"),
        (["lenet5", "--arrays", "800"], "arrays = 800: too few; the layers with their copies need 898"),
        (["lenet5", "--lossless-adc"], "--lossless-adc: adc.bits = 10: the component library"),
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
