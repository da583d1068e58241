"""`compress`: the network that comes back lies in every set, the one that went in does not change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mapping import (
    BlockSparse,
    Centroids,
    Distillation,
    Levels,
    OneSign,
    Recipe,
    RhoSchedule,
    SparseValues,
    TileRowsAndColumns,
    TrainingOptions,
    Window,
    compress,
    equal_levels,
)
from mapping.constraints.levels import Ternary
from mapping.network.gemm import to_gemm
from xbar import XbarError

RHO = RhoSchedule(0.1, 1.5, 10)
SHORT = Recipe(2, 1e-2), Recipe(4, 1e-2)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3)
    )


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    x = torch.randn(96, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    return list(zip(x.split(16), x.flatten(1)[:, :3].argmax(1).split(16), strict=True))


@pytest.mark.parametrize(
    "constraint",
    [
        BlockSparse(4, 1, 0.4),
        TileRowsAndColumns(4, 4, 0.6, 0.6),
        OneSign(4),
        Levels(equal_levels(2)),
        Ternary(),
        Centroids(3),
        Window(0.2, 1.0),
        SparseValues(BlockSparse(1, 1, 0.3), Levels(equal_levels(2))),
        SparseValues(BlockSparse(2, 1, 0.5), Centroids(2)),
    ],
    ids=lambda constraint: type(constraint).__name__,
)
def test_the_network_lies_in_its_sets(constraint) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    done = compress(model, batches(), {"Linear": constraint}, *SHORT, rho=RHO)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert set(done.masks) == {"3", "5"}
    for name, mask in done.masks.items():
        w = to_gemm(done.model.get_submodule(name))
        assert not w[~mask].any()
        z, _ = constraint.project(w)
        torch.testing.assert_close(z, w, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(w, to_gemm(model.get_submodule(name)))
    assert {row["stage"] for row in done.log} == {"admm", "retrain"}


def test_it_learns_what_it_may() -> None:
    """Half of the weights, on four values: far above the third that a guess has."""
    constraint = SparseValues(BlockSparse(1, 1, 0.5), Levels(equal_levels(2)))
    done = compress(network(), batches(), {"*": constraint}, Recipe(40, 1e-2), Recipe(40, 1e-2), rho=RHO)
    x, y = (torch.cat(part) for part in zip(*batches(), strict=True))
    assert float((done.model(x).argmax(1) == y).float().mean()) > 0.6
    assert all(len(p.unique()) <= 5 for name, p in done.model.named_parameters() if "weight" in name)


def test_an_interrupted_call_goes_on(tmp_path: Path) -> None:
    table = {"3": BlockSparse(4, 1, 0.4), "5": Levels(equal_levels(1))}
    whole = compress(network(), batches(), table, *SHORT, rho=RHO)
    calls = []

    def validate(model: nn.Module) -> float:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        compress(network(), batches(), table, *SHORT, rho=RHO, checkpoint=tmp_path / "run", validate=validate)
    again = compress(network(), batches(), table, *SHORT, rho=RHO, checkpoint=tmp_path / "run")
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_mistakes_are_one_line() -> None:
    with pytest.raises(XbarError, match=r"^constraints: nothing fits: unknown name '4'"):
        compress(network(), batches(), {"4": BlockSparse(1, 1, 0.5)}, *SHORT)
    with pytest.raises(XbarError, match=r"^constraints: none given"):
        compress(network(), batches(), {}, *SHORT)
    with pytest.raises(XbarError, match=r"^retrain.epochs = 2: too few to freeze 4 shares"):
        compress(network(), batches(), {"3": Levels(equal_levels(1))}, Recipe(1), Recipe(2))


def test_ternary_values_of_a_column_stay_those_of_a_column() -> None:
    """They ended on one scale of the layer: the smallest column grew 400 times."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 4)), torch.randn(32, 8)
    model[0].weight.data *= 10.0 ** torch.arange(-2, 2.0)[:, None]
    batches = [(x, torch.randint(4, (32,)))]
    found = compress(model, batches, {"0": Ternary(per="column")}, Recipe(2, 1e-4), Recipe(5, 1e-4))
    largest = to_gemm(found.model[0]).abs().amax(0)
    assert (largest[1:] > 3 * largest[:-1]).all()


def test_the_network_itself_teaches_where_no_other_is_given() -> None:
    """With the whole weight on the teacher, labels have no say: those of another task change nothing."""
    how = Recipe(3, 1e-2, options=TrainingOptions(distillation=Distillation(1.0, 1.0)))
    table = {"3": BlockSparse(4, 1, 0.5)}

    def compressed(given: list[tuple[torch.Tensor, torch.Tensor]], **keys) -> torch.Tensor:
        return to_gemm(compress(network(), given, table, how, how, rho=RHO, **keys).model[3])

    relabelled = [(x, (y + 1) % 3) for x, y in batches()]
    found = compressed(batches())
    torch.testing.assert_close(found, compressed(relabelled), rtol=0, atol=0)
    assert torch.equal(found, compressed(batches(), teacher=network()))
    torch.manual_seed(1)
    other = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    assert not torch.allclose(found, compressed(batches(), teacher=other), atol=1e-3)


def test_a_teacher_needs_a_recipe_that_follows_it() -> None:
    with pytest.raises(XbarError, match=r"^teacher: has an effect with"):
        compress(network(), batches(), {"3": BlockSparse(4, 1, 0.5)}, *SHORT, teacher=network())
