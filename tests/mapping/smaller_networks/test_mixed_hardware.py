"""Hardware by layer under a limit of cost: by hand, against all choices, and mistakes."""

from __future__ import annotations

import itertools

import power_cases
import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import design
from torch import nn

from mapping import Choice, map_network
from mapping.smaller_networks.mixed_hardware import hardware_within
from mapping.tiles.mapped import MappedNetwork
from power.estimates.table import estimate
from xbar import XbarError

WIDE, MIDDLE, NARROW = (design(rows=2, cols=3, encoding__slices=slices) for slices in (3, 2, 1))
THREE = {"wide": WIDE, "middle": MIDDLE, "narrow": NARROW}
NAMES = ("0", "2", "4")


def small(seed: int = 0) -> nn.Sequential:
    """Three layers with 48, 32 and 16 weights."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 4))


def cells(mapped: MappedNetwork) -> float:
    """Slices of all kept weights of a plane."""
    return float(sum(layer.weights_kept * layer.hardware.encoding.slices for layer in mapped.layers.values()))


def by_layer(errors: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(THREE, errors, strict=True))


def test_within_by_hand() -> None:
    """96 weights in 3 slices are 288 cells. Saved for an error: layer 4 goes to 1 slice (1 for 32), then
    layer 2 to 2 slices (4 for 32); the 224 left are within 230."""
    errors = {"0": by_layer((0, 12, 24)), "2": by_layer((0, 4, 20)), "4": by_layer((0, 1, 1))}
    found = hardware_within(small(), WIDE, torch.rand(1, 6), {"*": THREE}, errors, cells, 230)
    assert found.choices == {"0": "wide", "2": "middle", "4": "narrow"}
    assert found.cost == 224
    assert [trial.cost for trial in found.trials] == [288, 256, 224]


def test_options_of_some_layers() -> None:
    """The others are on the hardware of the network; options may differ by layer."""
    options = {"2": {"a": WIDE, "b": NARROW}, "4": {"b": MIDDLE, "c": NARROW}}
    errors = {"2": {"a": 0, "b": 1}, "4": {"b": 0, "c": 9}}
    found = hardware_within(small(), MIDDLE, torch.rand(1, 6), options, errors, cells, 190)
    assert (found.choices, found.cost) == ({"2": "b", "4": "b"}, 96 + 32 + 32)


def test_an_option_that_costs_more_and_loses_more_is_left_out() -> None:
    errors = {"0": by_layer((5, 0, 9))}
    found = hardware_within(small(), NARROW, torch.rand(1, 6), {"0": THREE}, errors, cells, 1000)
    assert found.choices == {"0": "middle"}
    found = hardware_within(small(), NARROW, torch.rand(1, 6), {"0": THREE}, errors, cells, 96)
    assert found.choices == {"0": "narrow"}


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=3, max_size=3),
    st.floats(0.3, 1.1),
)
def test_against_all_choices(drawn: list[list[int]], part: float) -> None:
    """Within the limit, no better choice of one layer fits, and no worse than the best by more than the last
    step down lost."""
    errors = {name: by_layer(tuple(own)) for name, own in zip(NAMES, drawn, strict=True)}
    weights = dict(zip(NAMES, (48, 32, 16), strict=True))
    limit = part * 288

    def cost(chosen: dict[str, str]) -> float:
        return sum(weights[name] * THREE[option].encoding.slices for name, option in chosen.items())

    def total(chosen: dict[str, str]) -> float:
        return sum(errors[name][option] for name, option in chosen.items())

    everything = [dict(zip(NAMES, found, strict=True)) for found in itertools.product(THREE, repeat=3)]
    fitting = [chosen for chosen in everything if cost(chosen) <= limit]
    model, x = small(), torch.rand(1, 6)
    if not fitting:
        with pytest.raises(XbarError, match="out of reach; the smallest choices already cost 96"):
            hardware_within(model, WIDE, x, {"*": THREE}, errors, cells, limit)
        return
    found = hardware_within(model, WIDE, x, {"*": THREE}, errors, cells, limit)
    assert found.cost == cost(found.choices) <= limit
    for name, option in itertools.product(NAMES, THREE):
        if errors[name][option] < errors[name][found.choices[name]]:
            assert cost({**found.choices, name: option}) > limit
    down = [total(trial.choices) for trial in found.trials]
    last = next(i for i, trial in enumerate(found.trials) if trial.cost <= limit)
    lost_last = down[last] - down[last - 1] if last else 0
    assert total(found.choices) <= min(map(total, fitting)) + lost_last


def test_the_area_of_the_estimate_is_a_limit() -> None:
    """The choice, mapped from scratch, has the area that the search says."""
    wide = power_cases.hardware(rows=2, cols=2)
    options = {"wide": wide, "small converter": wide.replace(adc__bits=wide.adc.bits - 3)}
    errors = {name: {"wide": 0.0, "small converter": 1.0} for name in NAMES}

    def area(mapped: MappedNetwork) -> float:
        return estimate(mapped).area_mm2

    model, x = small(), torch.rand(1, 6)
    limit = sum(area(map_network(model, hardware, x)) for hardware in options.values()) / 2
    found = hardware_within(model, wide, x, {"Linear": options}, errors, area, limit)
    assert len(set(found.choices.values())) == 2
    layers = {name: Choice(hardware=options[option]) for name, option in found.choices.items()}
    assert area(map_network(model, wide, x, layers=layers)) == pytest.approx(found.cost)
    assert found.cost <= limit


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limit": 0}, "limit = 0: must be a positive number"),
        ({"limit": 20}, "limit = 20: out of reach; the smallest choices already cost 96"),
        ({"options": {}}, "options: need at least one layer"),
        ({"options": {"0": {}}}, "options of 0: need at least one"),
        ({"options": {"9": THREE}}, "options: nothing fits: unknown name '9'"),
        ({"options": {"0": {"a": 4}}}, "options of 0: a: a int; must be a Hardware"),
        ({"errors": {}}, "errors of 0: missing; each layer with options needs them"),
        ({"errors": {key: {"wide": 0.0} for key in NAMES}}, "errors of 0: middle: missing"),
        ({"errors": dict.fromkeys(NAMES, by_layer((0, 1, float("nan"))))}, "error of 0 on narrow = nan"),
        ({"errors": {key: {**by_layer((0, 1, 2)), "d": 1} for key in NAMES}}, "errors of 0: option: unknown"),
    ],
)
def test_mistakes_are_one_line(change: dict, words: str) -> None:
    given = {"options": {"*": THREE}, "errors": dict.fromkeys(NAMES, by_layer((0, 1, 2)))}
    given |= {"cost": cells, "limit": 200, **change}
    with pytest.raises(XbarError, match=words) as error:
        hardware_within(small(), WIDE, torch.rand(1, 6), **given)
    assert "\n" not in str(error.value)
