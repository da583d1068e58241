"""Keeps under a limit of cost: by hand, against brute force on tiny grids, and the limit on any case."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import power_cases
import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import Case, cases, design, designs, seeds
from torch import nn

from mapping import map_network
from mapping.constraints.constraint import BlockSparse
from mapping.network.gemm import mappable_layers
from mapping.smaller_networks.hardware_budget import (
    errors_of,
    greedy,
    keep_within,
    lost_energy,
    with_mask,
)
from mapping.smaller_networks.limited import Limited
from mapping.smaller_networks.sensitivity import LayerLoss
from mapping.tiles.mapped import MappedNetwork
from mapping.tiles.mapper import without_weights
from power.estimates.table import estimate
from xbar import XbarError
from xbar.hardware.design import Hardware

GRID = (1.0, 0.75, 0.5, 0.25)
NAMES = ("0", "2", "4")


def small(seed: int = 0) -> nn.Sequential:
    """Three layers with 48, 32 and 16 weights."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 4))


def single(keep: float) -> BlockSparse:
    return BlockSparse(1, 1, keep)


def columns(keep: float) -> BlockSparse:
    return BlockSparse(2, 1, keep)


def mapped_small(model: nn.Module, hardware: Hardware | None = None) -> MappedNetwork:
    return map_network(model, hardware or design(rows=2, cols=2), torch.rand(1, 6))


def kept(mapped: MappedNetwork) -> float:
    return float(mapped.weights_kept)


def tiles(mapped: MappedNetwork) -> float:
    return float(mapped.tiles_per_plane)


def rows_and_tiles(mapped: MappedNetwork) -> float:
    return sum(
        len(tile.rows) + 3 * len(layer.tiles) for layer in mapped.layers.values() for tile in layer.tiles
    )


def slowest(mapped: MappedNetwork) -> float:
    """A cost that does not add up over the layers."""
    return float(max(len(layer.tiles) for layer in mapped.layers.values()))


COSTS = (kept, tiles, rows_and_tiles, slowest)


def cost_of(
    model: nn.Module, mapped: MappedNetwork, keeps: dict[str, float], family=columns
) -> MappedNetwork:
    """The mapping from scratch of the network that is projected with these keeps."""
    layers = mappable_layers(model)
    masks = {n: family(k).project(layers[n].weight.detach().flatten(1).t())[1] for n, k in keeps.items()}
    return map_network(model, mapped.hardware, torch.rand(1, 6), masks=masks)


def test_within_by_hand() -> None:
    """Shares 2 : 1 of 48 and 32 weights, 16 stay: c (96 + 32) + 16 = 80 at c = 1/2, which fills layer 0."""
    model = small()
    mapped = mapped_small(model)
    found = keep_within(model, mapped, {"0": single, "2": single}, {"0": 2.0, "2": 1.0}, kept, 80)
    assert found.cost == 80
    assert found.choices == {
        "0": 1.0,
        "2": pytest.approx(17 / 32, rel=1e-3),
    }  # from 17 / 32 on one more stays
    assert found.choices["2"] < 17 / 32
    assert kept(mapped) == 96


@settings(max_examples=20)
@given(designs(), cases())
def test_masks_give_the_mapping_that_the_mapper_gives(hardware: Hardware, case: Case) -> None:
    plain = map_network(case.model, hardware, case.x)
    scales = {name: layer.scale for name, layer in plain.layers.items()}
    expected = map_network(case.model, hardware, case.x, masks=case.masks, scales=scales)
    for mapped, wanted in ((plain, expected), (without_weights(plain), without_weights(expected))):
        masked = {name: with_mask(mapped.layers[name], mask.numpy()) for name, mask in case.masks.items()}
        assert dataclasses.replace(mapped, layers={**mapped.layers, **masked}) == wanted


@given(
    seeds,
    st.sampled_from(COSTS),
    st.floats(0.02, 1.2),
    st.fixed_dictionaries(dict.fromkeys(NAMES, st.floats(0.2, 5))),
)
def test_within_fills_the_limit(seed: int, cost, part: float, shares: dict[str, float]) -> None:
    """The result, mapped from scratch, is within the limit; the factor one step up is over it."""
    model = small(seed)
    before = copy.deepcopy(model.state_dict())
    mapped = mapped_small(model)
    families, dense, resolution = dict.fromkeys(NAMES, columns), cost(mapped), 0.01
    limit = part * dense
    least = cost(cost_of(model, mapped, dict.fromkeys(NAMES, 1e-6)))
    if least > limit:
        with pytest.raises(XbarError, match=f"already cost {least:.4g}$"):
            keep_within(model, mapped, families, shares, cost, limit, resolution=resolution)
        return
    found = keep_within(model, mapped, families, shares, cost, limit, resolution=resolution)
    assert found.cost == cost(cost_of(model, mapped, found.choices)) <= limit
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    if found.cost == dense:
        return
    factor = max(found.choices[name] / shares[name] for name in NAMES)
    assert found.choices == {name: pytest.approx(min(1, factor * shares[name])) for name in NAMES}
    over = [step for step in found.trials if step.cost > limit]
    next_up = min(max(step.choices[name] / shares[name] for name in NAMES) for step in over)
    assert factor < next_up <= factor * (1 + resolution) * (1 + 1e-9)


def test_all_stays_where_it_fits() -> None:
    model = small()
    mapped = mapped_small(model)
    families = dict.fromkeys(NAMES, single)
    found = keep_within(model, mapped, families, {"0": 0.41, "2": 2, "4": 1}, kept, 96)
    assert found == Limited(dict.fromkeys(NAMES, 1.0), 96, found.trials)
    table = {name: dict.fromkeys(GRID, 0.0) for name in NAMES}
    assert greedy(model, mapped, families, table, kept, 96).choices == dict.fromkeys(NAMES, 1.0)


def test_greedy_by_hand() -> None:
    """Least lost for a weight saved: layer 4 to 1/4 (0.5 / 12); layer 2 to 1/2 (1 / 16), beyond the 3/4 that
    loses as much. That is more than needed, and layer 4 steps up to 3/4,
    which gains more than 1/2."""
    model = small()
    table = {
        "0": {1: 0, 0.5: 9},
        "2": {1: 0, 0.75: 1, 0.5: 1},
        "4": {1: 0, 0.75: 0.3, 0.5: 0.4, 0.25: 0.5},
    }
    found = greedy(model, mapped_small(model), dict.fromkeys(NAMES, single), table, kept, 78)
    assert [
        (step.choices["0"], step.choices["2"], step.choices["4"], step.cost) for step in found.trials
    ] == [
        (1, 1, 1, 96),
        (1, 1, 0.25, 84),
        (1, 0.5, 0.25, 68),
        (1, 0.5, 0.75, 76),
    ]
    assert found.choices == {"0": 1, "2": 0.5, "4": 0.75}
    assert found.cost == 76


def test_savings_that_do_not_add_up_are_measured_anew() -> None:
    """The largest layer decides, 48, then 32: layer 2 saves nothing at first, layer 4 never does."""
    model = small()
    table = {"0": {1: 0, 0.25: 1}, "2": {1: 0, 0.5: 1}, "4": {1: 0, 0.5: 0.001}}

    def largest(mapped: MappedNetwork) -> float:
        return float(max(layer.weights_kept for layer in mapped.layers.values()))

    found = greedy(model, mapped_small(model), dict.fromkeys(NAMES, single), table, largest, 20)
    assert [tuple(step.choices.values()) for step in found.trials] == [
        (1, 1, 1),
        (0.25, 1, 1),
        (0.25, 0.5, 1),
    ]
    assert [step.cost for step in found.trials] == [48, 32, 16]


def test_an_error_that_falls_with_the_keep_is_luck() -> None:
    """Layer 4 measures better at 1/4 than at 3/4: it still counts as worse than layer 2's step."""
    model = small()
    table = {"0": {1: 0}, "2": {1: 0, 0.5: 0.1}, "4": {1: 0, 0.75: 2, 0.25: -5}}
    found = greedy(model, mapped_small(model), dict.fromkeys(NAMES, single), table, kept, 80)
    assert found.choices == {"0": 1, "2": 0.5, "4": 1}


@settings(max_examples=30)
@given(
    seeds,
    st.fixed_dictionaries(
        {name: st.lists(st.integers(0, 20), min_size=3, max_size=3).map(sorted) for name in NAMES}
    ),
    st.sampled_from((kept, tiles)),
    st.floats(0.2, 1.1),
)
def test_greedy_against_all_choices(seed: int, drawn: dict[str, list[int]], cost, part: float) -> None:
    """Within the limit, no step up fits, and no worse than the best by more than the last step down lost."""
    model = small(seed)
    mapped = mapped_small(model)
    families = dict.fromkeys(NAMES, columns)
    table = {name: dict(zip(GRID, [0, *drawn[name]], strict=True)) for name in NAMES}
    limit = part * cost(mapped)

    def total(keeps) -> float:
        return sum(table[name][keep] for name, keep in keeps.items())

    choices = [dict(zip(NAMES, keeps, strict=True)) for keeps in itertools.product(GRID, repeat=3)]
    of_layer = {
        (name, keep): cost(with_only(cost_of(model, mapped, {name: keep}), name))
        for name in NAMES
        for keep in GRID
    }
    prices = {tuple(keeps.items()): sum(of_layer[item] for item in keeps.items()) for keeps in choices}
    fitting = [keeps for keeps in choices if prices[tuple(keeps.items())] <= limit]
    if not fitting:
        with pytest.raises(XbarError, match=f"already cost {min(prices.values()):.4g}"):
            greedy(model, mapped, families, table, cost, limit)
        return
    found = greedy(model, mapped, families, table, cost, limit)
    assert found.cost == prices[tuple(found.choices.items())] <= limit
    for name, keep in itertools.product(NAMES, GRID):
        if keep > found.choices[name] and table[name][keep] < table[name][found.choices[name]]:
            assert prices[tuple({**found.choices, name: keep}.items())] > limit
    down = [total(step.choices) for step in found.trials]
    last = next(i for i, step in enumerate(found.trials) if step.cost <= limit)
    lost_last = down[last] - down[last - 1] if last else 0.0
    assert total(found.choices) <= min(map(total, fitting)) + lost_last + 1e-9


def with_only(mapped: MappedNetwork, name: str) -> MappedNetwork:
    return dataclasses.replace(mapped, layers={name: mapped.layers[name]})


@settings(max_examples=30)
@given(seeds, st.sampled_from((slowest, rows_and_tiles)), st.floats(0.05, 1))
def test_greedy_reaches_a_limit_of_any_cost(seed: int, cost, part: float) -> None:
    """Also where one layer alone decides, and single steps save nothing."""
    model = small(seed)
    mapped = mapped_small(model)
    families = dict.fromkeys(NAMES, columns)
    table = lost_energy(model, families, GRID)
    least = cost(cost_of(model, mapped, dict.fromkeys(NAMES, min(GRID))))
    limit = max(part * cost(mapped), least)
    found = greedy(model, mapped, families, table, cost, limit)
    assert found.cost == cost(cost_of(model, mapped, found.choices)) <= limit
    for name, keep in itertools.product(NAMES, GRID):
        if keep > found.choices[name] and table[name][keep] < table[name][found.choices[name]]:
            assert cost(cost_of(model, mapped, {**found.choices, name: keep})) > limit


def test_savings_that_add_up_are_measured_once() -> None:
    """At most one cost for each point of the grid and each step, and the largest and smallest keeps."""
    model, calls = small(), []

    def counted(mapped: MappedNetwork) -> float:
        calls.append(kept(mapped))
        return calls[-1]

    table = lost_energy(model, dict.fromkeys(NAMES, single), GRID)
    found = greedy(model, mapped_small(model), dict.fromkeys(NAMES, single), table, counted, 40)
    ups = sum(a.cost < b.cost for a, b in itertools.pairwise(found.trials))
    points = len(NAMES) * len(GRID)
    assert len(calls) <= 2 + points + len(found.trials) - 1 + (1 + ups) * points


def test_area_and_energy_of_the_estimate_are_limits() -> None:
    model = small()
    mapped = without_weights(mapped_small(model, power_cases.hardware(rows=2, cols=2)))
    families = dict.fromkeys(NAMES, columns)
    costs = (lambda m: estimate(m).area_mm2, lambda m: estimate(m).energy_nj_per_image)
    for cost in costs:
        limit = 0.6 * cost(mapped)
        found = keep_within(model, mapped, families, {"0": 1.0, "2": 0.8, "4": 1.3}, cost, limit)
        assert 0.9 * limit < found.cost <= limit


def test_errors_by_hand() -> None:
    model = nn.Sequential(nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([[1.0, -3.0]])
    assert lost_energy(model, {"0": single}, [1, 0.5]) == {"0": {1: 0, 0.5: pytest.approx(0.1)}}
    rows = [
        LayerLoss("a", 2, 5, 10, 90, 95),
        LayerLoss("b", 4, 2, 8, 96, 95),
        LayerLoss("a", 4, 2, 10, 60, 95),
    ]
    assert errors_of(rows) == {"a": {1: 0, 0.5: 5, 0.25: 35}, "b": {1: 0, 0.25: -1}}


@pytest.mark.parametrize(
    ("search", "change", "words"),
    [
        (keep_within, {"limit": 2}, r"limit = 2: out of reach; the smallest choices already cost 3$"),
        (greedy, {"limit": 20}, r"limit = 20: out of reach; the smallest choices already cost 24$"),
        (keep_within, {"limit": 0}, "limit = 0: must be a positive number"),
        (greedy, {"limit": float("nan")}, "limit = nan: must be a positive number"),
        (keep_within, {"families": {}}, "needs at least one layer"),
        (keep_within, {"families": {"0": single}}, "share: layer: unknown name '2'; allowed: 0"),
        (greedy, {"families": dict.fromkeys(("0", "2", "4", "9"), single)}, "table of errors of 9: missing"),
        (keep_within, {"shares": dict.fromkeys(NAMES, 0.0)}, "share of 0 = 0.0: must lie between"),
        (keep_within, {"resolution": 0}, "resolution = 0: must lie between"),
        (keep_within, {"cost": lambda _: float("inf")}, "cost of the mapping = inf: must be a finite number"),
        (greedy, {"errors": {name: {} for name in NAMES}}, "table of errors of 0: needs at least one keep"),
        (greedy, {"errors": {name: {1: float("nan")} for name in NAMES}}, "error of 0 at keep 1 = nan"),
        (greedy, {"errors": {name: {1.5: 0} for name in NAMES}}, r"keep = 1.5: must lie in \(0, 1\]"),
        (keep_within, {"model": nn.Sequential(nn.Linear(6, 8))}, "layer: unknown name '2'; allowed: 0"),
        (keep_within, {"model": small().to("meta")}, "0: its weights have no values"),
        (
            keep_within,
            {"model": nn.Sequential(nn.Linear(5, 8), *small()[1:])},
            r"0: its GEMM matrix is \(6, 8\) in the mapping; map this network",
        ),
        (
            greedy,
            {"mapped": with_only(mapped_small(small()), "0")},
            "layer on crossbars: unknown name '2'; allowed: 0",
        ),
    ],
)
def test_mistakes_are_one_line(search, change: dict, words: str) -> None:
    model = small()
    arguments = {
        "model": model,
        "mapped": mapped_small(model),
        "families": dict.fromkeys(NAMES, single),
        "cost": kept,
        "limit": 50,
    }
    arguments |= {"shares": dict.fromkeys(NAMES, 1.0)} if search is keep_within else {}
    arguments |= (
        {"errors": lost_energy(model, dict.fromkeys(NAMES, single), GRID)} if search is greedy else {}
    )
    with pytest.raises(XbarError, match=words) as error:
        search(**{**arguments, **change})
    assert "\n" not in str(error.value)
