"""Training: an optimiser's name that meant another, loaders of no known length, tied and infinite weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset

from experiments.studies.study import load_study
from mapping import Recipe, train
from mapping.training.method import Method
from xbar import XbarError

X = torch.randn(24, 4, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 3, (24,), generator=torch.Generator().manual_seed(2))
BATCHES = [(X[i : i + 4], Y[i : i + 4]) for i in range(0, 24, 4)]


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


class Rates(Method):
    """Learning rate of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.seen.append(optimizer.param_groups[0]["lr"])


def rates(recipe: Recipe, batches: object = BATCHES) -> list[float]:
    watch = Rates()
    train(network(), batches, recipe, methods=[watch])  # type: ignore[arg-type]
    return watch.seen


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(XbarError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def trained(recipe: Recipe) -> list[torch.Tensor]:
    model = network()
    train(model, BATCHES, recipe)
    return [p.detach() for p in model.parameters()]


def by_torch(
    build: Callable[..., torch.optim.Optimizer], epochs: int, schedule: bool = True
) -> list[torch.Tensor]:
    """The plain loop, with the cosine of a recipe."""
    model = network()
    optimizer = build(model.parameters(), lr=0.01)
    for epoch in range(epochs):
        for step, (x, y) in enumerate(BATCHES):
            if schedule:
                part = (epoch + step / len(BATCHES)) / epochs
                optimizer.param_groups[0]["lr"] = 0.01 * (1 + math.cos(math.pi * part)) / 2
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return [p.detach() for p in model.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.allclose(p, q, rtol=1e-5, atol=1e-6) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("optimizer", "build"),
    [
        ("SGD", functools.partial(torch.optim.SGD, momentum=0.9)),  # trained with Adam
        ("sgd", functools.partial(torch.optim.SGD, momentum=0.9)),
        ("Adam", torch.optim.Adam),
        ("adam", torch.optim.Adam),
        ("AdamW", functools.partial(torch.optim.AdamW, weight_decay=0.0)),
        ("RMSprop", torch.optim.RMSprop),
        ("NAdam", torch.optim.NAdam),
        (functools.partial(torch.optim.SGD, nesterov=True, momentum=0.8),) * 2,
        (torch.optim.Adagrad,) * 2,
    ],
)
def test_an_optimizer_is_the_one_that_is_named(optimizer: object, build: Callable[..., object]) -> None:
    recipe = Recipe(3, 0.01, optimizer)  # type: ignore[arg-type]
    assert same(trained(recipe), by_torch(build, 3))  # type: ignore[arg-type]
    assert not same(trained(recipe), by_torch(functools.partial(torch.optim.SGD, momentum=0.3), 3))


def test_momentum_and_decay_go_to_the_optimizer() -> None:
    recipe = Recipe(2, 0.01, "RMSprop", momentum=0.5, weight_decay=0.1)
    build = functools.partial(torch.optim.RMSprop, momentum=0.5, weight_decay=0.1)
    assert same(trained(recipe), by_torch(build, 2))
    recipe = Recipe(2, 0.01, torch.optim.SGD, momentum=0.5, weight_decay=0.1)
    build = functools.partial(torch.optim.SGD, momentum=0.5, weight_decay=0.1)
    assert same(trained(recipe), by_torch(build, 2))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"optimizer": "SDG"}, "did you mean 'SGD'?"),
        ({"optimizer": "AdmaW"}, "did you mean 'AdamW'?"),
        ({"optimizer": 3}, "a name of torch.optim or a function"),
        ({"optimizer": "LBFGS"}, "allowed: ASGD, "),  # asks for the loss several times a step
        ({"optimizer": torch.optim.LBFGS}, "LBFGS"),
        ({"optimizer": "Adam", "momentum": 0.5}, "momentum = 0.5: Adam takes no momentum"),
        ({"optimizer": "Rprop", "weight_decay": 0.1}, "weight_decay = 0.1: Rprop takes no weight_decay"),
        ({"optimizer": torch.optim.Rprop, "weight_decay": 0.1}, "weight_decay"),
        ({"optimizer": lambda parameters, lr: None}, "gave a NoneType; must be a torch.optim.Optimizer"),
        (
            {"optimizer": lambda parameters, lr: torch.optim.SGD(network().parameters(), lr)},
            "other parameters than the network's",
        ),
        ({"scheduler": "CosineAnealingLR"}, "did you mean 'CosineAnnealingLR'?"),
        ({"scheduler": 1}, "a name of torch.optim.lr_scheduler or a function"),
        ({"scheduler": "StepLR"}, "step_size"),
        ({"scheduler": "PolynomialLR", "warmup": 1.0}, "warmup = 1.0: has an effect with 'cosine' only"),
        ({"scheduler": "PolynomialLR", "final": 0.1}, "final = 0.1: has an effect with 'cosine' only"),
        ({"scheduler": lambda optimizer: 3}, "gave a int; must be a torch.optim.lr_scheduler.LRScheduler"),
    ],
)
def test_what_is_no_optimizer_or_scheduler(keys: dict[str, object], words: str) -> None:
    assert words in refused(lambda: train(network(), BATCHES, Recipe(2, 0.01, **keys)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("CosineAnnealingLR", [0.01 * (1 + math.cos(math.pi * e / 4)) / 2 for e in range(4)]),
        ("PolynomialLR", [0.01 * (1 - e / 4) for e in range(4)]),
        (functools.partial(lr_scheduler.StepLR, step_size=2, gamma=0.1), [0.01, 0.01, 0.001, 0.001]),
        (
            lambda optimizer: lr_scheduler.SequentialLR(
                optimizer,
                [
                    lr_scheduler.ConstantLR(optimizer, 0.1, 10),
                    lr_scheduler.ExponentialLR(optimizer, 0.5),
                ],
                [2],
            ),
            [0.001, 0.001, 0.01, 0.005],
        ),
    ],
)
def test_a_scheduler_steps_once_an_epoch(scheduler: object, expected: list[float]) -> None:
    found = rates(Recipe(4, 0.01, scheduler=scheduler))  # type: ignore[arg-type]
    assert found[::6] == pytest.approx(expected, rel=1e-6)
    assert all(found[6 * e : 6 * e + 6] == [found[6 * e]] * 6 for e in range(4))


def test_a_plateau_is_one_of_the_loss() -> None:
    plateau = functools.partial(
        lr_scheduler.ReduceLROnPlateau, patience=0, threshold=10.0, threshold_mode="abs"
    )
    assert rates(Recipe(3, 0.01, scheduler=plateau))[::6] == pytest.approx([0.01, 0.01, 0.001])


def groups(parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """The last two parameters at a tenth of the rate."""
    last = {"params": parameters[-2:], "lr": lr / 10}
    return torch.optim.Adam([{"params": parameters[:-2]}, last], lr=lr)


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [
        *(
            (name, "cosine")
            for name in ("ASGD", "Adadelta", "Adafactor", "Adagrad", "AdamW", "Adamax", "NAdam")
        ),
        *((name, "cosine") for name in ("RAdam", "RMSprop", "Rprop", "SGD")),
        (groups, "cosine"),
        ("SGD", "OneCycleLR"),
        ("Adam", functools.partial(lr_scheduler.MultiStepLR, milestones=[1, 2])),
        ("Adam", functools.partial(lr_scheduler.ReduceLROnPlateau, patience=0, threshold=10.0)),
    ],
)
def test_a_killed_training_goes_on_to_the_same_bits(
    tmp_path: Path, optimizer: object, scheduler: object
) -> None:
    class Killed(Exception):
        pass

    def kill(model: nn.Module) -> float:
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return 0.0

    calls: list[int] = []
    recipe = Recipe(4, 0.01, optimizer, scheduler=scheduler)  # type: ignore[arg-type]
    whole, fresh, watch, rest = network(), network(), Rates(), Rates()
    train(whole, BATCHES, recipe, methods=[watch])
    with pytest.raises(Killed):
        train(network(), BATCHES, recipe, validate=kill, checkpoint=tmp_path / "x")
    train(fresh, BATCHES, recipe, methods=[rest], checkpoint=tmp_path / "x")
    assert rest.seen == watch.seen[12:]
    for p, q in zip(whole.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(p, q)


def test_groups_keep_the_ratio_of_their_rates() -> None:
    class Both(Method):
        def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
            first, last = (group["lr"] for group in optimizer.param_groups)
            assert last == pytest.approx(first / 10)

    train(network(), BATCHES, Recipe(2, 0.01, groups), methods=[Both()])


class Stream(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter(zip(X, Y, strict=True))


class Endless:
    """A loader that does not say how long it is."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter(BATCHES)


@pytest.mark.parametrize(
    "loader", [Endless(), DataLoader(Stream(), 4)], ids=["no __len__", "IterableDataset"]
)
def test_a_loader_of_unknown_length_has_the_rate_of_the_middle_of_each_epoch(loader: object) -> None:
    """13 of 24 steps had a learning rate of 0; a DataLoader of a stream has a __len__ that raises."""
    recipe = Recipe(4, 0.01, warmup=1)
    found = rates(recipe, loader)
    expected = [0.005, *(0.01 * (1 + math.cos(math.pi * (e - 0.5) / 3)) / 2 for e in range(1, 4))]
    assert found == pytest.approx([rate for rate in expected for _ in range(6)], rel=1e-2)
    known = rates(recipe)
    for epoch in range(4):  # what a loader of known length has on average
        assert found[6 * epoch] == pytest.approx(sum(known[6 * epoch : 6 * epoch + 6]) / 6, abs=0.0015)


def test_a_loader_that_is_used_up() -> None:
    assert "used up" in refused(lambda: train(network(), iter(BATCHES), Recipe(2, 0.01)))


def test_labels_that_the_loss_refuses() -> None:
    """They were a traceback of torch; in `accuracy` they were wrong answers."""
    for y, words in (
        (Y[:4, None], "targets (4, 1)"),
        (Y[:4] + 3, "targets (4,)"),
        (Y[:4].float(), "targets (4,)"),
    ):
        message = refused(lambda y=y: train(network(), [(X[:4], y)], Recipe(1)))  # type: ignore[misc]
        assert message.startswith("train: the loss refuses outputs (4, 3) float32 and ")
        assert words in message


def test_a_study_names_them_too() -> None:
    study = load_study("digits", ["train.optimizer=SGD", "train.scheduler=PolynomialLR"])
    assert (study.train.optimizer, study.train.scheduler) == ("SGD", "PolynomialLR")
    for change, words in (
        ("train.optimizer=SDG", "train.optimizer: unknown name 'SDG'; did you mean 'SGD'?"),
        ("train.scheduler=cosin", "train.scheduler: unknown name 'cosin'; did you mean 'cosine'?"),
        ("train.scheduler=StepLR", "train.scheduler StepLR: needs step_size"),
    ):
        assert words in refused(lambda change=change: load_study("digits", [change]))  # type: ignore[misc]
