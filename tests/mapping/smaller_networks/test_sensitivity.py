"""Sensitivity of single layers and coupled groups: by hand, against brute force, and the model untouched."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from hypothesis import given, strategies as st
from networks import seeds
from torch import nn

from mapping.constraints.sparsity import BlockSparse, block_sparse
from mapping.network.gemm import mappable_layers
from mapping.smaller_networks.sensitivity import coupled_layers, filters_together, sensitivity, stacked
from xbar import XbarError


def two_layers() -> nn.Sequential:
    """Weights 1 2 3 4 and 10 20, whose sum is what the tests measure."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    model[1].weight.data = torch.tensor([[10.0, 20.0]])
    return model


def weight_sum(model: nn.Module) -> float:
    return float(sum(layer.weight.detach().sum() for layer in mappable_layers(model).values()))


def test_rows_by_hand() -> None:
    families = {"1": lambda keep: BlockSparse(1, 1, keep), "0": (2, 1)}
    rows = sensitivity(two_layers(), weight_sum, families, [1, 2, 4])
    got = [(row.layer, row.rate, row.kept, row.total, row.value, row.loss) for row in rows]
    assert got == [
        ("1", 1, 2, 2, 40, 0),
        ("1", 2, 1, 2, 30, 10),
        ("1", 4, 1, 2, 30, 10),  # one block stays
        ("0", 1, 4, 4, 40, 0),
        ("0", 2, 2, 4, 37, 3),  # columns of the GEMM matrix are the outputs: 1 2 goes
        ("0", 4, 2, 4, 37, 3),
    ]


def test_each_row_begins_with_the_network_as_it_was() -> None:
    """A measure that trains what it is given changes neither the next row nor the model."""
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1)).train()
    before = copy.deepcopy(model.state_dict())

    def training(given: nn.Module) -> float:
        value = weight_sum(given) + float(given[1].running_mean.sum())
        given.train()(torch.ones(4, 2))
        for p in given.parameters():
            p.data += 1
        return value

    rows = sensitivity(model, training, {"0": (1, 1), "2": (1, 1)}, [1, 1])
    assert [row.value for row in rows] == [rows[0].unpruned] * 4
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@given(st.integers(0, 4), st.sampled_from([KeyboardInterrupt, ValueError]), st.booleans())
def test_the_model_is_untouched_where_a_measure_fails(
    call: int, error: type[BaseException], mode: bool
) -> None:
    model = two_layers().train(mode)
    before, calls = copy.deepcopy(model.state_dict()), itertools.count()

    def failing(given: nn.Module) -> float:
        given.eval()
        if next(calls) == call:
            raise error
        return weight_sum(given)

    with pytest.raises(error):
        sensitivity(model, failing, {"0": (1, 1), "1": (1, 1)}, [2, 4])
    assert model.training == mode
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_group_adds_up_the_energy_of_its_members() -> None:
    """Energies 4 1 1 and 0 9 1: together 4 10 2, so that alone 0 and 1 stay, and together 1 in both."""
    model = nn.ModuleDict({"a": nn.Linear(1, 3, bias=False), "b": nn.Linear(2, 3, bias=False)})
    model["a"].weight.data = torch.tensor([[2.0], [1.0], [1.0]])
    model["b"].weight.data = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    seen: list[dict[str, list[float]]] = []

    def weights(given: nn.Module) -> float:
        seen.append({name: layer.weight.sum(1).tolist() for name, layer in given.items()})
        return 0.0

    layers = mappable_layers(model)
    families = {name: filters_together([layers[name]]) for name in layers}
    families["both"] = filters_together(list(layers.values()))
    rows = sensitivity(model, weights, families, [3], groups={"both": ("a", "b")})
    assert [(row.layer, row.kept, row.total) for row in rows] == [("a", 1, 3), ("b", 2, 6), ("both", 3, 9)]
    assert seen[1:] == [
        {"a": [2, 0, 0], "b": [0, 3, 1]},
        {"a": [2, 1, 1], "b": [0, 3, 0]},
        {"a": [0, 1, 0], "b": [0, 3, 0]},
    ]


@given(seeds, st.lists(st.sampled_from(["conv", "grouped", "transposed"]), min_size=2, max_size=3))
def test_a_group_keeps_the_filters_of_largest_energy(seed: int, kinds: list[str]) -> None:
    torch.manual_seed(seed)
    make = {
        "conv": lambda: nn.Conv2d(3, 4, 3),
        "grouped": lambda: nn.Conv2d(4, 4, (1, 2), groups=2),
        "transposed": lambda: nn.ConvTranspose2d(2, 4, 2),
    }
    model = nn.ModuleList([make[kind]() for kind in kinds])
    by_filter = [w.weight.transpose(0, 1) if w.__class__ is nn.ConvTranspose2d else w.weight for w in model]
    energy = sum(w.detach().double().flatten(1).square().sum(1) for w in by_filter)
    expected = set(energy.argsort(descending=True)[:2].tolist())

    def check(given: nn.Module) -> float:
        for layer, kind, whole in zip(given, kinds, by_filter, strict=True):
            w = layer.weight.transpose(0, 1) if kind == "transposed" else layer.weight
            alive = {i for i in range(4) if w[i].any()}
            assert alive in (expected, {0, 1, 2, 3})  # the second: unpruned
            assert all(torch.equal(w[i], whole[i]) for i in alive)
            lengths.append(len(alive))
        return 0.0

    lengths: list[int] = []
    names = [str(i) for i in range(len(kinds))]
    family = filters_together(list(model))
    (row,) = sensitivity(model, check, {"all": family}, [2], groups={"all": names})
    assert lengths == [4] * len(kinds) + [2] * len(kinds)
    assert row.kept * 2 == row.total


class Residual(nn.Module):
    """Two sums in a row, of four layers; a layer that is reshaped; a gate that scales channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.inner, self.outer = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, 1)
        self.shortcut, self.last = nn.Conv2d(4, 4, 2, 2), nn.Conv2d(4, 4, 1)
        self.gate, self.fc = nn.Conv2d(4, 4, 1), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.outer(torch.relu(self.inner(x))))
        gate = torch.sigmoid(self.gate(nn.functional.adaptive_avg_pool2d(x, 1)))
        x = nn.functional.max_pool2d(x * gate, 2)
        x = x + self.last(x)
        x += self.shortcut(nn.functional.interpolate(x, scale_factor=2.0))
        return x.flatten(1)[:, :4] + self.fc(x.flatten(1))


def test_layers_whose_outputs_are_added_are_one_group() -> None:
    groups = coupled_layers(Residual(), torch.rand(1, 1, 4, 4))
    assert groups == [("stem", "outer", "last", "shortcut")]


class SumOfSums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(2, 3) for _ in range(4))
        self.alone = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([(self.a(x) + self.b(x)) - (self.c(x) + self.d(x)), self.alone(x)], 1)


def test_groups_that_meet_are_one() -> None:
    assert coupled_layers(SumOfSums(), torch.rand(1, 2)) == [("a", "b", "c", "d")]


def test_a_chain_has_no_groups() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(16, 4))
    assert coupled_layers(model, torch.rand(1, 1, 4, 4)) == []


def test_blocks_of_the_literature_are_families() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 2, 1))
    layers = mappable_layers(model)
    families = {name: lambda keep, layer=layer: block_sparse(layer, "filters", keep)
                for name, layer in layers.items()}  # fmt: skip
    rows = sensitivity(model, weight_sum, families, [2])
    alone = {name: filters_together([layer]) for name, layer in layers.items()}
    assert rows == sensitivity(model, weight_sum, alone, [2])
    assert [row.kept for row in rows] == [36, 4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rates": [0.5]}, "rate = 0.5: must be at least 1"),
        ({"rates": [float("nan")]}, "rate = nan: must be a number"),
        ({"families": {"2": (1, 1)}}, "layer: unknown name '2'; allowed: 0, 1"),
        ({"groups": {"0": ("0", "3")}}, "layer: unknown name '3'; allowed: 0, 1"),
        ({"groups": {"0": ("0", "1")}}, r"group of layers with \[2, 1\] filters"),
        ({"measure": lambda _: float("nan")}, "measure gave nan of the unpruned network"),
        ({"measure": lambda m: 1 / weight_sum(m) if weight_sum(m) == 40 else float("inf")}, "of 0 at rate 2"),
        ({"model": two_layers().to("meta")}, "0: its weights have no values"),
    ],
)
def test_mistakes_are_one_line(change: dict, words: str) -> None:
    arguments = {"model": two_layers(), "measure": weight_sum, "families": {"0": (1, 1)}, "rates": [2]}
    with pytest.raises(XbarError, match=words) as error:
        sensitivity(**{**arguments, **change})
    assert "\n" not in str(error.value)


def test_one_layer_stacks_to_its_gemm_matrix() -> None:
    assert torch.equal(stacked([two_layers()[0]]), torch.tensor([[1.0, 3.0], [2.0, 4.0]]))
