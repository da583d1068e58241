"""The training loop and its methods: gradients, masks, levels, and resuming to the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mapping import Admm, BlockSparse, Masked, Recipe, RhoSchedule, accuracy, train
from mapping.constraints.budgets import NonzeroBudget
from mapping.network.gemm import from_gemm, to_gemm
from mapping.training.checkpoints import load_checkpoint
from mapping.training.loop import memory_format
from mapping.training.method import Method
from xbar import XbarError


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))


def batches(count: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [
        (torch.rand(16, 1, 6, 6, generator=generator), torch.randint(0, 5, (16,), generator=generator))
        for _ in range(count)
    ]


class Shuffled:
    """A loader that draws from torch's global generator."""

    def __len__(self) -> int:
        return 4

    def __iter__(self):
        data = batches()
        return (data[i] for i in torch.randperm(4))


CONSTRAINTS = {"0": BlockSparse(4, 1, 0.6), "3": BlockSparse(16, 1, 0.4)}


def test_penalty_gradient_is_rho_times_w_minus_z_plus_u() -> None:
    """Against autograd on rho/2 |W - Z + U|^2."""
    model = network()
    admm = Admm(model, CONSTRAINTS, RhoSchedule(0.3, 2.0, 10))
    admm.u = {name: torch.randn_like(u) for name, u in admm.u.items()}
    admm.begin_epoch(model, 0)
    for name in CONSTRAINTS:
        weight = model.get_submodule(name).weight
        weight.grad = torch.zeros_like(weight)
    admm.after_backward(model)
    for name in CONSTRAINTS:
        weight = model.get_submodule(name).weight
        layer = model.get_submodule(name)
        z, u = from_gemm(admm.z[name], layer), from_gemm(admm.u[name], layer)
        twin = weight.detach().clone().requires_grad_()
        (0.15 * (twin - z + u).square().sum()).backward()
        torch.testing.assert_close(weight.grad, twin.grad)


def test_u_is_rescaled_with_rho() -> None:
    model = network()
    admm = Admm(model, CONSTRAINTS, RhoSchedule(0.1, 2.0, 10))
    u = {name: torch.randn_like(t) for name, t in admm.u.items()}
    admm.u = {name: t.clone() for name, t in u.items()}
    admm.begin_epoch(model, 1)
    assert admm.current_rho == pytest.approx(0.2)
    for name in u:
        torch.testing.assert_close(admm.u[name], u[name] / 2)


def test_z_and_u_steps() -> None:
    model = network()
    admm = Admm(model, CONSTRAINTS)
    admm.begin_epoch(model, 0)
    w = {name: to_gemm(model.get_submodule(name)).clone() for name in CONSTRAINTS}
    u = {name: t.normal_().clone() for name, t in admm.u.items()}
    rows = admm.end_epoch(model, 0)
    for row in rows:
        name = row["layer"]
        z, _ = CONSTRAINTS[name].project(w[name] + u[name])
        torch.testing.assert_close(admm.z[name], z)
        torch.testing.assert_close(admm.u[name], u[name] + w[name] - z)
        assert row["primal"] == pytest.approx(float((w[name] - z).norm() / w[name].norm()), rel=1e-5)


def test_admm_draws_weights_to_their_set() -> None:
    model = network()
    admm = Admm(model, CONSTRAINTS, RhoSchedule(0.1, 1.5, 10))
    log = train(model, batches() * 20, Recipe(12, 3e-3), methods=[admm])
    residuals = [row["primal"] for row in log if row.get("layer") == "3"]
    assert residuals[-1] < 0.05 < residuals[0]


def test_a_budget_of_the_network_is_kept_across_layers() -> None:
    """40 weights in all, wherever they are; layers without a name in `layers` stay free."""
    model = network()
    budget = NonzeroBudget(40)
    admm = Admm(model, budget, RhoSchedule(0.1, 1.5, 10))
    log = train(model, batches() * 20, Recipe(8, 3e-3), methods=[admm])
    assert sum(row["kept"] for row in log[-2:]) == 40
    weights = {name: to_gemm(model.get_submodule(name)).clone() for name in CONSTRAINTS}
    masks = admm.finish(model)
    assert sum(int(mask.sum()) for mask in masks.values()) == 40
    for name, (z, mask) in budget.project(weights).items():
        torch.testing.assert_close(to_gemm(model.get_submodule(name)), z)
        assert torch.equal(masks[name], mask)
    assert list(Admm(model, NonzeroBudget(5), layers=["3"]).z) == ["3"]


def test_what_cannot_be_trained_is_refused() -> None:
    model = network()
    model.get_submodule("0").weight.requires_grad_(False)
    with pytest.raises(XbarError, match=r"^constraint on '0': its weight is frozen"):
        Admm(model, CONSTRAINTS)
    with pytest.raises(XbarError, match=r"^interval = 0: must lie between 1"):
        Admm(network(), CONSTRAINTS, interval=0)
    with pytest.raises(XbarError, match=r"^train: the network has no weight to train"):
        train(model.requires_grad_(False), batches(), Recipe(1))


@pytest.mark.parametrize("recipe", [Recipe(2, 1e-2), Recipe(2, 1e-1, "sgd", weight_decay=1e-2)])
def test_masked_weights_are_exactly_zero_after_every_step(recipe: Recipe) -> None:
    """Moments from before the masks are what revives zeros: the optimiser starts with some."""
    model = network()
    masks = {name: c.project(to_gemm(model.get_submodule(name)))[1] for name, c in CONSTRAINTS.items()}
    masked = Masked(model, masks)
    steps = []

    class Watch(Masked):
        def before_forward(self, model: nn.Module) -> None:
            for name, mask in masks.items():
                weight = to_gemm(model.get_submodule(name))
                assert (weight[~mask] == 0).all()
                assert (weight[mask] != 0).any()
            steps.append(1)

        def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
            masked.after_step(model, optimizer)
            for slots in optimizer.state.values():
                for moment in slots.values():
                    if isinstance(moment, torch.Tensor) and moment.dim():
                        moment.add_(0.1)

    train(model, batches(), recipe, methods=[Watch(model, masks)])
    assert len(steps) == 8
    for name, mask in masks.items():
        assert (to_gemm(model.get_submodule(name))[~mask] == 0).all()


def _methods(model: nn.Module) -> list:
    return [
        Admm(model, CONSTRAINTS),
        Masked(model, {"3": torch.rand(64, 5, generator=torch.Generator().manual_seed(0)) > 0.3}),
    ]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path, optimizer: str) -> None:
    recipe = Recipe(4, 1e-2, optimizer, warmup=1)
    whole = network()
    log = train(whole, Shuffled(), recipe, methods=_methods(whole), checkpoint=tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(model: nn.Module) -> float:
        if len(calls) == 2:
            raise Killed
        calls.append(1)
        return 0.0

    calls: list[int] = []
    broken = network()
    with pytest.raises(Killed):
        train(
            broken,
            Shuffled(),
            recipe,
            methods=_methods(broken),
            checkpoint=tmp_path / "broken",
            validate=kill,
        )
    fresh = network()
    with torch.no_grad():
        for p in fresh.parameters():
            p.normal_()
    resumed = train(fresh, Shuffled(), recipe, methods=_methods(fresh), checkpoint=tmp_path / "broken")
    for a, b in zip(whole.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [row["loss"] for row in log if "loss" in row] == [row["loss"] for row in resumed if "loss" in row]


@pytest.mark.parametrize("before", [False, True])
def test_numbers_below_normal_ones_are_zero_in_training_and_as_before_after_it(before: bool) -> None:
    """They would take a processor some 80 times as long."""

    class Watch(Method):
        def before_forward(self, model: nn.Module) -> None:
            seen.append(tiny())

    def tiny() -> float:
        return float(torch.full((16,), 1e-20) @ torch.full((16,), 1e-20))

    seen: list[float] = []
    torch.set_flush_denormal(before)
    try:
        train(network(), batches(), Recipe(1), methods=[Watch()])
        with pytest.raises(XbarError):
            train(network(), [], Recipe(1))
        assert seen == [0.0] * 4
        assert (tiny() == 0) == before
    finally:
        torch.set_flush_denormal(False)


def test_a_budget_over_no_layer_leaves_all_as_they_are() -> None:
    model = network()
    before = [p.clone() for p in model.parameters()]
    assert Admm(model, NonzeroBudget(0), layers=[]).finish(model) == {}
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_a_loss_that_is_not_finite_is_refused() -> None:
    with pytest.raises(XbarError, match="loss is nan in epoch 0"):
        train(network(), [(torch.full((2, 1, 6, 6), torch.nan), torch.zeros(2, dtype=torch.long))], Recipe(1))


def test_empty_loaders_are_refused() -> None:
    with pytest.raises(XbarError, match="gave no batch"):
        train(network(), [], Recipe(1))
    with pytest.raises(XbarError, match="gave no batch"):
        accuracy(network(), [])


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(XbarError, match="'fc9'"):
        Admm(network(), {"fc9": BlockSparse(4, 1, 0.5)})


def test_a_broken_checkpoint_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(XbarError, match="not a checkpoint") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_gemm_round_trip_keeps_layout() -> None:
    layer = nn.Conv2d(3, 6, 2).to(memory_format=torch.channels_last)
    back = from_gemm(to_gemm(layer), layer)
    assert torch.equal(back, layer.weight)
    assert back.stride() == layer.weight.stride()
    assert to_gemm(layer).shape == (12, 6)
    assert to_gemm(layer)[5, 2] == layer.weight[2, 1, 0, 1]


def test_pictures_lie_as_the_weights_of_convolutions() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    assert memory_format(model) is torch.contiguous_format
    assert memory_format(model.to(memory_format=torch.channels_last)) is torch.channels_last


def test_batches_and_masks_that_do_not_fit_are_one_line() -> None:
    model, x = network(), torch.rand(3, 1, 6, 6)
    for batch, words in ((x, "gave a Tensor; must be pairs"), ((x[:0], x[:0]), "a batch without an input")):
        with pytest.raises(XbarError, match=words):
            train(model, [batch], Recipe(1))
        with pytest.raises(XbarError, match=words):
            accuracy(model, [batch])
    with pytest.raises(XbarError, match=r"^accuracy: targets are a NoneType"):
        accuracy(model, [(x, None)])
    mask = torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(XbarError, match=r"^mask of 0: of shape \(2, 2\); must be \(K, N\) = "):
        Masked(model, {"0": mask})
    with pytest.raises(XbarError, match=r"layer with a mask.*'9'"):
        Masked(model, {"9": mask})
