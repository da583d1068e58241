"""Networks of kept runs, measured again from their weights: the accuracies that their results say."""

from __future__ import annotations

import dataclasses
import json
import runpy
from pathlib import Path

import pytest

from experiments.stages.chips import calibrated, chip_accuracies
from experiments.stages.measure import measured
from experiments.stages.quantise import QuantisedNetwork
from experiments.stages.run import prepare
from experiments.studies.study import resolve_study
from mapping.chips.analog import analog_network
from mapping.chips.calibration import calibrate
from mapping.chips.chip import program_network, without_device_effects

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"
CHIPS = 2
ROUNDING = 0.03
"""Three of 10,000 images, which lie on the edge between two classes on another machine [percent]."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.shared_data,
    pytest.mark.skipif(
        not (DATA / "mnist").is_dir(), reason="needs MNIST in ../shared/data beside the checkout"
    ),
]


@pytest.mark.parametrize(
    "name",
    [
        "lenet5-mnist-seed1",
        "lenet5-mnist-37x-seed2",
        "lenet5-crossbar-105x-seed0",
        "lenet5-progressive-246x-seed0",
    ],
)
def test_a_kept_network_has_the_accuracies_of_its_result(name: str, tmp_path: Path) -> None:
    kept = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
    study = resolve_study(kept["study"], name)
    plan = prepare(study, DATA, tmp_path)
    context = plan.context
    state = runpy.run_path(str(ROOT / "results" / "keep.py"))["kept_weights"](name)
    model = plan.network.on_crossbars(state)
    # Zeros of the weights are their masks, and the scale that fits weights on levels is theirs.
    nets = QuantisedNetwork(kept["stages"]["quantise"], model, {}, {}, {}, {}, (), {})

    found = measured(context, "quantised", nets.identity, {}, lambda: model)
    assert found.record["test"]["quantised"] == pytest.approx(kept["accuracy"]["quantised"], abs=ROUNDING)

    mapped, _ = calibrated(context, plan.network, plan.placement, nets)
    exact, _ = calibrate(without_device_effects(mapped), model, context.calibration_batches())
    ideal = measured(
        context, "ideal chip", nets.identity, {}, lambda: analog_network(model, program_network(exact))
    )
    assert ideal.record["test"]["ideal chip"] == pytest.approx(kept["accuracy"]["ideal_chip"], abs=ROUNDING)

    few = dataclasses.replace(study.chips, n=CHIPS)
    chips = chip_accuracies(context, nets, mapped, study.chips.cases[0], few)
    first = kept["accuracy"]["chips_cases"][0]["per_chip"][:CHIPS]
    assert chips.record["accuracies"] == pytest.approx(first, abs=ROUNDING)
