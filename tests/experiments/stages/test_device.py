"""A study whose networks train on another device than the processor."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest
import torch
from far_device import far_device
from small_study import SMALL

from experiments.inputs.devices import device_named
from experiments.plans.plan import StudyPlan
from experiments.run_folder.ids import point_id
from experiments.stages.chips import calibrated, chip_accuracies
from experiments.stages.measure import accuracies, networks
from experiments.stages.planned import planned_ids
from experiments.stages.run import prepare
from experiments.studies.study import Study, load_study
from xbar.hardware.errors import XbarError

TINY = [*SMALL, "train.epochs=2", "chips.n=1", "test_images=60"]
METHODS = {
    "admm": [],
    "learned and through converters": ["quantise.ranges=learned-adc", "quantise.converter_epochs=1"],
    "frozen, purified, distilled": [
        "quantise.freeze=[0.5,1.0]",
        "compress.purify.emptiness=0.9",
        "train.options.distillation={}",
        "train.options.ema={decay=0.9}",
    ],
    "gsm": [
        "compress.method=gsm",
        "compress.gsm={epochs=2, lr=0.01, momentum=0.9, weight_decay=1e-3}",
        "compress.retrain_epochs=0",
    ],
    "budget": ["compress.method=budget", "compress.budget={epochs=2}"],
    "area": ["compress.target=area_mm2", "compress.area_mm2=0.12"],
    "signs": ["compress.layers=[{layer='fc1', kind='one-sign', rows=8}]", "compress.rate=1.0"],
}


def figures(plan: StudyPlan, study: Study) -> dict[str, float]:
    nets = networks(plan, study)
    mapped, _ = calibrated(plan.context, plan.network, plan.placement, nets.quantised)
    found = accuracies(plan, nets, mapped)
    case = study.chips.cases[0]
    chips = chip_accuracies(plan.context, nets.quantised, mapped, case, study.chips)
    return {**nets.validation(), **found.networks, "chip": chips.record["accuracies"][0]}


@pytest.mark.slow
@pytest.mark.parametrize("case", METHODS)
def test_every_stage_computes_on_the_device_of_its_study(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = importlib.import_module("torch.optim.optimizer")
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: ["cpu", "meta"])
    study = load_study("digits", [*TINY, *METHODS[case]])
    near = prepare(study, None, tmp_path / "near")
    expected = figures(near, study)
    seen = set()

    def watch(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            seen.add((inputs[0].device.type, torch.is_grad_enabled()))

    with far_device(copies=True) as device:
        plan = prepare(study, None, tmp_path / "far")
        plan = dataclasses.replace(plan, context=dataclasses.replace(plan.context, device=device))
        watching = torch.nn.modules.module.register_module_forward_pre_hook(watch)
        try:
            found = figures(plan, study)
        finally:
            watching.remove()
    assert (device.type, True) in seen
    assert ("cpu", True) not in seen  # no training on the host
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=3.0), name


def test_ids_hold_the_kind_of_device(tmp_path: Path) -> None:
    study = load_study("digits", TINY)
    plan = prepare(study, None, tmp_path)

    def ids_on(device: str) -> dict[str, str]:
        context = dataclasses.replace(plan.context, device=torch.device(device))
        return planned_ids(dataclasses.replace(plan, context=context), study)

    assert ids_on("cpu") == planned_ids(plan, study)
    assert not set(ids_on("cpu").values()) & set(ids_on("cuda:0").values())
    assert ids_on("cuda:0") == ids_on("cuda:1")


def test_auto_is_the_processor_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    assert device_named("auto") == torch.device("cpu")
    study, auto = load_study("digits", TINY), load_study("digits", [*TINY, "device=auto"])
    assert point_id(study, "0", {}) == point_id(auto, "0", {})
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("cuda")
    )
    assert point_id(study, "0", {}) != point_id(auto, "0", {})


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:a", "CPU", "meta", ""])
def test_a_name_of_no_device_is_refused(name: str) -> None:
    with pytest.raises(XbarError, match=r"device = .*must be 'auto', 'cpu'") as caught:
        load_study("digits", [f"device='{name}'"])
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.xpu.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_refused_before_work(tmp_path: Path) -> None:
    with pytest.raises(XbarError, match=r"device = 'xpu': torch .* cannot use it here .*allowed: ") as caught:
        prepare(load_study("digits", [*TINY, "device=xpu"]), None, tmp_path)
    assert "\n" not in str(caught.value)
