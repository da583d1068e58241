"""A checkpoint belongs to its arguments, and to no others."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mapping import Admm, BlockSparse, Freezing, Gsm, Levels, Masked, Recipe, compress, equal_levels, train
from mapping.compression.admm import RhoSchedule
from mapping.training.arguments import digest_of
from mapping.training.checkpoints import save_checkpoint
from xbar import XbarError

X, Y = torch.rand(32, 8), torch.arange(32) % 4
BATCHES = [(X[:16], Y[:16]), (X[16:], Y[16:])]
SHORT = (Recipe(2, 1e-2), Recipe(2, 1e-2))


def network(seed: int = 0, hidden: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, 4))


def sparse(keep: float = 0.5) -> dict[str, BlockSparse]:
    return {"0": BlockSparse(2, 1, keep)}


def compressed(folder: Path, **changes: Any) -> None:
    given: dict[str, Any] = {
        "model": network(),
        "batches": BATCHES,
        "constraints": sparse(),
        "recipe": SHORT[0],
        "retrain": SHORT[1],
        "checkpoint": folder / "kept",
    }
    compress(**(given | changes))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("constraints", {"constraints": sparse(0.25)}),
        ("constraints", {"constraints": {**sparse(), "2": BlockSparse(2, 1, 0.5)}}),
        ("network", {"model": network(1)}),
        ("network", {"model": network(0, 12)}),
        ("recipe", {"recipe": Recipe(2, 2e-2)}),
        ("retrain", {"retrain": Recipe(3, 1e-2)}),
        ("seed", {"seed": 1}),
        ("rho", {"rho": RhoSchedule(1e-2)}),
        ("interval", {"interval": 2}),
        ("freeze", {"freeze": (0.5, 1.0)}),
        ("batches", {"batches": BATCHES[:1]}),
        ("loss", {"loss": nn.MultiMarginLoss()}),
        ("loss", {"loss": functools.partial(nn.functional.cross_entropy, label_smoothing=0.1)}),
        ("seed, recipe", {"seed": 1, "recipe": Recipe(2, 2e-2)}),
    ],
)
@pytest.mark.parametrize("left", ["both", "retrain"])
def test_compress_refuses_what_another_call_left(
    tmp_path: Path, name: str, changes: dict[str, Any], left: str
) -> None:
    """Two runs were mixed. Of two files left the second alone is refused before the first training, too."""
    compressed(tmp_path)
    compressed(tmp_path)
    admm, retrain = tmp_path / "kept.admm.safetensors", tmp_path / "kept.retrain.safetensors"
    if left == "retrain":
        admm.unlink()
    with pytest.raises(XbarError) as caught:
        compressed(tmp_path, **changes)
    names = ", ".join(sorted(name.split(", "), key=list(changes_in_order()).index))
    path = admm if left == "both" else retrain
    assert str(caught.value) == (
        f"{path}: of a call with other arguments ({names}); delete it to start again, or give another "
        "checkpoint"
    )
    assert admm.exists() == (left == "both")


def changes_in_order() -> tuple[str, ...]:
    return (
        *("network", "constraints", "recipe", "retrain", "loss", "rho", "interval", "freeze", "seed"),
        "batches",
    )


METHODS = {
    "admm": lambda model: Admm(model, sparse()),
    "admm 2": lambda model: Admm(model, sparse(0.25)),
    "rho": lambda model: Admm(model, sparse(), RhoSchedule(1e-2)),
    "interval": lambda model: Admm(model, sparse(), interval=2),
    "gsm": lambda model: Gsm(model, 2),
    "gsm 2": lambda model: Gsm(model, 4),
    "active": lambda model: Gsm(model, 2, active=4),
    "freezing": lambda model: Freezing(model, {"0": Levels(equal_levels(2))}, (1.0,)),
    "levels": lambda model: Freezing(model, {"0": Levels(equal_levels(3))}, (1.0,)),
    "shares": lambda model: Freezing(model, {"0": Levels(equal_levels(2))}, (0.5, 1.0)),
    "masks": lambda model: Masked(model, {"0": torch.ones(8, 8, dtype=torch.bool)}),
    "masks 2": lambda model: Masked(model, {"0": torch.eye(8, dtype=torch.bool)}),
}


def test_train_tells_every_method_from_every_other(tmp_path: Path) -> None:
    """Each goes on from its own file; the twelve digests differ."""
    found = set()
    for of in METHODS.values():
        model = network()
        found.add(digest_of([of(model).arguments()]))
        assert digest_of([of(network()).arguments()]) in found
    assert len(found) == len(METHODS)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "admm"])
def test_train_refuses_the_file_of_another_method(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x"
    for _ in range(2):
        model = network()
        train(model, BATCHES, Recipe(1), methods=[METHODS["admm"](model)], checkpoint=path)
    with pytest.raises(XbarError, match=r"x: of a call with other arguments \(methods\); delete it"):
        train(network(), BATCHES, Recipe(1), methods=[METHODS[name](network())], checkpoint=path)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("network", {"model": network(0, 12)}),
        ("network", {"model": nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 4))}),
        ("recipe", {"recipe": Recipe(2)}),
        ("seed", {"seed": 1}),
        ("stage", {"stage": "other"}),
        ("loss", {"loss": nn.functional.multi_margin_loss}),
        ("batches", {"batches": BATCHES[:1]}),
    ],
)
def test_train_refuses_the_file_of_another_call(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    given = {"model": network(), "batches": BATCHES, "recipe": Recipe(1), "checkpoint": tmp_path / "x"}
    train(**given)  # type: ignore[arg-type]
    with pytest.raises(XbarError, match=rf"x: of a call with other arguments \({name}\); delete it"):
        train(**(given | changes))  # type: ignore[arg-type]


def test_a_network_that_an_interrupted_call_left_trains_on(tmp_path: Path) -> None:
    """The cell of a notebook is run again: the weights are not those of the first call."""

    class Stop(Exception):
        pass

    def stop(model: nn.Module) -> float:
        calls.append(1)
        if len(calls) == 2:
            raise Stop
        return 0.0

    calls: list[int] = []
    whole, model = network(), network()
    train(whole, BATCHES, Recipe(3))
    with pytest.raises(Stop):
        train(model, BATCHES, Recipe(3), checkpoint=tmp_path / "x", validate=stop)
    train(model, BATCHES, Recipe(3), checkpoint=tmp_path / "x")
    assert torch.equal(model[0].weight, whole[0].weight)


def test_a_file_that_does_not_say_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x", {}, {"epoch": 1, "log": []})
    with pytest.raises(XbarError, match="x: does not say which arguments it belongs to; delete it"):
        train(network(), BATCHES, Recipe(1), checkpoint=tmp_path / "x")


@dataclasses.dataclass(frozen=True)
class Values:
    values: Any


class Plain:
    def __init__(self, value: Any) -> None:
        self.value = value
        self.me = self


def scaled(factor: float) -> Any:
    return lambda x: factor * x


VALUES = [
    *(None, True, 1, 1.0, "1", b"1", (), [1], {"a": 1}, {"a": 2}, {1, 2}, {1, 3}),
    *(
        torch.zeros(2),
        torch.zeros(2, dtype=torch.bfloat16),
        torch.zeros(1, 2),
        torch.ones(2),
        torch.tensor(1),
    ),
    *(np.zeros(2), np.ones(2), np.float32(1), np.float32(2), np.array(["a", None], dtype=object)),
    *(Values(1), Values((1, 2)), Plain(1), Plain(2), Path("a"), Path("b"), range(2), range(3)),
    *(nn.Linear, nn.functional.relu, functools.partial(min, 1), functools.partial(min, 2)),
    *(scaled(1.0), scaled(2.0), lambda x: x + 1, lambda x: x + 2, lambda x, y=1: x, lambda x, y=2: x),
    *(Plain(1).__init__, network(), network(1), network(0, 9)),
]


def test_digests_tell_values_apart() -> None:
    assert len({digest_of(value) for value in VALUES}) == len(VALUES)


def test_digests_are_those_of_every_process() -> None:
    """Hash seeds, addresses and the order of sets do not count."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_checkpoints import VALUES, digest_of\nprint([digest_of(value) for value in VALUES])"
    )
    here = str(Path(__file__).parent)
    found = [
        subprocess.run([sys.executable, "-c", code, here], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert found[0] == found[1]
