"""Studies of a sweep that are put together from parts are those that are parsed anew, with their ids."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from experiments.run_folder.ids import BEHIND_WIRES, READS, VERSIONS, point_id
from experiments.studies.study import LayerSetting, Study, raw_study, study_dict
from experiments.sweeps.axes import Axis, points_of as values_of
from experiments.sweeps.conditions import Condition
from experiments.sweeps.running import network_key, plan
from experiments.sweeps.sweep import Sweep, points_of
from experiments.sweeps.variants import Variants, study_at, told
from xbar.hardware.errors import XbarError
from xbar.hardware.files import load_device, to_dict

VALUES: dict[str, list[Any]] = {
    "seed": [0, 1, 7],
    "width": [1, 2.0],
    "threads": [1, 2],
    "description": ["a", "b"],
    "metric": ["accuracy", "top-5"],
    "test_images": [0, 100],
    "hardware": ["isaac", {"base": "neurram", "crossbar": {"rows": 64}}],
    "hardware.device": ["alox-hfo2", {"base": "neurram-hfox", "p_stuck_g_min": 0.01}],
    "hardware.device.p_stuck_g_max": [0, 0.1, 0.25],
    "hardware.crossbar.rows": [16, 32, 9000],
    "hardware.crossbar.cols": [1, 32, 64],
    "hardware.crossbar.r_wl": [0.0, 1.5],
    "hardware.crossbar.noise_through_wires": ["mean-inputs", "all-cells"],
    "hardware.encoding.slices": [1, 2],
    "hardware.encoding": [{"kind": "offset"}, {"slices": 2}],
    "hardware.adc.bits": [5, 8, "ideal"],
    "hardware.name": ["one", "two"],
    "compress.rate": [2, 4.0],
    "compress.bytes": [500.0],
    "compress.target": ["rate", "bytes"],
    "compress.admm.rho": [1e-3, 1e-2],
    "compress.layers": [[{"layer": "*", "share": 1.0}], [{"layer": "fc1", "kind": "irregular"}]],
    "quantise.epochs": [1, 2],
    "train.epochs": [2, 3],
    "chips.n": [1, 3],
    "chips.threshold": [98, 99.0],
    "chips.cases": [[{"name": "w", "programming": {"kind": "lognormal", "sigma": 0.1}}], [{"name": "x"}]],
    "chips.cases.0.name": ["y", "z"],
    "layers": [
        [],
        [{"layer": "fc1", "hardware": {"crossbar": {"r_bl": 2.0}, "adc": {"bits": 6}}}],
        [{"layer": "fc2", "hardware": {"device": "alox-hfo2"}}, {"layer": "fc1", "bias_rows": 1}],
    ],
    "under_noise": [[], [{"name": "m", "axis": "mismatch", "values": [0.1], "device": "alox-hfo2"}]],
    "nowhere": [1],
    "hardware.nowhere": [1],
}


def outcome(call: Callable[[], Study]) -> Study | str:
    """A study, or why there is none."""
    try:
        return call()
    except XbarError as error:
        return str(error)


def slow_id(study: Study) -> str:
    """The hash of all of a study as one text, which the ids of kept stores are."""
    data = study_dict(study)
    for key in ("name", "description", "threads", "loss", "device"):  # on a processor
        del data[key]
    if data["metric"] == "accuracy":
        del data["metric"]
    data["chips"].setdefault("threshold", 99.0)
    designs = [study.hardware, *(setting.on(study.hardware) for setting in study.layers)]
    if not any(hardware.crossbar.wired for hardware in designs if hardware is not None):
        del data["hardware"]["crossbar"][BEHIND_WIRES]
    if data["hardware"]["periphery"][READS] == "all":
        del data["hardware"]["periphery"][READS]
    content = {"study": data, "data": "sum", "files": {"b": "2", "a": "1"}, "versions": VERSIONS}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("seed", range(12))
def test_random_sweeps_give_the_studies_and_ids_that_parsing_gives(seed: int) -> None:
    chance = random.Random(seed)
    base, _ = raw_study("digits")
    possible = 0
    for _ in range(6):
        keys = chance.sample(list(VALUES), chance.randint(1, 5))
        variants = Variants(base, "x")
        for _ in range(10):
            values = {key: chance.choice(VALUES[key]) for key in keys}
            said = f"x, {told(values)}"
            expected = outcome(lambda values=values, said=said: study_at(base, values, said))
            found = outcome(lambda values=values, variants=variants: variants.at(values))
            assert found == expected
            if isinstance(found, str) or isinstance(expected, str):
                continue
            assert study_dict(found) == study_dict(expected)
            assert point_id(found, "sum", {"b": "2", "a": "1"}) == slow_id(expected)
            for stage in ("train", "compress", "quantise"):
                assert network_key(stage, found) == network_key(stage, expected)
            possible += 1
    assert possible > 10


def test_values_of_another_type_are_other_values() -> None:
    """1 and 1.0 and true are equal in Python, and are kept apart."""
    variants = Variants(raw_study("digits")[0], "x")
    assert variants.at({"hardware.crossbar.rows": 32}).hardware.crossbar.rows == 32
    with pytest.raises(XbarError, match=r"crossbar\.rows = 32\.5"):
        variants.at({"hardware.crossbar.rows": 32.5})
    assert variants.at({"seed": 1}).seed == 1
    with pytest.raises(XbarError, match="seed = True"):
        variants.at({"seed": True})


def test_what_does_not_fit_together_is_refused_at_each_point_where_it_does_not() -> None:
    """Two slices need two bit lines: neither value alone is wrong."""
    variants = Variants(raw_study("digits")[0], "x")
    for cols, slices, fits in ((32, 2, True), (1, 1, True), (1, 2, False), (32, 1, True), (1, 2, False)):
        values = {"hardware.crossbar.cols": cols, "hardware.encoding.slices": slices}
        if fits:
            assert variants.at(values).hardware.crossbar.cols == cols
        else:
            with pytest.raises(XbarError, match=r"^x, hardware\.crossbar\.cols = 1, .*needs at least 2 bit"):
                variants.at(values)


def test_conditions_read_the_study_of_each_point() -> None:
    axes = (
        Axis("hardware.crossbar.cols", values=(1, 16, 64)),
        Axis("hardware.encoding.slices", values=(1, 2)),
        Axis("compress.rate", values=(2.0, 4.0)),
    )
    where = "hardware.crossbar.cols >= hardware.encoding.slices and compress.rate * seed <= 2"
    sweep = Sweep("s", "digits", axes, set={"seed": 1}, where=(where,))
    found = [tuple(point.values.values()) for point in points_of(sweep)]
    assert found == [(1, 1, 2.0), (16, 1, 2.0), (16, 2, 2.0), (64, 1, 2.0), (64, 2, 2.0)]


def test_a_point_that_sets_other_keys_takes_nothing_of_those_before() -> None:
    base, _ = raw_study("digits")
    variants = Variants(base, "x", [Condition("seed < 9")])
    variants.at({"seed": 5, "hardware.adc.bits": 4})
    found = variants.meeting({"hardware.adc.bits": 5})
    assert found is not None
    assert (found.seed, found.hardware.adc.bits) == (0, 5)


def test_the_device_file_of_a_layer_is_read_anew(tmp_path: Path) -> None:
    device = tmp_path / "mine.toml"
    plain = to_dict(load_device("ideal"))
    device.write_text(tomli_w.dumps(plain))
    setting = LayerSetting("fc1", {"device": str(device)})
    hardware = study_at(raw_study("digits")[0], {}, "x").hardware
    for share in (0.0, 0.125):
        device.write_text(tomli_w.dumps({**plain, "p_stuck_g_min": share}))
        on = setting.on(hardware)
        assert on is not None
        assert on.device.p_stuck_g_min == share


def test_many_points_share_their_parts(tmp_path: Path) -> None:
    axes = (Axis("hardware.adc.bits", values=(5, 6)), Axis("seed", values=tuple(range(50))))
    points = list(points_of(Sweep("s", "digits", axes)))
    assert len({id(point.study.hardware) for point in points}) <= 3
    assert len({id(point.study.train) for point in points}) == 1
    assert len(plan(points, None, tmp_path).points) == len(values_of(axes[1])) * 2
