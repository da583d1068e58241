"""A `torch.export` program as a module: the same function, with layers that can be mapped and trained."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from networks import design
from torch import nn
from torch.export import Dim, export

from experiments.inputs.networks import build_network
from mapping import crossbar_form, map_network
from mapping.lowering.exported import from_exported
from mapping.network.gemm import mappable_layers
from xbar import XbarError

# torch.export warns of code of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")


class Convolutions(nn.Module):
    """Groups, depthwise, padding modes, one dimension and three, transposed ones."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
        self.depthwise = nn.Conv2d(8, 8, (3, 1), padding="same", groups=8, dilation=(2, 1), bias=False)
        self.mirrored = nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect")
        self.back = nn.ConvTranspose2d(6, 4, 3, 2, output_padding=1, groups=2)
        self.line = nn.Conv1d(4, 3, 4)
        self.line_back = nn.ConvTranspose1d(3, 2, 2)
        self.space = nn.Conv3d(1, 2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.back(self.mirrored(self.depthwise(self.grouped(x))))
        x = self.line_back(self.line(x.flatten(2)))
        return self.space(x.unflatten(2, (2, -1)).unsqueeze(1)).flatten(1)


class Products(nn.Module):
    """Attention, a plain matrix, weight norm, a layer called twice, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.cross = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.shared = nn.Linear(8, 8)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 6, bias=False))
        self.matrix = nn.Parameter(torch.rand(6, 5))
        self.dropout = nn.Dropout(0.4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.cross(x, x + 1, x - 1, need_weights=False)[0]
        x = self.shared(self.shared(self.norm(x)).relu())
        return self.dropout(self.normed(x).mean(1)) @ self.matrix


def program(model: nn.Module, *shape: int) -> torch.export.ExportedProgram:
    return export(model, (torch.rand(2, *shape),), dynamic_shapes=({0: Dim.DYNAMIC},))


def with_statistics(model: nn.Module, *shape: int) -> nn.Module:
    """In eval mode, the batch norms with statistics of some data."""
    model.train()(torch.rand(8, *shape))
    return model.eval()


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize(("name", "shape"), [("lenet5", (1, 28, 28)), ("resnet20", (3, 32, 32))])
def test_names_and_function_stay(name: str, shape: tuple[int, ...], decomposed: bool) -> None:
    model = with_statistics(build_network(name), *shape)
    exported = program(model, *shape)
    network = from_exported(exported.run_decompositions() if decomposed else exported)
    for batch in (1, 3, 7):
        x = torch.rand(batch, *shape)
        torch.testing.assert_close(network(x), model(x))
    here, there = mappable_layers(network), mappable_layers(model)
    assert {n: type(m) for n, m in here.items()} == {n: type(m) for n, m in there.items()}
    state, original = network.state_dict(), model.state_dict()
    assert state.keys() == original.keys()
    for key in state:
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(state[key], original[key]), key


def test_every_kind_of_convolution() -> None:
    model = Convolutions()
    network = from_exported(program(model, 4, 8, 8))
    x = torch.rand(5, 4, 8, 8)
    torch.testing.assert_close(network(x), model(x))
    here, there = mappable_layers(network), mappable_layers(model)
    assert list(here) == list(there)
    for name, layer in here.items():
        assert type(layer) is type(there[name])
        assert layer.groups == there[name].groups
        assert layer.stride == there[name].stride


def test_products_with_anything_that_is_constant() -> None:
    model = Products().eval()
    network = from_exported(program(model, 5, 8))
    x = torch.rand(3, 5, 8)
    torch.testing.assert_close(network(x), model(x))
    layers = mappable_layers(network)
    shapes = {name: tuple(layer.weight.shape) for name, layer in layers.items()}
    assert shapes == {
        "attention.in_proj": (24, 8),
        "attention.out_proj": (8, 8),
        "cross.in_proj": (8, 8),
        "cross.in_proj_1": (8, 8),
        "cross.in_proj_2": (8, 8),
        "cross.out_proj": (8, 8),
        "shared": (8, 8),
        "normed_1": (6, 8),
        "matrix_1": (5, 6),
    }


def test_modes_of_train_and_eval_work_again() -> None:
    model = with_statistics(build_network("resnet20"), 3, 32, 32).train()
    network = from_exported(program(model, 3, 32, 32))
    x = torch.rand(4, 3, 32, 32)
    assert not network.training
    torch.testing.assert_close(network(x), model.eval()(x))
    torch.testing.assert_close(network.train()(x), model.train()(x))
    torch.testing.assert_close(network.eval()(x), model.eval()(x))  # the statistics have moved alike
    torch.manual_seed(0)
    dropping = from_exported(program(Products().train(), 5, 8))
    tokens = torch.rand(3, 5, 8)
    assert torch.equal(dropping(tokens), dropping(tokens))
    assert not torch.equal(dropping.train()(tokens), dropping(tokens))


def test_it_trains_and_maps(tmp_path: Path) -> None:
    torch.export.save(program(build_network("lenet5"), 1, 28, 28), tmp_path / "lenet.pt2")
    network = from_exported(torch.export.load(tmp_path / "lenet.pt2"))
    x = torch.rand(4, 1, 28, 28)
    network(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
    mapped = map_network(crossbar_form(network, x), design(), x)
    assert {name: (layer.k, layer.n) for name, layer in mapped.layers.items()} == {
        "conv1": (25, 20),
        "conv2": (500, 50),
        "fc1": (800, 500),
        "fc2": (500, 10),
    }


def test_trees_of_arguments_and_results_stay() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor, *, shift: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {"y": self.fc(x) + shift["by"]}

    model, batch = Pair(), {0: Dim.DYNAMIC}
    x, shift = torch.rand(2, 3), {"by": torch.rand(2, 2)}
    exported = export(model, (x,), {"shift": shift}, dynamic_shapes={"x": batch, "shift": {"by": batch}})
    network = from_exported(exported)
    x, shift = torch.rand(5, 3), {"by": torch.rand(5, 2)}
    torch.testing.assert_close(network(x, shift=shift)["y"], model(x, shift=shift)["y"])


def test_a_copy_of_it_is_the_same_function() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exported = program(build_network("lenet-digits"), 1, 8, 8)
        network = from_exported(exported)
        x = torch.rand(3, 1, 8, 8)
        assert torch.equal(copy.deepcopy(network)(x), network(x))


def test_a_fixed_batch_is_refused() -> None:
    fixed = export(build_network("lenet5").eval(), (torch.rand(2, 1, 28, 28),))
    with pytest.raises(XbarError, match=r"input 'x': exported for a batch of exactly 2; .*Dim\.DYNAMIC"):
        from_exported(fixed)


def test_random_and_computed_operands_are_no_constants() -> None:
    class Mixes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.rand(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            dropped = x @ nn.functional.dropout(self.w, 0.5, training=True)
            return dropped + x @ (x.t() @ x)

    network = from_exported(program(Mixes(), 4))
    assert not any(isinstance(module, nn.Linear) for module in network.modules())
    x = torch.rand(6, 4)
    assert not torch.equal(network(x), network(x))


class Chain(nn.Module):
    """Sixty sums of a value with itself, and a layer at their end."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(60):
            x = (x + x.tanh()) / 2
        return self.last(x)


def test_a_graph_that_branches_and_joins_many_times_is_walked_once() -> None:
    """Each sum doubles the paths from the input: walked one by one, they would be 2^60."""
    program = export(Chain().eval(), (torch.rand(2, 4),), dynamic_shapes={"x": {0: Dim.DYNAMIC}})
    module = from_exported(program.run_decompositions())
    x = torch.rand(3, 4)
    torch.testing.assert_close(module(x), program.module()(x))
    assert list(mappable_layers(module)) == ["last"]
