"""What each position of a layer waits for, against what changes where one position before it is changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from networks import design
from torch import Tensor, nn
from torch.nn import functional as F

from mapping import map_network
from mapping.lab.chip_file import load_mapping, save_mapping
from mapping.tiles.dataflow import Dataflow
from xbar.hardware.errors import XbarError

Between = Callable[[Tensor], Tensor]

OUTSIDE = torch.ones(1)
"""A tensor that is neither the network's nor made by it."""


class Pair(nn.Module):
    """A first layer, something between, and a second layer."""

    def __init__(self, first: nn.Module, between: Between, second: nn.Module) -> None:
        super().__init__()
        self.first, self.between, self.second = first, between, second

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x)))


def waits_for(dataflow: Dataflow, second: int, first: int) -> np.ndarray:
    """Last position of a step that each of another waits for, or one before it, by way of steps between."""
    step = dataflow.steps[second]
    found = np.full(step.positions, -1)
    for wait in step.waits:
        way = (
            np.arange(dataflow.steps[first].positions)
            if wait.step == first
            else waits_for(dataflow, wait.step, first)
            if wait.step > first
            else np.full(dataflow.steps[wait.step].positions, -1)
        )
        found = np.maximum(found, np.append(way, -1)[wait.last])
    return np.maximum.accumulate(found)


def changed_by(net: Pair, x: Tensor) -> np.ndarray:
    """The same by trial: a position of the first layer is changed, and outputs of the second compared."""
    made = net.first(x)
    transposed = isinstance(net.first, nn.ConvTranspose2d)
    channel_last = isinstance(net.first, nn.Linear)
    places = made.shape[1:-1] if channel_last else made.shape[2:]
    if transposed:
        places = x.shape[2:]
    before = net.second(net.between(made.clone()))
    found = None
    for position in range(int(np.prod(places))):
        other = made.clone()
        if transposed:
            given = x.clone()
            given.flatten(2)[:, :, position] += 1e3
            other = net.first(given)
        elif channel_last:
            other.flatten(1, -2)[:, position] += 1e3 * torch.arange(1, made.shape[-1] + 1)
        else:
            other.flatten(2)[:, :, position] += 1e3
        after = net.second(net.between(other))
        differs = (after - before).abs() > 1e-9
        linear = isinstance(net.second, nn.Linear)
        where = differs.any(-1).flatten() if linear else differs.any(1).flatten()
        if found is None:
            found = np.full(len(where), -1)
        found[where.numpy()] = position
    assert found is not None
    return np.maximum.accumulate(found)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def attention(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, x, x)


def with_a_class_token(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:, :1]), x], 1)


def written_in_part(x: Tensor) -> Tensor:
    out = torch.zeros(x.shape[0], 9, x.shape[2])
    out[:, :4] = x[:, 1:5]
    out[:, 4:] = x[:, :5]
    return out


def image() -> nn.Module:
    return nn.Conv2d(2, 4, 1)


IMAGE, SERIES, CUBE, TOKENS = (1, 2, 6, 5), (1, 2, 9), (1, 2, 3, 4, 3), (1, 7, 4)
CASES: dict[str, tuple[tuple[int, ...], nn.Module, Between, nn.Module]] = {
    "conv": (IMAGE, image(), F.relu, nn.Conv2d(4, 3, 3)),
    "stride, padding": (IMAGE, image(), F.relu, nn.Conv2d(4, 3, 3, 2, 1)),
    "dilation": (IMAGE, image(), F.relu, nn.Conv2d(4, 3, 2, 1, 1, 3)),
    "oblong": (IMAGE, image(), F.relu, nn.Conv2d(4, 3, (1, 4), (3, 1), (0, 2))),
    "same": (IMAGE, image(), F.relu, nn.Conv2d(4, 3, 3, padding="same")),
    "depthwise": (IMAGE, image(), F.relu6, nn.Conv2d(4, 4, 3, groups=4)),
    "circular": (IMAGE, image(), F.relu, nn.Conv2d(4, 3, 3, padding=1, padding_mode="circular")),
    "reflect": (IMAGE, image(), F.relu, nn.Conv2d(4, 3, 3, padding=2, padding_mode="reflect")),
    "replicate": (IMAGE, image(), F.relu, nn.Conv2d(4, 3, 3, padding=1, padding_mode="replicate")),
    "1d": (SERIES, nn.Conv1d(2, 4, 1), F.relu, nn.Conv1d(4, 3, 3, 2, 2)),
    "3d": (CUBE, nn.Conv3d(2, 4, 1), F.relu, nn.Conv3d(4, 3, 2, 1, (1, 0, 1))),
    "transposed": (IMAGE, image(), F.relu, nn.ConvTranspose2d(4, 3, 3, 2, 1)),
    "after transposed": (IMAGE, nn.ConvTranspose2d(2, 4, 3, 2, 1, 1), F.hardtanh, nn.Conv2d(4, 3, 2, 2)),
    "gaps of transposed": (IMAGE, nn.ConvTranspose2d(2, 4, 1, 3, dilation=2), torch.neg, nn.Conv2d(4, 3, 1)),
    "max pool": (IMAGE, image(), lambda x: F.max_pool2d(x, 3, 2, 1), nn.Conv2d(4, 3, 1)),
    "pool, rounded up": (IMAGE, image(), lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True), nn.Conv2d(4, 3, 1)),
    "dilated pool": (IMAGE, image(), lambda x: F.max_pool2d(x, 2, 1, dilation=2), nn.Conv2d(4, 3, 1)),
    "mean pool": (IMAGE, image(), lambda x: F.avg_pool2d(x, (1, 2), (2, 1)), nn.Conv2d(4, 3, 2)),
    "1d pool": (SERIES, nn.Conv1d(2, 4, 1), lambda x: F.max_pool1d(x, 2), nn.Conv1d(4, 3, 1)),
    "adaptive pool": (IMAGE, image(), lambda x: F.adaptive_avg_pool2d(x, (4, 2)), nn.Conv2d(4, 3, 1)),
    "global pool": (IMAGE, image(), lambda x: x.mean((2, 3)), nn.Linear(4, 3)),
    "larger": (IMAGE, image(), lambda x: F.interpolate(x, scale_factor=2.0), nn.Conv2d(4, 3, 3)),
    "pixel shuffle": (IMAGE, image(), lambda x: F.pixel_shuffle(x, 2), nn.Conv2d(1, 3, 2)),
    "padded": (IMAGE, image(), lambda x: F.pad(x, (2, 0, 1, 3)), nn.Conv2d(4, 3, 2)),
    "flattened": (IMAGE, image(), lambda x: x.flatten(1), nn.Linear(120, 3)),
    "tokens": (IMAGE, image(), tokens, nn.Linear(4, 3)),
    "back to an image": (
        TOKENS,
        nn.Linear(4, 4),
        lambda x: x[:, :6].transpose(1, 2).reshape(1, 4, 2, 3),
        nn.Conv2d(4, 3, 2),
    ),
    "a token each": (TOKENS, nn.Linear(4, 4), F.gelu, nn.Linear(4, 3)),
    "layer norm": (TOKENS, nn.Linear(4, 4), lambda x: F.layer_norm(x, (4,)), nn.Linear(4, 3)),
    "group norm": (IMAGE, image(), lambda x: F.group_norm(x, 2), nn.Conv2d(4, 3, 1)),
    "instance norm": (IMAGE, image(), F.instance_norm, nn.Conv2d(4, 3, 1)),
    "batch norm of the image": (
        IMAGE,
        image(),
        lambda x: F.batch_norm(x, None, None, training=True),
        nn.Conv2d(4, 3, 1),
    ),
    "batch norm": (
        IMAGE,
        image(),
        lambda x: F.batch_norm(x, torch.zeros(4).to(x), torch.ones(4).to(x)),
        nn.Conv2d(4, 3, 1),
    ),
    "softmax over tokens": (TOKENS, nn.Linear(4, 4), lambda x: (x / 1e5).softmax(1), nn.Linear(4, 3)),
    "attention": (TOKENS, nn.Linear(4, 4), lambda x: attention(x / 1e4), nn.Linear(4, 3)),
    "gate": (IMAGE, image(), lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), nn.Conv2d(4, 3, 1)),
    "class token": (TOKENS, nn.Linear(4, 4), with_a_class_token, nn.Linear(4, 3)),
    "turned round": (TOKENS, nn.Linear(4, 4), lambda x: x.flip(1), nn.Linear(4, 3)),
    "rolled": (TOKENS, nn.Linear(4, 4), lambda x: x.roll(2, 1), nn.Linear(4, 3)),
    "residual": (IMAGE, image(), lambda x: F.avg_pool2d(x, 3, 1, 1).add_(x), nn.Conv2d(4, 3, 1)),
    "side by side": (IMAGE, image(), lambda x: torch.cat([x.relu(), x.neg()], 1), nn.Conv2d(8, 3, 1)),
    "constant": (IMAGE, image(), lambda x: x * torch.tensor(0.5).to(x), nn.Conv2d(4, 3, 3)),
    "constants": (IMAGE, image(), lambda x: x + x.new_tensor([[1.0], [2.0]]).sum(0), nn.Conv2d(4, 3, 3)),
    "channels apart": (IMAGE, image(), lambda x: x.chunk(2, 1)[1] * 2, nn.Conv2d(2, 3, 3)),
}


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_a_position_waits_for_what_changes_it(case: str) -> None:
    torch.manual_seed(0)
    shape, first, between, second = CASES[case]
    net = Pair(first, between, second).eval()
    x = torch.rand(*shape)
    mapped = map_network(net, design(), x)
    found = mapped.dataflow
    assert found is not None
    assert found.gaps == ()
    steps = {step.name: number for number, step in enumerate(found.steps) if step.is_layer}
    for name, number in steps.items():
        assert found.steps[number].positions == mapped.layers[name].positions
    waits = waits_for(found, steps["second"], steps["first"])
    double = net.double()
    torch.set_default_dtype(torch.float64)
    try:
        wanted = changed_by(double, x.double())
    finally:
        torch.set_default_dtype(torch.float32)
        net.float()
    if isinstance(second, nn.ConvTranspose2d):  # a vector is an input: it waits for that, as the output shows
        wanted = np.arange(found.steps[steps["first"]].positions)
    assert waits.tolist() == wanted.tolist()


@torch.no_grad()
def test_what_is_written_into_a_part_is_waited_for() -> None:
    """Other views of the same memory wait for all of it."""
    net = Pair(nn.Linear(4, 4), written_in_part, nn.Linear(4, 3))
    found = map_network(net, design(), torch.rand(1, 7, 4)).dataflow
    assert found is not None
    assert found.gaps == ()
    last = len(found.steps) - 1
    assert waits_for(found, last, 0).min() >= 4


@torch.no_grad()
def test_calls_of_one_layer_follow_each_other() -> None:
    """One set of arrays: the second call begins when the first is done."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(2, 2, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.layer(x), self.layer(-x)

    found = map_network(Twice(), design(), torch.rand(1, 2, 3, 3)).dataflow
    assert found is not None
    assert [step.name for step in found.steps] == ["layer", "layer"]
    (wait,) = found.steps[1].waits
    assert (wait.step, set(wait.last.tolist())) == (0, {8})


@torch.no_grad()
def test_images_of_a_batch_are_one() -> None:
    net = Pair(image(), F.relu, nn.Conv2d(4, 3, 3))
    one, three = (map_network(net, design(), torch.rand(n, *IMAGE[1:])) for n in (1, 3))
    assert one.dataflow == three.dataflow is not None
    lstm = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    times = map_network(lstm, design(), torch.rand(2, 7, 4)).dataflow
    assert times is not None
    assert [step.positions for step in times.steps] == [7, 7]


@pytest.mark.parametrize(
    ("between", "said"),
    [
        (lambda x: x * float(x.mean()), "gives values of tensors to Python"),
        (lambda x: x * torch.tensor([x.mean()]), "gives values of tensors to Python"),
        (lambda x: x * torch.tensor(x.tolist()), "gives values of tensors to Python"),
        (lambda x: x * torch.tensor(x.numpy()), "gives values of tensors to Python"),
        (lambda x: x * torch.tensor(np.asarray(x)), "gives values of tensors to Python"),
        (lambda x: torch.from_numpy(x.numpy().copy()), "gives values of tensors to Python"),
        (lambda x: x * OUTSIDE, "takes a tensor that no operator made"),
    ],
)
@torch.no_grad()
def test_a_way_out_of_torch_is_a_gap(between: Between, said: str) -> None:
    net = Pair(image(), between, nn.Conv2d(4, 3, 1))
    found = map_network(net, design(), torch.rand(*IMAGE)).dataflow
    assert found is not None
    assert any(said in gap for gap in found.gaps)


@torch.no_grad()
def test_a_file_has_it(tmp_path) -> None:
    mapped = map_network(Pair(image(), F.relu, nn.Conv2d(4, 3, 3)), design(), torch.rand(*IMAGE))
    save_mapping(mapped, tmp_path / "a.safetensors")
    assert load_mapping(tmp_path / "a.safetensors") == mapped


@torch.no_grad()
def test_a_file_with_waits_for_what_is_not_there_is_refused(tmp_path) -> None:
    mapped = map_network(Pair(image(), F.relu, nn.Conv2d(4, 3, 3)), design(), torch.rand(*IMAGE))
    assert mapped.dataflow is not None
    first, second = mapped.dataflow.steps
    (wait,) = second.waits
    others = (
        (dataclasses.replace(first, name="third"), second),
        (first, dataclasses.replace(second, waits=(dataclasses.replace(wait, step=1),))),
        (first, dataclasses.replace(second, waits=(dataclasses.replace(wait, last=wait.last + 7),))),
        (first, dataclasses.replace(second, waits=(dataclasses.replace(wait, last=wait.last[1:]),))),
    )
    for steps in others:
        save_mapping(dataclasses.replace(mapped, dataflow=Dataflow(steps)), tmp_path / "a.safetensors")
        with pytest.raises(XbarError, match=r"dataflow: step [01] \((third|second)\): "):
            load_mapping(tmp_path / "a.safetensors")
