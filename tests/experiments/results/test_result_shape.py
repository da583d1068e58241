"""The shape of a result: it is read back as it was, its points have the names of runs, kept ones are read."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from result_case import complete_result
from torch import nn

from experiments.results import point_result, result as result_module
from experiments.results.point_result import PointResult
from experiments.results.result import Result, Side
from mapping import map_network
from power import estimate
from xbar import load_hardware
from xbar.hardware.errors import XbarError

KEPT = sorted((Path(__file__).resolve().parents[3] / "results").glob("*-seed*.json"))


def one_chip(result: dict) -> dict:
    """The same with a single chip, whose mean has no interval."""
    for case in (result["accuracy"]["chips"], *result["accuracy"]["chips_cases"]):
        case |= {"n": 1, "ci95_low": None, "ci95_high": None, "per_chip": case["per_chip"][:1]}
    return result


@pytest.mark.parametrize("change", [lambda result: result, one_chip], ids=["complete", "one chip"])
def test_plain_data_are_read_back_as_they_were(change: Any) -> None:
    result = Result.from_dict(change(complete_result()), "a test")
    plain = json.loads(json.dumps(result.to_dict()))
    again = Result.from_dict(plain, "a test")
    assert again == result
    assert again.to_dict() == result.to_dict()
    assert set(plain) >= {"name", "accuracy", "mapping", "estimate", "units", "study", "hardware", "stages"}
    if result.accuracy.chips.n == 1:
        assert plain["accuracy"]["chips"]["ci95_low"] is None  # null, not left out


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_results_are_read(path: Path) -> None:
    kept = json.loads(path.read_text(encoding="utf-8"))
    result = Result.from_dict(kept, path.name)
    assert result.accuracy.ideal_chip == kept["accuracy"]["ideal_chip"]
    assert result.estimate.after.area_mm2 == kept["estimate"]["after"]["area_mm2"]
    assert list(result.mapping.layers) == list(kept["mapping"]["layers"])


def names(cls: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def test_a_point_has_the_names_of_a_run() -> None:
    """`mapping.tiles_per_plane_after` of a sweep is that of `result.json`; the estimate is of one side."""
    of_run = {field.name: field.type for field in dataclasses.fields(Result)}
    modules = {**vars(result_module), **vars(point_result)}
    for field in dataclasses.fields(PointResult):
        whole = Side if field.name == "estimate" else modules[str(of_run[field.name])]
        assert names(modules[str(field.type)]) <= names(whole)


def test_a_side_has_every_figure_of_an_estimate() -> None:
    mapped = map_network(nn.Linear(4, 2), load_hardware("admm-32x32"), torch.rand(1, 4))
    assert names(Side) == set(estimate(mapped).to_dict())


def test_what_is_missing_is_named() -> None:
    broken = complete_result()
    del broken["mapping"]["utilisation"]
    with pytest.raises(XbarError, match=r"a file: mapping.utilisation: missing"):
        Result.from_dict(broken, "a file")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("accuracy.float", math.nan, "accuracy.float = nan: must be a number"),
        (
            "estimate.after.table",
            [{"energy_nj": math.nan}],
            "estimate.after.table.0.energy_nj = nan: must be",
        ),
        ("accuracy.flaot", 1.0, "accuracy.flaot: unknown key; did you mean 'float'?"),
        ("accuracy.chips.means", 1.0, "accuracy.chips.means: unknown key; did you mean 'mean'?"),
        ("mapping.layers.fc1.q", 1.0, "mapping.layers.fc1.q: unknown key; allowed: k, n,"),
        ("estimate.after.areas", 1.0, "estimate.after.areas: unknown key;"),
        ("figures", 1.0, "figures: unknown key;"),
    ],
)
def test_what_no_result_holds_is_refused(key: str, value: Any, message: str) -> None:
    """They were taken: a page showed nan, and a key that was misspelled was at its default."""
    result = complete_result()
    owner: Any = result
    *above, last = key.split(".")
    for part in above:
        owner = owner[part]
    owner[last] = value
    with pytest.raises(XbarError, match="a file: " + re.escape(message)) as caught:
        Result.from_dict(result, "a file")
    assert "\n" not in str(caught.value)


def test_what_costs_nothing_is_infinitely_efficient() -> None:
    result = complete_result()
    result["estimate"]["after"]["tops_per_w"] = math.inf
    found = Result.from_dict(json.loads(json.dumps(result)), "a file")
    assert found.estimate.after.tops_per_w == math.inf
