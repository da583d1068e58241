"""Ids of stages: those of the kept runs are those of today's code; what affects a result changes them."""

from __future__ import annotations

import dataclasses
import json
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from experiments.inputs.data import Dataset
from experiments.plans.plan import resolve
from experiments.run_folder.ids import COST_ONLY, point_id, simulated, stage_id
from experiments.stages.planned import planned_ids
from experiments.studies.study import Study, load_study, resolve_study, study_dict
from mapping import analog_network, calibrate, map_network, program_network
from xbar import Periphery, ProgrammingNoise, WritePulse, XbarError, load_hardware

RESULTS = Path(__file__).resolve().parents[3] / "results"
MIGRATION = runpy.run_path(str(RESULTS / "migrate.py"))
KEPT = sorted(path for path in RESULTS.glob("*.json") if '"stages": {' in path.read_text(encoding="utf-8"))
SHAPES = {"cifar10": (3, 32, 32), "digits": (1, 8, 8)}
"""Of an image, by data set; others have those of MNIST."""


def ids(study: Study, checksum: str) -> dict[str, str]:
    """Ids of the stages that make a study's networks, without running them."""
    shape = SHAPES.get(study.data, (1, 28, 28))
    x, y = torch.zeros(2, *shape), torch.zeros(2, dtype=torch.int64)
    data = Dataset(study.data, x, y, x, y, x, y, tuple("0123456789"), checksum)
    return planned_ids(resolve(study, data, Path("none")), study)


def test_there_are_kept_runs() -> None:
    assert len(KEPT) > 20


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_runs_have_the_ids_of_today_s_code(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    study = resolve_study(result["study"], path.name)
    assert ids(study, result["data"]["checksum"]) == result["stages"]


def test_ids_of_stages_hold_no_path_of_data_and_those_of_points_do() -> None:
    """As howto.md says."""
    one, other = (load_study("lenet5-mnist", [f"data={name}.npz"]) for name in "ab")
    assert ids(one, "0") == ids(other, "0")
    assert point_id(one, "0", {}) != point_id(other, "0", {})


def test_ids_are_not_known_before_the_best_of_several_children_is() -> None:
    ids(load_study("digits", ["compress.children=1"]), "0" * 64)
    with pytest.raises(XbarError, match=r"^compress\.children: ids after the first rate are known only when"):
        ids(load_study("digits", ["compress.children=2"]), "0" * 64)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_runs_have_no_latency_of_before(path: Path) -> None:
    """Sums over layers stood there (513.6 us of LeNet-5), where layers stream today (463.5 us)."""
    sides = json.loads(path.read_text(encoding="utf-8")).get("estimate", {})
    for name in sides.keys() & {"before", "after"}:
        side = sides[name]
        assert (side["latency_us_per_image"] is None) == ("schedule" not in side)


def test_a_latency_of_before_is_migrated_to_none() -> None:
    streams = {"latency_us_per_image": 463.5, "schedule": "streaming"}
    old = {"before": {"latency_us_per_image": 513.6, "arrays": 2}, "after": streams, "reduction_percent": {}}
    assert MIGRATION["todays_estimate"](old) == {
        "before": {"latency_us_per_image": None, "arrays": 2},
        "after": streams,
        "reduction_percent": {},
    }


def test_a_study_of_before_is_migrated_to_the_same_study_and_ids() -> None:
    """A table with the keys of all methods side by side, as it was kept until November 2026."""
    for name, method, own in (
        ("lenet5-progressive-246x", "admm", ("epochs", "lr", "rho", "rho_factor", "rho_limit", "interval")),
        ("lenet5-gsm-125x", "gsm", ("epochs", "lr", "momentum", "weight_decay", "active")),
    ):
        study = load_study(name)
        table = study_dict(study)
        keys = table["compress"].pop(method)
        idle = {"rho": 1e-3, "rho_factor": 2.0, "momentum": 0.0, "bytes": 0.0, "limit": None}
        steps = [
            {key: step[key] for key in ("rate", "retrain_epochs")} for step in table["compress"]["before"]
        ]
        table["compress"] |= idle | {key: keys[key] for key in own} | {"method": method, "before": steps}
        migrated = MIGRATION["todays_study"](table, "a test")
        assert migrated == study
        assert MIGRATION["todays_ids"](migrated, "0" * 64) == ids(study, "0" * 64)
    of_limit = {"rate": 1.0, "limit": {"area_mm2": 0.5, "energy_nj": None}, "epochs": 2, "retrain_epochs": 1}
    found = MIGRATION["todays_compression"]({**of_limit, "layers": [], "method": "admm"})
    expected = {"area_mm2": 0.5, "admm": {"epochs": 2}, "retrain_epochs": 1, "layers": [], "before": []}
    assert found == expected
    assert MIGRATION["todays_compression"](found) == found


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ("train.flip=true", {"train", "compress", "quantise"}),
        ("train.shift=1", {"train", "compress", "quantise"}),
        ("train.normalise=imagenet", {"train", "compress", "quantise"}),
        ("train.options.precision=bf16", {"train", "compress", "quantise"}),
        ("train.options.mixing={kind='mixup'}", {"train", "compress", "quantise"}),
        ("width=2", {"train", "compress", "quantise"}),
        ("seed=1", {"train", "compress", "quantise"}),
        ("compress.rate=3", {"compress", "quantise"}),
        ("compress.admm.rho=0.01", {"compress", "quantise"}),
        ("compress.layers=[{layer='layer3.*', share=1.0, kind='irregular'}]", {"compress", "quantise"}),
        ("hardware.crossbar.rows=64", {"compress", "quantise"}),
        ("layers=[{layer='layer3.0.*', digital=true}]", {"compress", "quantise"}),
        ("quantise.epochs=9", {"quantise"}),
        ("hardware.device.states=8", {"quantise"}),
        ("hardware.encoding.scale=layer", {"quantise"}),
        ("batch_norm=digital", {"quantise"}),
        ("hardware.adc.bits=7", set()),
        ("chips.n=7", set()),
        ("threads=2", set()),
        # A pattern that fits the same layers asks for the same.
        ("compress.layers=[{layer='layer3*', share=1.0}]", set()),
    ],
)
def test_what_changes_them(change: str, changed: set[str]) -> None:
    base = ["network=resnet20", "compress.layers=[{layer='layer3.*', share=1.0}]", "compress.rate=2"]
    before, after = (
        ids(load_study("digits", ["data=cifar10", *base, *more]), "0" * 64) for more in ([], [change])
    )
    assert {stage for stage in before if before[stage] != after[stage]} == changed


def test_the_hardware_counts_where_the_retraining_runs_on_it() -> None:
    noise = "quantise.noise={kind='lognormal', sigma=0.1}"
    for trains_on in ([noise], ["quantise.converter_epochs=1"], ["layers=[{layer='fc1', bias_rows=2}]"], []):
        one, other = (
            ids(load_study("digits", [*trains_on, f"hardware.adc.bits={bits}"]), "0" * 64) for bits in (7, 8)
        )
        assert (one["quantise"] != other["quantise"]) == bool(trains_on)
        assert one["compress"] == other["compress"]


def test_an_id_follows_from_values_alone() -> None:
    first: Mapping[str, Any] = {"a": 1, "b": [1, 2]}
    assert stage_id("train", first) == stage_id("train", {"b": [1, 2], "a": 1})
    assert stage_id("train", first) != stage_id("compress", first)


def test_a_key_of_noise_behind_wires_counts_where_there_are_wires() -> None:
    """In ids of stages and of points, where any layer has wires."""
    key, wires = "hardware.crossbar.noise_through_wires=all-cells", "hardware.crossbar.r_wl=1"
    of_layer = "layers=[{layer='fc1', hardware={crossbar={r_wl=1.0}}}]"
    for changes, counts in (([], False), ([wires], True), ([of_layer], True)):
        one, other = (load_study("digits", [*changes, *more]) for more in ([], [key]))
        assert (point_id(one, "", {}) != point_id(other, "", {})) == counts
        if changes != [of_layer]:
            assert (simulated(one.hardware) != simulated(other.hardware)) == counts


def test_rows_of_a_read_count_where_they_are_not_all() -> None:
    """The key changes outputs and costs; an id of before there was one is that of all rows at once."""
    key = "hardware.periphery.rows_per_read"
    all_, eight, same = (load_study("digits", [f"{key}={rows}"]) for rows in ("all", "8", "all"))
    assert point_id(all_, "", {}) == point_id(same, "", {}) != point_id(eight, "", {})
    assert simulated(all_.hardware) != simulated(eight.hardware)
    assert "rows_per_read" not in str(simulated(all_.hardware))
    assert "rows_per_read" in str(simulated(eight.hardware))


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
