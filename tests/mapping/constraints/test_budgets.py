"""Budgets of a network against exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from mapping.constraints.budgets import NonzeroBudget, Width, WidthBudget, choose_widths, width_table
from mapping.constraints.levels import Levels, equal_levels
from xbar import XbarError

seeds = st.integers(0, 2**31 - 1)


def network(seed: int, *shapes: tuple[int, int]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"layer{i}": torch.randn(shape, generator=generator, dtype=torch.float64)
        for i, shape in enumerate(shapes)
    }


def flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([t.flatten() for t in tensors])


@given(seeds, st.integers(0, 24), st.booleans())
def test_the_largest_weights_of_the_network_stay(seed: int, total: int, ties: bool) -> None:
    v = network(seed, (3, 2), (2, 4), (5, 1))
    v = {name: w.sign() for name, w in v.items()} if ties else v
    before = {name: w.clone() for name, w in v.items()}
    done = NonzeroBudget(total).project(v)
    z, masks = flat([z for z, _ in done.values()]), flat([mask for _, mask in done.values()])
    w = flat(list(v.values()))
    assert list(done) == list(v)
    assert all(torch.equal(v[name], before[name]) for name in v)
    assert all(done[name][0].shape == done[name][1].shape == v[name].shape for name in v)
    assert int(masks.sum()) == min(total, len(w))
    assert torch.equal(z, torch.where(masks, w, 0.0))
    assert float(z.square().sum()) == pytest.approx(
        float(w.square().sort().values[len(w) - min(total, 19) :].sum())
    )
    again = NonzeroBudget(total).project({name: z for name, (z, _) in done.items()})
    assert all(torch.equal(again[name][0], done[name][0]) for name in v)
    assert NonzeroBudget(total).exact


@given(seeds, st.integers(0, 50), st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8)))
def test_bits_fall_short_of_the_best_by_at_most_one_weight(
    seed: int, total: int, bits: tuple[int, int, int]
) -> None:
    v = network(seed, (2, 2), (1, 3), (3, 1))
    cost = {name: b + 0.5 for name, b in zip(v, bits, strict=True)}
    constraint = NonzeroBudget(total, cost)
    done = constraint.project(v)
    costs = flat([torch.full_like(w, cost[name]) for name, w in v.items()])
    mask = flat([mask for _, mask in done.values()])
    energy = flat(list(v.values())).square()
    subsets = torch.tensor(list(itertools.product([0.0, 1.0], repeat=10)), dtype=torch.float64)
    best = float((subsets @ energy)[subsets @ costs <= total].max())
    order = (energy / costs).argsort(descending=True)
    missed = [
        float(energy[i]) for i, spent in zip(order, costs[order].cumsum(0), strict=True) if spent > total
    ]
    kept = float(energy[mask].sum())
    assert float(costs[mask].sum()) <= total
    assert best - 1e-12 - (missed[0] if missed else 0.0) <= kept <= best + 1e-12
    assert not mask.all() or not missed
    assert not (costs[~mask] <= total - float(costs[mask].sum())).any(), "another weight would fit"
    assert constraint.exact == (len(set(bits)) == 1)
    if constraint.exact:
        assert kept == pytest.approx(best)


def test_many_cheap_weights_are_worth_more_than_a_dear_one() -> None:
    v = {"dear": torch.tensor([[2.0]]), "cheap": torch.ones(2, 4)}
    done = NonzeroBudget(8, {"dear": 8, "cheap": 1}).project(v)
    assert not done["dear"][1].any()
    assert done["cheap"][1].all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_costs_do_not_take_the_precision_of_the_weights(dtype: torch.dtype) -> None:
    done = NonzeroBudget(1, {"a": 0.1}).project({"a": torch.ones(5, 4, dtype=dtype)})
    assert int(done["a"][1].sum()) == 10
    assert done["a"][0].dtype == dtype


def test_what_a_budget_refuses() -> None:
    v = network(0, (2, 2), (1, 3))
    with pytest.raises(XbarError, match="total = -1"):
        NonzeroBudget(-1)
    with pytest.raises(XbarError, match="cost of a nonzero of layer0 = 0"):
        NonzeroBudget(1, {"layer0": 0})
    with pytest.raises(XbarError, match="layer of a budget: unknown name 'layer1'"):
        NonzeroBudget(1, {"layer0": 2}).project(v)
    with pytest.raises(XbarError, match="cost of a nonzero: unknown name 'layer2'; did you mean"):
        NonzeroBudget(1, {"layer0": 2, "layer1": 2, "layer2": 2}).project(v)


def test_the_table_holds_cost_and_error_of_equal_levels() -> None:
    v = network(1, (6, 5), (4, 4))
    mask = v["layer1"] > -0.5
    table = width_table(v, {"layer1": mask}, widths=(1, 3), index_bits=4)
    for name, kept in (("layer0", torch.ones(6, 5, dtype=torch.bool)), ("layer1", mask)):
        assert set(table[name]) == {1, 3}
        for bits, levels in ((1, 1), (3, 4)):
            z, _ = Levels(equal_levels(levels), kept).project(v[name])
            assert table[name][bits].cost == (bits + 4) * int(kept.sum())
            assert table[name][bits].error == pytest.approx(
                float((v[name] - z)[kept].square().sum()), rel=1e-12
            )


tables = st.lists(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30)), min_size=1, max_size=5),
    min_size=1,
    max_size=4,
)


@given(tables, st.integers(0, 40))
def test_widths_are_the_best_but_for_one_step(points: list[list[tuple[int, int]]], total: int) -> None:
    table = {
        f"layer{i}": {b: Width(*point) for b, point in enumerate(layer, 1)} for i, layer in enumerate(points)
    }
    combinations = [list(c) for c in itertools.product(*points)]
    reachable = [sum(e for _, e in c) for c in combinations if sum(cost for cost, _ in c) <= total]
    if not reachable:
        with pytest.raises(XbarError, match="the fewest bits of every layer already cost"):
            choose_widths(table, total)
        return
    chosen = choose_widths(table, total)
    assert list(chosen) == list(table)
    assert sum(table[name][b].cost for name, b in chosen.items()) <= total
    found = sum(table[name][b].error for name, b in chosen.items())
    assert min(reachable) <= found <= min(reachable) + first_missed(points, total)
    least = sum(min(e for _, e in layer) for layer in points)
    if sum(min(cost for cost, e in layer if e == min(e for _, e in layer)) for layer in points) <= total:
        assert found == least


def first_missed(points: list[list[tuple[int, int]]], total: int) -> float:
    """What the first step along the layers' lower hulls that does not fit would save.

    A step goes from a point to the one of steepest slope among those of higher cost.
    """
    steps, spent = [], 0
    for layer in points:
        cost, error = min(layer)
        spent += cost
        while further := [p for p in layer if p[0] > cost and p[1] < error]:
            end = min(further, key=lambda p: ((p[1] - error) / (p[0] - cost), -p[0]))
            steps.append(((end[1] - error) / (end[0] - cost), end[0] - cost, error - end[1]))
            cost, error = end
    missed = 0.0
    for _, more, saved in sorted(steps, key=lambda step: step[0]):
        spent += more
        if spent > total:
            missed = max(missed, saved)  # of equal slopes any may come first
    return missed


def test_widths_go_where_they_save_most() -> None:
    """And a point above the hull (2 bits of `a`) is stepped over."""
    a = {1: Width(1, 10), 2: Width(2, 9), 3: Width(3, 0)}
    b = {1: Width(1, 4), 2: Width(2, 1), 3: Width(3, 0)}
    assert [choose_widths({"a": a, "b": b}, total) for total in (2, 3, 4, 5, 6)] == [
        {"a": 1, "b": 1},
        {"a": 1, "b": 2},
        {"a": 3, "b": 1},
        {"a": 3, "b": 2},
        {"a": 3, "b": 3},
    ]


@given(seeds, st.integers(60, 400))
def test_weights_lie_on_the_levels_of_their_width(seed: int, total: int) -> None:
    v = network(seed, (6, 4), (5, 3))
    mask = v["layer0"] > 0
    constraint = WidthBudget(total, {"layer0": mask}, widths=(1, 2, 4), index_bits=0.5)
    bits = constraint.choose(v)
    done = constraint.project(v)
    kept = {"layer0": mask, "layer1": torch.ones(5, 3, dtype=torch.bool)}
    assert sum((bits[name] + 0.5) * int(kept[name].sum()) for name in v) <= total
    assert bits == choose_widths(width_table(v, {"layer0": mask}, (1, 2, 4), 0.5), total)
    for name in v:
        assert torch.equal(done[name][1], kept[name])
        expected, _ = Levels(equal_levels({1: 1, 2: 2, 4: 8}[bits[name]]), kept[name]).project(v[name])
        assert torch.equal(done[name][0], expected)
    assert not constraint.exact


def test_more_bits_are_no_farther() -> None:
    v = network(4, (20, 10), (30, 5))
    v["layer1"] *= 3
    errors = []
    for total in np.linspace(350, 2800, 8):
        done = WidthBudget(float(total)).project(v)
        errors.append(sum(float((v[name] - z).square().sum()) for name, (z, _) in done.items()))
    assert errors == sorted(errors, reverse=True)
    assert WidthBudget(350).choose(v) == {"layer0": 1, "layer1": 1}
    assert WidthBudget(2800).choose(v) == {"layer0": 8, "layer1": 8}


def test_what_widths_refuse() -> None:
    v = network(0, (2, 2))
    with pytest.raises(XbarError, match="bits of a weight = 17"):
        width_table(v, widths=(17,))
    with pytest.raises(XbarError, match="mask: unknown name 'layer1'"):
        width_table(v, {"layer1": torch.ones(2, 2, dtype=torch.bool)})
    with pytest.raises(XbarError, match="index_bits = -1"):
        width_table(v, index_bits=-1)
    with pytest.raises(XbarError, match="budget of 3 bits: the fewest bits of every layer already cost 4"):
        WidthBudget(3).project(v)
