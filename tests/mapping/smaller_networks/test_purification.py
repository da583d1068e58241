"""Purification: scores by hand and against loops, what always stays, and the paths that it frees."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import seeds
from torch import nn

from mapping import Purification, remove_unused_paths
from mapping.network.gemm import from_gemm, groups_of, mappable_layers, to_gemm
from xbar import XbarError

EXAMPLE = torch.zeros(1, 2, 6, 6)


def network() -> nn.Sequential:
    """Filters 0 to 3 of the first layer feed channels 0 to 3 of the second."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(12, 5))
    for layer in mappable_layers(model).values():
        nn.init.constant_(layer.weight, 1.0)
    return model


def test_a_channel_that_is_nearly_empty_and_unimportant_goes_with_what_feeds_it() -> None:
    """Of channel 2 one weight of 27 is left, a mean square of 1/27 against (3 + 1/27) / 4 in the layer."""
    model = network()
    with torch.no_grad():
        model[2].weight[:, 2] = 0
        model[2].weight[0, 2, 1, 1] = 1
    share = (1 / 27) / ((3 + 1 / 27) / 4)
    left = Purification(26 / 27, 1.0001 * share).masks(model, EXAMPLE)
    assert not left["2"][18:27].any()
    assert left["2"].sum() == 81
    assert left["0"].all()
    assert left["4"].all()
    used = remove_unused_paths(model, EXAMPLE, left)
    assert not used.masks["0"][:, 2].any()
    assert used.masks["0"].sum() == 3 * 18
    for stays in (Purification(26.001 / 27, 1.0), Purification(0.9, 0.9999 * share), Purification(1.0, 1e9)):
        assert stays.masks(model, EXAMPLE)["2"].sum() == 82


def test_filters_are_scored_by_what_their_channels_have_left() -> None:
    """Filter 1 is half empty before its channel goes, and all but empty after."""
    model = network()
    with torch.no_grad():
        model[2].weight[1] = 0
        model[2].weight[:, 3] = 0
        model[2].weight[1, 3] = 0.1
        model[2].weight[1, 0] = 0.1
    left = Purification(0.6, 0.05).masks(model, EXAMPLE)["2"]
    assert not left[:, 1].any()
    assert left.sum() == 2 * 27
    assert Purification(0.7, 0.05).masks(model, EXAMPLE)["2"][:, 1].sum() == 18


def test_outputs_and_one_group_of_a_layer_stay() -> None:
    """The last layer keeps its filters; a layer of equal channels keeps one of them."""
    model = network()
    with torch.no_grad():
        model[4].weight[0] = 0
        model[4].weight[0, 3] = 1e-3
    assert Purification(0.5, 0.1).masks(model, EXAMPLE)["4"].sum() == 4 * 12 + 1
    left = Purification(0.0, 1.0).masks(model, EXAMPLE)
    assert [int(left[name].sum()) for name in ("0", "2", "4")] == [9, 9, 5]


def test_masks_given_count_as_zeros_and_the_model_is_left_alone() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    given_masks = {"0": torch.rand(18, 4) < 0.5}
    left = Purification(1.0, 0.0).masks(model, EXAMPLE, given_masks)
    assert torch.equal(left["0"], given_masks["0"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_last_layer_that_is_used_twice_keeps_its_outputs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.fc(x).relu())

    model = Twice()
    nn.init.constant_(model.fc.weight, 1.0)
    with torch.no_grad():
        model.fc.weight[2] = 0
        model.fc.weight[2, 2] = 1e-3
    assert Purification(0.5, 0.1).masks(model, torch.zeros(1, 6))["fc"].sum() == 31


def test_frozen_layers_stay() -> None:
    model = network()
    with torch.no_grad():
        model[2].weight[:, 2] = 1e-3
    assert Purification(0.0, 0.1).masks(model, EXAMPLE)["2"].sum() == 81
    model[2].weight.requires_grad_(False)
    assert Purification(0.0, 0.1).masks(model, EXAMPLE)["2"].all()


def test_a_share_at_the_threshold_goes_whatever_its_rounding() -> None:
    for size in (50, 60, 100, 300):
        for zeros in range(1, size):
            model = nn.Sequential(nn.Linear(2, size), nn.Linear(size, 1))
            nn.init.constant_(model[0].weight, 1.0)
            with torch.no_grad():
                model[0].weight[:zeros, 1] = 0
            purification = Purification(zeros / size, 2.0)
            goes = 1 - purification._left(model[0], to_gemm(model[0]), "channels")[1].any().int()
            assert goes == (1 if (size - zeros) < size else 0)


LAYERS = {
    "linear": (lambda: nn.Sequential(nn.Linear(12, 6), nn.Linear(6, 2)), (1, 12)),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(4, 6, 2), nn.Conv2d(6, 1, 1)), (1, 4, 5, 5)),
    "grouped": (lambda: nn.Sequential(nn.Conv2d(4, 6, 2, groups=2), nn.Conv2d(6, 1, 1)), (1, 4, 5, 5)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 2), nn.Conv2d(6, 1, 1)), (1, 4, 5, 5)),
}


@given(
    kind=st.sampled_from(sorted(LAYERS)),
    seed=seeds,
    emptiness=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
    importance=st.sampled_from([0.0, 0.2, 0.7, 5.0]),
)
@settings(max_examples=60, deadline=None)
def test_against_loops(kind: str, seed: int, emptiness: float, importance: float) -> None:
    """Of the first of two layers, each group found by its input or output channel's name."""
    torch.manual_seed(seed)
    build, shape = LAYERS[kind]
    model = build()
    layer = model[0]
    with torch.no_grad():
        w = to_gemm(layer) * (torch.rand(to_gemm(layer).shape) < torch.rand(1, to_gemm(layer).shape[1]))
        layer.weight.copy_(from_gemm(w, layer))
    transposed = kind == "transposed"
    groups = groups_of(layer)
    positions = 1 if kind == "linear" else 4
    expected = (w != 0).tolist()
    k, n = w.shape

    def channel_of(i: int, j: int) -> tuple[int, int]:
        return (i if transposed else i // positions), j // (n // groups)

    def filter_of(i: int, j: int) -> tuple[int, int]:
        return (j // positions if transposed else j), 0

    for of in (channel_of, filter_of):
        members: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for i, j in itertools.product(range(k), range(n)):
            members.setdefault(of(i, j), []).append((i, j))
        squares = {
            g: sum(float(w[i, j]) ** 2 for i, j in cells if expected[i][j]) / len(cells)
            for g, cells in members.items()
        }
        held = {g: sum(expected[i][j] for i, j in cells) for g, cells in members.items()}
        filled = [g for g in members if held[g]]
        if not filled:
            continue
        mean = sum(squares[g] for g in filled) / len(filled)
        gone = [
            g
            for g in filled
            if 1 - held[g] / len(members[g]) >= emptiness and squares[g] <= importance * mean
        ]
        if len(gone) == len(filled):
            gone.remove(max(filled, key=lambda g: squares[g]))
        for g in gone:
            for i, j in members[g]:
                expected[i][j] = False
    found = Purification(emptiness, importance).masks(model, torch.zeros(shape))["0"]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1.1, 0.1), "emptiness = 1.1: must lie between 0 and 1"), ((0.9, -1.0), "importance = -1.0")],
)
def test_numbers_out_of_range_are_refused(arguments: tuple[float, float], message: str) -> None:
    with pytest.raises(XbarError, match=message):
        Purification(*arguments)
