"""Handling of any network: it stays unharmed."""

from __future__ import annotations

import contextlib
import threading

import pytest
import torch
from torch import nn

from mapping.network.modules import copy_of, in_eval_mode, linear, replaced, run_example
from xbar import XbarError


def test_a_copy_of_a_network_that_keeps_what_it_computed() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    model.last = model(torch.rand(1, 3))
    copied = copy_of(model)
    assert torch.equal(copied.last, model.last)
    with torch.no_grad():
        copied[0].weight.zero_()
        copied.last.zero_()
    assert (model[0].weight != 0).all()
    assert (model.last != 0).all()


def test_what_cannot_be_copied_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    model.lock = threading.Lock()
    with pytest.raises(XbarError, match="Sequential: cannot be copied: TypeError: cannot pickle"):
        copy_of(model)


def test_modes_come_back_after_an_error() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with contextlib.suppress(RuntimeError), in_eval_mode(model):
        assert not model[0].training
        raise RuntimeError
    assert [m.training for m in model] == [True, False]


def test_a_run_draws_the_same_numbers_and_leaves_the_generator() -> None:
    class Noise(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.randn(3)

    state = torch.get_rng_state()
    assert torch.equal(*(run_example(Noise(), torch.zeros(1, 3)) for _ in range(2)))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_module_takes_the_place_of_another_wherever_it_is_held() -> None:
    old = nn.Dropout().eval()
    model = nn.Sequential(old, nn.Sequential(old))
    model.plain, model.listed, model.pair, model.named = nn.Identity(), [old], (1, (old,)), {"a": old}
    model.__dict__["plain"] = old
    listed, seen = model.listed, []
    old.register_forward_hook(lambda module, args, kwargs, output: seen.append(module), with_kwargs=True)
    form = nn.Sequential(nn.ReLU())
    assert replaced(model, old, form) is model
    places = model[0], model[1][0], model.plain, listed[0], model.pair[1][0], model.named["a"]
    assert all(place is form for place in places)
    assert model.listed is listed
    assert torch.equal(model[0](torch.tensor([-1.0, 1.0])), torch.tensor([0.0, 1.0]))
    assert seen == [form]
    assert not form.training
    assert not form[0].training


def test_a_network_that_is_replaced_as_a_whole() -> None:
    old, form = nn.Linear(3, 2), nn.Identity()
    assert replaced(old, old, form) is form


def test_a_linear_layer_of_given_parameters() -> None:
    source = nn.Linear(3, 2)
    layer = linear(source.weight, source.bias)
    assert layer.weight is source.weight
    part = linear(source.weight[:1], None)
    assert part.bias is None
    assert part.weight.is_leaf
    assert part.weight.requires_grad
    x = torch.rand(4, 3)
    torch.testing.assert_close(part(x), x @ source.weight[:1].T)
