"""Ids of stages: those of the kept runs are those of today's code; what affects a result changes them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from experiments.inputs.data import Dataset
from experiments.stages import steps, work
from experiments.stages.ids import COST_ONLY, simulated, stage_id
from experiments.stages.stage import StageResult
from experiments.studies.study import Study, load_study, resolve_study
from mapping import analog_network, calibrate, map_network, program_network
from xbar import Periphery, ProgrammingNoise, WritePulse, load_hardware

KEPT = sorted((Path(__file__).resolve().parents[3] / "results").glob("lenet5-*.json"))


def ids(
    study: Study, checksum: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Ids of the stages train and compress, computed without running them."""
    found = {}

    def note(folder: Path, stage: str, identity: str, compute: Any, beside: Any) -> StageResult:
        found[stage] = identity
        return StageResult({}, {}, 0.0)

    monkeypatch.setattr(work, "run_stage", note)
    x, y = torch.zeros(2, *shape), torch.zeros(2, dtype=torch.int64)
    data = Dataset(study.data, x, y, x, y, x, y, tuple("0123456789"), checksum)
    run = work.Run(study, data, Path("none"))
    steps.compress(run, steps.train_baseline(run))
    return found


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_runs_keep_their_ids(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    study = resolve_study(result["study"], path.name)
    found = ids(study, result["data"]["checksum"], (1, 28, 28), monkeypatch)
    assert found == {stage: result["stages"][stage] for stage in ("train", "compress")}


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ("train.flip=true", {"train", "compress"}),
        ("train.shift=1", {"train", "compress"}),
        ("width=2", {"train", "compress"}),
        ("seed=1", {"train", "compress"}),
        ("compress.rate=3", {"compress"}),
        ("chips.n=7", set()),
        ("threads=2", set()),
    ],
)
def test_what_changes_them(change: str, changed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    base = ["network=resnet20", "compress.layers=[{layer='layer3.*', share=1.0}]", "compress.rate=2"]
    before, after = (
        ids(load_study("digits", [*base, *more]), "0" * 64, (3, 32, 32), monkeypatch)
        for more in ([], [change])
    )
    assert {stage for stage in before if before[stage] != after[stage]} == changed


def test_an_id_follows_from_values_alone() -> None:
    first: Mapping[str, Any] = {"a": 1, "b": [1, 2]}
    assert stage_id("train", first) == stage_id("train", {"b": [1, 2], "a": 1})
    assert stage_id("train", first) != stage_id("compress", first)


def test_no_output_depends_on_keys_that_only_costs_read() -> None:
    """Every key that ids leave out exists, and with all of them changed a noisy chip gives the same bits."""
    design = load_hardware("admm-32x32").replace(device__programming=ProgrammingNoise("lognormal", 0.1))
    for table, keys in COST_ONLY.items():
        owner = getattr(design, table) if table else design
        assert set(keys) <= {field.name for field in dataclasses.fields(owner)}
    other = design.replace(
        name="other",
        device__pulse=WritePulse(1.0, 1e-6, "a test"),
        crossbar__cell_f2=12.0,
        adc__library="forms-adc",
        adc__rate=1e6,
        periphery=Periphery("mine", 45.0, "stillmaker-baas", 1e-6, 2, 3, 5, copies=4, buffer_kb=1.0),
    )
    assert simulated(other) == simulated(design) != simulated(design.replace(adc__bits=8))
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(40, 9)), torch.rand(6, 40)
    outputs = []
    for hardware in (design, other):
        mapped, _ = calibrate(map_network(model, hardware, x), model, [(x, None)])
        outputs.append(analog_network(model, program_network(mapped, seed=1))(x))
    assert torch.equal(*outputs)
