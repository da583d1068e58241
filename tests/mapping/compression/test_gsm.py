"""Global sparse momentum SGD: steps and cut by hand, exact counts, resuming to the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mapping import Recipe, train
from mapping.compression.gsm import Gsm
from mapping.network.gemm import to_gemm
from xbar import XbarError


def tiny() -> nn.Module:
    """Six weights in two layers; two of them are active at a rate of 3."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
    model[1].weight.data = torch.tensor([[4.0, -1.0]])
    return model


def convolutional() -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
    return model.to(memory_format=torch.channels_last)


class Shuffled:
    """A loader that draws from torch's global generator."""

    def __len__(self) -> int:
        return 4

    def __iter__(self):
        generator = torch.Generator().manual_seed(2)
        x = torch.rand(4, 16, 2, 6, 6, generator=generator)
        y = torch.randint(0, 5, (4, 16), generator=generator)
        return ((x[i], y[i]) for i in torch.randperm(4))


def give_gradients(model: nn.Module, first: list[list[float]], second: list[list[float]]) -> None:
    for layer, gradient in zip(model, (first, second), strict=True):
        layer.weight.grad = torch.tensor(gradient)
        layer.bias.grad = torch.ones_like(layer.bias)


def test_two_steps_by_hand() -> None:
    """|g w| is 2, .2, .3, 1.5 and .4, 1.8: not the largest gradients, nor weights, nor a share a layer."""
    model = tiny()
    gsm = Gsm(model, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.5, weight_decay=0.2)

    give_gradients(model, [[2.0, 0.1], [-0.1, 3.0]], [[0.1, -1.8]])
    gsm.after_backward(model)
    assert model[0].weight.grad.tolist() == [[2.0, 0.0], [0.0, 0.0]]
    torch.testing.assert_close(model[1].weight.grad, torch.tensor([[0.0, -1.8]]))
    assert model[0].bias.grad.tolist() == [1.0, 1.0]
    optimizer.step()
    # z = 0.2 w + g: 2.2, -0.4, 0.6, 0.1 and 0.8, -2
    torch.testing.assert_close(model[0].weight.data, torch.tensor([[0.78, -1.96], [2.94, 0.49]]))
    torch.testing.assert_close(model[1].weight.data, torch.tensor([[3.92, -0.8]]))

    # A weight that was passive comes back: |g w| is 0, .196, 0, 4.9 and .784, 0.
    give_gradients(model, [[0.0, 0.1], [0.0, 10.0]], [[0.2, 0.0]])
    gsm.after_backward(model)
    optimizer.step()
    # z = 0.5 z + 0.2 w + g: 1.256, -0.592, 0.888, 10.148 and 1.384, -1.16
    torch.testing.assert_close(model[0].weight.data, torch.tensor([[0.6544, -1.9008], [2.8512, -0.5248]]))
    torch.testing.assert_close(model[1].weight.data, torch.tensor([[3.7816, -0.684]]))

    masks = gsm.finish(model)
    torch.testing.assert_close(model[0].weight.data, torch.tensor([[0.0, 0.0], [2.8512, 0.0]]))
    torch.testing.assert_close(model[1].weight.data, torch.tensor([[3.7816, 0.0]]))
    assert masks["0"].tolist() == [[False, True], [False, False]]
    assert masks["1"].tolist() == [[True], [False]]


def test_rows_of_an_epoch_by_hand() -> None:
    """A cut keeps 3 and 4; then 5 takes the place of 3 in the first layer."""
    model = tiny()
    gsm = Gsm(model, 3)
    model[0].weight.data[0, 1] = -5.0
    first, second = gsm.end_epoch(model, 0)
    assert (first["layer"], first["kept"], first["revived"]) == ("0", 1, 1)
    assert first["lost"] == pytest.approx(((1 + 9 + 0.25) / (1 + 25 + 9 + 0.25)) ** 0.5)
    assert (second["layer"], second["kept"], second["revived"]) == ("1", 1, 0)
    assert second["lost"] == pytest.approx((1 / 17) ** 0.5)
    assert [row["revived"] for row in gsm.end_epoch(model, 1)] == [0, 0]


@pytest.mark.parametrize(("rate", "count"), [(1, 6), (1.5, 4), (2.5, 2), (4, 1), (6, 1)])
def test_ties_keep_the_count_exact_and_go_to_the_lower_index(rate: float, count: int) -> None:
    model = tiny()
    for layer in model:
        layer.weight.data.fill_(-1.0)
    gsm = Gsm(model, rate)
    give_gradients(model, [[1.0, -1.0], [1.0, 1.0]], [[1.0, 1.0]])
    gsm.after_backward(model)
    gradients = torch.cat([layer.weight.grad.flatten() for layer in model])
    assert (gradients != 0).tolist() == [i < count for i in range(6)]
    masks = gsm.finish(model)
    assert torch.cat([mask.flatten() for mask in masks.values()]).tolist() == [i < count for i in range(6)]


def test_weights_of_zero_do_not_change_the_count() -> None:
    model = tiny()
    for layer in model:
        layer.weight.data.zero_()
    assert sum(int(mask.sum()) for mask in Gsm(model, 3).finish(model).values()) == 2


def test_the_cut_keeps_the_largest_weights_in_their_places() -> None:
    model = convolutional()
    before = {name: model.get_submodule(name).weight.detach().clone() for name in "03"}
    masks = Gsm(model, 10).finish(model)
    assert sum(int(mask.sum()) for mask in masks.values()) == (72 + 320) // 10
    every = torch.cat([w.abs().flatten() for w in before.values()])
    least = every.sort(descending=True).values[38]
    for name, w in before.items():
        layer = model.get_submodule(name)
        assert torch.equal(layer.weight, torch.where(w.abs() >= least, w, 0.0))
        assert torch.equal(to_gemm(layer) != 0, masks[name])
        assert layer.weight.stride() == w.stride()


def test_a_step_of_the_loop_moves_the_active_weights_only() -> None:
    model = convolutional()
    before = {name: model.get_submodule(name).weight.detach().clone() for name in "03"}
    batch = next(iter(Shuffled()))
    train(model, [batch], Recipe(1, 0.1, "sgd"), methods=[Gsm(model, 10)])
    moved = [int((model.get_submodule(name).weight != w).sum()) for name, w in before.items()]
    assert sum(moved) == 39
    assert min(moved) > 0


def test_layers_that_are_not_named_are_free() -> None:
    model = tiny()
    gsm = Gsm(model, 2, ["1"])
    give_gradients(model, [[2.0, 0.1], [-0.1, 3.0]], [[0.1, -1.8]])
    gsm.after_backward(model)
    assert model[0].weight.grad.count_nonzero() == 4
    assert model[1].weight.grad.count_nonzero() == 1
    assert list(gsm.finish(model)) == ["1"]
    assert model[0].weight.count_nonzero() == 4


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    class Killed(Gsm):
        def begin_epoch(self, model: nn.Module, epoch: int) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

    def run(model: nn.Module, file: str, method: type[Gsm] = Gsm) -> list:
        recipe = Recipe(4, 0.1, "sgd", 0.9, 1e-2, final=1)
        return train(model, Shuffled(), recipe, methods=[method(model, 10)], checkpoint=tmp_path / file)

    whole = convolutional()
    log = run(whole, "whole")
    assert sum(row["revived"] for row in log if row["epoch"] == 2 and "revived" in row)
    with pytest.raises(KeyboardInterrupt):
        run(convolutional(), "broken", Killed)
    fresh = convolutional()
    with torch.no_grad():
        for p in fresh.parameters():
            p.normal_()
    assert run(fresh, "broken") == log
    for a, b in zip(whole.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("rate", "layers", "message"),
    [
        (0.5, None, "gsm.rate = 0.5: must lie between 1 and 6"),
        (7, None, "gsm.rate = 7: must lie between 1 and 6"),
        (float("nan"), None, "gsm.rate = nan"),
        (3, ["2"], "gsm.layers: unknown name '2'; allowed: 0, 1"),
        (1, [], "gsm.layers: must name at least one layer"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(rate: float, layers: list[str] | None, message: str) -> None:
    with pytest.raises(XbarError) as caught:
        Gsm(tiny(), rate, layers)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fewer_may_be_active_than_stay() -> None:
    """Six weights: one active in a step (|g w| = 2 of the first), two after the cut."""
    model = tiny()
    gsm = Gsm(model, 3, active=6)
    give_gradients(model, [[2.0, 0.1], [-0.1, 3.0]], [[0.1, -1.8]])
    gsm.after_backward(model)
    gradients = torch.cat([layer.weight.grad.flatten() for layer in model])
    assert gradients.tolist() == [2.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert sum(int(mask.sum()) for mask in gsm.finish(model).values()) == 2
    with pytest.raises(XbarError, match=r"gsm.active = 2"):
        Gsm(model, 3, active=2)
