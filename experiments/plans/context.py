"""`Context`: what every stage works with, the data, a folder for what is finished, and a seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.inputs.batches import Batches, taken
from experiments.inputs.data import Dataset
from experiments.inputs.devices import device_named
from experiments.inputs.measures import Measures
from experiments.plans.process import bar
from experiments.results.metric_label import MetricLabel
from experiments.run_folder.ids import stage_id
from experiments.run_folder.stage import Compute, StageResult, run_stage
from experiments.studies.study import Study
from experiments.studies.training import PLAIN_RECIPE, FineTuning
from mapping.monte_carlo.sampling import half_width
from mapping.recipes.options import TrainingOptions
from mapping.recipes.recipe import COSINE, DEFAULTS, Recipe
from mapping.training.checkpoints import Checkpoint
from mapping.training.loop import Progress, accuracy, derive_seed, train
from mapping.training.method import Method

EVALUATION_BATCH = 500
PROCESSOR = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Context:
    """The data, the folder and the seed of a study's stages; no stage changes it.

    Parameters
    ----------
    out
        Folder of the run; finished stages lie in its ``stages``.
    batch, shift, flip
        Images of a training step, random shifts of them [pixels], and whether they are mirrored at random.
    measures
        What trainings minimise, and what networks and chips are measured by.
    calibration_images
        The first so many of the training data set the ranges of converters.
    test_images
        The metric is measured on so many inputs, evenly spaced in the test set.
    options
        Options of every training, except where a method has options of its own.
    device
        Where networks train and chips multiply.
    fine_tuning
        The optimiser of trainings after the baseline; None: that of their recipes.
    quiet
        Whether stages show no lines and bars.
    spent
        A clock: the work on each stage that was asked for, by name and id [s]. `stage` writes it.
    """

    data: Dataset
    out: Path
    seed: int
    measures: Measures
    batch: int
    shift: int
    flip: bool
    calibration_images: int
    test_images: int
    options: TrainingOptions = DEFAULTS
    device: torch.device = PROCESSOR
    fine_tuning: FineTuning | None = None
    quiet: bool = False
    spent: dict[tuple[str, str], float] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Study, data: Dataset, measures: Measures, out: Path, quiet: bool = False) -> Context:
        """The context of a study in a folder."""
        t, whole = study.train, len(data.test_y)
        images = min(study.test_images or whole, whole)
        loading = t.batch, t.shift, t.flip
        calibration = study.calibration_images
        where = device_named(study.device)
        how = t.options, where, study.fine_tuning
        return cls(data, out, study.seed, measures, *loading, calibration, images, *how, quiet)

    @property
    def label(self) -> MetricLabel:
        """Name, unit and direction of what is measured."""
        return MetricLabel.of(self.measures.metric)

    def stage(
        self,
        name: str,
        inputs: Mapping[str, Any],
        compute: Compute,
        remark: str = "",
        beside: Callable[[str], Sequence[Path]] = lambda identity: (),
    ) -> StageResult:
        """Run a stage, or read it where it is finished; print its time and its figures.

        Parameters
        ----------
        inputs
            Everything but the seed that affects the result, as plain data: its id is their hash.
        beside
            Other files that the stage leaves, by its id.
        """
        identity = stage_id(name, {"seed": self.seed, **inputs})
        result = run_stage(self.out / "stages", name, identity, compute, beside(identity))
        self.spent[name, identity] = result.seconds
        for part, where in (("validation", "the validation part"), ("test", "the test set")):
            accuracies = result.record.get(part, {}).items()
            remark += "".join(f", {key} {self.label.text(value)} on {where}" for key, value in accuracies)
        chips = result.record.get("accuracies", [])
        if chips:
            spread = f" ± {self.label.digits(half_width(chips))}" if len(chips) > 1 else ""
            mean = self.label.digits(sum(chips) / len(chips)) + spread
            named = ", 95 % interval of the mean" if len(chips) > 1 else ""
            remark += f": {mean}{self.label.symbol} over {len(chips)} chips{named}"
        if not self.quiet:
            print(f"{name:<9} {result.seconds:6.1f} s{remark}", flush=True)
        return result

    def seconds_of(self, *stages: str) -> float:
        """Work on all stages of these names, interrupted runs included [s]."""
        return sum(seconds for (name, _), seconds in self.spent.items() if name in stages)

    def fit(
        self,
        model: nn.Module,
        prefix: Path,
        stage: str,
        recipe: Recipe,
        methods: list[Method],
        batch: int = 0,
        child: int = 0,
        teacher: nn.Module | None = None,
    ) -> list[dict[str, Any]]:
        """Train a network with checkpoints under the stage's prefix; the log.

        Parameters
        ----------
        batch
            Images of a step; 0: as many as the baseline takes.
        child
            Each child sees its own order of the data.
        teacher
            The network that is followed where options ask for distillation; None: nothing is followed.
        """
        if recipe.options == DEFAULTS:
            recipe = dataclasses.replace(recipe, options=self.options)
        if teacher is None:
            options = dataclasses.replace(recipe.options, distillation=None)
            recipe = dataclasses.replace(recipe, options=options)
        return train(
            model,
            self.batches(batch),
            recipe,
            methods=methods,
            loss=self.measures.loss,
            teacher=None if recipe.options.distillation is None else teacher,
            seed=derive_seed(self.seed, "order", *([child] if child else [])),
            stage=stage,
            validate=self.validate,
            checkpoint=Checkpoint(
                prefix.with_name(f"{prefix.name}.{stage}.safetensors"), {"stage": prefix.name}
            ),
            progress=self.bar,
        )

    def fine_tune(
        self, model: nn.Module, prefix: Path, stage: str, recipe: Recipe, methods: list[Method], **more: Any
    ) -> list[dict[str, Any]]:
        """`fit` after the baseline, by the optimiser that the study has for that; arguments as there."""
        return self.fit(model, prefix, stage, fine_tuned(recipe, self.fine_tuning), methods, **more)

    def batches(self, size: int = 0) -> Batches:
        """The training data in random order, so many images at once; 0: as many as the baseline takes."""
        x, y = self.data.train_x, self.data.train_y
        return Batches(x, y, size or self.batch, shuffle=True, shift=self.shift, flip=self.flip)

    def validate(self, model: nn.Module) -> float:
        """Measure the metric on the validation part."""
        batches = Batches(self.data.val_x, self.data.val_y, EVALUATION_BATCH)
        return accuracy(model, batches, metric=self.measures.metric)

    def calibration_batches(self) -> Batches:
        """The first images of the training data."""
        n = self.calibration_images
        return Batches(taken(self.data.train_x, slice(0, n)), self.data.train_y[:n], EVALUATION_BATCH)

    def test_batches(self, description: str) -> tuple[Batches, Progress]:
        """The test set, or images evenly spaced in it, and the bar that shows how far it is."""
        x, y = self.data.test_x, self.data.test_y
        if self.test_images < len(y):
            every = torch.linspace(0, len(y) - 1, self.test_images).round().long()
            x, y = taken(x, every), y[every]
        batches = Batches(x, y, EVALUATION_BATCH)
        return batches, lambda it, _, __: self.bar(it, description, len(batches))

    def bar(self, iterable: Iterable[Any], description: str, total: int) -> Iterable[Any]:
        """A progress bar, unless the run is quiet."""
        return iterable if self.quiet else bar(iterable, description, total)


def fine_tuned(recipe: Recipe, fine_tuning: FineTuning | None) -> Recipe:
    """A recipe with the optimiser of a study's fine-tuning; one with an optimiser of its own as it is."""
    if fine_tuning is None or any(getattr(recipe, key) != value for key, value in PLAIN_RECIPE.items()):
        return recipe
    final = recipe.final if fine_tuning.scheduler == COSINE else 0.0
    return dataclasses.replace(recipe, final=final, **fine_tuning.recipe_keys())
