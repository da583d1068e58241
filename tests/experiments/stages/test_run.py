"""A run from data to report: the contract of result.json, and going on after a kill."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from small_study import SMALL, comparable, result_of_run
from torch import nn

from experiments.commands.networks.mappings import mapped
from experiments.inputs import data as datasets
from experiments.inputs.networks import build_network
from experiments.plans.context import Context
from experiments.report.run_report import report_run
from experiments.results.summary import chip_statistics, finite_test_set_ci95, interval_of_images
from experiments.run_folder.folder import finished_chips
from experiments.run_folder.stage import run_stage
from experiments.stages.run import prepare
from experiments.stages.train import split_masks
from experiments.studies.study import load_study
from mapping.lab.chip_file import load_mapping
from mapping.network.gemm import mappable_layers, to_gemm
from mapping.smaller_networks.unused_paths import remove_unused_paths
from mapping.tiles.mapper import without_weights
from mapping.training.checkpoints import load_checkpoint
from power.estimates.table import estimate
from xbar import XbarError

BUDGET = ["compress.method=budget", "compress.budget={epochs=2}"]
BYTES = [*BUDGET, "compress.target=bytes", "compress.bytes=600"]

CONTRACT = """
accuracy.float accuracy.compressed accuracy.quantised accuracy.ideal_chip
accuracy.chips.mean accuracy.chips.std accuracy.chips.ci95_low accuracy.chips.ci95_high accuracy.chips.n
compression.rate compression.weights_total compression.weights_kept compression.counted
mapping.tile_rows mapping.tile_cols mapping.tiles_per_plane_before mapping.tiles_per_plane_after
mapping.utilisation
estimate.before.area_mm2 estimate.before.power_mw estimate.before.energy_nj_per_image
estimate.before.latency_us_per_image estimate.after.area_mm2 estimate.after.power_mw
estimate.after.energy_nj_per_image estimate.after.latency_us_per_image
estimate.reduction_percent.area estimate.reduction_percent.power estimate.reduction_percent.energy
seconds.total seconds.train seconds.compress seconds.map seconds.infer seed versions study
""".split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("run") / "small"
    return out, result_of_run(load_study("digits", SMALL), None, out)


@pytest.mark.parametrize("key", CONTRACT)
def test_contract_of_the_result(finished: tuple[Path, dict], key: str) -> None:
    value = json.loads((finished[0] / "result.json").read_text())
    for part in key.split("."):
        value = value[part]
    assert value is not None
    assert not isinstance(value, float) or math.isfinite(value)


def test_the_figures_agree_with_each_other(finished: tuple[Path, dict]) -> None:
    result = finished[1]
    c, e = result["compression"], result["estimate"]
    assert c["rate"] == c["weights_total"] / c["weights_kept"] >= result["study"]["compress"]["rate"]
    assert c["weights_total"] == 22416
    for cut, key in (("area", "area_mm2"), ("energy", "energy_nj_per_image"), ("power", "power_mw")):
        expected = 100 * (1 - e["after"][key] / e["before"][key])
        assert e["reduction_percent"][cut] == pytest.approx(expected)
    assert e["before"]["slices"] == 2
    assert e["before"]["weight_bits"] == 9
    assert e["after"]["weight_bits"] == 5
    assert e["before"]["image_rate_per_s"] == e["after"]["image_rate_per_s"]
    assert result["mapping"]["tiles_per_plane_before"] == 26
    seconds = result["seconds"]
    parts = sum(seconds[key] for key in ("train", "compress", "map", "infer"))
    assert seconds["total"] == pytest.approx(parts)


def test_what_pruning_alone_saves(finished: tuple[Path, dict]) -> None:
    """The network before pruning, on the cells of the compressed one: 26 tiles of a slice a plane, where 2
    slices take twice as many arrays."""
    estimate = finished[1]["estimate"]
    before, unpruned, after = (estimate[side] for side in ("before", "unpruned", "after"))
    assert (unpruned["slices"], unpruned["weight_bits"]) == (1, 5)
    assert unpruned["arrays"] == 2 * 26
    assert before["arrays"] > unpruned["arrays"] > after["arrays"]
    assert (
        unpruned["dense_operations"] == unpruned["operations"] == before["operations"] > after["operations"]
    )
    for cut, key in (("area", "area_mm2"), ("energy", "energy_nj_per_image"), ("power", "power_mw")):
        assert estimate["pruning_percent"][cut] == pytest.approx(100 * (1 - after[key] / unpruned[key]))
        assert 0 < estimate["pruning_percent"][cut] < estimate["reduction_percent"][cut]
    assert unpruned["image_rate_per_s"] == after["image_rate_per_s"]


def test_stages_do_not_overwrite_each_other(finished: tuple[Path, dict]) -> None:
    """Each stage's checkpoint holds its own weights, not those of a later stage."""
    stages = {p.name.split("-")[0]: p for p in (finished[0] / "stages").glob("*.safetensors")}
    weights = {
        name: load_checkpoint(stages[name])[0]["fc1.weight"] for name in ("train", "compress", "quantise")
    }
    assert int((weights["train"] != 0).sum()) == 128 * 128
    kept = weights["compress"] != 0
    assert int(kept.sum()) < 128 * 128 / 2
    assert torch.equal(weights["quantise"] != 0, kept)
    scales = json.loads((finished[0] / "result.json").read_text())["hardware"]["encoding"]["scale"]
    assert scales == "column"
    for row, stays in zip(weights["quantise"], kept, strict=True):
        assert len(torch.unique(row[stays].abs())) <= 15
    assert len(torch.unique(weights["compress"][kept])) > 100


def test_a_stage_s_result_is_not_the_live_tensor(tmp_path: Path) -> None:
    live = {"w": torch.zeros(3)}
    result = run_stage(tmp_path, "train", "id", lambda prefix: (live, {}))
    live["w"].add_(1)
    assert (result.tensors["w"] == 0).all()


def test_the_folder_holds_what_it_should_and_the_report_needs_no_data(
    finished: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report anew is the same, to the byte."""
    out, result = finished
    monkeypatch.setattr(datasets, "load", None)
    assert report_run(out) == out / "report.html"
    assert load_study(str(out / "study.toml")) == load_study("digits", SMALL)
    for figure in ("masks", "conductances", "accuracy", "area", "energy", "residuals"):
        for ending in ("svg", "png", "pdf"):
            assert (out / "figures" / f"{figure}.{ending}").stat().st_size > 1000
    report = (out / "report.html").read_text()
    assert f"{result['accuracy']['quantised']:.2f}" in report
    assert not [p for p in out.rglob("*") if p.suffix in (".pkl", ".pt", ".pickle", ".partial")]
    written = [out / "report.html", *(out / "figures").iterdir()]
    before = {path: path.read_bytes() for path in written}
    for path in written:
        path.unlink()
    report_run(out)
    assert {path: path.read_bytes() for path in written} == before


def test_a_second_run_is_refused_or_goes_on(finished: tuple[Path, dict]) -> None:
    out, result = finished
    with pytest.raises(XbarError, match="is not empty"):
        result_of_run(load_study("digits", SMALL), None, out)
    again = result_of_run(load_study("digits", SMALL), None, out, resume=True)
    kinds = ("train", "compress", "map", "infer", "total")
    assert {kind: again["seconds"][kind] for kind in kinds} == {
        kind: finished[1]["seconds"][kind] for kind in kinds
    }
    assert again["seconds"]["this_session"] != finished[1]["seconds"]["this_session"]
    assert comparable(again) == comparable(result)
    with pytest.raises(XbarError, match=r"another study \(seed: 0 there, 1 here\)"):
        result_of_run(load_study("digits", SMALL, seed=1), None, out, resume=True)


@pytest.mark.parametrize("delay", [0.2, pytest.param(1.5, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_to_the_same_result(
    finished: tuple[Path, dict], tmp_path: Path, delay: float
) -> None:
    out = tmp_path / "killed"
    changes = [argument for change in SMALL for argument in ("--set", change)]
    command = [sys.executable, "-c", "from experiments.commands.cli import main; main()", "run", *changes]
    process = subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL)
    while not list(out.glob("stages/*train*")) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "result.json").exists()
    result = result_of_run(load_study("digits", SMALL), None, out, resume=True)
    assert comparable(result) == comparable(finished[1])


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-c",
        "from experiments.commands.cli import main; main()",
        "run",
        "--out",
        str(out),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    )
    while not list(out.glob("stages/*train*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"--resume" in message
    assert b"Traceback" not in message


def test_progressive_pruning_keeps_within_the_masks_of_each_rate(
    tmp_path: Path, finished: tuple[Path, dict]
) -> None:
    """Three rates: each a stage whose masks lie within those before; the log tells them apart."""
    changes = [*SMALL, "compress.before=[{rate=1.5}, {rate=2.5}]", "compress.rate=4.0", "chips.n=1"]
    result = result_of_run(load_study("digits", changes), None, tmp_path / "run")
    stages = (tmp_path / "run" / "stages").glob("compress-*.safetensors")
    tensors = [load_checkpoint(path)[0] for path in stages]
    kept = sorted(
        ({k: t for k, t in one.items() if k.startswith("mask.")} for one in tensors),
        key=lambda masks: -sum(int(mask.sum()) for mask in masks.values()),
    )
    assert len(kept) == 3
    for wider, narrower in itertools.pairwise(kept):
        for name, mask in narrower.items():
            assert not (mask & ~wider[name]).any()
    log = json.loads((tmp_path / "run" / "log.json").read_text())
    stages_of_log = dict.fromkeys(row["stage"] for row in log)
    assert list(stages_of_log)[1:7] == [
        *("prune 1.5x", "retrain 1.5x", "prune 2.5x", "retrain 2.5x"),
        *("prune", "retrain"),
    ]
    assert result["compression"]["rate"] >= 4
    stored = result["compression"]["storage"]
    assert stored["rate_without_indices"] == pytest.approx(result["compression"]["rate"] * 32 / 5)
    assert stored["rate_with_indices"] < stored["rate_without_indices"]


@pytest.mark.slow
def test_the_best_of_the_children_is_the_parent_of_the_next(tmp_path: Path) -> None:
    """Three at each of two rates, told apart by their order of the data; the first is as without others."""
    changes = [*SMALL, "compress.before=[{rate=2}]", "compress.rate=6.0", "chips.n=1"]
    many, single = tmp_path / "many", tmp_path / "single"
    result_of_run(load_study("digits", [*changes, "compress.children=3"]), None, many)
    result_of_run(load_study("digits", changes), None, single)
    stages = {path.name: load_checkpoint(path) for path in many.glob("stages/compress-*.safetensors")}
    assert len(stages) == 6
    rows = [row for row in json.loads((many / "log.json").read_text()) if "best" in row]
    assert [row["stage"] for row in rows] == ["children 2x", "children 6x"]
    for row in rows:
        assert row["best"] == int(np.argmax(row["compressed"]))
    masks, reached = {}, {}
    for name, (tensors, meta) in stages.items():
        masks[name] = {k: t for k, t in tensors.items() if k.startswith("mask.")}
        reached[name] = meta["record"]["validation"]["compressed"]
    wide = sorted(masks, key=lambda name: -sum(int(t.sum()) for t in masks[name].values()))
    parents, children = wide[:3], wide[3:]
    assert sorted(reached[name] for name in parents) == sorted(rows[0]["compressed"])
    parent = next(name for name in parents if reached[name] == max(rows[0]["compressed"]))
    for child in children:
        for layer, mask in masks[child].items():
            assert not (mask & ~masks[parent][layer]).any()
    first = next(path for path in single.glob("stages/compress-*.safetensors") if path.name in parents)
    assert reached[first.name] == rows[0]["compressed"][0]
    assert len({tuple(tensors["fc1.weight"].flatten().tolist()) for tensors, _ in stages.values()}) == 6


@pytest.mark.slow
def test_a_budget_is_one_number_for_all_layers(tmp_path: Path) -> None:
    """So many weights stay, layers keep what they need, and shares and kinds of the rules do not count."""
    found = []
    for share, kind in ((1.0, "tile-columns"), (9.0, "irregular")):
        rules = f"compress.layers=[{{layer='conv1', share={share}, kind='{kind}'}}, {{layer='*', share=1.0}}]"
        changes = [*SMALL, *BUDGET, "compress.rate=7", "chips.n=1", rules]
        changes.append("compress.retrain_epochs=0")
        out = tmp_path / kind
        result = result_of_run(load_study("digits", changes), None, out)
        assert result["compression"]["weights_kept"] == 22416 // 7
        (stage,) = out.glob("stages/compress-*.safetensors")
        found.append(load_checkpoint(stage)[0])
    weights = [found[0][f"{name}.weight"].abs().flatten() for name in ("conv1", "conv2", "fc1", "fc2")]
    shares = [float((w > 0).double().mean()) for w in weights]
    assert max(shares) > 2 * min(shares)
    for name, tensor in found[0].items():
        assert torch.equal(tensor, found[1][name])


@pytest.mark.slow
def test_first_and_last_layer_go_onto_levels_last(tmp_path: Path) -> None:
    changes = [*SMALL, "chips.n=1", "quantise.last=['conv1', 'fc2']", "quantise.freeze=[0.5, 1.0]"]
    out = tmp_path / "run"
    result_of_run(load_study("digits", changes), None, out)
    log = json.loads((out / "log.json").read_text())
    layers = {
        stage: [row["layer"] for row in log if row["stage"] == stage and "layer" in row][:2]
        for stage in ("levels", "freeze", "levels last", "freeze last")
    }
    assert layers == {
        "levels": ["conv2", "fc1"],
        "freeze": ["conv2", "fc1"],
        "levels last": ["conv1", "fc2"],
        "freeze last": ["conv1", "fc2"],
    }
    stages = list(dict.fromkeys(row["stage"] for row in log if row["stage"].startswith(("levels", "freeze"))))
    assert stages == ["levels", "freeze", "levels last", "freeze last", "levels-retrain"]


def test_cells_of_each_layer_have_the_states_that_its_weights_need(tmp_path: Path) -> None:
    """In levels, chips and costs alike; a second run finds the same."""
    study = load_study(
        "digits",
        [*SMALL, "chips.n=1", "compare.slices=1", "hardware.encoding.scale=layer", "quantise.centroids=2"],
    )
    result = result_of_run(study, None, tmp_path / "run")
    (stage,) = (tmp_path / "run").glob("stages/quantise-*.safetensors")
    tensors, meta = load_checkpoint(stage)
    mapped = load_mapping(tmp_path / "run" / "mapping.safetensors")
    middle = set()
    for name, layer in mapped.layers.items():
        low, middle_state, high = meta["record"]["states"][name]
        device = mapped.layers[name].hardware.device
        assert (low, high) == (0, 1)
        assert device.states == (
            device.g_min,
            pytest.approx(device.g_min + middle_state * 9e-7),
            device.g_max,
        )
        kept = tensors[f"{name}.weight"].abs().flatten()
        kept = kept[kept > 0]
        assert len(kept) == layer.weights_kept
        shares = (kept / kept.max()).numpy()
        assert np.minimum(abs(shares - middle_state), abs(shares - 1)).max() < 1e-5
        middle.add(middle_state)
    assert len(middle) == 4
    assert result["estimate"]["after"]["weight_bits"] == pytest.approx(1 + np.log2(3))
    assert result["compression"]["storage"]["rate_without_indices"] == pytest.approx(
        16 * result["compression"]["rate"]
    )
    assert result["accuracy"]["ideal_chip"] == pytest.approx(result["accuracy"]["quantised"], abs=1.5)
    assert comparable(result_of_run(study, None, tmp_path / "run", resume=True)) == comparable(result)


@pytest.mark.slow
def test_free_states_survive_a_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off when they are found and not yet kept, a run ends with the same states and weights."""
    changes = [*SMALL, "chips.n=1", "quantise.centroids=2", "quantise.freeze=[0.5, 1.0]"]
    study = load_study("digits", changes)
    unbroken = result_of_run(study, None, tmp_path / "whole")
    fit = Context.fit

    def broken(
        context: Context, model: nn.Module, prefix: Path, stage: str, *rest: Any, **keys: Any
    ) -> list[dict[str, Any]]:
        if stage == "levels-retrain":
            raise KeyboardInterrupt
        return fit(context, model, prefix, stage, *rest, **keys)

    monkeypatch.setattr(Context, "fit", broken)
    with pytest.raises(KeyboardInterrupt):
        result_of_run(study, None, tmp_path / "broken")
    monkeypatch.setattr(Context, "fit", fit)
    resumed = result_of_run(study, None, tmp_path / "broken", resume=True)
    assert comparable(resumed) == comparable(unbroken)
    kept = []
    for out in ("whole", "broken"):
        (stage,) = (tmp_path / out).glob("stages/quantise-*.safetensors")
        kept.append(load_checkpoint(stage))
    assert kept[0][1]["record"]["states"] == kept[1][1]["record"]["states"]
    assert all(torch.equal(tensor, kept[1][0][name]) for name, tensor in kept[0][0].items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["quantise.centroids=-1"], "quantise.centroids = -1: must lie between 0 and 256"),
        (
            ["hardware.encoding.slices=2"],
            "quantise.centroids: chooses the states of a layer's cells; .* encoding.slices = 1",
        ),
        ([*BYTES], "quantise.centroids: compress.bytes chooses the states of cells; leave one"),
        (
            ["layers=[{layer='fc1', hardware={device={states=4}}}]"],
            "layers: 'fc1': hardware.device: quantise.centroids chooses its states",
        ),
        (
            ["under_noise=[{name='a', axis='time', values=[1.0], device='pcm-90nm'}]"],
            "under_noise: device: quantise.centroids chooses its states",
        ),
    ],
)
def test_free_states_that_cannot_be_are_refused(tmp_path: Path, changes: list[str], message: str) -> None:
    with pytest.raises(XbarError, match=message):
        prepare(load_study("digits", [*SMALL, "quantise.centroids=2", *changes]), None, tmp_path / "run")


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ("['*']", "quantise.last: fits every layer"),
        ("['conv9']", "quantise.last: nothing fits: unknown name 'conv9'; did you mean 'conv"),
    ],
)
def test_layers_that_cannot_be_last_are_refused(tmp_path: Path, last: str, message: str) -> None:
    with pytest.raises(XbarError, match=message):
        prepare(load_study("digits", [f"quantise.last={last}"]), None, tmp_path / "run")


def test_layers_left_digital_are_not_last(tmp_path: Path) -> None:
    """Alone they are refused; with others they are left out."""
    digital = "layers=[{layer='fc2', digital=true}]"
    with pytest.raises(XbarError, match=r"quantise.last: fits only layers that are left digital"):
        prepare(load_study("digits", [digital, "quantise.last=['fc2']"]), None, tmp_path / "run")
    plan = prepare(load_study("digits", [digital, "quantise.last=['fc*']"]), None, tmp_path / "run")
    assert plan.last == ("fc1",)


def test_purification_takes_more_than_the_rate_and_holds(tmp_path: Path) -> None:
    """At each rate, before retraining: what is masked is zero, and no path is without use."""
    changes = [*SMALL, "compress.before=[{rate=2}]", "compress.rate=6.0", "chips.n=1"]
    changes += ["compress.purify.emptiness=0.8", "compress.purify.importance=0.5"]
    out = tmp_path / "run"
    result = result_of_run(load_study("digits", changes), None, out)
    assert result["compression"]["rate"] > 6.5
    stages = [load_checkpoint(path)[0] for path in out.glob("stages/compress-*.safetensors")]
    few, many = sorted(stages, key=lambda t: int(t["mask.fc1"].sum()))
    model = build_network("lenet-digits")
    for tensors in (many, few):
        model.load_state_dict(split_masks(tensors)[0])
        for name, layer in mappable_layers(model).items():
            assert not (to_gemm(layer) != 0)[~tensors[f"mask.{name}"]].any()
    assert all(not (few[f"mask.{name}"] & ~many[f"mask.{name}"]).any() for name in mappable_layers(model))
    used = remove_unused_paths(model, torch.zeros(1, 1, 8, 8))
    assert used.after == used.before


@pytest.mark.slow
def test_without_retraining_purification_of_empty_paths_changes_no_answer(tmp_path: Path) -> None:
    results = []
    digital = "layers=[{layer='fc2', digital=true}]"
    for purify in ([], ["compress.purify.emptiness=1.0"]):
        changes = [*SMALL, "compress.rate=15", "chips.n=1", "compress.retrain_epochs=0", digital, *purify]
        results.append(result_of_run(load_study("digits", changes), None, tmp_path / f"run{len(purify)}"))
    before, after = results
    assert after["accuracy"]["compressed"] == before["accuracy"]["compressed"]
    assert after["compression"]["weights_kept"] < before["compression"]["weights_kept"]


@pytest.mark.slow
def test_a_budget_in_bytes_gives_each_layer_its_bits(tmp_path: Path) -> None:
    """Weights that stay and their bits fit in it; the cells of a layer have the states of its bits, in
    levels, chips and costs alike, but not those of the uncompressed network; a second run finds the same."""
    changes = [*SMALL, *BYTES, "chips.n=1", "compare.slices=1"]
    study = load_study("digits", changes)
    result = result_of_run(study, None, tmp_path / "run")
    (stage,) = (tmp_path / "run").glob("stages/compress-*.safetensors")
    bits = load_checkpoint(stage)[1]["record"]["bits"]
    mapped = load_mapping(tmp_path / "run" / "mapping.safetensors")
    assert list(bits) == ["conv1", "conv2", "fc1", "fc2"]
    for name, layer in mapped.layers.items():
        assert mapped.layers[name].hardware.device.states == 2 ** (bits[name] - 1) + 1
        assert np.abs(layer.state).max() <= 2 ** (bits[name] - 1)
    mean_bits = result["estimate"]["after"]["weight_bits"]
    assert mean_bits == pytest.approx(
        sum((1 + np.log2(2 ** (of - 1) + 1)) * mapped.layers[name].weights_kept for name, of in bits.items())
        / sum(layer.weights_kept for layer in mapped.layers.values())
    )
    spent = sum(bits[name] * layer.weights_kept for name, layer in mapped.layers.items())
    assert 590 <= spent / 8 <= 600
    stored = result["compression"]["storage"]
    assert stored["bytes_without_indices"] == pytest.approx(spent / 8)
    plan = prepare(study, None, tmp_path / "other")
    unpruned = plan.network.on_crossbars(plan.network.form.state_dict())
    scales = dict.fromkeys(bits, 1.0)
    plain = estimate(plan.uncompressed.map(unpruned, plan.network.example, scales=scales))
    assert result["estimate"]["before"]["area_mm2"] == pytest.approx(plain.area_mm2)
    again = result_of_run(study, None, tmp_path / "run", resume=True)
    assert comparable(again) == comparable(result)


@pytest.mark.slow
def test_only_layers_with_a_rule_share_a_budget_in_bytes(tmp_path: Path) -> None:
    """Purification takes weights of others too; these keep the cells of the study."""
    changes = [*SMALL, *BYTES, "compress.bytes=200", "chips.n=1", "compress.purify.emptiness=0.9"]
    changes.append("compress.layers=[{layer='conv2', share=1.0, kind='irregular'}]")
    result_of_run(load_study("digits", changes), None, tmp_path / "run")
    mapped = load_mapping(tmp_path / "run" / "mapping.safetensors")
    (stage,) = (tmp_path / "run").glob("stages/compress-*.safetensors")
    bits = load_checkpoint(stage)[1]["record"]["bits"]
    assert list(bits) == ["conv2"]
    assert mapped.layers["conv2"].weights_kept * bits["conv2"] <= 1600
    assert {name: mapped.layers[name].hardware.device.states for name in ("conv1", "fc1")} == {
        "conv1": 16,
        "fc1": 16,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            [*BYTES, "compress.bytes=14010"],
            "compress.bytes = 14010: must be less than 14010, in which every weight .* fits in 5 bits",
        ),
        (
            [*BYTES, "layers=[{layer='fc1', hardware={device={states=4}}}]"],
            "layers: 'fc1': hardware.device: compress.bytes chooses its states",
        ),
        (
            [*BYTES, "under_noise=[{name='a', axis='time', values=[1.0], device='pcm-90nm'}]"],
            "under_noise: device: compress.bytes chooses its states",
        ),
        (
            [*BYTES, "compress.layers=[{layer='fc2', share=1.0}]", "layers=[{layer='fc2', digital=true}]"],
            "compress.bytes: no rule in compress.layers fits a layer on crossbars",
        ),
        (
            ["compress.bytes=600"],
            "compress: rate, bytes: are given together; compress.target must say which one holds",
        ),
        (
            ["compress.bytes=600", "compress.target=bytes"],
            "compress.bytes: the method 'admm' cannot be asked for it; allowed: rate, area_mm2, energy_nj",
        ),
        ([*BYTES, "compress.bytes=-1"], "compress.bytes = -1.0: must lie between 1"),
        (
            [*BYTES, "compress.before=[{rate=2.0}]"],
            "compress.before: lists rates on the way to compress.rate, which must then be the target",
        ),
        (
            [*BYTES, "hardware.encoding.slices=2"],
            "compress.bytes: chooses the states of a layer's cells; .* encoding.slices = 1",
        ),
    ],
)
def test_budgets_in_bytes_that_cannot_be_are_refused(
    tmp_path: Path, changes: list[str], message: str
) -> None:
    with pytest.raises(XbarError, match=message):
        prepare(load_study("digits", changes), None, tmp_path / "run")


GSM = ["compress.method=gsm", "compress.gsm={epochs=2, weight_decay=1e-3, momentum=0.98}"]


@pytest.mark.parametrize("own", [BUDGET, GSM], ids=["budget", "gsm"])
def test_a_choice_over_all_layers_knows_no_groups(tmp_path: Path, own: list[str]) -> None:
    """As few as eleven weights, though the tile columns of the rules hold more; but not none."""
    prepare(load_study("digits", [*own, "compress.rate=2000"]), None, tmp_path / "run")
    with pytest.raises(XbarError, match=r"compress.rate = 22417.0: must lie between 1 and 22416"):
        prepare(load_study("digits", [*own, "compress.rate=22417"]), None, tmp_path / "run")


@pytest.mark.parametrize(
    ("key", "share"), [("area_mm2", 0.5), pytest.param("energy_nj", 0.6, marks=pytest.mark.slow)]
)
def test_a_limit_in_place_of_a_rate(tmp_path: Path, key: str, share: float) -> None:
    """The finished network costs at most the limit, and not much less: energy at the worst inputs."""
    dense = estimate(mapped("digits")["admm-32x32"])
    limit = share * (dense.area_mm2 if key == "area_mm2" else dense.energy_nj_per_image)
    changes = [*SMALL, f"compress.target={key}", f"compress.{key}={limit}", "chips.n=1"]
    result = result_of_run(load_study("digits", changes), None, tmp_path / "run")
    mapping = load_mapping(tmp_path / "run" / "mapping.safetensors")
    found = estimate(without_weights(mapping))
    cost = found.area_mm2 if key == "area_mm2" else found.energy_nj_per_image
    assert 0.8 * limit < cost <= limit
    assert result["compression"]["rate"] > 1.3
    with pytest.raises(
        XbarError, match=rf"compress: rate, {key}: are given together; compress.target must say"
    ):
        load_study("digits", [f"compress.{key}={limit}"])
    with pytest.raises(XbarError, match=rf"compress.{key}: the method 'gsm' cannot be asked for it"):
        load_study("digits", [*changes, *GSM])
    with pytest.raises(XbarError, match=r"compress.target = 'area_mm2': compress.area_mm2 is missing"):
        load_study("digits", ["compress.target=area_mm2"])


def test_a_line_cut_short_loses_that_chip_only(tmp_path: Path) -> None:
    lines = tmp_path / "chips.jsonl"
    lines.write_text('{"chip": 0, "accuracy": 90.0}\n{"chip": 1, "acc')
    assert finished_chips(lines) == {0: 90.0}
    assert lines.read_text() == '{"chip": 0, "accuracy": 90.0}\n'
    assert finished_chips(tmp_path / "none") == {}


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param("[]", marks=pytest.mark.slow),
        "[{layer='fc2', bias_rows=4}, {layer='conv1', hardware={encoding={slices=2}}}]",
    ],
)
def test_retraining_with_noise_and_converters_runs(tmp_path: Path, layers: str) -> None:
    changes = ["quantise.noise={kind = 'lognormal', sigma = 0.1}", "quantise.converter_epochs=1", "chips.n=1"]
    changes.append(f"layers={layers}")
    result = result_of_run(load_study("digits", [*SMALL, *changes]), None, tmp_path / "run")
    stages = {row["stage"] for row in json.loads((tmp_path / "run" / "log.json").read_text())}
    assert "converters" in stages
    assert result["accuracy"]["chips"]["ci95_low"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        ["hardware.encoding.kind=offset", "hardware.encoding.subtract=digital"],
        ["hardware.encoding.kind=twos-complement", "hardware.encoding.slices=2"],
        [
            "hardware.device=neurram-hfox",
            "compare.slices=1",
            "hardware.crossbar.r_wl=2",
            "hardware.adc.gain_sigma=0.01",
            'chips.cases=[{name="1 s"}, {name="1 day", time=86400}]',
        ],
    ],
    ids=["offset", "twos-complement", "neurram-in-time"],
)
def test_every_encoding_and_a_device_in_time_run_to_the_report(tmp_path: Path, changes: list[str]) -> None:
    result = result_of_run(load_study("digits", [*SMALL, *changes]), None, tmp_path / "run")
    assert report_run(tmp_path / "run").stat().st_size > 10_000
    cases = result["accuracy"]["chips_cases"]
    if len(cases) == 2:
        assert cases[0]["per_chip"] != cases[1]["per_chip"]


def test_the_ideal_chip_does_not_know_the_wires(tmp_path: Path, finished: tuple[Path, dict]) -> None:
    """Its ranges are calibrated without them, so that strong wires leave it where it is."""
    without = finished[1]["accuracy"]
    wired = load_study("digits", [*SMALL, "hardware.crossbar.r_wl=500"])
    through = result_of_run(wired, None, tmp_path / "run")["accuracy"]
    assert through["ideal_chip"] == without["ideal_chip"]
    assert through["chips"]["per_chip"] != without["chips"]["per_chip"]


OWN_NETWORK = """
from torch import nn

def normed():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10),
    )

class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.lstm(x.squeeze(1))[0][:, -1])
"""


@pytest.mark.parametrize("choice", ["fold", "digital"])
def test_a_network_with_batch_norm(tmp_path: Path, choice: str) -> None:
    """Trained and pruned as it is; folded, it goes onto levels without a batch norm, and its masks hold."""
    (tmp_path / "net.py").write_text(OWN_NETWORK)
    rule = "compress.layers=[{layer = '5', share = 1.0}]"
    own = [f"network={tmp_path / 'net.py'}:normed", "compress.rate=2", rule, f"batch_norm={choice}"]
    result = result_of_run(load_study("digits", [*SMALL, *own]), None, tmp_path / "run")
    tensors = {p.name.split("-")[0]: load_checkpoint(p)[0] for p in tmp_path.glob("run/stages/*.safetensors")}
    assert "1.running_var" in tensors["compress"]
    assert ("1.running_var" in tensors["quantise"]) == (choice == "digital")
    assert ("0.bias" in tensors["quantise"]) == (choice == "fold")
    mask = tensors["compress"]["mask.5"]
    for stage in ("compress", "quantise"):
        assert torch.equal(tensors[stage]["5.weight"].T != 0, mask)
    assert result["compression"]["weights_kept"] == int(mask.sum()) + 72 + 320
    if choice == "fold":
        assert result["accuracy"]["quantised"] > 85
    retraining = [
        row for row in json.loads((tmp_path / "run/log.json").read_text()) if row["stage"] == "levels-retrain"
    ]
    assert retraining[-1]["validation"] == result["accuracy"]["validation"]["quantised"]


def test_a_network_with_an_lstm(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(OWN_NETWORK)
    rule = "compress.layers=[{layer = 'lstm.*', share = 1.0, kind = 'irregular'}]"
    own = [f"network={tmp_path / 'net.py'}:Recurrent", "compress.rate=1.5", rule]
    result = result_of_run(load_study("digits", [*SMALL, *own]), None, tmp_path / "run")
    assert set(result["mapping"]["layers"]) == {"lstm.ih_l0", "lstm.hh_l0", "head"}
    assert result["mapping"]["layers"]["lstm.hh_l0"]["positions"] == 8


def test_an_own_network_and_its_weights(tmp_path: Path, finished: tuple[Path, dict]) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10))\n"
    )
    changes = [
        *SMALL,
        f"network={tmp_path / 'net.py'}:build",
        "compress.rate=2",
        "compress.layers=[{layer = '*', share = 1.0, kind = 'rows-and-columns'}]",
    ]
    study = load_study("digits", changes)
    result = result_of_run(study, None, tmp_path / "run")
    assert set(result["mapping"]["layers"]) == {"1", "3"}
    with pytest.raises(XbarError, match="unknown name 'biuld'; did you mean 'build'"):
        result_of_run(
            dataclasses.replace(study, network=f"{tmp_path / 'net.py'}:biuld"), None, tmp_path / "x"
        )
    with pytest.raises(XbarError, match="no such file"):
        result_of_run(dataclasses.replace(study, network="none.py:build"), None, tmp_path / "x")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("network=lenet6", "did you mean 'lenet5'"),
        ("network=lenet5", "does not take inputs of digits"),
        ("data=digitz", "did you mean 'digits'"),
        ("compress.layers.0.layer=conv9", "did you mean 'conv"),
        ("compress.rate=1e6", "rate"),
        ("train.weights=none.safetensors", "none.safetensors"),
        ("hardware.adc.bits=12", "bits"),
        ("hardware.dac.bits=ideal", "dac.bits"),
        ("hardware=ideal", "compare.slices = 2"),
        ("hardware.periphery.node_nm=22", "periphery.node_nm"),
        ("hardware.periphery.library=isac", "isaac"),
        ("hardware.dac.phase_bits=2", "accuracy without an estimate"),
        ("hardware.device=pcm-90nm", "compare.slices=1 fits any device"),
        ("chips.cases.0.time=1000", "has no effect; the case's device has no relaxation"),
        ("compare.slices=5", "the numbers of 16 states exceed 16 bits"),
        ("chips.cases.0.p_stuck_g_max=2", "p_stuck_g_max = 2"),
        (
            "hardware.device.programming={kind='polynomial', coefficients=[1e-7], sigma=0.1}",
            "programming.sigma",
        ),
    ],
)
def test_mistakes_are_found_before_anything_is_written(tmp_path: Path, change: str, words: str) -> None:
    with pytest.raises(XbarError) as caught:
        result_of_run(load_study("digits", [*SMALL, change]), None, tmp_path / "run")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        ("def forward(self, x, y): return x", "does not take inputs of digits"),
        ("def forward(self, x): return x, x", "gives a tuple; must be one tensor"),
    ],
)
def test_a_network_of_another_signature_is_refused(tmp_path: Path, forward: str, words: str) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(8, 10)\n"
        f"    {forward}\n"
    )
    study = load_study("digits", [*SMALL, "compress.rate=1", "compress.layers=[]"])
    study = dataclasses.replace(study, network=f"{tmp_path / 'net.py'}:Net")
    with pytest.raises(XbarError, match=words):
        result_of_run(study, None, tmp_path / "run")


def test_statistics_over_chips() -> None:
    values = [98.0, 99.0, 99.5, 97.5, 99.0]
    s = chip_statistics("x", values, 99.0)
    assert s.mean == pytest.approx(98.6)
    assert s.std == pytest.approx(np.std(values, ddof=1))
    assert s.ci95_high - s.mean == pytest.approx(2.776445 * s.std / math.sqrt(5), rel=1e-6)
    assert s.share_above == pytest.approx(0.6)
    assert s.median == 99.0


def test_the_interval_of_a_finite_test_set() -> None:
    """Wilson, p = .99, n = 10,000: z^2 = 3.8415, half width .1958 points."""
    assert finite_test_set_ci95(99.0, 10_000) == pytest.approx(0.1958, abs=2e-3)


@pytest.mark.parametrize(("images", "percent"), [(360, 98.0), (360, 99.3), (1000, 99.8), (10_000, 90.0)])
def test_the_interval_of_a_test_set_holds_the_truth_as_often_as_it_says(images: int, percent: float) -> None:
    """By the sum over all numbers of right images; one of the same width around the accuracy does not."""
    right = np.arange(images + 1)
    chance = stats.binom.pmf(right, images, percent / 100)
    likely = right[chance > 1e-9]
    ends = np.array([interval_of_images(100 * n / images, images) for n in likely])
    holds = (ends[:, 0] <= percent) & (percent <= ends[:, 1])
    assert 0.94 < chance[likely] @ holds < 0.97
    half = (ends[:, 1] - ends[:, 0]) / 2
    around = np.abs(100 * likely / images - percent) <= half
    assert (chance[likely] @ around < 0.93) == (images < 10_000)
