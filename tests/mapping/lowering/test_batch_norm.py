"""Folded batch norm: the same function for every layer type, and left digital where it would not be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import seeds
from torch import Tensor, nn

from mapping import batch_norm_folds, fold_batch_norm
from mapping.network.gemm import from_gemm, to_gemm
from xbar import XbarError

CONVOLUTIONS = {
    1: (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d),
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d),
    3: (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d),
}


def lived_in(model: nn.Module) -> nn.Module:
    """Batch norms with the statistics and parameters of a network that was trained."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.weight, module.bias, module.running_mean):
                if tensor is not None:
                    nn.init.normal_(tensor)
            if module.running_var is not None:
                nn.init.uniform_(module.running_var, 0.3, 3)
    return model


@st.composite
def pairs(draw: st.DrawFn) -> tuple[nn.Sequential, Tensor]:
    """A layer and its batch norm, and inputs."""
    torch.manual_seed(draw(seeds))
    bias, affine = draw(st.booleans()), draw(st.booleans())
    dims, images = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    if not dims:
        k, n = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        layer, norm, x = nn.Linear(k, n, bias), nn.BatchNorm1d(n, affine=affine), torch.randn(images, k)
    else:
        groups = draw(st.integers(1, 3))
        channels, filters = (groups * draw(st.integers(1, 3)) for _ in range(2))
        kind = CONVOLUTIONS[dims][draw(st.integers(0, 1))]
        layer = kind(channels, filters, draw(st.integers(1, 3)), groups=groups, bias=bias)
        norm = CONVOLUTIONS[dims][2](filters, affine=affine)
        x = torch.randn(images, channels, *[4] * dims)
    return nn.Sequential(layer, lived_in(norm)), x


@settings(max_examples=100)
@given(pairs(), st.sampled_from([torch.float32, torch.float64]))
def test_every_layer_gives_the_same(case: tuple[nn.Sequential, Tensor], dtype: torch.dtype) -> None:
    model, x = case[0].to(dtype), case[1].to(dtype)
    folded = fold_batch_norm(model, x)
    assert type(folded[1]) is nn.Identity
    expected = model.eval()(x)
    error = (folded.eval()(x) - expected).abs().max() / expected.abs().max()
    assert error < (1e-10 if dtype == torch.float64 else 1e-5)
    assert set(folded.state_dict()) == {"0.weight", "0.bias"}
    for p in folded.parameters():
        assert p.requires_grad
        assert p.dtype == dtype


def test_masked_weights_stay_zero_and_the_layout_stays() -> None:
    model = lived_in(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))).to(
        memory_format=torch.channels_last
    )
    mask = torch.rand(27, 8) < 0.4
    model[0].weight.data = from_gemm(to_gemm(model[0]) * mask, model[0])
    folded = fold_batch_norm(model, torch.randn(1, 3, 5, 5))
    assert torch.equal(to_gemm(folded[0]) != 0, mask)
    assert folded[0].weight.stride() == model[0].weight.stride()


class Block(nn.Module):
    """A residual block whose modules are reached by index, attribute and plain list, in their own order."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.BatchNorm2d(4)])
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.plain = [self.first, self.second]
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i, conv in enumerate(self.plain):
            y = self.norms[1 - i](conv(y)).relu_()
        return self.head(self.norms[2](x + y).mean((2, 3)))


def test_the_run_decides_which_layer_a_batch_norm_follows() -> None:
    model, x = lived_in(Block()), torch.randn(2, 4, 5, 5)
    folds = batch_norm_folds(model, x)
    assert folds.layers == {"norms.1": "first", "norms.0": "second"}
    assert folds.digital == {"norms.2": "its input is not the output of a layer"}
    folded = fold_batch_norm(model, x).eval()
    assert [type(norm).__name__ for norm in folded.norms] == ["Identity", "Identity", "BatchNorm2d"]
    torch.testing.assert_close(folded(x), model.eval()(x), rtol=1e-4, atol=1e-5)


def test_the_user_s_model_is_left_as_it_was() -> None:
    model, x = lived_in(Block()).train(), torch.randn(2, 4, 5, 5)
    model.norms[2].eval()
    model.first.register_forward_hook(lambda module, args, output: None)
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    folded = fold_batch_norm(model, x)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    for network in (model, folded):
        assert [m.training for m in network.norms] == [True, True, False]
    assert len(folded.first._forward_hooks) == 1


def test_the_copy_can_be_trained() -> None:
    model, x = lived_in(Block()), torch.randn(2, 4, 5, 5)
    model.second.weight.requires_grad_(False)
    folded = fold_batch_norm(model, x).train()
    folded(x).square().sum().backward()
    assert folded.first.weight.grad is not None
    assert folded.first.bias.grad is not None
    assert folded.second.weight.grad is None
    assert not folded.second.bias.requires_grad


class Net(nn.Module):
    """A layer and a batch norm with a forward that a test gives."""

    def __init__(self, forward: Callable[[Net, Tensor], Any], **options: Any) -> None:
        super().__init__()
        self.f, self.g = nn.Linear(3, 3), nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3, **options)
        self.way = forward

    def forward(self, x: Tensor) -> Any:
        return self.way(self, x)


def twice(net: Net, x: Tensor) -> Tensor:
    return net.norm(net.f(net.f(x)))


def both(net: Net, x: Tensor) -> Tensor:
    y = net.f(x)
    return y + net.norm(y)


def handed_out(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    y = net.f(x)
    return net.norm(y), y


def tied(net: Net, x: Tensor) -> Tensor:
    net.g.weight = net.f.weight
    return net.g(net.norm(net.f(x)))


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (twice, "f, which it follows, runs 2 times"),
        (both, "the output of f goes to add too"),
        (handed_out, "the output of f goes to the caller of the network too"),
        (tied, "the weight of f is used by g too"),
        (lambda net, x: net.norm(net.f(x) @ net.f.weight), "its input is not the output of a layer"),
        (lambda net, x: net.norm(net.f(x)) @ net.f.weight, "the weight of f is used by mm too"),
        (lambda net, x: net.f(net.norm(x)), "its input is not the output of a layer"),
        (lambda net, x: net.norm(net.g(net.norm(net.f(x)))), "runs 2 times"),
        (lambda net, x: net.f(x), "runs 0 times"),
        (
            lambda net, x: net.norm(net.f(x.expand(2, 3, 3))),
            "normalises another axis than the channels that f gives",
        ),
    ],
)
def test_what_stays_digital_and_why(forward: Callable[[Net, Tensor], Any], reason: str) -> None:
    model, x = lived_in(Net(forward)).eval(), torch.randn(3, 3)
    assert batch_norm_folds(model, x).digital == {"norm": reason}
    assert isinstance(fold_batch_norm(model, x).norm, nn.BatchNorm1d)


def test_a_layer_with_a_forward_of_its_own() -> None:
    class Normed(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, self.weight / self.weight.norm(), self.bias)

    model = Net(lambda net, x: net.norm(net.f(x)))
    model.f = Normed(3, 3)
    assert batch_norm_folds(model, torch.randn(3, 3)).digital == {"norm": "f has a forward of its own"}


def test_statistics_of_the_batch_cannot_be_folded() -> None:
    model = Net(lambda net, x: net.norm(net.f(x)), track_running_stats=False)
    assert batch_norm_folds(model, torch.randn(3, 3)).digital == {"norm": "has no running statistics"}


def test_hooks_of_the_user_that_change_values() -> None:
    """Between layer and batch norm they keep it digital; after it they go on acting."""
    x = torch.randn(3, 3)
    for hook_on in ("f", "norm"):
        model = lived_in(Net(lambda net, x: net.norm(net.f(x)))).eval()
        model.get_submodule(hook_on).register_forward_hook(lambda module, args, output: 10 * output)
        folded = fold_batch_norm(model, x)
        assert isinstance(folded.norm, nn.Identity) == (hook_on == "norm")
        torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-5)


def test_what_the_run_did_not_show_is_refused() -> None:
    x = torch.randn(3, 3)
    asks = Net(lambda net, x: net.norm(net.f(x)) * (2 if isinstance(net.norm, nn.Identity) else 1))
    with pytest.raises(XbarError, match="the network with norm folded in: differs"):
        fold_batch_norm(asks, x)
    uses = Net(lambda net, x: net.norm(net.f(x)) * net.norm.weight)
    with pytest.raises(XbarError, match=r"norm: cannot be folded: .* no attribute 'weight'"):
        fold_batch_norm(uses, x)


def test_a_fold_that_rounding_spoils_names_its_layer() -> None:
    """A variance of 1e-12 around a mean of 1e4: float32 cannot hold the folded bias."""
    model = Net(lambda net, x: net.norm(net.f(x)), eps=1e-12)
    with torch.no_grad():
        model.norm.running_var.fill_(1e-12)
        model.norm.running_mean.fill_(1e4)
        model.f.bias.fill_(1e4)
    with pytest.raises(XbarError, match="f with norm folded in: differs"):
        fold_batch_norm(model, torch.randn(3, 3))


def test_deep_networks_may_round_as_often_as_they_fold() -> None:
    """Rounding adds up over layers: each fold is held against its own layer, on what that takes."""
    parts = ((nn.Linear(64, 64), nn.BatchNorm1d(64, momentum=1.0), nn.ReLU()) for _ in range(20))
    model = nn.Sequential(*(module for part in parts for module in part)).train()
    with torch.no_grad():
        model(torch.randn(256, 64))
    folded = fold_batch_norm(model, torch.randn(4, 64))
    assert sum(isinstance(module, nn.Identity) for module in folded) == 20


def test_a_layer_that_is_called_by_name() -> None:
    model = lived_in(Net(lambda net, x: net.norm(net.f(input=x)))).eval()
    x = torch.randn(3, 3)
    folded = fold_batch_norm(model, x)
    assert isinstance(folded.norm, nn.Identity)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-5)


def test_networks_that_draw_numbers_in_eval_mode() -> None:
    model = lived_in(Net(lambda net, x: net.norm(net.f(x)) + torch.randn(3)))
    assert isinstance(fold_batch_norm(model, torch.randn(3, 3)).norm, nn.Identity)


def test_without_weights() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).to("meta")
    folded = fold_batch_norm(model, torch.empty(1, 1, 5, 5, device="meta"))
    assert type(folded[1]) is nn.Identity


def test_examples_that_do_not_fit_are_refused() -> None:
    model = Net(lambda net, x: net.norm(net.f(x)))
    with pytest.raises(XbarError, match=r"example_input of shape \(2, 4\): the network refuses it"):
        fold_batch_norm(model, torch.rand(2, 4))
    with pytest.raises(XbarError, match="example_input: a list"):
        fold_batch_norm(model, [1.0])
