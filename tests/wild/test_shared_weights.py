"""One weight of several layers was two to ADMM and GSM; one that is no number was projected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_study import SMALL
from torch import nn

from experiments.inputs import data as datasets
from experiments.plans.plan import StudyPlan, resolve
from experiments.stages.measure import networks
from experiments.studies.study import Study, load_study
from mapping import (
    Admm,
    BlockSparse,
    BothSparse,
    Centroids,
    Freezing,
    Gsm,
    JointBudget,
    Levels,
    Magnitudes,
    Masked,
    NonzeroBudget,
    OneSign,
    Recipe,
    RhoSchedule,
    SegmentSparse,
    SparseValues,
    Ternary,
    TileRowsAndColumns,
    WidthBudget,
    Window,
    compress,
    equal_levels,
    map_network,
    train,
    trainable_network,
)
from mapping.network.gemm import to_gemm
from mapping.smaller_networks.hardware_budget import lost_energy
from mapping.smaller_networks.sensitivity import sensitivity
from xbar import XbarError, load_hardware


class Tied(nn.Module):
    """Two layers of one weight, and one of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.b(self.a(x).relu()).relu())


X = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
DATA = [(X, X[:, :3].argmax(1))]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(XbarError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def half() -> BlockSparse:
    return BlockSparse(1, 1, 0.5)


def test_the_penalty_of_admm_pulls_once() -> None:
    model = Tied()
    admm = Admm(model, {"a": half(), "b": half()}, RhoSchedule(0.5, 1, 0.5))
    admm.begin_epoch(model, 0)
    model.a.weight.grad = torch.zeros_like(model.a.weight)
    admm.after_backward(model)
    z, _ = half().project(to_gemm(model.a))
    torch.testing.assert_close(model.a.weight.grad, 0.5 * (model.a.weight.detach() - z.t()))
    assert [row["kept"] for row in admm.end_epoch(model, 0)] == [18]
    masks = admm.finish(model)
    assert torch.equal(masks["a"], masks["b"])  # each layer has its own on tiles
    assert int((model.a.weight != 0).sum()) == 18


def test_gsm_counts_it_once() -> None:
    """Of 36 + 18 weights 27 stay at a rate of 2, were 45 of 90."""
    model = Tied()
    gsm = Gsm(model, 2)
    assert (gsm.count, gsm.active) == (27, 27)
    for layer in (model.a, model.head):
        layer.weight.grad = torch.ones_like(layer.weight)
    gsm.after_backward(model)
    assert sum(int(layer.weight.grad.count_nonzero()) for layer in (model.a, model.head)) == 27
    assert len(gsm.end_epoch(model, 0)) == 2
    masks = gsm.finish(model)
    assert list(masks) == ["a", "b", "head"]
    assert torch.equal(masks["a"], masks["b"])
    assert int(masks["a"].sum() + masks["head"].sum()) == 27


def test_a_budget_counts_it_once() -> None:
    model = Tied()
    masks = Admm(model, NonzeroBudget(20)).finish(model)
    assert int((model.a.weight != 0).sum() + (model.head.weight != 0).sum()) == 20
    assert set(masks) == {"a", "b", "head"}
    for budget in (JointBudget(60.0), WidthBudget(120.0)):
        model = Tied()
        assert set(Admm(model, budget).finish(model)) == {"a", "b", "head"}


def test_two_constraints_on_one_weight_are_refused() -> None:
    message = "layers 'a' and 'b' share one weight"
    for other in (BlockSparse(1, 1, 0.25), Levels(equal_levels(2)), OneSign(2)):
        assert message in refused(lambda other=other: Admm(Tied(), {"a": half(), "b": other}))  # type: ignore[misc]
    values = {"a": Levels(equal_levels(2)), "b": Levels(equal_levels(3))}
    assert message in refused(lambda: Freezing(Tied(), values, (1.0,)))
    masks = {"a": torch.ones(6, 6, dtype=torch.bool), "b": torch.eye(6) > 0}
    assert message in refused(lambda: Masked(Tied(), masks))
    assert message in refused(
        lambda: compress(Tied(), DATA, {"a": half(), "b": OneSign(2)}, Recipe(1), Recipe(1))
    )


def test_a_convolution_and_a_transposed_one_see_one_weight_differently() -> None:
    """Columns of the one are rows of the other: one constraint on both names is two."""
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ConvTranspose2d(3, 2, 2))
    model[1].weight = model[0].weight
    assert "share one weight" in refused(lambda: Admm(model, {"0": half(), "1": half()}))
    assert set(Gsm(model, 2).finish(model)) == {"0", "1"}
    assert torch.equal(to_gemm(model[0]) != 0, Gsm(model, 2).finish(model)["0"])
    assert torch.equal(to_gemm(model[1]) != 0, Gsm(model, 2).finish(model)["1"])


@pytest.mark.parametrize(
    "constraint",
    [half(), Levels(equal_levels(3)), Centroids(4), Ternary(), SparseValues(half(), Levels(equal_levels(2)))],
    ids=lambda c: type(c).__name__,
)
def test_one_entry_for_all_layers_is_one_constraint(constraint: object) -> None:
    model = Tied()
    done = compress(model, DATA, {"*": constraint}, Recipe(2, 1e-2), Recipe(4, 1e-2))  # type: ignore[dict-item]
    assert done.model.a.weight is done.model.b.weight
    for name, mask in done.masks.items():
        z, _ = to_gemm(done.model.get_submodule(name)), mask
        assert torch.equal(z != 0, mask)
    assert torch.equal(done.masks["a"], done.masks["b"])
    assert {row["layer"] for row in done.log if "layer" in row} == {"a", "head"}


def test_freezing_holds_it_once() -> None:
    model = Tied()
    two = {name: Levels(equal_levels(2)) for name in ("a", "b")}
    freezing = Freezing(model, two, (0.5, 1.0))
    log = train(model, DATA, Recipe(2, 1e-2), methods=[freezing])
    assert [row["frozen"] for row in log if "frozen" in row] == [18, 36]
    assert len(torch.unique(model.a.weight.detach().abs())) <= 2


def test_cells_that_hold_one_weight_as_different_numbers() -> None:
    """The copy that training on chips gives had the levels of the last layer, on the tiles of both."""
    model, masks = Tied(), {"b": torch.eye(6) > 0}
    alike = map_network(model, load_hardware("admm-32x32"), X)
    trained, _ = trainable_network(model, alike, multiply="torch").trained()
    assert torch.equal(trained.a.weight, trained.b.weight)
    other = map_network(model, load_hardware("admm-32x32"), X, masks=masks)
    training = trainable_network(model, other, multiply="torch")
    assert "'a' and 'b' share one weight" in refused(training.trained)


def tied_run(folder: Path, *changes: str) -> tuple[StudyPlan, Study]:
    (folder / "tied.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    a, b = nn.Linear(64, 64), nn.Linear(64, 64)\n"
        "    b.weight = a.weight\n"
        "    return nn.Sequential(nn.Flatten(), a, nn.ReLU(), b, nn.ReLU(), nn.Linear(64, 10))\n"
    )
    network = f'network="{folder}/tied.py:build"'
    rules = 'compress.layers=[{layer="*", share=1.0}]'
    study = load_study("digits", [network, "compress.rate=2", rules, *SMALL, *changes])
    return resolve(study, datasets.load("digits", None), folder, quiet=True), study


@pytest.mark.parametrize("method", ["admm", "budget", "gsm"])
def test_a_study_with_a_shared_weight(tmp_path: Path, method: str) -> None:
    how = ["compress.gsm.weight_decay=1e-4"] if method == "gsm" else []
    how += [f"compress.{method}.epochs=2", f"compress.method={method}"]
    plan, study = tied_run(tmp_path, "train.epochs=1", *how)
    assert list(plan.rules.layers) == ["1", "3", "5"]
    nets = networks(plan, study)
    masks = [nets.compressed.masks[name] for name in "135"]
    assert torch.equal(masks[0], masks[1])
    assert int(masks[0].sum() + masks[2].sum()) <= (64 * 64 + 640) / 2
    network = nets.quantised.network
    assert torch.equal(network[1].weight, network[3].weight)
    assert torch.equal(to_gemm(network[1]) != 0, masks[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('compress.layers=[{layer="1", share=1.0}, {layer="3", share=1.0, kind="tiles"}]', "compress.layers"),
        ('layers=[{layer="3", hardware={device={states=9}}}]', "layers"),
    ],
)
def test_a_study_is_refused_before_it_trains(tmp_path: Path, change: str, words: str) -> None:
    message = refused(lambda: tied_run(tmp_path, change))
    assert message.startswith(f"{words}: layers '1' and '3' share one weight")


BAD = [torch.nan, torch.inf, -torch.inf]
SETS = [
    half(),
    BlockSparse(2, 3, 0.5, band=4),
    TileRowsAndColumns(2, 2, 0.5, 0.5),
    SegmentSparse(2, 1),
    OneSign(2),
    BothSparse(OneSign(2), half()),
    Levels(equal_levels(3)),
    Levels(equal_levels(3), scale=0.1),
    Window(1.0, 3.0),
    Ternary(),
    Centroids(3),
    Magnitudes(2),
    SparseValues(half(), Centroids(3)),
]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("constraint", SETS, ids=lambda c: type(c).__name__)
def test_weights_that_are_no_numbers(constraint: object, value: float) -> None:
    """A NaN became the top level; one made all centroids NaN."""
    v = torch.randn(6, 4)
    v[2, 1] = value
    assert "not finite" in refused(lambda: constraint.project(v))  # type: ignore[attr-defined]
    model = Tied()
    with torch.no_grad():
        model.head.weight[1, 2] = value
    for call in (
        lambda: Admm(model, {"head": constraint}),  # type: ignore[dict-item]
        lambda: compress(model, DATA, {"head": constraint}, Recipe(1), Recipe(4)),  # type: ignore[dict-item]
    ):
        assert refused(call).startswith("head: has weights that are not finite numbers")


@pytest.mark.parametrize("value", BAD)
def test_methods_and_searches_name_the_layer(value: float) -> None:
    model = Tied()
    good = Admm(model, {"head": half()})
    with torch.no_grad():
        model.head.weight[1, 2] = value
    levels = {"head": Levels(equal_levels(2))}
    masks = {"head": torch.ones(6, 3, dtype=torch.bool)}
    for call in (
        lambda: good.end_epoch(model, 0),
        lambda: good.finish(model),
        lambda: Gsm(model, 2),
        lambda: Freezing(model, levels, (1.0,)),
        lambda: Masked(model, masks),
        lambda: Admm(model, NonzeroBudget(5)),
        lambda: Admm(model, JointBudget(50.0)),
        lambda: Admm(model, WidthBudget(100.0)),
        lambda: sensitivity(model, lambda _: 1.0, {"head": (1, 1)}, [2]),
        lambda: lost_energy(model, {"head": lambda keep: BlockSparse(1, 1, keep)}, [0.5]),
    ):
        assert refused(call).startswith("head: has weights that are not finite numbers")
    for budget in (NonzeroBudget(5), JointBudget(50.0), WidthBudget(100.0)):
        found = refused(lambda budget=budget: budget.project({"head": to_gemm(model.head)}))  # type: ignore[misc]
        assert found.startswith("head: has weights that are not finite numbers")
