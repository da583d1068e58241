"""Training and compression stay on the device of the network: no copy to the host, no tensor left on it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import pytest
import torch
from far_device import FAR, FarTensor, HostCopyError, far_device, near
from torch import nn

from mapping.compression.admm import Admm
from mapping.compression.compressor import compress
from mapping.compression.freezing import Freezing
from mapping.compression.gsm import Gsm
from mapping.compression.masks import Masked
from mapping.constraints.budgets import NonzeroBudget
from mapping.constraints.centroids import Centroids
from mapping.constraints.constraint import Constraint
from mapping.constraints.intersections import SparseValues
from mapping.constraints.levels import Levels, Ternary, Window, equal_levels
from mapping.constraints.sparsity import BlockSparse
from mapping.network.gemm import mappable_layers, to_gemm
from mapping.recipes.options import Cutout, Distillation, Ema, Mixup, TrainingOptions
from mapping.recipes.recipe import Recipe
from mapping.training.loop import accuracy, train
from mapping.training.method import Method


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 4)
    )


def batches() -> Sequence[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [
        (torch.randn(16, 1, 8, 8, generator=generator), torch.randint(0, 4, (16,), generator=generator))
        for _ in range(3)
    ]


def masks(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: to_gemm(layer).abs() > 0.05 for name, layer in mappable_layers(model).items()}


def methods(model: nn.Module, kind: str) -> list[Method]:
    if kind == "admm":
        return [Admm(model, {"0": BlockSparse(3, 1, 0.5), "5": Levels(equal_levels(3), per="column")})]
    if kind == "budget":
        return [Admm(model, NonzeroBudget(100))]
    if kind == "gsm":
        return [Gsm(model, 3.0)]
    if kind == "masked":
        return [Masked(model, masks(model))]
    if kind == "freezing":
        return [Freezing(model, {"5": Centroids(5)}, (0.5, 1.0))]
    return []


OPTIONS = {
    "plain": TrainingOptions(),
    "mixup": TrainingOptions(mixing=Mixup(0.2), label_smoothing=0.1),
    "cutout": TrainingOptions(mixing=Cutout(3), ema=Ema(0.9)),
    "distillation": TrainingOptions(distillation=Distillation(2.0, 0.5), accumulate=2, keep="highest"),
}


def trained(model: nn.Module, kind: str, options: TrainingOptions) -> Mapping[str, torch.Tensor]:
    teacher = copy.deepcopy(model) if options.distillation else None
    how = Recipe(epochs=2, lr=0.05, optimizer="sgd", momentum=0.9, options=options)

    def validate(model: nn.Module) -> float:
        return accuracy(model, batches())

    hooks = methods(model, kind)
    train(model, batches(), how, methods=hooks, teacher=teacher, validate=validate)
    for hook in hooks:
        if isinstance(hook, Admm | Gsm):
            assert all(t.device == next(model.parameters()).device for t in hook.finish(model).values())
    return model.state_dict()


CASES = [
    *(("none", options) for options in OPTIONS),
    *((kind, "plain") for kind in ("admm", "budget", "gsm", "masked", "freezing")),
]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_the_same_network_as_on_the_processor(kind: str, options: str) -> None:
    here = trained(network(), kind, OPTIONS[options])
    with far_device():
        there = trained(network().to(FAR), kind, OPTIONS[options])
        for name, value in there.items():
            assert value.device == FAR
            torch.testing.assert_close(near(value), here[name], rtol=1e-5, atol=1e-6)


SETS: dict[str, Constraint] = {
    "blocks": BlockSparse(3, 1, 0.5),
    "levels": Levels(equal_levels(4), per="column"),
    "ternary": Ternary(),
    "window": Window(0.5, 2.0, per="column"),
    "values of a sparsity": SparseValues(BlockSparse(3, 1, 0.5), Levels(equal_levels(3))),
    "centroids": Centroids(5),
}


@pytest.mark.parametrize("kind", SETS)
def test_compress_gives_what_it_gives_on_the_processor(kind: str) -> None:
    how = Recipe(epochs=4, lr=0.02, optimizer="sgd", momentum=0.9)
    here = compress(network(), batches(), {"5": SETS[kind]}, how, how)
    with far_device():
        there = compress(network().to(FAR), batches(), {"5": SETS[kind]}, how, how)
        assert torch.equal(near(there.masks["5"]), here.masks["5"])
        for name, value in there.model.state_dict().items():
            torch.testing.assert_close(near(value), here.model.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_the_far_device_finds_what_it_is_there_to_find() -> None:
    with far_device():
        far = torch.arange(20.0).to(FAR)
        assert isinstance(far, FarTensor)
        assert float(far.sum()) == 190
        with pytest.raises(HostCopyError):
            far.cpu()
        with pytest.raises(RuntimeError):
            far.numpy(force=True)
        with pytest.raises(RuntimeError, match="same device"):
            far + torch.ones(20)
