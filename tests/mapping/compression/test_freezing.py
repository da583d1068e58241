"""Freeze and retrain: who is frozen and when, that it stays to the last bit, and where it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mapping import Centroids, Levels, Recipe, equal_levels, train
from mapping.compression.freezing import Freezing
from mapping.network.gemm import to_gemm
from mapping.training.checkpoints import load_checkpoint
from xbar import XbarError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 4))


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 6, generator=generator)
    return list(zip(x.split(16), (x[:, :4].argmax(1)).split(16), strict=True))


def values() -> dict[str, Levels]:
    mask = torch.rand(6, 10, generator=torch.Generator().manual_seed(2)) < 0.6
    return {"0": Levels(equal_levels(2), mask), "2": Levels(equal_levels(1))}


class Watch(Freezing):
    """Notes the weights at the end of each epoch, and whether a frozen one ever moved."""

    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        super().after_step(model, optimizer)
        for name, held in self.held.items():
            w = to_gemm(model.get_submodule(name))
            assert torch.equal(w[held], self.z[name][held])


@pytest.mark.parametrize("recipe", [Recipe(6, 1e-2), Recipe(6, 1e-1, "sgd", weight_decay=1e-2)])
def test_shares_are_frozen_and_never_move(recipe: Recipe) -> None:
    model, sets = network(), values()
    scales = {name: levels.fit(to_gemm(model.get_submodule(name))) for name, levels in sets.items()}
    freezing = Watch(model, sets, (0.25, 0.5, 1.0), epochs=2)
    log = train(model, batches(), recipe, methods=[freezing])
    stays = {"0": int(sets["0"].mask.sum()), "2": 40}
    for name, count in stays.items():
        frozen = [row["frozen"] for row in log if row.get("layer") == name]
        assert frozen == [n for share in (0.25, 0.5, 1.0) for n in [round(share * count)] * 2]
        w = to_gemm(model.get_submodule(name))
        torch.testing.assert_close(w, sets[name].project_with(w, scales[name]), rtol=0, atol=0)
        kept = w[sets[name].mask] if sets[name].mask is not None else w
        assert (kept != 0).all()


def test_the_nearest_are_frozen_first() -> None:
    """Scale of 1, 2, 3, 10 on one level: 4. In order of distance: 3 (1), 2 (2), 1 (3), 10 (6)."""
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[1.0, -2.0, 3.0, 10.0]])
    model = nn.Sequential(layer)
    freezing = Freezing(model, {"0": Levels(equal_levels(1))}, (0.25, 0.5, 0.75, 1.0))
    expected = [[1, -2, 4, 10], [1, -4, 4, 10], [4, -4, 4, 10], [4, -4, 4, 4]]
    for epoch, weights in enumerate(expected):
        freezing.begin_epoch(model, epoch)
        assert layer.weight.tolist() == [[float(w) for w in weights]]


def test_centroids_are_values_as_well() -> None:
    model = network()
    w = to_gemm(model.get_submodule("0")).clone()
    freezing = Freezing(model, {"0": Centroids(3)}, (1.0,))
    freezing.begin_epoch(model, 0)
    torch.testing.assert_close(to_gemm(model.get_submodule("0")), Centroids(3).project(w)[0])


def test_a_resumed_run_ends_on_the_same_weights(tmp_path: Path) -> None:
    whole, part = network(), network()
    recipe = Recipe(6, 1e-2)
    train(whole, batches(), recipe, methods=[Freezing(whole, values(), (0.25, 0.5, 1.0), 2)])

    class Stop(Freezing):
        def begin_epoch(self, model: nn.Module, epoch: int) -> None:
            if epoch == 3:
                raise KeyboardInterrupt
            super().begin_epoch(model, epoch)

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(
            part,
            batches(),
            recipe,
            methods=[Stop(part, values(), (0.25, 0.5, 1.0), 2)],
            checkpoint=path,
        )
    assert load_checkpoint(path)[1]["epoch"] == 3
    again = network()
    again.load_state_dict(part.state_dict())
    train(
        again,
        batches(),
        recipe,
        methods=[Freezing(again, values(), (0.25, 0.5, 1.0), 2)],
        checkpoint=path,
    )
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


@pytest.mark.parametrize(
    "shares", [(), (0.5,), (0.0, 1.0), (0.5, 0.5, 1.0), (0.6, 0.3, 1.0), (0.5, 1.5), (float("nan"), 1.0)]
)
def test_shares_that_do_not_rise_to_one_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(
        XbarError, match=r"^shares( = .*: must rise from above 0 to 1|: a share = nan: must be a number)"
    ):
        Freezing(network(), values(), shares)
