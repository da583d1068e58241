"""A joint budget against every choice on small networks, and against one number of bits for all layers."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import seeds

from mapping import JointBudget, Levels, NonzeroBudget, equal_levels
from xbar import XbarError


def drawn(seed: int, shapes: dict[str, tuple[int, int]]) -> dict[str, torch.Tensor]:
    """Layers of different scales and tails."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) * torch.rand(1, generator=generator)
        * torch.rand(shape, generator=generator) ** int(torch.randint(0, 5, (1,), generator=generator))
        for name, shape in shapes.items()
    }  # fmt: skip


def error_of(v: dict[str, torch.Tensor], z: dict[str, torch.Tensor]) -> float:
    return sum(float((v[name].double() - z[name].double()).square().sum()) for name in v)


def on_levels(w: torch.Tensor, bits: int, mask: torch.Tensor) -> torch.Tensor:
    return Levels(equal_levels(2 ** (bits - 1)), mask).project(w)[0]


@given(seed=seeds, total=st.integers(0, 300), index_bits=st.sampled_from([0, 3]))
@settings(max_examples=25, deadline=None)
def test_within_the_budget_on_levels_and_no_worse_than_equal_bits(
    seed: int, total: int, index_bits: int
) -> None:
    v = drawn(seed, {"a": (5, 4), "b": (10, 6), "c": (3, 3)})
    widths = (1, 2, 4)
    budget = JointBudget(total, widths, index_bits)
    found, projected = budget.choose(v), budget.project(v)
    spent = 0.0
    for name, (z, mask) in projected.items():
        assert torch.equal(mask, found.masks[name])
        assert not z[~mask].any()
        spent += (found.bits[name] + index_bits) * int(mask.sum())
        steps = z[mask].double().abs().unique()
        assert len(steps) <= 2 ** (found.bits[name] - 1)
    assert spent <= total
    reached = error_of(v, {name: z for name, (z, _) in projected.items()})
    assert reached == pytest.approx(found.error, rel=1e-6, abs=1e-12)
    for bits in widths:
        kept = NonzeroBudget(total, dict.fromkeys(v, bits + index_bits)).project(v)
        equal = {name: on_levels(v[name], bits, mask) for name, (_, mask) in kept.items()}
        assert reached <= error_of(v, equal) * (1 + 1e-6) + 1e-12


def test_near_the_best_of_all_choices() -> None:
    """Two layers of six weights, 1 or 3 bits, 9 bits in all: the excess over 40 cases."""
    excess = []
    for seed in range(40):
        v = drawn(seed, {"a": (3, 2), "b": (2, 3)})
        best = float("inf")
        for bits in itertools.product((1, 3), repeat=2):
            for counts in itertools.product(range(7), repeat=2):
                if sum(b * c for b, c in zip(bits, counts, strict=True)) > 9:
                    continue
                z = {}
                for (name, w), b, count in zip(v.items(), bits, counts, strict=True):
                    mask = torch.zeros(6, dtype=torch.bool)
                    mask[w.abs().flatten().argsort(descending=True)[:count]] = True
                    z[name] = on_levels(w, b, mask.reshape(w.shape))
                best = min(best, error_of(v, z))
        whole = sum(float(w.double().square().sum()) for w in v.values())
        excess.append((JointBudget(9, (1, 3)).choose(v).error - best) / whole)
    assert min(excess) > -1e-9
    assert sum(excess) / len(excess) < 0.01
    assert max(excess) < 0.1


def test_a_layer_that_is_worth_it_gets_more_bits() -> None:
    """One layer is binary, the other on four values of each sign: each gets what is exact for it."""
    v = {
        "binary": torch.tensor([[1.0, -1.0, 1.0, -1.0]]),
        "fine": torch.tensor([[0.25, -0.5, 0.75, 1.0, -1.0, 0.5]]),
    }
    found = JointBudget(4 + 3 * 6).choose(v)
    assert found.bits == {"binary": 1, "fine": 3}
    assert found.error == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0,), "total = -1.0"),
        ((8.0, (0, 1)), "bits of a weight = 0"),
        ((8.0, ()), "number of widths = 0"),
        ((8.0, (1,), 65), "index_bits = 65"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(XbarError, match=message):
        JointBudget(*arguments)
