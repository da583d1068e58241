"""Options of a study: they reach every training, with the baseline as the teacher of those after it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from small_study import SMALL
from torch import nn

from experiments.inputs.data import load
from experiments.plans import context
from experiments.plans.plan import resolve
from experiments.run_folder.ids import point_id
from experiments.stages.measure import networks
from experiments.stages.planned import planned_ids
from experiments.stages.run import prepare
from experiments.studies.study import load_study, resolve_study, study_dict
from mapping import Cutout, Distillation, Ema, Mixup, Recipe, TrainingOptions
from xbar import XbarError

KEYS = [
    *SMALL,
    "train.optimizer=SGD",
    "train.momentum=0.8",
    "train.nesterov=true",
    "train.weight_decay=1e-3",
    "train.decayed=weights",
    "train.options.precision=bf16",
    "train.options.accumulate=2",
    "train.options.label_smoothing=0.1",
    "train.options.mixing={kind='mixup', alpha=0.3}",
    "train.options.distillation={temperature=2, weight=0.4}",
    "train.options.ema={decay=0.9}",
    "train.options.keep=highest",
    "train.options.patience=3",
    "quantise.freeze=[0.5, 1.0]",
    "quantise.last=['fc2']",
    "quantise.converter_epochs=1",
]
OPTIONS = TrainingOptions("bf16", 2, 0.1, Mixup(0.3), Distillation(2, 0.4), Ema(0.9), "highest", 3)


def test_every_training_of_a_run_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings: dict[str, tuple[Recipe, nn.Module | None]] = {}
    train = context.train

    def watched(model: nn.Module, batches: Any, recipe: Recipe, **keys: Any) -> Any:
        trainings[keys["stage"]] = recipe, keys["teacher"]
        return train(model, batches, recipe, **keys)

    monkeypatch.setattr(context, "train", watched)
    study = load_study("digits", KEYS)
    plan = prepare(study, None, tmp_path / "run")
    found = networks(plan, study)
    recipe, teacher = trainings.pop("train")
    assert teacher is None
    assert recipe.options == dataclasses.replace(OPTIONS, distillation=None)
    of_sgd = recipe.optimizer, recipe.momentum, recipe.nesterov, recipe.weight_decay, recipe.decayed
    assert of_sgd == ("SGD", 0.8, True, 1e-3, "weights")
    after = {"prune", "retrain", "levels", "freeze", "levels last", "freeze last"}
    assert set(trainings) == after | {"levels-retrain", "converters"}
    for recipe, teacher in trainings.values():
        assert recipe.options == OPTIONS
        assert teacher is not None
        for name, tensor in teacher.state_dict().items():
            assert torch.equal(tensor, found.trained.state[name])


SGD = [*SMALL, "fine_tuning.optimizer=SGD", "fine_tuning.nesterov=true", "fine_tuning.weight_decay=1e-3"]


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        (["quantise.freeze=[0.5, 1.0]", "quantise.last=['fc2']", "quantise.converter_epochs=1"], set()),
        (
            ["compress.method=gsm", "compress.gsm={epochs=2, lr=0.01, weight_decay=1e-3, momentum=0.9}"],
            {"gsm"},
        ),
    ],
)
def test_every_training_after_the_baseline_has_its_optimiser(
    changes: list[str], own: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method with an optimiser of its own keeps that."""
    recipes: dict[str, Recipe] = {}
    train = context.train

    def watched(model: nn.Module, batches: Any, recipe: Recipe, **keys: Any) -> Any:
        recipes[keys["stage"]] = recipe
        return train(model, batches, recipe, **keys)

    monkeypatch.setattr(context, "train", watched)
    study = load_study("digits", [*SGD, *changes])
    networks(prepare(study, None, tmp_path / "run"), study)
    assert recipes.pop("train").optimizer == "Adam"
    assert own <= set(recipes)
    assert len(recipes) >= 4
    for stage, recipe in recipes.items():
        found = recipe.optimizer, recipe.nesterov, recipe.weight_decay
        assert (found == ("SGD", True, 1e-3)) == (stage not in own), stage


def test_an_optimiser_of_the_fine_tuning_is_in_the_ids(tmp_path: Path) -> None:
    ids = [
        planned_ids(prepare(study, None, tmp_path), study)
        for study in (load_study("digits", SMALL), load_study("digits", SGD))
    ]
    assert ids[0]["train"] == ids[1]["train"]
    assert ids[0]["compress"] != ids[1]["compress"]
    assert ids[0]["quantise"] != ids[1]["quantise"]
    points = [point_id(load_study("digits", changes), "", {}) for changes in (SMALL, SGD)]
    assert points[0] != points[1]
    assert resolve_study(study_dict(load_study("digits", SGD)), "again") == load_study("digits", SGD)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("fine_tuning.optimizer=Adan", "fine_tuning.optimizer: unknown name 'Adan'"),
        ("fine_tuning.nesterov=true", "fine_tuning.nesterov = True: Adam takes no nesterov"),
        ("fine_tuning.weight_decay=2", "fine_tuning.weight_decay = 2.0: must lie between"),
        ("fine_tuning.lr=2", "fine_tuning.lr: unknown key"),
    ],
)
def test_mistakes_of_the_fine_tuning_are_one_line(change: str, words: str) -> None:
    with pytest.raises(XbarError, match=words):
        load_study("digits", [change])


def test_a_study_with_options_is_read_again_from_what_it_writes() -> None:
    for more in ([], ["train.options.mixing={kind='cutout', size=3}", "train.normalise=imagenet"]):
        study = load_study("digits", [*KEYS, *more])
        assert study.train.options.mixing == (Cutout(3) if more else Mixup(0.3))
        assert resolve_study(study_dict(study), "again") == study


def test_normalised_images_are_those_of_the_network_and_of_every_stage(tmp_path: Path) -> None:
    data = load("digits", None)
    plan = resolve(load_study("digits", ["train.normalise=training"]), data, tmp_path)
    found = plan.context.data
    assert abs(float(found.train_x.mean())) < 1e-5
    assert float(found.train_x.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert torch.equal(plan.network.example, found.train_x[:1])
    for part in ("val_x", "test_x"):
        expected = (getattr(data, part) - data.train_x.mean()) / data.train_x.std(correction=0)
        torch.testing.assert_close(getattr(found, part), expected)
    assert resolve(load_study("digits", []), data, tmp_path).context.data is data


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["train.options.precision=fp16"], "train.options.precision = 'fp16'"),
        (["train.options.mixin=1"], "train.options.mixin: unknown key; did you mean 'mixing'?"),
        (["train.options.mixing={kind='mixdown'}"], "train.options.mixing"),
        (["train.options.mixing={kind='mixup', size=3}"], "train.options.mixing"),
        (["train.options.ema={decay=2}"], "ema.decay = 2"),
        (["train.options.patience=3"], "patience = 3: has an effect with keep"),
        (["train.nesterov=true"], "train.nesterov = True: Adam takes no nesterov"),
        (["train.decayed=weights"], "train.decayed = 'weights': has an effect with a weight_decay above 0"),
        (["train.momentum=0.5"], "train.momentum = 0.5: Adam takes no momentum"),
        (["train.normalise=no"], "train.normalise = 'no'"),
    ],
)
def test_mistakes_are_one_line(changes: list[str], words: str) -> None:
    with pytest.raises(XbarError) as caught:
        load_study("digits", changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_of_imagenet_have_three_colours(tmp_path: Path) -> None:
    with pytest.raises(XbarError, match=r"^normalise: 3 channels; images of digits have 1$"):
        resolve(load_study("digits", ["train.normalise=imagenet"]), load("digits", None), tmp_path)
