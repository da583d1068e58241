"""Arguments of a wrong kind are refused in one line that names them, by every function that takes them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import mapping
import power
import xbar
from xbar import XbarError

MODEL = nn.Sequential(nn.Linear(6, 4))
HARDWARE = xbar.load_hardware("admm-32x32")
BATCHES = [(torch.rand(2, 6), torch.zeros(2, dtype=torch.long))]
MAPPED = mapping.map_network(MODEL, HARDWARE, BATCHES[0][0])
CHIP = mapping.program_network(mapping.calibrate(MAPPED, MODEL, BATCHES)[0])
TABLE = mapping.width_table({"0": torch.rand(6, 4)})
NEEDED: dict[str, Any] = {
    "model": MODEL,
    "mapped": MAPPED,
    "chip": CHIP,
    "hardware": HARDWARE,
    "batches": BATCHES,
    "example_input": BATCHES[0][0],
    "recipe": mapping.Recipe(epochs=1),
    "times": (1.0,),
    "arrays": 100,
    "most": 2,
    "folder": "netlists",
    "name": "0",
    "table": TABLE,
    "total": 1e6,
}

OF_A_NETWORK = [
    *((name, "mapped") for name in ("program_network", "around_faults", "duplicate", "estimate")),
    *((name, "chip") for name in ("tile_netlist", "export_netlists", "programming", "estimate")),
    *((name, "hardware") for name in ("map_network", "nameplate")),
    *((name, "model") for name in ("map_network", "crossbar_form", "train")),
    *(("analog_network", each) for each in ("model", "chip")),
    *(
        (name, each)
        for name in (
            "trainable_network",
            "calibrate",
            "chip_accuracy",
            "accuracy_over_time",
            "noise_by_layer",
        )
        for each in ("model", "mapped")
    ),
    ("train", "recipe"),
]


def exported(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(mapping if hasattr(mapping, name) else power, name)
    return found


@pytest.mark.parametrize(("name", "argument"), OF_A_NETWORK)
@pytest.mark.parametrize("wrong", ["a", 1.5, {}])
def test_what_is_no_network(name: str, argument: str, wrong: object) -> None:
    function = exported(name)
    needed = {
        key: NEEDED[key]
        for key, one in inspect.signature(function).parameters.items()
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD
    }
    with pytest.raises(XbarError, match=f"^{argument}: a {type(wrong).__name__}; must be a "):
        function(**{**needed, argument: wrong})


NUMBERS = [
    *((lambda ignore, name=name: getattr(mapping, name)(ignore)) for name in ("mean_iou", "perplexity")),
    lambda ignore: mapping.pixel_classes(ignore),
    lambda threshold: mapping.binary(threshold),
    lambda total: mapping.WidthBudget(total),
    lambda bits: mapping.WidthBudget(1e6, widths=(bits,)),
    lambda bits: mapping.WidthBudget(1e6, index_bits=bits),
    lambda total: mapping.choose_widths(TABLE, total),
    lambda rate: mapping.shares_for_rate(rate, {"0": 24}, {"0": 1.0}),
    lambda band: mapping.tile_netlist(CHIP, "0", band),
    lambda tile: mapping.tile_netlist(CHIP, "0", 0, tile),
    lambda plane: mapping.tile_netlist(CHIP, "0", 0, 0, plane),
    lambda seed: mapping.train(MODEL, BATCHES, mapping.Recipe(epochs=1), seed=seed),
]


@pytest.mark.parametrize("call", NUMBERS)
@pytest.mark.parametrize("wrong", ["a", math.nan, None])
def test_what_is_no_number(call: Callable[[object], object], wrong: object) -> None:
    with pytest.raises(XbarError, match=r"must be a (whole )?number|must lie between") as told:
        call(wrong)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("call", [mapping.WidthBudget, lambda total: mapping.choose_widths(TABLE, total)])
def test_a_budget_below_zero(call: Callable[[float], object]) -> None:
    with pytest.raises(XbarError, match="total = -1: must lie between 0"):
        call(-1)


@pytest.mark.parametrize("wrong", [1.5, None, 3])
def test_a_name_that_is_no_text(wrong: object) -> None:
    with pytest.raises(XbarError, match="unknown name"):
        mapping.tile_netlist(CHIP, wrong)  # type: ignore[arg-type]
