"""`xbar export`: the chip on file is the chip that the run measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_study import SMALL, result_of_run

from experiments.commands.cli import main
from experiments.stages.measure import networks
from experiments.stages.run import prepare
from experiments.stages.train import split_masks
from experiments.studies.study import load_study
from mapping import accuracy, analog_network, input_volts, tile_netlist
from mapping.lab.chip_file import load_chip, load_mapping
from mapping.training.checkpoints import load_checkpoint

CASES = (
    'chips.cases=[{name="written", programming={kind="lognormal", sigma=0.3}}, '
    '{name="drifted", time=1e6, compensation="column", p_stuck_g_max=0.05, around_faults=true}]'
)
QUICK = [f"{room}.retrain_epochs=0" for room in ("compress", "quantise")]
DEVICE = 'hardware.device={base="admm-10mohm", drift={t0=1.0, nu={intercept=0.1}, nu_sigma={intercept=0.05}}}'


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    run = tmp_path_factory.mktemp("run") / "small"
    return run, result_of_run(load_study("digits", [*SMALL, *QUICK, DEVICE, CASES]), None, run)


@pytest.mark.parametrize(("case", "chip"), [("", 1), ("drifted", 0)])
def test_the_chip_on_file_has_the_accuracy_of_the_run(finished, tmp_path: Path, case: str, chip: int) -> None:
    folder, result = finished
    main(["export", str(folder), "--out", str(tmp_path / "out"), "--case", case, "--chip", str(chip)])
    loaded = load_chip(tmp_path / "out" / f"chip{chip}.safetensors")
    moved = any(tile.places is not None for layer in loaded.mapped.layers.values() for tile in layer.tiles)
    compensated = any(layer.compensation is not None for layer in loaded.layers.values())
    assert compensated == moved == (case == "drifted")
    plan = prepare(load_study(str(folder / "study.toml")), None, folder)
    network = plan.network.on_crossbars(plan.network.form.state_dict())
    (weights,) = (folder / "stages").glob("quantise-*.safetensors")
    network.load_state_dict(split_masks(load_checkpoint(weights)[0])[0])
    with torch.no_grad():
        measured = accuracy(analog_network(network, loaded), *plan.context.test_batches("chip"))
    assert measured == result["accuracy"]["chips_cases"][1 if case else 0]["per_chip"][chip]


def test_the_mapping_of_the_run_is_exported(finished, tmp_path: Path) -> None:
    folder, result = finished
    main(["export", str(folder), "--out", str(tmp_path / "out"), "--format", "csv"])
    mapped = load_mapping(tmp_path / "out" / "mapping.safetensors")
    assert mapped == load_mapping(folder / "mapping.safetensors")
    index = json.loads((tmp_path / "out" / "conductances" / "index.json").read_text())
    assert len(index["tiles"]) == 2 * result["mapping"]["tiles_per_plane_after"]
    assert all((tmp_path / "out" / "conductances" / tile["file"]).is_file() for tile in index["tiles"])


@pytest.mark.parametrize("image", [False, True])
def test_netlists_of_a_layer(finished, tmp_path: Path, image: bool) -> None:
    folder, _ = finished
    layer = next(iter(load_mapping(folder / "mapping.safetensors").layers))
    asked = ["--image", "2", "--position", "12", "--phase", "6"] if image else []
    main(["export", str(folder), "--out", str(tmp_path / "out"), "--chip", "1", "--spice", layer, *asked])
    chip = load_chip(tmp_path / "out" / "chip1.safetensors")
    volts = None
    if image:
        plan = prepare(load_study(str(folder / "study.toml")), None, folder)
        x = plan.context.data.test_x[2:3]
        network = networks(plan, load_study(str(folder / "study.toml"))).quantised.network
        volts = input_volts(chip.mapped, network, x, layer)[6, 12]
        assert set(np.unique(volts)) == {0.0, chip.mapped.hardware.dac.v_read}
    found = sorted((tmp_path / "out" / "spice").iterdir())
    assert len(found) == 2 * len(chip.mapped.layers[layer].tiles)
    assert found[1].read_text() == tile_netlist(chip, layer, plane=1, volts=volts)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["export", *arguments])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    return message


def test_mistakes_are_refused_before_anything_is_written(finished, tmp_path: Path, capsys) -> None:
    folder, out = str(finished[0]), tmp_path / "out"
    to_out = ("--out", str(out))
    assert "holds no run of xbar" in refusal(capsys, str(tmp_path), *to_out)
    assert "did you mean 'drifted'" in refusal(capsys, folder, *to_out, "--case", "drifte")
    assert "chip = -1: must be a whole number" in refusal(capsys, folder, *to_out, "--chip", "-1")
    assert "layer: unknown name 'conv9'" in refusal(capsys, folder, *to_out, "--spice", "conv9")
    assert "have an effect with --spice LAYER only" in refusal(capsys, folder, *to_out, "--image", "0")
    layer = next(iter(load_mapping(finished[0] / "mapping.safetensors").layers))
    netlist = (*to_out, "--spice", layer)
    assert "phase = 1: has an effect with an image only" in refusal(capsys, folder, *netlist, "--phase", "1")
    assert "image = -1: there are" in refusal(capsys, folder, *netlist, "--image", "-1")
    assert "phase = 99: there are" in refusal(capsys, folder, *netlist, "--image", "0", "--phase", "99")
    assert not out.exists()
    assert "is not an empty folder" in refusal(capsys, folder, "--out", folder)
    (tmp_path / "study.toml").write_bytes((finished[0] / "study.toml").read_bytes())
    assert "--resume` goes on until it has one" in refusal(capsys, str(tmp_path), *to_out)
